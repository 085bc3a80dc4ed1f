"""The machine that a subject runs on: xenstore, pages, grants and event channels, all in the hands of a script.

It answers what the subject asks, carries out what the script does in everybody else's place, and writes both down as
`recordings.script` reads it. Nothing in it depends on the clock or on chance.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vtpm_model.handshake import XenbusState
from vtpm_traces import schema
from vtpm_traces.conform.script import Amid, Notify
from vtpm_traces.conform.subject import Garbage
from vtpm_traces.files import BadInput, shown
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.script import (
    PAGE_SIZE,
    Answer,
    Command,
    CountFrontends,
    Fail,
    Fill,
    Kick,
    ListStore,
    Remove,
    Run,
    Set,
    SetLocality,
    Show,
    Start,
    Step,
    Stop,
    Store,
)
from vtpm_traces.recordings.stand_in import Store as Nodes
from vtpm_traces.recordings.stand_in import is_at_or_below
from vtpm_traces.recordings.tpmback import BACKEND_DOMAIN
from vtpm_traces.recordings.tpmfront import DEFAULT_NODE, FRONTEND_DOMAIN

DOMAINS: Final[Mapping[str, int]] = {"backend": BACKEND_DOMAIN, "frontend": FRONTEND_DOMAIN}
"""The subject's own domain, by the end that it is."""

FIRST_PORT: Final = 10
FIRST_REF: Final = 100
_NOWHERE: Final = Origin("the store", 0, "")

LAST_PORT: Final = 1023
"""Ports that somebody else's domain has; there is no other to be bound."""

SHOWN: Final = 256
"""Bytes of a packet that a line about a page shows."""


class Refused(Exception):
    """Xen or xenstore says no, by the name of an error."""


@dataclass
class _Port:
    """The subject's end of an event channel."""

    number: int
    domain: int
    remote: int = 0
    pending: bool = False


@dataclass
class _Watch:
    path: str
    given: str
    token: str


@dataclass
class _Transaction:
    nodes: Nodes
    before: dict[str, str]
    changes: list[tuple[str, str | None]] = field(default_factory=list)


class World:
    """One machine, for one conversation."""

    def __init__(self, end: str) -> None:
        """`end`: what the subject is, `backend` or `frontend`."""
        self.end = end
        self.domain = DOMAINS[end]
        self.home = f"/local/domain/{self.domain}/"
        self.now = 0
        self.log: list[str] = []
        self.devices: list[tuple[int, int]] = []  # that a backend has opened towards its application
        self._nodes = Nodes("the store")
        self._events: deque[dict[str, Any]] = deque()
        self._watches: list[_Watch] = []
        self._transactions: dict[int, _Transaction] = {}
        self._pages: dict[tuple[int, int], bytearray] = {}  # by domain and grant reference
        self._held: dict[int, tuple[int, int]] = {}  # the subject's pages
        self._ports: dict[int, _Port] = {}
        self._numbers = itertools.count(1)
        self._port_numbers = itertools.count(FIRST_PORT)
        self._refs = itertools.count(FIRST_REF)
        self._failing: Counter[str] = Counter()
        self._locality = 0
        self._asked = False  # the application holds a command
        self._wished = ""  # what a frontend's application waits for
        self._opened = False  # it has tried to open its device
        self._amid: list[tuple[int, Amid]] = []  # with the number of the request before which it is due
        self._requests = 0
        self.idle_amid = False  # something was to be done amid others, and the subject had come to rest before
        self._note("stores_follow")

    # ----------------------------------------------------------------------------------------------- what is written

    def _note(self, kind: str, **values: object) -> None:
        self.log.append(json.dumps({"n": len(self.log), "ev": kind, **values}, separators=(",", ":")))

    def note_step(self, words: str) -> None:
        """Write down what the script does."""
        self._note("step", cmd=words)

    def note_end(self) -> None:
        """Write down that the conversation is over."""
        self._note("end")

    # ------------------------------------------------------------------------------------------------------- the script

    def take(self, step: Step | Notify, words: str) -> None:
        """Carry out a step of the script, which `words` say; `Run` is the player's affair."""
        match step:
            case Notify(domain, port):
                for bound in self._ports.values():
                    if (bound.domain, bound.remote) == (domain, port):
                        self.note_step(f"kick {bound.number}")
                        self._raise(bound)
                return
            case Show(domain, ref):
                if (domain, ref) in self._pages:
                    self.note_step(words)
                    self._show(domain, ref)
                return
            case Run():
                raise ValueError("a run is for the player")
            case Start() | Stop() | Command() if self.end == "frontend" and self._wished:
                return  # an application asks for one thing at a time
            case Stop() | Command() if self.end == "frontend" and not self._opened:
                return  # and of a device that it has tried to open
            case Start(node) if self.end == "frontend" and self._is_open(node):
                return  # once
            case _:
                self.note_step(words)
        match step:
            case Set(path, value):
                self._nodes.set(path, value, _NOWHERE)
                self._fire(path)
            case Remove(path):
                self._nodes.remove(path)
                self._fire(path, below=True)
            case Store(domain, ref, offset, data):
                self._put(domain, ref, offset, data)
            case Fill(domain, ref, offset, count):
                self._put(domain, ref, offset, bytes(7 * at & 0xFF for at in range(count)))
            case Kick(port):
                if port in self._ports:
                    self._raise(self._ports[port])
            case Answer(length, data):
                if self._asked:
                    self._asked = False
                    self._queue("answer", data=_made(length, data).hex())
            case Command(length, data):
                self._queue("command", data=_made(length, data).hex(), locality=self._locality)
            case SetLocality(locality):
                self._locality = locality & 0xFF
            case Fail(operation, count):
                self._failing[operation] += count
            case Start(node):
                if self.end == "backend":
                    self._queue("start")
                else:
                    self._queue("open", handle=int((node or DEFAULT_NODE).rpartition("/")[2]))
            case Stop():
                self._queue("stop" if self.end == "backend" else "close")
            case CountFrontends():
                self.log.append(f'{{"ev":"num_frontends","n":{len(self.devices)}}}')
            case ListStore():
                for path, value in self._nodes.nodes.items():
                    self._note("xs_node", path=path, value=value)

    def plan(self, amid: Amid) -> None:
        """Carry these steps out later, while the subject is at work."""
        self._amid.append((self._requests + (amid.count or 0), amid))

    def forget_plans(self) -> None:
        """The subject is at rest: what should have been done meanwhile is not done any more."""
        self.idle_amid |= bool(self._amid)
        self._amid.clear()

    def _carry_out_plans(self) -> None:
        due = [amid for at, amid in self._amid if at <= self._requests]
        self._amid = [(at, amid) for at, amid in self._amid if at > self._requests]
        for amid in due:
            for words, step in amid.lines:
                if isinstance(step, Store | Fill):
                    self._note("races", domid=step.domain, ref=step.ref)
                self.take(step, words)
        self._requests += 1

    def _is_open(self, node: str | None) -> bool:
        state = self._nodes.get(f"{self._absolute(node or DEFAULT_NODE)}/state")
        return state in (f"{XenbusState.INITIALISED:d}", f"{XenbusState.CONNECTED:d}") and self._opened

    def show_pages(self) -> None:
        """Write down every page as it is."""
        for domain, ref in self._pages:
            self.take(Show(domain, ref), f"show {domain} {ref}")

    def _put(self, domain: int, ref: int, offset: int, data: bytes) -> None:
        if domain == self.domain and (domain, ref) not in self._pages:
            return  # only the subject grants its own pages
        page = self._pages.setdefault((domain, ref), bytearray(PAGE_SIZE))
        page[offset : offset + len(data)] = data

    def _show(self, domain: int, ref: int) -> None:
        page = self._pages[domain, ref]
        length = int.from_bytes(page[0:4], "little")
        self._note(
            "page", domid=domain, ref=ref, length=length, state=page[4], locality=page[5], pad=page[6],
            nr_extra_pages=page[7], data=bytes(page[8 : 8 + min(length, SHOWN)]).hex(),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- events

    def _queue(self, event: str, **values: object) -> None:
        if event in ("open", "command", "close"):
            self._wished, self._opened = event, True
        self._events.append({"event": event, **values})

    def next_event(self) -> dict[str, Any] | None:
        """What the subject is told next, if it is to be told anything."""
        if not self._events:
            return None
        event = self._events.popleft()
        match event["event"]:
            case "upcall":
                port = self._ports.get(event["port"])
                if port is None:
                    return self.next_event()
                port.pending = False
            case "watch":
                self._note("watch_event", path=event["path"])
        return self.told(event)

    def told(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """An event as it is told: with the time."""
        return {"ok": True, "now": self.now, **event}

    def _raise(self, port: _Port) -> None:
        if not port.pending:
            port.pending = True
            self._queue("upcall", port=port.number)

    def _fire(self, path: str, *, below: bool = False) -> None:
        for watch in list(self._watches):
            if is_at_or_below(path, watch.path):
                given = path if watch.given.startswith("/") else path.removeprefix(self.home)
                self._queue("watch", path=given, token=watch.token)
            elif below and is_at_or_below(watch.path, path):
                self._queue("watch", path=watch.given, token=watch.token)

    # ------------------------------------------------------------------------------------------ what the subject asks

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request that is neither `hello` nor `wait`. Raises Garbage for none of the protocol."""
        check(request)
        self._carry_out_plans()
        name = request.pop("do")
        ask: Callable[..., dict[str, Any] | None] = getattr(self, f"_do_{name}")
        try:
            return {"ok": True, **(ask(**request) or {})}
        except Refused as refused:
            return {"ok": False, "error": str(refused)}

    def _fails(self, operation: str) -> None:
        if self._failing[operation]:
            self._failing[operation] -= 1
            self._note("injected_error", op=operation)
            raise Refused("EIO")

    # xenstore

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else self.home + path

    def _store(self, tx: int) -> Nodes:
        if not tx:
            return self._nodes
        if tx not in self._transactions:
            raise Refused("EINVAL")
        return self._transactions[tx].nodes

    def _do_read(self, path: str, tx: int = 0) -> dict[str, Any]:
        self._fails("read")
        value = self._store(tx).get(self._absolute(path))
        if value == self._nodes.get(self._absolute(path)):
            self._note("xs_read", path=path, **({"error": "ENOENT"} if value is None else {"value": value}))
        if value is None:
            raise Refused("ENOENT")
        return {"value": value}

    def _do_ls(self, path: str, tx: int = 0) -> dict[str, Any]:
        self._fails("ls")
        nodes, whole = self._store(tx).nodes, self._absolute(path)
        if whole not in nodes:
            self._note("xs_ls", path=path, entries=0, error="ENOENT")
            raise Refused("ENOENT")
        above = whole + "/"
        names = [name[len(above) :] for name in nodes if name.startswith(above) and "/" not in name[len(above) :]]
        self._note("xs_ls", path=path, entries=len(names))
        return {"names": names}

    def _may_write(self, path: str) -> str:
        whole = self._absolute(path)
        if not is_at_or_below(whole, self.home.rstrip("/")):
            raise Refused("EACCES")
        return whole

    def _do_write(self, path: str, value: str, tx: int = 0) -> None:
        self._fails("write")
        try:
            whole = self._may_write(path)
        except Refused:
            self._note("xs_write", path=path, value=value, error="EACCES")
            raise
        if tx:
            self._store(tx).set(whole, value, _NOWHERE)
            self._transactions[tx].changes.append((path, value))
        else:
            self._change(path, value)

    def _do_rm(self, path: str, tx: int = 0) -> None:
        self._fails("rm")
        whole = self._may_write(path)
        if self._store(tx).get(whole) is None:
            raise Refused("ENOENT")
        if tx:
            self._store(tx).remove(whole)
            self._transactions[tx].changes.append((path, None))
        else:
            self._change(path, None)

    def _change(self, path: str, value: str | None, *, more: bool = False) -> None:
        whole = self._absolute(path)
        goes_on = {"more": True} if more else {}
        if value is None:
            self._nodes.remove(whole)
            self._note("xs_rm", path=path, **goes_on)
        else:
            self._nodes.set(whole, value, _NOWHERE)
            self._note("xs_write", path=path, value=value, **goes_on)
        self._fire(whole, below=value is None)

    def _do_begin(self) -> dict[str, Any]:
        self._fails("transaction")
        number = next(self._numbers)
        copy = Nodes("a transaction", dict(self._nodes.nodes))
        self._transactions[number] = _Transaction(copy, dict(self._nodes.nodes))
        return {"tx": number}

    def _do_commit(self, tx: int) -> None:
        self._store(tx)
        transaction = self._transactions.pop(tx)
        if transaction.before != self._nodes.nodes:
            raise Refused("EAGAIN")
        for place, (path, value) in enumerate(transaction.changes, 1):
            self._change(path, value, more=place < len(transaction.changes))

    def _do_abort(self, tx: int) -> None:
        self._store(tx)
        del self._transactions[tx]

    def _do_watch(self, path: str, token: str) -> None:
        self._fails("watch")
        watch = _Watch(self._absolute(path), path, token)
        if watch in self._watches:
            raise Refused("EEXIST")
        self._note("xs_watch", path=path, token=token)
        self._watches.append(watch)
        self._queue("watch", path=path, token=token)

    def _do_unwatch(self, path: str, token: str) -> None:
        self._fails("unwatch")
        watch = _Watch(self._absolute(path), path, token)
        if watch not in self._watches:
            raise Refused("ENOENT")
        self._watches.remove(watch)
        self._note("xs_unwatch", path=path)

    # grants and pages

    def _do_grant(self, domain: int) -> dict[str, Any]:
        ref, page = next(self._refs), next(self._numbers)
        self._pages[self.domain, ref] = bytearray(PAGE_SIZE)
        self._held[page] = (self.domain, ref)
        self._note("grant_access", domid=domain, ref=ref, readonly=0)
        return {"ref": ref, "page": page}

    def _do_end_grant(self, ref: int) -> None:
        found = [page for page, held in self._held.items() if held == (self.domain, ref)]
        if not found:
            raise Refused("EINVAL")
        del self._held[found[0]], self._pages[self.domain, ref]
        self._note("end_access", ref=ref)

    def _do_map(self, domain: int, ref: int) -> dict[str, Any]:
        self._fails("map")
        exists = domain != self.domain and (domain, ref) in self._pages
        self._note("map_grant", domid=domain, ref=ref, count=1, ok=exists)
        if not exists:
            raise Refused("EINVAL")
        page = next(self._numbers)
        self._held[page] = (domain, ref)
        return {"page": page}

    def _do_unmap(self, page: int) -> None:
        if page not in self._held or self._held[page][0] == self.domain:
            raise Refused("EINVAL")
        domain, ref = self._held.pop(page)
        self._note("unmap_grant", domid=domain, ref=ref)

    def _do_load(self, page: int, offset: int, length: int) -> dict[str, Any]:
        self._touch(page, offset, length, "page_load")
        return {"data": bytes(self._pages[self._held[page]][offset : offset + length]).hex()}

    def _do_store(self, page: int, offset: int, data: str) -> None:
        stored = bytes.fromhex(data)
        self._touch(page, offset, len(stored), "page_store")
        domain, ref = self._held[page]
        self._pages[domain, ref][offset : offset + len(stored)] = stored
        self._note("page_store", domid=domain, ref=ref, offset=offset, data=data)

    def _touch(self, page: int, offset: int, count: int, kind: str) -> None:
        """On a machine this access would be a fault, or would hit somebody else's memory."""
        if page not in self._held or offset + count > PAGE_SIZE:
            self._note("page_fault", page=page, offset=offset, count=count, access=kind)
            raise Refused("EINVAL")

    # event channels

    def _do_open_port(self, domain: int) -> dict[str, Any]:
        port = _Port(next(self._port_numbers), domain)
        self._ports[port.number] = port
        self._note("evtchn_alloc_unbound", domid=domain, local_port=port.number)
        return {"port": port.number}

    def _do_bind(self, domain: int, port: int) -> dict[str, Any]:
        self._fails("bind")
        taken = any((one.domain, one.remote) == (domain, port) for one in self._ports.values())
        if domain == self.domain or not 1 <= port <= LAST_PORT or taken:
            self._note("injected_error", op="bind")
            raise Refused("EINVAL")
        bound = _Port(next(self._port_numbers), domain, port)
        self._ports[bound.number] = bound
        self._note("evtchn_bind", domid=domain, remote_port=port, local_port=bound.number)
        self._note("evtchn_pending", local_port=bound.number)
        self._raise(bound)
        return {"port": bound.number}

    def _do_close_port(self, port: int) -> None:
        if port not in self._ports:
            raise Refused("EINVAL")
        del self._ports[port]
        self._note("evtchn_unbind", local_port=port)

    def _do_notify(self, port: int) -> None:
        if port not in self._ports:
            self._note("notify", local_port=port, remote_domid=0, remote_port=0)
            raise Refused("EINVAL")
        found = self._ports[port]
        self._note("notify", local_port=port, remote_domid=found.domain, remote_port=found.remote)

    # the application

    def _do_opened(self, domain: int, handle: int) -> None:
        uuid = self._nodes.get(f"{self.home}backend/vtpm/{domain}/{handle}/uuid") or ""
        self.devices.append((domain, handle))
        self._note("open_callback", domid=domain, handle=handle, uuid=uuid.replace("-", ""))

    def _do_closed(self, domain: int, handle: int) -> None:
        if (domain, handle) in self.devices:
            self.devices.remove((domain, handle))
        self._note("close_callback", domid=domain, handle=handle)

    def _do_command(self, domain: int, handle: int, locality: int, data: str) -> None:
        self._asked = True
        self._note("request", domid=domain, handle=handle, locality=locality, len=len(data) // 2, data=data)

    def _do_result(self, of: str, ok: bool, data: str = "") -> None:  # noqa: FBT001
        self._wished = ""
        match of:
            case "open":
                self._note("init_tpmfront_returned", ok=ok)
            case "command":
                self._note("tpmfront_cmd_returned", rc=0 if ok else -1, resplen=len(data) // 2, resp=data)
            case _:
                self._note("shutdown_returned")

    def _do_say(self, text: str) -> None:
        self._note("log", text=text)


def check(request: Mapping[str, Any]) -> None:
    """Raise Garbage unless this is a request of the protocol, whole and within its limits."""
    name = request.get("do")
    if not isinstance(name, str) or f"do-{name}" not in schema.document(schema.SUT)["$defs"]:
        raise Garbage(f"it asked to do {shown(name)}, which the protocol does not have")
    try:
        schema.check(dict(request), schema.SUT, "its request", part=f"do-{name}")
    except BadInput as error:
        raise Garbage(str(error)) from None


def _made(length: int, data: bytes | None) -> bytes:
    """The bytes of a packet of which a script gives the length only: a TPM header that says it, then a pattern."""
    if data is not None:
        return data
    head = b"\x00\xc4" + (length & 0xFFFF_FFFF).to_bytes(4, "big") + bytes(4)
    return (head + bytes(7 * at & 0xFF for at in range(10, length)))[:length]
