"""A whole run over the mutants of some systems: what killed each, which survive and why, which fact kills which alone.

A function that several systems share is mutated once, in the first of them; if nothing there notices, the later ones
are asked. A mutant that survives everywhere must be listed in `data/equivalent.json` with a reason, and is shown
equivalent by proof: where facts and lemmas alone do not show it, Spacer is asked for the invariant that is lacking.
What killed a mutant last (`kills`) is asked first; only where that no longer kills is everything asked again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Action, Kind, Spec, Step
from vtpm_proofs import terms
from vtpm_proofs.distinguish import broken_by_runs
from vtpm_proofs.kills import Kills
from vtpm_proofs.mutants import (
    INDUCTION,
    LIVENESS,
    MISTAKE,
    SURVIVES,
    TRACE,
    Mutated,
    Verdict,
    mutations_of,
    mutations_of_claims,
    verdict_of,
)
from vtpm_proofs.mutations import Mutation
from vtpm_proofs.overlay import actions_using, claims_using
from vtpm_proofs.solvers import UNSAT, start
from vtpm_proofs.spacer import never, shows
from vtpm_proofs.symbolic import formula, of_sort, symbolic_state
from vtpm_traces.itf import Trace

EXPLAINED = Path(__file__).with_name("data") / "equivalent.json"

EQUIVALENT = "equivalent"

AT_A_TIME = 60
"""So many mutants are asked about by induction, and then run themselves, before more are: a run is the quicker one."""

MOST_EXPLAINED = 0.05
"""The share of mutants that may be explained rather than killed."""

Pinned = Mapping[str, Sequence[Trace]]
"""By the id of a mutant, the kept traces that name it."""

Question = tuple[str, str, tuple[str, ...]]
"""A system, a fact of it, and the mutants and variants of which it may kill one alone, in the order to try them in."""


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
    """Everything that a run over some systems found. `again`: how many died of what had killed them before."""

    verdicts: list[Verdict] = field(default_factory=list)
    soles: list[Sole] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    again: int = 0
    unseen: int = 0
    invariants: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self) -> dict[str, int]:
        """How many mutants met each fate."""
        return dict(Counter(verdict.fate for verdict in self.verdicts))

    def kills(self) -> Kills:
        """What is worth asking first the next time."""
        killers = {verdict.id: verdict.killer for verdict in self.verdicts if verdict.killer is not None}
        alone = {sole.fact: (sole.system, sole.mutant, sole.how) for sole in self.soles if sole.mutant}
        return Kills(killers, alone, self.invariants)


def plan(systems: Mapping[str, Spec[Any]]) -> list[tuple[str, Mutation]]:
    """Every mistake in what is done, in the first system that has its function."""
    return _first(systems, mutations_of, set())


def plan_of_claims(systems: Mapping[str, Spec[Any]]) -> list[tuple[str, Mutation]]:
    """Every mistake in what is only said, in the first system that has its function."""
    done = {mutation.function for spec in systems.values() for mutation in mutations_of(spec)}
    return _first(systems, mutations_of_claims, done)


def _first(
    systems: Mapping[str, Spec[Any]], made_of: Callable[[Spec[Any]], list[Mutation]], done: set[Any]
) -> list[tuple[str, Mutation]]:
    made: list[tuple[str, Mutation]] = []
    for name, spec in systems.items():
        own = [mutation for mutation in made_of(spec) if mutation.function not in done]
        made += [(name, mutation) for mutation in own]
        done |= {mutation.function for mutation in own}
    return made


class _Run:
    """What the workers know: they are forked after it was put in place."""

    def __init__(
        self,
        systems: Mapping[str, Spec[Any]],
        variants: Mapping[str, Spec[Any]],
        of: Collection[str],
        kills: Kills,
        pinned: Pinned,
    ) -> None:
        self.systems, self.variants, self.kills, self.pinned = dict(systems), dict(variants), kills, pinned
        self.of_these = of
        every = plan(systems)
        self.planned = [item for item in every if item[0] in of]
        self.claimed = [item for item in plan_of_claims(systems) if item[0] in of]
        self.mutations = {f"{name}/{mutation.name}": mutation for name, mutation in every}
        self._mutated: dict[str, Mutated] = {}

    def of(self, name: str) -> Mutated:
        if name not in self._mutated:
            self._mutated[name] = Mutated(self.systems[name])
        return self._mutated[name]

    def having(self, item: tuple[str, Mutation]) -> list[str]:
        """The systems that a mutant is judged in: the first that has its function, and those after it."""
        later = list(self.systems)[list(self.systems).index(item[0]) :]
        return [name for name in later if actions_using(self.systems[name], item[1].function)]

    def changed(self, system: str, label: str) -> dict[str, Action[Any]] | None:
        """What a mutant, by its id, or a variant, by its name, changes in a system; None if there is none."""
        if label in self.mutations:
            return self.of(system).changes(self.mutations[label]) or None
        variant, spec = self.variants.get(label), self.systems[system]
        if variant is None or variant.state is not spec.state or not label.startswith(f"{system}+"):
            return None
        return {action.name: action for action in variant.actions if action not in spec.actions}


_run: _Run


def _judge(number: int) -> tuple[Verdict, bool]:
    """The fate of a mutant, and whether what killed it before did so again."""
    item = name, mutation = _run.planned[number]
    label = f"{name}/{mutation.name}"
    killer, traces = _run.kills.mutants.get(label), _run.pinned.get(label, ())
    if killer is not None and killer.system in _run.systems:
        mutated = _run.of(killer.system)
        again = mutated.told_by(mutation, traces) if killer.method == TRACE else mutated.killed_by(mutation, killer)
        if again is not None:
            return replace(again, system=name), True
    verdict = verdict_of(name, mutation, SURVIVES)
    excused = label in reasons()
    for looks in (False,) if excused else (False, True):
        for system in _run.having(item):
            if verdict.fate == SURVIVES:
                mutated = _run.of(system)
                verdict = mutated.told(mutation) if looks else mutated.noticed(mutation, traces)
    return replace(verdict, system=name), False


def _prove_equivalent(label: str) -> tuple[str | None, dict[str, list[str]]]:
    """A place where no proof equates the mutant with the model, None if they are equal wherever runs lead; and, by
    system, the invariants that show it."""
    mutation = _run.mutations[label]
    known = _run.kills.invariants.get(label, {})
    used: dict[str, list[str]] = {}
    for other in _run.having((label.partition("/")[0], mutation)):
        mutated = _run.of(other)
        for gap in mutated.gaps(mutated.changes(mutation)):
            shown = (text for text in known.get(other, ()) if shows(mutated.system, gap.conditions, text))
            invariant = next(shown, None) or never(mutated.system, gap.conditions)
            if invariant is None:
                return f"{other}.{gap.action.name}", {}
            used[other] = list(dict.fromkeys([*used.get(other, ()), invariant]))
    return None, used


def _judge_claim(question: tuple[int, tuple[str, ...]]) -> tuple[Verdict, bool]:
    """The fate of a mistake in what is only said; the ids of mistakes in the model that it might let pass."""
    number, labels = question
    name, mutation = _run.claimed[number]
    killer = _run.kills.mutants.get(f"{name}/{mutation.name}")
    if killer is not None and killer.system in _run.systems:
        mistake = _run.changed(killer.system, killer.detail) if killer.method == MISTAKE else None
        again = _run.of(killer.system).claim_killed_by(mutation, killer, mistake)
        if again is not None:
            return replace(again, system=name), True
    later = list(_run.systems)[list(_run.systems).index(name) :]
    having = [other for other in later if claims_using(_run.systems[other], mutation.function)]
    for other in having:
        mistakes = {label: changed for label in labels if (changed := _run.changed(other, label)) is not None}
        verdict = _run.of(other).judge_claim(mutation, mistakes)
        if verdict.fate != SURVIVES:
            return replace(verdict, system=name), False
    return verdict_of(name, mutation, SURVIVES, _run.of(name).says_the_same(mutation)), False


def _sole(question: Question) -> Sole:
    """The first of some mutants and variants that a fact alone kills."""
    name, fact, labels = question
    for label in labels:
        changed = _run.changed(name, label)
        if changed is not None and _run.of(name).broken_alone(changed, fact):
            return Sole(name, fact, label, INDUCTION)
    return Sole(name, fact)


def _runs(question: tuple[str, str]) -> frozenset[str]:
    """The facts that runs of a mutant break first."""
    name, label = question
    changed = _run.changed(name, label)
    return frozenset(broken_by_runs(_run.systems[name], changed)) if changed is not None else frozenset()


def run(
    systems: Mapping[str, Spec[Any]],
    variants: Mapping[str, Spec[Any]] | None = None,
    *,
    of: Collection[str] | None = None,
    kills: Kills | None = None,
    pinned: Pinned | None = None,
    jobs: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Campaign:
    """Judge all mutants of the systems in `jobs` processes (0: one for each processor); `of`: those of some only.

    `kills` and `pinned` say what killed mutants before, and which kept traces name them; both are asked first.
    """
    global _run
    began = time.perf_counter()
    _run = _Run(systems, variants or {}, systems if of is None else of, kills or Kills(), pinned or {})
    campaign = Campaign()
    with _workers(jobs) as each:

        def judged(verdicts: Iterator[tuple[Verdict, bool]], of: int) -> None:
            for at, (verdict, again) in enumerate(verdicts, 1):
                campaign.verdicts.append(verdict)
                campaign.again += again
                if at % 100 == 0 or at == of:
                    say(f"{at} of {of} mutants judged")

        judged(each(_judge, range(len(_run.planned)), 8), len(_run.planned))
        suspects = _suspects(campaign.verdicts)
        judged(each(_judge_claim, suspects), len(suspects))
        explain(campaign, each)
        say("looking for the mutants that a fact kills alone")
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
            return map(function, arguments)
        return self.pool.map(function, arguments, chunksize=chunk)

    def __exit__(self, *details: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


def _suspects(verdicts: Sequence[Verdict]) -> list[tuple[int, tuple[str, ...]]]:
    """For each mistake in what is only said, the mistakes in the model that the claims which it changes may notice.

    Those that they noticed first come first; a mistake that a lemma noticed first is noticed by claims, too.
    """
    found = []
    for number, (name, mutation) in enumerate(_run.claimed):
        spec = _run.systems[name]
        claims = {claim.name for claim in claims_using(spec, mutation.function)}
        lemmas = {lemma.name for lemma in spec.lemmas}
        noticed = [verdict.id for verdict in verdicts if verdict.by in claims]
        possible = [verdict.id for verdict in verdicts if verdict.by in lemmas]
        found.append((number, (*noticed, *_run.variants, *possible)))
    return found


# ------------------------------------------------------------------------------------------------ equivalent mutants


def _explained(part: str) -> dict[str, str]:
    if not EXPLAINED.exists():
        return {}
    found: dict[str, str] = json.loads(EXPLAINED.read_text()).get(part, {})
    return found


def reasons() -> dict[str, str]:
    """Why mutants that nothing notices are right to survive, by id."""
    return _explained("mutants")


def unseen() -> dict[str, str]:
    """Why mutants that a proof notices are told from the model by no run, by id."""
    return _explained("unseen")


def explain(campaign: Campaign, each: Each) -> None:
    """Settle the survivors: each needs a reason and a proof; a reason that nothing needs is a complaint."""
    known, hidden = reasons(), unseen()
    at = {verdict.id: number for number, verdict in enumerate(campaign.verdicts)}
    done = [name for name in at if name in _run.mutations]
    survivors = [name for name in done if campaign.verdicts[at[name]].fate == SURVIVES]
    asked = [*survivors, *(name for name in done if name in hidden and name not in survivors)]
    proofs = dict(zip(asked, each(_prove_equivalent, asked), strict=True))
    campaign.invariants = {name: used for name, (_, used) in proofs.items() if used}
    gaps = {name: gap for name, (gap, _) in proofs.items()}
    gaps |= {v.id: v.by or None for v in campaign.verdicts if v.fate == SURVIVES and v.id not in _run.mutations}
    for name, gap in gaps.items():
        verdict = campaign.verdicts[at[name]]
        where = f"{name} ({verdict.pinned})"
        if verdict.fate != SURVIVES:
            campaign.unseen += gap is None
            if gap is not None:
                campaign.complaints.append(f"{where} is said to be seen in no run; no proof shows that of {gap}")
        elif gap is not None:
            campaign.complaints.append(
                f"{where} survives: nothing found tells it from the model, no proof equates {gap}"
            )
        elif name not in known:
            campaign.complaints.append(f"{where} is equivalent: remove what it changes, or say why it stays")
        else:
            campaign.verdicts[at[name]] = replace(verdict, fate=EQUIVALENT, by=known[name])
    for name in (*known, *hidden):
        if name.partition("/")[0] in _run.of_these and name not in gaps:
            why = "is killed now" if name in at else "is no mutant any more"
            campaign.complaints.append(f"{name} {why}; take its reason out of {EXPLAINED.name}")
    explained = sum(verdict.fate == EQUIVALENT for verdict in campaign.verdicts)
    if explained > MOST_EXPLAINED * len(campaign.verdicts):
        campaign.complaints.append(
            f"{explained} of {len(campaign.verdicts)} mutants are explained; at most {MOST_EXPLAINED:.0%} may be"
        )


# ------------------------------------------------------------------------------------------------------- kill matrix


def soles(verdicts: Sequence[Verdict], each: Each) -> list[Sole]:
    """For each fact a mutant that it alone kills: by induction, or else in runs of the mutants themselves.

    The mutant on record is asked first. Then the first system that has the fact is asked; only where it has no such
    mutant, the next one.
    """
    found = {sole.fact: sole for sole in _again(each)}
    for turn in range(len(_run.systems)):
        questions = [question for question in _questions(verdicts, turn) if not _alone(found.get(question[1]))]
        for sole in _asked(questions, each):
            if sole.mutant or sole.fact not in found:
                found[sole.fact] = sole
    return list(found.values())


def _again(each: Each) -> list[Sole]:
    """The facts that alone kill again what they are on record for."""
    facts = {fact for turn in range(len(_run.systems)) for _, fact, _ in _questions((), turn)}
    known = {
        fact: (name, label, how)
        for fact, (name, label, how) in _run.kills.facts.items()
        if fact in facts and name in _run.systems
    }
    by_proof = [(name, fact, (label,)) for fact, (name, label, how) in known.items() if how == INDUCTION]
    in_runs = [(name, fact, label) for fact, (name, label, how) in known.items() if how != INDUCTION]
    found = [sole for sole in each(_sole, by_proof) if sole.mutant]
    broken = list(each(_runs, [(name, label) for name, _, label in in_runs]))
    found += [
        Sole(name, fact, label, "runs")
        for (name, fact, label), facts in zip(in_runs, broken, strict=True)
        if facts == {fact}
    ]
    return found


def _claims(spec: Spec[Any]) -> list[str]:
    return [fact.name for fact in spec.facts if not fact.derived_from] + [claim.name for claim in spec.liveness]


def _alone(sole: Sole | None) -> bool:
    return sole is not None and bool(sole.mutant)


def _asked(questions: Sequence[Question], each: Each) -> list[Sole]:
    """Some mutants of each question at a time: first by induction, then those facts that kill none in runs."""
    found: list[Sole] = []
    lonely = list(questions)
    for begin in range(0, max((len(labels) for _, _, labels in questions), default=0), AT_A_TIME):
        turn = [(name, fact, labels[begin : begin + AT_A_TIME]) for name, fact, labels in lonely]
        found += [sole for sole in each(_sole, turn) if sole.mutant]
        turn = [question for question in turn if question[1] not in {sole.fact for sole in found}]
        tried = list(dict.fromkeys((name, label) for name, _, labels in turn for label in labels))
        broken = dict(zip(tried, each(_runs, tried), strict=True))
        for name, fact, labels in turn:
            alone = next((label for label in labels if broken[name, label] == {fact}), None)
            if alone is not None:
                found.append(Sole(name, fact, alone, "runs"))
        lonely = [question for question in lonely if question[1] not in {sole.fact for sole in found}]
    return found + [Sole(name, fact) for name, fact, _ in lonely]


def _questions(verdicts: Sequence[Verdict], turn: int) -> list[Question]:
    """For each fact, in the system that has it `turn` systems after the first: the mutants worth a try, in order."""
    having: dict[str, list[str]] = {}
    for name, spec in _run.systems.items():
        for claim in _claims(spec):
            having.setdefault(claim, []).append(name)
    return [
        (names[turn], claim, tuple(_candidates(names[turn], claim, verdicts)))
        for claim, names in having.items()
        if turn < len(names) and names[0] in _run.of_these
    ]


def _candidates(name: str, fact: str, verdicts: Sequence[Verdict]) -> list[str]:
    """Mutants and variants of a system that a fact may kill alone, those that it killed first."""
    spec = _run.systems[name]
    killed = [
        verdict
        for verdict in verdicts
        if verdict.fate in (INDUCTION, LIVENESS)
        and verdict.id in _run.mutations
        and actions_using(spec, _run.mutations[verdict.id].function)
    ]
    claims = set(_claims(spec))
    likely = [verdict.id for verdict in killed if verdict.by == fact]
    own = [variant for variant in _run.variants if variant.startswith(f"{name}+")]
    possible = [verdict.id for verdict in killed if verdict.by not in claims]
    return [*likely, *own, *possible]


def _lonely(campaign: Campaign) -> list[str]:
    """A sentence for each fact that no mutant needs, and for each that is said to be derived and is not."""
    found = [
        f"{sole.system}: {sole.fact} kills no mutant alone; sharpen or drop it, or say what it is derived from"
        for sole in campaign.soles
        if not sole.mutant
    ]
    for name in _run.of_these:
        spec = _run.systems[name]
        for fact in spec.facts:
            if fact.derived_from:
                campaign.soles.append(Sole(name, fact.name, derived_from=fact.derived_from))
                gap = not_derived(spec, fact.name)
                if gap:
                    found.append(f"{name}: {fact.name} does not follow from {', '.join(fact.derived_from)} ({gap})")
    return found


def not_derived(spec: Spec[Any], name: str) -> str:
    """Empty if a fact follows from those that it is said to be derived from, of any states and of any step.

    The model is not asked: the step may lead from anywhere to anywhere, as long as the others hold of it.
    """
    system = Mutated(spec).system
    claims = {one.name: one for one in (*spec.facts, *spec.lemmas)}
    strangers = sorted(set(claims[name].derived_from) - claims.keys())
    if strangers:
        return f"no such fact: {', '.join(strangers)}"
    sources, goal = [claims[source] for source in claims[name].derived_from], claims[name]
    after = symbolic_state(spec.state, "'")
    solver = start("z3")
    solver.add([*system.sorts, *of_sort(spec.state, after)])
    of_states = [source for source in sources if source.kind is not Kind.STEP]
    solver.add([formula(source.holds, state) for source in of_states for state in (system.before, after)])
    if goal.kind is not Kind.STEP:
        holds = formula(goal.holds, system.before)
        return "" if solver.check((terms.negation(holds),)) == UNSAT else "a state tells them apart"
    for action in spec.actions:
        way = system.ways(action)[0]
        step = (system.before, Step(action.name, action.by, way.picks), after)
        given = [formula(source.holds, *step) for source in sources if source.kind is Kind.STEP]
        if solver.check((*way.pick_sorts, *given, terms.negation(formula(goal.holds, *step)))) != UNSAT:
            return f"a step of {action.name} tells them apart"
    return ""
