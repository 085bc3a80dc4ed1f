"""Whether the validator has teeth: each line of a real recording is spoilt in each way, and must then be refused.

A spoilt recording that is accepted is one that could have happened: the completed run that shows it is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from vtpm_model.ring import SUBMIT
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.xen import DeviceRecording, Source, SourceKind, read_sources
from vtpm_traces.recordings.xen_events import Change, Commit, Device, Side, place_of
from vtpm_traces.recordings.xen_model import plain_run
from vtpm_traces.recordings.xen_rejudge import Rejudge
from vtpm_traces.verdict import Outcome, Taken


class Spoilt(Enum):
    """What was done to a line."""

    DROPPED = "dropped"
    SWAPPED = "swapped with the other side's next"
    STATE = "a state changed"
    KEY = "a key changed"
    RING_REF = "a ring-ref changed"
    LENGTH = "a length changed"
    REQUEST = "a byte of a request changed"
    RESPONSE = "a byte of a response changed"


@dataclass(frozen=True)
class Mutant:
    """A recording with one line spoilt: the kind of line, its place, and what becomes of lines of its file.

    `edits` has lines, counted from 0, with what stands in their place (None: they are gone).
    """

    spoilt: Spoilt
    line_kind: str
    origin: Origin
    edits: tuple[tuple[int, bytes | None], ...]

    def of(self, content: bytes) -> bytes:
        """The spoilt content of the file."""
        lines: list[bytes | None] = [*content.split(b"\n")]
        for number, line in self.edits:
            lines[number] = line
        return b"\n".join(line for line in lines if line is not None)


@dataclass(frozen=True)
class Bite:
    """What became of a mutant: refused (at which places), undecided, or accepted (by which run)."""

    mutant: Mutant
    outcome: Outcome
    ends_at: tuple[Origin, ...] = ()
    run: tuple[Taken, ...] = ()


Fields = dict[str, Any]


def mutants(contents: Mapping[str, bytes], device: Device) -> Iterator[Mutant]:
    """Every mutant of the lines that concern a device, in the order of the lines."""
    for seen in read_sources("", contents).devices:
        if seen.device != device:
            continue
        logs = [source for source in seen.sources if source.kind is not SourceKind.STORE]
        for file in dict.fromkeys(source.file for source in logs):
            lines = contents[file].split(b"\n")
            numbers = {e.origin.line - 1 for s in seen.sources if s.file == file for e in s.events}
            for number in sorted(numbers):
                yield from _of_line(file, lines, number, sorted(numbers))
        for source in seen.sources:
            if source.kind is SourceKind.STORE:
                commits = [event for event in source.events if isinstance(event, Commit)]
                lines = contents[source.file].split(b"\n")
                for change in (change for commit in commits for change in commit.changes):
                    yield from _of_request(lines, change)
        return


_MODELLED = {
    "state": Spoilt.STATE, "ring-ref": Spoilt.RING_REF, "event-channel": Spoilt.KEY, "online": Spoilt.KEY,
    "feature-protocol-v2": Spoilt.KEY,
}  # fmt: skip


def _of_request(lines: list[bytes], change: Change) -> Iterator[Mutant]:
    """The mutants of a request in a trace of the store that wrote a node: gone with its answer, or another value."""
    number = change.origin.line - 1
    words = lines[number].split(b" ")
    if change.node not in _MODELLED or change.value is None or words[4] != b"WRITE":
        return

    def mutant(spoilt: Spoilt, *edits: tuple[int, bytes | None]) -> Mutant:
        return Mutant(spoilt, "WRITE", change.origin, edits)

    answer = next(
        n for n in range(number, len(lines)) if lines[n].startswith(b"OUT " + words[1]) and b"WRITE (" in lines[n]
    )
    yield mutant(Spoilt.DROPPED, (number, None), (answer, None))
    spoilt = _MODELLED[change.node]
    value = str(_other_state(change.value)) if spoilt is Spoilt.STATE else "77"
    head = lines[number][: -len(change.value) - 1]
    announced = (number - 1, b"")  # with the length that the request had
    yield mutant(spoilt, announced, (number, head + value.encode() + b")"))


def _of_line(file: str, lines: list[bytes], number: int, numbers: list[int]) -> Iterator[Mutant]:
    fields: Fields = json.loads(lines[number])
    kind = str(fields.get("ev", "xswatch"))
    origin = Origin(file, number + 1, lines[number].decode("utf-8", "backslashreplace")[:160])

    def mutant(spoilt: Spoilt, *edits: tuple[int, bytes | None]) -> Mutant:
        return Mutant(spoilt, kind, origin, edits)

    yield mutant(Spoilt.DROPPED, (number, None))
    own = _is_own(fields)
    for other in numbers[numbers.index(number) + 1 :]:
        if _is_own(json.loads(lines[other])) is not own:
            yield mutant(Spoilt.SWAPPED, (number, lines[other]), (other, lines[number]))
            break
    for spoilt, changed in _changed(fields):
        yield mutant(spoilt, (number, json.dumps(changed).encode()))


def _is_own(fields: Fields) -> bool:
    """Whether a line tells what the backend did, not what it found of the others."""
    return fields.get("ev") in ("write", "connected", "command")


def _changed(fields: Fields) -> Iterator[tuple[Spoilt, Fields]]:
    """The line with one value changed, in each way that it can be."""
    kind = fields.get("ev")
    node, side = _node(fields)
    if node == "state" and "value" in fields:
        yield Spoilt.STATE, {**fields, "value": _other_state(fields["value"])}
    elif node in ("event-channel", "feature-protocol-v2", "online") and fields.get("value") is not None:
        yield Spoilt.KEY, {**fields, "value": "7"}
    elif node == "ring-ref" and side is Side.FRONTEND:
        yield Spoilt.RING_REF, {**fields, "value": "77"}
    for name in ("keys", "fekeys"):
        keys = fields.get(name)
        if isinstance(keys, dict):
            for key in keys:
                spoilt = {"ring-ref": Spoilt.RING_REF, "state": Spoilt.STATE}.get(key, Spoilt.KEY)
                value = _other_state(keys[key]) if key == "state" else "77"
                if key not in ("uuid", "resume", "backend-id"):  # nothing else tells what these were
                    yield spoilt, {**fields, name: {**keys, key: value}}
    if kind == "connected":
        yield Spoilt.RING_REF, {**fields, "ring_ref": 77}
        yield Spoilt.KEY, {**fields, "remote_port": 77}
        yield Spoilt.LENGTH, {**fields, "page": "17" + fields["page"][2:]}
    if kind == "pyfront-write":
        yield Spoilt.RING_REF, {**fields, "ring_ref": 77}
        yield Spoilt.KEY, {**fields, "port": 77}
        yield Spoilt.STATE, {**fields, "state": _other_state(fields["state"])}
    if kind == "pyfront-be":
        yield Spoilt.STATE, {**fields, "be_state": _other_state(fields["be_state"])}
    if kind == "event":
        yield Spoilt.LENGTH, {**fields, "length": fields["length"] + 1}
        yield Spoilt.STATE, {**fields, "state": (fields["state"] + 1) % 4}
    if kind == "command":
        yield Spoilt.REQUEST, {**fields, "cmd": _flipped(fields["cmd"], -1)}
        yield Spoilt.REQUEST, {**fields, "cmd": _flipped(fields["cmd"], 5)}
        yield Spoilt.RESPONSE, {**fields, "rsp": _flipped(fields["rsp"], -1)}
        yield Spoilt.RESPONSE, {**fields, "rsp": _flipped(fields["rsp"], 5)}
        yield Spoilt.LENGTH, {**fields, "cmd": fields["cmd"] + "00"}
        yield Spoilt.LENGTH, {**fields, "rsp": fields["rsp"] + "00"}


def _node(fields: Fields) -> tuple[str, Side | None]:
    place = place_of(str(fields.get("path", "")))
    return ("", None) if place is None else (place.node, place.side)


def _other_state(value: object) -> object:
    """Another state, of the same type: the next one, and Initialising after Closed or for none."""
    number = int(str(value)) % 6 + 1 if value is not None else 1
    return number if isinstance(value, int) else str(number)


def _flipped(hexadecimal: str, index: int) -> str:
    data = bytearray.fromhex(hexadecimal)
    data[index] ^= 1
    return data.hex()


def thinned(every: Iterable[Mutant], step: int) -> Iterator[Mutant]:
    """The mutants of all lines up to the 40th command, and after it those of each `step`-th command and its looks."""
    commands = 0
    line: tuple[str, int] | None = None
    for mutant in every:
        place = mutant.origin.file, mutant.origin.line
        if mutant.line_kind == "command" and place != line:
            commands += 1
        line = place
        if commands <= _WITHOUT_THINNING or commands % step == 0 or mutant.line_kind not in ("event", "command"):
            yield mutant


_WITHOUT_THINNING = 40


def depended_on(mutant: Mutant) -> bool:
    """Whether it spoils what later lines mostly depend on: writes, keys, connects, commands, their events, lengths."""
    if mutant.spoilt is Spoilt.DROPPED:
        return mutant.line_kind in ("write", "WRITE", "connected", "event", "command", "pyfront-write")
    return mutant.spoilt in (Spoilt.STATE, Spoilt.KEY, Spoilt.RING_REF, Spoilt.LENGTH)


def why_nothing_depends(mutant: Mutant, contents: Mapping[str, bytes]) -> str:
    """Why no later line depends on what was spoilt, told from the lines alone; empty if nothing tells it."""
    lines = contents[mutant.origin.file].split(b"\n")
    fields = _fields(lines[mutant.origin.line - 1])
    later = [_fields(line) for line in lines[mutant.origin.line :]]
    match mutant.line_kind:
        case "watch" | "xswatch" | "pyfront-be":
            return "a level read: the value may have been there since the read before"
        case "event" if fields["state"] != SUBMIT and mutant.spoilt is not Spoilt.LENGTH:
            return "a look that found no request"
        case "frontend-state" if mutant.spoilt in (Spoilt.KEY, Spoilt.RING_REF):
            following = next((each for each in later if each.get("ev") in ("frontend-state", "connected")), {})
            if following.get("ev") != "connected":
                return "keys that no connection was made with"
        case "command" if mutant.spoilt is Spoilt.DROPPED:
            # a recorder that begins to count anew has counted no more of these
            following = next((each for each in later if each.get("n") in (1, fields["n"] + 1)), {})
            if following.get("n") != fields["n"] + 1:
                return "the last command that its recorder counted"
        case _:
            pass
    return ""


def _fields(line: bytes) -> Fields:
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def bite(mutant: Mutant, base: Rejudge, contents: Mapping[str, bytes], *, run: bool = False) -> Bite:
    """Hold a mutant against the specification that explains the recording itself."""
    verdict = base.rejudge(changed_source(mutant, base.seen, contents), run=run)
    return Bite(mutant, verdict.outcome, verdict.ends_at, plain_run(verdict.run))


def changed_source(mutant: Mutant, seen: DeviceRecording, contents: Mapping[str, bytes]) -> Source:
    """What the spoilt file shows of a device; without an event left it is there, and silent."""
    file = mutant.origin.file
    old = next(source for source in seen.sources if source.file == file)
    found = (
        source
        for each in read_sources("", {file: mutant.of(contents[file])}).devices
        for source in each.sources
        if each.device == seen.device and source.kind is old.kind
    )
    return next(found, replace(old, events=()))


Table = dict[tuple[Spoilt, str], Counter[Outcome]]


def table(bites: Iterable[Bite]) -> Table:
    """How many mutants of each class, by what was done and to which kind of line, became what."""
    found: Table = {}
    for each in bites:
        found.setdefault((each.mutant.spoilt, each.mutant.line_kind), Counter())[each.outcome] += 1
    return found
