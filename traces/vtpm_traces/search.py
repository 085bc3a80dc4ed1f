"""Is there a run of the specification that shows what a recording shows: a search over stream places and states.

A node is a place in every stream together with a state. Observations that take no step and hold are passed at once:
being further never forbids what was possible before, so nothing is lost. Nodes that have explained more are
tried first; hidden steps are tried breadth first between two observations. Before the answer is *refused* every node
was tried: hidden steps are bounded at first, and the bound is raised until it cuts nothing off.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from vtpm_model.core import Fact, Kind, Spec, Step
from vtpm_traces.observe import Happened, Holds, Level, Observation, Quiescent, Recording, Stream
from vtpm_traces.sayings import Memory
from vtpm_traces.steps import Steps, effort
from vtpm_traces.verdict import Outcome, Stuck, Taken, Verdict


@dataclass(frozen=True)
class Bounds:
    """How far a search goes before it says *undecided*: nodes in all, effort of hidden steps between two observations.

    An owed action costs 1, another 2, one of Xen itself 3.
    """

    nodes: int = 400_000
    hidden: tuple[int, ...] = (8, 16, 32, 64, 128)


class Node(NamedTuple):
    """A place in every stream, what is remembered there, and a state."""

    places: tuple[int, ...]
    held: frozenset[tuple[int, int]]  # level reads that are still to come and have been true
    said: int  # key of what has been said so far
    state: Any


@dataclass(frozen=True)
class Edge:
    """How a node was reached: from where, by which step (None: none was taken), showing which observations."""

    before: Node
    step: Step | None
    shown: tuple[tuple[int, int], ...]


@dataclass
class Search:
    """One search for a run; `met` counts the nodes that were tried."""

    spec: Spec[Any]
    recording: Recording
    keep: tuple[Fact, ...]
    bounds: Bounds
    steps: Steps = field(init=False)
    met: int = 0

    def __post_init__(self) -> None:
        self.steps = Steps(self.spec, self.recording.candidates)
        self.streams = self.recording.streams
        self.number = {stream.name: number for number, stream in enumerate(self.streams)}
        self.lengths = tuple(len(stream.observations) for stream in self.streams)
        self.upcoming = [_upcoming_levels(stream) for stream in self.streams]
        self.memory = Memory()
        self.hidden = tuple(a.name for a in self.spec.actions if a.name in self.recording.hidden)
        self.effort = {a.name: effort(a) for a in self.spec.actions}
        self.furthest: list[Node] = []
        self.most = -1

    # ------------------------------------------------------------------------------------------------- the search

    def run(self) -> Verdict:
        for patience in self.bounds.hidden:
            found, whole = self._within(patience)
            if found is not None:
                return self._verdict(Outcome.ACCEPTED, run=found)
            if self.met >= self.bounds.nodes:
                return self._verdict(Outcome.UNDECIDED, reason=f"{self.bounds.nodes} nodes were tried")
            if whole:
                break
        else:
            return self._verdict(Outcome.UNDECIDED, reason=f"hidden steps of effort {patience} in a row were tried")
        if self.steps.untried:
            untried = ", ".join(sorted(self.steps.untried))
            return self._verdict(Outcome.UNDECIDED, reason=f"not all values were tried of {untried}")
        return self._verdict(Outcome.REFUSED)

    def _within(self, patience: int) -> tuple[tuple[Taken, ...] | None, bool]:
        """A run that needs no more effort between two observations, and whether that bound cut nothing off."""
        edges: dict[Node, Edge | None] = {}
        end, whole = self.spread({self.first(): 0}, patience, edges)
        return (None if end is None else self.told(edges, end)), whole

    def first(self) -> Node:
        """The node that every run starts from."""
        start = self.recording.start or self.spec.init
        return self._settled(tuple(0 for _ in self.streams), frozenset(), 0, start())[0]

    def spread(
        self, starts: Mapping[Node, int], patience: int, edges: dict[Node, Edge | None]
    ) -> tuple[Node | None, bool]:
        """The first node at the end that is reached from nodes with the effort spent on each since it last moved on.

        Fills `edges`. The second value says whether the bound on that effort cut nothing off.
        """
        gaps: dict[Hashable, int] = {}
        order = itertools.count()
        heap: list[tuple[int, int, int, Node, Hashable]] = []
        for node, gap in starts.items():
            key = self.key(node)
            if gap < gaps.get(key, gap + 1):
                gaps[key] = gap
                edges.setdefault(node, None)
                heapq.heappush(heap, (-sum(node.places), gap, next(order), node, key))
        whole = True
        while heap:
            _, gap, _, node, key = heapq.heappop(heap)
            if gap > gaps[key]:
                continue
            self.met += 1
            if self.ends(node):
                return node, True
            if self.met >= self.bounds.nodes:
                return None, False
            self._note(node)
            for after, edge in self.moves(node, gap):
                quiet = 0 if edge.shown else gap + self.effort[edge.step.name] if edge.step else 0
                key = self.key(after)
                if quiet > patience:
                    whole = whole and key in gaps
                    continue
                if key not in gaps or quiet < gaps[key]:
                    gaps[key] = quiet
                    if after not in edges:
                        edges[after] = edge
                    heapq.heappush(heap, (-sum(after.places), quiet, next(order), after, key))
        return None, whole

    def ends(self, node: Node) -> bool:
        """Whether a node answers the question: here, whether every stream has come to its end."""
        return node.places == self.lengths

    def key(self, node: Node) -> Hashable:
        """What tells nodes apart that may go on differently."""
        alike, recalls = self.recording.alike, self.recording.recalls
        if alike is None:
            return node
        said = node.said if recalls is None else self.memory.of(node.said, recalls(node.state))
        return node.places, node.held, said, alike(node.state)

    # -------------------------------------------------------------------------------------------------- the moves

    def moves(self, node: Node, gap: int) -> Iterator[tuple[Node, Edge]]:
        """The nodes that follow a node, on which this effort was spent since it last moved on."""
        calls: dict[tuple[str, frozenset[tuple[str, Any]]], Mapping[str, Any]] = {}
        for number in range(len(self.streams)):
            observation = self._next(node.places, number)
            if isinstance(observation, Happened):
                if observation.or_nothing and self._due(observation, node.places):
                    yield self._moved(node, None, node.state, (number,), node.said)
                for call in observation.calls:
                    calls[call.action, frozenset(call.picks.items())] = call.picks
            elif observation is not None and self._passable(observation, number, node):
                said = self._said_now(observation, node)
                if said is not None:
                    yield self._moved(node, None, node.state, (number,), said)
        for name in self.hidden:
            calls[name, frozenset()] = {}
        tried: set[tuple[str, frozenset[tuple[str, Any]]]] = set()
        for (name, _), known in calls.items():
            action = self.steps.action(name)
            if action is None:
                continue
            for picks, after in self.steps.take(node.state, name, known):
                key = (name, frozenset(picks.items()))
                if key not in tried:
                    tried.add(key)
                    step = Step(name, action.by, picks)
                    if self._keeps(node.state, step, after):
                        yield from self._stepped(node, step, after)

    def _stepped(self, node: Node, step: Step, after: Any) -> Iterator[tuple[Node, Edge]]:
        """The nodes after a step: every stream that sees it must move on, others that could have shown it may."""
        must: list[int] = []
        may: list[int] = []
        for number, stream in enumerate(self.streams):
            observation = self._next(node.places, number)
            fits = (
                isinstance(observation, Happened)
                and self._due(observation, node.places)
                and _allows(observation, node.state, step, after)
            )
            if self._sees(stream, node.places[number], node.state, step, after):
                if not fits:
                    return
                must.append(number)
            elif fits:
                may.append(number)
        for size in range(len(may), -1, -1):
            for chosen in itertools.combinations(may, size):
                moving = (*must, *chosen)
                if not moving and step.name not in self.recording.hidden:
                    continue
                said = self._said_by(moving, node, step, after)
                if said is not None:
                    yield self._moved(node, step, after, moving, said)

    def _moved(
        self, node: Node, step: Step | None, state: Any, moving: tuple[int, ...], said: int
    ) -> tuple[Node, Edge]:
        places = tuple(place + (number in moving) for number, place in enumerate(node.places))
        held = frozenset(key for key in node.held if key[1] >= places[key[0]])
        after, passed = self._settled(places, held, said, state)
        shown = tuple((number, node.places[number]) for number in moving)
        return after, Edge(node, step, shown + passed)

    def _settled(
        self, places: tuple[int, ...], held: frozenset[tuple[int, int]], said: int, state: Any
    ) -> tuple[Node, tuple[tuple[int, int], ...]]:
        """The node after all that can be passed without a choice, and what was passed."""
        now = list(places)
        passed: list[tuple[int, int]] = []
        moved = True
        while moved:
            moved = False
            held = self._holding(tuple(now), held, state)
            for number in range(len(now)):
                while True:
                    observation = self._next(tuple(now), number)
                    node = Node(tuple(now), held, said, state)
                    if observation is None or not self._passes_by_itself(observation, number, node):
                        break
                    passed.append((number, now[number]))
                    now[number] += 1
                    moved = True
                    held = self._holding(tuple(now), held, state)
        held = frozenset(key for key in held if key[1] >= now[key[0]])
        return Node(tuple(now), held, said, state), tuple(passed)

    def _holding(self, places: tuple[int, ...], held: frozenset[tuple[int, int]], state: Any) -> frozenset[Any]:
        """The level reads to come that have been true since the last read of the same subject."""
        fresh = []
        for number, place in enumerate(places):
            for index in self.upcoming[number][place]:
                if (number, index) not in held:
                    level = self.streams[number].observations[index]
                    if isinstance(level, Level) and level.fits(state):
                        fresh.append((number, index))
        return held.union(fresh) if fresh else held

    # ------------------------------------------------------------------------------------------------ observations

    def _next(self, places: tuple[int, ...], number: int) -> Observation | None:
        place = places[number]
        return self.streams[number].observations[place] if place < self.lengths[number] else None

    def _due(self, observation: Observation, places: tuple[int, ...]) -> bool:
        return all(places[self.number[point.stream]] > point.index for point in observation.later_than)

    def _passes_by_itself(self, observation: Observation, number: int, node: Node) -> bool:
        if isinstance(observation, Happened) or (isinstance(observation, Holds) and observation.says is not None):
            return False
        if self.streams[number].starts_late and node.places[number] == 0:
            return False
        return self._passable(observation, number, node)

    def _passable(self, observation: Observation, number: int, node: Node) -> bool:
        if not self._due(observation, node.places):
            return False
        match observation:
            case Holds():
                return observation.fits(node.state)
            case Level():
                return (number, node.places[number]) in node.held
            case Quiescent():
                return self.steps.owed(node.state, observation.by, observation.except_for) is None
            case Happened():
                return False

    def _said_now(self, observation: Observation, node: Node) -> int | None:
        if isinstance(observation, Holds) and observation.says is not None:
            return self.memory.after(node.said, observation.says(node.state))
        return node.said

    def _said_by(self, moving: tuple[int, ...], node: Node, step: Step, after: Any) -> int | None:
        said: int | None = node.said
        for number in moving:
            observation = self._next(node.places, number)
            if isinstance(observation, Happened) and observation.says is not None and said is not None:
                said = self.memory.after(said, observation.says(node.state, step, after))
        return said

    def _sees(self, stream: Stream, place: int, before: Any, step: Step, after: Any) -> bool:
        if step.name not in stream.sees:
            return False
        if (stream.starts_late and place == 0) or (place == len(stream.observations) and not stream.stays):
            return False
        return stream.sight is None or stream.sight(before, step, after)

    def _keeps(self, before: Any, step: Step, after: Any) -> bool:
        return all(
            fact.holds(before, step, after) if fact.kind is Kind.STEP else fact.holds(after) for fact in self.keep
        )

    # ------------------------------------------------------------------------------------------------- the verdict

    def _note(self, node: Node) -> None:
        done = sum(node.places)
        if done > self.most:
            self.most, self.furthest = done, []
        if done == self.most and len(self.furthest) < 200:
            self.furthest.append(node)

    def told(self, edges: Mapping[Node, Edge | None], node: Node) -> tuple[Taken, ...]:
        """The steps that these edges lead to a node by."""
        path: list[Taken] = []
        waiting: list[Any] = []  # observations shown without a step, told with the step before them
        while (edge := edges[node]) is not None:
            origins = [self.streams[number].observations[index].origin for number, index in edge.shown]
            if edge.step is None:
                waiting = origins + waiting
            else:
                step = edge.step
                path.append(Taken(step.name, step.by, step.picks, node.state, tuple(origins + waiting)))
                waiting = []
            node = edge.before
        return tuple(reversed(path))

    def _stuck(self) -> tuple[Stuck, ...]:
        places = self.furthest[0].places
        here = [node.state for node in self.furthest if node.places == places]
        possible = self.steps.possible(here)
        return tuple(
            Stuck(observation.origin, possible)
            for number in range(len(self.streams))
            if (observation := self._next(places, number)) is not None
        )

    def _verdict(self, outcome: Outcome, *, run: tuple[Taken, ...] = (), reason: str = "") -> Verdict:
        stuck = () if outcome is Outcome.ACCEPTED or not self.furthest else self._stuck()
        return Verdict(outcome, self.spec.name, sum(self.lengths), states=self.met, run=run, stuck=stuck, reason=reason)


def explain(
    spec: Spec[Any], recording: Recording, *, keep: tuple[Fact, ...] = (), bounds: Bounds | None = None
) -> Verdict:
    """The verdict of a specification on a recording.

    With `keep`, steps that break one of these facts are not taken: of a variant it is asked whether the recording can
    be explained although the facts hold. Of several streams that are stuck, the first is the one without whose
    observation the others get furthest.
    """
    search = Search(spec, recording, keep, bounds or Bounds())
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
        retry = Search(search.spec, replace(search.recording, streams=streams), search.keep, bounds)
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


def _allows(observation: Happened, before: Any, step: Step, after: Any) -> bool:
    called = any(
        call.action == step.name and all(step.picks.get(pick) == value for pick, value in call.picks.items())
        for call in observation.calls
    )
    return called and (observation.fits is None or observation.fits(before, step, after))
