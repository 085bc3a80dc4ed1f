"""Judges recordings that differ from a judged one in a few lines, from just before those lines.

All that can be reached in the judged recording is kept, by its places. Before the lines that differ nothing is
otherwise, so a changed recording is searched from there. It is refused when that search runs out; it is accepted when
the search reaches a state of the judged recording's own run from where the rest of that run, taken step by step and
held against each line again, shows the rest.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vtpm_model.core import Disabled, Spec, Step
from vtpm_traces.observe import Happened, Level, Observation, Origin
from vtpm_traces.recordings.xen import DeviceRecording, Source
from vtpm_traces.recordings.xen_events import Commit, Event
from vtpm_traces.recordings.xen_model import Reading, alike, modelled, recorder_turns
from vtpm_traces.search import Bounds, Edge, Node, Search
from vtpm_traces.verdict import Outcome, Taken

_NOWHERE = Origin("", 0, "")
_MOST_REPLAYS = 4


@dataclass(frozen=True)
class Rejudged:
    """The outcome; where it ended, if it was refused; the run, if it was accepted and the run was asked for.

    `anew`: nothing of the judged recording could be used.
    """

    outcome: Outcome
    ends_at: tuple[Origin, ...] = ()
    run: tuple[Taken, ...] = ()
    anew: bool = False


class _Placed(Search):
    """A search that tells where it got furthest."""

    def stuck_at(self) -> tuple[Origin, ...]:
        """The next observations where the search got furthest."""
        if not self.furthest:
            return ()
        places = self.furthest[0].places
        found = (self._next(places, number) for number in range(len(self.streams)))
        return tuple(observation.origin for observation in found if observation is not None)


class _Whole(_Placed):
    """A search that goes on until everything has been reached, and keeps how far each step of it led."""

    def start(self) -> bool:
        """Reach everything, and say whether the bounds allowed that."""
        self.reach: dict[Node, tuple[int, ...]] = {}
        self.spent: dict[Node, int] = {}
        self.edges: dict[Node, Edge | None] = {}
        self.end: Node | None = None
        _, whole = self.spread({self.first(): 0}, self.bounds.hidden[-1], self.edges)
        return whole

    def ends(self, node: Node) -> bool:
        if self.end is None and super().ends(node):
            self.end = node
        return False

    def moves(self, node: Node, gap: int) -> Iterator[tuple[Node, Edge]]:
        self.spent[node] = gap
        furthest = node.places
        if node.places != self.lengths:
            for after, edge in super().moves(node, gap):
                furthest = tuple(map(max, furthest, after.places))
                yield after, edge
        self.reach[node] = furthest


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
            for node, reach in self.search.reach.items():
                for at in range(node.places[stream], max(node.places[stream] + 1, reach[stream])):
                    index.setdefault(at, []).append(node)
            self.by_place[stream] = index
        return self.by_place[stream].get(place, [])


@dataclass(frozen=True)
class _Difference:
    """Where a stream differs from the judged one.

    `start` is the place before which nothing is otherwise; from the places `old_end` and `new_end` on, the lines are
    the same again.
    """

    stream: int
    start: int
    old_end: int
    new_end: int

    @property
    def shift(self) -> int:
        return self.new_end - self.old_end


class _Changed(_Placed):
    """The search for a run of a changed recording, which may end in the run of the judged one."""

    difference: _Difference
    way: _Way
    rest: Mapping[Node, Edge | None] | None = None  # from where the search came to the judged run, to the end
    last: Node | None = None
    replays: int = 0

    def ends(self, node: Node) -> bool:
        if super().ends(node):
            return True
        at = self.difference
        if node.places[at.stream] < at.new_end or self.replays >= _MOST_REPLAYS:
            return False
        places = _with(node.places, at.stream, -at.shift)
        if places not in self.way.places:
            return False
        index = self.way.index.get((places, _alike(node.state)))
        if index is None:
            return False
        self.replays += 1
        return self._replayed(node, index)

    def _replayed(self, node: Node, index: int) -> bool:
        """Whether the judged run can be taken from there on, each step of it tried again here."""
        rest: dict[Node, Edge | None] = {node: None}
        for edge, target in self.way.edges[index:]:
            places = _with(target, self.difference.stream, self.difference.shift)
            for after, taken in self._again(node, edge):
                if after.places == places:
                    rest.setdefault(after, taken)
                    node = after
                    break
            else:
                return False
        if not super().ends(node):
            return False
        self.rest, self.last = rest, node
        return True

    def _again(self, node: Node, edge: Edge) -> Iterator[tuple[Node, Edge]]:
        if edge.step is None:
            yield from (move for move in self.moves(node, 0) if move[1].step is None)
            return
        step = edge.step
        if step.name == recorder_turns.name:
            step = Step(step.name, step.by, {"block": node.state.block + 1})
        action = self.steps.action(step.name)
        if action is None:
            return
        try:
            after = action.run(node.state, **step.picks)
        except Disabled:
            return
        yield from self._stepped(node, step, after)


def _with(places: tuple[int, ...], stream: int, shift: int) -> tuple[int, ...]:
    return (*places[:stream], places[stream] + shift, *places[stream + 1 :])


def _alike(state: Any) -> Hashable:
    """What tells states apart, but for the notes on the recorder's lines: these are checked as the run goes on."""
    return alike(replace_notes(state))


def replace_notes(state: Any) -> Any:
    """The state without the notes on the recorder's lines."""
    return state._replace(block=0, creations_left=0, writes_left=0)


@dataclass
class _Way:
    """The judged recording's own run: its edges with the places that they lead to, and its nodes by what they show."""

    edges: list[tuple[Edge, tuple[int, ...]]]
    index: dict[tuple[tuple[int, ...], Hashable], int]
    places: set[tuple[int, ...]]

    @classmethod
    def of(cls, search: _Whole) -> _Way:
        edges: list[tuple[Edge, tuple[int, ...]]] = []
        node = search.end
        while node is not None and (edge := search.edges[node]) is not None:
            edges.append((edge, node.places))
            node = edge.before
        edges.reverse()
        index = {(edge.before.places, _alike(edge.before.state)): at for at, (edge, _) in enumerate(edges)}
        return cls(edges, index, {edge.before.places for edge, _ in edges})


class Rejudge:
    """A recorded device whose recording was judged, and to which changed ones are compared."""

    def __init__(self, seen: DeviceRecording, spec: Spec[Any], bounds: Bounds) -> None:
        self.seen, self.spec, self.bounds = seen, spec, bounds
        self.judged: dict[Hashable, _Judged] = {}
        self.plain = {source.file: [_plain(event) for event in source.events] for source in seen.sources}
        reading = Reading(seen, spec)
        reading.recording()
        self.way = _Way.of(self._judged(reading).search)

    @property
    def accepted(self) -> bool:
        """Whether the recording itself has a run."""
        return bool(self.way.edges)

    def _judged(self, like: Reading) -> _Judged:
        """The recording with everything that counts for all lines at once as it is in a changed one."""
        key = _of_all_lines(like)
        if key not in self.judged:
            reading = Reading(self.seen, self.spec, budget=like.budget)
            recording = reading.recording()
            search = _Whole(reading.spec, recording, (), self.bounds)
            same = _of_all_lines(reading) == key
            self.judged[key] = _Judged(reading, search, same=same, whole=same and search.start())
        return self.judged[key]

    def rejudge(self, changed: Source, *, run: bool = False) -> Rejudged:
        """The verdict with one source changed. A source without an event left counts as there, and silent."""
        sources = tuple(changed if source.file == changed.file else source for source in self.seen.sources)
        reading = Reading(replace(self.seen, sources=sources), self.spec)
        search = _Changed(reading.spec, reading.recording(), (), self.bounds)
        judged = self._judged(reading)
        search.difference = difference = self._difference(judged, search, changed, reading)
        search.way = self.way
        anew = difference.start == 0 or not judged.same
        if anew:
            starts = {search.first(): 0}
        else:
            search.memory = judged.search.memory
            starts = {
                _moved_on(node, difference): judged.search.spent[node]
                for node in judged.nodes_at(difference.stream, difference.start)
            }
        return self._verdict(search, judged, starts, anew=anew, run=run)

    def _verdict(
        self, search: _Changed, judged: _Judged, starts: Mapping[Node, int], *, anew: bool, run: bool
    ) -> Rejudged:
        edges: dict[Node, Edge | None] = {}
        end, whole = search.spread(starts, self.bounds.hidden[-1], edges)
        if end is not None:
            taken = _path(search, judged, edges, end, anew=anew) if run else ()
            return Rejudged(Outcome.ACCEPTED, run=taken, anew=anew)
        if not whole or search.steps.untried or not (anew or judged.whole):
            return Rejudged(Outcome.UNDECIDED, anew=anew)
        return Rejudged(Outcome.REFUSED, search.stuck_at() or judged.search.stuck_at(), anew=anew)

    def _difference(self, judged: _Judged, search: Search, changed: Source, reading: Reading) -> _Difference:
        stream = search.number[changed.file]
        old, new = self.plain[changed.file], [_plain(event) for event in changed.events]
        least = min(len(old), len(new))
        same = next((at for at in range(least) if old[at] != new[at]), least)
        after = next((n for n in range(least - same) if old[-1 - n] != new[-1 - n]), least - same)
        old_first, new_first = judged.reading.firsts[changed.file], reading.firsts[changed.file]
        old_end, new_end = old_first[len(old) - after], new_first[len(new) - after]
        mine, theirs = search.streams[stream].observations, judged.search.streams[stream].observations
        start = _start_of_block(theirs, min(old_first[same], new_first[same]))
        subjects = {each.subject for each in (*theirs[start:old_end], *mine[start:new_end]) if isinstance(each, Level)}
        for subject in subjects:
            reads = (n for n in range(start - 1, -1, -1) if _reads(theirs[n], subject))
            start = min(start, next(reads, 0))
        return _Difference(stream, start, old_end, new_end)


def _reads(observation: Observation, subject: str) -> bool:
    return isinstance(observation, Level) and observation.subject == subject


def _start_of_block(observations: tuple[Observation, ...], place: int) -> int:
    """The place of the last line up to this one at which the recorder turned to something else."""
    if not any(_is_turn(each) for each in observations):
        return place
    return next((n for n in range(min(place, len(observations) - 1), -1, -1) if _is_turn(observations[n])), 0)


def _is_turn(observation: Observation) -> bool:
    return isinstance(observation, Happened) and observation.calls[0].action == recorder_turns.name


def _moved_on(node: Node, difference: _Difference) -> Node:
    """The node in the changed recording: level reads to come are elsewhere if they come after the difference."""
    held = frozenset(
        (stream, index + (difference.shift if stream == difference.stream and index >= difference.old_end else 0))
        for stream, index in node.held
    )
    return node._replace(held=held)


def _path(
    search: _Changed, judged: _Judged, edges: dict[Node, Edge | None], end: Node, *, anew: bool
) -> tuple[Taken, ...]:
    """The run: to the difference as the judged recording has it, through it, and the rest of the judged run."""
    run = search.told(edges, end)
    start = end
    while (edge := edges[start]) is not None:
        start = edge.before
    before: tuple[Taken, ...] = ()
    if not anew:
        origin = next(n for n in judged.nodes_at(search.difference.stream, search.difference.start)
                      if _moved_on(n, search.difference) == start)  # fmt: skip
        before = judged.search.told(judged.search.edges, origin)
    rest = search.told(search.rest, search.last) if search.rest and search.last else ()
    return before + run + rest


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


def _plain(event: Event) -> Event:
    """The event without its place."""
    if isinstance(event, Commit):
        changes = tuple(replace(change, origin=_NOWHERE) for change in event.changes)
        return replace(event, origin=_NOWHERE, changes=changes)
    return replace(event, origin=_NOWHERE)
