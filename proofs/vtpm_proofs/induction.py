"""One-step induction: every fact holds at the start, and no step from a state where all hold can break one.

An obligation is one path of one action and one fact. The hypotheses are the state facts, the lemmas and the sorts of
the fields. A path's own conditions are first rewritten into the goal; what then simplifies to true, or is a hypothesis
word for word, is *trivial* and costs no query. A second solver gets the claim without that rewriting, and so checks it
too.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Disabled, Kind, Spec, Step
from vtpm_proofs import cache, liveness, terms
from vtpm_proofs.cache import Settled
from vtpm_proofs.limits import Limits
from vtpm_proofs.obligation import (
    FAILS,
    HOLDS,
    SORTS,
    UNKNOWN,
    Answer,
    Counterexample,
    EngineError,
    Obligation,
    Result,
)
from vtpm_proofs.solvers import SAT, UNSAT, Solver, start, variables, version
from vtpm_proofs.symbolic import decode, flat_terms, formula, of_sort
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import TRUE, Term

# ------------------------------------------------------------------------------------------------ what is to be shown


@dataclass(frozen=True)
class Task:
    """An obligation as formulas: hypotheses of the system and conditions of the way entail `claim`.

    `goal` is the claim with the way's conditions rewritten into it. Without a way the claim is about one state.
    """

    obligation: Obligation
    way: Way | None
    claim: Term
    goal: Term


def safety(system: System, way: Way, only: Collection[str] | None = None) -> Iterator[Task]:
    """Every obligation of safety that one path of one action brings, `only` for some facts."""
    spec, name = system.spec, way.action.name
    moved = system.moved(way)
    after: dict[Term, Term] = {}
    rewritten: dict[Term, Term] = {}

    def task(fact: str, method: str, claim: Term) -> Task:
        goal = claim if claim in system.assumed else terms.rewrite(claim, way.path.known, rewritten)
        return Task(Obligation(spec.name, name, way.path.label, fact, method), way, claim, goal)

    if only is None or SORTS in only:
        kinds = [term for term in of_sort(spec.state, way.path.outcome) if term not in system.assumed]
        yield task(SORTS, "sorts", terms.conjunction(kinds))
    for fact, now in system.invariants.items():
        if only is None or fact in only:
            yield task(fact, "step", terms.rewrite(now, moved, after))
    step = Step(name, way.action.by, way.picks)
    for claim in spec.facts:
        if claim.kind is Kind.STEP and (only is None or claim.name in only):
            yield task(claim.name, "step", formula(claim.holds, system.before, step, way.path.outcome))


def initial(spec: Spec[Any], only: Collection[str] | None = None) -> list[Result]:
    """The initial state, run: it is one plain state, so nothing needs a solver."""
    start_state = spec.init()
    results = []

    def ran(fact: str, *, holds: bool) -> None:
        answer = Answer("run", HOLDS if holds else FAILS, "run")
        found = None if holds else Counterexample(start_state, {}, None)
        results.append(Result(Obligation(spec.name, "init", "only", fact, "init"), (answer,), found))

    if only is None or SORTS in only:
        ran(SORTS, holds=all(term is TRUE for term in of_sort(spec.state, start_state)))
    for fact in (*spec.facts, *spec.lemmas):
        if fact.kind is not Kind.STEP and (only is None or fact.name in only):
            ran(fact.name, holds=bool(fact.holds(start_state)))
    return results


# --------------------------------------------------------------------------------------------------------- discharge


class Bench:
    """Discharges tasks with the named solvers, each started only when a question is not settled already.

    Tasks of the same way should come one after the other: the solver then keeps the way's conditions.
    """

    def __init__(self, system: System, solvers: Sequence[str], limits: Limits) -> None:
        self.system = system
        self.limits = limits
        self._solvers = solvers
        self._running: dict[str, Solver] = {}
        self._framed: dict[str, Way] = {}
        self._prefix = {name: f"{name} {version(name)} {system.digest}" for name in solvers}

    def discharge(self, task: Task) -> Result:
        """What the solvers say; a counterexample is replayed on the model first (EngineError if it does not)."""
        found: Counterexample | None = None
        answers = []
        for name in self._solvers:
            answer, example = self._answer(name, task)
            answers.append(answer)
            found = found or example
        return Result(task.obligation, tuple(answers), found)

    def _answer(self, name: str, task: Task) -> tuple[Answer, Counterexample | None]:
        first = name == self._solvers[0]
        goal = task.goal if first else task.claim
        if goal is TRUE or goal in self.system.assumed:
            return Answer(name, HOLDS, "rewriting"), None
        way = task.way
        conditions = () if way is None else way.conditions if first else way.asked
        key = cache.question(self._prefix[name], conditions, goal)
        cost = self.system.settled.cost(key)
        if cost is not None:
            how = "cache" if key in self.system.settled.before else "again"
            return Answer(name, HOLDS, how, cost), None
        solver = self._ready(name, way, conditions)
        begun = time.perf_counter()
        said = solver.check((terms.negation(goal),), self.limits.ceiling(task.obligation, name))
        verdict = {UNSAT: HOLDS, SAT: FAILS}.get(said, UNKNOWN)
        answer = Answer(name, verdict, "query", solver.cost(), time.perf_counter() - begun)
        if verdict == HOLDS:
            self.system.settled.keep(key, answer.cost)
        return answer, counterexample(self.system, task, solver) if verdict == FAILS else None

    def _ready(self, name: str, way: Way | None, conditions: Sequence[Term]) -> Solver:
        solver = self._running.get(name)
        if solver is None:
            solver = self._running[name] = start(name)
            solver.add(self.system.hypotheses)
        if self._framed.get(name) is not way:
            if name in self._framed:
                solver.pop()
                del self._framed[name]
            if way is not None:
                solver.push()
                solver.add(conditions)
                self._framed[name] = way
        return solver


# ---------------------------------------------------------------------------------------------------- counterexamples


def counterexample(system: System, task: Task, solver: Solver) -> Counterexample:
    """The solver's model as plain states, replayed on the model first: raises EngineError where that disagrees."""
    picked = {} if task.way is None else task.way.picks
    wanted = [*flat_terms(system.before), *[term for pick in picked.values() for term in flat_terms(pick)]]
    model = solver.model(variables(wanted))
    before = decode(system.spec.state, system.before, model)
    for fact in system.state_facts:
        if not fact.holds(before):
            raise _fault(task, before, {}, f"{fact.name} is a hypothesis and does not hold")
    if task.way is None:
        return Counterexample(before, {}, None)
    picks = {name: decode(sort, picked[name], model) for name, sort in task.way.action.picks.items()}
    expected = decode(system.spec.state, task.way.path.outcome, model)
    _replay(system, task, before, picks, expected)
    decisions = tuple(str(decision) for decision in task.way.path.decisions if not decision.guard)
    return Counterexample(before, picks, expected, decisions)


def _replay(system: System, task: Task, before: Any, picks: Mapping[str, Any], expected: Any) -> None:
    assert task.way is not None
    action, spec = task.way.action, system.spec
    try:
        after = action(before, **picks)
    except Disabled:
        raise _fault(task, before, picks, "the model refuses the step that the solver found") from None
    if after != expected:
        raise _fault(task, before, picks, f"the model goes to {after}, the solver's step to {expected}")
    fact = next((f for f in (*spec.facts, *spec.lemmas) if f.name == task.obligation.fact), None)
    if fact is not None:
        step = Step(action.name, action.by, picks)
        if fact.holds(before, step, after) if fact.kind is Kind.STEP else fact.holds(after):
            raise _fault(task, before, picks, "the fact holds on the step that the solver found")
    for claim in spec.liveness:
        if claim.name == task.obligation.fact and liveness.holds(claim, task.obligation.part, before, after):
            raise _fault(task, before, picks, "the premise holds on the step that the solver found")


def _fault(task: Task, before: Any, picks: Mapping[str, Any], what: str) -> EngineError:
    return EngineError(
        f"{task.obligation.name}: {what}; this is a fault of the prover, not of the model\n"
        f"  before {before}\n  picks {dict(picks)}"
    )


# ------------------------------------------------------------------------------------------------------------ proving


def tasks(system: System, action: str, facts: Collection[str] | None = None) -> Iterator[Task]:
    """Every obligation of one action, of safety and of liveness, way by way; `facts` narrows what is asked."""
    for way in system.ways(system.spec.action(action)):
        yield from safety(system, way, facts)
        yield from (Task(*found) for found in liveness.of_way(system, way, facts))


def tasks_of_claims(system: System, facts: Collection[str] | None = None) -> Iterator[Task]:
    """The premises of the liveness claims that are about one state."""
    yield from (Task(*found) for found in liveness.of_state(system, facts))


def prove(
    spec: Spec[Any],
    *,
    actions: Collection[str] | None = None,
    facts: Collection[str] | None = None,
    stop_at_first: bool = False,
    solvers: Sequence[str] = ("z3",),
    settled: Settled | None = None,
    limits: Limits | None = None,
) -> list[Result]:
    """All obligations of a specification, safety and liveness, in this process.

    `actions` and `facts` narrow what is asked, never what is assumed. `stop_at_first` ends with the first failure.
    `settled` remembers questions from call to call.
    """
    system = System(spec, settled)
    limits = limits or Limits()
    results: list[Result] = []

    def found() -> Iterator[Result]:
        yield from initial(spec, facts)
        for action in spec.actions:
            if actions is None or action.name in actions:
                bench = Bench(system, solvers, limits)
                yield from (bench.discharge(task) for task in tasks(system, action.name, facts))
        bench = Bench(system, solvers, limits)
        yield from (bench.discharge(task) for task in tasks_of_claims(system, facts))

    for result in found():
        results.append(result)
        if stop_at_first and result.verdict != HOLDS:
            break
    return results
