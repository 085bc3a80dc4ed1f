"""Event channels: a bit for each end in shared memory, and a FIFO for each end that wants to be told by a descriptor.

The bits follow Xen's rules: a send to an end that is not bound is lost, many sends are one bit, a bind sets the
binder's, and a close unbinds. Of an end whose process died the word still says that it is bound: what is sent there is
lost all the same, as the next to bind it finds its bit set anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Final

from vtpm_impl.xen.host.bits import SIZE, Bits
from vtpm_impl.xen.host.locks import try_lock
from vtpm_impl.xen.platform import Unavailable

BITS: Final = "bits"
"""The file of both words."""

ENDS: Final = ("opener", "binder")
"""The FIFO of the domain that opened the channel, and of the one that it was opened for: ends 0 and 1."""

_PIECE: Final = 4096


class HostPort:
    """One end. Its folder is the opener's, and goes with that end; the binder's end is unbound from then on."""

    def __init__(self, number: int, folder: Path, end: int, held: set[HostPort]) -> None:
        """`held` is where its owner finds it, as long as it is open. Raises OSError, and Unavailable if it is taken."""
        self._number = number
        self._folder = folder
        self._end = end
        self._peer = folder / ENDS[1 - end]
        self._out = -1
        self._held = held
        # for writing too: else it would be at its end, and readable, where nobody writes
        self._descriptor = os.open(folder / ENDS[end], os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not try_lock(self._descriptor):
                raise Unavailable(f"port {folder.name} is bound already")
            words = os.open(folder / BITS, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._bits = Bits(words, end)
            finally:
                os.close(words)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.wait = self._bits.wait
        held.add(self)

    @classmethod
    def open(cls, ports: Path, number: int, peer: int, held: set[HostPort]) -> HostPort:
        """Make an unbound channel in this domain's folder of ports, for `peer` to bind."""
        folder = ports / f"{number}-{peer}"
        folder.mkdir(mode=0o700)
        for name in ENDS:
            os.mkfifo(folder / name, 0o600)
        with (folder / BITS).open("xb") as words:
            words.truncate(SIZE)
        port = cls(number, folder, 0, held)
        port._bits.bind(0)
        return port

    @classmethod
    def bind(cls, ports: Path, number: int, own: int, local: int, held: set[HostPort]) -> HostPort:
        """Bind a channel in the other domain's folder of ports; this end's bit is set. Raises Unavailable."""
        try:
            port = cls(local, ports / f"{number}-{own}", 1, held)
        except OSError:
            raise Unavailable(f"there is no port {number} for domain {own} to bind") from None
        port._bits.bind(1)
        os.write(port._descriptor, b"\1")
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
        if self._bits.is_told():
            # first: a byte that is read after the bit was cleared may be that of the next event, which says it is told
            with contextlib.suppress(BlockingIOError):
                while len(os.read(self._descriptor, _PIECE)) == _PIECE:
                    pass
        return self._bits.take()

    def notify(self) -> None:
        """Set the bit of the other end, if that is bound."""
        if self._bits.notify():
            self._tell()

    def _tell(self) -> None:
        try:
            if self._out < 0:
                self._out = os.open(self._peer, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._out, b"\1")
        except OSError as error:
            # full: it is told. ENXIO, EPIPE: no one reads, for now; ENOENT: nor will ever
            if error.errno not in (errno.EAGAIN, errno.ENXIO, errno.EPIPE, errno.ENOENT):
                raise

    def close(self) -> None:
        """Close this end."""
        self._held.discard(self)
        self._bits.close()
        if self._end == 0:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._out >= 0:
            os.close(self._out)
        os.close(self._descriptor)
