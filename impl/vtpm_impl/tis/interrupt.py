"""The interrupt of a TPM: raised, by the one choice of this driver, when there is a response and for nothing else."""

from __future__ import annotations

from typing import Final

from vtpm_impl.tis.errors import Violation
from vtpm_impl.tis.page import Page
from vtpm_impl.tis.port import Interrupts
from vtpm_impl.tis.registers import INT_ENABLE, INT_STATUS, INT_VECTOR, Interrupt

LINES: Final = range(1, 24)
"""The lines of a PC's first interrupt controller, without the timer's."""

_POLARITY: Final = 3 << 3
_ENABLED: Final = Interrupt.GLOBAL_ENABLE | Interrupt.DATA_AVAIL


class Line:
    """What a driver waits for. With no number yet, any line of the machine."""

    def __init__(self, interrupts: Interrupts, number: int | None) -> None:
        self._interrupts = interrupts
        self.number = number

    def enable(self, page: Page) -> None:
        """Let the device raise its interrupt; the locality must be active. Raises Violation: it has another one."""
        if self.number is not None and page.read(INT_VECTOR) & 0xF != self.number:
            page.write(INT_VECTOR, self.number)
            if (vector := page.read(INT_VECTOR) & 0xF) != self.number:
                raise Violation(f"the TPM's interrupt is {vector} and cannot be made {self.number}")
        self.acknowledge(page)
        page.write(INT_ENABLE, page.read(INT_ENABLE) & _POLARITY | _ENABLED)

    def disable(self, page: Page) -> None:
        """Let the device raise no interrupt."""
        page.write(INT_ENABLE, page.read(INT_ENABLE) & _POLARITY)

    def acknowledge(self, page: Page) -> None:
        """Let the device raise the next one, too."""
        raised = page.read(INT_STATUS)
        if raised:
            page.write(INT_STATUS, raised)

    def wait(self, seconds: float) -> int | None:
        """The line that was raised, or None after so many seconds."""
        return self._interrupts.wait(LINES if self.number is None else (self.number,), seconds)
