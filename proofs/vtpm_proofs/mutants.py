"""Mutation of the specification: is every line of the model held in place by a proof or by a trace?

A mutant is a specification with one small mistake in one function (`mutations`). It is killed by the first of these
that notices it: one-step induction, the liveness premises, a run after which it differs from the model (`distinguish`),
a path that no run takes. What nothing notices survives; `campaign` asks for a reason and a proof.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Action, Spec
from vtpm_proofs import bounds as limits
from vtpm_proofs import liveness, terms
from vtpm_proofs.distinguish import Distinction, Grounds
from vtpm_proofs.explore import Move
from vtpm_proofs.induction import Bench, Task, safety
from vtpm_proofs.limits import Limits
from vtpm_proofs.mutations import Mutation, mutations
from vtpm_proofs.obligation import FAILS
from vtpm_proofs.overlay import function_of, reached, replaced
from vtpm_proofs.pursue import Place, Witnesses
from vtpm_proofs.reach import decisions_of
from vtpm_proofs.solvers import UNSAT, start
from vtpm_proofs.symbolic import flat_terms, same
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import Term

INDUCTION, LIVENESS, REACHABILITY, TRACE = "induction", "liveness", "reachability", "trace"
SURVIVES = "survives"

TRIED = 400
"""In how many differing steps of a mutant a broken fact is looked for before the solver is asked."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant. `by` says which fact, claim or path noticed it; `run` tells it from the model, the step
    that they differ about last."""

    system: str
    name: str
    line: int
    pinned: str
    fate: str
    by: str = ""
    kind: str = ""
    run: tuple[Move, ...] = ()
    breaks: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def id(self) -> str:
        """`system/module.function: mistake`."""
        return f"{self.system}/{self.name}"


def mutations_of(spec: Spec[Any]) -> list[Mutation]:
    """Every mistake in every function that an action of the specification uses, actions included."""
    runs = [function for action in spec.actions if (function := function_of(action)) is not None]
    return [mutation for function in reached(runs) for mutation in mutations(function)]


class Mutated:
    """A system and everything needed to judge its mutants, each part made on first use."""

    def __init__(self, spec: Spec[Any], grounds: Grounds | None = None) -> None:
        self.spec = spec
        self.system = System(spec)
        self.grounds = grounds or Grounds(spec, system=self.system)
        self._bench = Bench(self.system, ("z3",), Limits())

    @property
    def actions(self) -> dict[str, Action[Any]]:
        """The actions of the true model, by name."""
        return {action.name: action for action in self.spec.actions}

    def changes(self, mutation: Mutation) -> dict[str, Action[Any]]:
        """The actions that a mutation changes, by name, changed."""
        return replaced(self.spec, mutation.function, mutation.build())

    def judge(self, mutation: Mutation) -> Verdict:
        """The fate of one mutant."""
        began = time.perf_counter()
        verdict = self.fate(self.changes(mutation))
        return dataclasses.replace(
            verdict,
            name=mutation.name,
            line=mutation.line,
            pinned=mutation.pinned,
            seconds=time.perf_counter() - began,
        )

    def fate(self, changed: Mapping[str, Action[Any]]) -> Verdict:
        """What notices that these actions are other than they should be."""
        first, broken = self.tried(changed)
        kind = first.kind.value if first else ""
        run = self.grounds.run(first) if first else ()

        def verdict(fate: str, by: str = "", breaks: Iterable[str] = ()) -> Verdict:
            return Verdict(self.spec.name, "", 0, "", fate, by, kind, run, tuple(breaks))

        if broken:
            return verdict(INDUCTION, broken[0], broken)
        mutant = self.mutant(changed)
        failed = next(self.failing(mutant, changed), None)
        if failed is not None:
            return verdict(LIVENESS if failed.obligation.method == "liveness" else INDUCTION, failed.obligation.fact)
        if first is not None:
            return verdict(TRACE, kind)
        unreached = self.unreached(mutant, changed)
        if unreached:
            return verdict(REACHABILITY, unreached)
        for goal in self.gaps(changed):
            sought = self.grounds.sought(self.system, goal, changed)
            if sought is not None:
                found, run = sought
                kind = found.kind.value
                return verdict(TRACE, kind)
        return verdict(SURVIVES)

    def tried(self, changed: Mapping[str, Action[Any]]) -> tuple[Distinction | None, list[str]]:
        """The first step that differs, and the claims that the first breaking step breaks."""
        first: Distinction | None = None
        for count, difference in enumerate(self.grounds.differences(changed)):
            first = first or difference
            broken = self.grounds.broken(difference)
            if broken:
                return first, broken
            if count >= TRIED:
                break
        return first, []

    def unreached(self, mutant: System, changed: Mapping[str, Action[Any]]) -> str:
        """A path that the mutant has, that no known state takes, and that is not untaken in the model, too."""
        new = {way.label for way in self.new_ways(mutant, changed)}
        for name, action in changed.items():
            missing = [way for way in self.untaken(mutant, action) if way.label in new]
            if missing:
                true = self.untaken(self.system, self.actions[name]) if name in self.actions else []
                fresh = {decisions_of(way) for way in missing} - {decisions_of(way) for way in true}
                if fresh:
                    return "; ".join(min(fresh))
        return ""

    def untaken(self, system: System, action: Action[Any]) -> list[Way]:
        """The paths of an action that none of the known states takes."""
        witnesses = Witnesses(system, action)
        choices = limits.choices(action, self.grounds.atlas.bounds)
        for state in self.grounds.atlas.states:
            if not witnesses.missing:
                break
            for picks in choices:
                witnesses.note(state, picks)
        return witnesses.missing

    # ------------------------------------------------------------------------------------------------- by proof

    def mutant(self, changed: Mapping[str, Action[Any]]) -> System:
        """The mutant with unknowns: everything of the true system but the changed actions."""
        actions = tuple(changed.get(action.name, action) for action in self.spec.actions)
        mutant = copy.copy(self.system)
        mutant.spec = dataclasses.replace(self.spec, actions=actions)
        mutant._ways = {name: ways for name, ways in self.system._ways.items() if name not in changed}
        return mutant

    def new_ways(self, mutant: System, changed: Mapping[str, Action[Any]]) -> list[Way]:
        """The paths of the changed actions that the model does not have."""
        found: list[Way] = []
        for name, action in changed.items():
            true = self.actions.get(name)
            known = {_signature(way) for way in self.system.ways(true)} if true else set()
            found += [way for way in mutant.ways(action) if _signature(way) not in known]
        return found

    def failing(self, mutant: System, changed: Mapping[str, Action[Any]]) -> Iterator[Task]:
        """The obligations that the mutant does not meet, those of safety first; only what the change can affect."""
        self.system.hypotheses  # noqa: B018  (made once, for all mutants)
        mutant.__dict__.update(self.system.__dict__ | {"spec": mutant.spec, "_ways": mutant._ways})
        self._bench.system = mutant
        ways = self.new_ways(mutant, changed)
        for way in ways:
            yield from self.failed(safety(mutant, way))
        for way in ways:
            yield from self.failed(Task(*found) for found in liveness.of_way(mutant, way))
        touched = {group for group, names in self.spec.fair.items() if not changed.keys().isdisjoint(names)}
        yield from self.failed(Task(*found) for found in liveness.of_state(mutant) if found[0].action in touched)

    def failed(self, tasks: Iterable[Task]) -> Iterator[Task]:
        for task in tasks:
            if self._bench.discharge(task).verdict == FAILS:
                yield task

    def broken_alone(self, changed: Mapping[str, Action[Any]], fact: str) -> bool:
        """Whether some step of the changed actions breaks this fact, and none breaks another.

        Lemmas do not count, nor facts that follow from others.
        """
        facts = {one.name for one in self.spec.facts if not one.derived_from}
        facts |= {claim.name for claim in self.spec.liveness}
        found = False
        for task in self.failing(self.mutant(changed), changed):
            if task.obligation.fact == fact:
                found = True
            elif task.obligation.fact in facts:
                return False
        return found

    def gaps(self, changed: Mapping[str, Action[Any]]) -> Iterator[Place]:
        """Where a mutant differs from the model, in states where all facts and lemmas hold; none if it is equivalent.

        The product of model and mutant is asked: neither may do a step that the other refuses, nor may they end in
        different states.
        """
        mutant = self.mutant(changed)
        solver = start("z3")
        solver.add(self.system.hypotheses)

        def gap(action: Action[Any], way: Way, *conditions: Term) -> Iterator[Place]:
            place = Place(action, way.picks, (*way.conditions, *conditions))
            if solver.check(place.conditions) != UNSAT:
                yield place

        for name, action in changed.items():
            true, other = self.system.ways(self.spec.action(name)), mutant.ways(action)
            for one, many in ((true, other), (other, true)):
                rest = terms.negation(terms.disjunction(terms.conjunction(way.conditions) for way in many))
                for way in one:
                    yield from gap(action, way, rest)
            for way in true:
                for twin in other:
                    differs = terms.negation(same(way.path.outcome, twin.path.outcome))
                    yield from gap(action, way, *twin.conditions, differs)


def _signature(way: Way) -> tuple[Any, ...]:
    """What a way takes and what it does; terms are shared, so equal ways have equal signatures."""
    return (frozenset(way.conditions), tuple(flat_terms(way.path.outcome)))
