"""A second proof without our lemmas: Z3's Spacer engine finds an invariant by itself, and one-step induction checks it.

For each fact Spacer gets the initial state, the steps, and what must never be. It is told no lemma, only where to look:
fields that no proof of the fact speaks of are left out of its view and may have any value at any time, which can make
its task harder, but never its answer wrong. The invariant that it finds is not trusted: a plain solver is asked whether
it holds at the start, is kept by every step of the whole system, and implies the fact.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Fact, Kind, Spec, Step
from vtpm_proofs import terms
from vtpm_proofs.cores import carry
from vtpm_proofs.solvers import to_z3, variables
from vtpm_proofs.symbolic import flat_terms, formula
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import Term

SAFE, UNSAFE, UNDECIDED, NOT_ATTEMPTED = "safe", "unsafe", "undecided", "not attempted"

SECONDS = 30.0
"""How long Spacer may look for the invariant of one fact."""

REASONS = Path(__file__).with_name("data") / "undecided.json"
"""The facts that Spacer is not asked about unless all are: it found no invariant in the time that stands there."""


QUICK = Path(__file__).with_name("data") / "quick.json"
"""The facts that Spacer proves at once, so that they are asked in every verification."""

AT_ONCE = 250_000
"""What "at once" is, in units of Z3's rlimit: less than a second."""

ROOM = 8
"""A second proof that was found at once may cost so many times more before it is cut off."""


@dataclass(frozen=True)
class Second:
    """What the second proof of a fact came to. `view`: how many leaves of the state Spacer saw; `clauses`: of its
    invariant, which is SMT-LIB text; `checks`: one-step queries that confirmed it."""

    system: str
    fact: str
    verdict: str
    view: int = 0
    clauses: int = 0
    checks: int = 0
    seconds: float = 0.0
    reason: str = ""
    invariant: str = ""

    @property
    def name(self) -> str:
        """`system.fact`."""
        return f"{self.system}.{self.fact}"


def undecided() -> dict[str, str]:
    """The facts that are known to be too hard, by `system.fact`, each with what was tried."""
    if not REASONS.exists():
        return {}
    reasons: dict[str, str] = json.loads(REASONS.read_text())["facts"]
    return reasons


def quick() -> list[str]:
    """The facts that are on record as proved at once, by `system.fact`."""
    if not QUICK.exists():
        return []
    found: list[str] = json.loads(QUICK.read_text())["facts"]
    return found


def record_quick(facts: Collection[str], systems: Collection[str], every: Collection[str]) -> None:
    """Put the quick facts of some systems on record; `every`: all systems that there are."""
    kept = [name for name in quick() if (of := name.rpartition(".")[0]) in every and of not in systems]
    QUICK.write_text(json.dumps({"version": 1, "facts": sorted([*kept, *facts])}, indent=1) + "\n")


def prove_again(
    spec: Spec[Any],
    facts: Collection[str] | None = None,
    *,
    seconds: float = SECONDS,
    limit: int = 0,
    everything: bool = False,
) -> Iterator[Second]:
    """A second proof of each fact; `everything`: of those, too, that are known to be too hard.

    Spacer gets so many seconds for each, and where there is a `limit`, so many units of Z3's rlimit.
    """
    known = {} if everything else undecided()
    asked = [fact for fact in spec.facts if facts is None or fact.name in facts]
    attempt = None
    for fact in asked:
        reason = known.get(f"{spec.name}.{fact.name}")
        if reason is not None:
            yield Second(spec.name, fact.name, NOT_ATTEMPTED, reason=reason)
            continue
        attempt = attempt or _Attempt(spec)
        yield attempt.at(fact, seconds, limit)


def never(system: System, conditions: tuple[Term, ...], seconds: float = 60.0) -> str | None:
    """An invariant, as SMT-LIB text, which shows that no reachable state meets the conditions; None if none was found.

    Facts and lemmas are taken for granted here. Spacer is first shown the fields that the conditions speak of, then
    those, too, that decide how these change.
    """
    fields = flat_terms(system.before)
    wanted = frozenset().union(*(terms.support(condition) for condition in conditions))
    for _ in range(2):
        view = [term for term in fields if term in wanted]
        question = _that_never(system, conditions, view)
        found = question.asked(seconds)
        if found.verdict == SAFE:
            return found.invariant
        for way in question.ways:
            moved = system.moved(way)
            if not wanted.isdisjoint(moved):
                spoken = [*way.conditions, *[moved[term] for term in view if term in moved]]
                wanted |= frozenset().union(*(terms.support(term) for term in spoken))
    return None


def shows(system: System, conditions: tuple[Term, ...], invariant: str) -> bool:
    """Whether an invariant that was found before shows again that no reachable state meets the conditions."""
    question = _that_never(system, conditions, [])
    names = {term.name: to_z3(term) for term in question.fields}
    try:
        (read,) = question.z3.parse_smt2_string(f"(assert {invariant})", decls=names)
    except (ValueError, question.z3.Z3Exception):  # it speaks of fields that there are no more
        return False
    return question.confirmed(read) is not None


def _that_never(system: System, conditions: tuple[Term, ...], view: list[Term]) -> _Question:
    ways = [way for action in system.spec.actions for way in system.ways(action)]
    claims: list[tuple[Way | None, Term]] = [(None, terms.negation(terms.conjunction(conditions)))]
    return _Question(system, ways, view, list(system.hypotheses), claims)


class _Attempt:
    """The facts of one system."""

    def __init__(self, spec: Spec[Any]) -> None:
        self.spec = spec
        self.system = System(spec)
        self.fields = flat_terms(self.system.before)
        self.ways = [way for action in spec.actions for way in self.system.ways(action)]
        self.carried = carry(spec)

    def at(self, fact: Fact, seconds: float, limit: int = 0) -> Second:
        """Look for an invariant that implies the fact, and confirm it."""
        began = time.perf_counter()
        claims = list(self.claims(fact))
        view = self.view(fact, [claim for _, claim in claims])
        found = self.question(view, claims).asked(seconds, limit)
        spent = time.perf_counter() - began
        return replace(found, system=self.spec.name, fact=fact.name, view=len(view), seconds=spent)

    def question(self, view: list[Term], claims: list[tuple[Way | None, Term]]) -> _Question:
        """What Spacer is asked about some claims, without any lemma."""
        return _Question(self.system, self.ways, view, list(self.system.sorts), claims)

    def claims(self, fact: Fact) -> Iterator[tuple[Way | None, Term]]:
        """What must hold: of every state, or of every step of a way."""
        if fact.kind is not Kind.STEP:
            yield None, self.system.invariants[fact.name]
            return
        for way in self.ways:
            step = Step(way.action.name, way.action.by, way.picks)
            claim = formula(fact.holds, self.system.before, step, way.path.outcome)
            claim = terms.rewrite(claim, way.path.known)
            if claim is not terms.TRUE:
                yield way, claim

    def view(self, fact: Fact, claims: list[Term]) -> list[Term]:
        """The fields that Spacer sees: those of the fact, and of whatever our own proof of it rests on."""
        ground = self.carried.ground([fact.name])
        spoken = [*claims, *[term for name, term in self.system.invariants.items() if name in ground]]
        seen = frozenset().union(*(terms.support(term) for term in spoken))
        return [term for term in self.fields if term in seen]


class _Question:
    """Is there an invariant over the fields in view that implies the claims? `given` holds of every state."""

    def __init__(
        self,
        system: System,
        ways: list[Way],
        view: list[Term],
        given: list[Term],
        claims: list[tuple[Way | None, Term]],
    ) -> None:
        import z3

        self.z3 = z3
        self.ways, self.view, self.claims = ways, view, claims
        self.fields = flat_terms(system.before)
        self.given = [to_z3(term) for term in given]
        self.start = dict(zip(self.fields, flat_terms(system.spec.init()), strict=True))

    def asked(self, seconds: float, limit: int = 0) -> Second:
        """What Spacer answers, its invariant confirmed."""
        z3 = self.z3
        engine = z3.Fixedpoint()
        engine.set(engine="spacer", timeout=int(seconds * 1000), rlimit=limit)
        # the relation is to come back whole: nothing sliced off, nothing folded into another rule
        for option in ("xform.slice", "xform.inline_linear", "xform.inline_eager"):
            engine.set(option, False)  # noqa: FBT003
        names = [to_z3(term) for term in self.view]
        reached = z3.Function("reached", *[name.sort() for name in names], z3.BoolSort())
        wrong = z3.Function("wrong", z3.BoolSort())
        engine.register_relation(reached, wrong)
        everything = [t for way in self.ways for t in (*way.conditions, *flat_terms(way.path.outcome))]
        engine.declare_var(*[to_z3(t) for t in variables([*self.fields, *everything, *[c for _, c in self.claims]])])
        engine.fact(reached(*[to_z3(self.start[term]) for term in self.view]))
        for way in self.ways:
            after = dict(zip(self.fields, flat_terms(way.path.outcome), strict=True))
            if any(after[term] is not term for term in self.view):
                body = [reached(*names), *self.given, *map(to_z3, way.conditions)]
                engine.rule(reached(*[to_z3(after[term]) for term in self.view]), body)
        for way_of, claim in self.claims:
            conditions = [] if way_of is None else [to_z3(term) for term in way_of.conditions]
            engine.rule(wrong(), [reached(*names), *self.given, *conditions, to_z3(terms.negation(claim))])
        try:
            answer = engine.query(wrong())
        except z3.Z3Exception:
            answer = z3.unknown
        if answer == z3.sat:
            if len(self.view) == len(self.fields):
                return Second("", "", UNSAFE, reason="Spacer found a run that breaks it")
            reason = f"it does not hold with {len(self.view)} of {len(self.fields)} fields in view"
            return Second("", "", UNDECIDED, reason=reason)
        if answer != z3.unsat:
            within = f"{limit} units of work" if limit else f"{seconds:g} s"
            return Second("", "", UNDECIDED, reason=f"no invariant within {within}")
        invariant = z3.substitute_vars(engine.get_cover_delta(-1, reached), *names)
        clauses = len(invariant.children()) if z3.is_and(invariant) else 1
        checks = self.confirmed(invariant)
        if checks is None:
            return Second("", "", UNDECIDED, clauses=clauses, reason="its invariant could not be confirmed")
        return Second("", "", SAFE, clauses=clauses, checks=checks, invariant=invariant.sexpr())

    def confirmed(self, invariant: Any) -> int | None:
        """How many queries confirm the invariant on the whole system; None if one does not."""
        z3 = self.z3
        solver = z3.SimpleSolver()
        solver.set("timeout", 20_000)
        at_start = z3.substitute(invariant, *[(to_z3(old), to_z3(new)) for old, new in self.start.items()])
        queries = [[z3.Not(at_start)]]
        given = [invariant, *self.given]
        for way in self.ways:
            after = zip(self.fields, flat_terms(way.path.outcome), strict=True)
            moved = z3.substitute(invariant, *[(to_z3(old), to_z3(new)) for old, new in after])
            queries.append([*given, *map(to_z3, way.conditions), z3.Not(moved)])
        for way_of, claim in self.claims:
            conditions = [] if way_of is None else [to_z3(term) for term in way_of.conditions]
            queries.append([*given, *conditions, to_z3(terms.negation(claim))])
        for query in queries:
            if solver.check(*query) != z3.unsat:
                return None
        return len(queries)
