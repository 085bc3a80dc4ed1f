"""Finds runs to paths that an ordinary search does not meet, and tells which paths a step takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vtpm_model.core import Action
from vtpm_proofs import bounds as limits
from vtpm_proofs import terms
from vtpm_proofs.bounded import PATIENCE, run_to
from vtpm_proofs.explore import Atlas, Move
from vtpm_proofs.leaves import flatten
from vtpm_proofs.solvers import UNSAT, start
from vtpm_proofs.symbolic import flat_terms
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import Term


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


SOON = 2_000_000
"""What a question about the run to one path may cost where nothing depends on whether it is found, as `PATIENCE`."""


def pursue(atlas: Atlas, system: System) -> Atlas:
    """Add runs to the paths that no step from the states of an atlas takes; the same atlas."""
    solver = start("z3")
    solver.add(system.hypotheses)
    for action in atlas.spec.actions:
        witnesses = Witnesses(system, action)
        for state in atlas.states:
            if not witnesses.missing:
                break
            for picks in limits.choices(action, atlas.bounds.wider):
                witnesses.note(state, picks)
        for way in witnesses.missing:
            if solver.check(way.conditions) != UNSAT:
                find(atlas, system, way, SOON)
    return atlas


def find(atlas: Atlas, system: System, goal: Goal, units: int = PATIENCE) -> tuple[int, Move] | None:
    """The state that a goal asks for, by its number, and the goal's action with the picks that meet it there.

    The run to the state is put into the atlas; None if no run was found.
    """
    found = run_to(system, goal.action, goal.picks, goal.conditions, units)
    if found is None:
        return None
    run, picks = found
    number = atlas.follow((Move(step.name, step.picks), state) for step, state in run.steps)
    return number, Move(goal.action.name, picks)
