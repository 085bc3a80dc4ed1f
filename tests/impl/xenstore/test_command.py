"""`vtpm xenstore`: what people see, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vtpm_impl.cli import app
from vtpm_impl.xen.xenstore.client import Client
from vtpm_impl.xen.xenstore.server import Server, socket_path


@pytest.fixture
def folder() -> Iterator[Path]:
    # not tmp_path: a socket's path has to be short
    with tempfile.TemporaryDirectory(prefix="xs") as made:
        yield Path(made)


@pytest.fixture
def served(folder: Path) -> Iterator[Path]:
    server = Server(folder)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield folder
    server.stop()
    thread.join()


def vtpm(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["xenstore", *words, "--run-dir", str(folder)])


def test_what_is_written_is_read_and_listed(served: Path) -> None:
    for path, value in (("/local/domain/1/name", "guest"), ("/local/domain/1/device/vtpm/0/state", "1")):
        assert vtpm(served, "write", path, value).exit_code == 0
    assert vtpm(served, "read", "/local/domain/1/name").output == "guest\n"
    assert vtpm(served, "ls", "/local/domain/1").output == 'name = "guest"\ndevice = ""\n'
    assert vtpm(served, "tree", "/local/domain", "-p").output.splitlines() == [
        '1 = ""  (n0)',
        '  name = "guest"  (n0)',
        '  device = ""  (n0)',
        '    vtpm = ""  (n0)',
        '      0 = ""  (n0)',
        '        state = "1"  (n0)',
    ]
    [row] = json.loads(vtpm(served, "tree", "/local/domain/1/device/vtpm/0", "--json").output)
    assert row == {"path": "/local/domain/1/device/vtpm/0/state", "name": "state", "depth": 0, "value": "1"}
    assert vtpm(served, "rm", "/local").exit_code == 0
    assert vtpm(served, "ls").output == 'tool = ""\n'


def test_a_value_of_any_bytes_is_shown_as_it_can_be_written(served: Path) -> None:
    with Client.connect(socket_path(served, 0)) as store:
        store.write("/a", bytes(range(256)))
        shown = vtpm(served, "read", "/a").output.removesuffix("\n")
        assert shown.isascii()
        assert shown.isprintable()
        assert vtpm(served, "write", "/b", shown).exit_code == 0
        assert store.read("/b") == bytes(range(256))
        assert vtpm(served, "write", "/b", "caf\xe9").exit_code == 0
        assert store.read("/b") == "caf\xe9".encode()


def test_a_domain_sees_what_it_may(served: Path) -> None:
    socket_path(served, 1).parent.mkdir()
    with Client.connect(socket_path(served, 0)) as control:
        control.introduce(1)
        control.write("/local/domain/1/shown", b"yes")
        control.write("/local/domain/1/hidden", b"no")
        for path, permission in (("", "n1"), ("/shown", "n1")):
            control.set_perms(f"/local/domain/1{path}", [permission])
        said = vtpm(served, "ls", "/local/domain/1", "--domain", "1")
        assert said.output == 'shown = "yes"\nhidden = (not for us to see)\n'
        assert vtpm(served, "read", "shown", "--domain", "1").output == "yes\n"
        refused = vtpm(served, "read", "hidden", "--domain", "1")
        assert refused.exit_code == 1
        assert "read 'hidden': permission denied (EACCES)" in refused.output


def test_a_watch_tells_of_changes_and_ends_when_told_to(served: Path) -> None:
    def change() -> None:
        with Client.connect(socket_path(served, 0)) as store:
            time.sleep(0.3)
            store.write("/a/b", b"1")
            time.sleep(0.1)
            store.rm("/a")

    changing = threading.Thread(target=change)
    changing.start()
    said = vtpm(served, "watch", "/a", "--count", "3")
    changing.join()
    assert said.output.splitlines() == ["/a", '/a/b = "1"', "/a"]
    quiet = vtpm(served, "watch", "/nothing", "--seconds", "0.05", "--json")
    assert (quiet.exit_code, json.loads(quiet.output)) == (0, {"path": "/nothing", "value": None})


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("read", "/nowhere"), 1, "read '/nowhere': no such file or directory (ENOENT)"),
        (("read", "/a b"), 1, "read '/a b': invalid argument (EINVAL)"),
        (("rm", "/no/where"), 1, "rm '/no/where': no such file or directory (ENOENT)"),
        (("write", "/a", r"\x1"), 2, r"is no value: after a backslash, \xNN or another backslash is meant"),
        (("read", "/a", "--domain", "40000"), 2, "40000 is no domain; a domain has a number from 0 to 32751"),
        (("read", "/a", "--at", "/no/such/socket"), 1, "no store at '/no/such/socket'"),
        (("read",), 2, "PATH"),
    ],
)
def test_what_goes_wrong_is_told(served: Path, words: tuple[str, ...], code: int, sentence: str) -> None:
    said = vtpm(served, *words)
    assert said.exit_code == code
    assert sentence in said.output
    assert "Traceback" not in said.output


def test_without_a_store_the_path_is_told(folder: Path) -> None:
    said = vtpm(folder, "ls")
    assert said.exit_code == 1
    assert str(socket_path(folder, 0)) in said.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_served_store_ends_on_a_signal_and_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "vtpm_impl.cli", "xenstore", "serve", "--run-dir", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while not socket_path(folder, 0).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert "another server has the run directory" in second.stderr
        assert vtpm(folder, "ls").exit_code == 0
        os.kill(process.pid, number)
        assert process.wait(10) == 0
    assert [path.name for path in folder.rglob("*")] == ["domains"]


@pytest.mark.parametrize("command", ["ls", "tree", "read", "write", "rm", "watch", "serve"])
def test_each_command_has_help_with_an_example(folder: Path, command: str) -> None:
    said = CliRunner().invoke(app, ["xenstore", command, "--help"])
    assert said.exit_code == 0
    assert f"Example: vtpm xenstore {command}" in said.output
