"""Finds runs to paths that an ordinary search does not meet: from known states, towards what a path still lacks.

A path is a conjunction of conditions. The search goes on, by turns, from the state that leaves the fewest of them unmet
and from one that is new among those as far away; so it finds its way to rare places, such as a backend that maps the
page of a frontend that keeps no rule.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from vtpm_model.core import Action, Disabled
from vtpm_proofs import bounds as limits
from vtpm_proofs import terms
from vtpm_proofs.explore import Atlas, Move
from vtpm_proofs.leaves import Flat, flatten
from vtpm_proofs.solvers import UNSAT, start
from vtpm_proofs.symbolic import flat_terms
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import Term

EXPANDED = 1_500
"""How many states are looked around for one path."""


class Witnesses:
    """The paths of one action, and which of them plain steps have taken."""

    def __init__(self, system: System, action: Action[Any]) -> None:
        self.action = action
        self.missing: list[Way] = list(system.ways(action))
        names = [term.name for term in flat_terms(system.before)]
        self._tests = {}
        for way in self.missing:
            picked = [t.name for name in action.picks for t in flat_terms(way.picks[name])]
            self._tests[way.label] = compiled(terms.conjunction(way.conditions), [*names, *picked])

    def note(self, state: Any, picks: Mapping[str, Any]) -> list[Way]:
        """The paths that this step takes first (one or none), taken off the missing ones."""
        values = (*flatten(state), *flatten(tuple(picks.values())))
        found = [way for way in self.missing if self._tests[way.label](*values)]
        if found:
            self.missing = [way for way in self.missing if way not in found]
        return found


def compiled(term: Term, names: list[str]) -> Callable[..., bool]:
    """A formula as a Python function of its variables, in that order."""
    numbered = {name: f"v{at}" for at, name in enumerate(names)}
    text = _python(term, numbered)
    function: Callable[..., bool] = eval(f"lambda {', '.join(numbered.values())}: {text}")
    return function


def _python(term: Term, names: Mapping[str, str]) -> str:
    if term.op == "var":
        return names[term.name]
    if term.op == "const":
        return repr(term.value)
    parts = [_python(child, names) for child in term.children]
    match term.op:
        case "not":
            return f"(not {parts[0]})"
        case "and" | "or":
            return f"({f' {term.op} '.join(parts)})"
        case "ite":
            return f"({parts[1]} if {parts[0]} else {parts[2]})"
        case "=" | "<=" | "+" | "*" | "mod" | "div":
            symbol = {"=": " == ", "<=": " <= ", "+": " + ", "*": " * ", "mod": " % ", "div": " // "}[term.op]
            return f"({symbol.join(parts)})"
    raise AssertionError(term.op)


class Goal(Protocol):
    """What a search looks for: a state, and picks of an action, that meet some conditions. A path is one."""

    @property
    def action(self) -> Action[Any]: ...

    @property
    def picks(self) -> Mapping[str, Any]: ...

    @property
    def conditions(self) -> tuple[Term, ...]: ...


@dataclass(frozen=True)
class Place:
    """A goal that is not a path."""

    action: Action[Any]
    picks: Mapping[str, Any]
    conditions: tuple[Term, ...]


def pursue(atlas: Atlas, system: System, expanded: int = EXPANDED) -> Atlas:
    """Add runs to the paths that no step from the states of an atlas takes; the same atlas."""
    solver = start("z3")
    solver.add(system.hypotheses)
    missing: list[Way] = []
    for action in atlas.spec.actions:
        witnesses = Witnesses(system, action)
        for state in atlas.states:
            if not witnesses.missing:
                break
            for picks in limits.choices(action, atlas.bounds.wider):
                witnesses.note(state, picks)
        missing += [way for way in witnesses.missing if solver.check(way.conditions) != UNSAT]
    while missing:
        left = [way for way in missing if not find(atlas, system, way, expanded)]
        if len(left) == len(missing):
            break
        missing = left  # what was found now may be on the way to the rest
    return atlas


def find(atlas: Atlas, system: System, goal: Goal, expanded: int = EXPANDED) -> bool:
    """Whether a state that meets the goal was found, and added as the last one, with the run to it."""
    unmet = _unmet(system, goal)
    wide = [flatten(tuple(picks.values())) for picks in limits.choices(goal.action, atlas.bounds.wider)]

    caps = [(attrgetter(path), most) for path, most in atlas.bounds.fields.items()]
    moves = [
        (action, picks, Move(action.name, picks))
        for action in atlas.spec.actions
        for picks in limits.choices(action, atlas.bounds)
    ]
    came: dict[Any, tuple[Any, Move] | None] = dict.fromkeys(atlas.states)
    order = itertools.count()
    newness = _Novelty()
    near: list[tuple[int, int, int, Any, Flat]] = []
    new: list[tuple[int, int, int, Any, Flat]] = []

    def put(state: Any, depth: int, beside: Flat | None) -> bool:
        flat = flatten(state)
        far = min([unmet(flat, picks) for picks in wide])
        number = next(order)
        heapq.heappush(near, (far, depth, number, state, flat))
        novelty = newness(flat, far, beside)
        if novelty < 2:
            heapq.heappush(new, (novelty, far, number, state, flat))
        return far == 0

    for state in atlas.states:
        put(state, 0, None)
    done: set[Any] = set()
    for turn in range(expanded):
        queue = new if turn % 2 and new else near
        if not queue:
            break
        *_, state, flat = heapq.heappop(queue)
        if state in done:
            continue
        done.add(state)
        depth = 0 if came[state] is None else 1
        for action, picks, move in moves:
            try:
                after = action.run(state, **picks)
            except Disabled:
                continue
            if after in came or any(get(after) > most for get, most in caps):
                continue
            came[after] = (state, move)
            if put(after, depth + 1, flat):
                _add(atlas, came, after)
                return True
    return False


class _Novelty:
    """How new a state is among those as far away: 0 with a value never met in its leaf, 1 with a pair, else 2."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}
        self._values: dict[int, set[int]] = {}
        self._pairs: dict[int, set[int]] = {}

    def __call__(self, flat: Flat, far: int, beside: Flat | None) -> int:
        """`beside`: the state before; only pairs with a value that it does not have are looked at, none without it."""
        numbers = self._numbers
        found = [numbers.setdefault((at, value), len(numbers)) for at, value in enumerate(flat)]
        values, pairs = self._values.setdefault(far, set()), self._pairs.setdefault(far, set())
        known = len(values)
        values.update(found)
        before = len(pairs)
        if beside is not None:
            for at, one in enumerate(found):
                if flat[at] != beside[at]:
                    pairs.update([(one << 20) | other if one < other else (other << 20) | one for other in found])
        return 0 if len(values) > known else 1 if len(pairs) > before else 2


def _unmet(system: System, way: Goal) -> Callable[[Flat, Flat], int]:
    """How many of the conditions a state and some picks leave unmet."""
    names = [term.name for term in flat_terms(system.before)]
    picked = [term.name for name in way.action.picks for term in flat_terms(way.picks[name])]
    parts = [part for condition in way.conditions for part in _parts(condition)]
    tests = [compiled(part, [*names, *picked]) for part in parts]
    return lambda flat, picks: sum([not test(*flat, *picks) for test in tests])


def _parts(condition: Term) -> list[Term]:
    """What a condition is the conjunction of."""
    if condition.op == "and":
        return [part for child in condition.children for part in _parts(child)]
    if condition.op == "not" and condition.children[0].op == "or":
        return [part for child in condition.children[0].children for part in _parts(terms.negation(child))]
    return [condition]


def _add(atlas: Atlas, came: Mapping[Any, tuple[Any, Move] | None], state: Any) -> None:
    """Put a state, and those on the way to it, into an atlas."""
    back: list[tuple[Any, Move]] = []
    at = state
    while (step := came[at]) is not None:
        back.append((at, step[1]))
        at = step[0]
    number = atlas.index[at]
    for reached, move in reversed(back):
        atlas.index[reached] = len(atlas.states)
        atlas.states.append(reached)
        atlas.parents.append(number)
        atlas.via.append(move)
        number = atlas.index[reached]
