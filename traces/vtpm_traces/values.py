"""Values of a specification in files: enumerations by name, records as objects, and the ranges of integers kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter
from typing import Annotated, Any, get_origin

from vtpm_model.core import Range, fields
from vtpm_traces.files import BadInput, shown

SMALL = 256
"""So many values of a sort are tried one by one."""


@dataclass(frozen=True)
class Sort:
    """How values of one sort are written and read.

    `write` gives a JSON value, `read` takes one back and raises BadInput. With ITF each integer is `{"#bigint": "5"}`.
    `few` are all values, in order, if there are at most 256 of them.
    """

    name: str
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    write_itf: Callable[[Any], Any]
    read_itf: Callable[[Any], Any]
    few: tuple[Any, ...] | None = None
    number: bool = False  # an identity or a count without bound
    least: Any = None  # the least value, where values are in order


@functools.cache
def sort_of(annotation: Any) -> Sort:
    """The sort that an annotation of a model names."""
    if annotation is bool:
        return Sort("true or false", bool, _read_bool, bool, _read_bool, (False, True), least=False)
    if isinstance(annotation, type) and issubclass(annotation, IntEnum):
        return _enumeration(annotation)
    if get_origin(annotation) is Annotated:
        for note in annotation.__metadata__:
            if isinstance(note, Range):
                return _integer(note)
    if annotation is int:
        return _integer(Range(0, None))
    if isinstance(annotation, type) and hasattr(annotation, "_fields"):
        return _record(annotation)
    raise TypeError(f"{annotation!r} is not a sort that files can hold")


@dataclass(frozen=True)
class Leaf:
    """A field of a state that is no record: its dotted name, its sort, and how to get it."""

    path: str
    sort: Sort
    get: Callable[[Any], Any]


_LEAVES: dict[type[Any], Mapping[str, Leaf]] = {}


def leaves(state: type[Any]) -> Mapping[str, Leaf]:
    """All leaves of a record class by dotted name, in order."""
    if state in _LEAVES:
        return _LEAVES[state]
    found: dict[str, Leaf] = {}
    for name, annotation in fields(state).items():
        if isinstance(annotation, type) and hasattr(annotation, "_fields"):
            for inner in leaves(annotation):
                path = f"{name}.{inner}"
                found[path] = Leaf(path, leaves(annotation)[inner].sort, attrgetter(path))
        else:
            found[name] = Leaf(name, sort_of(annotation), attrgetter(name))
    _LEAVES[state] = found
    return found


def told(sort: Sort, value: Any) -> str:
    """A value as people read it."""
    written = sort.write(value)
    return str(written).lower() if isinstance(written, bool) else str(written)


def _read_bool(document: Any) -> bool:
    if not isinstance(document, bool):
        raise BadInput(f"{shown(document)} is not true or false")
    return document


def _enumeration(enum: type[IntEnum]) -> Sort:
    members = {member.name: member for member in enum}
    names = ", ".join(members)

    def read(document: Any) -> IntEnum:
        if isinstance(document, str) and document in members:
            return members[document]
        raise BadInput(f"{shown(document)} is not one of {names}")

    def write(value: Any) -> str:
        return enum(value).name

    return Sort(names, write, read, write, read, tuple(enum), least=min(enum))


def _integer(bounds: Range) -> Sort:
    low, high = bounds.low, bounds.high
    name = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"

    def read(document: Any) -> int:
        if type(document) is not int or document < low or (high is not None and document > high):
            raise BadInput(f"{shown(document)} is not {name}")
        return document

    def read_itf(document: Any) -> int:
        if isinstance(document, dict) and document.keys() == {"#bigint"}:
            try:
                return read(int(document["#bigint"]))
            except (TypeError, ValueError) as error:
                if isinstance(error, BadInput):
                    raise
                raise BadInput(f"{shown(document)} is not an integer") from None
        return read(document)  # files older than 2023 hold plain numbers

    few = tuple(range(low, high + 1)) if high is not None and high - low < SMALL else None
    return Sort(name, int, read, lambda value: {"#bigint": str(int(value))}, read_itf, few, high is None, low)


def _record(cls: type) -> Sort:
    sorts = {name: sort_of(annotation) for name, annotation in fields(cls).items()}
    names = ", ".join(sorts)

    def read_by(one: Callable[[Sort, Any], Any]) -> Callable[[Any], Any]:
        def read(document: Any) -> Any:
            if not isinstance(document, dict) or document.keys() != sorts.keys():
                raise BadInput(f"{shown(document)} is not a record of {names}")
            values = {}
            for name, sort in sorts.items():
                try:
                    values[name] = one(sort, document[name])
                except BadInput as error:
                    raise BadInput(f"{name}: {error}") from None
            return cls(**values)

        return read

    def write(value: Any) -> dict[str, Any]:
        return {name: sort.write(getattr(value, name)) for name, sort in sorts.items()}

    def write_itf(value: Any) -> dict[str, Any]:
        return {name: sort.write_itf(getattr(value, name)) for name, sort in sorts.items()}

    return Sort(
        f"a record of {names}",
        write,
        read_by(lambda sort, document: sort.read(document)),
        write_itf,
        read_by(lambda sort, document: sort.read_itf(document)),
    )
