"""Debian's xenstored as a peer: run on this host with pretended domains, and spoken to as any of them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import mmap
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

HERE = Path(__file__).resolve().parent
XENSTORED: Final = Path(os.environ.get("XENSTORED", "/usr/lib/xen-4.17/bin/xenstored"))
HEADER: Final = struct.Struct("=IIII")
PATIENCE: Final = 20.0
"""Seconds after which a peer that says nothing is taken for broken."""

Frame = tuple[int, int, int, bytes]
"""type, request id, transaction id, payload. The framing is written here again: a peer is not spoken to with ours."""


class PeerError(Exception):
    """The peer did something that is no answer: it hung, closed the connection, or went away."""


def available() -> str | None:
    """Say why xenstored cannot be run here, if it cannot."""
    if not XENSTORED.exists():
        return f"{XENSTORED} is not installed (Debian package xen-utils-4.17)"
    for tool in ("gcc", "make"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    return None


def required() -> None:
    """Skip the test with a plain word where there is no xenstored; in continuous integration fail."""
    reason = available()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and continuous integration must have it")
        pytest.skip(f"unsupported here: {reason}")


@functools.cache
def shim() -> Path:
    """Give the library for preloading, built once for this process; its warnings are errors."""
    folder = tempfile.TemporaryDirectory(prefix="shim")
    atexit.register(folder.cleanup)
    library = Path(folder.name) / "shim.so"
    subprocess.run(["make", "--silent", "-C", HERE, f"OUT={library}"], check=True)
    return library


class Channel:
    """A connection to a store, whatever carries it: whole messages go in, whole messages come out."""

    def __init__(self) -> None:
        self._held = b""
        self._request = 0

    def send(self, kind: int, payload: bytes, transaction: int = 0) -> int:
        """Send a request and give its id."""
        self._request += 1
        self._push(HEADER.pack(kind, self._request, transaction, len(payload)) + payload)
        return self._request

    def receive(self) -> Frame:
        """Give the next message, be it a reply or an event."""
        while True:
            if len(self._held) >= HEADER.size:
                kind, request, transaction, size = HEADER.unpack_from(self._held)
                if len(self._held) >= HEADER.size + size:
                    payload = self._held[HEADER.size : HEADER.size + size]
                    self._held = self._held[HEADER.size + size :]
                    return kind, request, transaction, payload
            self._held += self._pull()

    def close(self) -> None:
        """Leave."""
        raise NotImplementedError

    def _push(self, data: bytes) -> None:
        raise NotImplementedError

    def _pull(self) -> bytes:
        raise NotImplementedError


class SocketChannel(Channel):
    """The control domain's connection, or that of any client of a store that listens on a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _push(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _pull(self) -> bytes:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise PeerError(f"no answer within {PATIENCE} s") from None
        if not data:
            raise PeerError("the peer has closed the connection")
        return data


class RingChannel(Channel):
    """A pretended guest's connection: the ring page of io/xs_wire.h, 1024 bytes each way, and an event channel."""

    SIZE: Final = 1024
    REQUESTS, RESPONSES = 0, 1024
    REQUEST_CONS, REQUEST_PROD, RESPONSE_CONS, RESPONSE_PROD = 2048, 2052, 2056, 2060

    def __init__(self, folder: Path, domid: int) -> None:
        super().__init__()
        self._port = struct.pack("=I", 1000 + domid)
        with (folder / f"ring.{domid}").open("r+b") as page:
            self._page = mmap.mmap(page.fileno(), 4096)
        self._kicks = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._kicks.settimeout(PATIENCE)
        self._at = folder / f"kick.{domid}"
        self._at.unlink(missing_ok=True)
        self._kicks.bind(str(self._at))
        self._events = str(folder / "events")

    def close(self) -> None:
        self._kicks.close()
        self._at.unlink(missing_ok=True)
        self._page.close()

    def _index(self, at: int) -> int:
        return int.from_bytes(self._page[at : at + 4], "little")

    def _advance(self, at: int, by: int) -> None:
        self._page[at : at + 4] = ((self._index(at) + by) & 0xFFFFFFFF).to_bytes(4, "little")

    def _kick(self) -> None:
        self._kicks.sendto(self._port, self._events)

    def _wait(self) -> None:
        try:
            self._kicks.recv(16)
        except TimeoutError:
            raise PeerError(f"no event within {PATIENCE} s") from None

    def _push(self, data: bytes) -> None:
        while data:
            used = (self._index(self.REQUEST_PROD) - self._index(self.REQUEST_CONS)) & 0xFFFFFFFF
            at = self._index(self.REQUEST_PROD) % self.SIZE
            room = min(self.SIZE - used, self.SIZE - at, len(data))
            if room == 0:
                self._wait()
                continue
            self._page[self.REQUESTS + at : self.REQUESTS + at + room] = data[:room]
            self._advance(self.REQUEST_PROD, room)
            data = data[room:]
            self._kick()

    def _pull(self) -> bytes:
        while True:
            there = (self._index(self.RESPONSE_PROD) - self._index(self.RESPONSE_CONS)) & 0xFFFFFFFF
            at = self._index(self.RESPONSE_CONS) % self.SIZE
            size = min(there, self.SIZE - at)
            if size:
                data = self._page[self.RESPONSES + at : self.RESPONSES + at + size]
                self._advance(self.RESPONSE_CONS, size)
                self._kick()
                return data
            self._wait()


class Xenstored:
    """A running xenstored and its pretended domains."""

    def __init__(self, folder: Path, options: Sequence[str] = (), *, clock: str = "leaping") -> None:
        """Start one in a folder of its own with further command-line options; `clock` "real" leaves time alone."""
        self._folder = folder
        (folder / "xsd_kva").write_bytes(bytes(4096))
        (folder / "xsd_port").write_text("1")
        environment = os.environ | {
            "LD_PRELOAD": str(shim()),
            "XSD_SHIM_DIR": str(folder),
            "XSD_SHIM_CLOCK": clock,
            "XENSTORED_RUNDIR": str(folder),
            "XENSTORED_ROOTDIR": str(folder),
        }
        # a watch event that a guest is slow to take is dropped after a while, by a clock that leaps here
        command = [str(XENSTORED), "--no-fork", "--timeout", "watch-event=0", *options]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)
        self._wait_until_it_answers()

    @property
    def socket(self) -> Path:
        """Where the control domain connects."""
        return self._folder / "socket"

    def log(self) -> str:
        """Give what it has said so far."""
        return (self._folder / "log").read_text(errors="replace")

    def connect(self, domid: int) -> Channel:
        """Give a connection of the control domain, or that of a guest, which must have been introduced."""
        return RingChannel(self._folder, domid) if domid else SocketChannel(self.socket)

    def add_domain(self, domid: int) -> None:
        """Let a domain exist, with a fresh ring page; it is for the control domain to introduce it."""
        ring = self._folder / f"ring.{domid}"
        ring.unlink(missing_ok=True)  # a page that is still mapped somewhere must not shrink under anybody
        ring.write_bytes(bytes(4096))
        (self._folder / f"dom.{domid}").write_bytes(b"r")

    def drop_domain(self, domid: int) -> None:
        """Let a domain exist no longer, and wait until xenstored has taken notice."""
        (self._folder / f"dom.{domid}").unlink()
        self._tell()

    def shut_down(self, domid: int) -> None:
        """Let a domain have shut down, and wait until xenstored has taken notice."""
        (self._folder / f"dom.{domid}").write_bytes(b"s")
        self._tell()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _tell(self) -> None:
        heard_at = self._folder / "kick.0"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
            here.settimeout(PATIENCE)
            here.bind(str(heard_at))
            here.sendto(struct.pack("=I", 1), str(self._folder / "events"))
            here.recv(1)
        heard_at.unlink()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PeerError(f"xenstored ended with {self._process.returncode}: {self.log()}")
            with contextlib.suppress(OSError):
                SocketChannel(self.socket).close()
                return
            time.sleep(0.01)
        self.stop()
        raise PeerError(f"xenstored does not listen within {PATIENCE} s: {self.log()}")


@contextlib.contextmanager
def running(folder: Path, options: Sequence[str] = (), *, clock: str = "leaping") -> Iterator[Xenstored]:
    """Run one for the length of a block."""
    peer = Xenstored(folder, options, clock=clock)
    try:
        yield peer
    finally:
        peer.stop()
