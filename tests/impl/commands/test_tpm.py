"""`vtpm tpm` as people use it: on a TPM made for it, one behind a QEMU of theirs, a socket, a device, and on none."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.peers import tpm_machine

ZEROS = {"1.2": "00" * 20, "2.0": "00" * 32}


def vtpm(*arguments: str, timeout: float = 30) -> tuple[int, str]:
    """Run `vtpm tpm` to its end; its exit code and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_impl.cli", "tpm", *arguments],
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(name="folder")
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.mark.parametrize("family", ZEROS)
def test_a_tpm_is_made_for_the_asking(family: str) -> None:
    tpm_machine.required()
    made = ("--demo", "--family", family)
    code, said = vtpm("info", *made, "--json")
    told = json.loads(said)
    assert (code, told["family"], told["manufacturer"]) == (0, family, "IBM")
    assert told["localities"] == {str(locality): "free" for locality in range(5)}
    code, said = vtpm("info", *made)
    assert "localities         0: free, 1: free, 2: free, 3: free, 4: free\n" in said
    assert vtpm("pcr-read", "0", *made) == (0, f"0  {ZEROS[family]}\n")
    code, said = vtpm("pcr-read", "--json", "--bank", "sha1", *made)
    assert (code, len(values := json.loads(said))) == (0, 24)
    assert (values["0"], values["17"]) == ("00" * 20, "ff" * 20)
    code, said = vtpm("random", "5000", *made)
    assert code == 0
    assert re.fullmatch("[0-9a-f]{10000}\n", said)
    code, said = vtpm(*made)
    assert code == 0
    assert ZEROS[family] in said


def test_a_command_is_sent_and_its_answer_explained(folder: Path) -> None:
    tpm_machine.required()
    trace = folder / "trace"
    code, said = vtpm("send", "00c1 0000000e 00000015 00000000", "--demo", "--json", "--trace", str(trace))
    told = json.loads(said)
    assert code == 0
    assert (told["command"], told["code"], told["response"]) == ("TPM_PcrRead", "success", "00c40000001e" + "00" * 24)
    lines = trace.read_text().splitlines()
    assert len(lines) > told["register_accesses"] > 0
    for line in lines:
        assert re.fullmatch(r"tpm_tis_mmio_(read  read|write write)\.[124]\(0x0000[0-9a-f]{4}\) = 0x[0-9a-f]{8}", line)
    code, said = vtpm("send", "00c10000000e0000001500000099", "--demo")
    assert code == 1
    assert "TPM_BADINDEX" in said
    code, said = vtpm("send", "80010000000c0000017effff", "--demo", "--family", "2.0")
    assert code == 1
    assert "TPM2_PCR_Read" in said
    assert "TPM_RC_" in said


@pytest.mark.parametrize("listens", [True, False], ids=["qemu-listens", "qemu-connects"])
def test_a_qemu_of_the_users_is_used(folder: Path, listens: bool) -> None:
    tpm_machine.required()
    with tpm_machine.started(folder, listens=listens, after=0.0 if listens else 1.0) as where:
        code, said = vtpm("pcr-read", "0", "--tis", f"{where},tpmlocality=2,tpmirq=probe", "--startup")
        assert (code, said) == (0, f"0  {ZEROS['1.2']}\n")


def test_a_tpm_behind_a_socket_is_used(folder: Path) -> None:
    program = shutil.which("swtpm")
    assert program is not None, "swtpm is missing: sh scripts/debian-packages.sh peers"
    (folder / "state").mkdir()
    with subprocess.Popen(
        [program, "socket", "--tpm2", "--tpmstate", f"dir={folder}/state", "--flags", "not-need-init",
         "--locality", "allow-set-locality",
         "--server", f"type=unixio,path={folder}/tpm", "--ctrl", f"type=unixio,path={folder}/control"],
    ) as swtpm:  # fmt: skip
        try:
            while not (folder / "tpm").exists():
                assert swtpm.poll() is None
                threading.Event().wait(0.01)
            where = ("--socket", f"{folder}/tpm,{folder}/control")
            code, said = vtpm("random", *where)
            assert (code, said) == (
                1, "vtpm: TPM2_GetRandom: TPM_RC_INITIALIZE: the TPM waits for TPM_Startup (--startup sends it)\n",
            )  # fmt: skip
            assert vtpm("pcr-read", "0", *where, "--startup") == (0, f"0  {ZEROS['2.0']}\n")
            reset = "80020000001b0000013d0000001400000009400000090000000000"
            assert vtpm("send", reset, *where)[0] == 1
            assert vtpm("send", reset, *where, "--locality", "2")[0] == 0
        finally:
            swtpm.kill()


def test_a_tpm_behind_a_device_is_used(folder: Path) -> None:
    ours, theirs = os.openpty()  # stands for the device: what is written at one end is read at the other
    subprocess.run(["stty", "raw", "-echo"], stdin=theirs, check=True)
    answers = {
        bytes.fromhex("8001000000160000017a000000060000010000000001"): bytes.fromhex("00c40000000a0000001e"),
        bytes.fromhex("00c10000000e0000001500000007"): bytes.fromhex("00c40000001e00000000" + "07" * 20),
    }

    def serve() -> None:
        for _ in answers:
            os.write(ours, answers[os.read(ours, 4096)])

    thread = threading.Thread(target=serve)
    thread.start()
    assert vtpm("pcr-read", "7", "--device", os.ttyname(theirs)) == (0, f"7  {'07' * 20}\n")
    thread.join()
    for end in (ours, theirs):
        os.close(end)
    code, said = vtpm("pcr-read", "7", "--device", "/dev/null", "--locality", "1")
    assert (code, said) == (1, "vtpm: locality 1: through a device the TPM has locality 0 only\n")
    assert vtpm("info", "--device", "/dev/null") == (
        1, "vtpm: what answers at '/dev/null' is no TPM: it sent nothing\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["info"], "which TPM? One of --tis, --socket, --device and --demo is meant"),
        (["info", "--demo", "--socket", "s"], "which TPM? One of --tis, --socket, --device and --demo is meant"),
        (["info", "--tis", "mem"], "'mem' is no way to the TPM's registers: devmem or qtest:SOCKET"),
        (["info", "--tis", "qtest:"], "'qtest:' is no way to the TPM's registers"),
        (["info", "--tis", "devmem,tpmirq=16"], "'tpmirq=16' is no option of the TPM: tpmirq is probe, or a number"),
        (["info", "--tis", "devmem,tpmdriver=tpmfront"], "'tpmdriver=tpmfront' is no driver of hardware"),
        (["send", "00c1", "--demo"], "a command of 2 bytes whose header says 0: both are the same, 10 to 4096"),
        (["send", "00c1x", "--demo"], "'00c1x' is no command: an even number of hexadecimal digits is meant"),
        (["send", "00c10000000b00000050", "--demo"], "a command of 10 bytes whose header says 11"),
        (["pcr-read", "0", "--bank", "md5", "--demo"], "'md5' is no bank: sha1, sha256, sha384, sha512 are known"),
        (["info", "--socket", "s", "--trace", "t"], "--trace writes register accesses down"),
        (["info", "--socket", "s", "--family", "2.0"], "--family 2.0 is what --demo makes; another TPM says itself"),
        (["--demo", "info"], "--demo and --family stand after the sub-command"),
        (["--family", "2.0"], "--demo and --family stand after the sub-command"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], error: str) -> None:
    code, said = vtpm(*arguments)
    assert code == 2
    assert said.startswith(f"vtpm: {error}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--tis", "qtest:/nowhere/at/all"], "QEMU's socket '/nowhere/at/all': No such file or directory"),
        (["--tis", "devmem,tpmiomem=0xffffffffffff0000"], "the TPM's registers at 0xffffffffffff0000 in '/dev/mem': "),
        (["--device", "/dev/nothing"], "the TPM at '/dev/nothing': No such file or directory"),
        (["--socket", "/nowhere"], "the TPM at '/nowhere' does not answer: No such file or directory"),
    ],
)
def test_a_tpm_that_is_not_there_is_told(arguments: list[str], error: str) -> None:
    code, said = vtpm("info", *arguments)
    assert code == 1
    assert said.startswith(f"vtpm: {error}")
    assert said.count("\n") == 1


def test_a_command_that_is_interrupted_ends_at_once_and_takes_its_machine_along(folder: Path) -> None:
    tpm_machine.required()
    trace = folder / "trace"
    heeding = ["env", "--default-signal=INT"]  # as a terminal starts it, wherever the tests themselves were started
    command = [sys.executable, "-m", "vtpm_impl.cli", "tpm", "random", "1048576", "--demo", "--trace", str(trace)]
    with subprocess.Popen(
        [*heeding, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as asking:
        while not trace.exists() or not trace.stat().st_size:
            assert asking.poll() is None
            time.sleep(0.01)
        asking.send_signal(signal.SIGINT)
        said = asking.communicate(timeout=30)
    assert (asking.returncode, said) == (130, ("", ""))
    assert [path.name for path in folder.iterdir()] == ["trace"]


def test_a_machine_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    code, said = vtpm("info", "--demo")
    assert (code, said) == (1, "vtpm: qemu-system-x86_64 is not installed (Debian package qemu-system-x86)\n")


@pytest.mark.parametrize("command", ["info", "pcr-read", "random", "send"])
def test_help_has_an_example(command: str) -> None:
    code, said = vtpm(command, "--help")
    assert code == 0
    assert f"Example: vtpm tpm {command}" in " ".join(said.split())
