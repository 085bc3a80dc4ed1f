"""The leaves of a record: its fields, with nested records opened, as one flat tuple of booleans and integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Annotated, Any, get_args, get_origin

from vtpm_model.core import Range, fields

Flat = tuple[int, ...]
"""A state without its names: one int (or bool) a leaf, enumeration members as their value."""


_known: dict[Any, tuple[tuple[str, Any], ...]] = {}


def leaves(cls: Any) -> tuple[tuple[str, Any], ...]:
    """(dotted path, sort) of every leaf of a record class, in order."""
    if cls not in _known:
        _known[cls] = tuple(_leaves(cls, ""))
    return _known[cls]


def _leaves(cls: type, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, sort in fields(cls).items():
        if is_record(sort):
            yield from _leaves(sort, f"{prefix}{name}.")
        else:
            yield prefix + name, sort


def is_record(sort: Any) -> bool:
    """Whether the sort is a record class."""
    return hasattr(sort, "__record_hints__")


def is_enum(sort: Any) -> bool:
    """Whether the sort is an enumeration."""
    return isinstance(sort, type) and issubclass(sort, IntEnum)


def integer_range(sort: Any) -> Range | None:
    """The range of an integer sort; None for every other sort."""
    if get_origin(sort) is Annotated:
        for note in get_args(sort)[1:]:
            if isinstance(note, Range):
                return note
    return None


def flatten(state: Any) -> Flat:
    """The leaves of a state (or of a tuple of nested records)."""
    out: list[int] = []
    for value in state:
        if isinstance(value, tuple):
            out += flatten(value)
        else:
            out.append(+value)  # a plain number, whatever enumeration it came from
    return tuple(out)


def unflattener(cls: Any) -> Callable[[Flat], Any]:
    """The inverse of `flatten` for a record class."""
    builders: list[tuple[Callable[..., Any], int, int]] = []
    at = 0
    for sort in fields(cls).values():
        width = len(leaves(sort)) if is_record(sort) else 1
        build = unflattener(sort) if is_record(sort) else (sort if is_enum(sort) or sort is bool else _same)
        builders.append((build, at, width if is_record(sort) else 0))
        at += width

    def unflatten(flat: Flat) -> Any:
        return cls(*[build(flat[i : i + n]) if n else build(flat[i]) for build, i, n in builders])

    return unflatten


def _same(value: int) -> int:
    return value
