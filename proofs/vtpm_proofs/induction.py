"""One-step induction: every fact holds at the start, and no step from a state where all hold can break one.

An obligation is one path of one action and one fact. The hypothesis is every state fact, every lemma and the sorts of
the fields; a path's own conditions are rewritten into the goal first, and what then simplifies to true, or is a
hypothesis word for word, is counted as trivial and costs no query.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vtpm_model.core import Action, Disabled, Fact, Kind, Spec, Step
from vtpm_proofs import terms
from vtpm_proofs.solvers import FAILS, HOLDS, UNKNOWN, Z3, Solver, variables
from vtpm_proofs.symbolic import (
    Path,
    SymbolicError,
    decode,
    flat_sorts,
    flat_terms,
    formula,
    of_sort,
    paths,
    symbolic_picks,
    symbolic_state,
)
from vtpm_proofs.terms import TRUE, Term, Value

SORTS = "every_value_is_of_its_sort"
"""The name of the obligation that no step leaves the range of a field; every other proof takes the ranges for granted."""


class EngineError(Exception):
    """The solver's counterexample does not replay on the concrete model: a fault of the prover, not a verdict."""


@dataclass(frozen=True)
class Counterexample:
    """One step that breaks a fact: plain values, replayed on the model."""

    before: Any
    picks: Mapping[str, Any]
    after: Any  # None where the claim is about one state


@dataclass(frozen=True)
class Obligation:
    """Something to show: in the end, that `hypotheses` and `conditions` entail `goal`."""

    system: str
    action: str  # "init" for the initial state
    path: str
    fact: str
    method: str  # init, step, sorts, liveness
    conditions: tuple[Term, ...] = ()
    goal: Term = TRUE
    trivial: bool = False
    way: Path | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"{self.system}.{self.action}.{self.path}.{self.fact}"


@dataclass(frozen=True)
class Result:
    """What became of an obligation."""

    obligation: Obligation
    verdict: str  # holds, fails, unknown
    solver: str  # trivial, run, z3, cvc5
    cost: int = 0
    seconds: float = 0.0
    counterexample: Counterexample | None = None
    cached: bool = False


@dataclass(frozen=True)
class Way:
    """One path of one action from a state of unknowns."""

    action: Action[Any]
    picks: Mapping[str, Any]
    path: Path

    @property
    def label(self) -> str:
        return f"{self.action.name}.{self.path.label}"

    @cached_property
    def conditions(self) -> tuple[Term, ...]:
        """What the picks are, and what it takes to go this way."""
        kinds = [t for name, sort in self.action.picks.items() for t in of_sort(sort, self.picks[name])]
        return (*kinds, *self.path.conditions)


class System:
    """A specification run with unknowns: its state, its hypotheses, the paths of its actions; each made once."""

    def __init__(self, spec: Spec[Any]) -> None:
        self.spec = spec
        self.before = symbolic_state(spec.state)
        self._ways: dict[str, list[Way]] = {}

    @cached_property
    def invariants(self) -> dict[str, Term]:
        """State facts and lemmas, by name, over `before`."""
        facts = [f for f in (*self.spec.facts, *self.spec.lemmas) if f.kind is not Kind.STEP]
        return {fact.name: formula(fact.holds, self.before) for fact in facts}

    @cached_property
    def sorts(self) -> tuple[Term, ...]:
        """What the fields' sorts say of `before`."""
        return tuple(of_sort(self.spec.state, self.before))

    @cached_property
    def hypotheses(self) -> tuple[Term, ...]:
        """What every proof takes for granted of the state before a step."""
        return (*self.sorts, *self.invariants.values())

    def ways(self, action: Action[Any]) -> list[Way]:
        """The paths of an action."""
        found = self._ways.get(action.name)
        if found is None:
            picks = symbolic_picks(action.picks)
            found = [Way(action, picks, path) for path in paths(action.run, self.before, **picks)]
            self._ways[action.name] = found
        return found

    def moved(self, way: Way) -> dict[Term, Term]:
        """The fields that the path changes: variable before, term after."""
        pairs = zip(flat_terms(self.before), flat_terms(way.path.outcome), strict=True)
        return {old: new for old, new in pairs if old is not new}


def step_obligations(system: System, way: Way, only: Collection[str] | None = None) -> Iterator[Obligation]:
    """Every obligation of safety that one path of an action brings, trivial ones included."""
    spec, name = system.spec, way.action.name
    known = way.path.known
    assumed = set(system.hypotheses)

    def made(fact: str, method: str, goal: Term) -> Obligation:
        goal = terms.rewrite(goal, known, done)
        trivial = goal is TRUE or goal in assumed
        return Obligation(spec.name, name, way.path.label, fact, method, way.conditions, goal, trivial, way)

    done: dict[Term, Term] = {}
    moved = system.moved(way)
    after: dict[Term, Term] = {}
    if only is None or SORTS in only:
        yield made(SORTS, "sorts", terms.conjunction(set(of_sort(spec.state, way.path.outcome)) - assumed))
    for fact, now in system.invariants.items():
        if only is None or fact in only:
            if terms.support(now).isdisjoint(moved):
                yield Obligation(spec.name, name, way.path.label, fact, "step", way.conditions, now, True, way)
            else:
                yield made(fact, "step", terms.rewrite(now, moved, after))
    step = Step(name, way.action.by, way.picks)
    for claim in spec.facts:
        if claim.kind is Kind.STEP and (only is None or claim.name in only):
            yield made(claim.name, "step", formula(claim.holds, system.before, step, way.path.outcome))


def init_results(spec: Spec[Any], only: Collection[str] | None = None) -> list[Result]:
    """The initial state, run: it is one plain state, so nothing needs a solver."""
    start = spec.init()
    results = []

    def ran(fact: str, holds: bool) -> None:
        obligation = Obligation(spec.name, "init", "only", fact, "init")
        found = None if holds else Counterexample(start, {}, None)
        results.append(Result(obligation, "holds" if holds else "fails", "run", counterexample=found))

    if only is None or SORTS in only:
        ran(SORTS, all(term is TRUE for term in of_sort(spec.state, start)))
    for fact in (*spec.facts, *spec.lemmas):
        if fact.kind is not Kind.STEP and (only is None or fact.name in only):
            ran(fact.name, bool(fact.holds(start)))
    return results


def discharge(system: System, obligation: Obligation, solver: Solver) -> Result:
    """One obligation, asked of a solver that holds the hypotheses and the path's conditions already."""
    if obligation.trivial:
        return Result(obligation, "holds", "trivial")
    begun = time.perf_counter()
    answer = solver.check([terms.negation(obligation.goal)])
    spent = time.perf_counter() - begun
    verdict = {HOLDS: "holds", FAILS: "fails", UNKNOWN: "unknown"}[answer]
    found = counterexample(system, obligation, solver) if answer == FAILS else None
    return Result(obligation, verdict, solver.name, solver.cost(), spent, found)


def counterexample(system: System, obligation: Obligation, solver: Solver) -> Counterexample:
    """The solver's model as plain states, replayed: raises EngineError if the model says otherwise."""
    way = obligation.way
    assert way is not None
    model = solver.model(variables([*flat_terms(system.before), *[t for p in way.picks.values() for t in flat_terms(p)]]))
    before = decode(system.spec.state, system.before, model)
    picks = {name: decode(sort, way.picks[name], model) for name, sort in way.action.picks.items()}
    expected = decode(system.spec.state, way.path.outcome, model)
    _replay(system, obligation, before, picks, expected, model)
    return Counterexample(before, picks, expected)


def _replay(
    system: System, obligation: Obligation, before: Any, picks: Mapping[str, Any], expected: Any, model: Mapping[str, Value]
) -> None:
    assert obligation.way is not None
    action, spec = obligation.way.action, system.spec

    def wrong(what: str) -> EngineError:
        return EngineError(f"{obligation.name}: {what}; this is a fault of the prover\n  before {before}\n  picks {picks}")

    try:
        after = action(before, **picks)
    except Disabled:
        raise wrong("the model refuses the step that the solver found") from None
    if after != expected:
        raise wrong(f"the model goes to {after}, the solver's step to {expected}")
    for fact in (*spec.facts, *spec.lemmas):
        if fact.kind is not Kind.STEP and not fact.holds(before):
            raise wrong(f"{fact.name} is a hypothesis and does not hold before the step")
    fact = next((f for f in (*spec.facts, *spec.lemmas) if f.name == obligation.fact), None)
    if fact is not None:
        step = Step(action.name, action.by, picks)
        held = fact.holds(before, step, after) if fact.kind is Kind.STEP else fact.holds(after)
        if held:
            raise wrong(f"{fact.name} holds on the step that the solver found")


def prove(
    spec: Spec[Any],
    *,
    actions: Collection[str] | None = None,
    facts: Collection[str] | None = None,
    stop_at_first: bool = False,
    solver: Callable[[], Solver] = Z3,
) -> list[Result]:
    """Safety of a specification: the initial state and every step, by default of every action and for every fact.

    `actions` and `facts` narrow what is asked, never what is assumed. `stop_at_first` ends with the first failure.
    """
    results: list[Result] = []

    def stopped() -> bool:
        return stop_at_first and bool(results) and results[-1].verdict != "holds"

    results += init_results(spec, facts)
    if stop_at_first and any(result.verdict != "holds" for result in results):
        return results
    system = System(spec)
    engine = solver()
    engine.add(system.hypotheses)
    for action in spec.actions:
        if actions is not None and action.name not in actions:
            continue
        for way in system.ways(action):
            engine.push()
            engine.add(way.conditions)
            for obligation in step_obligations(system, way, facts):
                results.append(discharge(system, obligation, engine))
                if stopped():
                    return results
            engine.pop()
    return results


# ------------------------------------------------------------------------------------------- the development's door


def load(name: str) -> Spec[Any]:
    """The specification that MODULE:NAME means; a module of the model may be given without its package."""
    module, _, attribute = name.partition(":")
    if importlib.util.find_spec(f"vtpm_model.{module}") is not None:
        module = f"vtpm_model.{module}"
    found = getattr(importlib.import_module(module), attribute or "SPEC")
    if not isinstance(found, Spec):
        raise SystemExit(f"{name} is not a Spec but {found!r}")
    return found


def show(result: Result) -> str:
    """A failed obligation as text: fact, action, path, what changed, and the whole state before."""
    obligation = result.obligation
    lines = [f"{result.verdict.upper()} {obligation.fact}  by {obligation.action}"]
    if obligation.way is not None:
        lines += [f"    {decision}" for decision in obligation.way.path.decisions if not decision.guard]
    found = result.counterexample
    if found is None:
        return "\n".join(lines)
    if found.picks:
        lines.append("    picks " + ", ".join(f"{name}={_plain(value)}" for name, value in found.picks.items()))
    before = dict(_flat(found.before))
    if found.after is not None:
        after = dict(_flat(found.after))
        lines += [f"    {n:<32} {_plain(v)} -> {_plain(after[n])}" for n, v in before.items() if after[n] != v]
    lines.append("    before: " + " ".join(f"{name}={_plain(value)}" for name, value in before.items()))
    return "\n".join(lines)


def _flat(state: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in zip(state._fields, state, strict=True):
        if isinstance(value, tuple):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _plain(value: Any) -> str:
    return getattr(value, "name", None) or str(value)


def main(arguments: list[str]) -> int:
    """Prove one specification and print what fails."""
    if not arguments:
        print("usage: python -m vtpm_proofs.induction MODULE:NAME [FACT ...]")
        return 2
    spec = load(arguments[0])
    begun = time.perf_counter()
    results = prove(spec, facts=set(arguments[1:]) or None)
    failed = [result for result in results if result.verdict != "holds"]
    shown: set[tuple[str, str]] = set()
    for result in failed:
        key = (result.obligation.fact, result.obligation.action)
        if key not in shown:
            shown.add(key)
            print(show(result), end="\n\n")
    trivial = sum(result.solver == "trivial" for result in results)
    spent = time.perf_counter() - begun
    print(f"{spec.name}: {len(results)} obligations ({trivial} trivial), {len(failed)} fail, {spent:.2f} s")
    by_fact: dict[str, list[str]] = {}
    for result in failed:
        by_fact.setdefault(result.obligation.fact, []).append(result.obligation.action)
    for fact, broken in by_fact.items():
        print(f"  {fact}: {', '.join(dict.fromkeys(broken))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
