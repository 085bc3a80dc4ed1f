"""How long a driver waits: the time-outs A to D, the durations of commands, and how often it looks meanwhile.

A TPM 1.2 can be asked for its own figures. Some tell nothing, some tell milliseconds for microseconds, and some tell
too little: what is told makes a wait longer, within bounds, and never shorter. Here everything is in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final

from vtpm_impl.tpm.durations import Duration

LONGEST: Final = 60.0
"""Of a time-out: a device that asks for more is not believed."""

LONGEST_DURATION: Final = 600.0
"""Of a command."""

DURATIONS: Final[Mapping[Duration, float]] = {one: one.value for one in Duration}
"""How long commands may take where the TPM has told nothing."""


@dataclass(frozen=True)
class Timeouts:
    """TCG's defaults; each is more than 0 and at most `LONGEST`."""

    a: float = 0.75  # a locality is granted
    b: float = 2.0  # a command can be written
    c: float = 0.75  # the status is valid
    d: float = 0.75  # the FIFO takes or gives a byte

    def __post_init__(self) -> None:
        for name, seconds in vars(self).items():
            if not 0 < seconds <= LONGEST:
                raise ValueError(f"time-out {name.upper()} of {seconds} s; it is more than 0 and at most {LONGEST:g}")


def told_timeouts(microseconds: Sequence[int]) -> Timeouts:
    """The time-outs that a TPM tells, A to D, of any 32-bit values."""
    unit = _unit(microseconds[0])
    usual = astuple(Timeouts())
    return Timeouts(*(min(max(least, told * unit), LONGEST) for least, told in zip(usual, microseconds, strict=True)))


def told_durations(microseconds: Sequence[int]) -> Mapping[Duration, float]:
    """The durations with those that a TPM tells, short, medium and long, of any 32-bit values."""
    unit = _unit(microseconds[0])
    classes = (Duration.SHORT, Duration.MEDIUM, Duration.LONG)
    told = {one: told * unit for one, told in zip(classes, microseconds, strict=True)}
    return {one: min(max(least, told.get(one, 0.0)), LONGEST_DURATION) for one, least in DURATIONS.items()}


def _unit(first: int) -> float:
    """Seconds of what is told: no TPM means less than a millisecond by its first figure."""
    return 1e-3 if first < 1000 else 1e-6


FIRST_PAUSE = 0.0001
"""Seconds before the device is looked at a second time; each pause is twice the one before."""

LONGEST_PAUSE = 0.005
"""Seconds between two looks at a device that takes long."""

LONGEST_TRUST = 0.1
"""Seconds for which an interrupt is waited for before the device is looked at all the same."""
