"""The registers of one locality: to have it, to lose it, and to wait for what its status says.

The active locality reads some bits of STS as 0; every other one reads all ones. So each look at the status shows
whether the locality is still ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vtpm_impl.tis import registers
from vtpm_impl.tis.errors import Absent, LocalityDenied, LocalityLost, Seized, TimedOut, Violation
from vtpm_impl.tis.port import Clock, Port
from vtpm_impl.tis.registers import ACCESS, STS, Access, Register, burst_count
from vtpm_impl.tis.timeouts import FIRST_PAUSE, LONGEST_PAUSE, Timeouts

# plain numbers: an operation on members of a flag takes longer than the access that it judges
_VALID, _PENDING, _BEEN_SEIZED = int(Access.VALID), int(Access.PENDING_REQUEST), int(Access.BEEN_SEIZED)
_ACTIVE = int(Access.ACTIVE_LOCALITY)
_OWNED: Final = _VALID | _ACTIVE
_NOBODY: Final = 0xFF  # ACCESS where nothing answers; no TPM sets all its bits


class Page:
    """One locality. Its owner is one driver, and one command at a time."""

    def __init__(self, port: Port, locality: int, timeouts: Timeouts, clock: Clock) -> None:
        """Touches nothing."""
        self.locality = locality
        self.timeouts = timeouts
        self.clock = clock
        self._port = port
        self._start = locality * registers.PAGE

    def read(self, register: Register) -> int:
        """Read a register in its full width."""
        return self._port.read(self._start + register.offset, register.width)

    def write(self, register: Register, value: int) -> None:
        """Write a register in its full width."""
        self._port.write(self._start + register.offset, register.width, value)

    def read_fifo(self, size: int) -> bytes:
        """Read 1, 2 or 4 bytes at once."""
        return self._port.read(self._start + registers.DATA_FIFO.offset, 8 * size).to_bytes(size, "little")

    def write_fifo(self, data: bytes) -> None:
        """Write 1, 2 or 4 bytes at once."""
        self._port.write(self._start + registers.DATA_FIFO.offset, 8 * len(data), int.from_bytes(data, "little"))

    def command(self, bit: int) -> None:
        """Write one bit of STS; its lowest byte holds them all, in TPM 1.2."""
        self._port.write(self._start + STS.offset, 8, bit)

    # -- ownership

    def take(self, by: Access) -> None:
        """Become the active locality by a request, or by seizing. Raises Absent, TimedOut or LocalityDenied."""
        access = self._await_access(_VALID, "had no valid ACCESS register")
        if access & _BEEN_SEIZED:
            self.write(ACCESS, Access.BEEN_SEIZED)
        if access & _ACTIVE:
            return
        self.write(ACCESS, by)
        try:
            self._await_access(_OWNED, f"did not grant locality {self.locality}")
        except TimedOut as error:
            self.write(ACCESS, Access.ACTIVE_LOCALITY)  # takes the request back
            raise LocalityDenied(str(error)) from None

    def give_back(self) -> None:
        """Let others have the TPM."""
        self.write(ACCESS, Access.ACTIVE_LOCALITY)

    def is_wanted_by_others(self) -> bool:
        """Whether another locality has asked for the TPM."""
        return self.read(ACCESS) & _PENDING != 0

    def forget_seizure(self) -> None:
        """Tell the device that the loss has been noticed."""
        self.write(ACCESS, Access.BEEN_SEIZED)

    def _await_access(self, bits: int, what: str) -> int:
        deadline = self.clock.now() + self.timeouts.a
        pause = FIRST_PAUSE
        while True:
            access = self.read(ACCESS)
            if access == _NOBODY:
                raise Absent(f"there is no TPM: ACCESS of locality {self.locality} reads {access:#04x}")
            if access & bits == bits:
                return access
            left = deadline - self.clock.now()
            if left <= 0:
                raise TimedOut(f"the TPM {what} in {self.timeouts.a:g} s (A): ACCESS reads {access:#04x}")
            self.clock.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    # -- status

    def status(self) -> int:
        """STS with its burst count. Raises LocalityLost, or Absent."""
        status = self.read(STS)
        if status & registers.NOT_OURS:
            access = self.read(ACCESS)
            told = f"STS reads {status:#010x}, ACCESS {access:#04x}"
            if access == _NOBODY:
                raise Absent(f"the TPM is gone: {told}")
            if access & _OWNED == _OWNED:
                raise Violation(f"the status of the active locality has bits that read as 0: {told}")
            if access & _BEEN_SEIZED:
                raise Seized(f"locality {self.locality} has been seized: {told}")
            raise LocalityLost(f"locality {self.locality} is active no more: {told}")
        return status

    def await_status(self, wanted: Callable[[int], bool], seconds: float, what: str) -> int:
        """The first status that is wanted. Raises TimedOut, and what `status` raises."""
        deadline = self.clock.now() + seconds
        pause = FIRST_PAUSE
        while not wanted(status := self.status()):
            left = deadline - self.clock.now()
            if left <= 0:
                told = f"STS reads {status & 0xFF:#04x}, burst count {burst_count(status)}"
                raise TimedOut(f"the TPM {what} in {seconds:g} s: {told}")
            self.clock.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
        return status
