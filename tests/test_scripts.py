"""The script for Debian packages installs what is missing when it may, and otherwise says what to run."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "debian-packages.sh"


class Machine:
    """A folder of commands that stands in for a machine; apt-get writes down how it was called."""

    def __init__(self, folder: Path, *, root: bool) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.called = folder / "called"
        self.add("id", f"echo {0 if root else 1000}")
        self.add("apt-get", f'echo "$@" >> {self.called}')
        self.add("gcc")
        self.add("xenstored")

    def add(self, name: str, body: str = "exit 0") -> None:
        command = self.bin / name
        command.write_text(f"#!/bin/sh\n{body}\n")
        command.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "XENSTORED": str(self.bin / "xenstored")}
        return subprocess.run(
            ["/bin/sh", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    @property
    def apt_calls(self) -> list[str]:
        return self.called.read_text().splitlines() if self.called.exists() else []


def test_nothing_is_done_when_nothing_is_missing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=True)
    for name in ("git", "make", "python3"):
        machine.add(name)
    assert machine.run().returncode == 0
    assert machine.apt_calls == []


def test_root_gets_the_missing_packages_installed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=True)
    machine.add("git")
    machine.add("python3", "exit 1")  # there, but without venv
    assert machine.run().returncode == 0
    update, install = machine.apt_calls
    assert update == "update"
    assert install == "install --yes --no-install-recommends make python3-venv python3-dev"


def test_what_the_peers_of_the_tests_need_is_installed_when_asked_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=True)
    for name in ("git", "make", "python3"):
        machine.add(name)
    (machine.bin / "xenstored").unlink()
    assert machine.run().returncode == 0
    assert machine.apt_calls == []
    assert machine.run("peers").returncode == 0
    peers = "xen-utils-4.17 swtpm qemu-system-x86 tpm2-tools tpm-tools"
    assert machine.apt_calls[1] == f"install --yes --no-install-recommends {peers}"


def test_a_compiler_without_the_headers_of_the_c_library_is_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=True)
    for name in ("git", "make", "python3"):
        machine.add(name)
    machine.add("gcc", "exit 1")
    assert machine.run().returncode == 0
    assert machine.apt_calls[1] == "install --yes --no-install-recommends gcc libc6-dev"


@pytest.mark.parametrize("there", ["git", "make", "python3"])
def test_others_are_told_the_one_line_to_run(tmp_path: Path, there: str) -> None:
    machine = Machine(tmp_path, root=False)
    machine.add(there)
    packages = {"git": "git", "make": "make", "python3": "python3-venv python3-dev"}
    missing = " ".join(package for command, package in packages.items() if command != there)
    said = machine.run()
    assert said.returncode == 1
    [line] = said.stderr.splitlines()
    assert line.endswith(f"apt-get update && apt-get install --yes --no-install-recommends {missing}")
    assert machine.apt_calls == []
