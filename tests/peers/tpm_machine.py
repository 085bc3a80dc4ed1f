"""QEMU and swtpm as peers: where both are installed, a machine with a TPM behind the TIS can be started."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtpm_impl.tis.qemu import missing


def required() -> None:
    """Skip the test with a plain word where there is no such machine; in continuous integration fail."""
    reason = missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and continuous integration must have it")
        pytest.skip(f"unsupported here: {reason}")


@contextlib.contextmanager
def started(folder: Path, *, listens: bool, after: float = 0.0) -> Iterator[str]:
    """A machine with a TPM 1.2 as a user may start one; what the registers are called, as `--tis` takes it.

    `listens`: QEMU makes its socket; else it connects to one that it finds. `after`: seconds until it starts.
    """
    at = folder / "qtest"
    state = folder / "hardware"
    state.mkdir()
    with contextlib.ExitStack() as stack:
        ours, theirs = socket.socketpair()
        tpm = _run(stack, ours, "swtpm", "socket", "--tpmstate", f"dir={state}",
                   "--ctrl", f"type=unixio,clientfd={ours.fileno()}")  # fmt: skip
        command = [
            "sh", "-c", 'sleep "$0"; exec "$@"', str(after),
            "qemu-system-x86_64", "-nodefaults", "-machine", "q35", "-accel", "tcg", "-S", "-m", "16",
            "-display", "none", "-qtest-log", "/dev/null",
            "-qtest", f"unix:{at}" + (",server=on,wait=off" if listens else ""),
            "-chardev", f"socket,id=tpm,fd={theirs.fileno()}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
            "-device", "tpm-tis,tpmdev=tpm0",
        ]  # fmt: skip
        qemu = _run(stack, theirs, *command)
        while listens and not at.exists():
            assert (qemu.poll(), tpm.poll()) == (None, None)
            time.sleep(0.01)
        yield f"qtest:{at}"


def _run(stack: contextlib.ExitStack, inherited: socket.socket, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, pass_fds=[inherited.fileno()], stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    inherited.close()
    return process
