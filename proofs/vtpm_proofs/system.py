"""A specification run with unknowns: the state before a step, what is known of it, and every path of every action."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vtpm_model.core import Action, Kind, Spec
from vtpm_proofs import cache, terms
from vtpm_proofs.solvers import UNSAT, start, version
from vtpm_proofs.symbolic import Path, flat_terms, formula, of_sort, paths, symbolic_picks, symbolic_state
from vtpm_proofs.terms import Term


@dataclass(frozen=True)
class Way:
    """One path of one action from a state of unknowns."""

    action: Action[Any]
    picks: Mapping[str, Any]
    path: Path

    @property
    def label(self) -> str:
        """`action.path`."""
        return f"{self.action.name}.{self.path.label}"

    @cached_property
    def pick_sorts(self) -> tuple[Term, ...]:
        """What the picks may be."""
        return tuple(term for name, sort in self.action.picks.items() for term in of_sort(sort, self.picks[name]))

    @cached_property
    def conditions(self) -> tuple[Term, ...]:
        """What it takes to go this way, each condition simplified by those before it."""
        return (*self.pick_sorts, *self.path.conditions)

    @cached_property
    def asked(self) -> tuple[Term, ...]:
        """What it takes to go this way, each condition as the model asked it."""
        made = [d.condition if d.outcome else terms.negation(d.condition) for d in self.path.decisions]
        return (*self.pick_sorts, *made)


class System:
    """A specification with unknowns in its state. Everything is made once, on first use."""

    def __init__(self, spec: Spec[Any], settled: cache.Settled | None = None) -> None:
        self.spec = spec
        self.settled = settled or cache.Settled()
        self.before = symbolic_state(spec.state)
        self._ways: dict[str, list[Way]] = {}
        self.claims: dict[str, Any] = {}  # the liveness claims over `before`, kept by the module that reads them
        self._possible: Callable[[tuple[Term, ...]], bool] | None = None

    @cached_property
    def sorts(self) -> tuple[Term, ...]:
        """What the fields' sorts say of `before`."""
        return tuple(of_sort(self.spec.state, self.before))

    @cached_property
    def invariants(self) -> dict[str, Term]:
        """State facts and lemmas, by name, over `before`."""
        return {fact.name: formula(fact.holds, self.before) for fact in self.state_facts}

    @property
    def state_facts(self) -> list[Any]:
        """The facts and lemmas that speak of a state."""
        return [fact for fact in (*self.spec.facts, *self.spec.lemmas) if fact.kind is not Kind.STEP]

    @cached_property
    def hypotheses(self) -> tuple[Term, ...]:
        """What every proof takes for granted of the state before a step."""
        return (*self.sorts, *self.invariants.values())

    @cached_property
    def assumed(self) -> frozenset[Term]:
        """The hypotheses, to look one up."""
        return frozenset(self.hypotheses)

    @cached_property
    def digest(self) -> str:
        """The hypotheses' name in a cache."""
        return cache.digest(terms.text(term) for term in self.hypotheses)

    def ways(self, action: Action[Any]) -> list[Way]:
        """The paths of an action that some state and some picks of their sorts can take."""
        found = self._ways.get(action.name)
        if found is None:
            picks = symbolic_picks(action.picks)
            every = [Way(action, picks, path) for path in paths(action.run, self.before, **picks)]
            found = self._ways[action.name] = [way for way in every if self._can_be(way)]
        return found

    def _can_be(self, way: Way) -> bool:
        if len(way.path.decisions) < 2:
            return True  # one condition that rewriting did not decide; a contradiction takes two
        key = cache.question(f"path z3 {version('z3')}", (*self.sorts, *way.conditions), terms.FALSE)
        if self.settled.cost(key) is not None:
            return False
        if self.settled.cost(f"{key}+") is not None:
            return True
        if self._possible is None:
            self._possible = _asker(self.sorts)
        possible = self._possible(way.conditions)
        self.settled.keep(f"{key}+" if possible else key, 0)
        return possible

    def moved(self, way: Way) -> dict[Term, Term]:
        """The fields that the path changes: variable before, term after."""
        pairs = zip(flat_terms(self.before), flat_terms(way.path.outcome), strict=True)
        return {old: new for old, new in pairs if old is not new}


def _asker(known: Iterable[Term]) -> Callable[[tuple[Term, ...]], bool]:
    solver = start("z3")
    solver.add(known)
    return lambda conditions: solver.check(conditions) != UNSAT
