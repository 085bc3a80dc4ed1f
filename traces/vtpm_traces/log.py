"""Event logs: a line a step, written by an implementation or a test, to be held against a specification.

The first line is a header, the others are events (NDJSON; the schema is `vtpm-event-log/1`). Commands and answers are
given by length and SHA-256; their bytes only under a header that says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from vtpm_model.core import Spec
from vtpm_traces import schema
from vtpm_traces.files import LIMITS, BadInput, Limits, parse_json, read_lines, read_ndjson, shown
from vtpm_traces.observe import Candidates
from vtpm_traces.values import Leaf, Sort, leaves, sort_of

_EVENT_KEYS = frozenset({"action", "by", "picks", "after", "contents", "time", "note"})
_QUICK_KEYS = frozenset({"action", "picks", "after"})

REMEMBERED = 4096
"""Lines that are kept in mind, for they come again; those with identities do not."""


@dataclass(frozen=True)
class Header:
    """What a log says of itself in its first line."""

    system: str
    variant: str | None = None
    hidden: tuple[str, ...] = ()
    candidates: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    payload: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """The header as a JSON object."""
        document: dict[str, Any] = {"schema": schema.EVENT_LOG, "system": self.system}
        if self.variant is not None:
            document["variant"] = self.variant
        if self.hidden:
            document["hidden"] = list(self.hidden)
        if self.candidates:
            document["candidates"] = {pick: list(values) for pick, values in self.candidates.items()}
        if self.payload:
            document["payload"] = True
        if self.provenance:
            document["provenance"] = dict(self.provenance)
        return document


@dataclass(slots=True, eq=False)
class Event:
    """What one line says: the action, the picks that are known, and what was seen of the state after it.

    `contents` gives (kind, the field whose number it is about, content) for what the line says of numbered things.
    `numbers` are the values among picks and observations that are identities or counts, in order; `key` is equal for
    events that differ in these only.
    """

    action: str
    picks: Mapping[str, Any]
    after: tuple[tuple[Leaf, Any], ...]
    contents: tuple[tuple[str, Leaf, Hashable], ...]
    numbers: tuple[int, ...]
    key: Hashable
    numbered: frozenset[str]  # picks and fields that hold the numbers

    @property
    def text(self) -> str:
        """The event as people read it."""
        inside = ", ".join(f"{pick}={_told(value)}" for pick, value in self.picks.items())
        seen = ", ".join(f"{leaf.path}={_told(value)}" for leaf, value in self.after)
        return self.action + (f"({inside})" if inside else "") + (f", then {seen}" if seen else "")

    def labelled(self, labels: Iterable[int]) -> tuple[Mapping[str, Any], tuple[tuple[Leaf, Any], ...]]:
        """Picks and observations with other values in place of the numbers, in the same order."""
        rest = iter(labels)
        picks = {pick: next(rest) if pick in self.numbered else value for pick, value in self.picks.items()}
        after = tuple((leaf, next(rest) if leaf.path in self.numbered else value) for leaf, value in self.after)
        return picks, after


@dataclass(frozen=True)
class Log:
    """A log file: its header, the number of the line that it stands in, and the limits to read the rest with."""

    path: Path
    header: Header
    line: int
    limits: Limits = LIMITS


def read(path: Path, limits: Limits = LIMITS) -> Log:
    """A log with its header read and checked. Raises BadInput; an unknown schema is refused by name."""
    for number, document in read_ndjson(path, limits):
        where = f"{path}:{number}"
        refuse_foreign(document, where)
        schema.check(document, schema.EVENT_LOG, where, part="header")
        header = Header(
            system=document["system"],
            variant=document.get("variant"),
            hidden=tuple(document.get("hidden", ())),
            candidates={pick: tuple(values) for pick, values in document.get("candidates", {}).items()},
            payload=document.get("payload", False),
            provenance=document.get("provenance", {}),
        )
        return Log(path, header, number, limits)
    raise BadInput(f"{path}: empty; the first line of an event log is its header")


def refuse_foreign(document: Mapping[str, Any], where: str) -> None:
    """Raise BadInput unless this is the header of an event log of a version that is known."""
    if "schema" not in document:
        raise BadInput(f'{where}: an event log begins with a header: {{"schema": "{schema.EVENT_LOG}", "system": ...}}')
    schema.refuse_unknown(document["schema"], schema.EVENT_LOG, where)


class Reader:
    """Turns the lines of a log into events of a specification; raises BadInput for what is no event of it.

    It checks what the schema says, by hand: a validator of schemas would take most of the time.
    """

    def __init__(self, spec: Spec[Any], log: Log) -> None:
        self.spec, self.log = spec, log
        self._picks: dict[str, dict[str, Sort]] = {
            action.name: {pick: sort_of(sort) for pick, sort in action.picks.items()} for action in spec.actions
        }
        self._by = {action.name: action.by.value for action in spec.actions}
        self._leaves = leaves(spec.state)

    def hidden(self) -> tuple[str, ...]:
        """The actions that the log may not show."""
        unknown = [name for name in self.log.header.hidden if name not in self._picks]
        if unknown:
            raise BadInput(f"{self.log.path}:1: hidden: {self.spec.name} has no action {', '.join(unknown)}")
        return self.log.header.hidden

    def candidates(self) -> dict[str, Candidates]:
        """The values that the log allows for picks that it does not give."""
        found = {}
        for name, values in self.log.header.candidates.items():
            action, pick = name.split(".")
            sort = self._picks.get(action, {}).get(pick)
            if sort is None:
                raise BadInput(f"{self.log.path}:1: candidates: {self.spec.name} has no pick {name}")
            if sort.number:
                raise BadInput(f"{self.log.path}:1: candidates: {name} is a number that goes on; give it in its lines")
            found[name] = Candidates(tuple(self._value(sort, value, 1, name) for value in values))
        return found

    def events(self) -> Iterator[tuple[int, Event]]:
        """The events of the log, each with the number of its line."""
        remembered: dict[str, Event] = {}
        for number, text in read_lines(self.log.path, self.log.limits):
            event = remembered.get(text)
            if event is None:
                if number <= self.log.line or not text or text.isspace():
                    continue
                document = parse_json(text, f"{self.log.path}:{number}", self.log.limits)
                if not isinstance(document, dict):
                    raise self._bad(number, f"{shown(text)} is not a JSON object")
                event = self.event(number, document)
                if not event.numbers and len(remembered) < REMEMBERED:
                    remembered[text] = event
            yield number, event

    def event(self, number: int, document: dict[str, Any]) -> Event:
        """One line as an event."""
        name = document.get("action")
        sorts = self._picks.get(name) if isinstance(name, str) else None
        if sorts is None or name is None:
            known = ", ".join(self._picks)
            raise self._bad(number, f"action: {shown(name)} is not an action of {self.spec.name}, which has {known}")
        if not document.keys() <= _QUICK_KEYS:
            self._check_rest(number, document)
        picks = document.get("picks", {})
        after = document.get("after", {})
        if type(picks) is not dict or type(after) is not dict:
            raise self._bad(number, "picks and after are objects")
        numbers: list[int] = []
        numbered: list[str] = []
        fixed: list[Any] = [name]
        read_picks = {}
        for pick, given in picks.items():
            sort = sorts.get(pick)
            if sort is None:
                has = ", ".join(sorts) or "none"
                raise self._bad(number, f"picks: {name} has no pick {shown(pick)}; it has {has}")
            value = read_picks[pick] = self._value(sort, given, number, pick)
            if sort.number:
                numbers.append(value)
                numbered.append(pick)
                value = None
            fixed.append((pick, value))
        seen = []
        for path, given in after.items():
            leaf = self._leaves.get(path)
            if leaf is None:
                raise self._no_field(number, "after", path)
            value = self._value(leaf.sort, given, number, path)
            seen.append((leaf, value))
            if leaf.sort.number:
                numbers.append(value)
                numbered.append(path)
                value = None
            fixed.append((path, value))
        contents = document.get("contents")
        return Event(
            name,
            read_picks,
            tuple(seen),
            () if contents is None else self._contents(number, contents),
            tuple(numbers),
            tuple(fixed),
            frozenset(numbered),
        )

    def _value(self, sort: Sort, value: Any, number: int, what: str) -> Any:
        try:
            return sort.read(value)
        except BadInput as error:
            raise self._bad(number, f"{what}: {error}") from None

    def _check_rest(self, number: int, document: dict[str, Any]) -> None:
        unknown = sorted(document.keys() - _EVENT_KEYS)
        if unknown:
            allowed = ", ".join(sorted(_EVENT_KEYS))
            raise self._bad(number, f"{shown(unknown[0])} is not one of {allowed}")
        name, by = document["action"], document.get("by")
        if by is not None and by != self._by[name]:
            raise self._bad(number, f"by: {name} is done by the {self._by[name]}, not by {shown(by)}")
        if type(document.get("time", 0)) not in (int, float):
            raise self._bad(number, f"time: {shown(document['time'])} is not a number")
        if not isinstance(document.get("note", ""), str):
            raise self._bad(number, f"note: {shown(document['note'])} is not text")

    def _contents(self, number: int, contents: Any) -> tuple[tuple[str, Leaf, Hashable], ...]:
        if type(contents) is not dict:
            raise self._bad(number, "contents is an object")
        return tuple(self._content(number, subject, content) for subject, content in contents.items())

    def _content(self, number: int, subject: str, content: Any) -> tuple[str, Leaf, Hashable]:
        kind, colon, path = subject.partition(":")
        if not colon or re.fullmatch("[a-z][a-z0-9_]*", kind) is None:
            raise self._bad(number, f"contents: {shown(subject)} is not KIND:FIELD")
        leaf = self._leaves.get(path)
        if leaf is None:
            raise self._no_field(number, "contents", path)
        schema.check(content, schema.EVENT_LOG, f"{self.log.path}:{number}", part="content")
        payload = content.get("payload")
        if payload is not None:
            if not self.log.header.payload:
                raise self._bad(number, "contents: there is a payload, and the header does not say so")
            if content_of(bytes.fromhex(payload)) != {key: content[key] for key in ("length", "sha256")}:
                raise self._bad(number, "contents: the payload does not have that length and hash")
        return kind, leaf, (content["length"], content["sha256"])

    def _no_field(self, number: int, key: str, path: str) -> BadInput:
        return self._bad(number, f"{key}: {shown(path)} is not a field of {self.spec.name}, which has "
                                 f"{', '.join(self._leaves)}")  # fmt: skip

    def _bad(self, number: int, text: str) -> BadInput:
        return BadInput(f"{self.log.path}:{number}: {text}")


def content_of(data: bytes, *, payload: bool = False) -> dict[str, Any]:
    """How a log shows the bytes of a command or an answer."""
    content: dict[str, Any] = {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if payload:
        content["payload"] = data.hex()
    return content


def write(
    file: TextIO,
    spec: Spec[Any],
    header: Header,
    steps: Iterable[tuple[str, Mapping[str, Any], Any, Any]],
    *,
    shows: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Write a log of steps `(action, picks, before, after)`, with all picks and each field that changed.

    Actions that the header calls hidden are left out. `shows` gives other fields to be logged after certain actions.
    """
    file.write(json.dumps(header.to_document()) + "\n")
    paths = leaves(spec.state)
    sorts = {action.name: {pick: sort_of(sort) for pick, sort in action.picks.items()} for action in spec.actions}
    hidden = frozenset(header.hidden)
    for name, picks, before, after in steps:
        if name in hidden:
            continue
        line: dict[str, Any] = {"action": name}
        if picks:
            line["picks"] = {pick: sorts[name][pick].write(value) for pick, value in picks.items()}
        chosen = shows.get(name) if shows is not None else None
        if chosen is None:
            chosen = [path for path, leaf in paths.items() if leaf.get(before) != leaf.get(after)]
        if chosen:
            line["after"] = {path: paths[path].sort.write(paths[path].get(after)) for path in chosen}
        file.write(json.dumps(line) + "\n")


def _told(value: Any) -> str:
    return str(getattr(value, "name", value)) if not isinstance(value, bool) else str(value).lower()
