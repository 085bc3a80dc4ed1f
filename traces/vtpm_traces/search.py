"""Is there a run of the specification that shows what a recording shows: a search over stream places and states.

A node is a place in every stream together with a state that stands for all that go on like it. Observations that take
no step and hold are passed at once: being further never forbids what was possible before, so nothing is lost. Nodes
whose hindmost stream has got furthest, by the clock of the streams, are tried first, then those that have explained
more; hidden steps are tried breadth first between two observations. Before the answer is *refused* every node was
tried: hidden steps are bounded at first, and the bound is raised until it cuts nothing off. Before it is *accepted* the
run is taken again, from the first state, in its own numbers.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vtpm_model.core import Disabled, Spec, Step
from vtpm_traces.goings import Goings
from vtpm_traces.observe import Happened, Holds, Level, Observation, Quiescent, Recording, Stream
from vtpm_traces.verdict import Outcome, Stuck, Taken, Verdict


@dataclass(frozen=True)
class Bounds:
    """How far a search goes before it says *undecided*: nodes in all, effort of hidden steps between two observations.

    There may be `nodes`, and `each` more for each observation. An owed action costs 1, another 2, one of Xen itself 3.
    """

    nodes: int = 400_000
    each: int = 0
    hidden: tuple[int, ...] = (8, 16, 32, 64, 128)


class Node(NamedTuple):
    """A place in every stream, what is remembered there, and the number of a state."""

    places: tuple[int, ...]
    held: frozenset[tuple[int, int]]  # level reads that are still to come and have been true
    said: int  # number of what has been said so far
    state: int


class Edge(NamedTuple):
    """How a node was reached: from where, by which step (None: none was taken), showing which observations."""

    before: Node
    step: Step | None
    shown: tuple[tuple[int, int], ...]


class Search:
    """One search for a run; `met` counts the nodes that were tried.

    `like` is a search of the same specification, for a recording with the same hidden actions and candidates: what it
    found of states serves here too.
    """

    def __init__(
        self, spec: Spec[Any], recording: Recording, bounds: Bounds | None = None, *, like: Search | None = None
    ) -> None:
        self.spec, self.recording, self.bounds = spec, recording, bounds or Bounds()
        self.goings: Goings = Goings(spec, recording) if like is None else like.goings
        self.streams = recording.streams
        self.number = {stream.name: number for number, stream in enumerate(self.streams)}
        self.lengths = tuple(len(stream.observations) for stream in self.streams)
        # For each place of each stream: what is observed next (None: nothing more), and what that means for steps.
        self.nexts = [(*stream.observations, None) for stream in self.streams]
        self.aheads = [self._aheads(stream) for stream in self.streams]
        self.most_nodes = self.bounds.nodes + self.bounds.each * sum(self.lengths)
        self.clocks = [
            (number, (*stream.clock, math.inf)) for number, stream in enumerate(self.streams) if stream.clock
        ]
        self.upcoming = [_upcoming_levels(stream) for stream in self.streams]
        self.true: dict[tuple[int, int, tuple[int, ...]], frozenset[tuple[int, int]]] = {}
        self.levels = any(isinstance(each, Level) for stream in self.streams for each in stream.observations)
        self.furthest: list[Node] = []
        self.most = -1
        self.met = 0

    def _aheads(self, stream: Stream) -> list[int]:
        """For each place, the number of what the stream shows next."""
        found = []
        for place, observation in enumerate((*stream.observations, None)):
            blind = (stream.starts_late and place == 0) or (observation is None and not stream.stays)
            found.append(self.goings.ahead(stream, observation, blind=blind))
        return found

    # ------------------------------------------------------------------------------------------------- the search

    def run(self) -> Verdict:
        """The verdict on the recording."""
        for patience in self.bounds.hidden:
            edges: dict[Node, Edge | None] = {}
            end, whole = self.spread({self.first(): 0}, patience, edges)
            if end is not None:
                return self._accepted(self.path(edges, end))
            if self.met >= self.most_nodes:
                return self._verdict(Outcome.UNDECIDED, reason=f"{self.most_nodes} nodes were tried")
            if whole:
                break
        else:
            return self._verdict(Outcome.UNDECIDED, reason=f"hidden steps of effort {patience} in a row were tried")
        if self.goings.steps.untried:
            untried = ", ".join(sorted(self.goings.steps.untried))
            return self._verdict(Outcome.UNDECIDED, reason=f"not all values were tried of {untried}")
        return self._verdict(Outcome.REFUSED)

    def first(self) -> Node:
        """The node that every run starts from."""
        return self._settled(tuple(0 for _ in self.streams), frozenset(), 0, self.goings.known(self._start()))[0]

    def _start(self) -> Any:
        return (self.recording.start or self.spec.init)()

    def spread(
        self, starts: Mapping[Node, int], patience: int, edges: dict[Node, Edge | None]
    ) -> tuple[Node | None, bool]:
        """The first node at the end that is reached from nodes with the effort spent on each since it last moved on.

        Fills `edges`. The second value says whether the bound on that effort cut nothing off.
        """
        gaps: dict[Node, int] = {}
        order = itertools.count()
        heap: list[tuple[Any, int, int, Node]] = []
        turn = self._abreast if self.clocks else _furthest
        for node, gap in starts.items():
            gaps[node] = gap
            edges.setdefault(node, None)
            heap.append((turn(node.places), gap, next(order), node))
        heapq.heapify(heap)
        whole = True
        while heap:
            _, gap, _, node = heapq.heappop(heap)
            if gap > gaps[node]:
                continue
            self.met += 1
            if self.ends(node):
                return node, True
            if self.met >= self.most_nodes:
                return None, False
            self._note(node)
            for after, edge, cost in self.moves(node, gap):
                quiet = 0 if edge.shown else gap + cost
                if quiet > patience:
                    whole = whole and after in gaps
                    continue
                if after not in gaps or quiet < gaps[after]:
                    gaps[after] = quiet
                    edges.setdefault(after, edge)
                    heapq.heappush(heap, (turn(after.places), quiet, next(order), after))
        return None, whole

    def _abreast(self, places: tuple[int, ...]) -> tuple[float, int]:
        """The order in which nodes are tried: by the time of the hindmost stream, then by what they have explained."""
        return -min([clock[places[number]] for number, clock in self.clocks]), -sum(places)

    def ends(self, node: Node) -> bool:
        """Whether a node answers the question: here, whether every stream has come to its end."""
        return node.places == self.lengths

    # -------------------------------------------------------------------------------------------------- the moves

    def moves(self, node: Node, gap: int) -> Iterator[tuple[Node, Edge, int]]:
        """The nodes that follow one on which this effort was spent, each with the effort that its step took."""
        aheads = []
        for number, place in enumerate(node.places):
            observation = self.nexts[number][place]
            ahead = self.aheads[number][place]
            if isinstance(observation, Happened):
                if observation.later_than and not self._due(observation, node.places):
                    ahead = self.goings.ahead(self.streams[number], None, blind=self._blind(number, place))
                elif observation.or_nothing:
                    yield *self._moved(node, None, node.state, (number,), node.said), 0
            elif observation is not None and self._passable(observation, number, node):
                said = self._said_now(observation, node)
                if said is not None:
                    yield *self._moved(node, None, node.state, (number,), said), 0
            aheads.append(ahead)
        for going in self.goings.of(node.state, tuple(aheads)):
            for moving in going.moving:
                said = self._said_by(moving, node, going.step, going.raw)
                if said is not None:
                    if going.renaming is not None:
                        said = self.goings.memory.renamed(said, going.renaming)
                    yield *self._moved(node, going.step, going.after, moving, said), going.effort

    def _blind(self, number: int, place: int) -> bool:
        return self.streams[number].starts_late and place == 0

    def _moved(
        self, node: Node, step: Step | None, state: int, moving: tuple[int, ...], said: int
    ) -> tuple[Node, Edge]:
        places, held = node.places, node.held
        if moving:
            places = tuple([place + (number in moving) for number, place in enumerate(places)])
            if held:
                held = frozenset(key for key in held if key[1] >= places[key[0]])
        after, passed = self._settled(places, held, said, state)
        shown = tuple([(number, node.places[number]) for number in moving])
        return after, Edge(node, step, shown + passed)

    def _settled(
        self, places: tuple[int, ...], held: frozenset[tuple[int, int]], said: int, state: int
    ) -> tuple[Node, tuple[tuple[int, int], ...]]:
        """The node after all that can be passed without a choice, and what was passed."""
        node = Node(places, self._holding(places, held, state) if self.levels else held, said, state)
        passed: list[tuple[int, int]] = []
        moved = True
        while moved:
            moved = False
            for number in range(len(places)):
                while self._passes_by_itself(number, node):
                    passed.append((number, node.places[number]))
                    moved = True
                    now = (*node.places[:number], node.places[number] + 1, *node.places[number + 1 :])
                    node = Node(now, self._holding(now, node.held, state) if self.levels else held, said, state)
        if passed and node.held:
            node = node._replace(held=frozenset(key for key in node.held if key[1] >= node.places[key[0]]))
        return node, tuple(passed)

    def _holding(self, places: tuple[int, ...], held: frozenset[tuple[int, int]], state: int) -> frozenset[Any]:
        """The level reads to come that have been true since the last read of the same subject."""
        for number, place in enumerate(places):
            upcoming = self.upcoming[number][place]
            if upcoming:
                key = (state, number, upcoming)
                true = self.true.get(key)
                if true is None:
                    true = self.true[key] = self._true_levels(state, number, upcoming)
                if not true <= held:
                    held = held | true
        return held

    def _true_levels(self, state: int, number: int, upcoming: tuple[int, ...]) -> frozenset[tuple[int, int]]:
        levels = ((index, self.nexts[number][index]) for index in upcoming)
        return frozenset(
            (number, index)
            for index, level in levels
            if isinstance(level, Level) and self.goings.fits(state, level.fits)
        )

    # ------------------------------------------------------------------------------------------------ observations

    def _due(self, observation: Observation, places: tuple[int, ...]) -> bool:
        return all(places[self.number[point.stream]] > point.index for point in observation.later_than)

    def _passes_by_itself(self, number: int, node: Node) -> bool:
        observation = self.nexts[number][node.places[number]]
        if observation is None or isinstance(observation, Happened):
            return False
        if (isinstance(observation, Holds) and observation.says is not None) or self._blind(
            number, node.places[number]
        ):
            return False
        return self._passable(observation, number, node)

    def _passable(self, observation: Observation, number: int, node: Node) -> bool:
        if observation.later_than and not self._due(observation, node.places):
            return False
        match observation:
            case Holds():
                return self.goings.fits(node.state, observation.fits)
            case Level():
                return (number, node.places[number]) in node.held
            case Quiescent():
                return self.goings.rests(node.state, observation)
            case Happened():
                return False

    def _said_now(self, observation: Observation, node: Node) -> int | None:
        if isinstance(observation, Holds) and observation.says is not None:
            return self.goings.memory.after(node.said, observation.says(self.goings.states[node.state]))
        return node.said

    def _said_by(self, moving: tuple[int, ...], node: Node, step: Step, after: Any) -> int | None:
        said: int | None = node.said
        for number in moving:
            observation = self.nexts[number][node.places[number]]
            if isinstance(observation, Happened) and observation.says is not None and said is not None:
                sayings = observation.says(self.goings.states[node.state], step, after)
                said = self.goings.memory.after(said, sayings)
        return said

    # ------------------------------------------------------------------------------------------------- the verdict

    def _note(self, node: Node) -> None:
        done = sum(node.places)
        if done > self.most:
            self.most, self.furthest = done, []
        if done == self.most and len(self.furthest) < 200:
            self.furthest.append(node)

    @staticmethod
    def path(edges: Mapping[Node, Edge | None], node: Node) -> list[Edge]:
        """The edges that lead to a node."""
        found = []
        while (edge := edges[node]) is not None:
            found.append(edge)
            node = edge.before
        return found[::-1]

    def taken(self, path: Sequence[Edge]) -> tuple[Taken, ...]:
        """The run of these edges, each step taken and each observation held against it. Raises NoRun if it is none.

        Observations that are shown without a step are told with the step before them.
        """
        state, said = self._start(), dict[Hashable, Hashable]()
        run: list[Taken] = []
        for edge in path:
            before, step = state, edge.step
            if step is not None:
                try:
                    state = self.spec.action(step.name).run(before, **step.picks)
                except Disabled:
                    raise NoRun(step.name) from None
            for number, index in edge.shown:
                observation = self.nexts[number][index]
                match observation:
                    case Happened() if step is not None:
                        fits = observation.fits is None or observation.fits(before, step, state)
                        says = {} if observation.says is None else observation.says(before, step, state)
                    case Holds():
                        fits = observation.fits(state)
                        says = {} if observation.says is None else observation.says(state)
                    case _:
                        fits, says = True, {}
                if not fits or any(said.setdefault(*each) != each[1] for each in says.items()):
                    raise NoRun(str(observation.origin) if observation else "")
            origins = tuple(one.origin for number, index in edge.shown if (one := self.nexts[number][index]))
            if step is not None:
                run.append(Taken(step.name, step.by, step.picks, state, origins))
            elif run:
                run[-1] = replace(run[-1], seen=run[-1].seen + origins)
        return tuple(run)

    def _accepted(self, path: Sequence[Edge]) -> Verdict:
        try:
            return self._verdict(Outcome.ACCEPTED, run=self.taken(path))
        except NoRun as why:
            return self._verdict(Outcome.UNDECIDED, reason=f"states that were taken to be alike are not, at {why}")

    def _stuck(self) -> tuple[Stuck, ...]:
        places = self.furthest[0].places
        here = [self.goings.states[node.state] for node in self.furthest if node.places == places]
        possible = self.goings.steps.possible(here)
        return tuple(
            Stuck(observation.origin, possible)
            for number, place in enumerate(places)
            if (observation := self.nexts[number][place]) is not None
        )

    def _verdict(self, outcome: Outcome, *, run: tuple[Taken, ...] = (), reason: str = "") -> Verdict:
        stuck = () if outcome is Outcome.ACCEPTED or not self.furthest else self._stuck()
        return Verdict(outcome, self.spec.name, sum(self.lengths), states=self.met, run=run, stuck=stuck, reason=reason)


def _furthest(places: tuple[int, ...]) -> int:
    """The order where no stream has a clock; one number is compared sooner than two."""
    return -sum(places)


class NoRun(Exception):
    """What a search found is no run: states that were taken to be alike are not. Says at which step or observation."""


def explain(spec: Spec[Any], recording: Recording, *, bounds: Bounds | None = None) -> Verdict:
    """The verdict of a specification on a recording.

    Of several streams that are stuck, the first is the one without whose observation the others get furthest.
    """
    search = Search(spec, recording, bounds)
    verdict = search.run()
    if len(verdict.stuck) < 2:
        return verdict
    return replace(verdict, stuck=_most_to_blame_first(search, verdict.stuck))


def _most_to_blame_first(search: Search, stuck: tuple[Stuck, ...]) -> tuple[Stuck, ...]:
    progress: list[int] = []
    blamed = {item.origin for item in stuck}
    for item in stuck:
        streams = tuple(_without(stream, item, blamed) for stream in search.streams)
        bounds = Bounds(nodes=20_000, hidden=search.bounds.hidden[:2])
        retry = Search(search.spec, replace(search.recording, streams=streams), bounds, like=search)
        progress.append(sum(retry.lengths) + 1 if retry.run().accepted else retry.most)
    order = sorted(range(len(stuck)), key=lambda number: -progress[number])
    return tuple(stuck[number] for number in order)


def _without(stream: Stream, item: Stuck, blamed: set[Any]) -> Stream:
    """The stream with the observation of `item`, if it has it, replaced by one that demands nothing."""
    observations = tuple(
        Holds(one.origin, lambda state: True) if one.origin == item.origin and one.origin in blamed else one
        for one in stream.observations
    )
    return replace(stream, observations=observations)


def _upcoming_levels(stream: Stream) -> list[tuple[int, ...]]:
    """For each place of a stream, the next level read of each subject from there on."""
    following: dict[str, int] = {}
    found: list[tuple[int, ...]] = [()]
    for index in range(len(stream.observations) - 1, -1, -1):
        observation = stream.observations[index]
        if isinstance(observation, Level):
            following[observation.subject] = index
        found.append(tuple(sorted(following.values())))
    return found[::-1]
