"""How far the explicit-state search goes in each system, and what it picks where an action leaves a choice open.

The models have no bounds: these are the search's own, kept beside it, so that a proof never depends on them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vtpm_model.core import Action, Spec
from vtpm_proofs.leaves import integer_range, is_enum, is_record, leaves, unflattener

STATES = 20_000
"""How many states a search visits where nothing else is said."""


@dataclass(frozen=True)
class Bounds:
    """`fields`: dotted path of a leaf -> the greatest value that is followed. `picks`: name of a pick, or
    `action.pick`, -> the values tried; `more_fields` and `more_picks`: those where few states are visited, see
    `wider`. `states`: the search stops after the level that brings it beyond so many."""

    fields: Mapping[str, int] = field(default_factory=dict)
    picks: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    more_fields: Mapping[str, int] = field(default_factory=dict)
    more_picks: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    states: int = STATES

    @property
    def wider(self) -> Bounds:
        """The same bounds, with all picks, and the fields less bounded."""
        return Bounds({**self.fields, **self.more_fields}, {**self.picks, **self.more_picks}, states=self.states)


_RING_PICKS: dict[str, tuple[Any, ...]] = {"length": (10,), "extra": (0,), "header": (10,), "reply": (10,)}
_MORE_RING_PICKS: dict[str, tuple[Any, ...]] = {
    "length": (0, 10, 4088, 4089),
    "extra": (0, 1),
    "header": (9, 10, 4088),
    "reply": (9, 10, 4084, 4088, 4089),
}

BOUNDS: dict[str, Bounds] = {
    "page": Bounds(
        picks={
            "length": (0, 10, 4086, 4089, 0xFFFF_FFFF),
            "extra": (0, 1, 255),
        },
        more_picks={"length": (0, 9, 10, 3068, 3069, 4084, 4088, 4089, 0xFFFF_FFFF)},
        states=40_000,
    ),
    "order": Bounds(fields={"number": 3}),
    "watch": Bounds(
        fields={"child": 66, "copied": 40},
        picks={"name": (0, 1, 33, 34, 60), "value": tuple(range(11))},
    ),
    "ring": Bounds(fields={"request": 2, "epoch": 2}, picks=_RING_PICKS, more_picks=_MORE_RING_PICKS, states=200_000),
    "device": Bounds(
        fields={"request": 2, "epoch": 2, "commands": 3},
        picks=_RING_PICKS,
        more_picks=_MORE_RING_PICKS,
        states=25_000,
    ),
    "device.hostile": Bounds(
        fields={"request": 2, "epoch": 2, "commands": 2, "page.request": 2},
        picks={"length": (10,), "extra": (0,), "reply": (10,), "keys": (0, 1, 2)},
        more_picks={"length": (0, 10, 4088, 4089), "extra": (0, 1), "reply": (9, 10, 4084, 4088, 4089)},
        states=25_000,
    ),
    "tis": Bounds(
        fields={"call": 1, "waited": 2},
        picks={
            "named": (10,),
            "given": (10,),
            "burst": (0, 5, 10),
            "driver_checks_that_there_is_no_more.burst": (0,),
            "count": (5, 10),
            "size": (10, 20),
            "answer": (20,),
            "told": (1,),
        },
        more_fields={"call": 2},
        more_picks={
            "named": (9, 10, 4096, 4097),
            "given": (9, 10, 4096, 4097),
            "burst": (0, 1, 5, 10, 20),
            "count": (0, 1, 5, 9, 10),
            "size": (9, 10, 11, 20, 4096, 4097),
            "answer": (9, 10, 11, 20, 4096, 4097),
            "told": (0, 2, 2_000_000),
        },
        states=150_000,
    ),
    "isolation": Bounds(
        fields={"x.epoch": 2, "y.epoch": 2, "clock": 6, "ahead": 2},
        picks={"address": (1, 2, 3), "others": (0, 1, 2)},
    ),
}
"""The bounds of each system, by its name; a variant takes those of the system that it varies."""


def bounds_of(spec: Spec[Any]) -> Bounds:
    """The bounds of a system or of the longest prefix of its name that has some; for any other, small defaults.

    By default every unbounded number stays below 3.
    """
    name = spec.name
    while name:
        if name in BOUNDS:
            return BOUNDS[name]
        cut = max(name.rfind("+"), name.rfind("."))
        name = name[:cut] if cut > 0 else ""
    unbounded = {path: 2 for path, sort in leaves(spec.state) if (r := integer_range(sort)) and r.high is None}
    return Bounds(fields=unbounded)


def check(spec: Spec[Any], bounds: Bounds) -> None:
    """Raise ValueError if the bounds name a leaf that the system does not have."""
    known = {path for path, _ in leaves(spec.state)}
    strangers = sorted(set(bounds.fields) - known)
    if strangers:
        raise ValueError(f"{spec.name} has no field {strangers[0]} to bound; it has {', '.join(sorted(known))}")


def choices(action: Action[Any], bounds: Bounds) -> tuple[Mapping[str, Any], ...]:
    """Every combination of picks that the search tries for an action.

    All values of a boolean or an enumeration; of a wide integer what the bounds give, else its two least values. (That
    this suffices is seen from the paths: `reach` asks for a run to each.)
    """
    names = list(action.picks)
    columns = [_candidates(action, name, bounds) for name in names]
    return tuple(dict(zip(names, row, strict=True)) for row in itertools.product(*columns))


def narrowed(spec: Spec[Any], bounds: Bounds) -> Mapping[str, tuple[Any, ...]]:
    """The picks of which the search tries not all values, each with those that it tries: as `picks` names them."""
    found = {}
    for action in spec.actions:
        for name, sort in action.picks.items():
            tried, own = _candidates(action, name, bounds), f"{action.name}.{name}"
            if len(set(tried)) != _size(sort):
                found[own if own in bounds.picks else name] = tried
    return found


def _size(sort: Any) -> float:
    """How many values a sort has."""
    if is_record(sort):
        return math.prod(_size(leaf) for _, leaf in leaves(sort))
    span = integer_range(sort)
    if span is None:
        return len(_values(sort))
    return math.inf if span.high is None else span.high - span.low + 1


def _candidates(action: Action[Any], name: str, bounds: Bounds) -> tuple[Any, ...]:
    for key in (f"{action.name}.{name}", name):
        if key in bounds.picks:
            return bounds.picks[key]
    sort = action.picks[name]
    return _values(sort)


def _values(sort: Any) -> tuple[Any, ...]:
    if sort is bool:
        return (False, True)
    if is_enum(sort):
        return tuple(sort)
    if is_record(sort):
        build = unflattener(sort)
        return tuple(build(row) for row in itertools.product(*[_values(leaf) for _, leaf in leaves(sort)]))
    span = integer_range(sort)
    if span is None:
        raise TypeError(f"{sort!r} is not a sort; use bool, an IntEnum, an annotated int or a record")
    if span.high is not None and span.high - span.low < 16:
        return tuple(range(span.low, span.high + 1))
    return (span.low, span.low + 1)
