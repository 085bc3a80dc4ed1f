"""Where a specification can be after the lines of a log so far: sets of states, and how a line leads to the next set.

Logs repeat themselves but for the numbers of requests and epochs. The actions only compare these numbers and take the
next one, so what a line does to a set of states depends on the order of the numbers and on how close they are, not on
the numbers. A *place* is a set of states in which each number is replaced by a small label. How a line leads from a
place to the next one is found once and remembered.

Where the lines show numbers, the states of a place share their labels: differences below GAP are kept, larger ones
become GAP, and the real numbers go along beside the place. Where no line does, only the essence of each state counts
(`identities`); hidden steps that merely count then come to an end. Where it is not known that numbers are only
compared, all differences are kept.

A line may be followed with care: after all hidden steps that can come before it; or quickly: only after those that take
the least effort, and perhaps a little more. What is possible quickly is possible; what is not may be so with more care.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from vtpm_model.core import Spec, fields
from vtpm_traces.identities import essence, known
from vtpm_traces.log import Event
from vtpm_traces.steps import Steps, effort
from vtpm_traces.values import leaves, sort_of

GAP = 8
"""Numbers at least so far apart are only known to be far apart; hidden steps may count on by less than that."""

ALL_DIFFERENCES = 1 << 400

NOWHERE = -1
"""The label of a number that lies far from both its neighbours: no state that is looked at comes to have it."""

Numbers: TypeAlias = Sequence[int]
"""The real numbers behind the labels of a place, in the same order."""


class Hidden(NamedTuple):
    """A hidden step that was the first to reach a state: from which one, by what."""

    before: int
    action: str
    picks: Mapping[str, Any]


@dataclass(frozen=True)
class Care:
    """How much is tried before a line is found impossible, and beyond what first makes it possible.

    `more` is the effort of hidden steps beyond the least that is needed (None: all that there are); `bound` is the
    number of states that are looked at before one line.
    """

    more: int | None
    bound: int


class Landing(NamedTuple):
    """How a line led to a state: from which one, with which picks, and the state before its numbers got new labels."""

    before: int
    picks: Mapping[str, Any]
    raw: int


@dataclass(slots=True, eq=False)
class Place:
    """A set of labelled states, by their indexes in the beliefs' table."""

    states: tuple[int, ...]
    labels: tuple[int, ...]
    moves: dict[Hashable, Move | None] = field(default_factory=dict)
    reached: dict[int, Hidden | None] = field(default_factory=dict)
    by_effort: list[list[int]] = field(default_factory=list)
    expanded: int = 0  # so many efforts of these have their next steps among the reached
    held_up: bool = False  # not all next steps were taken

    @property
    def whole(self) -> bool:
        """Whether all states that hidden steps reach are known."""
        return self.expanded == len(self.by_effort) and not self.held_up


@dataclass(slots=True, eq=False)
class Move:
    """What a line does at a place: the labelled states after it, and where their labels come from.

    `origins` gives for each label after the line the index of the label before it and what was added. If nothing was
    added anywhere, the next place is always the same; else it depends on the real numbers, by their new labels.
    """

    raw: dict[int, tuple[int, Mapping[str, Any]]]
    labels: tuple[int, ...]
    origins: tuple[tuple[int, int], ...]
    same: bool  # the numbers are those of the place before
    ends: dict[tuple[int, ...], tuple[Place, dict[int, Landing]]] = field(default_factory=dict)
    end: Place | None = None


class Beliefs:
    """The table of places of one specification, with one set of hidden actions."""

    def __init__(self, spec: Spec[Any], steps: Steps, hidden: tuple[str, ...], *, numbered: bool) -> None:
        self.steps, self.numbered = steps, numbered
        self.hidden = tuple((name, effort(spec.action(name))) for name in hidden)
        self.states: list[Any] = []
        self.numbers: list[frozenset[int]] = []
        self._index: dict[Any, int] = {}
        self._places: dict[frozenset[int], Place] = {}
        self._quiet: dict[int, tuple[tuple[str, Mapping[str, Any], int, int], ...]] = {}
        self.cut = False  # a line was followed with all care, and not after all hidden steps
        self._numbers_of, self._renumber = _numbering(spec.state)
        self._essence = essence(spec.state)
        self._gap = GAP if known(spec.state) else ALL_DIFFERENCES
        self.widest = 1

    def at(self, states: Sequence[Any]) -> tuple[Place, Numbers]:
        """The place of these states, and the numbers behind its labels."""
        if not self.numbered:
            return self._place(tuple(self._known(state) for state in states), ()), ()
        numbers = sorted({0}.union(*(self._numbers_of(state) for state in states)))
        labels = _labels(numbers, self._gap)
        renaming = dict(zip(numbers, labels, strict=True))
        return self._place(tuple(self._known(self._renumber(state, renaming)) for state in states), labels), numbers

    def follow(self, place: Place, numbers: Numbers, event: Event, care: Care) -> tuple[Place, Numbers, Move] | None:
        """The place after a line, the numbers behind it, and the move; None if the line was not found possible."""
        given: tuple[int, ...] = ()
        if event.numbers:
            given = tuple([_label(place.labels, numbers, number, self._gap) for number in event.numbers])
        key = (event.key, given, care.more, care.bound)
        try:
            move = place.moves[key]
        except KeyError:
            move = place.moves[key] = self._move(place, event, given, care)
        if care.more is None and not place.whole:
            self.cut = True
        if move is None:
            return None
        if move.end is not None:
            after = numbers if move.same else [numbers[index] for index, _ in move.origins]
            return move.end, after, move
        after = [numbers[index] + added for index, added in move.origins]
        labels = _labels(after, self._gap)
        end = move.ends.get(labels)
        if end is None:
            end = move.ends[labels] = self._end(move, labels)
        return end[0], after, move

    def reach(self, place: Place, bound: int) -> Iterator[list[int]]:
        """The states of a place, then those that hidden steps reach, in order of effort, until the bound."""
        if not place.by_effort:
            place.by_effort.append(list(place.states))
            place.reached.update(dict.fromkeys(place.states))
        effort = 0
        while effort < len(place.by_effort):
            yield place.by_effort[effort]
            if effort == place.expanded:
                if len(place.reached) > bound:
                    return
                self._expand(place)
            effort += 1

    def _expand(self, place: Place) -> None:
        """Take one hidden step from the states of the least effort from which none was taken yet."""
        far = frozenset(high - 2 for low, high in pairwise(place.labels) if high - low == self._gap)
        for index in place.by_effort[place.expanded]:
            if not far.isdisjoint(self.numbers[index]):
                place.held_up = True  # one step more, and the line itself, and numbers far apart would seem to meet
                continue
            for name, picks, after, cost in self._hidden_steps(index):
                if after not in place.reached:
                    place.reached[after] = Hidden(index, name, picks)
                    while len(place.by_effort) <= place.expanded + cost:
                        place.by_effort.append([])
                    place.by_effort[place.expanded + cost].append(after)
        place.expanded += 1
        self.widest = max(self.widest, len(place.reached))

    def landing(self, move: Move, place: Place, state: int) -> Landing:
        """How a move led to a state of the place at its end."""
        for end, landings in move.ends.values():
            if end is place:
                return landings[state]
        raise KeyError(state)

    def real(self, place: Place, numbers: Numbers, state: int) -> Any:
        """A labelled state with its real numbers, if these are known."""
        if not self.numbered:
            return self.states[state]
        labelled = self.states[state]
        renaming = {}
        for label in self.numbers[state]:
            index = bisect_right(place.labels, label) - 1
            renaming[label] = numbers[index] + label - place.labels[index]
        return self._renumber(labelled, renaming)

    def _move(self, place: Place, event: Event, given: tuple[int, ...], care: Care) -> Move | None:
        picks, checks = event.labelled(given)
        raw: dict[int, tuple[int, Mapping[str, Any]]] = {}
        last: int | None = None
        for spent, here in enumerate(self.reach(place, care.bound)):
            if last is not None and spent > last:
                break
            for index in here:
                for taken, after in self.steps.take(self.states[index], event.action, picks):
                    if all(leaf.get(after) == value for leaf, value in checks):
                        raw.setdefault(self._known(after), (index, taken))
            if raw and last is None and care.more is not None:
                last = spent + care.more
        if not raw:
            return None
        if not self.numbered:
            landings = {state: Landing(before, taken, state) for state, (before, taken) in raw.items()}
            end = self._place(tuple(raw), ())
            return Move(raw, (), (), same=True, ends={(): (end, landings)}, end=end)
        labels = tuple(sorted({0}.union(*(self.numbers[state] for state in raw))))
        origins = []
        for label in labels:
            index = bisect_right(place.labels, label) - 1
            origins.append((index, label - place.labels[index]))
        move = Move(raw, labels, tuple(origins), same=labels == place.labels)
        if not any(added for _, added in origins):
            move.ends[labels] = self._end(move, _labels(labels, self._gap))
            move.end = move.ends[labels][0]
        return move

    def _end(self, move: Move, labels: tuple[int, ...]) -> tuple[Place, dict[int, Landing]]:
        landings: dict[int, Landing] = {}
        renaming = dict(zip(move.labels, labels, strict=True))
        for raw, (before, picks) in move.raw.items():
            state = raw if labels == move.labels else self._known(self._renumber(self.states[raw], renaming))
            landings.setdefault(state, Landing(before, picks, raw))
        return self._place(tuple(landings), labels), landings

    def _hidden_steps(self, index: int) -> tuple[tuple[str, Mapping[str, Any], int, int], ...]:
        found = self._quiet.get(index)
        if found is None:
            state = self.states[index]
            found = self._quiet[index] = tuple(
                (name, picks, self._known(after), cost)
                for name, cost in self.hidden
                for picks, after in self.steps.take_any(state, name)
            )
        return found

    def _place(self, states: tuple[int, ...], labels: tuple[int, ...]) -> Place:
        key = frozenset(states)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(states, labels)
        return place

    def _known(self, state: Any) -> int:
        if not self.numbered:
            state = self._essence(state)
        index = self._index.get(state)
        if index is None:
            index = self._index[state] = len(self.states)
            self.states.append(state)
            self.numbers.append(frozenset(self._numbers_of(state)) if self.numbered else frozenset())
        return index


def _labels(numbers: Sequence[int], gap: int) -> tuple[int, ...]:
    """The labels of ascending numbers, the first of which is 0: differences up to the gap are kept."""
    label = before = 0
    labels = []
    for number in numbers:
        step = number - before
        label += step if step < gap else gap
        before = number
        labels.append(label)
    return tuple(labels)


def _label(labels: tuple[int, ...], numbers: Numbers, number: int, gap: int) -> int:
    index = bisect_right(numbers, number) - 1
    further = number - numbers[index]
    near = further < gap or index == len(numbers) - 1
    return labels[index] + further if near else NOWHERE


def _numbering(state: type[Any]) -> tuple[Callable[[Any], Iterator[int]], Callable[[Any, Mapping[int, int]], Any]]:
    """Two functions: the numbers that a state holds, and the state with each of them replaced."""
    paths = [leaf for leaf in leaves(state).values() if leaf.sort.number]

    def numbers(of: Any) -> Iterator[int]:
        return (leaf.get(of) for leaf in paths)

    return numbers, _renumbering(state)


def _renumbering(cls: type[Any]) -> Callable[[Any, Mapping[int, int]], Any]:
    own: list[int] = []
    nested: list[tuple[int, Callable[[Any, Mapping[int, int]], Any]]] = []
    for index, annotation in enumerate(fields(cls).values()):
        if isinstance(annotation, type) and hasattr(annotation, "_fields"):
            if any(leaf.sort.number for leaf in leaves(annotation).values()):
                nested.append((index, _renumbering(annotation)))
        elif sort_of(annotation).number:
            own.append(index)

    def renumber(value: Any, renaming: Mapping[int, int]) -> Any:
        values = list(value)
        for index in own:
            values[index] = renaming[values[index]]
        for index, inner in nested:
            values[index] = inner(values[index], renaming)
        return cls._make(values)

    return renumber
