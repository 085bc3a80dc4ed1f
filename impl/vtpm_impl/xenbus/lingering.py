"""Whether to wait for the next request of the frontend that was served last, before anybody else is listened to.

One that asks again at once is answered sooner so; one that does not keeps the others waiting for nothing.
"""

from __future__ import annotations

_LONGEST = 256
"""Most occasions that are let go by after vain waits."""


class Lingering:
    """Lets the more occasions go by, the more often it was in vain lately."""

    def __init__(self) -> None:
        self._left = 0
        self._setback = 0

    def worthwhile(self) -> bool:
        """Whether to wait this time."""
        if self._left:
            self._left -= 1
            return False
        return True

    def was(self, worth: bool, /) -> None:  # noqa: FBT001
        """Say what came of a wait."""
        self._setback = self._setback // 2 if worth else min(self._setback * 2 + 1, _LONGEST)
        self._left = 0 if worth else self._setback
