"""Where a fact or an action stands in the sources, as other tools want to have it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vtpm_model.core import Spec
from vtpm_proofs.obligation import Obligation


def place(function: Callable[..., Any]) -> tuple[str, int]:
    """(file, line) of a function: relative to the current folder if it lies below it, else to its package's folder."""
    code = inspect.unwrap(function).__code__
    file = Path(code.co_filename)
    for base in (Path.cwd(), file.parent.parent):
        if file.is_relative_to(base):
            return file.relative_to(base).as_posix(), code.co_firstlineno
    return file.as_posix(), code.co_firstlineno


def fact_of(spec: Spec[Any], name: str) -> Callable[..., Any] | None:
    """The function that states a fact, a lemma or a liveness claim; None for what the prover itself adds."""
    for fact in (*spec.facts, *spec.lemmas):
        if fact.name == name:
            return fact.holds
    for claim in spec.liveness:
        if claim.name == name:
            return claim.pending
    return None


def place_of(spec: Spec[Any], obligation: Obligation) -> tuple[str, int]:
    """Where to look first: the fact; where there is none, the action; else the initial state."""
    fact = fact_of(spec, obligation.fact)
    if fact is not None:
        return place(fact)
    for action in spec.actions:
        if action.name == obligation.action:
            return place(action.run)
    return place(spec.init)
