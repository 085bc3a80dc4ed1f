"""Explicit-state search: every state of a bounded instance, breadth first, each claim checked on the way.

It runs the very functions of the model and trusts no solver. How many states it met is recorded in
`data/states.json`; a count that changed without anybody saying so fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from vtpm_model.core import Disabled, Kind, Spec, Step
from vtpm_proofs import bounds as limits
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.leaves import flatten, leaves

MANIFEST = Path(__file__).with_name("data") / "states.json"


@dataclass(frozen=True)
class Move:
    """One step of a run: the action and what was picked."""

    action: str
    picks: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={_shown(value)}" for name, value in self.picks.items())
        return f"{self.action}({inside})" if inside else self.action


def _shown(value: Any) -> str:
    return getattr(value, "name", None) or str(value)


@dataclass(frozen=True)
class Violation:
    """A claim that a run breaks: the run ends with the offending step (or state)."""

    fact: str
    run: tuple[Move, ...]
    state: Any


@dataclass
class Atlas:
    """The states that a search met, in the order in which it met them, each with how it got there."""

    spec: Spec[Any]
    bounds: Bounds
    states: list[Any]
    parents: list[int]
    via: list[Move | None]
    edges: int = 0
    depth: int = 0
    exhausted: bool = True
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0
    refused: list[tuple[int, Move, Any]] = field(default_factory=list, repr=False)
    index: dict[Any, int] = field(default_factory=dict, repr=False)

    def run_to(self, number: int) -> tuple[Move, ...]:
        """A shortest run from the initial state to the state of that number (within the bounds)."""
        moves: list[Move] = []
        while (move := self.via[number]) is not None:
            moves.append(move)
            number = self.parents[number]
        return tuple(reversed(moves))

    def follow(self, steps: Iterable[tuple[Move, Any]]) -> int:
        """Add the states of a run, given by its steps and the state after each; the number of the last one."""
        number = 0
        for move, state in steps:
            known = self.index.get(state)
            if known is None:
                known = self.index[state] = len(self.states)
                self.states.append(state)
                self.parents.append(number)
                self.via.append(move)
            number = known
        return number

    def depths(self) -> list[int]:
        """How long the known run to each state is."""
        found: list[int] = []
        for number, parent in enumerate(self.parents):
            found.append(found[parent] + 1 if number else 0)
        return found

    def count(self) -> dict[str, Any]:
        """What the manifest records: states, edges, depth, and whether the bounded instance was exhausted."""
        return {"states": len(self.states), "edges": self.edges, "depth": self.depth, "exhausted": self.exhausted}


Watch = Callable[[Any, list[tuple[int, Any]]], None]
"""Is told of every state that is expanded, with its steps: the number of the move, and the state after it."""


def search(spec: Spec[Any], bounds: Bounds | None = None, *, stop_at: int = 1, watch: Watch | None = None) -> Atlas:
    """Every state of `spec` within the bounds, breadth first.

    An edge is a step that is possible in a state within the bounds; step facts are checked on every edge, state facts
    and lemmas on every state that is kept. The search ends early once `stop_at` violations are known.
    """
    bounds = bounds or limits.bounds_of(spec)
    limits.check(spec, bounds)
    started = time.perf_counter()
    first = spec.init()
    atlas = Atlas(spec, bounds, [first], [-1], [None], index={first: 0})
    state_facts = [f for f in (*spec.facts, *spec.lemmas) if f.kind is not Kind.STEP]
    step_facts = [f for f in spec.facts if f.kind is Kind.STEP]
    caps = [(attrgetter(path), most) for path, most in bounds.fields.items()]
    moves = _moves(spec, bounds)
    for fact in state_facts:
        if not fact.holds(first):
            atlas.violations.append(Violation(fact.name, (), first))
    states, parents, via, index = atlas.states, atlas.parents, atlas.via, atlas.index
    begin, end, edges = 0, 1, 0
    while begin < end and len(atlas.violations) < stop_at:
        if end > bounds.states:
            atlas.exhausted = False
            break
        for number in range(begin, end):
            before = states[number]
            steps: list[tuple[int, Any]] = []
            for at, (run, picks, move, step) in enumerate(moves):
                try:
                    after = run(before, **picks)
                except Disabled:
                    continue
                edges += 1
                steps.append((at, after))
                for fact in step_facts:
                    if not fact.holds(before, step, after):
                        atlas.violations.append(Violation(fact.name, (*atlas.run_to(number), move), after))
                if after in index or any(get(after) > most for get, most in caps):
                    continue
                index[after] = len(states)
                states.append(after)
                parents.append(number)
                via.append(move)
                for fact in state_facts:
                    if not fact.holds(after):
                        atlas.violations.append(Violation(fact.name, atlas.run_to(len(states) - 1), after))
            if watch is not None:
                watch(before, steps)
        begin, end = end, len(states)
        atlas.depth += begin < end
    atlas.edges = edges
    atlas.seconds = time.perf_counter() - started
    return atlas


Sound = Callable[[Any, Step, Any], bool]
"""Whether a step may be followed; one that may not is put into the atlas's `refused`."""


def _any(before: Any, step: Step, after: Any) -> bool:
    return True


def scout(spec: Spec[Any], bounds: Bounds | None = None, *, sound: Sound = _any) -> Atlas:
    """A thin selection of the states within the bounds that goes deep quickly: a state is kept only if it is the first
    in which some two leaves have the values that they have there. (Breadth first, so the runs stay short.)

    Claims are not checked: this finds places to try things in, `search` looks for violations.
    """
    bounds = bounds or limits.bounds_of(spec)
    limits.check(spec, bounds)
    started = time.perf_counter()
    first = spec.init()
    atlas = Atlas(spec, bounds, [first], [-1], [None], index={first: 0}, exhausted=False)
    width = len(leaves(spec.state))
    names: dict[tuple[int, int], int] = {}
    pairs: set[int] = set()
    flats: list[list[int]] = []

    def atoms(state: Any) -> list[int]:
        return [names.setdefault((at, value), len(names)) for at, value in enumerate(flatten(state))]

    def news(found: list[int], old: list[int] | None) -> bool:
        """Note the pairs of atoms of a state; whether one of them is new."""
        before = len(pairs)
        for at in range(width):
            if old is None or found[at] != old[at]:
                one = found[at]
                pairs.update([(one << 20) | other if one < other else (other << 20) | one for other in found])
        return len(pairs) > before

    caps = [(attrgetter(path), most) for path, most in bounds.fields.items()]
    moves = _moves(spec, bounds)
    flats.append(atoms(first))
    news(flats[0], None)
    tried: set[Any] = {first}
    number = 0
    levels = [0]
    while number < len(atlas.states):
        before = atlas.states[number]
        for run, picks, move, step in moves:
            try:
                after = run(before, **picks)
            except Disabled:
                continue
            atlas.edges += 1
            if not sound(before, step, after):
                atlas.refused.append((number, move, after))
                continue
            if after in tried:
                continue
            tried.add(after)
            if any(get(after) > most for get, most in caps):
                continue
            found = atoms(after)
            if news(found, flats[number]):
                atlas.index[after] = len(atlas.states)
                atlas.states.append(after)
                atlas.parents.append(number)
                atlas.via.append(move)
                flats.append(found)
                levels.append(levels[number] + 1)
        number += 1
    atlas.depth = levels[-1]
    atlas.seconds = time.perf_counter() - started
    return atlas


def spread(atlas: Atlas, states: int, *, sound: Sound = _any) -> Atlas:
    """Add what lies around the states of an atlas, level by level, until it holds so many; the same atlas."""
    caps = [(attrgetter(path), most) for path, most in atlas.bounds.fields.items()]
    moves = _moves(atlas.spec, atlas.bounds)
    number = 0
    while number < len(atlas.states) < states:
        before = atlas.states[number]
        for run, picks, move, step in moves:
            try:
                after = run(before, **picks)
            except Disabled:
                continue
            if not sound(before, step, after):
                atlas.refused.append((number, move, after))
                continue
            if after in atlas.index or any(get(after) > most for get, most in caps):
                continue
            atlas.index[after] = len(atlas.states)
            atlas.states.append(after)
            atlas.parents.append(number)
            atlas.via.append(move)
        number += 1
    return atlas


def _moves(spec: Spec[Any], bounds: Bounds) -> list[tuple[Any, Mapping[str, Any], Move, Step]]:
    """Every action with every combination of picks that the bounds try."""
    return [
        (action.run, picks, Move(action.name, picks), Step(action.name, action.by, picks))
        for action in spec.actions
        for picks in limits.choices(action, bounds)
    ]


def replay(spec: Spec[Any], run: tuple[Move, ...]) -> Iterator[Any]:
    """The states of a run, from the initial one. Raises Disabled where a step is not possible."""
    state = spec.init()
    yield state
    for move in run:
        state = spec.action(move.action)(state, **move.picks)
        yield state


# ------------------------------------------------------------------------------------------------------ the manifest


def recorded() -> dict[str, dict[str, Any]]:
    """The counts on record, by system."""
    if not MANIFEST.exists():
        return {}
    systems: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text())["systems"]
    return systems


def record(counts: Mapping[str, Mapping[str, Any]]) -> None:
    """Put counts on record, leaving those of other systems as they are."""
    systems = recorded() | {name: dict(count) for name, count in counts.items()}
    text = json.dumps({"version": 1, "systems": dict(sorted(systems.items()))}, indent=2)
    MANIFEST.write_text(text + "\n")


def compare(name: str, count: Mapping[str, Any]) -> str | None:
    """A sentence that says how a count differs from the one on record; None where they are the same."""
    known = recorded().get(name)
    again = f"if the model was meant to change: vtpmspec record {name}"
    if known is None:
        return f"{name}: no count is on record; to record it: vtpmspec record {name}"
    changed = [f"{key} {known.get(key)} -> {value}" for key, value in count.items() if known.get(key) != value]
    return f"{name}: not what is on record: {', '.join(changed)}; {again}" if changed else None
