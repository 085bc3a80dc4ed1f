"""Serves a store over Unix sockets, one path for each domain: who can open a path is that domain.

Below the run directory, domain N is the folder `domains/N`, which whoever creates domains makes and takes away. A
domain that is introduced finds `domains/N/xenstore` there, a socket that only the user of this host who started the
server can open; the control domain's is there from the start. What comes in through a socket is a request of its
domain, whatever it says: there is nothing in it that could say otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import selectors
import socket
import time
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Final

from vtpm_impl.xen.xenstore.quotas import Quotas
from vtpm_impl.xen.xenstore.store import CONTROL_DOMAIN, Connection, Delivery, DomainState, StateOf, Store
from vtpm_impl.xen.xenstore.wire import Decoder, Message, MessageType, ProtocolError, encode

SOCKET: Final = "xenstore"
PIECE: Final = 4096
"""Bytes that are taken from one client before the next has its turn."""
BUSY: Final = 65536
"""Bytes on their way to a client at which no further request of it is taken, until it reads."""
HOPELESS: Final = 4 << 20
"""Bytes on their way to a client at which it is given up: it is told by the end of its connection."""
AT_ONCE: Final = 64
"""Messages that are given to the host in one go."""
CLIENTS: Final = 16
"""Connections that a guest may have open; the control domain may have as many as the host allows."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at which domains are still there."""

_LONGEST_SOCKET_PATH: Final = 107


class ServerError(Exception):
    """The server cannot start; the message says why, with the path that is to blame."""


def socket_path(run_directory: Path, domid: int) -> Path:
    """Give the path at which a domain connects."""
    return run_directory / "domains" / str(domid) / SOCKET


class _Client:
    """One open connection: what has come in of it, and what is on its way out."""

    def __init__(self, stream: socket.socket, connection: Connection) -> None:
        self.stream = stream
        self.connection = connection
        self.decoder = Decoder()
        self.outgoing: deque[bytes] = deque()
        self.waiting = 0  # bytes in `outgoing`
        self.events: set[bytes] = set()  # the events in `outgoing` of which nothing has been sent yet
        self.mask = selectors.EVENT_READ

    def queue(self, frame: bytes, *, event: bool) -> None:
        """Put a message into the way out; an event that is waiting there already is not put there twice."""
        if event:
            if frame in self.events:
                return
            self.events.add(frame)
        self.outgoing.append(frame)
        self.waiting += len(frame)

    def flush(self) -> None:
        """Send what the client takes now. Raises OSError if there is no client any more."""
        while self.outgoing:
            try:
                sent = self.stream.send(b"".join(islice(self.outgoing, AT_ONCE)))
            except BlockingIOError:
                return
            self.waiting -= sent
            while sent:
                frame = self.outgoing.popleft()
                self.events.discard(frame)
                if sent < len(frame):
                    self.outgoing.appendleft(frame[sent:])
                    break
                sent -= len(frame)


class Server:
    """A store and the sockets through which domains reach it. One thread runs `serve`; any may call `stop`."""

    def __init__(self, run_directory: Path, quotas: Quotas | None = None, *, state_of: StateOf | None = None) -> None:
        """Take a run directory, which is made if need be and may hold what an earlier server left behind.

        `state_of` tells what became of a domain; without it, a domain is there as long as its folder is.
        `ServerError` if another server has it, or if its path is too long for a socket.
        """
        self._directory = run_directory.absolute()
        longest = len(os.fsencode(socket_path(self._directory, 0xFFFF)))
        if longest > _LONGEST_SOCKET_PATH:
            too_long = longest - _LONGEST_SOCKET_PATH
            raise ServerError(f"the path of the run directory {str(run_directory)!r} is {too_long} bytes too long")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._directory / "domains").mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ServerError(f"the run directory {str(run_directory)!r} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise ServerError(f"another server has the run directory {str(run_directory)!r}") from None
        for stale in self._directory.glob(f"domains/*/{SOCKET}"):
            stale.unlink()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._store = Store(state_of or self._state_of, quotas)
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[int, socket.socket] = {}
        self._clients: dict[Connection, _Client] = {}
        self._touched: set[_Client] = set()
        self._woken, self._wake = os.pipe()
        self._stopping = False
        self._selector.register(self._woken, selectors.EVENT_READ)
        (self._directory / "domains" / str(CONTROL_DOMAIN)).mkdir(mode=0o700, exist_ok=True)
        self._follow_introductions()

    def serve(self) -> None:
        """Serve until `stop` is called, then take everything away again."""
        next_look = time.monotonic() + LOOK_EVERY
        try:
            while not self._stopping:
                for key, mask in self._selector.select(max(0.0, next_look - time.monotonic())):
                    if isinstance(key.data, _Client):
                        self._turn(key.data, mask)
                    elif isinstance(key.data, int):
                        self._accept(key.data)
                    else:
                        os.read(self._woken, 64)
                        next_look = 0.0
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + LOOK_EVERY
                    self._deliver(self._store.check_domains())
                    self._follow_introductions()
                    self._flush()
        finally:
            self._close()

    def stop(self) -> None:
        """Let `serve` return. May be called from another thread, and from a signal handler."""
        self._stopping = True
        self.look()

    def look(self) -> None:
        """Let `serve` look now at which domains are still there. May be called from wherever `stop` may."""
        with contextlib.suppress(OSError):  # it has ended already
            os.write(self._wake, b"!")

    # ---- domains ----------------------------------------------------------------------------------------------------

    def _state_of(self, domid: int) -> DomainState:
        there = (self._directory / "domains" / str(domid)).is_dir()
        return DomainState.RUNNING if there else DomainState.GONE

    def _follow_introductions(self) -> None:
        """Listen for the domains that are introduced, and for no others."""
        introduced = self._store.introduced()
        for domid in self._listeners.keys() - introduced:
            self._stop_listening(domid)
        for domid in introduced - self._listeners.keys():
            self._listen(domid)

    def _listen(self, domid: int) -> None:
        path = socket_path(self._directory, domid)
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(0)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(128)
        except OSError:
            listener.close()  # the domain's folder went away meanwhile; the next look finds that out
            return
        self._listeners[domid] = listener
        self._selector.register(listener, selectors.EVENT_READ, domid)

    def _stop_listening(self, domid: int) -> None:
        listener = self._listeners.pop(domid)
        self._selector.unregister(listener)
        listener.close()
        socket_path(self._directory, domid).unlink(missing_ok=True)

    # ---- clients ----------------------------------------------------------------------------------------------------

    def _accept(self, domid: int) -> None:
        if domid not in self._listeners:
            return  # gone by an earlier event of the same round
        try:
            stream, _ = self._listeners[domid].accept()
        except OSError:
            return  # the client has given up, or the host has no descriptor left for it
        present = sum(connection.domid == domid for connection in self._clients) if domid != CONTROL_DOMAIN else 0
        if present >= CLIENTS:
            stream.close()
            return
        stream.settimeout(0)
        client = _Client(stream, self._store.connect(domid))
        self._clients[client.connection] = client
        self._selector.register(stream, client.mask, client)

    def _turn(self, client: _Client, mask: int) -> None:
        """Take one piece of what a client sends, handle the requests in it, and send what came of them."""
        if client.connection not in self._clients:
            return  # gone by an earlier event of the same round
        if mask & selectors.EVENT_READ:
            for request in self._receive(client):
                self._deliver(self._store.handle(client.connection, request))
                if request.type in (MessageType.INTRODUCE, MessageType.RELEASE):
                    self._follow_introductions()
        self._touched.add(client)
        self._flush()

    def _receive(self, client: _Client) -> list[Message]:
        """Take one piece of what a client sends, and give the requests that it completes."""
        try:
            piece = client.stream.recv(PIECE)
            requests = client.decoder.feed(piece)
        except BlockingIOError:
            return []
        except (OSError, ProtocolError):
            self._drop(client)
            return []
        if not piece:
            self._drop(client)
        return requests

    def _deliver(self, deliveries: list[Delivery]) -> None:
        for connection, message in deliveries:
            client = self._clients.get(connection)
            if client is None:
                continue
            self._touched.add(client)
            if message is None:
                with contextlib.suppress(OSError):
                    client.flush()
                self._drop(client)
            else:
                client.queue(encode(message), event=message.type == MessageType.WATCH_EVENT)

    def _flush(self) -> None:
        for client in self._touched:
            if client.connection not in self._clients:
                continue
            try:
                client.flush()
            except OSError:
                self._drop(client)
                continue
            if client.waiting > HOPELESS:
                self._drop(client)
                continue
            mask = selectors.EVENT_READ if client.waiting <= BUSY else 0
            mask |= selectors.EVENT_WRITE if client.outgoing else 0
            if mask != client.mask:
                client.mask = mask
                self._selector.modify(client.stream, mask, client)
        self._touched.clear()

    def _drop(self, client: _Client) -> None:
        del self._clients[client.connection]
        self._selector.unregister(client.stream)
        client.stream.close()
        self._store.disconnect(client.connection)

    def _close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        for domid in list(self._listeners):
            self._stop_listening(domid)
        with contextlib.suppress(OSError):  # somebody else keeps something there
            (self._directory / "domains" / str(CONTROL_DOMAIN)).rmdir()
        self._selector.close()
        wake, self._wake = self._wake, -1  # `look` must not write to what may get this number next
        os.close(wake)
        os.close(self._woken)
        os.close(self._lock)
