"""Bounded search: a real run, from the initial state, that breaks a fact or leads to a place, by unrolling in Z3.

The shortest run comes first. What the solver finds is run on the model before it is given to anybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Action, Disabled, Kind, Spec, Step
from vtpm_proofs import terms
from vtpm_proofs.obligation import SORTS, EngineError
from vtpm_proofs.solvers import SAT, UNKNOWN, UNSAT, to_z3, variables
from vtpm_proofs.symbolic import decode, flat_terms, formula, of_sort
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import BOOL, INT, TRUE, Term


@dataclass(frozen=True)
class Run:
    """A run of the model: the state at the start, and every step with the state after it."""

    start: Any
    steps: tuple[tuple[Step, Any], ...]
    loop: int | None = None  # the last state is that after so many steps: the run goes round from there

    @property
    def states(self) -> list[Any]:
        """Every state, the initial one first."""
        return [self.start, *(state for _, state in self.steps)]


@dataclass(frozen=True)
class Search:
    """What a search came to: a run, or how many steps it has looked through without finding one."""

    run: Run | None
    depth: int  # every run of up to so many steps was considered
    loops: bool = False  # whether it is a loop that was looked for


CHOICE = terms.variable("!way", INT)
"""Which way a step goes."""


class Unrolled:
    """The steps of a system, one copy of its variables for each moment."""

    def __init__(self, system: System) -> None:
        import z3

        self.z3 = z3
        self.system = system
        self.ways = [way for action in system.spec.actions for way in system.ways(action)]
        self.fields = flat_terms(system.before)
        self.solver = z3.Solver()
        self.start = system.spec.init()
        picks = [term for way in self.ways for pick in way.picks.values() for term in flat_terms(pick)]
        self._names: list[Term] = variables([*self.fields, CHOICE, *picks])
        self.step = to_z3(terms.conjunction(self._step()))
        pairs = zip(self.fields, flat_terms(self.start), strict=True)
        self.solver.add(self.at(to_z3(terms.conjunction(terms.equal(a, b) for a, b in pairs)), 0))

    def _step(self) -> Iterator[Term]:
        """One step: the way chosen can be gone, and every field is what that way makes of it."""
        chosen = [terms.equal(CHOICE, terms.constant(at)) for at in range(len(self.ways))]
        yield terms.disjunction(chosen)
        for here, way in zip(chosen, self.ways, strict=True):
            yield terms.implication(here, terms.conjunction(way.conditions))
        moved = [self.system.moved(way) for way in self.ways]
        for old in self.fields:
            new = old
            for here, changes in zip(chosen, moved, strict=True):
                if old in changes:
                    new = terms.choice(here, changes[old], new)
            yield terms.equal(_later(old), new)

    def at(self, formula: Any, moment: int) -> Any:
        """A formula about a step, said of the step at that moment."""
        pairs = [(to_z3(name), self._copy(name, moment)) for name in self._names]
        pairs += [(to_z3(_later(name)), self._copy(name, moment + 1)) for name in self.fields]
        return self.z3.substitute(formula, *pairs)

    def same(self, one: int, other: int) -> Any:
        """The states at two moments are the same."""
        return self.z3.And([self._copy(name, one) == self._copy(name, other) for name in self.fields])

    def _copy(self, name: Term, moment: int) -> Any:
        return to_z3(terms.variable(f"{name.name}@{moment}", name.sort))

    def limit(self, units: int) -> None:
        """Let no check cost more than so many units of Z3's rlimit: that is cut off at the same place every time."""
        self.solver.set("rlimit", units)

    def check(self, goal: Any, end: float = math.inf) -> str:
        """Whether the steps so far can be such that the goal is true; unknown when the time, or the limit, is over."""
        if end == math.inf:
            return str(self.solver.check(goal))
        left = end - time.monotonic()
        if left <= 0:
            return UNKNOWN
        self.solver.set("timeout", max(1, int(left * 1000)))
        return str(self.solver.check(goal))

    def choices(self, depth: int) -> list[tuple[Way, dict[str, Any]]]:
        """The ways and picks of the steps that the last check found."""
        model = self.solver.model()
        found = []
        for moment in range(depth):
            way = self.ways[model.eval(self._copy(CHOICE, moment), model_completion=True).as_long()]
            found.append((way, self.picks(way.action, way.picks, moment)))
        return found

    def picks(self, action: Action[Any], unknown: Mapping[str, Any], moment: int) -> dict[str, Any]:
        """The picks of an action at a moment, as the last check found them."""
        model = self.solver.model()
        values = {}
        for term in (term for pick in unknown.values() for term in flat_terms(pick)):
            value = model.eval(self._copy(term, moment), model_completion=True)
            values[term.name] = self.z3.is_true(value) if term.sort == BOOL else value.as_long()
        return {name: decode(sort, unknown[name], values) for name, sort in action.picks.items()}


DEEP = 24
"""How long the runs are that lead to a place."""


PATIENCE = 50_000_000
"""What each question about such a run may cost, in units of Z3's rlimit; a second is some 2 to 3 million."""


def run_to(
    system: System, action: Action[Any], picks: Mapping[str, Any], conditions: Sequence[Term], units: int
) -> tuple[Run, dict[str, Any]] | None:
    """A shortest run to a state that meets conditions, with picks for the action that is to come there.

    None if there is none of `DEEP` steps or fewer, or a question about one cost more than so many units.
    """
    unrolled = Unrolled(system)
    unrolled.limit(units)
    goal = to_z3(terms.conjunction(conditions))
    for moment in range(DEEP + 1):
        said = unrolled.check(unrolled.at(goal, moment))
        if said == SAT:
            return replayed(system.spec, unrolled.choices(moment)), unrolled.picks(action, picks, moment)
        if said != UNSAT:
            return None
        unrolled.solver.add(unrolled.at(unrolled.step, moment))
    return None


def _later(name: Term) -> Term:
    return terms.variable(f"{name.name}'", name.sort)


def search(spec: Spec[Any], fact: str, *, depth: int = 12, seconds: float = 20.0) -> Search:
    """A shortest run that breaks the fact (or leaves the range of a field, for `SORTS`), within the bounds."""
    end = time.monotonic() + seconds
    if not holds_of(spec, fact, None, None, spec.init()):
        return Search(Run(spec.init(), ()), 0)
    system = System(spec)
    unrolled = Unrolled(system)
    broken = to_z3(_broken_by_a_step(system, unrolled.ways, fact))
    for moment in range(depth):
        unrolled.solver.add(unrolled.at(unrolled.step, moment))
        said = unrolled.check(unrolled.at(broken, moment), end)
        if said == SAT:
            run = replayed(spec, unrolled.choices(moment + 1))
            step = run.steps[-1][0]
            if holds_of(spec, fact, run.states[-2], step, run.states[-1]):
                names = [step.name for step, _ in run.steps]
                raise EngineError(f"{spec.name}: the run found for {fact} does not break it: {names}")
            return Search(run, moment + 1)
        if said != UNSAT:
            return Search(None, moment)
    return Search(None, depth)


def _broken_by_a_step(system: System, ways: list[Way], fact: str) -> Term:
    """The step that is chosen breaks the fact."""
    found = []
    for at, way in enumerate(ways):
        holds = _claim(system, way, fact)
        if holds is not TRUE:
            here = terms.equal(CHOICE, terms.constant(at))
            found.append(terms.conjunction((here, *way.conditions, terms.negation(holds))))
    return terms.disjunction(found)


def _claim(system: System, way: Way, fact: str) -> Term:
    if fact == SORTS:
        return terms.conjunction(of_sort(system.spec.state, way.path.outcome))
    if fact in system.invariants:
        return terms.rewrite(system.invariants[fact], system.moved(way))
    claim = next(claim for claim in system.spec.facts if claim.name == fact)
    step = Step(way.action.name, way.action.by, way.picks)
    return formula(claim.holds, system.before, step, way.path.outcome)


def replayed(spec: Spec[Any], choices: Sequence[tuple[Way, Mapping[str, Any]]]) -> Run:
    """The run, made by the model itself. Raises EngineError if the model refuses a step."""
    start = state = spec.init()
    steps: list[tuple[Step, Any]] = []
    for way, picks in choices:
        try:
            state = way.action(state, **picks)
        except Disabled:
            told = [*(step.name for step, _ in steps), way.action.name]
            raise EngineError(f"{spec.name}: the model refuses the last step of the run found: {told}") from None
        steps.append((Step(way.action.name, way.action.by, picks), state))
    return Run(start, tuple(steps))


def holds_of(spec: Spec[Any], fact: str, before: Any, step: Step | None, after: Any) -> bool:
    """Whether a fact holds of a step; without a step, of the initial state."""
    claim = next((one for one in (*spec.facts, *spec.lemmas) if one.name == fact), None)
    if claim is None:
        return all(term is TRUE for term in of_sort(spec.state, after))
    if claim.kind is Kind.STEP:
        return step is None or bool(claim.holds(before, step, after))
    return bool(claim.holds(after))
