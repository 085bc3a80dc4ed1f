"""Why each obligation holds: the lemmas and the guards in its unsat core, and whatever no proof needs.

Every hypothesis and every condition of a way is named, and Z3 tells which names its refutation used, as few as it can.
The claims are taken as they are, without rewriting, so that a guard is seen where it carries something.
"""

from __future__ import annotations

import linecache
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Kind, Spec
from vtpm_proofs import terms
from vtpm_proofs.forks import Decision
from vtpm_proofs.induction import Task, tasks, tasks_of_claims
from vtpm_proofs.obligation import SORTS
from vtpm_proofs.solvers import to_z3
from vtpm_proofs.system import System, Way
from vtpm_proofs.terms import BOOL, Term


@dataclass(frozen=True, order=True)
class Guard:
    """A condition that a path of an action depends on: where the model asks it."""

    action: str
    file: str
    line: int
    outcome: bool

    @property
    def source(self) -> str:
        """The line of the model."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{self.action}: {'' if self.outcome else 'not '}{self.source}"


@dataclass(frozen=True)
class Carried:
    """What the proofs of one fact need, over all paths of all actions."""

    lemmas: frozenset[str]  # lemmas, and other state facts
    guards: frozenset[Guard]


@dataclass(frozen=True)
class Map:
    """What carries what, for a whole system (or, if facts were named, for those and what they rest on)."""

    spec: Spec[Any]
    facts: Mapping[str, Carried]  # facts, claims and lemmas, by name
    guards: frozenset[Guard]  # every guard of every action
    undecided: tuple[str, ...]  # obligations that do not hold: nothing carries them

    @property
    def idle_lemmas(self) -> list[str]:
        """Lemmas that no fact rests on, not even through other lemmas."""
        needed = self.ground(name for name in self.facts if name not in {one.name for one in self.spec.lemmas})
        return [one.name for one in self.spec.lemmas if one.name not in needed]

    @property
    def idle_guards(self) -> list[Guard]:
        """Guards that no proof needs: they make the model smaller, not safer."""
        used = {guard for carried in self.facts.values() for guard in carried.guards}
        return sorted(self.guards - used)

    def ground(self, names: Any) -> set[str]:
        """The named facts and whatever they rest on, directly or not."""
        found: set[str] = set()
        rest = list(names)
        while rest:
            name = rest.pop()
            if name not in found:
                found.add(name)
                rest += self.facts[name].lemmas if name in self.facts else ()
        return found


def carry(spec: Spec[Any], facts: Collection[str] | None = None) -> Map:
    """Find out what carries each fact; with `facts`, only those and whatever they rest on."""
    system = System(spec)
    prover = _Namer(system)
    found: dict[str, Carried] = {}
    undecided: list[str] = []
    wanted = list(facts) if facts is not None else None
    asked: set[str] = set()
    while True:
        batch = None if wanted is None else set(wanted) - asked
        if batch is not None and not batch:
            break
        found.update(prover.carried(batch, undecided))
        if batch is None:
            break
        asked |= batch
        wanted = [lemma for name in batch if name in found for lemma in found[name].lemmas]
    guards = {guard for action in spec.actions for way in system.ways(action) for _, guard in _guards(way) if guard}
    return Map(spec, found, frozenset(guards), tuple(undecided))


class _Namer:
    """Asks Z3 with every hypothesis named."""

    def __init__(self, system: System) -> None:
        import z3

        self.z3 = z3
        self.system = system
        self.solver = z3.SimpleSolver()
        self.solver.set("core.minimize", True)  # noqa: FBT003
        self.solver.add([to_z3(term) for term in system.sorts])
        self.hypotheses = {self._name(f"fact {name}", term): name for name, term in system.invariants.items()}
        self.stated = {term: name for name, term in reversed(system.invariants.items())}

    def _stating(self, claim: Term, fact: str) -> set[str]:
        """The hypothesis that the claim is, word for word; the fact itself needs no other."""
        return set() if self.system.invariants.get(fact) is claim else {self.stated[claim]}

    def _name(self, label: str, term: Term) -> Any:
        name = to_z3(terms.variable(f"!{label}", BOOL))
        self.solver.add(self.z3.Implies(name, to_z3(term)))
        return name

    def carried(self, facts: Collection[str] | None, undecided: list[str]) -> Iterator[tuple[str, Carried]]:
        """(fact, what carries it) for each of the facts; obligations that fail go to `undecided`."""
        spec = self.system.spec
        names = [*own_facts(spec), *(one.name for one in spec.lemmas), SORTS]
        lemmas: dict[str, set[str]] = {name: set() for name in names if facts is None or name in facts}
        guards: dict[str, set[Guard]] = {name: set() for name in lemmas}
        for task, named in self._framed(facts):
            fact = task.obligation.fact
            if task.claim in self.stated:
                lemmas[fact] |= self._stating(task.claim, fact)
                continue
            core = self._core(task, named)
            if core is None:
                undecided.append(task.obligation.name)
                continue
            for label in core:
                hypothesis = self.hypotheses.get(label)
                guard = named.get(label)
                if hypothesis is not None and hypothesis != fact:
                    lemmas[fact].add(hypothesis)
                elif guard is not None:
                    guards[fact].add(guard)
        for name in lemmas:
            yield name, Carried(frozenset(lemmas[name]), frozenset(guards[name]))

    def _framed(self, facts: Collection[str] | None) -> Iterator[tuple[Task, dict[Any, Guard | None]]]:
        """Every task that takes a proof, its way's conditions asserted under names."""
        for action in self.system.spec.actions:
            way: Way | None = None
            named: dict[Any, Guard | None] = {}
            for task in tasks(self.system, action.name, facts):
                if task.claim.op == "const":
                    continue
                if task.way is not way:
                    if way is not None:
                        self.solver.pop()
                    assert task.way is not None
                    way = task.way
                    self.solver.push()
                    named = {
                        self._name(f"{way.label} {at}", term): guard for at, (term, guard) in enumerate(_guards(way))
                    }
                yield task, named
            if way is not None:
                self.solver.pop()
        yield from ((task, {}) for task in tasks_of_claims(self.system, facts) if task.claim.op != "const")

    def _core(self, task: Task, named: Mapping[Any, Guard | None]) -> list[Any] | None:
        self.solver.push()
        self.solver.add(self.z3.Not(to_z3(task.claim)))
        unsat = self.solver.check([*self.hypotheses, *named]) == self.z3.unsat
        core = list(self.solver.unsat_core()) if unsat else None
        self.solver.pop()
        return core


def _guards(way: Way) -> Iterator[tuple[Term, Guard | None]]:
    """The way's conditions, each with the line that asks it; None for what the sorts of the picks say."""
    yield from ((term, None) for term in way.pick_sorts)
    for decision in way.path.decisions:
        term = decision.condition if decision.outcome else terms.negation(decision.condition)
        yield term, _guard(way.action.name, decision)


def _guard(action: str, decision: Decision) -> Guard:
    return Guard(action, decision.file, decision.line, decision.outcome)


def own_facts(spec: Spec[Any]) -> list[str]:
    """The facts and claims of a specification, without its lemmas."""
    return [fact.name for fact in spec.facts if fact.kind is not Kind.LEMMA] + [claim.name for claim in spec.liveness]
