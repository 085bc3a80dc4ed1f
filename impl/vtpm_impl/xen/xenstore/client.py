"""A client of the xenstore, over a Unix socket or over a device such as /dev/xen/xenbus: both carry the same frames."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, TypeVar

from vtpm_impl.xen.xenstore.wire import ERRORS, Decoder, Message, MessageType, ProtocolError, encode, strings

_TRANSACTION: Final = re.compile(rb"[1-9][0-9]{0,9}\0")
XENBUS: Final = Path("/dev/xen/xenbus")

Answer = TypeVar("Answer")


class XenstoreError(Exception):
    """The store has refused a request.

    `error` is the name that it gave, `errno` this machine's number for it, `path` what the request was about.
    """

    def __init__(self, request: str, path: str, error: str) -> None:
        super().__init__(f"{request} {path!r}: {error}")
        self.request = request
        self.path = path
        self.error = error
        self.errno = ERRORS.get(error, errno.EIO)


class Disconnected(Exception):
    """There is no store at the other end, or it does not answer; what was asked may or may not have been done."""


class Conflict(Exception):
    """A transaction was tried as often as it may be, and each time others changed what it had seen."""


class Event(NamedTuple):
    """Something at or below a watched path has changed. `path` is relative if the watch was set on a relative one."""

    path: str
    token: str


class _Stream:
    """A file descriptor that carries frames."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._incoming = select.poll()
        self._incoming.register(descriptor, select.POLLIN)
        self._outgoing = select.poll()
        self._outgoing.register(descriptor, select.POLLOUT)

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: bytes, deadline: float) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                self._wait(self._outgoing, deadline)
            except OSError as error:
                raise Disconnected(f"the connection to the store is gone: {error.strerror}") from error

    def read(self, deadline: float | None) -> bytes:
        """Give what is there; wait for it until the deadline. Without one, give nothing if nothing is there."""
        while True:
            if deadline is not None:
                self._wait(self._incoming, deadline)
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                if deadline is None:
                    return b""
                continue
            except OSError as error:
                raise Disconnected(f"the connection to the store is gone: {error.strerror}") from error
            if not data:
                raise Disconnected("the store has closed the connection")
            return data

    def _wait(self, poll: select.poll, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise Disconnected("the store does not answer in time")

    def close(self) -> None:
        os.close(self._descriptor)


def _if_there(ask: Callable[[], Answer]) -> Answer | None:
    """The answer, or nothing if the store says that there is no such node; other errors are raised."""
    try:
        return ask()
    except XenstoreError as refused:
        if refused.errno != errno.ENOENT:
            raise
        return None


class _Requests(ABC):
    """What can be asked inside a transaction as well as outside. Paths may be relative to the domain's own."""

    @abstractmethod
    def _ask(self, kind: MessageType, path: str, *rest: bytes) -> bytes:
        """The store's answer. Raises XenstoreError, and Disconnected."""

    def read(self, path: str) -> bytes:
        """Give the value of a node."""
        return self._ask(MessageType.READ, path, b"")

    def read_or_none(self, path: str) -> bytes | None:
        """Give the value of a node, or nothing if there is none (ENOENT); other errors are raised."""
        return _if_there(lambda: self.read(path))

    def write(self, path: str, value: bytes) -> None:
        """Set the value of a node, which is created with all that is missing above it if need be."""
        self._ask(MessageType.WRITE, path, value)

    def mkdir(self, path: str) -> None:
        """Create a node with an empty value, unless it is there."""
        self._ask(MessageType.MKDIR, path, b"")

    def rm(self, path: str) -> None:
        """Remove a node and all below it. That there is none is no error, but that there is none above it is."""
        self._ask(MessageType.RM, path, b"")

    def directory(self, path: str) -> list[str]:
        """Give the names of the nodes right below a node, however many, in the order of the store."""
        try:
            return [name.decode("latin-1") for name in strings(self._ask(MessageType.DIRECTORY, path, b""))]
        except XenstoreError as refused:
            if refused.errno != errno.E2BIG:
                raise
        return self._directory_in_parts(path)

    def directory_or_none(self, path: str) -> list[str] | None:
        """Give what `directory` does, or nothing if there is no such node (ENOENT); other errors are raised."""
        return _if_there(lambda: self.directory(path))

    def _directory_in_parts(self, path: str) -> list[str]:
        names, state, offset = b"", b"", 0
        while True:
            part = self._ask(MessageType.DIRECTORY_PART, path, str(offset).encode() + b"\0")
            generation, _, more = part.partition(b"\0")
            if generation != state and offset:
                names, offset = b"", 0  # it changed meanwhile
                continue
            state = generation
            if more.endswith(b"\0\0") or more == b"\0":
                return [name.decode("latin-1") for name in strings(names + more[:-1])]
            names, offset = names + more, offset + len(more)

    def get_perms(self, path: str) -> list[str]:
        """Give the permissions of a node, as `["n1", "r0"]`: the owner first, with what everybody else may."""
        return [entry.decode("latin-1") for entry in strings(self._ask(MessageType.GET_PERMS, path, b""))]

    def set_perms(self, path: str, permissions: Sequence[str]) -> None:
        """Set the permissions of a node."""
        self._ask(MessageType.SET_PERMS, path, "".join(f"{entry}\0" for entry in permissions).encode("latin-1"))


class Transaction(_Requests):
    """A private view of the store. At the end of its `with` block it is committed; after an exception it is dropped."""

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._number = number
        self._over = False
        self.committed: bool | None = None
        """None before the end; False if it was dropped, or was in conflict with a change that somebody else made."""
        self.conflict = False

    def abort(self) -> None:
        """Drop it, now; nothing that was done in it has happened."""
        self._end(commit=False)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._over:
            return
        try:
            self._end(commit=kind is None)
        except (Disconnected, XenstoreError):
            if kind is None:
                raise  # else what went wrong first is what is told

    def _end(self, *, commit: bool) -> None:
        self._over = True
        self.committed = False
        verdict = b"T\0" if commit else b"F\0"
        try:
            self._client._request(MessageType.TRANSACTION_END, "", verdict, self._number)
        except XenstoreError as refused:
            if refused.errno != errno.EAGAIN:
                raise
            self.conflict = True
        else:
            self.committed = commit

    def _ask(self, kind: MessageType, path: str, *rest: bytes) -> bytes:
        payload = _encoded(kind, path) + b"\0" + b"".join(rest)
        return self._client._request(kind, path, payload, self._number)


class Client(_Requests):
    """A connection to a store.

    Threads may share one: requests take turns, each waiting for its answer. Events are kept in one queue, in the
    order of their arrival, for whoever asks first.
    """

    def __init__(self, descriptor: int, timeout: float = 30.0) -> None:
        """Take over an open descriptor; `timeout` is how many seconds an answer may take."""
        self._stream = _Stream(descriptor)
        self._decoder = Decoder()
        self._timeout = timeout
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # rung while an event is in the queue
        self._ready = select.epoll()
        self._ready.register(self._stream.fileno(), select.EPOLLIN)
        self._ready.register(self._bell, select.EPOLLIN)
        self._closed = False
        self._last = 0
        self._broken = False

    @classmethod
    def connect(cls, path: Path, timeout: float = 30.0) -> Client:
        """Connect to a Unix socket; `Disconnected` with the path if nobody listens there."""
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(path))
        except OSError as error:
            stream.close()
            raise Disconnected(f"no store at {str(path)!r}: {error.strerror or error}") from error
        return cls(stream.detach(), timeout)

    @classmethod
    def open(cls, device: Path = XENBUS, timeout: float = 30.0) -> Client:
        """Open the device through which the kernel of a domain of Xen lets programs use its connection."""
        try:
            return cls(os.open(device, os.O_RDWR | os.O_CLOEXEC), timeout)
        except OSError as error:
            raise Disconnected(f"no store at {str(device)!r}: {error.strerror}") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the store: open transactions are dropped and watches taken away."""
        with self._lock:
            if not self._closed:
                self._closed = self._broken = True
                self._ready.close()
                os.close(self._bell)
                self._stream.close()

    def fileno(self) -> int:
        """Give a descriptor that is readable while an event waits, or when the store is gone."""
        return self._ready.fileno()

    # ---- watches ----------------------------------------------------------------------------------------------------

    def watch(self, path: str, token: str) -> None:
        """Ask for an event at each change at or below a path; the first comes at once."""
        self._request(MessageType.WATCH, path, _encoded(MessageType.WATCH, path, token))

    def unwatch(self, path: str, token: str) -> None:
        """Take a watch away; events of it that are on their way may still arrive."""
        self._request(MessageType.UNWATCH, path, _encoded(MessageType.UNWATCH, path, token))

    def event(self, timeout: float | None = 0.0) -> Event | None:
        """Give the next event; wait so many seconds for it, or for ever if None. Nothing if none came."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                event = self._next_event()
            left = None if deadline is None else deadline - time.monotonic()
            if event is not None or (left is not None and left <= 0):
                return event
            self._ready.poll(left)

    def _next_event(self) -> Event | None:
        if not self._events:
            self._check_open()
            try:
                self._take(None)
            except (Disconnected, ProtocolError):
                self._broken = True
                raise
        if not self._events:
            return None
        event = self._events.popleft()
        if not self._events:
            os.eventfd_read(self._bell)
        return event

    # ---- transactions -----------------------------------------------------------------------------------------------

    def transaction(self, attempts: int = 100) -> Iterator[Transaction]:
        """Give a transaction, and a further one as long as the last was in conflict; `Conflict` after so many.

        for transaction in client.transaction():
            with transaction:
                transaction.write(...)
        """
        for _ in range(attempts):
            started = self._request(MessageType.TRANSACTION_START, "", b"\0")
            if not _TRANSACTION.fullmatch(started):
                raise ProtocolError(f"a transaction has a number, not {started!r}")
            transaction = Transaction(self, int(started[:-1]))
            yield transaction
            if not transaction.conflict:
                return
        raise Conflict(f"a transaction was in conflict {attempts} times in a row")

    # ---- domains, for the control domain ----------------------------------------------------------------------------

    def introduce(self, domid: int, frame: int = 1, port: int = 1) -> None:
        """Let a domain that exists connect. Frame and port mean something to a store that serves rings."""
        self._request(MessageType.INTRODUCE, str(domid), f"{domid}\0{frame}\0{port}\0".encode())

    def release(self, domid: int) -> None:
        """End the connection of a domain; all nodes that it owns go."""
        self._request(MessageType.RELEASE, str(domid), f"{domid}\0".encode())

    def is_introduced(self, domid: int) -> bool:
        """Whether a domain may connect."""
        return self._request(MessageType.IS_DOMAIN_INTRODUCED, str(domid), f"{domid}\0".encode()) == b"T\0"

    # ---- the exchange -----------------------------------------------------------------------------------------------

    def _ask(self, kind: MessageType, path: str, *rest: bytes) -> bytes:
        return self._request(kind, path, _encoded(kind, path) + b"\0" + b"".join(rest))

    def _request(self, kind: MessageType, path: str, payload: bytes, transaction: int = 0) -> bytes:
        with self._lock:
            self._check_open()
            self._last = self._last % 0xFFFFFFFF + 1
            try:
                frame = encode(Message(kind, self._last, transaction, payload))
            except ProtocolError:
                raise XenstoreError(kind.name, path, "E2BIG") from None
            deadline = time.monotonic() + self._timeout
            try:
                self._stream.write(frame, deadline)
                answer = self._answer(deadline)
            except BaseException:
                self._broken = True  # a request may be half sent, and its answer may yet come
                raise
        if answer.type == MessageType.ERROR:
            raise XenstoreError(kind.name, path, answer.payload.rstrip(b"\0").decode("latin-1"))
        if answer.type != kind:
            raise ProtocolError(f"a {kind.name} was answered by a {answer.name}")
        return answer.payload

    def _check_open(self) -> None:
        if self._broken:
            raise Disconnected("the connection to the store is closed")

    def _answer(self, deadline: float) -> Message:
        while True:
            answer = self._take(deadline)
            if answer is not None:
                return answer

    def _take(self, deadline: float | None) -> Message | None:
        """Take what has arrived: events go to the queue, the answer to the last request is given."""
        answer = None
        data = self._stream.read(deadline)
        silent = not self._events
        for message in self._decoder.feed(data):
            if message.type == MessageType.WATCH_EVENT:
                given = strings(message.payload)
                if len(given) != 2:
                    raise ProtocolError(f"an event is a path and a token, not {message.payload!r}")
                self._events.append(Event(given[0].decode("latin-1"), given[1].decode("latin-1")))
            elif message.request == self._last:
                answer = message
        if silent and self._events:
            os.eventfd_write(self._bell, 1)
        return answer


def _encoded(kind: MessageType, path: str, token: str | None = None) -> bytes:
    """Give a path, and a token if there is one, as they travel; what could not is refused as the store would."""
    try:
        if "\0" in path or (token is not None and "\0" in token):
            raise XenstoreError(kind.name, path, "EINVAL")
        return (path if token is None else f"{path}\0{token}\0").encode("latin-1")
    except UnicodeEncodeError:
        raise XenstoreError(kind.name, path, "EINVAL") from None
