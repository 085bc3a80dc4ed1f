"""Recordings of a frontend that a script drives: what each line shows of the device that the frontend opens.

The script plays toolstack, backend and application, and keeps to no rule. After `run` the frontend has come to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtpm_model.core import Actor, Step
from vtpm_model.driven import Wish
from vtpm_model.handshake import XenbusState
from vtpm_model.page import HEADER
from vtpm_model.ring import RingState
from vtpm_traces.observe import Call, Happened, Holds, Observation, Origin, Quiescent, Recording
from vtpm_traces.recordings.reader import WITHOUT_MEANING, Reader, done_by
from vtpm_traces.recordings.script import (
    PAGE_SIZE,
    Command,
    Driven,
    Entry,
    Fail,
    Fill,
    Kick,
    ListStore,
    Malformed,
    Pass,
    Remove,
    Run,
    Seen,
    Set,
    SetLocality,
    Show,
    Start,
    Stop,
    Store,
    read_script,
)
from vtpm_traces.recordings.stand_in import (
    RING_STATE,
    SharedPage,
    as_number,
    impossible,
    is_at_or_below,
    ring_state,
    xenbus_state,
)

FRONTEND_DOMAIN = 20
"""The driven frontend's own domain."""

DEFAULT_NODE = "device/vtpm/0"

SUBJECT = done_by(Actor.FRONTEND)
"""What the frontend does."""

_WRITERS = tuple(
    Call(name)
    for name in (
        "frontend_goes_to_initialised",
        "frontend_goes_to_connected",
        "frontend_starts_closing",
        "frontend_closes",
        "frontend_goes_back_to_initialising",
    )
)
"""Actions that write the frontend's state node."""

GIVING_UP = frozenset({"frontend_loses_device", "frontend_starts_closing", "frontend_closes"})
"""What a frontend may put off while a backend that was closed before may not have seen yet that it is back."""


@dataclass(frozen=True)
class _View:
    """What the nodes of the device say."""

    be: XenbusState = XenbusState.UNKNOWN
    be_v2: bool = False
    complete: bool = False
    fe: XenbusState = XenbusState.UNKNOWN
    fe_v2: bool = False
    keys: tuple[str, str] | None = None


def visible(before: Any, step: Step, after: Any) -> bool:
    """Whether a step of the frontend leaves a line."""
    return bool(
        before.fe_state != after.fe_state
        or before.keys != after.keys
        or before.granted != after.granted
        or (before.waiting and not after.waiting and before.open == after.open)
        or step.name in ("frontend_reads_version", "frontend_notifies", "frontend_refuses_command")
    )


def stores_visible(before: Any, step: Step, after: Any) -> bool:
    """Whether a step of the frontend leaves a line where each of its stores does."""
    same = before.epoch == after.epoch
    return visible(before, step, after) or (same and before.page.state != after.page.state)


@dataclass
class _Opened:
    """The device as the reader goes along."""

    node: str
    observations: list[Observation] = field(default_factory=list)
    view: _View = _View()
    ref: int | None = None
    port: int | None = None
    page: SharedPage = field(default_factory=SharedPage)
    command: Command | None = None  # handed over, not seen in the page yet
    locality: int = 0
    wanted_locality: int = 0  # as it was when the command was handed over
    published: bool = False
    failed: bool = False
    awaited: bool = False  # the application waits for its frontend to be open
    found_closed: bool = False  # the backend was closed when the frontend came back, and may not have seen it yet
    freed: bool = True  # the page's memory was given back, or there was none


class _Reader(Reader):
    """Goes through the lines of one file."""

    def __init__(self, file: str) -> None:
        super().__init__(file, FRONTEND_DOMAIN, visible)
        self.opened: dict[str, _Opened] = {}
        self.now: _Opened | None = None
        self.running: Origin | None = None
        self.asked: tuple[int, int] | None = None  # the page that the driver wanted to see last

    def _end_step(self) -> None:
        """The run that was asked for is over: the frontend has nothing left to do."""
        origin, self.running = self.running, None
        if origin is None or self.now is None:
            return
        if (self.now.ref is None) != (self.now.port is None):
            half = "a page without a port" if self.now.port is None else "a port without a page"
            self._say(impossible(origin, f"at rest the frontend keeps {half}"))
        rest = Origin(origin.file, origin.line, f"{origin.text}; after it the frontend is at rest")
        self.now.found_closed &= self.now.view.be in (XenbusState.CLOSING, XenbusState.CLOSED)
        excused = GIVING_UP if self.now.awaited and self.now.found_closed else frozenset()
        self._say(Quiescent(rest, frozenset({Actor.FRONTEND}), excused))
        if self.now.awaited:
            told = Origin(origin.file, origin.line, f"{origin.text}; after it the application still waits")
            self._say(Holds(told, lambda now: not (now.open and now.peer_v2)))

    def _say(self, observation: Observation) -> None:
        assert self.now is not None
        self.now.observations.append(observation)

    def _act(self, origin: Origin, action: str, **picks: object) -> None:
        self._say(Happened(origin, (Call(action, picks),)))

    # ------------------------------------------------------------------------------------------------- the driver

    def _driven(self, entry: Driven) -> None:
        origin, step = entry.origin, entry.step
        match step:
            case Set(path, value):
                self.nodes.set(path, value, origin)
                self._look_again(origin)
            case Remove(path):
                self.nodes.remove(path)
                self._look_again(origin)
            case Start(node):
                self._start(node or DEFAULT_NODE, origin)
            case Run():
                self.running = origin
            case Show(domain, ref):
                self.asked = (domain, ref)
            case Pass():
                if self.now is not None:
                    self._act(origin, "driver_lets_time_pass")
                    if self.now.awaited:  # the application waits no longer
                        self.now.failed = True
                        self._act(origin, "driver_wants", wish=Wish.CLOSED)
            case Fail() | ListStore():
                pass
            case Stop() | Command() | SetLocality() | Store() | Fill() | Kick():
                if self.now is not None:
                    self._upon(self.now, step, origin)
            case _:
                raise Malformed(self.file, origin.line, f"a frontend has no use for this: {origin.text}")

    def _upon(self, now: _Opened, step: Stop | Command | SetLocality | Store | Fill | Kick, origin: Origin) -> None:
        match step:
            case Stop():
                self._act(origin, "driver_wants", wish=Wish.CLOSED)
            case Command(length):
                now.command, now.wanted_locality = step, now.locality
                self._act(origin, "driver_commands", length=length)
            case SetLocality(locality):
                now.locality = locality & 0xFF
            case Store(domain, ref, offset, data):
                if (domain, ref) == (FRONTEND_DOMAIN, now.ref):
                    now.page.store(offset, data)
                    self._stored(now, origin)
            case Fill(domain, ref, offset, count):
                if (domain, ref) == (FRONTEND_DOMAIN, now.ref):
                    now.page.forget(offset, count)
                    self._stored(now, origin)
            case Kick(port):
                if port == now.port:
                    self._act(origin, "driver_raises_frontend_event")

    def _stored(self, now: _Opened, origin: Origin) -> None:
        page = now.page
        lengths: dict[int, None] = {}
        for offset in (HEADER, page.data_offset):  # whether a frontend obeys nr_extra_pages is its own affair
            named = page.known_bytes(offset + 2, 4)
            lengths |= {page.length: None, 0: None} if named is None else {int.from_bytes(named, "big"): None}
        picks = {"length": page.length, "state": page.state, "extra": page.extra}
        self._say(Happened(origin, tuple(Call("driver_replies", {**picks, "named": one}) for one in lengths)))

    def _start(self, node: str, origin: Origin) -> None:
        path = self._absolute(node)
        if path not in self.opened:
            self.opened[path] = _Opened(path)
        self.now = self.opened[path]
        self.now.published = self.now.failed = False
        self.now.awaited = True
        self._look_again(origin)
        self._act(origin, "driver_wants", wish=Wish.OPEN)

    def _viewed(self, now: _Opened) -> _View:
        get = self.nodes.get
        back = get(now.node + "/backend")
        keys = get(now.node + "/ring-ref"), get(now.node + "/event-channel")
        return _View(
            be=xenbus_state(get(f"{back}/state") if back else None),
            be_v2=bool(back) and get(f"{back}/feature-protocol-v2") == "1",
            complete=bool(back) and as_number(get(now.node + "/backend-id")) is not None,
            fe=xenbus_state(get(now.node + "/state")),
            fe_v2=get(now.node + "/feature-protocol-v2") == "1",
            keys=None if keys[0] is None or keys[1] is None else (keys[0], keys[1]),
        )

    def _look_again(self, origin: Origin) -> None:
        """Tell what the driver has changed of the device's nodes."""
        if self.now is None:
            return
        old, new = self.now.view, self._viewed(self.now)
        self.now.view = new
        if old.complete != new.complete:
            self._act(origin, "driver_completes_node", complete=new.complete, has_uuid=False)
        if old.be_v2 != new.be_v2:
            self._act(origin, "driver_writes_backend_version", version=new.be_v2)
        if old.fe_v2 != new.fe_v2:
            self._act(origin, "driver_writes_frontend_version", version=new.fe_v2)
        if old.keys is not None and new.keys is None:
            self._act(origin, "driver_retracts_keys")
        if old.be != new.be:
            self._act(origin, "driver_writes_backend_state", state=new.be)
        if old.fe != new.fe:
            self._act(origin, "driver_writes_frontend_state", state=new.fe)

    # ----------------------------------------------------------------------------------------------- the frontend

    def _seen(self, entry: Seen) -> None:
        readers: Mapping[str, Callable[[_Opened, Seen], None]] = {
            "xs_read": self._read,
            "xs_node": self._read,
            "xs_write": self._wrote,
            "xs_rm": self._removed,
            "injected_error": self._error,
            "grant_access": self._grant,
            "evtchn_alloc_unbound": self._allocate,
            "end_access": self._end_access,
            "evtchn_unbind": self._unbind,
            "free_page": self._free,
            "notify": self._notify,
            "page": self._shown,
            "page_store": self._stored_by_frontend,
            "page_fault": self._faulted,
            "tpmfront_cmd_returned": self._returned,
            "init_tpmfront_returned": self._opened_or_not,
            "shutdown_returned": self._shut_down,
            "process_end": self._died,
        }
        if entry.kind in WITHOUT_MEANING:
            return
        if entry.kind == "stores_follow":
            self.sight = stores_visible
            return
        if entry.kind not in readers:
            raise Malformed(self.file, entry.origin.line, f"a frontend does not do this: {entry.origin.text}")
        if self.now is None:
            if entry.kind == "xs_node":
                return
            raise Malformed(self.file, entry.origin.line, f"no frontend was started: {entry.origin.text}")
        readers[entry.kind](self.now, entry)

    def _read(self, now: _Opened, entry: Seen) -> None:
        path, value = self._absolute(entry["path"]), entry["value"]
        if entry["error"] not in (None, "ENOENT"):
            self._error(now, entry)
            return
        why = self.nodes.contradicts(path, value)
        if why is not None:
            self._say(impossible(entry.origin, why))
        back = self.nodes.get(now.node + "/backend")
        if entry.kind == "xs_read" and path == f"{back}/feature-protocol-v2" and value == "1":
            self._act(entry.origin, "frontend_reads_version")

    def _wrote(self, now: _Opened, entry: Seen) -> None:
        if entry["error"] is not None:
            return
        path, value = self._absolute(entry["path"]), entry["value"]
        self.nodes.set(path, value, entry.origin)
        if not is_at_or_below(path, now.node):
            self._say(impossible(entry.origin, "the frontend writes only below its own node"))
        if not entry["more"]:
            self._changed(now, entry.origin)

    def _changed(self, now: _Opened, origin: Origin) -> None:
        """The frontend has changed nodes, several at once in a transaction."""
        old, now.view = now.view, self._viewed(now)
        if now.view.keys is not None and now.view.keys != old.keys:
            self._published(now, now.view.keys, origin)
        elif old.keys is not None and now.view.keys is None:
            self._act(origin, "frontend_retracts_keys")
        if now.view.fe != old.fe:
            target = now.view.fe
            now.found_closed = now.view.be in (XenbusState.CLOSING, XenbusState.CLOSED)
            self._say(Happened(origin, _WRITERS, lambda before, step, after: bool(after.fe_state == target)))
            gone = (XenbusState.UNKNOWN, XenbusState.CLOSING, XenbusState.CLOSED)
            if target in gone and now.view.be in gone:  # the application does not want it open any more
                self._act(origin, "driver_wants", wish=Wish.CLOSED)

    def _published(self, now: _Opened, keys: tuple[str, str], origin: Origin) -> None:
        now.published = True
        if (as_number(keys[0]), as_number(keys[1])) != (now.ref, now.port):
            self._say(impossible(origin, f"the frontend holds page {now.ref} and port {now.port}"))
        if not now.view.fe_v2:
            self._say(impossible(origin, "the frontend has not told that it speaks version 2"))
        self._act(origin, "frontend_publishes")

    def _removed(self, now: _Opened, entry: Seen) -> None:
        path = self._absolute(entry["path"])
        self.nodes.remove(path)
        if not is_at_or_below(path, now.node):
            self._say(impossible(entry.origin, "the frontend removes only what is below its own node"))
        if not entry["more"]:
            self._changed(now, entry.origin)

    def _error(self, now: _Opened, entry: Seen) -> None:
        """What the driver made fail ends an opening; the driver wants the frontend closed, as it were."""
        now.failed = True
        self._act(entry.origin, "driver_wants", wish=Wish.CLOSED)

    def _grant(self, now: _Opened, entry: Seen) -> None:
        if now.ref is not None:
            self._say(impossible(entry.origin, f"page {now.ref} is granted already"))
        if entry["domid"] != as_number(self.nodes.get(now.node + "/backend-id")):
            self._say(impossible(entry.origin, "the page is granted to another domain than the backend's"))
        now.ref, now.page, now.freed = entry["ref"], SharedPage(), False
        self._allocated(now, entry.origin)

    def _allocate(self, now: _Opened, entry: Seen) -> None:
        if now.port is not None:
            self._say(impossible(entry.origin, f"port {now.port} is held already"))
        if entry["domid"] != as_number(self.nodes.get(now.node + "/backend-id")):
            self._say(impossible(entry.origin, "the port is for another domain than the backend's"))
        now.port = entry["local_port"]
        self._allocated(now, entry.origin)

    def _allocated(self, now: _Opened, origin: Origin) -> None:
        if now.ref is not None and now.port is not None:
            self._act(origin, "frontend_allocates")

    def _end_access(self, now: _Opened, entry: Seen) -> None:
        if entry["ref"] != now.ref:
            self._say(impossible(entry.origin, f"the page that is granted is {now.ref}"))
        now.ref = None
        self._released(now.port is not None, entry.origin)

    def _unbind(self, now: _Opened, entry: Seen) -> None:
        if entry["local_port"] != now.port:
            self._say(impossible(entry.origin, f"the port that is held is {now.port}"))
        now.port = None
        self._released(now.ref is not None, entry.origin)

    def _released(self, other_half: bool, origin: Origin) -> None:  # noqa: FBT001
        """The first half of page and port to go is the one that tells."""
        if other_half:
            self._act(origin, "frontend_releases_page")

    def _free(self, now: _Opened, entry: Seen) -> None:
        if now.freed:
            self._say(impossible(entry.origin, "the page was given back before"))
        now.freed = True
        if now.ref is not None:
            self._say(impossible(entry.origin, f"page {now.ref} is still granted"))

    def _notify(self, now: _Opened, entry: Seen) -> None:
        if entry["local_port"] != now.port:
            self._say(impossible(entry.origin, f"the port that is held is {now.port}"))
        if entry["remote_domid"] != as_number(self.nodes.get(now.node + "/backend-id")):
            self._say(impossible(entry.origin, "the port is for the backend's domain"))
        self._submitted(now)
        self._act(entry.origin, "frontend_notifies")

    def _submitted(self, now: _Opened) -> None:
        """The command is in the page by now."""
        if now.command is None:
            return
        length, data, now.command = now.command.length, now.command.data, None
        if data is None:
            now.page.forget(HEADER, length)
        else:
            now.page.store(HEADER, data)
        now.page.store(0, (length & 0xFFFF_FFFF).to_bytes(4, "little") + bytes([RingState.SUBMIT, now.locality]))

    def _faulted(self, now: _Opened, entry: Seen) -> None:
        self._say(impossible(entry.origin, "the frontend has no such page"))

    def _stored_by_frontend(self, now: _Opened, entry: Seen) -> None:
        offset, data = entry["offset"], self._bytes(entry, "data")
        if (entry["domid"], entry["ref"]) != (FRONTEND_DOMAIN, now.ref) or not 0 <= offset <= PAGE_SIZE - len(data):
            self._say(impossible(entry.origin, "the frontend has no such page"))
            return
        now.page.store(offset, data)
        if RING_STATE in range(offset, offset + len(data)):
            self._stored_state(now, entry.origin)

    def _stored_state(self, now: _Opened, origin: Origin) -> None:
        """The state byte was stored, and with it all that was stored before it takes effect."""
        page = now.page
        state, length, extra = page.state, page.length, page.extra
        if state is RingState.CANCEL:
            self._say(Happened(origin, (Call("frontend_cancels"),)))
            return
        if state is not RingState.SUBMIT:
            self._say(impossible(origin, "a frontend stores SUBMIT and CANCEL only"))
            return
        command, now.command = now.command, None
        if command is None:
            self._say(impossible(origin, "the application has not given this command"))
        elif command.data is not None and not page.agrees(page.data_offset, command.data):
            self._say(impossible(origin, "these are not the bytes that the application gave"))
        if page.locality != now.wanted_locality:
            self._say(impossible(origin, f"the application wanted locality {now.wanted_locality}"))
        self._say(
            Happened(
                origin,
                (Call("frontend_submits"),),
                lambda before, step, after: bool(
                    (after.page.state, after.page.length, after.page.extra) == (state, length, extra)
                ),
            )
        )

    def _shown(self, now: _Opened, entry: Seen) -> None:
        if (entry["domid"], entry["ref"]) != (FRONTEND_DOMAIN, now.ref):
            if (entry["domid"], entry["ref"]) != self.asked:
                self._say(impossible(entry.origin, "nobody asked for this page"))
            return
        if now.page.content[6] != entry["pad"]:
            self._say(impossible(entry.origin, "nobody stored this pad"))
        if entry["state"] == RingState.SUBMIT:
            self._submitted(now)
        length, state, extra = entry["length"], ring_state(entry["state"] & 0xFF), entry["nr_extra_pages"]
        self._say(
            Holds(
                entry.origin,
                lambda s: bool((s.page.length, s.page.state, s.page.extra) == (length, state, extra)),
            )
        )
        if entry["locality"] != now.page.locality:
            self._say(impossible(entry.origin, f"locality {now.page.locality} was stored"))
        if not now.page.agrees(HEADER, self._bytes(entry, "data")):
            self._say(impossible(entry.origin, "other bytes were stored"))

    def _returned(self, now: _Opened, entry: Seen) -> None:
        success = entry["rc"] == 0
        resplen = entry["resplen"]

        def fits(before: Any, step: Step, after: Any) -> bool:
            if step.name in ("frontend_refuses_command", "frontend_gives_up"):
                return not success
            size = before.page.length if before.page.state == RingState.FINISH else 0
            return bool(before.waiting and not after.waiting and (not success or resplen == size))

        now.command = None
        looks = Call("frontend_looks", {"success": success})
        calls = (looks, Call("frontend_refuses_command"), Call("frontend_gives_up"))
        # with its connection the frontend may have given up the command before
        self._say(Happened(entry.origin, calls, fits, or_nothing=not success))
        self._say(Holds(entry.origin, lambda s: not s.waiting and not s.commanded))
        answer = self._bytes(entry, "resp")
        if success and not any(now.page.agrees(offset, answer) for offset in (HEADER, now.page.data_offset)):
            self._say(impossible(entry.origin, "the page holds other bytes"))

    def _opened_or_not(self, now: _Opened, entry: Seen) -> None:
        if not now.awaited:
            self._say(impossible(entry.origin, "nobody waits for the frontend to be open"))
        now.awaited = False
        if entry["ok"]:
            self._say(Holds(entry.origin, lambda s: bool(s.open and s.peer_v2 and s.fe_state == XenbusState.CONNECTED)))
            return
        gone = (XenbusState.UNKNOWN, XenbusState.CLOSING, XenbusState.CLOSED)
        there = now.view.complete and now.view.be not in gone
        if there and not now.published and not now.failed:
            self._say(impossible(entry.origin, "nothing kept the frontend from opening the device"))
        self._say(Holds(entry.origin, lambda s: not s.open))
        self._act(entry.origin, "driver_wants", wish=Wish.CLOSED)

    def _shut_down(self, now: _Opened, entry: Seen) -> None:
        self._say(Holds(entry.origin, lambda s: not s.open and not s.granted))

    def _died(self, now: _Opened, entry: Seen) -> None:
        self.running = None
        self._act(entry.origin, "frontend_dies")


def read_tpmfront(path: Path) -> Mapping[str, Recording]:
    """What a recording of a driven frontend shows, by the node that it opened. Raises Malformed and BadInput."""
    return recordings_of(read_script(path), path.name, str(path))


def recordings_of(entries: tuple[Entry, ...], name: str, file: str) -> Mapping[str, Recording]:
    """What the entries of a recording show, by the node that was opened. Raises Malformed, which names the file."""
    reader = _Reader(file)
    reader.read(entries)
    return {
        node: reader.recording(f"{name}: {node}", opened.observations, SUBJECT)
        for node, opened in sorted(reader.opened.items())
    }
