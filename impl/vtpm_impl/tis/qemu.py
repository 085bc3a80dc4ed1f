"""A machine with a TPM for trying things out: Debian's QEMU, whose processor never starts, and swtpm behind its TIS."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from vtpm_impl.tis.errors import CarrierError
from vtpm_impl.tis.qtest import PATIENCE, QTest
from vtpm_impl.tis.registers import BASE
from vtpm_impl.tpm.family import Family

PROGRAMS: Final = {"qemu-system-x86_64": "qemu-system-x86", "swtpm": "swtpm", "setpriv": "util-linux"}
"""What is run, and the Debian package that has it."""


class MachineError(Exception):
    """The machine cannot be started, or does not do what it is told; the message says why."""


def missing() -> str | None:
    """Say what must be installed before a machine can be started, if anything."""
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian package {package})"
    return None


class Machine:
    """QEMU and swtpm, as a context manager, and the port at which the TPM's registers are, also after a restart.

    All channels are pairs of sockets that both programs inherit, so that nobody else meets them. Both end with the
    thread that started them, whatever becomes of it.
    """

    def __init__(
        self,
        family: Family = Family.TPM_1_2,
        *,
        base: int = BASE,
        patience: float = PATIENCE,
        tpm: Sequence[str] = ("swtpm",),
    ) -> None:
        """Start nothing yet.

        `base`: where the port looks for the TPM; `patience`: seconds for one access; `tpm`: what is started with the
        arguments of swtpm.
        """
        self._family = family
        self._tpm = tpm
        self._base = base
        self._patience = patience
        self._state = tempfile.TemporaryDirectory(prefix="vtpm")
        self._errors = Path(self._state.name) / "errors"
        self._running: contextlib.ExitStack | None = None
        self._registers: QTest | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except MachineError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start both programs; a TPM that was stopped keeps what it had stored. Raises MachineError."""
        if (reason := missing()) is not None:
            raise MachineError(reason)
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(self._errors.open("wb"))
            control, controlled = _pair(stack)
            registers, qtest = _pair(stack)
            monitor, monitored = _pair(stack)
            self.tpm = _start(
                stack, errors, (controlled,), [*self._tpm, "socket", "--tpmstate", f"dir={self._state.name}",
                *(["--tpm2"] if self._family is Family.TPM_2_0 else []),
                "--ctrl", f"type=unixio,clientfd={controlled.fileno()}"],
            )  # fmt: skip
            self.qemu = _start(
                stack, errors, (control, qtest, monitored), ["qemu-system-x86_64", "-nodefaults", "-no-user-config",
                "-machine", "q35", "-accel", "tcg", "-S", "-m", "16", "-display", "none",
                "-chardev", f"socket,id=qtest,fd={qtest.fileno()}", "-qtest", "chardev:qtest",
                "-qtest-log", "/dev/null",
                "-chardev", f"socket,id=monitor,fd={monitored.fileno()}", "-mon", "chardev=monitor,mode=control",
                "-chardev", f"socket,id=tpm,fd={control.fileno()}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
                "-device", "tpm-tis,tpmdev=tpm0"],
            )  # fmt: skip
            monitor.settimeout(self._patience)
            self._monitor = monitor
            self._events = stack.enter_context(monitor.makefile("rb"))
            try:
                self._heard("QMP")
                self._command("qmp_capabilities")
                self._registers = QTest(registers, base=self._base, patience=self._patience)
            except (CarrierError, MachineError) as error:
                raise MachineError(f"QEMU does not start: {error}; {self._log()}") from error
            self._running = stack.pop_all()

    def stop(self) -> None:
        """Switch the machine off. What the TPM has stored remains."""
        if self._running is not None:
            self._running.close()
            self._running = self._registers = None

    def reset(self) -> None:
        """Press the machine's reset button: the TPM starts anew, and waits for TPM_Startup. Raises MachineError."""
        if self._running is None:
            raise MachineError("the machine is switched off")
        self._command("system_reset", "RESET")

    def read(self, offset: int, width: int) -> int:
        """Read a register, as `Port` says."""
        return self._qtest().read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register, as `Port` says."""
        self._qtest().write(offset, width, value)

    def wait(self, lines: Collection[int], seconds: float) -> int | None:
        """Wait for an interrupt, as `Interrupts` says."""
        return self._qtest().wait(lines, seconds)

    def close(self) -> None:
        """Switch the machine off, and forget what the TPM had stored."""
        self.stop()
        self._state.cleanup()

    def _qtest(self) -> QTest:
        if self._registers is None:
            raise CarrierError("the machine is switched off")
        return self._registers

    def _log(self) -> str:
        """What the programs said last."""
        return " ".join(self._errors.read_text("utf-8", "replace").split())[-500:] or "nothing was said"

    def _command(self, name: str, event: str | None = None) -> None:
        """Give the monitor a command, and wait until it is done, and has had the event that tells so."""
        try:
            self._monitor.sendall(json.dumps({"execute": name}).encode() + b"\n")
        except OSError as error:
            raise MachineError(f"QEMU does not take {name!r}: {error.strerror or error}") from error
        wanted = {"return", event} - {None}
        while wanted:
            wanted.discard(self._heard(*wanted))

    def _heard(self, *wanted: str | None) -> str:
        """The name of the next message of the monitor that is one of these."""
        while True:
            try:
                line = self._events.readline()
            except OSError as error:
                raise MachineError(f"QEMU's monitor says nothing: {error.strerror or error}") from error
            message: dict[str, Any] = json.loads(line) if line else {}
            for name in (message.get("event"), *message):
                if name in wanted and name is not None:
                    return str(name)
            if not message or "error" in message:
                raise MachineError(f"QEMU says {line!r} where {' or '.join(map(str, wanted))} was expected")


def _pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    return stack.enter_context(near), stack.enter_context(far)


def _start(
    stack: contextlib.ExitStack, errors: BinaryIO, sockets: Sequence[socket.socket], command: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Start a program that inherits the sockets; they are closed here."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        pass_fds=[one.fileno() for one in sockets],
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    for one in sockets:
        one.close()
    return process
