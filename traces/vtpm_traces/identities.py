"""What tells states apart where no line of a log shows numbers: not how these are chosen, nor what no action asks for.

In the ring and in whatever is built around it, actions do nothing with the numbers of epochs but compare them and take
the one after the highest; the numbers of requests they only hand on; and some fields mean something only while another
one is true. A test holds these systems to that. Of systems with fields that are not known here nothing is taken for
granted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vtpm_model.core import fields
from vtpm_traces.values import leaves

EPOCHS = frozenset({"epoch", "mapped", "keys", "seen_keys", "job_epoch", "latest"})
"""Fields that hold the number of an epoch, and that some action asks for."""

UNASKED = frozenset({"request", "answer", "base", "job", "executed", "delivered", "commands", "crashed_in", "kept"})
"""Fields that no action asks for, but to hand them on: only facts speak of them, and what is said of requests."""

ONLY_WHILE = {"job_epoch": "busy", "job_extra": "busy"}
"""Fields that no action asks for unless the other field is true."""


def known(state: type[Any]) -> bool:
    """Whether it is known of all numbers without bound that a state holds what they are."""
    numbers = (path.rpartition(".")[2] for path, leaf in leaves(state).items() if leaf.sort.number)
    return all(name in EPOCHS or name in UNASKED for name in numbers)


def essence(state: type[Any]) -> Callable[[Any], Any]:
    """A function from a state to the one that stands for all that go on like it.

    Epochs are numbered anew, from 1 and in their order (0 stays 0, and means none); what no action asks for gets its
    least value. Where it is not known what the numbers are, nothing is changed.
    """
    if not known(state):
        return lambda of: of
    names = list(fields(state))
    epochs = [index for index, name in enumerate(names) if name in EPOCHS]
    least = {index: leaves(state)[name].sort.least for index, name in enumerate(names) if name in UNASKED}
    stale = [
        (names.index(name), names.index(other), leaves(state)[name].sort.least)
        for name, other in ONLY_WHILE.items()
        if name in names
    ]
    inner = {
        index: _inner(fields(state)[name])
        for index, name in enumerate(names)
        if any(path.startswith(f"{name}.") and path.rpartition(".")[2] in UNASKED for path in leaves(state))
    }
    ranks: dict[tuple[int, ...], tuple[int, ...]] = {}

    def of(one: Any) -> Any:
        values = list(one)
        for index, value in least.items():
            values[index] = value
        for index, other, value in stale:
            if not values[other]:
                values[index] = value
        for index, change in inner.items():
            values[index] = change(values[index])
        found = tuple([values[index] for index in epochs])
        ranked = ranks.get(found)
        if ranked is None:
            order = {number: rank for rank, number in enumerate(sorted({0, *found}))}
            ranked = ranks[found] = tuple([order[number] for number in found])
        if ranked != found:
            for index, rank in zip(epochs, ranked, strict=True):
                values[index] = rank
        return one._make(values)

    return of


def _inner(record: type[Any]) -> Callable[[Any], Any]:
    """The same for a record within a state, which holds no epochs."""
    indexes = [index for index, name in enumerate(fields(record)) if name in UNASKED]
    made: dict[Any, Any] = {}

    def of(one: Any) -> Any:
        if one not in made:
            values = list(one)
            for index in indexes:
                values[index] = 0
            made[one] = one._make(values)
        return made[one]

    return of
