"""The numbers in a state that stand for something: which fields hold one kind, and states told apart by order only.

In the ring and in whatever is built around it, the actions do nothing with such numbers but compare those of one kind
and take the one after the highest. So states that differ in the numbers only, not in their order, go on alike; a test
holds these systems to that. Of fields that are not known here nothing is taken for granted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vtpm_model.core import fields
from vtpm_traces.values import leaves

EPOCHS = frozenset({"epoch", "mapped", "keys", "seen_keys", "job_epoch", "latest", "crashed_in"})
REQUESTS = frozenset({"request", "answer", "base", "job", "executed", "delivered"})
COUNTS = frozenset({"commands"})


def kinds(state: type[Any]) -> tuple[tuple[str, ...], ...] | None:
    """The fields of a state that hold numbers without bound, those of one kind together, a mere count alone.

    None if what some of them hold is not known.
    """
    groups: dict[str, list[str]] = {}
    for path, leaf in leaves(state).items():
        if leaf.sort.number:
            name = path.rpartition(".")[2]
            if name not in EPOCHS | REQUESTS | COUNTS:
                return None
            kind = "epoch" if name in EPOCHS else "request" if name in REQUESTS else path
            groups.setdefault(kind, []).append(path)
    return tuple(tuple(group) for group in groups.values())


def by_order(state: type[Any]) -> Callable[[Any], Any]:
    """A function that numbers the identities of a state anew, from 1 and in their order; 0 stays 0 and means none.

    Where it is not known what the numbers are, it changes nothing.
    """
    places = [_places(state, group) for group in kinds(state) or ()]

    def renumber(of: Any) -> Any:
        values = list(of)
        inner: dict[int, list[Any]] = {}
        changed = False
        for group in places:
            found = [values[top] if below is None else values[top][below] for top, below in group]
            order = {number: rank for rank, number in enumerate(sorted({0, *found}))}
            for (top, below), number in zip(group, found, strict=True):
                rank = order[number]
                if rank != number:
                    changed = True
                    if below is None:
                        values[top] = rank
                    else:
                        inner.setdefault(top, list(of[top]))[below] = rank
        if not changed:
            return of
        for top, parts in inner.items():
            values[top] = of[top]._make(parts)
        return of._make(values)

    return renumber


def _places(state: type[Any], group: tuple[str, ...]) -> list[tuple[int, int | None]]:
    names = list(fields(state))
    places: list[tuple[int, int | None]] = []
    for path in group:
        top, *below = path.split(".")
        if len(below) > 1:
            raise TypeError(f"{state.__name__}.{path} is nested deeper than one level")
        index = names.index(top)
        places.append((index, list(fields(fields(state)[top])).index(below[0]) if below else None))
    return places
