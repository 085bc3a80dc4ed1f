"""The verdict on a log or recording: accepted with a completed run, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from vtpm_model.core import Actor
from vtpm_traces.observe import Origin


class Outcome(Enum):
    """What validation found."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # no run of the specification shows this
    UNDECIDED = "undecided"  # a bound was hit, or a pick has more values than were tried
    MALFORMED = "malformed"  # not a log at all


@dataclass(frozen=True)
class Taken:
    """One step of a completed run, with the observations that it explains (none: it was hidden)."""

    action: str
    by: Actor
    picks: Mapping[str, Any]
    after: Any
    seen: tuple[Origin, ...] = ()


@dataclass(frozen=True)
class Stuck:
    """An observation that no run gets past, and what was possible instead.

    `possible` are the actions, with picks, that could happen in the states that the log allows there; `values` gives,
    for each field that differs from what was observed, the values that it could have.
    """

    origin: Origin
    possible: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        text = str(self.origin)
        if self.values:
            told = "; ".join(f"{name} could be {', '.join(values)}" for name, values in self.values.items())
            text += f"\n  there {told}"
        if self.possible:
            text += f"\n  possible was: {', '.join(self.possible)}"
        return text


@dataclass(frozen=True)
class Verdict:
    """The outcome for one log or recording.

    `run` is the completed run of an accepted one (empty where it was not asked for); `stuck` are the observations at
    which the others end, the furthest place first; `lines` counts observations, `states` the states that were met.
    """

    outcome: Outcome
    specification: str
    lines: int
    states: int = 0
    widest: int = 1
    run: tuple[Taken, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """Whether a run of the specification shows exactly what was recorded."""
        return self.outcome is Outcome.ACCEPTED
