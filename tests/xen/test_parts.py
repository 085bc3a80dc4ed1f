"""What can be tested of the rig without booting anything: its archives, its limits, how it is asked."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest
from tests.xen import summary, tpm12
from tests.xen.cpio import Archive
from tests.xen.images import PROJECT, Images
from tests.xen.machine import Machine, MachineError
from tests.xen.recordings import Part, cut
from tests.xen.rig import CONSOLES, TRACE, Failed, Memory, Rig, Step

from vtpm_traces.schema import RECORDING, check


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, read as the kernel's documentation of the format says."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        begins = (at + 110 + fields[11] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], archive[begins : begins + fields[6]])
        at = (begins + fields[6] + 3) & ~3


def test_an_archive_holds_files_links_and_the_folders_above_them() -> None:
    archive = Archive()
    archive.file("/usr/bin/tool", b"12345", executable=True)
    archive.file("etc/name", b"")
    archive.link("bin", "usr/bin")
    assert "usr/bin/tool" in archive
    assert entries(archive.pack()) == {
        "usr": (0o40755, b""), "usr/bin": (0o40755, b""), "usr/bin/tool": (0o100755, b"12345"),
        "etc": (0o40755, b""), "etc/name": (0o100644, b""), "bin": (0o120777, b"usr/bin"),
    }  # fmt: skip
    assert list(entries(archive.pack())).index("usr/bin") < list(entries(archive.pack())).index("usr/bin/tool")


class Dead:
    """A machine that does not answer."""

    def processor(self) -> float:
        """It does nothing."""
        return 0.0

    def ask(self, do: str, patience: float, /, **arguments: Any) -> Any:
        raise MachineError(f"domain 0 does not answer in {patience:.0f} s")


def test_a_step_that_falls_short_is_told_and_ends_its_scenario() -> None:
    rig = Rig(cast(Machine, Dead()), patience=2.0)

    def hopeless() -> None:
        with rig.step("ask", 10):
            assert 19 < rig.left() <= 20
            rig.found("a figure")
            rig.run("xl", "list")

    with pytest.raises(Failed, match="does not answer"):
        hopeless()
    (step,) = rig.steps
    assert (step.limit, step.found) == (20, "a figure")
    assert step.wrong.startswith("domain 0 does not answer")


def test_no_step_has_more_time_than_the_whole_run_has_left() -> None:
    rig = Rig(cast(Machine, Dead()), patience=2.0, within=7.0)
    with rig.step("wait", 10):
        assert 6 < rig.left() <= 7
    rig.within = 0.0
    with rig.step("wait", 10):
        assert rig.left() == 0.1


def test_a_step_past_its_time_has_hardly_any_left() -> None:
    rig = Rig(cast(Machine, Dead()))
    with rig.step("wait", 0.01):
        time.sleep(0.02)
        assert rig.left() == 0.1


@pytest.mark.parametrize("wrong", [["nonsense"], ["--patience", "0"], ["--within", "-1"], ["--keep", str(PROJECT)]])
def test_wrong_use_is_told(wrong: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.xen", *wrong], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert wrong[-1] in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("wrong", [str(PROJECT / "traces/recorded/xen/boot"), str(PROJECT / "docs"), "absent"])
def test_what_cannot_be_kept_is_told(wrong: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.xen.keep", wrong], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert wrong in done.stderr.splitlines()[-1]


def test_a_scenarios_recording_is_its_part_of_the_logs_after_the_machines_start(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    texts = {
        "xenstored.trace": "start\n", "console/guest-backend.log": "", "console/guest-guest.log": "",
        "tmp/service.log": "serves\n",
    }  # fmt: skip
    places = (TRACE, f"{CONSOLES}/guest-backend.log", f"{CONSOLES}/guest-guest.log", "/tmp/service.log")
    there = dict(zip(texts, places, strict=True))
    sizes: list[dict[str, int]] = []
    for said in ("", "first\n", '{"t": 1}\nit and a cut li', "ne\n"):
        for name in texts:
            texts[name] += said
        sizes.append({there[name]: len(text) for name, text in texts.items()})
    for name, text in texts.items():
        (logs / name).parent.mkdir(parents=True, exist_ok=True)
        (logs / name).write_text(text)
    part = Part("second", "It happens.", sizes[0], sizes[1], sizes[2], frontends={7: "device"})
    cut(logs, part, tmp_path / "recording", {"xen": "4.17"})
    found = {
        str(path.relative_to(tmp_path / "recording"))[:-3]: lzma.decompress(path.read_bytes()).decode()
        for path in (tmp_path / "recording").rglob("*.xz")
    }
    part_of_it = '{"t": 1}\nit and a cut line\n'
    assert found == {
        "xenstored.trace": f"start\n{part_of_it}", "console/guest-backend.log": part_of_it,
        "console/guest-guest.log": part_of_it, "console/dom0-service.log": part_of_it,
    }  # fmt: skip
    told = json.loads((tmp_path / "recording" / "recording.json").read_text())
    check(told, RECORDING, "recording.json", part="folder")
    assert told["frontends"] == {"7": "device"}
    assert {name: len(text) for name, text in found.items()} == {
        name: file["bytes"] for name, file in told["files"].items()
    }


def test_the_tables_show_each_scenario_and_each_domain(tmp_path: Path) -> None:
    steps = [
        Step("boot", "it is up", 10.4, 60, "", processor=3.0), Step("boot", "it works", 2.0, 60, "", processor=1.4),
        Step("tis", "it is read", 1.0, 60, "", "it is not"), Step("tis", "it is left", 0.5, 60, ""),
    ]  # fmt: skip
    assert summary.scenarios(steps).splitlines() == [
        "scenario  steps  seconds  processor  longest step",
        "boot          2       12          4  it is up (10 s)   holds",
        "tis           2        2          0  it is read (1 s)  falls short: it is read",
    ]
    built = Images(tmp_path)
    for file in (built.xen, built.kernel, built.dom0, built.domain):
        file.write_bytes(bytes(1 << 20))
    memory = {"Domain-0": Memory(768, 700_000, 70_000), "guest": Memory(128, 100_000, 9_000)}
    assert summary.domains(memory, built).splitlines() == [
        "domain    MiB  usable  left  first file system",
        "Domain-0  768     683    68  dom0.cpio, 1.0 MiB",
        "guest     128      97     8  domain.cpio, 1.0 MiB",
        "xen.elf 1.0 MiB, vmlinux 1.0 MiB",
    ]


def test_commands_are_whole_packets_and_sysfs_is_read() -> None:
    for command in (tpm12.pcr_read(3), tpm12.extend(1, b"x"), tpm12.get_random(8), tpm12.make_key()):
        data = bytes.fromhex(command)
        assert int.from_bytes(data[2:6], "big") == len(data)
    text = "".join(f"PCR-{number:02}: {'AB ' * 19}{number:02X} \n" for number in range(24))
    assert tpm12.pcrs_of_sysfs(text) == [f"{'ab' * 19}{number:02x}" for number in range(24)]


def test_every_xl_file_says_what_it_is() -> None:
    files = sorted((Path(__file__).parent / "xl").glob("*.cfg"))
    assert files
    for file in files:
        assert file.read_text().startswith("# ")
