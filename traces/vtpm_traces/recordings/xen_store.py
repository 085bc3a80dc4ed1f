"""Reads a trace of xenstored: who asked what, what was answered, and from when on each change was visible.

A trace is text. A request is shown when it is about to be carried out (`IN`), its answer when it is sent (`OUT`), so
the order of the `IN` lines is the order in which the store changed. What the trace does not say is found out:

* a connection belongs to the domain that was introduced as it was created, else to domain 0, where the daemon runs;
  if its creation is not in the trace, what it was answered about its own `device/vtpm` or `domid` tells;
* answers come in the order of the requests of their connection, watch events between them;
* a request does not name its transaction: while its connection has one open it counts as part of it, unless a watch
  event on its path shows that it took effect before the transaction ended. What a transaction changed is visible from
  its end on, if that was answered OK; after an error (EAGAIN), or an abort, nothing is.

Not taken up: permissions, listings of directories, the toolstack's own copy below /libxl.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from vtpm_traces.observe import Origin
from vtpm_traces.recordings.xen_events import (
    DIRECTORY,
    Change,
    Commit,
    Device,
    Event,
    Fired,
    Party,
    Place,
    Read,
    Remark,
    Side,
    Watched,
    directory_of,
    place_of,
)

_MESSAGE = re.compile(rb"(IN|OUT) (0x[0-9a-fA-F]{1,16}) \d{8} \d\d:\d\d:\d\d ([A-Z_]{1,32}) \((.*)", re.DOTALL)
_ANNOUNCED = re.compile(rb"Got message ([A-Z_]{1,32}) len (\d{1,5}) from (0x[0-9a-fA-F]{1,16})")
_LIFE = re.compile(rb"(CREATE|DESTROY) connection (0x[0-9a-fA-F]{1,16})")
_NOISE = (
    b"wrl: ", b"Writing msg ", b"CREATE ", b"DESTROY ", b"CONN ", b"Checking store", b"***", b"Delaying ", b"delayed ",
    b"Got message ",
)  # fmt: skip
_BIGGEST_PAYLOAD = 4096  # of one xenstore message (docs/misc/xenstore.txt)
_MOST_REMARKS = 50

_CHANGES = ("WRITE", "MKDIR", "RM")
_TOOLSTACK_NODES = frozenset(
    {"frontend", "frontend-id", "backend", "backend-id", "online", "handle", "uuid", "resume", DIRECTORY}
)
_BACKEND_NODES = frozenset({"feature-protocol-v2", "ready"})
_TOOLSTACK_DOMAIN = 0
_MOST_DEVICES = 1000
_FARTHEST_LOOK = 10_000  # entries, for the watch event of a change


@dataclass
class _Connection:
    name: str
    domain: int | None = None
    waiting: deque[_Request] = field(default_factory=deque)  # requests that have not been answered


@dataclass
class _Request:
    line: int
    connection: _Connection
    kind: str
    payload: str
    answer: str | None = None  # None: the trace ends before it
    failed: bool = False


@dataclass
class _WatchEvent:
    line: int
    connection: _Connection
    payload: str


_Entry = _Request | _WatchEvent


@dataclass
class StoreTrace:
    """What a trace shows of each device, in the order in which the store changed."""

    events: dict[Device, list[Event]]
    backends: dict[Device, set[int]]  # the domains that a device had its backend in
    from_start: bool  # the trace begins with the daemon: no change is older than it
    remarks: list[Remark]


def read_store_trace(text: bytes, name: str) -> StoreTrace:
    """Read a trace that somebody named `name`. Whatever cannot be understood becomes a remark."""
    reader = _Reader(name)
    entries = list(reader.entries(text))
    _infer_domains(entries)
    return _Replay(name, entries, reader.remarks, from_start=reader.from_start).run()


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


class _Reader:
    """From lines to requests with their answers, and watch events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.remarks: list[Remark] = []
        self.from_start = False
        self.connections: dict[bytes, _Connection] = {}
        self.announced: dict[bytes, tuple[bytes, int]] = {}

    def remark(self, line: int, text: bytes, why: str) -> None:
        """Tell of a line that could not be used; a trace full of them is told about once more, not line by line."""
        if len(self.remarks) < _MOST_REMARKS:
            self.remarks.append(Remark(Origin(self.name, line, _shown(text[:100])), why))
        elif len(self.remarks) == _MOST_REMARKS:
            self.remarks.append(Remark(Origin(self.name, line, ""), "further lines that cannot be used are not listed"))

    def entries(self, text: bytes) -> Iterator[_Entry]:
        """Requests (their answers filled in later) and watch events, in the order of the trace."""
        lines = text.split(b"\n")
        ended = lines and lines[-1] == b""
        if ended:
            lines.pop()
        introduced: int | None = None  # the domain of an INTRODUCE that has not been answered
        seen_connection = False
        at = 0
        while at < len(lines):
            number, line = at + 1, lines[at]
            at += 1
            if life := _LIFE.match(line):
                if life[1] == b"CREATE":
                    if not seen_connection:
                        self.from_start = True
                    domain = 0 if introduced is None else introduced
                    self.connections[life[2]] = _Connection(_shown(life[2]), domain)
                    introduced = None
                else:
                    self.connections.pop(life[2], None)
                seen_connection = True
                continue
            if announced := _ANNOUNCED.match(line):
                self.announced[announced[3]] = (announced[1], int(announced[2]))
                continue
            found = _MESSAGE.match(line)
            if found is None:
                if line and not line.startswith(_NOISE):
                    self.remark(
                        number, line, "not a line that xenstored writes, or the rest of a value of several lines"
                    )
                continue
            seen_connection = True
            payload, used = self._payload(found, lines, at)
            at += used
            if payload is None:
                self.remark(number, line, "the line is cut off")
                continue
            connection = self.connections.setdefault(found[2], _Connection(_shown(found[2])))
            kind, shown = _shown(found[3]), _shown(payload)
            if found[1] == b"IN":
                request = _Request(number, connection, kind, shown)
                connection.waiting.append(request)
                if kind == "INTRODUCE" and (domain_id := shown.split(" ")[0]).isdecimal():
                    introduced = int(domain_id)
                yield request
            elif kind == "WATCH_EVENT":
                yield _WatchEvent(number, connection, shown)
            else:
                self._answer(number, line, connection, kind, shown)

    def _payload(self, found: re.Match[bytes], lines: list[bytes], at: int) -> tuple[bytes | None, int]:
        """The bytes between the brackets, and how many further lines they took; None if they do not end."""
        payload, used = found[4], 0
        kind, length = self.announced.pop(found[2], (b"", -1)) if found[1] == b"IN" else (b"", -1)
        exact = length if kind == found[3] and length <= _BIGGEST_PAYLOAD else None
        while not (payload.endswith(b")") and (exact is None or len(payload) > exact)):
            following = lines[at + used] if at + used < len(lines) else None
            another = exact is None and following is not None and _MESSAGE.match(following)
            if following is None or another or len(payload) > _BIGGEST_PAYLOAD:
                return None, 0
            payload, used = payload + b"\n" + following, used + 1
        return payload[:-1], used

    def _answer(self, number: int, line: bytes, connection: _Connection, kind: str, payload: str) -> None:
        """Give an answer to the oldest request that waits for one."""
        waiting = connection.waiting
        while waiting:
            request = waiting.popleft()
            if kind in (request.kind, "ERROR"):
                request.answer, request.failed = payload, kind == "ERROR"
                return
            self.remark(request.line, request.kind.encode(), "no answer to this request is in the trace")
        self.remark(number, line, "an answer without a request")


_OWN_BACKEND = re.compile(r"device/vtpm/\d{1,9}/backend", re.ASCII)


def _infer_domains(entries: list[_Entry]) -> None:
    """Find the domain of connections that were created before the trace began."""
    for entry in entries:
        if not isinstance(entry, _Request) or entry.connection.domain is not None:
            continue
        if entry.kind != "READ" or entry.failed or entry.answer is None:
            continue
        path = entry.payload.rstrip(" ")
        if path == "domid" and entry.answer.isdecimal():
            entry.connection.domain = int(entry.answer)
        elif _OWN_BACKEND.fullmatch(path) and (place := place_of(entry.answer)) and place.side is Side.BACKEND:
            entry.connection.domain = place.device.domain
    absolute = {id(e.connection): True for e in entries}
    for entry in entries:
        if (
            isinstance(entry, _Request)
            and entry.kind in (*_CHANGES, "READ", "WATCH")
            and not entry.payload.startswith(("/", "@"))
        ):
            absolute[id(entry.connection)] = False
    for entry in entries:
        if entry.connection.domain is None and absolute[id(entry.connection)]:
            entry.connection.domain = (
                0  # guests' drivers name their own nodes relatively; tools beside the daemon do not
            )


@dataclass
class _Transaction:
    start: int
    requests: list[_Request] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # paths read or written in it


class _Replay:
    """From requests to events of each device: carries out what changed."""

    def __init__(self, name: str, entries: list[_Entry], remarks: list[Remark], *, from_start: bool) -> None:
        self.name = name
        self.entries = entries
        self.remarks = remarks
        self.from_start = from_start
        self.directories: dict[str, dict[str, str]] = {}  # the devices' directories that exist, with their nodes
        self.open: dict[int, list[_Transaction]] = defaultdict(list)
        self.events: dict[Device, list[Event]] = defaultdict(list)
        self.backends: dict[Device, set[int]] = defaultdict(set)
        self.nowhere: set[int] = set()  # connections whose domain is not known and that were told about

    def run(self) -> StoreTrace:
        """Carry out everything."""
        for position, entry in enumerate(self.entries):
            if isinstance(entry, _WatchEvent):
                self._fired(entry)
            elif entry.kind == "TRANSACTION_START":
                if not entry.failed:
                    self.open[id(entry.connection)].append(_Transaction(entry.line))
            elif entry.kind == "TRANSACTION_END":
                self._end(entry)
            elif entry.kind in _CHANGES:
                self._change(entry, position)
            elif entry.kind == "READ":
                self._read(entry)
            elif entry.kind in ("WATCH", "UNWATCH"):
                self._watch(entry)
        return StoreTrace(dict(self.events), dict(self.backends), self.from_start, self.remarks)

    # ---------------------------------------------------------------------------------------- paths and parties

    def _absolute(self, path: str, entry: _Entry) -> str | None:
        if path.startswith(("/", "@")):
            return path
        if entry.connection.domain is not None:
            return f"/local/domain/{entry.connection.domain}/{path}"
        if id(entry.connection) not in self.nowhere and path.startswith(("device/vtpm", "backend/vtpm")):
            self.nowhere.add(id(entry.connection))
            origin = Origin(self.name, entry.line, path)
            self.remarks.append(Remark(origin, f"nothing tells the domain of connection {entry.connection.name}"))
        return None

    def _path(self, entry: _Entry) -> str | None:
        return self._absolute(entry.payload.split(" ", 1)[0], entry)

    def _place(self, entry: _Entry) -> Place | None:
        path = self._path(entry)
        place = None if path is None else place_of(path)
        if place is not None and place.backend is not None:
            self.backends[place.device].add(place.backend)
        return place

    def _party(self, entry: _Entry, place: Place) -> Party:
        """Who speaks, for what is only read: the domain tells the sides apart if they have one each."""
        domain = entry.connection.domain
        backends = self.backends[place.device]
        if domain == place.device.domain and domain not in backends:
            return Party.FRONTEND
        if domain in backends:
            return Party.LOCAL if domain == _TOOLSTACK_DOMAIN else Party.BACKEND
        return Party.TOOLSTACK if domain == _TOOLSTACK_DOMAIN else Party.OTHER

    def _author(self, entry: _Entry, device: Device, changes: list[Change]) -> Party:
        """Who changes: where toolstack and backend share a domain, what is changed tells them apart if it can."""
        domain = entry.connection.domain
        backends = self.backends[device]
        if domain == device.domain and domain not in (_TOOLSTACK_DOMAIN, *backends):
            return Party.FRONTEND
        if domain != _TOOLSTACK_DOMAIN:
            return Party.BACKEND if domain in backends else Party.OTHER
        if domain not in backends or any(self._only_a_toolstack(change) for change in changes):
            return Party.TOOLSTACK
        if all(change.implied or change.node in _BACKEND_NODES for change in changes):
            return Party.BACKEND
        return Party.LOCAL

    @staticmethod
    def _only_a_toolstack(change: Change) -> bool:
        return change.side is Side.FRONTEND or (change.node in _TOOLSTACK_NODES and not change.implied)

    def _origin(self, request: _Request) -> Origin:
        text = f"{request.kind} {request.payload.rstrip(' ')}"
        return Origin(self.name, request.line, text if len(text) <= 120 else text[:117] + "...")

    # --------------------------------------------------------------------------------------------------- changes

    def _change(self, request: _Request, position: int) -> None:
        if request.failed or request.answer is None:
            return
        path = self._path(request)
        if path is None:
            return
        transactions = self.open[id(request.connection)]
        if transactions and not self._took_effect_at_once(request, path, position):
            transaction = transactions[-1]
            transaction.requests.append(request)
            transaction.touched.add(path)
            if len(transactions) > 1 and place_of(path):
                why = "several transactions are open on this connection; taken as part of the latest"
                self.remarks.append(Remark(self._origin(request), why))
            return
        self._commit(request, [request])

    def _took_effect_at_once(self, request: _Request, path: str, position: int) -> bool:
        """Whether somebody was told of the change before the transaction that was open came to its end."""
        registered: set[tuple[int, str]] = set()
        for entry in self.entries[position + 1 : position + _FARTHEST_LOOK]:
            if isinstance(entry, _WatchEvent):
                if self._path(entry) == path:
                    key = (id(entry.connection), entry.payload)
                    if key not in registered:
                        return True
                    registered.discard(key)
            elif entry.kind == "WATCH":
                registered.add((id(entry.connection), entry.payload))
            elif entry.kind == "TRANSACTION_END" and entry.connection is request.connection:
                return False
        return False

    def _end(self, request: _Request) -> None:
        transactions = self.open[id(request.connection)]
        if not transactions:
            self.remarks.append(Remark(self._origin(request), "no transaction is open on this connection"))
            return
        transaction = transactions.pop()
        if request.payload.startswith("T") and not request.failed and request.answer is not None:
            self._commit(request, transaction.requests)

    def _commit(self, end: _Request, requests: list[_Request]) -> None:
        """Carry the requests out and tell each device of what changed in its directories."""
        changed: dict[Device, list[Change]] = defaultdict(list)
        for request in requests:
            path = self._path(request)
            if path is None:
                continue
            if request.kind == "RM":
                self._remove(path, self._origin(request), changed)
            else:
                self._put(path, request, changed)
        for device, changes in changed.items():
            party = self._author(end, device, changes)
            self.events[device].append(Commit(changes[-1].origin, party, tuple(changes)))

    def _put(self, path: str, request: _Request, changed: dict[Device, list[Change]]) -> None:
        found = directory_of(path)
        if found is None:
            return
        place, directory = found
        origin = self._origin(request)
        if place.device not in self.backends and len(self.backends) >= _MOST_DEVICES:
            self.remarks.append(Remark(origin, f"more than {_MOST_DEVICES} devices; this one is not followed"))
            return
        if place.backend is not None:
            self.backends[place.device].add(place.backend)
        if directory not in self.directories:
            self.directories[directory] = {}
            implied = path != directory
            changed[place.device].append(Change(origin, place.side, DIRECTORY, "", implied))
        if path == directory:
            return
        node, nodes = path[len(directory) + 1 :], self.directories[directory]
        if request.kind == "MKDIR" and node in nodes:
            return
        nodes[node] = request.payload.partition(" ")[2] if request.kind == "WRITE" else ""
        changed[place.device].append(Change(origin, place.side, node, nodes[node]))

    def _remove(self, path: str, origin: Origin, changed: dict[Device, list[Change]]) -> None:
        found = directory_of(path)
        if found is not None and path != found[1]:
            place, directory = found
            nodes = self.directories.get(directory, {})
            node = path[len(directory) + 1 :]
            for gone in [name for name in nodes if name == node or name.startswith(node + "/")]:
                del nodes[gone]
                changed[place.device].append(Change(origin, place.side, gone, None))
            return
        for directory in [name for name in self.directories if name == path or name.startswith(path + "/")]:
            del self.directories[directory]
            if (place_below := place_of(directory)) is not None:
                changed[place_below.device].append(Change(origin, place_below.side, DIRECTORY, None))

    # ------------------------------------------------------------------------------------------- what is only seen

    def _read(self, request: _Request) -> None:
        path, place = self._path(request), self._place(request)
        if path is None or place is None or request.answer is None:
            return
        if request.failed and not request.answer.startswith("ENOENT"):
            return
        transactions = self.open[id(request.connection)]
        if transactions:
            # A transaction sees its own writes, and what it read before; only its first look is one at the store.
            if path in transactions[-1].touched:
                return
            transactions[-1].touched.add(path)
        value = None if request.failed else request.answer
        party = self._party(request, place)
        origin = self._origin(request)
        shown = Origin(origin.file, origin.line, f"{origin.text} = {'absent' if value is None else value[:60]}")
        self.events[place.device].append(Read(shown, party, place.side, place.node, value, exact=True))

    def _watch(self, request: _Request) -> None:
        place = self._place(request)
        if place is None or request.failed or request.answer is None:
            return
        party = self._party(request, place)
        registered = request.kind == "WATCH"
        self.events[place.device].append(Watched(self._origin(request), party, place.side, place.node, registered))

    def _fired(self, event: _WatchEvent) -> None:
        place = self._place(event)
        if place is not None:
            origin = Origin(self.name, event.line, f"WATCH_EVENT {event.payload.split(' ', 1)[0]}")
            party = self._party(event, place)
            self.events[place.device].append(Fired(origin, party, place.side, place.node))
