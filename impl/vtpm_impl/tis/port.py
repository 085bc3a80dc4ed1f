"""What the driver stands on: registers that are read and written, interrupt lines, and time."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Protocol


class Port(Protocol):
    """The registers of a TPM. Offsets count from locality 0; a width is 8, 16 or 32 bits. Raises CarrierError."""

    def read(self, offset: int, width: int) -> int:
        """The value of exactly one access."""

    def write(self, offset: int, width: int, value: int) -> None:
        """Exactly one access."""

    def close(self) -> None:
        """Give the registers back."""


class Interrupts(Protocol):
    """The interrupt lines of a machine. Raises CarrierError."""

    def wait(self, lines: Collection[int], seconds: float) -> int | None:
        """One of the lines that was raised since it was last told here; waits for it, and gives None after a while."""


class Clock(Protocol):
    """Time, in seconds."""

    def now(self) -> float:
        """Never goes back."""

    def sleep(self, seconds: float) -> None:
        """Let so much of it pass."""


class MachineClock:
    """The time of the machine."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
