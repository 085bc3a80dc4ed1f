"""Registers of a machine that QEMU emulates, through its qtest socket: no guest runs, each access is one line of text.

QEMU says `IRQ raise LINE` and `IRQ lower LINE` between its answers, once it was asked to.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from vtpm_impl.tis.errors import CarrierError
from vtpm_impl.tis.registers import BASE

PATIENCE: Final = 60.0
"""Seconds for one access: QEMU's TPM holds up the whole machine while a command that is aborted runs to its end."""

LONGEST: Final = 1000
"""Bytes of a line of QEMU's."""

_LETTER: Final = {8: "b", 16: "w", 32: "l"}


class QTest:
    """One connection to QEMU. After a CarrierError it is of no more use."""

    def __init__(self, stream: socket.socket, *, base: int = BASE, patience: float = PATIENCE) -> None:
        """Speak through a stream to QEMU, about the registers at the physical address `base`."""
        self._stream = stream
        self._base = base
        self._patience = patience
        self._held = b""
        self._raised: list[int] = []
        self._ask("irq_intercept_in ioapic")

    @classmethod
    def at(cls, path: Path, *, base: int = BASE, patience: float = PATIENCE) -> QTest:
        """Connect to QEMU at a socket; where nobody listens, listen, and wait until QEMU connects. CarrierError."""
        stream = socket.socket(socket.AF_UNIX)
        try:
            try:
                stream.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                stream.close()
                stream = _await_qemu(path, patience)
            return cls(stream, base=base, patience=patience)
        except OSError as error:
            stream.close()
            raise CarrierError(f"QEMU's socket {str(path)!r}: {error.strerror or error}") from error
        except CarrierError:
            stream.close()
            raise

    def read(self, offset: int, width: int) -> int:
        """Let QEMU read."""
        request = f"read{_LETTER[width]} {self._base + offset:#x}"
        told = self._ask(request)
        try:
            value = int(told, 16)
        except ValueError:
            value = -1
        if not 0 <= value < 1 << width:
            raise CarrierError(f"QEMU answers {told!r} to {request!r}; a number of {width} bits is meant")
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Let QEMU write."""
        self._ask(f"write{_LETTER[width]} {self._base + offset:#x} {value:#x}")

    def wait(self, lines: Collection[int], seconds: float) -> int | None:
        """A line of the interrupt controller that was raised, told once for each time."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self._raised:
                if line in lines:
                    self._raised.remove(line)
                    return line
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            with contextlib.suppress(TimeoutError):
                self._note(self._line(left))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def _ask(self, request: str) -> str:
        try:
            self._stream.settimeout(self._patience)
            self._stream.sendall(request.encode() + b"\n")
            while True:
                word, _, rest = (line := self._line(self._patience)).partition(" ")
                if word == "OK":
                    return rest
                if word != "IRQ":
                    raise CarrierError(f"QEMU answers {line!r} to {request!r}")
                self._note(line)
        except TimeoutError as error:
            self.close()  # a late answer must not be taken for that of the next request
            raise CarrierError(f"QEMU did not answer {request!r} in {self._patience:g} s") from error
        except OSError as error:
            raise CarrierError(f"QEMU did not answer {request!r}: {error.strerror or error}") from error

    def _line(self, seconds: float) -> str:
        self._stream.settimeout(seconds)
        while b"\n" not in self._held:
            if len(self._held) > LONGEST:
                raise CarrierError(f"QEMU says a line of more than {LONGEST} bytes: {self._held[:40]!r}")
            try:
                piece = self._stream.recv(4096)
            except TimeoutError:
                raise
            except OSError as error:
                raise CarrierError(f"the connection to QEMU is lost: {error.strerror or error}") from error
            if not piece:
                raise CarrierError("QEMU has closed the connection")
            self._held += piece
        line, _, self._held = self._held.partition(b"\n")
        return line.decode("ascii", "replace").rstrip("\r")

    def _note(self, line: str) -> None:
        word, edge, number = [*line.split(), "", ""][:3]
        if word != "IRQ" or not number.isdecimal():
            raise CarrierError(f"QEMU says {line!r}, which nobody asked for")
        if edge == "raise" and int(number) not in self._raised:
            self._raised.append(int(number))


def _await_qemu(path: Path, patience: float) -> socket.socket:
    """Take the place of a socket at which nobody listens, and the connection of the QEMU that finds it."""
    if path.is_socket():
        path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        try:
            listener.listen(1)
            listener.settimeout(patience)
            stream, _ = listener.accept()
        finally:
            path.unlink(missing_ok=True)
    return stream
