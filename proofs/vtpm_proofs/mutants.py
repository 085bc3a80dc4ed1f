"""Mutation of the specification: is every line of the model held in place by a proof or by a trace?

A mutant is a specification with one small mistake in one function (`mutations`). It is killed by the first of these
that notices it: one-step induction, the liveness premises, a run after which it differs from the model, a path that no
state can take. A mistake in what only facts use (`claims_using`) changes what is claimed, not what is done: it is
killed by a proof that no longer holds, or because a mistake in the model goes unnoticed with it. What nothing notices
survives; `campaign` asks for a reason and a proof.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any

from vtpm_model.core import Action, Eventually, Fact, Kind, Spec, Step
from vtpm_proofs import liveness, terms
from vtpm_proofs.distinguish import Grounds, tells_apart
from vtpm_proofs.explore import Move
from vtpm_proofs.induction import Bench, Task, prove, safety
from vtpm_proofs.kills import Killer
from vtpm_proofs.limits import Limits
from vtpm_proofs.mutations import Mutation, mutations
from vtpm_proofs.obligation import FAILS, HOLDS, Obligation
from vtpm_proofs.overlay import claims_using, function_of, reached, reclaimed, replaced
from vtpm_proofs.pursue import Place
from vtpm_proofs.reach import decisions_of
from vtpm_proofs.solvers import UNSAT, Solver, start
from vtpm_proofs.symbolic import flat_terms, formula, of_sort, same, symbolic_state
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import Term
from vtpm_traces.itf import Trace

INDUCTION, LIVENESS, REACHABILITY, TRACE = "induction", "liveness", "reachability", "trace"
MISTAKE = "mistake"  # a changed claim lets a mistake in the model pass
SURVIVES = "survives"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant. `by` says which fact, trace or path noticed it, `killer` which obligation; `run` is one
    found in this judgement, the step last about which mutant and model differ."""

    system: str
    name: str
    line: int
    pinned: str
    fate: str
    by: str = ""
    killer: Killer | None = None
    kind: str = ""
    run: tuple[Move, ...] = ()

    @property
    def id(self) -> str:
        """`system/module.function: mistake`."""
        return f"{self.system}/{self.name}"


def mutations_of(spec: Spec[Any]) -> list[Mutation]:
    """Every mistake in every function that an action of the specification uses, actions included."""
    return [mutation for function in _run_by_actions(spec) for mutation in mutations(function)]


def mutations_of_claims(spec: Spec[Any]) -> list[Mutation]:
    """Every mistake in every function that facts and pending claims use, themselves left out, and that no action uses.

    A lemma is part of the proof, not of what is claimed: whether it is needed is asked of the proofs (`cores`).
    """
    claims: list[Any] = [*spec.facts, *spec.liveness]
    said = [function for claim in claims if (function := function_of(claim)) is not None]
    others = {*said, *_run_by_actions(spec)}
    return [mutation for function in reached(said) if function not in others for mutation in mutations(function)]


def _run_by_actions(spec: Spec[Any]) -> list[FunctionType]:
    return reached([function for action in spec.actions if (function := function_of(action)) is not None])


def verdict_of(system: str, mutation: Mutation, fate: str, by: str = "", killer: Killer | None = None) -> Verdict:
    """A verdict on a mutant, filled in."""
    return Verdict(system, mutation.name, mutation.line, mutation.pinned, fate, by, killer)


class Mutated:
    """A system and everything needed to judge its mutants, each part made on first use."""

    def __init__(self, spec: Spec[Any]) -> None:
        self.spec = spec
        self.system = System(spec)
        self._bench = Bench(self.system, ("z3",), Limits())

    @cached_property
    def grounds(self) -> Grounds:
        """States to try mutants in. They take seconds to find."""
        return Grounds(self.spec, system=self.system)

    @property
    def actions(self) -> dict[str, Action[Any]]:
        """The actions of the true model, by name."""
        return {action.name: action for action in self.spec.actions}

    def changes(self, mutation: Mutation) -> dict[str, Action[Any]]:
        """The actions that a mutation changes, by name, changed."""
        return replaced(self.spec, mutation.function, mutation.build())

    # -------------------------------------------------------------------------------------- mistakes in what is done

    def noticed(self, mutation: Mutation, traces: Iterable[Trace] = ()) -> Verdict:
        """The fate of one mutant as far as proofs and kept traces tell."""
        changed = self.changes(mutation)
        mutant = self.mutant(changed)
        failed = next(self.failing(mutant, changed), None)
        if failed is not None:
            killer = _killer(self.spec.name, failed.obligation)
            return verdict_of(self.spec.name, mutation, killer.method, killer.fact, killer)
        told = self.told_by(mutation, traces)
        if told is not None:
            return told
        idle = self.idle(mutant, changed)
        if idle is not None:
            killer = Killer(REACHABILITY, self.spec.name, idle.action.name)
            return verdict_of(self.spec.name, mutation, REACHABILITY, "; ".join(decisions_of(idle)), killer)
        return verdict_of(self.spec.name, mutation, SURVIVES)

    def told_by(self, mutation: Mutation, traces: Iterable[Trace]) -> Verdict | None:
        """The verdict of a kept trace that tells a mutant from the model; None if none does."""
        changed = self.changes(mutation)
        for trace in traces:
            if tells_apart(self.spec, trace, changed):
                return verdict_of(self.spec.name, mutation, TRACE, trace.title, Killer(TRACE, self.spec.name))
        return None

    def told(self, mutation: Mutation) -> Verdict:
        """The fate of one mutant as far as runs tell that are looked for now: in known states, or where it differs."""
        changed = self.changes(mutation)
        gaps = list(self.gaps(changed))
        found = next(self.grounds.differences(changed), None) if gaps else None
        for goal in gaps:
            found = found or self.grounds.sought(self.system, goal, changed)
        if found is None:
            return verdict_of(self.spec.name, mutation, SURVIVES)
        kind, run = found.kind.value, self.grounds.run(found)
        killer = Killer(TRACE, self.spec.name)
        return dataclasses.replace(verdict_of(self.spec.name, mutation, TRACE, kind, killer), kind=kind, run=run)

    def killed_by(self, mutation: Mutation, killer: Killer) -> Verdict | None:
        """The verdict that the killer on record gives again; None if it no longer kills."""
        changed = self.changes(mutation)
        mutant = self.mutant(changed)
        if killer.method == REACHABILITY:
            idle = self.idle(mutant, changed)
            by = None if idle is None else "; ".join(decisions_of(idle))
        else:
            by = killer.fact if any(self.failed(self._asked(mutant, changed, killer))) else None
        return None if by is None else verdict_of(self.spec.name, mutation, killer.method, by, killer)

    def _asked(self, mutant: System, changed: Mapping[str, Action[Any]], killer: Killer) -> Iterator[Task]:
        """The obligations that a killer names."""
        only = {killer.fact}
        if killer.action in changed:
            for way in self.new_ways(mutant, {killer.action: changed[killer.action]}):
                yield from safety(mutant, way, only)
                yield from (Task(*found) for found in liveness.of_way(mutant, way, only))
        else:
            yield from (Task(*found) for found in liveness.of_state(mutant, only))

    # ------------------------------------------------------------------------------------- mistakes in what is said

    def judge_claim(self, mutation: Mutation, mistakes: Mapping[str, Mapping[str, Action[Any]]]) -> Verdict:
        """The fate of a mistake in what is claimed; `mistakes` are known ones, by name: what each changes.

        The changed claims must hold, as the true ones do, and must notice the same mistakes.
        """
        said = reclaimed(self.spec, mutation.function, mutation.build())
        names = [claim.name for claim in claims_using(self.spec, mutation.function)]
        for facts in (names, None):
            results = prove(said, facts=facts, stop_at_first=True)
            if results and results[-1].verdict != HOLDS:
                killer = _killer(said.name, results[-1].obligation)
                return verdict_of(said.name, mutation, killer.method, killer.fact, killer)
        other = Mutated(said)
        for fact in names:
            for mistake, changed in mistakes.items():
                if self.breaks(changed, fact) and not other.breaks(changed, fact):
                    killer = Killer(MISTAKE, said.name, "", fact, mistake)
                    return verdict_of(said.name, mutation, MISTAKE, mistake, killer)
        return verdict_of(said.name, mutation, SURVIVES)

    def claim_killed_by(
        self, mutation: Mutation, killer: Killer, changed: Mapping[str, Action[Any]] | None = None
    ) -> Verdict | None:
        """The verdict that the killer on record gives again; `changed`: what the mistake changes that it names."""
        said = reclaimed(self.spec, mutation.function, mutation.build())
        if killer.method == MISTAKE:
            mistaken = changed is not None and self.breaks(changed, killer.fact)
            again = mistaken and changed is not None and not Mutated(said).breaks(changed, killer.fact)
            by = killer.detail
        else:
            actions = {killer.action} & self.actions.keys()
            again = any(one.verdict != HOLDS for one in prove(said, actions=actions, facts={killer.fact}))
            by = killer.fact
        return verdict_of(said.name, mutation, killer.method, by, killer) if again else None

    def breaks(self, changed: Mapping[str, Action[Any]], fact: str) -> bool:
        """Whether some step of the changed actions breaks the fact."""
        return any(self.failing(self.mutant(changed), changed, {fact}))

    def says_the_same(self, mutation: Mutation) -> str:
        """Empty if each claim says with the mistake what it says without; else one that does not."""
        said = reclaimed(self.spec, mutation.function, mutation.build())
        solver = start("z3")
        solver.add(self.system.sorts)
        claims: list[Fact | Eventually] = [*said.facts, *said.lemmas, *said.liveness]
        names = {claim.name: claim for claim in claims}
        for claim in claims_using(self.spec, mutation.function):
            if _differ(self.system, solver, claim, names[claim.name]):
                return claim.name
        return ""

    # ------------------------------------------------------------------------------------------------------ by proof

    def mutant(self, changed: Mapping[str, Action[Any]]) -> System:
        """The mutant with unknowns: everything of the true system but the changed actions."""
        self.system.assumed  # noqa: B018  (made once, for all mutants)
        mutant = copy.copy(self.system)
        actions = tuple(changed.get(action.name, action) for action in self.spec.actions)
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

    def failing(
        self, mutant: System, changed: Mapping[str, Action[Any]], only: Collection[str] | None = None
    ) -> Iterator[Task]:
        """The obligations that the mutant does not meet, those of safety first; only what the change can affect."""
        self._bench.system = mutant
        ways = self.new_ways(mutant, changed)
        for way in ways:
            yield from self.failed(safety(mutant, way, only))
        for way in ways:
            yield from self.failed(Task(*found) for found in liveness.of_way(mutant, way, only))
        touched = {group for group, names in self.spec.fair.items() if not changed.keys().isdisjoint(names)}
        tasks = (Task(*found) for found in liveness.of_state(mutant, only))
        yield from self.failed(task for task in tasks if task.obligation.action in touched)

    def failed(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Those that do not hold."""
        for task in tasks:
            if self._bench.discharge(task).verdict == FAILS:
                yield task

    def idle(self, mutant: System, changed: Mapping[str, Action[Any]]) -> Way | None:
        """A path that no state takes in which all facts and lemmas hold, where the model has none."""
        solver = start("z3")
        solver.add(self.system.hypotheses)
        for name, action in changed.items():
            mutants = [way for way in mutant.ways(action) if solver.check(way.conditions) == UNSAT]
            if mutants:
                true = self.system.ways(self.actions[name]) if name in self.actions else []
                known = {decisions_of(way) for way in true if solver.check(way.conditions) == UNSAT}
                for way in mutants:
                    if decisions_of(way) not in known:
                        return way
        return None

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


def _killer(system: str, obligation: Obligation) -> Killer:
    method = LIVENESS if obligation.method == "liveness" else INDUCTION
    return Killer(method, system, obligation.action, obligation.fact, obligation.part)


def _differ(system: System, solver: Solver, one: Any, other: Any) -> bool:
    """Whether two claims disagree about some state, or about some step from any state to any other."""
    if isinstance(one, Eventually):
        pairs = [(formula(one.pending, system.before), formula(other.pending, system.before))]
    elif one.kind is not Kind.STEP:
        pairs = [(formula(one.holds, system.before), formula(other.holds, system.before))]
    else:
        after = symbolic_state(system.spec.state, "'")
        solver.add(of_sort(system.spec.state, after))
        ways = [system.ways(action)[0] for action in system.spec.actions]
        steps = [(Step(way.action.name, way.action.by, way.picks), after) for way in ways]
        pairs = [
            (formula(one.holds, system.before, *step), formula(other.holds, system.before, *step)) for step in steps
        ]
    return any(solver.check((terms.negation(terms.equal(left, right)),)) != UNSAT for left, right in pairs)
