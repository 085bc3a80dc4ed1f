"""What `tis.device` does at the locality that has the TPM is what `tis_fifo` does, on which the system `tis` rests."""

from __future__ import annotations

import random

import pytest

from vtpm_model import tis_fifo
from vtpm_model.core import replace
from vtpm_model.tis_device import (
    ACCESS,
    COMMAND_READY,
    DATA_AVAIL,
    DATA_FIFO,
    EXPECT,
    GO,
    REQUEST,
    RETRY,
    SIZE_IS_KNOWN,
    STS,
    Device,
    device,
    device_completes,
    page,
    software_reads,
    software_writes,
)
from vtpm_model.tis_fifo import COMPLETION, EXECUTION, PREPARING, READY, Fifo

LOCALITY = 0
STEPS = 60
COMMANDS = (COMMAND_READY, COMMAND_READY, GO, GO, RETRY)


class Both:
    """The registers and the machine, side by side."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.registers = self._written(device(), ACCESS, 1, REQUEST)
        self.machine: Fifo = tis_fifo.EMPTY
        self._command = b""
        self._response = b""
        self.met: set[str] = set()

    def step(self) -> None:
        """One step of both, at random."""
        kind = self._chance.choice((self._commands, self._writes, self._writes, self._reads, self._completes))
        kind()
        # being ready takes no time at the registers, but after an abort, which waits for the end of the command
        if self.machine.phase == PREPARING and page(self.registers, LOCALITY).phase == READY:
            self.machine = replace(self.machine, phase=READY)
        self.met.add(self.machine.phase.name)

    def agree(self) -> None:
        """AssertionError where one shows what the other does not."""
        own = page(self.registers, LOCALITY)
        if self.machine.phase == PREPARING:
            assert own.phase == EXECUTION
            return
        assert own.phase == self.machine.phase
        assert bool(own.flags & EXPECT) == (tis_fifo.expects(self.machine) and self.machine.taken > 0)
        assert bool(own.flags & DATA_AVAIL) == tis_fifo.has_data(self.machine)
        moved = min(self.machine.given, self.machine.answer) if own.phase == COMPLETION else self.machine.taken
        assert self.registers.place == moved

    def _commands(self) -> None:
        command = self._chance.choice(COMMANDS)
        self.registers = self._written(self.registers, STS, 1, command)
        told = {
            COMMAND_READY: tis_fifo.told_to_get_ready, GO: tis_fifo.told_to_go, RETRY: tis_fifo.told_to_retry,
        }  # fmt: skip
        self.machine = told[command](self.machine)

    def _writes(self) -> None:
        """A command of 10 to 14 bytes, a piece at a time; the last piece may be longer than what is left of it."""
        if self.machine.phase == READY:
            size = self._chance.randrange(10, 15)
            self._command = b"\x00\xc1" + size.to_bytes(4, "big") + bytes(14)
        width = self._chance.choice((1, 2, 4, 4))
        taken = self.machine.taken
        piece = self._command[taken : taken + width].ljust(width, b"\0")
        self.registers = self._written(self.registers, DATA_FIFO, width, int.from_bytes(piece, "little"))
        size = int.from_bytes(self._command[2:SIZE_IS_KNOWN], "big")
        known = taken + width >= SIZE_IS_KNOWN
        self.machine = tis_fifo.written(self.machine, width, size if known else SIZE_IS_KNOWN)

    def _reads(self) -> None:
        width = self._chance.choice((1, 2, 4))
        given = b""
        if self.machine.phase == COMPLETION:
            given = self._response[self.machine.given : self.machine.given + width]
        value = int.from_bytes(given.ljust(width, b"\xff"), "little")
        self.registers = software_reads(
            self.registers, locality=LOCALITY, offset=DATA_FIFO, width=width, value=value
        )  # fmt: skip
        self.machine = tis_fifo.read(self.machine, width)

    def _completes(self) -> None:
        if page(self.registers, LOCALITY).phase != EXECUTION:
            return
        size = self._chance.randrange(10, 20)
        self._response = b"\x00\xc4" + size.to_bytes(4, "big") + bytes(size - 6)
        self.registers = device_completes(self.registers, answer=size, tested=False)
        if self.machine.phase == EXECUTION:
            self.machine = tis_fifo.completed(size)

    def _written(self, registers: Device, offset: int, width: int, value: int) -> Device:
        return software_writes(registers, locality=LOCALITY, offset=offset, width=width, value=value)


@pytest.mark.parametrize("seed", range(50))
def test_both_show_the_same(seed: int) -> None:
    both = Both(random.Random(seed))
    for _ in range(STEPS):
        both.step()
        both.agree()


def test_every_phase_is_met() -> None:
    both = Both(random.Random(0))
    for _ in range(50 * STEPS):
        both.step()
    assert both.met == {phase.name for phase in tis_fifo.Phase}
