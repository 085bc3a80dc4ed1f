"""Liveness by rank: premises, each about one state or one step, from which weak fairness ends what is pending.

For a claim with `pending`, `helpful` and `rank`, in every state where the facts and lemmas hold:

* `natural`: no component of the rank is negative while pending, so it cannot fall for ever;
* `possible`: while pending, some action of the helpful group can be taken;
* `lowers`: a step of the helpful group ends pending or lowers the rank;
* `keeps`: any other step ends pending, or lowers the rank, or leaves rank and helpful group as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from vtpm_model.core import Eventually
from vtpm_proofs import terms
from vtpm_proofs.leaves import integer_range, is_enum, is_record
from vtpm_proofs.obligation import Obligation
from vtpm_proofs.symbolic import SymbolicError, cases, formula, lift, numbers
from vtpm_proofs.terms import FALSE, Term

if TYPE_CHECKING:
    from vtpm_proofs.system import System, Way

Found = tuple[Obligation, "Way | None", Term, Term]


class _Claim:
    """A claim over the state before."""

    def __init__(self, system: System, claim: Eventually) -> None:
        self.name = claim.name
        self.pending = formula(claim.pending, system.before)
        self.rank = numbers(claim.rank, system.before)
        self.helpful = cases(claim.helpful, system.before)
        unknown = [name for name in self.helpful if name not in system.spec.fair]
        if unknown:
            known = ", ".join(system.spec.fair)
            raise SymbolicError(f"{claim.name}: helpful names {unknown[0]!r}; {system.spec.name} has {known}")


def _claims(system: System, only: Collection[str] | None) -> Iterator[_Claim]:
    for claim in system.spec.liveness:
        if only is None or claim.name in only:
            found = system.claims.get(claim.name)
            if found is None:
                found = system.claims[claim.name] = _Claim(system, claim)
            yield found


def of_way(system: System, way: Way, only: Collection[str] | None = None) -> Iterator[Found]:
    """The premises that one path of one action has to keep."""
    moved = system.moved(way)
    done: dict[Term, Term] = {}
    rewritten: dict[Term, Term] = {}

    def after(term: Term) -> Term:
        return terms.rewrite(term, moved, done)

    for claim in _claims(system, only):
        ended = terms.negation(after(claim.pending))
        rank = tuple(after(part) for part in claim.rank)
        lower = _lower(rank, claim.rank)
        level = terms.conjunction(terms.equal(a, b) for a, b in zip(rank, claim.rank, strict=True))
        still = terms.conjunction(terms.implication(turn, after(turn)) for turn in claim.helpful.values())
        groups = [group for group, names in system.spec.fair.items() if way.action.name in names]
        own = terms.disjunction(claim.helpful.get(group, FALSE) for group in groups)
        premises = {
            "keeps": (terms.negation(own), terms.disjunction((ended, lower, terms.conjunction((level, still))))),
            "lowers": (own, terms.disjunction((ended, lower))),
        }
        for part, (turn, outcome) in premises.items():
            if turn is FALSE:
                continue
            made = terms.implication(terms.conjunction((claim.pending, turn)), outcome)
            label = way.path.label
            obligation = Obligation(system.spec.name, way.action.name, label, claim.name, "liveness", part)
            yield obligation, way, made, terms.rewrite(made, way.path.known, rewritten)


def of_state(system: System, only: Collection[str] | None = None) -> Iterator[Found]:
    """The premises about one state."""

    def found(claim: _Claim, action: str, part: str, made: Term) -> Found:
        return Obligation(system.spec.name, action, "only", claim.name, "liveness", part), None, made, made

    for claim in _claims(system, only):
        natural = terms.conjunction(terms.at_most(terms.ZERO, part) for part in claim.rank)
        yield found(claim, "any", "natural", terms.implication(claim.pending, natural))
        for group, turn in claim.helpful.items():
            made = terms.implication(terms.conjunction((claim.pending, turn)), possible(system, group))
            yield found(claim, group, "possible", made)


def _lower(rank: tuple[Term, ...], than: tuple[Term, ...]) -> Term:
    """The rank is lower, first component first."""
    ways = []
    above = terms.TRUE
    for part, old in zip(rank, than, strict=True):
        ways.append(terms.conjunction((above, terms.at_most(terms.add(part, terms.constant(1)), old))))
        above = terms.conjunction((above, terms.equal(part, old)))
    return terms.disjunction(ways)


def possible(system: System, group: str) -> Term:
    """Some action of a fair group can be taken, with one of the picks that are tried."""
    actions = [system.spec.action(name) for name in system.spec.fair[group]]
    return terms.disjunction(_possible(way) for action in actions for way in system.ways(action))


def _possible(way: Way) -> Term:
    """The way can be gone with one of the picks that are tried: there is no quantifier over the others."""
    ways = [terms.conjunction(way.conditions)]
    for name, sort in way.action.picks.items():
        if is_record(sort):
            raise SymbolicError(f"{way.action.name} picks a record; a fair action may pick plain values only")
        unknown = lift(way.picks[name])
        ways = [
            terms.rewrite(condition, {unknown: value})
            for condition in ways
            for value in _candidates(sort, unknown, condition)
        ]
    return terms.disjunction(ways)


def _candidates(sort: Any, unknown: Term, condition: Term) -> list[Term]:
    """Values for a pick: all of a small sort; else the ends of its range, and what the condition compares it with."""
    if sort is bool:
        return [terms.TRUE, FALSE]
    if is_enum(sort):
        return [lift(member) for member in sort]
    span = integer_range(sort)
    assert span is not None
    found = {terms.constant(span.low): None, terms.constant(span.low + 1): None}
    if span.high is not None:
        found[terms.constant(span.high)] = None
    rest = [condition]
    while rest:
        term = rest.pop()
        rest += term.children
        if term.op in ("=", "<=") and unknown in term.children:
            other = term.children[1] if term.children[0] is unknown else term.children[0]
            if unknown not in terms.support(other):
                found[other] = None
    return list(found)


def holds(claim: Eventually, part: str, before: Any, after: Any) -> bool:
    """Whether a premise about a step holds of plain states, as the model computes them."""
    if not claim.pending(before) or not claim.pending(after) or claim.rank(after) < claim.rank(before):
        return True
    level = claim.rank(after) == claim.rank(before) and claim.helpful(after) == claim.helpful(before)
    return part == "keeps" and level


__all__ = ["holds", "of_state", "of_way", "possible"]
