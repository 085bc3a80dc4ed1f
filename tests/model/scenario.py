"""Plays a list of steps on a specification and says which facts a step broke."""

from __future__ import annotations

from typing import Any, TypeVar

from vtpm_model.core import Disabled, Kind, Spec, Step

S = TypeVar("S")
Steps = list[tuple[str, dict[str, Any]]]


def possible(spec: Spec[S], state: S, name: str, **picks: Any) -> bool:
    """Whether the action may happen in the state."""
    try:
        spec.action(name)(state, **picks)
    except Disabled:
        return False
    return True


def broken(spec: Spec[S], before: S, name: str, after: S, picks: dict[str, Any]) -> set[str]:
    """The facts and lemmas that one step broke, or that do not hold after it."""
    step = Step(name, spec.action(name).by, picks)
    found = set()
    for fact in (*spec.facts, *spec.lemmas):
        holds = fact.holds(before, step, after) if fact.kind is Kind.STEP else fact.holds(after)
        if not holds:
            found.add(fact.name)
    return found


def play(spec: Spec[S], steps: Steps) -> tuple[S, set[str]]:
    """The last state, and the facts that the last step broke; no earlier step may break one."""
    state = spec.init()
    found: set[str] = set()
    for name, picks in steps:
        assert not found, f"before {name}: {found}"
        after = spec.action(name)(state, **picks)
        found = broken(spec, state, name, after, picks)
        state = after
    return state, found


def stuck(spec: Spec[S], state: S) -> set[str]:
    """The liveness claims that wait for a group none of whose actions may happen (actions without picks only)."""
    found = set()
    for claim in spec.liveness:
        if claim.pending(state):
            group = spec.fair[claim.helpful(state)]
            names = [name for name in group if name in {a.name for a in spec.actions}]
            if not any(possible(spec, state, name) for name in names):
                found.add(claim.name)
    return found
