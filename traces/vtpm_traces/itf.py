"""Traces in the Informal Trace Format: a run of a specification, and whether it must be possible or must be refused.

The layout is Apalache's (ADR 015); the variables `mbt::actionTaken` and `mbt::nondetPicks` are Quint's. What ITF has no
place for stands in `#meta`: the specification, what is expected, the lines of the model that are pinned, provenance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from vtpm_model.core import Spec, fields
from vtpm_traces import schema
from vtpm_traces.files import LIMITS, BadInput, Limits, read_json, shown
from vtpm_traces.values import Sort, sort_of

ACTION = "mbt::actionTaken"
PICKS = "mbt::nondetPicks"
INIT = "init"


class Expect(Enum):
    """What a trace demands of the specification that it names."""

    ACCEPT = "accept"  # every step is possible and ends in exactly the state given
    REJECT = "reject"  # every step but the last is; the last is not possible, or ends in another state


@dataclass(frozen=True)
class Moment:
    """A step and the state after it. The first moment of a trace is the initial state, its action `init`."""

    action: str
    picks: Mapping[str, Any]
    state: Any


@dataclass(frozen=True)
class Trace:
    """A run with what is expected of it; `loop` is the index of the moment that the last one leads back to."""

    specification: str
    title: str
    expect: Expect
    moments: tuple[Moment, ...]
    pins: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    loop: int | None = None


def named(trace: Trace, spec: Spec[Any]) -> str:
    """The stable id of a trace: its specification and a digest of what it expects, its steps and its states."""
    content = json.dumps([trace.expect.value, trace.loop, _states(trace, spec)], sort_keys=True, separators=(",", ":"))
    return f"{trace.specification}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def to_document(trace: Trace, spec: Spec[Any]) -> dict[str, Any]:
    """The trace as an ITF document."""
    document: dict[str, Any] = {
        "#meta": {
            "format": "ITF",
            "schema": schema.TRACE,
            "id": named(trace, spec),
            "specification": trace.specification,
            "title": trace.title,
            "expect": trace.expect.value,
            "pins": list(trace.pins),
            "provenance": dict(trace.provenance),
        },
        "vars": [*fields(spec.state), ACTION, PICKS],
        "states": _states(trace, spec),
    }
    if trace.loop is not None:
        document["loop"] = trace.loop
    return document


def write(path: Path, trace: Trace, spec: Spec[Any]) -> None:
    """Write a trace as a file, a line a state."""
    document = to_document(trace, spec)
    states = ",\n    ".join(json.dumps(state) for state in document.pop("states"))
    loop = document.pop("loop", None)
    head = json.dumps(document, indent=2)[:-2]
    tail = "" if loop is None else f',\n  "loop": {loop}'
    path.write_text(f'{head},\n  "states": [\n    {states}\n  ]{tail}\n}}\n', encoding="utf-8")


@dataclass(frozen=True)
class File:
    """An ITF document as it was read, its specification not yet looked up."""

    path: Path
    document: Mapping[str, Any]

    @property
    def ours(self) -> bool:
        """Whether it has our metadata; another tool's ITF file has not."""
        return "schema" in self.document["#meta"]

    @property
    def specification(self) -> str | None:
        """The name of the specification that it is a trace of, if it says so."""
        found = self.document["#meta"].get("specification")
        return found if isinstance(found, str) else None


def read_file(path: Path, limits: Limits = LIMITS) -> File:
    """An ITF document of ours (its schema checked) or of another tool. Raises BadInput."""
    document = read_json(path, limits)
    if not isinstance(document, dict) or not isinstance(document.get("states"), list):
        raise BadInput(f"{path}: an ITF trace is an object with vars and states")
    meta = document.setdefault("#meta", {})
    if not isinstance(meta, dict):
        raise BadInput(f"{path}: #meta: {shown(meta)} is not an object")
    if "schema" in meta:
        schema.refuse_unknown(meta["schema"], schema.TRACE, str(path))
        schema.check(document, schema.TRACE, str(path))
    return File(path, document)


def to_trace(file: File, spec: Spec[Any]) -> Trace:
    """The trace that a file holds, its values those of the specification. Raises BadInput."""
    where, meta, document = str(file.path), file.document["#meta"], file.document
    sorts = {name: sort_of(annotation) for name, annotation in fields(spec.state).items()}
    if sorted(document.get("vars", ())) != sorted([*sorts, ACTION, PICKS]):
        raise BadInput(f"{where}: vars: {spec.name} has {', '.join(sorts)}, {ACTION} and {PICKS}")
    moments = tuple(_moment(state, index, sorts, spec, where) for index, state in enumerate(document["states"]))
    if not moments or moments[0].action != INIT:
        raise BadInput(f"{where}: the first state must be there, with {ACTION} {INIT}")
    loop = document.get("loop")
    if loop is not None and not (type(loop) is int and 0 <= loop < len(moments)):
        raise BadInput(f"{where}: loop: {shown(loop)} is no index of a state")
    trace = Trace(
        specification=spec.name,
        title=str(meta.get("title", file.path.name)),
        expect=Expect(meta.get("expect", "accept")),
        moments=moments,
        pins=tuple(meta.get("pins", ())),
        provenance=meta.get("provenance", {}),
        loop=loop,
    )
    if file.ours and meta["id"] != named(trace, spec):
        raise BadInput(f"{where}: id: {meta['id']} does not fit the content, whose id is {named(trace, spec)}")
    return trace


def _states(trace: Trace, spec: Spec[Any]) -> list[dict[str, Any]]:
    sorts = {name: sort_of(annotation) for name, annotation in fields(spec.state).items()}
    states = []
    for moment in trace.moments:
        state = {name: sort.write_itf(getattr(moment.state, name)) for name, sort in sorts.items()}
        picks = {} if moment.action == INIT else {p: sort_of(s) for p, s in spec.action(moment.action).picks.items()}
        state[ACTION] = moment.action
        state[PICKS] = {
            pick: {"tag": "Some", "value": picks[pick].write_itf(value)} for pick, value in moment.picks.items()
        }
        states.append(state)
    return states


def _moment(state: Any, index: int, sorts: Mapping[str, Sort], spec: Spec[Any], where: str) -> Moment:
    if not isinstance(state, dict):
        raise BadInput(f"{where}: states.{index}: {shown(state)} is not an object")
    values = {}
    for name, sort in sorts.items():
        if name not in state:
            raise BadInput(f"{where}: states.{index} lacks {name}")
        try:
            values[name] = sort.read_itf(state[name])
        except BadInput as error:
            raise BadInput(f"{where}: states.{index}.{name}: {error}") from None
    action, given = state.get(ACTION), state.get(PICKS)
    names = [INIT] if index == 0 else [one.name for one in spec.actions]
    if action not in names:
        raise BadInput(f"{where}: states.{index}.{ACTION}: {shown(action)} is not one of {', '.join(names)}")
    expected = {} if index == 0 else {p: sort_of(s) for p, s in spec.action(action).picks.items()}
    if not isinstance(given, dict):
        raise BadInput(f"{where}: states.{index}.{PICKS}: {shown(given)} is not a record")
    picks = {}
    for pick, option in given.items():
        if not isinstance(option, dict) or option.get("tag") not in ("Some", "None"):
            raise BadInput(f"{where}: states.{index}.{PICKS}.{pick}: {shown(option)} is neither Some nor None")
        if option["tag"] == "Some":
            if pick not in expected:
                raise BadInput(f"{where}: states.{index}.{PICKS}: {action} has no pick {shown(pick)}")
            picks[pick] = expected[pick].read_itf(option.get("value"))
    if picks.keys() != expected.keys():
        missing = ", ".join(sorted(expected.keys() - picks.keys()))
        raise BadInput(f"{where}: states.{index}.{PICKS}: {action} also needs {missing}")
    return Moment(action, picks, spec.state(**values))
