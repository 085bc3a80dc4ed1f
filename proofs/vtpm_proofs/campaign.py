"""Judges every mutant of every system side by side, and asks each fact for a mutant that it alone notices.

A function that several systems use is mutated in the first of them; what survives there is tried in the others. What
survives everywhere must be listed in `data/equivalent.json` with a reason, and is shown equivalent by proof: where
facts and lemmas alone do not show it, Spacer is asked for the invariant that is lacking.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Action, Kind, Spec
from vtpm_proofs import terms
from vtpm_proofs.explore import Move
from vtpm_proofs.induction import safety
from vtpm_proofs.mutants import INDUCTION, LIVENESS, SURVIVES, Mutated, Verdict, mutations_of
from vtpm_proofs.mutations import Mutation
from vtpm_proofs.overlay import actions_using
from vtpm_proofs.solvers import UNSAT, start
from vtpm_proofs.spacer import never
from vtpm_proofs.symbolic import formula

EXPLAINED = Path(__file__).with_name("data") / "equivalent.json"

EQUIVALENT = "equivalent"

RUN = 60
"""So many mutants are run themselves, for a fact that kills none alone by induction."""

MOST_EXPLAINED = 0.05
"""The share of mutants that may be explained rather than killed."""


@dataclass(frozen=True)
class Sole:
    """A fact and the mutant that it alone kills, by induction or in runs; or, without one, what it is derived from."""

    system: str
    fact: str
    mutant: str = ""
    how: str = ""
    derived_from: tuple[str, ...] = ()


@dataclass
class Campaign:
    """Everything that a run over some systems found."""

    verdicts: list[Verdict] = field(default_factory=list)
    soles: list[Sole] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self) -> dict[str, int]:
        """How many mutants met each fate."""
        found: dict[str, int] = {}
        for verdict in self.verdicts:
            found[verdict.fate] = found.get(verdict.fate, 0) + 1
        return found


def plan(systems: Mapping[str, Spec[Any]]) -> list[tuple[str, Mutation]]:
    """Every mutant, in the first system that has its function."""
    made: list[tuple[str, Mutation]] = []
    done: set[Any] = set()
    for name, spec in systems.items():
        own = [mutation for mutation in mutations_of(spec) if mutation.function not in done]
        made += [(name, mutation) for mutation in own]
        done |= {mutation.function for mutation in own}
    return made


# A worker finds the systems here: it is forked after they were put in place.
_systems: dict[str, Spec[Any]] = {}
_variants: dict[str, Spec[Any]] = {}
_planned: list[tuple[str, Mutation]] = []
_mutated: dict[str, Mutated] = {}


def _of(name: str) -> Mutated:
    if name not in _mutated:
        _mutated[name] = Mutated(_systems[name])
    return _mutated[name]


def _judge(number: int) -> Verdict:
    name, mutation = _planned[number]
    verdict = _of(name).judge(mutation)
    if verdict.fate == SURVIVES:
        later = list(_systems)[list(_systems).index(name) + 1 :]
        for other in later:
            if actions_using(_systems[other], mutation.function):
                again = _of(other).judge(mutation)
                if again.fate != SURVIVES:
                    return replace(again, seconds=again.seconds + verdict.seconds)
    return verdict


def _prove_equivalent(number: int) -> str | None:
    name, mutation = _planned[number]
    for other in list(_systems)[list(_systems).index(name) :]:
        if actions_using(_systems[other], mutation.function):
            mutated = _of(other)
            for gap in mutated.gaps(mutated.changes(mutation)):
                if not never(mutated.system, gap.conditions):
                    return f"{other}.{gap.action.name}"
    return None


def _sole(question: tuple[str, str, tuple[int, ...]]) -> Sole:
    """The first of some mutants (by number; negative ones are variants) that a fact alone kills."""
    name, fact, numbers = question
    mutated = _of(name)
    for number in numbers:
        label, changed = _candidate(name, number)
        if mutated.broken_alone(changed, fact):
            return Sole(name, fact, label, "induction")
    return Sole(name, fact)


def _runs(question: tuple[str, int]) -> frozenset[str]:
    """The facts that runs of a mutant break first."""
    name, number = question
    return frozenset(_of(name).grounds.broken_by_runs(_candidate(name, number)[1]))


def _candidate(name: str, number: int) -> tuple[str, dict[str, Action[Any]]]:
    """A mutant (by number, a variant by a negative one) and what it changes."""
    if number >= 0:
        mutation = _planned[number][1]
        return f"{name}/{mutation.name}", _of(name).changes(mutation)
    label = list(_variants)[-number - 1]
    return label, _changed(_systems[name], _variants[label])


def _changed(spec: Spec[Any], variant: Spec[Any]) -> dict[str, Action[Any]]:
    """The actions of a variant that the system does not have just so."""
    return {action.name: action for action in variant.actions if action not in spec.actions}


def run(
    systems: Mapping[str, Spec[Any]],
    variants: Mapping[str, Spec[Any]] | None = None,
    *,
    jobs: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Campaign:
    """Judge all mutants of the systems in `jobs` processes (0: one for each processor)."""
    began = time.perf_counter()
    _systems.clear()
    _systems.update(systems)
    _variants.clear()
    _variants.update(variants or {})
    _mutated.clear()
    _planned[:] = plan(systems)
    campaign = Campaign()
    with _workers(jobs) as each:
        for verdict in each(_judge, range(len(_planned)), 8):
            campaign.verdicts.append(verdict)
            if len(campaign.verdicts) % 50 == 0:
                say(f"{len(campaign.verdicts)} of {len(_planned)} mutants judged")
        explain(campaign, each)
        campaign.soles = soles(campaign.verdicts, each)
    campaign.complaints += _lonely(campaign)
    campaign.seconds = time.perf_counter() - began
    return campaign


Each = Callable[..., Iterator[Any]]


class _workers:  # noqa: N801  (used as a statement: `with _workers(2) as each`)
    """Applies functions to many arguments, in processes of their own where there is more than one."""

    def __init__(self, jobs: int) -> None:
        jobs = jobs or os.cpu_count() or 1
        context = multiprocessing.get_context("fork")
        self.pool = ProcessPoolExecutor(jobs, mp_context=context) if jobs > 1 else None

    def __enter__(self) -> Each:
        return self.each

    def each(self, function: Callable[[Any], Any], arguments: Sequence[Any], chunk: int = 1) -> Iterator[Any]:
        if self.pool is None:
            return iter([function(argument) for argument in arguments])
        return self.pool.map(function, arguments, chunksize=chunk)

    def __exit__(self, *details: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


# ------------------------------------------------------------------------------------------------ equivalent mutants


def reasons() -> dict[str, str]:
    """Why mutants that survive are right to, by id."""
    if not EXPLAINED.exists():
        return {}
    found: dict[str, str] = json.loads(EXPLAINED.read_text())["mutants"]
    return found


def explain(campaign: Campaign, each: Each) -> None:
    """Settle the survivors: each needs a reason and a proof; a reason that nothing needs is a complaint."""
    known = reasons()
    numbers = {f"{system}/{mutation.name}": at for at, (system, mutation) in enumerate(_planned)}
    survivors = [at for at, verdict in enumerate(campaign.verdicts) if verdict.fate == SURVIVES]
    ids = {at: f"{_planned[at][0]}/{_planned[at][1].name}" for at in survivors}
    proofs = dict(zip(survivors, each(_prove_equivalent, survivors), strict=True))
    for at, name in ids.items():
        verdict, gap = campaign.verdicts[at], proofs[at]
        where = f"{name} ({verdict.pinned})"
        if gap is not None:
            campaign.complaints.append(
                f"{where} survives: nothing found tells it from the model, no proof equates {gap}"
            )
        elif name not in known:
            campaign.complaints.append(f"{where} is equivalent: remove what it changes, or say why it stays")
        else:
            campaign.verdicts[at] = replace(verdict, fate=EQUIVALENT, by=known[name])
    for name in known:
        if name.partition("/")[0] in _systems and name not in ids.values():
            why = "is killed now" if name in numbers else "is no mutant any more"
            campaign.complaints.append(f"{name} {why}; take its reason out of {EXPLAINED.name}")
    explained = sum(verdict.fate == EQUIVALENT for verdict in campaign.verdicts)
    if explained > MOST_EXPLAINED * len(campaign.verdicts):
        campaign.complaints.append(
            f"{explained} of {len(campaign.verdicts)} mutants are explained; at most {MOST_EXPLAINED:.0%} may be"
        )


# ------------------------------------------------------------------------------------------------------- kill matrix


def soles(verdicts: Sequence[Verdict], each: Each) -> list[Sole]:
    """For each fact a mutant that it alone kills: by induction, or else in runs of the mutants themselves.

    The first system that has the fact is asked first; only where it has no such mutant, the next one.
    """
    found: dict[str, Sole] = {}
    for turn in range(len(_systems)):
        questions = [question for question in _questions(verdicts, turn) if not _alone(found.get(question[1]))]
        for sole in _asked(questions, each):
            if sole.mutant or sole.fact not in found:
                found[sole.fact] = sole
    return list(found.values())


def _alone(sole: Sole | None) -> bool:
    return sole is not None and bool(sole.mutant)


def _asked(questions: Sequence[tuple[str, str, tuple[int, ...]]], each: Each) -> list[Sole]:
    found = list(each(_sole, questions))
    lonely = {
        sole.fact: (name, numbers[:RUN])
        for sole, (name, _, numbers) in zip(found, questions, strict=True)
        if not sole.mutant
    }
    tried = list(dict.fromkeys((name, number) for name, numbers in lonely.values() for number in numbers))
    broken = dict(zip(tried, each(_runs, tried), strict=True))
    for at, sole in enumerate(found):
        if sole.fact in lonely:
            name, numbers = lonely[sole.fact]
            alone = next((number for number in numbers if broken[name, number] == {sole.fact}), None)
            if alone is not None:
                found[at] = Sole(name, sole.fact, _candidate(name, alone)[0], "runs")
    return found


def _questions(verdicts: Sequence[Verdict], turn: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """For each fact, in the system that has it `turn` systems after the first: the mutants worth a try, in order."""
    times: Counter[str] = Counter()
    found: list[tuple[str, str, tuple[int, ...]]] = []
    for name, spec in _systems.items():
        claims = [fact.name for fact in spec.facts if not fact.derived_from] + [c.name for c in spec.liveness]
        for claim in claims:
            if times[claim] == turn:
                found.append((name, claim, tuple(_candidates(spec, claim, verdicts))))
            times[claim] += 1
    return found


def _candidates(spec: Spec[Any], fact: str, verdicts: Sequence[Verdict]) -> list[int]:
    here = [at for at, verdict in enumerate(verdicts) if actions_using(spec, _planned[at][1].function)]
    facts = {f.name for f in spec.facts} | {c.name for c in spec.liveness}
    likely, possible = [], []
    for at in here:
        verdict = verdicts[at]
        broken = set(verdict.breaks or (verdict.by,)) & facts
        if broken == {fact}:
            likely.append(at)
        elif not broken and verdict.fate in (INDUCTION, LIVENESS):
            possible.append(at)
    variants = [
        -at - 1
        for at, variant in enumerate(_variants.values())
        if variant.name.startswith(f"{spec.name}+") and variant.state is spec.state and _changed(spec, variant)
    ]
    return [*likely, *variants, *possible]


def _lonely(campaign: Campaign) -> list[str]:
    """A sentence for each fact that no mutant needs, and for each that is said to be derived and is not."""
    found = [
        f"{sole.system}: {sole.fact} kills no mutant alone; sharpen or drop it, or say what it is derived from"
        for sole in campaign.soles
        if not sole.mutant
    ]
    for name, spec in _systems.items():
        for fact in spec.facts:
            if fact.derived_from:
                campaign.soles.append(Sole(name, fact.name, derived_from=fact.derived_from))
                gap = not_derived(spec, fact.name)
                if gap:
                    found.append(f"{name}: {fact.name} does not follow from {', '.join(fact.derived_from)} ({gap})")
    return found


def not_derived(spec: Spec[Any], name: str) -> str:
    """Empty if a fact follows from those that it is said to be derived from, in every state or at every step."""
    mutated = _mutated.get(spec.name)
    system = mutated.system if mutated else Mutated(spec).system
    fact = next(f for f in spec.facts if f.name == name)
    sources = set(fact.derived_from)
    known = {f.name for f in (*spec.facts, *spec.lemmas)}
    if not sources <= known:
        return f"no such fact: {', '.join(sorted(sources - known))}"
    solver = start("z3")
    solver.add(system.sorts)
    solver.add(term for source, term in system.invariants.items() if source in sources)
    if fact.kind is not Kind.STEP:
        goal = formula(fact.holds, system.before)
        return "" if solver.check((terms.negation(goal),)) == UNSAT else "a state tells them apart"
    for action in spec.actions:
        for way in system.ways(action):
            tasks = {task.obligation.fact: task for task in safety(system, way, sources | {name})}
            given = [tasks[source].claim for source in sources if source in tasks]
            if solver.check((*way.conditions, *given, terms.negation(tasks[name].claim))) != UNSAT:
                return f"a step of {action.name} tells them apart"
    return ""


# ------------------------------------------------------------------------------------------------------------ traces


def distinguishing(
    systems: Mapping[str, Spec[Any]], *, jobs: int = 0
) -> Iterator[tuple[str, str, tuple[Move, ...], str]]:
    """For every mutant that a run tells from the model: its id, the text of the line that it changes, the run (the
    step that they differ about last), and how they differ (`allows more`, `allows less`, `does other`)."""
    for verdict in run(systems, jobs=jobs).verdicts:
        if verdict.run:
            yield verdict.id, verdict.pinned, verdict.run, verdict.kind
