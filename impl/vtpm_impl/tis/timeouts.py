"""How long a driver waits: the time-outs A to D of the interface, in seconds, and how often it looks meanwhile."""

from __future__ import annotations

from dataclasses import dataclass


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


LONGEST = 60.0
"""Seconds; a device that asks for more of its driver is not believed."""

FIRST_PAUSE = 0.0001
"""Seconds before the device is looked at a second time; each pause is twice the one before."""

LONGEST_PAUSE = 0.005
"""Seconds between two looks at a device that takes long."""

LONGEST_TRUST = 0.1
"""Seconds for which an interrupt is waited for before the device is looked at all the same."""
