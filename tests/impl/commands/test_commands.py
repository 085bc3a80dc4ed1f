"""The commands as people use them: a store, a backend, a frontend, a device, and a program that finds its TPM."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.impl.xenbus.ends import answer, command
from tests.peers import tpm_at_a_socket, tpm_machine

from vtpm_impl.engines import EngineError
from vtpm_impl.engines.socket import SocketTpm

PCR_READ = bytes.fromhex("8001000000140000017e00000001000b03010000")
"""TPM2_PCR_Read of PCR 0, SHA-256."""
LOCALITY_OF_PCR_RESET = bytes.fromhex("80020000001b0000013d0000001400000009400000090000000000")
"""TPM2_PCR_Reset of PCR 20, which locality 0 may not, and 2 may."""


ALL_PROGRAMS = f"{os.environ['PATH']}:/usr/sbin"
"""Where programs are, those of a system's keeper, too."""


class Started:
    """A command that runs, told by its lines."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "vtpm_impl.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(5)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def vtpm(*arguments: str) -> tuple[int, str]:
    """Run a command to its end; its exit code and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_impl.cli", *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    return done.returncode, done.stdout + done.stderr


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


@pytest.fixture(name="folder")
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture(name="start")
def starting(folder: Path) -> Iterator[Callable[..., Started]]:
    with ExitStack() as stack:

        def start(*arguments: str) -> Started:
            started = Started(*arguments, "--run-dir", str(folder / "run"))
            stack.callback(started.kill)
            return started

        store = start("xenstore", "serve")
        assert eventually((folder / "run" / "domains" / "0" / "xenstore").exists)
        yield start
        assert store.interrupt() == 0


@contextmanager
def software_tpm(folder: Path, *options: str) -> Iterator[Path]:
    program = shutil.which("swtpm")
    assert program is not None, "swtpm is missing: sh scripts/debian-packages.sh peers"
    (folder / "state").mkdir()
    process = subprocess.Popen(
        [program, "socket", *options, "--tpmstate", f"dir={folder}/state", "--flags", "not-need-init,startup-clear",
         "--locality", "allow-set-locality",
         "--server", f"type=unixio,path={folder}/tpm", "--ctrl", f"type=unixio,path={folder}/control"],
    )  # fmt: skip
    try:
        assert eventually((folder / "tpm").exists)
        yield folder / "tpm"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(name="swtpm")
def a_tpm_2(folder: Path) -> Iterator[Path]:
    with software_tpm(folder, "--tpm2") as path:
        yield path


@pytest.fixture(name="swtpm12")
def a_tpm_12(folder: Path) -> Iterator[Path]:
    with software_tpm(folder) as path:
        yield path


def installed(*programs: str) -> None:
    """Skip the test with a plain word where a program is not; in continuous integration fail."""
    missing = [program for program in programs if shutil.which(program, path=ALL_PROGRAMS) is None]
    if missing:
        told = f"{', '.join(missing)}: sh scripts/debian-packages.sh peers"
        if os.environ.get("CI") == "true":
            pytest.fail(f"missing: {told}")
        pytest.skip(f"unsupported here: {told}")


def exchange(path: Path, packet: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(5)
        stream.connect(str(path))
        stream.sendall(packet)
        return stream.recv(4096)


def test_a_program_finds_its_tpm(folder: Path, start: Callable[..., Started]) -> None:
    where = ("--run-dir", str(folder / "run"))
    serving = start("backend", "--domain", "2", "--engine", "echo")
    assert serving.line() == "domain 2 serves vTPMs with echo\n"
    using = start("frontend", "--domain", "1", "--listen", str(folder / "tpm1"))
    assert using.line() == "domain 1 waits for its vTPM 0\n"
    assert vtpm("device", "create", "1", "7", *where) == (1, "vtpm: the store knows of no domain 7\n")
    code, said = vtpm("device", "create", "1", "2", "--json", *where)
    assert (code, json.loads(said)[0]["backend"]) == (0, 2)
    assert using.line() == f"the vTPM of domain 1 is at {folder / 'tpm1'}\n"
    assert exchange(folder / "tpm1", command(100)) == answer(100)
    with socket.socket(socket.AF_UNIX) as stream:  # a program that keeps its connection, and one that says nonsense
        stream.connect(str(folder / "tpm1"))
        for size in (10, 64, 4088):
            stream.sendall(command(size)[:5])
            stream.sendall(command(size)[5:])
            assert stream.recv(size, socket.MSG_WAITALL) == answer(size)
    assert exchange(folder / "tpm1", bytes(10)) == b""
    code, said = vtpm("device", "list", *where)
    assert code == 0
    assert said.startswith("vtpm 0 of domain 1 (CONNECTED), served by domain 2 (CONNECTED), uuid ")
    assert vtpm("device", "detach", "1", "0", *where) == (0, "")
    assert using.line() == "vtpm: the backend of vTPM 0 is gone\n"  # although nobody has asked anything
    assert using.process.wait(5) == 1
    assert serving.interrupt() == 0
    assert [entry.name for entry in (folder / "run" / "domains").iterdir()] == ["0"]
    assert not (folder / "tpm1").exists()


def test_what_is_recorded_is_nothing_but_json(folder: Path, start: Callable[..., Started]) -> None:
    where = ("--run-dir", str(folder / "run"))
    words = [sys.executable, "-m", "vtpm_impl.cli", "backend", "--record", "--domain", "2", *where]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving,
        ExitStack() as stack,
    ):
        stack.callback(serving.kill)
        assert serving.stderr is not None
        assert serving.stderr.readline() == "domain 2 serves vTPMs with echo\n"
        using = start("frontend", "--domain", "1", "--listen", str(folder / "tpm1"))
        assert using.line() == "domain 1 waits for its vTPM 0\n"
        assert vtpm("device", "create", "1", "2", *where)[0] == 0
        assert using.line() == f"the vTPM of domain 1 is at {folder / 'tpm1'}\n"
        assert exchange(folder / "tpm1", command(100)) == answer(100)
        assert using.interrupt() == 0
        serving.send_signal(signal.SIGINT)
        recorded, said = serving.communicate(timeout=10)
    assert said.splitlines()[:2] == ["1/0: a new device", "1/0: connected"]
    kinds = [json.loads(line)["ev"] for line in recorded.splitlines()]
    assert kinds[0] == "start"
    assert {"watch", "write", "connected", "event", "command"} <= set(kinds)


def test_swtpm_answers_through_a_vtpm(folder: Path, start: Callable[..., Started], swtpm: Path) -> None:
    where = ("--run-dir", str(folder / "run"))
    control = folder / "control"
    start("backend", "--domain", "2", "--engine", f"swtpm:{swtpm},{control}").line()
    using = [start("frontend", "--domain", "1", "--listen", str(folder / "tpm1")),
             start("frontend", "--domain", "3", "--listen", str(folder / "tpm3"), "--locality", "2")]  # fmt: skip
    for end, domid in zip(using, ("1", "3"), strict=True):
        end.line()
        assert vtpm("device", "create", domid, "2", *where)[0] == 0
        assert " is at " in end.line()
    read = exchange(folder / "tpm1", PCR_READ)
    assert read[:2].hex() == "8001"
    assert int.from_bytes(read[2:6], "big") == len(read) > 40
    assert read[6:10] == bytes(4)
    assert exchange(folder / "tpm3", PCR_READ) == read
    assert exchange(folder / "tpm1", LOCALITY_OF_PCR_RESET)[6:10].hex() == "00000907"
    assert exchange(folder / "tpm3", LOCALITY_OF_PCR_RESET)[6:10].hex() == "00000000"
    assert exchange(folder / "tpm1", LOCALITY_OF_PCR_RESET)[6:10].hex() == "00000907"
    for end in using:
        assert end.interrupt() == 0


def test_the_tools_of_the_tcgs_stack_use_a_vtpm(folder: Path, start: Callable[..., Started], swtpm: Path) -> None:
    installed("tpm2_getrandom", "tpm2_pcrread", "tpm2_pcrextend", "tpm2_pcrreset")
    start("backend", "--domain", "2", "--engine", f"swtpm:{swtpm},{folder / 'control'}").line()
    using = start("frontend", "--domain", "1", "--listen", str(folder / "tpm1"))
    using.line()
    assert vtpm("device", "create", "1", "2", "--run-dir", str(folder / "run"))[0] == 0
    assert " is at " in using.line()

    def tool(name: str, *arguments: str) -> str:
        pipe = f"cmd:{sys.executable} {tpm_at_a_socket.__file__} {folder / 'tpm1'}"
        command = [f"tpm2_{name}", "--tcti", pipe, *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=20, check=True).stdout

    def pcr(number: int) -> str:
        return tool("pcrread", f"sha256:{number}").split("0x")[1].strip().lower()

    drawn = {tool("getrandom", "--hex", "16") for _ in range(3)}
    assert len(drawn) == 3
    assert all(len(bytes.fromhex(one)) == 16 for one in drawn)
    measured = hashlib.sha256(b"a kernel")
    assert pcr(16) == "00" * 32
    tool("pcrextend", f"16:sha256={measured.hexdigest()}")
    assert pcr(16) == hashlib.sha256(bytes(32) + measured.digest()).hexdigest()
    assert pcr(15) == "00" * 32
    tool("pcrreset", "16")
    assert pcr(16) == "00" * 32
    assert using.interrupt() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="unsupported here: only root may start tcsd")
def test_the_tools_of_trousers_seal_a_secret_with_a_vtpm_1_2(
    folder: Path, start: Callable[..., Started], swtpm12: Path
) -> None:
    installed("tcsd", "tpm_createek", "tpm_takeownership", "tpm_sealdata", "tpm_unsealdata")
    start("backend", "--domain", "2", "--engine", f"swtpm:{swtpm12},{folder / 'control'}").line()
    using = start("frontend", "--domain", "1", "--listen", str(folder / "tpm1"))
    using.line()
    assert vtpm("device", "create", "1", "2", "--run-dir", str(folder / "run"))[0] == 0
    assert " is at " in using.line()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    configuration = folder / "tcsd.conf"
    configuration.write_text(f"port = {port}\nsystem_ps_file = {folder / 'system.data'}\n")
    shutil.chown(configuration, "root", "tss")
    configuration.chmod(0o640)
    environment = {
        **os.environ,
        "PATH": ALL_PROGRAMS,
        "TCSD_UN_SOCKET_DEVICE_PATH": str(folder / "tpm1"),
        "TSS_TCSD_HOSTNAME": "127.0.0.1",  # a bare system has no names of hosts
        "TSS_TCSD_PORT": port,
    }

    def tool(*command: str) -> str:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, check=True, env=environment)
        return done.stdout

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(port))) == 0

    stack = subprocess.Popen(["tcsd", "-f", "-e", "-c", str(configuration)], env=environment)
    try:
        assert eventually(answers)
        tool("tpm_createek")
        tool("tpm_takeownership", "--owner-well-known", "--srk-well-known")
        secret, sealed = folder / "secret", folder / "sealed"
        secret.write_text("the key of a disk")
        tool("tpm_sealdata", "--well-known", "--pcr", "16", "--infile", str(secret), "--outfile", str(sealed))
        assert secret.read_text() not in sealed.read_text()
        assert tool("tpm_unsealdata", "--srk-well-known", "--infile", str(sealed)) == secret.read_text()
        extended = exchange(folder / "tpm1", bytes.fromhex("00c10000002200000014" + "00000010" + "5a" * 20))
        assert extended[:10].hex() == "00c40000001e00000000"
        with pytest.raises(subprocess.CalledProcessError):  # what was measured is no longer what it was sealed to
            tool("tpm_unsealdata", "--srk-well-known", "--infile", str(sealed))
    finally:
        stack.kill()
        stack.wait()
    assert using.interrupt() == 0


def test_the_hardware_tpm_answers_through_a_vtpm(folder: Path, start: Callable[..., Started]) -> None:
    tpm_machine.required()
    where = ("--run-dir", str(folder / "run"))
    with tpm_machine.started(folder, listens=True) as registers:
        serving = start("backend", "--platform", "host", "--domain", "2", "--engine", f"tis:{registers},tpmirq=probe")
        assert " serves vTPMs with tis:" in serving.line()
        using = start(
            "frontend", "--platform", "host", "--domain", "1", "--listen", str(folder / "tpm1"), "--locality", "2"
        )
        using.line()
        assert vtpm("device", "create", "1", "2", *where)[0] == 0
        assert " is at " in using.line()
        startup = bytes.fromhex("00c10000000c000000990001")
        assert exchange(folder / "tpm1", startup).hex() == "00c40000000a00000000"
        reset = bytes.fromhex("00c10000000f000000c8" + "0003000010")  # PCR 20, which locality 2 may
        assert exchange(folder / "tpm1", reset).hex() == "00c40000000a00000000"
        assert using.interrupt() == 0
        assert serving.interrupt() == 0


def test_a_tpm_that_is_not_there_is_an_error_of_the_engine(folder: Path) -> None:
    with pytest.raises(EngineError, match="does not answer: No such file"):
        SocketTpm(folder / "nothing").transmit(PCR_READ, locality=0)
    with pytest.raises(EngineError, match="without a control channel"):
        SocketTpm(folder / "nothing").transmit(PCR_READ, locality=1)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"\x80\x01\x00\x00\x00\x0a\x00\x00\x00\x00\x00", "is no TPM"),
        (b"\x80\x01\x00\x00\x00\x09\x00\x00\x00\x00", "is no TPM"),
        (b"\x80\x01\xff\xff\xff\xff\x00\x00\x00\x00", "is no TPM"),
        (b"\x80\x01\x00", "has closed the connection"),
        (None, "does not answer"),
    ],
)
def test_what_does_not_speak_tpm_is_an_error_of_the_engine(folder: Path, said: bytes | None, error: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(str(folder / "odd"))
        listener.listen()
        engine = SocketTpm(folder / "odd", timeout=0.2)
        stack.callback(engine.close)
        listener.settimeout(5)

        def serve() -> None:
            client, _ = listener.accept()
            client.recv(4096)
            if said is None:
                stack.callback(client.close)
            else:
                client.sendall(said)
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(EngineError, match=error):
            engine.transmit(PCR_READ, locality=0)
        thread.join()


def test_wrong_use_is_told(folder: Path) -> None:
    run = ("--run-dir", str(folder / "run"))
    code, said = vtpm("backend", "--engine", "tpm", *run)
    assert (code, said) == (
        2,
        "vtpm: 'tpm' is no engine: echo, swtpm:SOCKET, swtpm:SOCKET,CONTROL or tis:WHERE is meant\n",
    )
    code, said = vtpm("device", "create", "1", "2", "--uuid", "x", *run)
    assert (code, said) == (2, "vtpm: 'x' is no uuid: 32 hexadecimal digits are meant\n")
    assert vtpm("backend", "--domain", "40000", *run)[0] == 2


def test_without_a_store_every_command_says_so(folder: Path) -> None:
    run = ("--run-dir", str(folder / "run"))
    for arguments in (
        ("backend", "--domain", "2"),
        ("backend",),
        ("frontend", "--domain", "1", "--listen", str(folder / "s")),
        ("device", "list"),
    ):
        code, said = vtpm(*arguments, *run)
        assert code == 1
        assert said.startswith("vtpm: no store at ")
        assert said.count("\n") == 1


def test_a_frontend_that_nobody_gives_a_device_ends_in_time_and_at_once_if_asked(
    folder: Path, start: Callable[..., Started]
) -> None:
    listen = ("--listen", str(folder / "s"))
    late = start("frontend", "--domain", "1", *listen, "--timeout", "0.1")
    late.line()
    assert late.line() == "vtpm: nobody has made a vtpm 0 for domain 1 in 0.1 s\n"
    assert late.process.wait(5) == 1
    waiting = start("frontend", "--domain", "1", *listen)
    waiting.line()
    taken = start("frontend", "--domain", "1", *listen)
    assert taken.line() == f"vtpm: domain 1 is running already, in {str(folder / 'run')!r}\n"
    assert waiting.interrupt() == 0


def test_when_the_store_ends_backends_end_too(folder: Path, start: Callable[..., Started]) -> None:
    other = Started("xenstore", "serve", "--run-dir", str(folder / "other"))
    assert eventually((folder / "other" / "domains" / "0" / "xenstore").exists)
    serving = Started("backend", "--domain", "2", "--run-dir", str(folder / "other"))
    serving.line()
    other.kill()
    assert re.match("vtpm: the (store has closed the connection|connection to the store is gone)", serving.line())
    assert serving.process.wait(5) == 1
    serving.kill()
    del start
