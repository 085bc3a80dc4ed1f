"""Holds the symbolic reading of a specification against plain runs: on states at random, both must say the same.

A proof speaks of formulas that were read off the model's functions with unknowns in place of values. Here the same
functions are run on plain states, reachable or not, and each answer is compared with what the formulas come to. For a
path that chance does not meet, a solver names a state that takes it, so that none goes without a comparison.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vtpm_model.core import Action, Disabled, Kind, Spec, Step
from vtpm_proofs import terms
from vtpm_proofs.leaves import integer_range, is_enum
from vtpm_proofs.solvers import SAT, start, variables
from vtpm_proofs.symbolic import cases, decode, flat_sorts, flat_terms, formula, numbers, symbolic_picks
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import Term, Value

STATES: Final = 150
"""So many states of each kind: met on a run, met and then disturbed, and drawn leaf by leaf."""

SMALL: Final = (0, 1, 2, 3)
"""Drawn often, so that fields agree with each other often."""


@dataclass(frozen=True)
class Compared:
    """What was compared in one system (by what it was: disabled, step, state fact, step fact, claim), what differed.

    `directed` counts the paths that only a solver's state met, `unmet` names those that no state met.
    """

    system: str
    counts: Mapping[str, int]
    differences: tuple[str, ...]
    paths: int
    directed: int
    unmet: tuple[str, ...]


def compare(spec: Spec[Any], *, states: int = STATES, seed: int = 0) -> Compared:
    """Compare both readings of every action, fact, lemma and claim on three times so many states."""
    return _Comparison(spec, seed).made(states)


class _Comparison:
    def __init__(self, spec: Spec[Any], seed: int) -> None:
        self.spec = spec
        self.system = System(spec)
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.differences: list[str] = []
        self.met: set[str] = set()
        self.unknown_picks = {action.name: symbolic_picks(action.picks) for action in spec.actions}
        self.step_facts = [fact for fact in spec.facts if fact.kind is Kind.STEP]
        self.formulas = {action.name: self._step_formulas(action) for action in spec.actions}
        self.claims = {claim.name: self._claim_formulas(claim) for claim in spec.liveness}
        self.edges = sorted({near for value in _constants(self._all_terms()) for near in (value - 1, value, value + 1)})

    def _step_formulas(self, action: Action[Any]) -> list[tuple[Way, dict[str, Term]]]:
        """The paths of an action, each with every step fact over that path."""
        found = []
        for way in self.system.ways(action):
            step = Step(action.name, action.by, way.picks)
            said = {f.name: formula(f.holds, self.system.before, step, way.path.outcome) for f in self.step_facts}
            found.append((way, said))
        return found

    def _claim_formulas(self, claim: Any) -> tuple[Term, dict[str, Term], tuple[Term, ...]]:
        before = self.system.before
        return formula(claim.pending, before), cases(claim.helpful, before), numbers(claim.rank, before)

    def _all_terms(self) -> Iterator[Term]:
        yield from self.system.invariants.values()
        for ways in self.formulas.values():
            for way, said in ways:
                yield from way.asked
                yield from flat_terms(way.path.outcome)
                yield from said.values()

    # ---------------------------------------------------------------------------------------------------- at random

    def made(self, states: int) -> Compared:
        """Draw the states and compare on each."""
        state = self.spec.init()
        for _ in range(states):
            state = self._on(state)
            self._compare(state)
            self._compare(self._disturbed(state))
            self._compare(self._drawn())
        ways = [way for found in self.formulas.values() for way, _ in found]
        rare = [way for way in ways if way.label not in self.met]
        for way in rare:
            self._direct(way)
        unmet = tuple(way.label for way in rare if way.label not in self.met)
        directed = len(rare) - len(unmet)
        return Compared(self.spec.name, dict(self.counts), tuple(self.differences), len(ways), directed, unmet)

    def _direct(self, way: Way) -> None:
        """Compare on a state that a solver finds to take this path, whatever the facts say of it."""
        solver = start("z3")
        solver.add((*self.system.sorts, *way.conditions))
        if solver.check() != SAT:
            return
        wanted = [*flat_terms(self.system.before), *[term for pick in way.picks.values() for term in flat_terms(pick)]]
        model = solver.model(variables(wanted))
        picks = {name: decode(sort, way.picks[name], model) for name, sort in way.action.picks.items()}
        state = decode(self.spec.state, self.system.before, model)
        self._step(state, _named(self.system.before, _flat(state)), way.action, picks)

    def _on(self, state: Any) -> Any:
        """A next state of a run; the run begins anew where it goes nowhere, and now and then."""
        actions = list(self.spec.actions)
        self.random.shuffle(actions)
        for action in actions if self.random.random() > 0.02 else ():
            for _ in range(4):
                try:
                    return action.run(state, **self._picks(action))
                except Disabled:
                    continue
        return self.spec.init()

    def _disturbed(self, state: Any) -> Any:
        sorts = flat_sorts(self.spec.state)
        values = list(_flat(state))
        for at in self.random.choices(range(len(values)), k=self.random.randint(1, 3)):
            values[at] = self._value(sorts[at][1])
        return self._built(self.spec.state, self.system.before, values)

    def _drawn(self) -> Any:
        values = [self._value(sort) for _, sort in flat_sorts(self.spec.state)]
        return self._built(self.spec.state, self.system.before, values)

    def _picks(self, action: Action[Any]) -> dict[str, Any]:
        unknown = self.unknown_picks[action.name]
        drawn = {name: [self._value(leaf) for _, leaf in flat_sorts(sort)] for name, sort in action.picks.items()}
        return {name: self._built(sort, unknown[name], drawn[name]) for name, sort in action.picks.items()}

    def _built(self, sort: Any, unknown: Any, values: Iterable[Value]) -> Any:
        """The plain value of a sort whose leaves are these."""
        return decode(sort, unknown, _named(unknown, values))

    def _value(self, sort: Any) -> Any:
        if sort is bool:
            return self.random.random() < 0.5
        if is_enum(sort):
            return self.random.choice(list(sort))
        span = integer_range(sort)
        assert span is not None
        pool = self.edges if self.random.random() < 0.4 else SMALL
        high = max(span.low, *pool) if span.high is None else span.high
        fitting = [value for value in pool if span.low <= value <= high]
        return self.random.choice(fitting) if fitting else self.random.randint(span.low, high)

    # ---------------------------------------------------------------------------------------------------- comparing

    def _compare(self, state: Any) -> None:
        values = _named(self.system.before, _flat(state))
        for fact in self.system.state_facts:
            read = bool(terms.evaluate(self.system.invariants[fact.name], values))
            self._same("state fact", fact.name, state, read, bool(fact.holds(state)))
        for claim in self.spec.liveness:
            pending, helpful, rank = self.claims[claim.name]
            groups = [group for group, turn in helpful.items() if terms.evaluate(turn, values)]
            said = bool(terms.evaluate(pending, values)), groups, tuple(terms.evaluate(part, values) for part in rank)
            ran = claim.rank(state)
            plain = bool(claim.pending(state)), [claim.helpful(state)], ran if isinstance(ran, tuple) else (ran,)
            self._same("claim", claim.name, state, said, plain)
        for action in self.spec.actions:
            self._step(state, values, action, self._picks(action))

    def _step(self, state: Any, values: Mapping[str, Value], action: Action[Any], picks: Mapping[str, Any]) -> None:
        try:
            after = action.run(state, **picks)
        except Disabled:
            after = None
        known = dict(values)
        for name, pick in picks.items():
            known |= _named(self.unknown_picks[action.name][name], _flat((pick,)))
        taken = [
            (way, said)
            for way, said in self.formulas[action.name]
            if all(terms.evaluate(condition, known) for condition in way.conditions)
        ]
        where = f"{action.name} with {picks}"
        if after is None:
            self._same("disabled", where, state, [way.label for way, _ in taken], [])
            return
        outcomes = [decode(self.spec.state, way.path.outcome, known) for way, _ in taken]
        self._same("step", where, state, outcomes, [after])
        step = Step(action.name, action.by, picks)
        for way, said in taken:
            self.met.add(way.label)
            for fact in self.step_facts:
                read = bool(terms.evaluate(said[fact.name], known))
                self._same("step fact", f"{fact.name} of {where}", state, read, bool(fact.holds(state, step, after)))

    def _same(self, kind: str, what: str, state: Any, read: object, ran: object) -> None:
        self.counts[kind] += 1
        if read != ran:
            self.differences.append(f"{self.spec.name}: {what}: read as {read}, but runs to {ran}, in {state}")


def _named(unknown: Any, values: Iterable[Value]) -> dict[str, Value]:
    """The values of the leaves of an unknown, by the names of its variables."""
    return {term.name: value for term, value in zip(flat_terms(unknown), values, strict=True)}


def _flat(state: Any) -> Iterator[Any]:
    for value in state:
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value


def _constants(found: Iterable[Term]) -> set[int]:
    """The integers that occur in some formulas: what a model compares with, so both sides of each are worth a look."""
    seen: set[Term] = set()
    values: set[int] = set()
    todo = list(found)
    while todo:
        term = todo.pop()
        if term in seen:
            continue
        seen.add(term)
        if term.op == "const" and not isinstance(term.value, bool):
            values.add(term.value)
        todo += term.children
    return values
