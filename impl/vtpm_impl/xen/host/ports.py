"""Event channels: a bit for each end, kept in a FIFO that the end itself holds open for reading as long as it is bound.

A FIFO has what Xen's rules ask for: a write to one that nobody reads fails, which is the send that an unbound end
loses; what many writes leave is read at once, which is the one bit; and the end of a process is that of its reading.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from vtpm_impl.xen.host.locks import try_lock
from vtpm_impl.xen.platform import Unavailable

OPENER: Final = "opener"
BINDER: Final = "binder"
"""The FIFO of the domain that opened the channel, and of the one that it was opened for."""

_PIECE: Final = 4096


class HostPort:
    """One end. Its folder is the opener's, and goes with that end; the binder's end is unbound from then on."""

    def __init__(self, number: int, folder: Path, own: str, peer: str, descriptor: int, held: set[HostPort]) -> None:
        self._number = number
        self._folder = folder
        self._own = own
        self._peer = folder / peer
        self._descriptor = descriptor
        self._out = -1
        self._held = held
        held.add(self)

    @classmethod
    def open(cls, ports: Path, number: int, peer: int, held: set[HostPort]) -> HostPort:
        """Make an unbound channel in this domain's folder of ports, for `peer` to bind."""
        folder = ports / f"{number}-{peer}"
        folder.mkdir(mode=0o700)
        os.mkfifo(folder / OPENER, 0o600)
        os.mkfifo(folder / BINDER, 0o600)
        return cls(number, folder, OPENER, BINDER, _open_own(folder / OPENER), held)

    @classmethod
    def bind(cls, ports: Path, number: int, own: int, local: int, held: set[HostPort]) -> HostPort:
        """Bind a channel in the other domain's folder of ports; this end's bit is set. Raises Unavailable."""
        folder = ports / f"{number}-{own}"
        try:
            descriptor = _open_own(folder / BINDER)
        except OSError:
            raise Unavailable(f"there is no port {number} for domain {own} to bind") from None
        if not try_lock(descriptor):
            os.close(descriptor)
            raise Unavailable(f"port {number} is bound already")
        port = cls(local, folder, BINDER, OPENER, descriptor, held)
        os.write(descriptor, b"\1")
        return port

    @property
    def number(self) -> int:
        """This domain's number of it."""
        return self._number

    def fileno(self) -> int:
        """The descriptor of the own FIFO."""
        return self._descriptor

    def take(self) -> bool:
        """Clear the bit; whether it was set."""
        taken = False
        try:
            while len(os.read(self._descriptor, _PIECE)) == _PIECE:
                taken = True
        except BlockingIOError:
            return taken
        return True

    def notify(self) -> None:
        """Set the bit of the other end, if that is bound."""
        try:
            if self._out < 0:
                self._out = os.open(self._peer, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._out, b"\1")
        except OSError as error:
            # full: the bit is set. ENXIO, EPIPE: no one reads, for now; ENOENT: nor will ever
            if error.errno not in (errno.EAGAIN, errno.ENXIO, errno.EPIPE, errno.ENOENT):
                raise

    def close(self) -> None:
        """Close this end."""
        self._held.discard(self)
        if self._own == OPENER:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._out >= 0:
            os.close(self._out)
        os.close(self._descriptor)


def _open_own(fifo: Path) -> int:
    """Open the FIFO of an end. For writing too: else it would be at its end, and readable, where nobody writes."""
    return os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
