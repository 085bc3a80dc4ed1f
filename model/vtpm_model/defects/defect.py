"""What a known defect is: a named variant that makes one mistake, and the fact that fails on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Citation, Spec


def anything(state: Any) -> bool:
    """Nothing more is asked of the last state of a run."""
    return True


@dataclass(frozen=True)
class Defect:
    """A mistake that somebody made, or might make, and what it breaks.

    `id` is a row of the published tables. `fails` names a fact or a liveness claim of the system that is varied: the
    shortest run that breaks it, and whose last state is as `shown` says, is kept as a trace. `along` names the other
    facts that the steps of that run break.
    """

    id: str
    variant: Spec[Any]
    fails: str
    sentence: str
    cites: tuple[Citation, ...]
    along: tuple[str, ...] = ()
    shown: Callable[[Any], bool] = anything


@dataclass(frozen=True)
class Situation:
    """What a sound system does where others fail: a run of it, its steps, and what is true at the end.

    `id` is a row of the published tables.
    """

    id: str
    system: Spec[Any]
    sentence: str
    run: tuple[tuple[str, Mapping[str, Any]], ...]
    shown: Callable[[Any], bool]
