"""Whether to look for a while before sleeping: what is quicker is found by trying both, again and again.

Where either end has a processor of its own, looking saves a sleep and a wake-up. Where the peer waits for this very
processor, or others do, it only keeps the peer from answering.
"""

from __future__ import annotations

SPIN = 0.00005
"""Seconds of looking before sleeping: what is quick comes in less time than a sleep and a wake-up take."""

_TERM = 2048
"""Waits until the way that seemed slower is tried again."""

_TRIAL = 32
"""Waits that it is tried for."""

_MOST = 0.001
"""Seconds that one wait counts at most: what takes longer says nothing about either way."""


class Spinning:
    """What both ways have cost lately, and which is the way now."""

    def __init__(self) -> None:
        self._spin = True
        self._length = self._left = _TRIAL
        self._trying = False
        self._sum = 0.0
        self._cost = {True: 0.0, False: 0.0}

    def worthwhile(self) -> bool:
        """Whether to spin this time."""
        return self._spin

    def took(self, seconds: float) -> None:
        """How long the wait was; what was looked for in vain may be added to it."""
        self._sum += min(seconds, _MOST)
        self._left -= 1
        if self._left == 0:
            self._next()

    def _next(self) -> None:
        self._cost[self._spin] = self._sum / self._length
        self._sum = 0.0
        self._trying = not self._trying
        self._length = self._left = _TRIAL if self._trying else _TERM
        self._spin = not self._spin if self._trying else self._cost[True] < self._cost[False]
