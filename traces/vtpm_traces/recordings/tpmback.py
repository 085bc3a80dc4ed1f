"""Recordings of a backend that a script drives: what each line shows of each device that the backend serves.

The script plays toolstack, frontends and application, and keeps to no rule. The lines of a file are in one order, so
each device becomes one stream. After `run` the backend has come to rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Actor, Step
from vtpm_model.handshake import XenbusState
from vtpm_model.page import HEADER, TPM_HEADER
from vtpm_model.ring import RingState, backend_page
from vtpm_traces.observe import (
    Call,
    Happened,
    Holds,
    Observation,
    Origin,
    Quiescent,
    Recording,
    StateTest,
)
from vtpm_traces.recordings.reader import WITHOUT_MEANING, Reader, done_by
from vtpm_traces.recordings.script import (
    Answer,
    CountFrontends,
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
    is_uuid,
    ring_state,
    xenbus_state,
)
from vtpm_traces.recordings.xen_events import Device

BACKEND_DOMAIN = 9
"""The driven backend's own domain."""

MOST_DEVICES = 256
MOST_PAGES = 1024
MOST_OBSERVATIONS = 1_000_000
"""A file with more than this is not looked at."""

SUBJECT = done_by(Actor.BACKEND)
"""What the backend does."""

WRITERS = tuple(Call(name) for name in sorted(SUBJECT - {"backend_removes_node", "backend_dies"}))
"""Actions that may write the backend's state node."""

STORING = {
    RingState.FINISH: (Call("backend_finishes"), Call("backend_refuses_request")),
    RingState.IDLE: (Call("backend_acknowledges_cancel"), Call("backend_refuses_request")),
}
"""Actions that store into a page, by the state byte that they store."""

_SAYS_NOTHING = WITHOUT_MEANING | {"req_any_null", "shutdown_returned"}

LETTING_GO = (Call("backend_disconnects"), Call("backend_undoes_connection"))

_BACK = re.compile(r"/local/domain/(\d{1,5})/backend/vtpm/(\d{1,5})/(\d{1,9})(?:/(.*))?")
_FRONT = re.compile(r"/local/domain/(\d{1,5})/device/vtpm/(\d{1,9})(?:/(.*))?")


@dataclass(frozen=True)
class _View:
    """What the nodes of a device say."""

    directory: bool = False
    be: XenbusState = XenbusState.UNKNOWN
    be_v2: bool = False
    online: bool = False
    complete: bool = False
    has_uuid: bool = False
    fe: XenbusState = XenbusState.UNKNOWN
    fe_v2: bool = False
    keys: tuple[int, int] | None = None


_NOTHING = _View()


@dataclass
class _Served:
    """A device as the reader goes along."""

    device: Device
    observations: list[Observation] = field(default_factory=list)
    view: _View = _NOTHING
    published: tuple[int, int] | None = None  # the keys of the newest connection
    published_exists: bool = False
    used: bool = False  # the backend has held that connection
    read_ref: str | None = None
    read_port: str | None = None
    mapped: int | None = None  # the grant reference
    port: int | None = None  # the local port
    remote_port: int | None = None
    is_open: bool = False
    racing: bool = False  # its page has changed while the backend was at work
    failed: bool = False  # something that was tried for the connection
    answer: Answer | None = None  # on its way into the page
    request_offset: int = HEADER
    in_service: bool = False  # the application was given its request
    written: set[int] = field(default_factory=set)  # bytes of the page that were stored since the last state byte

    @property
    def back(self) -> str:
        return f"/local/domain/{BACKEND_DOMAIN}/backend/vtpm/{self.device.domain}/{self.device.handle}"


def visible(before: Any, step: Step, after: Any) -> bool:
    """Whether a step of the backend leaves a line."""
    return bool(
        before.be_state != after.be_state
        or before.be_v2 != after.be_v2
        or before.mapped != after.mapped
        or (before.tracked and not after.tracked)
        or (not before.busy and after.busy)
        or step.name in ("backend_notifies", "backend_dies")
    )


def stores_visible(before: Any, step: Step, after: Any) -> bool:
    """Whether a step of the backend leaves a line where each of its stores does."""
    stored = before.page != after.page or before.old_page != after.old_page
    return visible(before, step, after) or (before.mapped == after.mapped and stored)


class _Reader(Reader):
    """Goes through the lines of one file."""

    def __init__(self, file: str) -> None:
        super().__init__(file, BACKEND_DOMAIN, visible)
        self.pages: dict[tuple[int, int], SharedPage] = {}
        self.served: dict[Device, _Served] = {}
        self.started: Origin | None = None
        self.stopped = False
        self.holder: _Served | None = None  # whose command the application has
        self.latest: _Served | None = None  # the device that the last line was about
        self.said = 0
        self.running: Origin | None = None
        self.asked: Driven | None = None  # the driver's question that no line has answered yet

    # ------------------------------------------------------------------------------------------------- the devices

    def _device(self, domain: int, handle: int, origin: Origin) -> _Served:
        device = Device(domain, handle)
        if device not in self.served:
            if len(self.served) == MOST_DEVICES:
                raise Malformed(self.file, origin.line, f"more than {MOST_DEVICES} devices")
            served = self.served[device] = _Served(device)
            if self.started is not None:
                self._say(served, Happened(self.started, (Call("driver_starts_backend"),)))
            if self.stopped:
                self._say(served, Happened(origin, (Call("driver_stops_backend"),)))
        self.latest = self.served[device]
        return self.latest

    def _front(self, served: _Served) -> str:
        named = self.nodes.get(served.back + "/frontend")
        return named or f"/local/domain/{served.device.domain}/device/vtpm/{served.device.handle}"

    def _owner(self, path: str, origin: Origin) -> _Served | None:
        """The device to which a node belongs, which is thereby known."""
        back = _BACK.fullmatch(path)
        if back is not None:
            if int(back[1]) != BACKEND_DOMAIN:
                return None
            return self._device(int(back[2]), int(back[3]), origin)
        for served in self.served.values():
            if is_at_or_below(path, self._front(served)):
                self.latest = served
                return served
        front = _FRONT.fullmatch(path)
        return None if front is None else self._device(int(front[1]), int(front[2]), origin)

    def _by_port(self, port: int) -> _Served | None:
        return next((served for served in self.served.values() if served.port == port), None)

    def _say(self, served: _Served | None, observation: Observation, *, anyway: bool = False) -> None:
        """Note an observation; of what belongs to no device, each device is told. `anyway`: though its page races."""
        for one in tuple(self.served.values()) if served is None else (served,):
            if one.racing and not anyway:
                continue
            one.observations.append(observation)
            self.said += 1
            if self.said > MOST_OBSERVATIONS:
                raise Malformed(self.file, observation.origin.line, f"more than {MOST_OBSERVATIONS} observations")

    def _act(self, served: _Served, origin: Origin, action: str, **picks: object) -> None:
        self._say(served, Happened(origin, (Call(action, picks),)))

    # ------------------------------------------------------------------------------------------------ the lines

    def _end_step(self) -> None:
        asked, self.asked = self.asked, None
        if asked is not None:
            self._say(None, impossible(asked.origin, "no line answers"))
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        """The run that was asked for is over: whoever was started has nothing left to do."""
        origin, self.running = self.running, None
        if origin is None or self.started is None:
            return
        for served in self.served.values():
            if (served.mapped is None) != (served.port is None):
                half = "a page without a port" if served.port is None else "a port without a page"
                self._say(served, impossible(origin, f"at rest the backend keeps {half}"))
            elsewhere = self.holder is not None and self.holder is not served
            excused = frozenset({"backend_fetches", "backend_refuses_request"}) if elsewhere else frozenset()
            rest = Origin(origin.file, origin.line, f"{origin.text}; after it the backend is at rest")
            self._say(served, Quiescent(rest, frozenset({Actor.BACKEND}), excused))
            told = Origin(
                origin.file, origin.line, f"{origin.text}; after it the application knows which devices there are"
            )
            self._say(served, Holds(told, _tracks(served.is_open)))
            if self.holder is not served and self.sight is stores_visible:
                served.in_service, served.answer = False, None  # an answer that was not stored by now never will be

    # ------------------------------------------------------------------------------------------------ the driver

    def _driven(self, entry: Driven) -> None:
        origin = entry.origin
        match entry.step:
            case Set(path, value):
                self.nodes.set(path, value, origin)
                served = self._owner(path, origin)
                if served is not None:
                    if path == served.back:
                        self._act(served, origin, "driver_makes_directory")
                    self._look_again(served, origin, written=path)
            case Remove(path):
                self.nodes.remove(path)
                for served in self.served.values():
                    if any(is_at_or_below(mine, path) or is_at_or_below(path, mine) for mine in self._dirs(served)):
                        self._look_again(served, origin)
            case Store(domain, ref, offset, data):
                self._page(domain, ref, origin).store(offset, data)
                self._stored(domain, ref, range(offset, offset + len(data)), origin)
            case Fill(domain, ref, offset, count):
                page = self._page(domain, ref, origin)
                if offset == 0:
                    page.store(0, bytes(7 * at & 0xFF for at in range(count)))
                else:
                    page.forget(offset, count)
                self._stored(domain, ref, range(offset, offset + count), origin)
            case Kick(port):
                kicked = self._by_port(port)
                if kicked is not None:
                    self.latest = kicked
                    self._act(kicked, origin, "driver_raises_backend_event")
            case Answer(length) as answer:
                if self.holder is not None:
                    self.latest = self.holder
                    if self.holder.in_service or self.sight is visible:
                        self.holder.answer = answer
                    self._act(self.holder, origin, "driver_answers", reply=length)
                    self.holder = None
            case Run():
                self.running = origin
            case Start():
                self.started = origin
                for served in self.served.values():
                    self._act(served, origin, "driver_starts_backend")
            case Stop():
                self.stopped = True
                for served in self.served.values():
                    self._act(served, origin, "driver_stops_backend")
            case Show(domain, ref):
                self.asked = entry if (domain, ref) in self.pages else None
            case CountFrontends():
                self.asked = entry
            case Fail() | ListStore() | Pass():
                pass
            case _:
                raise Malformed(self.file, origin.line, f"a backend has no use for this: {origin.text}")

    def _dirs(self, served: _Served) -> tuple[str, str]:
        return served.back, self._front(served)

    def _viewed(self, served: _Served) -> _View:
        front, get = self._front(served), self.nodes.get
        directory = self.nodes.get(served.back) is not None
        ref, port = as_number(get(front + "/ring-ref")), as_number(get(front + "/event-channel"))
        return _View(
            directory=directory,
            be=xenbus_state(get(served.back + "/state")),
            be_v2=get(served.back + "/feature-protocol-v2") == "1",
            online=get(served.back + "/online") == "1",  # libxl writes 1 or 0; a missing node is 0 to Linux
            complete=bool(get(served.back + "/frontend")) and is_uuid(get(served.back + "/uuid")),
            has_uuid=is_uuid(get(served.back + "/uuid")),
            fe=xenbus_state(get(front + "/state")),
            fe_v2=get(front + "/feature-protocol-v2") == "1",
            keys=None if ref is None or port is None else (ref, port),
        )

    def _look_again(self, served: _Served, origin: Origin, written: str = "") -> None:
        """Tell what the driver has changed of a device's nodes; a state that is written anew is told anew."""
        old, new = served.view, self._viewed(served)
        served.view = new
        if old.directory and not new.directory:
            self._act(served, origin, "driver_removes_directory")
            old = replace(_NOTHING, fe=old.fe, fe_v2=old.fe_v2, keys=old.keys)
        if old.online != new.online:
            self._act(served, origin, "driver_sets_online", online=new.online)
        if (old.complete, old.has_uuid) != (new.complete, new.has_uuid):
            self._act(served, origin, "driver_completes_node", complete=new.complete, has_uuid=new.has_uuid)
        if old.be_v2 != new.be_v2:
            self._act(served, origin, "driver_writes_backend_version", version=new.be_v2)
        if old.fe_v2 != new.fe_v2:
            self._act(served, origin, "driver_writes_frontend_version", version=new.fe_v2)
        if old.keys != new.keys:
            self._publish(served, new.keys, origin)
        elif served.used and served.mapped is None and _opens(new.fe) and not _opens(old.fe):
            self._publish_anew(served, origin)
        if old.be != new.be:
            self._act(served, origin, "driver_writes_backend_state", state=new.be)
        if old.fe != new.fe or written == self._front(served) + "/state":
            self._act(served, origin, "driver_writes_frontend_state", state=new.fe)

    def _publish(self, served: _Served, keys: tuple[int, int] | None, origin: Origin) -> None:
        if keys is None:
            self._act(served, origin, "driver_retracts_keys")
        elif keys == served.published:
            self._act(served, origin, "driver_publishes_again")
        else:
            served.published = keys
            self._publish_anew(served, origin)

    def _publish_anew(self, served: _Served, origin: Origin) -> None:
        """The keys that were published last are those of another connection than before, if only in use."""
        assert served.published is not None
        page = self.pages.get((served.device.domain, served.published[0]))
        served.published_exists, served.used = page is not None, False
        self._act(served, origin, "driver_publishes_another_page", exists=page is not None)
        if page is not None:
            self._header(served, page, range(8), origin, only_news=True)

    def _page(self, domain: int, ref: int, origin: Origin) -> SharedPage:
        """A page of the stand-in, which grants it from the first store on."""
        if (domain, ref) not in self.pages:
            if len(self.pages) == MOST_PAGES:
                raise Malformed(self.file, origin.line, f"more than {MOST_PAGES} pages")
            self.pages[domain, ref] = SharedPage()
            for served in self.served.values():
                if served.device.domain == domain and served.published is not None and served.published[0] == ref:
                    served.published_exists = True
                    self._act(served, origin, "driver_publishes_another_page", exists=True)
        return self.pages[domain, ref]

    def _stored(self, domain: int, ref: int, where: range, origin: Origin) -> None:
        page = self.pages[domain, ref]
        for served in self.served.values():
            if served.device.domain != domain:
                continue
            named = served.published is not None and served.published[0] == ref
            if named:
                self.latest = served
                self._header(served, page, where, origin)
            # of two connections that differ by their ports only, the new one has the page of the old one
            if served.mapped == ref and where.start < 8 and not (named and served.used):
                self.latest = served
                self._act(
                    served, origin, "driver_stores_into_old_page",
                    length=page.length, state=page.state, extra=page.extra,
                )  # fmt: skip

    def _header(
        self, served: _Served, page: SharedPage, where: range, origin: Origin, *, only_news: bool = False
    ) -> None:
        """Tell what of a header was stored; with `only_news` just what a zeroed page does not say."""
        if where.start < 4 and where.stop > 0 and (page.length or not only_news):
            self._act(served, origin, "driver_stores_length", length=page.length)
        if 7 in where and (page.extra or not only_news):
            self._act(served, origin, "driver_stores_extra", extra=page.extra)
        if 4 in where and (page.state or not only_news):
            self._act(served, origin, "driver_stores_state", state=page.state)

    # ----------------------------------------------------------------------------------------------- the backend

    def _seen(self, entry: Seen) -> None:
        readers: Mapping[str, Callable[[Seen], None]] = {
            "xs_read": self._read,
            "xs_node": self._read,
            "xs_write": self._wrote,
            "xs_rm": self._removed,
            "injected_error": self._error,
            "map_grant": self._map,
            "unmap_grant": self._unmap,
            "evtchn_bind": self._bind,
            "evtchn_unbind": self._unbind,
            "open_callback": self._opened,
            "close_callback": self._closed,
            "request": self._request,
            "notify": self._notify,
            "page": self._shown,
            "stores_follow": self._stores_follow,
            "page_store": self._stored_by_backend,
            "page_fault": self._faulted,
            "evtchn_pending": self._pending,
            "races": self._races,
            "num_frontends": self._counted,
            "process_end": self._died,
        }
        if entry.kind in readers:
            readers[entry.kind](entry)
        elif entry.kind not in _SAYS_NOTHING:
            raise Malformed(self.file, entry.origin.line, f"a backend does not do this: {entry.origin.text}")

    def _read(self, entry: Seen) -> None:
        path, value = self._absolute(entry["path"]), entry["value"]
        served = self._owner(path, entry.origin)
        if entry["error"] not in (None, "ENOENT"):
            self._fail(served, entry.origin)
            return
        why = self.nodes.contradicts(path, value)
        if why is not None:
            self._say(served, impossible(entry.origin, why))
        if served is None or entry.kind == "xs_node":
            return
        node = path.removeprefix(self._front(served))
        if node == "/ring-ref":
            served.read_ref = value
        elif node == "/event-channel":
            served.read_port = value

    def _wrote(self, entry: Seen) -> None:
        if entry["error"] is not None:
            return
        path, value = self._absolute(entry["path"]), entry["value"]
        served = self._owner(path, entry.origin)
        if served is None or not is_at_or_below(path, served.back):
            self._say(served, impossible(entry.origin, "the backend writes only below its own nodes"))
        elif value != self.nodes.get(path):
            self._wrote_node(served, path.removeprefix(served.back), value, entry.origin)
        self.nodes.set(path, value, entry.origin)
        if served is not None:
            served.view = self._viewed(served)

    def _wrote_node(self, served: _Served, node: str, value: str, origin: Origin) -> None:
        if node == "/state":
            target = xenbus_state(value)
            self._say(served, Happened(origin, WRITERS, lambda before, step, after: bool(after.be_state == target)))
        elif node == "/feature-protocol-v2":
            if value == "1":
                self._act(served, origin, "backend_publishes_version")
            else:
                self._say(served, impossible(origin, "version 2 is told by 1"))

    def _removed(self, entry: Seen) -> None:
        path = self._absolute(entry["path"])
        served = self._owner(path, entry.origin)
        if served is None or not is_at_or_below(path, served.back):
            self._say(served, impossible(entry.origin, "the backend removes only its own nodes"))
        elif path == served.back:
            if served.view.be is not XenbusState.UNKNOWN:
                self._act(served, entry.origin, "backend_removes_node")
        elif self.nodes.get(path) is not None and path.removeprefix(served.back) != "/ready":
            self._say(served, impossible(entry.origin, "the backend removes its directory as a whole"))
        self.nodes.remove(path)
        if served is not None:
            served.view = self._viewed(served)

    def _error(self, entry: Seen) -> None:
        self._fail(self.latest, entry.origin)

    def _fail(self, served: _Served | None, origin: Origin) -> None:
        """What the backend tried for a connection has failed, as the driver wanted."""
        if served is not None:
            served.failed = True
            self._act(served, origin, "driver_fails_connection")

    def _map(self, entry: Seen) -> None:
        domain, ref = entry["domid"], entry["ref"]
        served = next(
            (
                one
                for one in self.served.values()
                if one.device.domain == domain and as_number(one.read_ref) == ref and one.mapped is None
            ),
            None,
        )
        if served is None:
            self._say(None, impossible(entry.origin, "no frontend has told of this page"))
        elif not entry["ok"]:
            self._fail(served, entry.origin)
        else:
            served.mapped = ref

    def _bind(self, entry: Seen) -> None:
        domain, remote, port = entry["domid"], entry["remote_port"], entry["local_port"]
        served = next(
            (
                one
                for one in self.served.values()
                if one.device.domain == domain and as_number(one.read_port) == remote and one.port is None
            ),
            None,
        )
        if served is None:
            self._say(None, impossible(entry.origin, "no frontend has told of this port"))
            return
        self.latest = served
        if served.mapped is None:
            self._say(served, impossible(entry.origin, "the port is bound before the page is mapped"))
        if served.failed:
            served.failed = False
            self._act(served, entry.origin, "driver_fails_no_more")
        served.port, served.remote_port, served.used = port, remote, True
        if self.sight is stores_visible:
            served.in_service, served.answer = False, None  # what is still served came over another connection
        self._act(served, entry.origin, "backend_maps")

    def _unmap(self, entry: Seen) -> None:
        served = next(
            (one for one in self.served.values() if one.device.domain == entry["domid"] and one.mapped == entry["ref"]),
            None,
        )
        if served is None:
            self._say(None, impossible(entry.origin, "this page is not mapped"))
            return
        self.latest = served
        served.mapped = None
        if served.port is not None:
            self._say(served, Happened(entry.origin, LETTING_GO))

    def _unbind(self, entry: Seen) -> None:
        served = self._by_port(entry["local_port"])
        if served is None:
            self._say(None, impossible(entry.origin, "this port is not bound"))
            return
        self.latest = served
        served.port = served.remote_port = None
        if served.mapped is not None:
            self._say(served, Happened(entry.origin, LETTING_GO))

    def _named(self, entry: Seen) -> _Served:
        for name in ("domid", "handle"):
            if not 0 <= entry[name] < 10**9:
                raise Malformed(self.file, entry.origin.line, f"{name} is {entry[name]}; a small number is expected")
        return self._device(entry["domid"], entry["handle"], entry.origin)

    def _opened(self, entry: Seen) -> None:
        served = self._named(entry)
        if served.is_open:
            self._say(served, impossible(entry.origin, "the device is open already"))
        uuid = self.nodes.get(served.back + "/uuid") or ""
        if entry["uuid"].lower() != uuid.replace("-", "").lower():
            self._say(served, impossible(entry.origin, f"the device's uuid is {uuid}"))
        served.is_open = True
        self._say(served, Holds(entry.origin, lambda state: bool(state.tracked)))

    def _closed(self, entry: Seen) -> None:
        served = self._named(entry)
        served.is_open = False
        self._act(served, entry.origin, "backend_releases_device")

    def _request(self, entry: Seen) -> None:
        served = self._named(entry)
        data = self._bytes(entry, "data")
        why = self._unlike_page(served, entry, data)
        if self.holder is not None:
            why = "the application has not answered the request before"
        elif not served.is_open:
            why = "the device was not opened towards the application"
        if why is not None:
            self._say(served, impossible(entry.origin, why))
        self.holder = served
        served.in_service = True
        self._say(
            served, Happened(entry.origin, (Call("backend_fetches"),), lambda before, step, after: bool(after.busy))
        )

    def _unlike_page(self, served: _Served, entry: Seen, data: bytes) -> str | None:
        """Why the request cannot be what stands in the page that is mapped."""
        if served.mapped is None:
            return "no page is mapped"
        page = self.pages[served.device.domain, served.mapped]
        served.request_offset = page.data_offset
        if entry["len"] != page.length or len(data) > entry["len"]:
            return f"the page says a length of {page.length}"
        if page.locality not in (None, entry["locality"]):
            return f"the page says locality {page.locality}"
        if not page.agrees(page.data_offset, data):
            return "the page holds other bytes"
        return None

    def _notify(self, entry: Seen) -> None:
        served = self._by_port(entry["local_port"])
        if served is None:
            self._say(None, impossible(entry.origin, "this port is not bound"))
            return
        self.latest = served
        if (entry["remote_domid"], entry["remote_port"]) != (served.device.domain, served.remote_port):
            self._say(served, impossible(entry.origin, f"the port is bound to another of domain {served.device}"))
        if served.answer is not None and served.mapped is not None and self.sight is visible:
            page = self.pages[served.device.domain, served.mapped]
            self._answered(page, served.request_offset, served.answer)
            self._pass_on(served, page, entry.origin)
            served.answer = None
        self._act(served, entry.origin, "backend_notifies")

    def _pending(self, entry: Seen) -> None:
        served = self._by_port(entry["local_port"])
        if served is None:
            self._say(None, impossible(entry.origin, "this port is not bound"))
        else:
            self._act(served, entry.origin, "driver_raises_backend_event")

    def _races(self, entry: Seen) -> None:
        """The page changes while the backend may be reading it: what it has read is not known from here on.

        Of this device nothing is told any more but accesses to what is not mapped.
        """
        for served in self.served.values():
            here = served.published is not None and served.published[0] == entry["ref"]
            if served.device.domain == entry["domid"] and (here or served.mapped == entry["ref"]):
                served.racing = True

    def _stores_follow(self, _: Seen) -> None:
        """Each store of the backend into a page has a line of its own."""
        self.sight = stores_visible

    def _faulted(self, entry: Seen) -> None:
        self._say(self.latest, impossible(entry.origin, "nothing is mapped there"), anyway=True)

    def _stored_by_backend(self, entry: Seen) -> None:
        domain, ref, offset, data = entry["domid"], entry["ref"], entry["offset"], self._bytes(entry, "data")
        served = next((one for one in self.served.values() if one.device.domain == domain and one.mapped == ref), None)
        page = self.pages.get((domain, ref))
        if served is None or page is None or not 0 <= offset <= len(page.content) - len(data):
            self._say(None, impossible(entry.origin, "no such page is mapped"), anyway=True)
            return
        self.latest = served
        page.store(offset, data)
        served.written.update(range(offset, offset + len(data)))
        if RING_STATE in served.written:
            self._stored_state(served, page, entry.origin)
            served.written.clear()

    def _stored_state(self, served: _Served, page: SharedPage, origin: Origin) -> None:
        """The state byte was stored, and with it all that was stored before it takes effect."""
        state, length = page.state, page.length
        answer, served.answer = served.answer, None
        offset = served.request_offset if served.in_service else page.data_offset
        served.in_service = False
        if state not in STORING:
            self._say(served, impossible(origin, "a backend stores IDLE and FINISH only"))
            return
        packet = range(offset, offset + length) if state is RingState.FINISH else range(0)
        beyond = sorted(at for at in served.written if not (at <= RING_STATE or at in packet))
        if beyond:
            self._say(served, impossible(origin, f"byte {beyond[0]} of the page is no part of the answer"))
        fits = answer is not None and HEADER <= answer.length <= len(page.content) - offset
        if fits and answer is not None and answer.data is not None and state is RingState.FINISH:
            told = length == answer.length and page.agrees(offset, answer.data)
            if not told and answer.length >= TPM_HEADER:
                self._say(served, impossible(origin, "this is not what the application answered"))
        self._say(
            served,
            Happened(
                origin,
                STORING[state],
                lambda before, step, after: bool(
                    (backend_page(after).state, backend_page(after).length) == (state, length)
                ),
            ),
        )
        self._pass_on(served, page, origin)

    def _pass_on(self, served: _Served, page: SharedPage, origin: Origin) -> None:
        """What the backend has stored stands in the page of the connection to come, too, if that is the same page."""
        if not served.used and served.published is not None and served.published[0] == served.mapped:
            self._header(served, page, range(8), origin)

    def _answered(self, page: SharedPage, offset: int, answer: Answer) -> None:
        """The application's answer is in the page, if it fits there."""
        if max(offset, page.data_offset) + answer.length > len(page.content):
            return
        page.store(0, answer.length.to_bytes(4, "little") + bytes([RingState.FINISH]))
        if answer.data is None or page.data_offset != offset:
            # Whether nr_extra_pages was read with the request or with the answer is not known.
            page.forget(offset, answer.length)
            page.forget(page.data_offset, answer.length)
        else:
            page.store(offset, answer.data)

    def _shown(self, entry: Seen) -> None:
        asked, self.asked = self.asked, None
        page = self.pages.get((entry["domid"], entry["ref"]))
        if asked is None or page is None or asked.step != Show(entry["domid"], entry["ref"]):
            self._say(None, impossible(entry.origin, "the driver did not ask for this page"))
            return
        data = self._bytes(entry, "data")
        length, state, extra = entry["length"], ring_state(entry["state"] & 0xFF), entry["nr_extra_pages"]
        for served in self.served.values():
            if served.device.domain != entry["domid"]:
                continue
            current = served.published is not None and served.published[0] == entry["ref"]
            if current or served.mapped == entry["ref"]:
                self._say(served, Holds(entry.origin, _header_is(current, length, state, extra)))
                if page.locality not in (None, entry["locality"]):
                    self._say(served, impossible(entry.origin, f"locality {page.locality} was stored"))
                if page.known[6] and page.content[6] != entry["pad"]:
                    self._say(served, impossible(entry.origin, "nobody stored this pad"))
                finished = state == RingState.FINISH and (length, state) != (page.length, page.state)
                if not finished and not page.agrees(HEADER, data):
                    self._say(served, impossible(entry.origin, "other bytes were stored"))
        page.store(0, (length & 0xFFFF_FFFF).to_bytes(4, "little") + bytes([entry["state"] & 0xFF]))

    def _counted(self, entry: Seen) -> None:
        asked, self.asked = self.asked, None
        if asked is None or not isinstance(asked.step, CountFrontends):
            self._say(None, impossible(entry.origin, "the driver did not ask for this"))
        count = sum(served.is_open for served in self.served.values())
        if entry["count"] != count:
            self._say(None, impossible(entry.origin, f"{count} devices are open"))

    def _died(self, entry: Seen) -> None:
        self.running = None
        self._say(self.latest, Happened(entry.origin, (Call("backend_dies"),)))


def _opens(state: XenbusState) -> bool:
    """A frontend in this state wants to be served."""
    return state in (XenbusState.INITIALISED, XenbusState.CONNECTED)


def _tracks(opened: bool) -> StateTest:  # noqa: FBT001
    """A test of whether the backend serves the device."""
    return lambda now: bool(now.tracked == opened)


def _header_is(current: bool, length: int, state: RingState, extra: int) -> StateTest:  # noqa: FBT001
    """A test of the header in the page that was published last, or in that of the connection before."""

    def fits(now: Any) -> bool:
        page = now.page if current else now.old_page
        return bool((page.length, page.state, page.extra) == (length, state, extra))

    return fits


def read_tpmback(path: Path) -> Mapping[Device, Recording]:
    """What a recording of a driven backend shows of each device. Raises Malformed and BadInput."""
    return recordings_of(read_script(path), path.name, str(path))


def recordings_of(entries: tuple[Entry, ...], name: str, file: str) -> Mapping[Device, Recording]:
    """What the entries of a recording show of each device. Raises Malformed, which names the file."""
    reader = _Reader(file)
    reader.read(entries)
    return {
        device: reader.recording(f"{name}: device {device}", served.observations, SUBJECT)
        for device, served in sorted(reader.served.items())
    }
