"""The shortest run that breaks one fact or one liveness claim, found breadth first over the model's own functions.

A liveness claim is broken by a run that may go on as it ends for ever: at its last state the claim is pending and no
action of any fair group is possible (the run *rests*); or its last step leads back to where it began, with every fair
group taken by it or not possible there (it *circles*).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from vtpm_model.core import Action, Disabled, Eventually, Fact, Kind, Spec, Step
from vtpm_proofs import bounds as limits
from vtpm_proofs import terms
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.explore import Move
from vtpm_proofs.solvers import UNSAT, start
from vtpm_proofs.symbolic import of_sort, paths, symbolic_picks

Shown = Callable[[Any], bool]


@dataclass(frozen=True)
class Hunt:
    """What a hunt came to: a shortest run within the bounds, and how many states it visited."""

    run: tuple[Move, ...] | None
    states: int


def claim_of(spec: Spec[Any], name: str) -> Fact | Eventually:
    """The fact, lemma or liveness claim of that name. Raises KeyError."""
    claims: list[Fact | Eventually] = [*spec.facts, *spec.lemmas, *spec.liveness]
    for claim in claims:
        if claim.name == name:
            return claim
    raise KeyError(f"{spec.name} claims nothing called {name}")


def shortest(spec: Spec[Any], claim: str, bounds: Bounds, *, shown: Shown | None = None) -> Hunt:
    """A shortest run within the bounds that breaks the claim and whose last state is as `shown` says.

    The bounds cap what is followed (`fields`), what is picked (`picks`) and how many states are visited (`states`).
    """
    limits.check(spec, bounds)
    caps = [(attrgetter(path), most) for path, most in bounds.fields.items()]
    moves = [
        (action.run, picks, Move(action.name, picks), Step(action.name, action.by, picks))
        for action in spec.actions
        for picks in limits.choices(action, bounds)
    ]
    breaks = _breaks(spec, claim_of(spec, claim), bounds)
    first = spec.init()
    came: dict[Any, tuple[Any, Move] | None] = {first: None}
    level = [first]
    while level and len(came) < bounds.states:
        found = []
        for before in level:
            for run, picks, move, step in moves:
                try:
                    after = run(before, **picks)
                except Disabled:
                    continue
                if breaks(before, step, after) and (shown is None or shown(after)):
                    return Hunt((*_way_to(came, before), move), len(came))
                if after in came or any(get(after) > most for get, most in caps):
                    continue
                came[after] = (before, move)
                found.append(after)
        level = found
    return Hunt(None, len(came))


def _way_to(came: Mapping[Any, tuple[Any, Move] | None], state: Any) -> tuple[Move, ...]:
    moves = []
    while (last := came[state]) is not None:
        state, move = last
        moves.append(move)
    return tuple(reversed(moves))


def _breaks(spec: Spec[Any], claim: Fact | Eventually, bounds: Bounds) -> Callable[[Any, Step, Any], bool]:
    """Whether a run that ends with a step breaks the claim; of picks that are open only the bounds' are tried."""
    if isinstance(claim, Fact):
        holds = claim.holds
        if claim.kind is Kind.STEP:
            return lambda before, step, after: not holds(before, step, after)
        return lambda before, step, after: not holds(after)
    choices = {name: limits.choices(spec.action(name), bounds) for names in spec.fair.values() for name in names}

    def possible(state: Any, name: str) -> bool:
        return any(_taken(spec.action(name), state, picks) for picks in choices[name])

    pending = claim.pending
    return lambda before, step, after: pending(after) and goes_on(spec, before, step, after, possible)


def goes_on(spec: Spec[Any], before: Any, step: Step, after: Any, possible: Callable[[Any, str], bool]) -> bool:
    """Whether a run that ends with this step may go on as it ends for ever: it circles in the step, or it rests."""
    circles = before == after
    return all(
        (circles and step.name in names) or not any(possible(after, name) for name in names)
        for names in spec.fair.values()
    )


def _taken(action: Action[Any], state: Any, picks: Mapping[str, Any]) -> bool:
    try:
        action(state, **picks)
    except Disabled:
        return False
    return True


def possible_at_all(spec: Spec[Any], state: Any, name: str) -> bool:
    """Whether an action is possible in a state for any picks of their sorts: a solver is asked where picks matter."""
    action = spec.action(name)
    picks = symbolic_picks(action.picks)
    sorts = [term for pick, sort in action.picks.items() for term in of_sort(sort, picks[pick])]
    for path in paths(action.run, state, **picks):
        if not path.conditions:
            return True
        solver = start("z3")
        solver.add([*sorts, *path.conditions])
        if solver.check((terms.TRUE,)) != UNSAT:
            return True
    return False


def broken_by(spec: Spec[Any], before: Any, step: Step, after: Any) -> Iterator[str]:
    """The facts that a step breaks; a fact about states counts where it held before."""
    for fact in spec.facts:
        if fact.kind is Kind.STEP:
            if not fact.holds(before, step, after):
                yield fact.name
        elif fact.holds(before) and not fact.holds(after):
            yield fact.name


__all__ = ["Hunt", "broken_by", "claim_of", "goes_on", "possible_at_all", "shortest"]
