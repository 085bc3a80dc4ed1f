"""Looks across the devices of a backend: whether it gives one frontend's commands two turns while another's waits.

Each device is judged alone elsewhere, so that no order among them is. Here a request waits once the backend has come
to rest and knows of it: SUBMIT stands in a page that it has mapped, and an event came after. The wait ends with the
request's own turn, with any other state byte, and with the connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vtpm_model.ring import RingState
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.script import Driven, Entry, Fill, Kick, Run, Seen, Store
from vtpm_traces.recordings.stand_in import RING_STATE
from vtpm_traces.recordings.xen_events import Device, Side, place_of


@dataclass
class _Line:
    """What the backend has of one device."""

    keys: dict[str, str | None] = field(default_factory=dict)  # as it read them last
    ref: int | None = None  # of the page that is mapped
    port: int | None = None  # its own
    told: bool = False  # an event came after the last SUBMIT
    passed: set[Device] | None = None  # who had a turn while this one's request waits; None: none waits


@dataclass(frozen=True)
class Unfair:
    """Who had a second turn, who waited for all that time, and the line that shows it."""

    served: Device
    waiting: Device
    origin: Origin

    def __str__(self) -> str:
        return f"device {self.served} is served twice while the request of device {self.waiting} waits"


def unfair(entries: Iterable[Entry]) -> Unfair | None:
    """The first second turn, if there is one, in what a backend did."""
    turns = _Turns()
    return next((found for found in map(turns.take, entries) if found is not None), None)


class _Turns:
    """Goes through the lines of one conversation."""

    def __init__(self) -> None:
        self._lines: dict[Device, _Line] = {}
        self._states: dict[tuple[int, int], int] = {}  # the state byte, by domain and grant reference

    def take(self, entry: Entry) -> Unfair | None:
        """What this line shows."""
        if isinstance(entry, Seen):
            return self._seen(entry)
        self._driven(entry)
        return None

    def _driven(self, entry: Driven) -> None:
        match entry.step:
            case Store(domain, ref, offset, data):
                self._store(domain, ref, offset, data)
            case Fill(domain, ref, offset, count):
                self._store(domain, ref, offset, bytes(7 * at & 0xFF for at in range(count)))
            case Kick(port):
                for line in self._lines.values():
                    line.told |= line.port == port
            case Run():
                for device, line in self._lines.items():
                    if line.told and line.passed is None and self._asks(device, line):
                        line.passed = set()

    def _seen(self, entry: Seen) -> Unfair | None:
        match entry.kind:
            case "xs_read":
                self._read(entry["path"], entry["value"])
            case "map_grant" if entry["ok"]:
                for line in self._wanting(entry["domid"], "ring-ref", entry["ref"]):
                    line.ref = entry["ref"]
            case "evtchn_bind":
                for line in self._wanting(entry["domid"], "event-channel", entry["remote_port"]):
                    line.port, line.told = entry["local_port"], True
            case "unmap_grant":
                for device, line in self._lines.items():
                    if (device.domain, line.ref) == (entry["domid"], entry["ref"]):
                        line.ref = line.passed = None
            case "evtchn_unbind":
                for line in self._lines.values():
                    if line.port == entry["local_port"]:
                        line.port = line.passed = None
            case "page_store":
                self._store(entry["domid"], entry["ref"], entry["offset"], bytes.fromhex(entry["data"]))
            case "request":
                return self._turn(Device(entry["domid"], entry["handle"]), entry.origin)
        return None

    def _read(self, path: str, value: str | None) -> None:
        place = place_of(path)
        if place is not None and place.side is Side.FRONTEND and place.node in ("ring-ref", "event-channel"):
            self._lines.setdefault(place.device, _Line()).keys[place.node] = value

    def _wanting(self, domain: int, key: str, number: int) -> list[_Line]:
        """The line whose key this is: the first that has no such connection yet."""
        held = "ref" if key == "ring-ref" else "port"
        lines = [line for device, line in self._lines.items() if device.domain == domain]
        return [line for line in lines if line.keys.get(key) == str(number) and getattr(line, held) is None][:1]

    def _store(self, domain: int, ref: int, offset: int, data: bytes) -> None:
        if not offset <= RING_STATE < offset + len(data):
            return
        state = self._states[domain, ref] = data[RING_STATE - offset]
        for device, line in self._lines.items():
            if (device.domain, line.ref) == (domain, ref):
                line.told = False
                line.passed = line.passed if state == RingState.SUBMIT else None

    def _asks(self, device: Device, line: _Line) -> bool:
        held = line.ref is not None and line.port is not None
        return held and self._states.get((device.domain, line.ref or 0)) == RingState.SUBMIT

    def _turn(self, served: Device, origin: Origin) -> Unfair | None:
        self._lines.setdefault(served, _Line()).passed = None
        self._lines[served].told = False
        for device, line in self._lines.items():
            if line.passed is not None:
                if served in line.passed:
                    return Unfair(served, device, origin)
                line.passed.add(served)
        return None
