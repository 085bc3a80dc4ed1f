"""Judges recordings that differ from a judged one in a few lines, from just before those lines.

Of the judged recording everything that can be reached is kept, and from where its end can be. Before the lines that
differ nothing is otherwise, so a changed recording is searched from there. Where that search comes, after the
difference, to what was reached in the judged recording, the rest is known: what could go on to the end there can do so
here, and what could not cannot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vtpm_model.core import Spec
from vtpm_traces.observe import Happened, Level, Observation, Origin, StateTest
from vtpm_traces.recordings.xen import DeviceRecording, Source
from vtpm_traces.recordings.xen_model import Block, Reading, modelled, recorder_turns
from vtpm_traces.search import Bounds, Edge, Node, NoRun, Search
from vtpm_traces.verdict import Outcome, Taken


@dataclass(frozen=True)
class Rejudged:
    """The outcome; where it ended, if it was refused; the run, if it was accepted and the run was asked for.

    `anew`: nothing of the judged recording could be used.
    """

    outcome: Outcome
    ends_at: tuple[Origin, ...] = ()
    run: tuple[Taken, ...] = ()
    anew: bool = False


class _Unhurried(Search):
    """A search in which effort does not count, for it goes on until it has everything; it tells where it stuck."""

    def moves(self, node: Node, gap: int) -> Iterator[tuple[Node, Edge, int]]:
        return ((after, edge, 0) for after, edge, _ in super().moves(node, gap))

    def stuck_at(self) -> tuple[Origin, ...]:
        """The next observations where the search got furthest."""
        if not self.furthest:
            return ()
        found = (self.nexts[number][place] for number, place in enumerate(self.furthest[0].places))
        return tuple(observation.origin for observation in found if observation is not None)


class _Whole(_Unhurried):
    """A search that goes on until everything has been reached, and keeps what follows on what.

    `onward` tells, for each node from which an end can be reached, the next edge on a way there and where it leads
    (None: it is an end).
    """

    def start(self) -> bool:
        """Reach everything, and say whether the bounds allowed that."""
        self.following: dict[Node, list[tuple[Node, Edge]]] = {}
        self.edges: dict[Node, Edge | None] = {}
        _, whole = self.spread({self.first(): 0}, self.bounds.hidden[-1], self.edges)
        self.onward = self._onward()
        return whole

    def ends(self, node: Node) -> bool:
        return False

    def moves(self, node: Node, gap: int) -> Iterator[tuple[Node, Edge, int]]:
        following = self.following[node] = []
        if node.places != self.lengths:
            for move in super().moves(node, gap):
                following.append(move[:2])
                yield move

    def _onward(self) -> dict[Node, tuple[Edge, Node] | None]:
        leading: dict[Node, list[tuple[Node, Edge]]] = defaultdict(list)
        for node, following in self.following.items():
            for after, edge in following:
                leading[after].append((node, edge))
        found: dict[Node, tuple[Edge, Node] | None] = {
            node: None for node in self.following if node.places == self.lengths
        }
        todo = list(found)
        for node in todo:
            for before, edge in leading[node]:
                if before not in found:
                    found[before] = (edge, node)
                    todo.append(before)
        return found


@dataclass
class _Judged:
    """A recording of which everything that can be reached is known."""

    reading: Reading
    search: _Whole
    same: bool  # whether it counts as it does in the changed one; else nothing was searched
    whole: bool
    by_place: dict[int, dict[int, list[Node]]] = field(default_factory=dict)

    def nodes_at(self, stream: int, place: int) -> list[Node]:
        """The nodes at this place of a stream, and those before it from which a step leads beyond it."""
        if stream not in self.by_place:
            index: dict[int, list[Node]] = {}
            for node, following in self.search.following.items():
                here = node.places[stream]
                reach = max((after.places[stream] for after, _ in following), default=here)
                for at in range(here, max(here + 1, reach)):
                    index.setdefault(at, []).append(node)
            self.by_place[stream] = index
        return self.by_place[stream].get(place, [])


@dataclass(frozen=True)
class _Difference:
    """Where a stream differs from the judged one.

    `start` is the place before which nothing is otherwise; from the places `old_end` and `new_end` on, everything is
    the same again.
    """

    stream: int
    start: int
    old_end: int
    new_end: int

    def moved_on(self, node: Node) -> Node:
        """A node before the difference, in the changed recording: level reads that come after it are elsewhere."""
        if not node.held or self.old_end == self.new_end:
            return node
        return node._replace(held=self._shifted(node.held, self.old_end, self.new_end - self.old_end))

    def moved_back(self, node: Node) -> Node:
        """A node after the difference, in the judged recording."""
        shift = self.old_end - self.new_end
        if not shift:
            return node
        places = (*node.places[: self.stream], node.places[self.stream] + shift, *node.places[self.stream + 1 :])
        return node._replace(places=places, held=self._shifted(node.held, 0, shift))

    def shown(self, edge: Edge) -> Edge:
        """An edge of the judged recording after the difference, in the changed one."""
        shift = self.new_end - self.old_end
        return edge._replace(shown=tuple((n, index + (shift if n == self.stream else 0)) for n, index in edge.shown))

    def _shifted(self, held: frozenset[tuple[int, int]], first: int, shift: int) -> frozenset[tuple[int, int]]:
        return frozenset((n, at + (shift if n == self.stream and at >= first else 0)) for n, at in held)


class _Changed(_Unhurried):
    """The search for a run of a changed recording, which ends where the judged recording tells the rest."""

    difference: _Difference
    judged: _Judged
    joins: Node | None = None  # the judged recording's node that the end stands for

    def ends(self, node: Node) -> bool:
        if super().ends(node):
            return True
        if self._after(node) and (known := self.difference.moved_back(node)) in self.judged.search.onward:
            self.joins = known
            return True
        return False

    def moves(self, node: Node, gap: int) -> Iterator[tuple[Node, Edge, int]]:
        hopeless = (
            self.judged.whole and self._after(node) and self.difference.moved_back(node) in self.judged.search.following
        )
        return iter(()) if hopeless else super().moves(node, gap)

    def _after(self, node: Node) -> bool:
        return self.judged.same and node.places[self.difference.stream] >= self.difference.new_end


class Rejudge:
    """A recorded device whose recording was judged, and to which changed ones are compared."""

    def __init__(self, seen: DeviceRecording, spec: Spec[Any], bounds: Bounds) -> None:
        self.seen, self.spec, self.bounds = seen, spec, bounds
        self.blocks = [Block(of_page=False)]
        self.judged: dict[Hashable, _Judged] = {}
        self.sources = {source.file: source for source in seen.sources}
        reading = Reading(seen, spec, blocks=self.blocks)
        reading.recording()
        self.own = self._judged(reading)

    @property
    def accepted(self) -> bool:
        """Whether the recording itself has a run."""
        return bool(self.own.search.onward)

    def _judged(self, like: Reading) -> _Judged:
        """The recording with everything that counts for all lines at once as it is in a changed one."""
        key = _of_all_lines(like)
        if key not in self.judged:
            reading = Reading(self.seen, self.spec, budget=like.budget, blocks=self.blocks)
            search = _Whole(reading.spec, reading.recording(), self.bounds)
            same = _of_all_lines(reading) == key
            self.judged[key] = _Judged(reading, search, same=same, whole=same and search.start())
        return self.judged[key]

    def rejudge(self, changed: Source, *, run: bool = False) -> Rejudged:
        """The verdict with one source changed. A source without an event left counts as there, and silent."""
        sources = tuple(changed if source.file == changed.file else source for source in self.seen.sources)
        reading = Reading(replace(self.seen, sources=sources), self.spec, blocks=self.blocks)
        recording = reading.recording()
        judged = self._judged(reading)
        search = _Changed(reading.spec, recording, self.bounds, like=judged.search if judged.same else None)
        search.judged = judged
        search.difference = difference = self._difference(judged, search, changed, reading)
        anew = difference.start == 0 or not judged.same
        origins: dict[Node, Node] = {}
        if anew:
            starts = {search.first(): 0}
        else:
            origins = {difference.moved_on(node): node for node in judged.nodes_at(difference.stream, difference.start)}
            starts = dict.fromkeys(origins, 0)
        edges: dict[Node, Edge | None] = {}
        end, whole = search.spread(starts, self.bounds.hidden[-1], edges)
        if end is not None:
            if not run:
                return Rejudged(Outcome.ACCEPTED, anew=anew)
            try:
                return Rejudged(Outcome.ACCEPTED, run=search.taken(_path(search, edges, end, origins)), anew=anew)
            except NoRun:
                return Rejudged(Outcome.UNDECIDED, anew=anew)
        if not whole or search.goings.steps.untried or not (anew or judged.whole):
            return Rejudged(Outcome.UNDECIDED, anew=anew)
        return Rejudged(Outcome.REFUSED, search.stuck_at() or judged.search.stuck_at(), anew=anew)

    def _difference(self, judged: _Judged, search: Search, changed: Source, reading: Reading) -> _Difference:
        stream = search.number[changed.file]
        old, new = self.sources[changed.file].events, changed.events
        least = min(len(old), len(new))
        before = _alike(old, new, least)
        after = _alike(old[::-1], new[::-1], least - before)
        old_first, new_first = judged.reading.firsts[changed.file], reading.firsts[changed.file]
        theirs, mine = judged.search.streams[stream].observations, search.streams[stream].observations
        # The same lines may be parted otherwise, or say more: where keys are read, those that were read last count.
        old_turns, new_turns = [_turn(each) for each in theirs], [_turn(each) for each in mine]
        first = min(old_first[before], new_first[before])
        start = _alike(old_turns, new_turns, first)
        most = min(len(theirs) - old_first[len(old) - after], len(mine) - new_first[len(new) - after])
        rest = _alike(old_turns[::-1], new_turns[::-1], most)
        old_end, new_end = len(theirs) - rest, len(mine) - rest
        # What a level read finds depends on what has been since the one before it.
        otherwise = _level_reads(theirs, first, old_end) ^ _level_reads(mine, first, new_end)
        for subject in {subject for _, subject, _ in otherwise}:
            earlier = [place for place, of, _ in _level_reads(theirs, 0, first) if of == subject]
            start = min(start, max(earlier, default=0))
        return _Difference(stream, start, old_end, new_end)


def _alike(one: Sequence[object], other: Sequence[object], most: int) -> int:
    """How many of the first, at most so many, are the same in both."""
    return next((n for n in range(most) if one[n] != other[n]), most)


def _turn(observation: Observation) -> int | None:
    """The block that a recorder turns to, if the observation is that it does."""
    if isinstance(observation, Happened) and observation.calls[0].action == recorder_turns.name:
        block: int = observation.calls[0].picks["block"]
        return block
    return None


def _level_reads(observations: Sequence[Observation], start: int, end: int) -> set[tuple[int, str, StateTest]]:
    """The level reads at these places: each with its place, its subject, and what it finds."""
    found = ((place, observations[place]) for place in range(start, end))
    return {(place, each.subject, each.fits) for place, each in found if isinstance(each, Level)}


def _path(search: _Changed, edges: Mapping[Node, Edge | None], end: Node, origins: Mapping[Node, Node]) -> list[Edge]:
    """The way to the end: to the difference as the judged recording has it, through it, and the judged one's rest."""
    through = search.path(edges, end)
    start = through[0].before if through else end
    judged = search.judged.search
    before = judged.path(judged.edges, origins[start]) if start in origins else []
    rest: list[Edge] = []
    node = search.joins
    while node is not None and (onward := judged.onward[node]) is not None:
        rest.append(search.difference.shown(onward[0]))
        node = onward[1]
    return [*before, *through, *rest]


def _of_all_lines(reading: Reading) -> Hashable:
    """What of a reading counts for all lines at once, and so must be the same for two readings to be compared."""
    lengths = () if reading.one_log else tuple(sorted(reading.lengths))
    foreign = frozenset(
        (node, values if reading.whole_store else None)
        for node, values in ((node, frozenset(values)) for node, values in reading.written.items())
        if not modelled(*node)
    )
    return (
        reading.budget, reading.one_log, reading.whole_store, reading.linux, reading.cancels, lengths,
        frozenset(reading.extras), frozenset(reading.complete), foreign,
    )  # fmt: skip
