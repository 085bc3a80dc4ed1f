"""Reads the JSON lines of recorders: a backend's own log, a user-space frontend's, and a watch on everything."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vtpm_model.ring import FINISH, SUBMIT
from vtpm_traces.files import BadInput, parse_json, shown
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.json_line import JsonLine, Unusable
from vtpm_traces.recordings.xen_events import (
    DIRECTORY,
    Change,
    Commanded,
    Commit,
    Device,
    Event,
    Header,
    Mapped,
    Party,
    Place,
    Published,
    Read,
    Remark,
    Restarted,
    Sampled,
    Side,
    directory_of,
    place_of,
)
from vtpm_traces.schema import RECORDING, refuse_unknown

_LONGEST_LINE = 64 * 1024  # a command and its answer take 16 KiB in hexadecimal
_MOST_REMARKS = 50
_MOST_DEVICES = 1000

# Nodes that a listing of a directory tells to be absent by not naming them.
_LISTED: Mapping[Side, tuple[str, ...]] = {
    Side.FRONTEND: ("state", "ring-ref", "event-channel", "feature-protocol-v2"),
    Side.BACKEND: ("state", "feature-protocol-v2", "frontend", "uuid"),
}

_CONNECTING = ("3", "4")
_DISCONNECTED = ("2", "6")  # what a backend writes after it has unmapped


@dataclass
class Log:
    """What one file of JSON lines shows of each device, in its order; `started`: it begins with its backend's start."""

    backend: dict[Device, list[Event]] = field(default_factory=lambda: defaultdict(list))
    frontend: dict[Device, list[Event]] = field(default_factory=lambda: defaultdict(list))
    watcher: dict[Device, list[Event]] = field(default_factory=lambda: defaultdict(list))
    remarks: list[Remark] = field(default_factory=list)
    started: bool = False
    doubtful: set[Device] = field(default_factory=set)  # lines may be of another of these

    def remark(self, origin: Origin, why: str) -> None:
        """Tell of a line that could not be used; a log full of them is told about once more, not line by line."""
        if len(self.remarks) < _MOST_REMARKS:
            self.remarks.append(Remark(origin, why))
        elif len(self.remarks) == _MOST_REMARKS:
            self.remarks.append(Remark(Origin(origin.file, origin.line, ""), "further such lines are not listed"))


def read_log(text: bytes, name: str, *, console: bool = False) -> Log:
    """Read a file that somebody named `name`. On a console, what is before a JSON object is somebody else's.

    Raises BadInput if its recorder says that it writes by a schema that is not known here.
    """
    log = Log()
    reader = _Reader(log, list(_lines(text, name, log, console=console)))
    reader.run()
    return log


# ------------------------------------------------------------------------------------------------------------ lines


class _Line(JsonLine):
    @property
    def kind(self) -> str:
        kind = self.fields.get("ev")
        if kind is None and "path" in self.fields and "value" in self.fields:
            return "xswatch"
        return kind if isinstance(kind, str) else ""

    def text(self, key: str) -> str:
        """A field that is text, or a number where text is meant. Raises Unusable."""
        value = self.fields.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise Unusable(f"{key} is {shown(value)}, expected text")
        return str(value)

    def value(self, key: str) -> str | None:
        """A node's value: text, a number, or null where the node is absent. Raises Unusable."""
        if key not in self.fields:
            raise Unusable(f"{key} is missing")
        return None if self.fields[key] is None else self.text(key)

    def data(self, key: str, longest: int) -> bytes:
        """Bytes written in hexadecimal. Raises Unusable."""
        value = self.fields.get(key)
        if not isinstance(value, str) or len(value) > 2 * longest or not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", value):
            raise Unusable(f"{key} is {shown(value)}, expected at most {longest} bytes in hexadecimal")
        return bytes.fromhex(value)

    def device(self) -> Device | None:
        """The device that a line names as DOMAIN/HANDLE, if it does. Raises Unusable."""
        if "device" not in self.fields:
            return None
        value = self.text("device")
        if (found := re.fullmatch(r"(\d{1,5})/(\d{1,9})", value, re.ASCII)) is None:
            raise Unusable(f"device is {shown(value)}, expected a domain and a handle such as 1/0")
        return Device(int(found[1]), int(found[2]))

    def keys(self, key: str) -> Mapping[str, str]:
        """The nodes of a directory with their values. Raises Unusable."""
        value = self.fields.get(key)
        if not isinstance(value, dict) or not all(isinstance(item, str | int) for item in value.values()):
            raise Unusable(f"{key} is {shown(value)}, expected nodes and their values")
        return {name: str(item) for name, item in value.items()}


def _lines(text: bytes, name: str, log: Log, *, console: bool) -> Iterator[_Line]:
    for number, raw in enumerate(text.split(b"\n"), 1):
        raw = raw.strip()
        if console:
            raw = raw[at:] if (at := raw.find(b'{"')) >= 0 else b""
        if not raw:
            continue
        shows, fields, why = _read(raw)
        if fields is None:
            log.remark(Origin(name, number, shows), why)
        else:
            yield _Line(Origin(name, number, shows), fields)


@functools.lru_cache(maxsize=8192)
def _read(raw: bytes) -> tuple[str, Mapping[str, Any] | None, str]:
    """What a line shows, its fields (None: it has none), and then why it cannot be used."""
    shows = shown(raw.decode("utf-8", "backslashreplace"), 160)
    if len(raw) > _LONGEST_LINE:
        return shows, None, f"a line of {len(raw)} bytes; at most {_LONGEST_LINE} are read"
    try:
        fields = parse_json(raw.decode("utf-8", "replace"), "the line")
    except BadInput as why:
        return shows, None, str(why)
    if not isinstance(fields, dict):
        return shows, None, "not a JSON object"
    return _without_payload(shows, fields), fields, ""


def _without_payload(shows: str, fields: Mapping[str, Any]) -> str:
    """What a line shows, with hashes for the bytes of a command and its answer."""
    hidden = {
        key: f"{len(value) // 2} bytes, sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]}"
        for key in ("cmd", "rsp")
        if isinstance(value := fields.get(key), str)
    }
    return shown(json.dumps({**fields, **hidden}), 240) if hidden else shows


# ----------------------------------------------------------------------------------------------------------- events


@dataclass
class _Served:
    """What a backend's log has shown so far of a device that it serves."""

    connected: bool = False
    whole: bool = False  # since its backend's start, the device was found, or a command: the log showed each command
    commands: int = 0
    page: tuple[int, int] | None = None  # its state and length as the backend knows them best


class _Reader:
    """From lines to events of devices."""

    def __init__(self, log: Log, lines: list[_Line]) -> None:
        self.log = log
        self.lines = lines
        self.domain: int | None = None
        self.served: dict[Device, _Served] = {}
        self.there: set[Device] = set()  # of the devices, those whose directory has not been seen to go
        self.directories: dict[str, Place] = {}  # of devices, by path
        self.connecting: Device | None = None  # the device whose keys the backend has just read
        self.woken: Device | None = None  # the device whose event the backend is handling
        self.own: Device | None = None  # the device that the user-space frontend drives

    def run(self) -> None:
        """Read every line; what cannot be used becomes a remark."""
        readers: dict[str, Callable[[_Line], None]] = {
            "start": self._start, "watch": self._watch, "backend-node": self._backend_node, "write": self._write,
            "frontend-state": self._frontend_state, "connected": self._connected, "command": self._command,
            "pyfront": self._frontend_starts, "pyfront-write": self._frontend_writes,
            "pyfront-be": self._frontend_reads, "pyfront-connected": self._frontend_connected,
            "xswatch": self._everything,
        }  # fmt: skip
        for position, line in enumerate(self.lines):
            try:
                if line.kind == "event":
                    self._event(line, position)
                elif line.kind in readers:
                    readers[line.kind](line)
                elif line.kind != "tis":  # of the hardware below a manager: nothing that concerns a vTPM device
                    self.log.remark(line.origin, f"an event that is not known: {shown(line.fields.get('ev'))}")
            except Unusable as why:
                self.log.remark(line.origin, f"{line.kind}: {why}")

    def _place(self, line: _Line, key: str = "path") -> Place | None:
        path = line.text(key)
        if not path.startswith(("/", "@")) and self.domain is not None:
            path = f"/local/domain/{self.domain}/{path}"
        found = directory_of(path)
        if found is None:
            return None
        directory, own_path = found
        if own_path not in self.directories and len(self.directories) >= 2 * _MOST_DEVICES:
            raise Unusable(f"more than {_MOST_DEVICES} devices; this one is not followed")
        self.directories[own_path] = directory
        return place_of(path)

    def _device(self, line: _Line, key: str = "path") -> Place:
        place = self._place(line, key)
        if place is None:
            raise Unusable(f"{key} is {shown(line.fields.get(key))}, expected a node of a vTPM device")
        return place

    def _serve(self, device: Device) -> _Served:
        return self.served.setdefault(device, _Served(whole=self.domain is not None))

    # -------------------------------------------------------------------------------------------- a backend's log

    def _start(self, line: _Line) -> None:
        if "schema" in line.fields:  # older recorders name none
            refuse_unknown(line.fields["schema"], RECORDING, f"{line.origin.file}:{line.origin.line}")
        self.domain = line.number("domid", 0xFFFF)
        self.log.started |= not self.log.backend
        self.served.clear()
        self.connecting = self.woken = None
        for device in sorted(self.there):
            self.log.backend[device].append(Restarted(line.origin))

    def _watch(self, line: _Line) -> None:
        place = self._place(line)
        value = line.value("value")
        if place is not None:
            self._serve(place.device)
            self._note_existence(place, value)
            read = Read(line.origin, Party.BACKEND, place.side, place.node, value, exact=False)
            self.log.backend[place.device].append(read)
        elif value is None:
            self._gone(line, self.log.backend, Party.BACKEND)

    def _gone(self, line: _Line, events: dict[Device, list[Event]], party: Party) -> None:
        """A directory above devices is absent, and so is each device's below it."""
        above = line.text("path").rstrip("/") + "/"
        for path, place in self.directories.items():
            if path.startswith(above) and place.device in events:
                gone = Read(line.origin, party, place.side, DIRECTORY, None, exact=False, own=False)
                events[place.device].append(gone)

    def _listing(self, origin: Origin, party: Party, side: Side, keys: Mapping[str, str]) -> list[Event]:
        """A directory was listed, then each of its nodes was read."""
        absent = [Read(origin, party, side, node, None, exact=True) for node in _LISTED[side] if node not in keys]
        return [*absent, *(Read(origin, party, side, node, value, exact=True) for node, value in keys.items())]

    def _backend_node(self, line: _Line) -> None:
        place = self._device(line)
        keys, frontend_keys = line.keys("keys"), line.keys("fekeys")
        served = self._serve(place.device)
        served.connected, served.whole, served.commands, served.page = False, True, 0, None
        events = self.log.backend[place.device]
        events += self._listing(line.origin, Party.BACKEND, Side.BACKEND, keys)
        events += self._listing(line.origin, Party.BACKEND, Side.FRONTEND, frontend_keys)

    def _write(self, line: _Line) -> None:
        place = self._device(line)
        value = line.value("value")
        if place.side is Side.BACKEND and place.node == "state" and value in _DISCONNECTED:
            self._serve(place.device).connected = False
        self._note_existence(place, value)
        change = Change(line.origin, place.side, place.node, value)
        self.log.backend[place.device].append(Commit(line.origin, Party.BACKEND, (change,)))

    def _note_existence(self, place: Place, value: str | None) -> None:
        if place.side is Side.BACKEND and place.node in (DIRECTORY, "state"):
            (self.there.discard if value is None else self.there.add)(place.device)

    def _frontend_state(self, line: _Line) -> None:
        place = self._device(line)
        value, keys = line.value("value"), line.keys("keys")
        self._serve(place.device)
        self.connecting = place.device if value in _CONNECTING else None
        events = self.log.backend[place.device]
        events.append(Read(line.origin, Party.BACKEND, Side.FRONTEND, "state", value, exact=True))
        events += self._listing(line.origin, Party.BACKEND, Side.FRONTEND, keys)

    def _connected(self, line: _Line) -> None:
        reference, port = line.number("ring_ref", 0xFFFF_FFFF), line.number("remote_port", 0xFFFF_FFFF)
        feature, page = line.value("fe_v2"), line.data("page", 4096)
        if len(page) < 8:
            raise Unusable(f"page has {len(page)} bytes, expected the header's 8 at least")
        if self.connecting is None:
            raise Unusable("no frontend's keys have been read before it")
        device = self.connecting
        self.connecting = None
        header = Header(int.from_bytes(page[:4], "little"), page[4], page[5], page[6], page[7])
        served = self._serve(device)
        served.connected, served.page = True, (header.state, header.length)
        self.woken = device
        events = self.log.backend[device]
        read = {"ring-ref": str(reference), "event-channel": str(port), "feature-protocol-v2": feature}
        for node, value in read.items():
            events.append(Read(line.origin, Party.BACKEND, Side.FRONTEND, node, value, exact=True))
        events.append(Mapped(line.origin, reference, port, header, page[8:]))

    def _event(self, line: _Line, position: int) -> None:
        header = Header(
            line.number("length", 0xFFFF_FFFF), line.number("state", 0xFF), line.number("locality", 0xFF),
            line.number("pad", 0xFF), line.number("nr_extra_pages", 0xFF),
        )  # fmt: skip
        why = line.text("why")
        if why not in ("connect", "evtchn"):
            raise Unusable(f"why is {shown(why)}, expected connect or evtchn")
        named = line.device()
        if named is None and (why == "evtchn" or self.woken is None):
            named = self._whose(line, header, position)
        self.woken = named or self.woken
        assert self.woken is not None
        self.log.backend[self.woken].append(Sampled(line.origin, why == "connect", header))

    def _whose(self, line: _Line, header: Header, position: int) -> Device:
        """The connected device whose event it was: a line does not say, the command after it may, or the page."""
        connected = [device for device, served in self.served.items() if served.connected]
        following = self.lines[position + 1] if position + 1 < len(self.lines) else None
        if len(connected) > 1 and following is not None and following.kind == "command":
            number = following.fields.get("n")
            connected = [d for d in connected if self.served[d].commands + 1 == number] or connected
        if len(connected) > 1 and header.state != SUBMIT:
            page = header.state, header.length
            connected = [d for d in connected if self.served[d].page == page] or connected
        if not connected:
            raise Unusable("no device is connected")
        if len(connected) > 1:
            names = ", ".join(map(str, connected))
            self.log.doubtful.update(connected)
            self.log.remark(line.origin, f"may be of any of the devices {names}; taken as of {connected[0]}")
        return connected[0]

    def _command(self, line: _Line) -> None:
        self.woken = line.device() or self.woken
        if self.woken is None:
            raise Unusable("no event before it tells the device")
        served = self._serve(self.woken)
        number = line.number("n", 0xFFFF_FFFF)
        command = Commanded(
            line.origin, number, line.data("cmd", 4096), line.data("rsp", 8192), line.number("locality", 0xFF),
            follows=number in (1, served.commands + 1) or not served.whole,
        )  # fmt: skip
        served.whole = True
        served.commands, served.page = command.number, (FINISH, len(command.response))
        self.log.backend[self.woken].append(command)

    # --------------------------------------------------------------------------------- a user-space frontend's log

    def _frontend_starts(self, line: _Line) -> None:
        self.own = self._device(line, "be").device
        self.log.frontend[self.own] += self._listing(line.origin, Party.FRONTEND, Side.FRONTEND, line.keys("keys"))

    def _own(self) -> Device:
        if self.own is None:
            raise Unusable("no line before it tells the device")
        return self.own

    def _frontend_writes(self, line: _Line) -> None:
        reference, port = line.number("ring_ref", 0xFFFF_FFFF), line.number("port", 0xFFFF_FFFF)
        self.log.frontend[self._own()].append(Published(line.origin, reference, port, line.text("state")))

    def _frontend_reads(self, line: _Line) -> None:
        read = Read(line.origin, Party.FRONTEND, Side.BACKEND, "state", line.value("be_state"), exact=False)
        self.log.frontend[self._own()].append(read)

    def _frontend_connected(self, line: _Line) -> None:
        self.log.frontend[self._own()].append(
            Read(line.origin, Party.FRONTEND, Side.FRONTEND, "state", "4", exact=False)
        )

    # ------------------------------------------------------------------------------------------ a watch on everything

    def _everything(self, line: _Line) -> None:
        place = self._place(line)
        value = line.value("value")
        if place is not None:
            read = Read(line.origin, Party.OTHER, place.side, place.node, value, exact=False)
            self.log.watcher[place.device].append(read)
        elif value is None:
            self._gone(line, self.log.watcher, Party.OTHER)
