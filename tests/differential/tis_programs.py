"""Random programs of register accesses, run on QEMU's TPM and held against the model of its device.

    python -m tests.differential.tis_programs [PROGRAMS]

Each program begins after a reset of the machine and makes 50 accesses: reads and writes of every width and offset that
the specification names, of all localities, stray or in the order in which a driver makes them. One thing is avoided,
since it freezes QEMU: tpmGo for a command of less than ten bytes.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator

from vtpm_impl.tis.qemu import Machine
from vtpm_impl.tpm.family import Family
from vtpm_model.tis_device import (
    ACCESS,
    ACTIVE,
    BEEN_SEIZED,
    COMMAND_READY,
    DATA_AVAIL,
    DATA_FIFO,
    DID_VID,
    EXPECT,
    GO,
    INT_ENABLE,
    INT_STATUS,
    INT_VECTOR,
    INTERFACE_ID,
    INTF_CAPABILITY,
    QEMU,
    REQUEST,
    RETRY,
    RID,
    SEIZE,
    STS,
    STS_VALID,
    XDATA_FIFO,
    XDATA_FIFO_END,
)
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.tis_accesses import Access, aligned, explained_by
from vtpm_traces.verdict import Verdict

LENGTH = 50
PROGRAMS = 10_000

PLACES = (
    *(offset + at for offset in (ACCESS, INT_ENABLE, INT_VECTOR, INT_STATUS, INTF_CAPABILITY, STS) for at in range(4)),
    *(offset + at for offset in (0x20, DATA_FIFO, 0x28, INTERFACE_ID, DID_VID, RID) for at in range(4)),
    *(XDATA_FIFO, XDATA_FIFO + 1, 0xA0, XDATA_FIFO_END - 3, XDATA_FIFO_END, 0x04, 0x1C, 0x800, 0xF80, 0xF90),
)
"""Offsets of every register, at each of its bytes, and some holes."""

COMMANDS = {
    Family.TPM_1_2: ("00c10000000c000000990001", "00c10000000e0000004600000010", "00c10000000a00000053"),
    Family.TPM_2_0: ("80010000000c000001440000", "80010000000c0000017b0010", "80010000000b0000014301"),
}
"""Startup, random bytes, and the self-test."""


class Program:
    """One program while it runs; its accesses are what was recorded."""

    def __init__(self, machine: Machine, family: Family, chance: random.Random) -> None:
        self.machine = machine
        self.family = family
        self.chance = chance
        self.accesses: list[Access] = []
        self.made = 0

    def read(self, locality: int, offset: int, width: int) -> int:
        """Read `width` bytes."""
        value = self.machine.read(locality * 0x1000 + offset, 8 * width)
        self._note(locality, offset, width, value, writes=False)
        return value

    def write(self, locality: int, offset: int, width: int, value: int) -> None:
        """Write `width` bytes."""
        self.machine.write(locality * 0x1000 + offset, 8 * width, value)
        self._note(locality, offset, width, value, writes=True)

    def _note(self, locality: int, offset: int, width: int, value: int, *, writes: bool) -> None:
        self.made += 1
        text = f"{'write' if writes else 'read'}{8 * width} loc{locality}+{offset:#x} = {value:#x}"
        origin = Origin("program", self.made, text)
        for at, part in aligned(offset, width):
            inner = value >> 8 * (at - offset) & (1 << 8 * part) - 1
            self.accesses.append(Access(origin, writes, locality, at, part, inner))

    def run(self) -> None:
        """Make all accesses."""
        steps = self._steps()
        while self.made < LENGTH:
            next(steps)

    def _steps(self) -> Iterator[None]:
        """Strange accesses, and now and then what a driver does; the program ends wherever it is."""
        chance = self.chance
        while True:
            locality = chance.choice((0, 0, 0, 1, 1, 2, 3, 4))
            match chance.randrange(6):
                case 0:
                    self.read(locality, self._place(width := chance.choice((1, 2, 4))), width)
                case 1:
                    self._writes_anywhere(locality)
                case 2:
                    bits = (REQUEST, ACTIVE, SEIZE, BEEN_SEIZED, chance.randrange(256))
                    self.write(locality, ACCESS, 1, chance.choice(bits))
                    yield
                    self.read(chance.randrange(5), ACCESS, 1)
                case 3:
                    yield from self._commands(locality)
                case 4:
                    width = chance.choice((1, 2, 4))
                    place = chance.choice((DATA_FIFO, DATA_FIFO, XDATA_FIFO)) + chance.choice((0, 0, 0, 1, 2, 3))
                    for _ in range(chance.randrange(1, 12)):
                        self.read(locality, place, width)
                        yield
                case _:
                    yield from self._sends(locality)
            yield

    def _place(self, width: int) -> int:
        return min(self.chance.choice(PLACES), 0x1000 - width)

    def _writes_anywhere(self, locality: int) -> None:
        width = self.chance.choice((1, 2, 4))
        place = self._place(width)
        if any(at & ~3 == STS for at in range(place, place + width)):
            return  # see _commands
        self.write(locality, place, width, self.chance.choice((0, 0xFF, self.chance.getrandbits(8 * width))))

    def _commands(self, locality: int) -> Iterator[None]:
        """A write to STS; tpmGo only where it does not begin a command of less than ten bytes."""
        sts = self.read(locality, STS, 4)
        yield
        whole = sts & (STS_VALID | EXPECT | DATA_AVAIL | COMMAND_READY) == STS_VALID
        short = whole and sts >> 8 & 0xFFFF > 4096 - 10
        value = self.chance.choice((COMMAND_READY, COMMAND_READY, GO, RETRY, GO | RETRY, self.chance.randrange(256)))
        self.write(locality, STS, self.chance.choice((1, 1, 2, 4)), value & ~GO if short else value)
        yield
        self.read(locality, STS, self.chance.choice((1, 2, 4)))

    def _sends(self, locality: int) -> Iterator[None]:
        """Some of what a driver does, in its order."""
        chance = self.chance
        steps = ((ACCESS, REQUEST), (STS, COMMAND_READY))
        for offset, value in steps:
            if chance.random() < 0.9:
                self.write(locality, offset, 1, value)
                yield
        command = bytes.fromhex(chance.choice(COMMANDS[self.family]))
        if chance.random() < 0.2:
            command = chance.randbytes(2) + (10 + chance.randrange(4)).to_bytes(4, "big") + chance.randbytes(8)
        sent = 0
        while sent < len(command):
            width = chance.choice((1, 4, 4))
            self.write(locality, DATA_FIFO, width, int.from_bytes(command[sent : sent + width], "little"))
            sent += width
            yield
        yield from self._commands(locality)
        for _ in range(chance.randrange(4)):
            self.read(locality, STS, 4)
            yield


def difference(machine: Machine, family: Family, seed: int) -> Verdict | None:
    """Run the program of that number; what the model does not explain of it, if anything."""
    machine.reset()
    program = Program(machine, family, random.Random(seed))
    program.run()
    verdict = explained_by(QEMU.name, f"program {seed}", program.accesses)
    return None if verdict.accepted else verdict


def main(programs: int) -> int:
    """Run so many programs with a TPM of each family, and tell each difference."""
    different = 0
    for family in Family:
        began = time.monotonic()
        with Machine(family) as machine:
            for seed in range(programs):
                verdict = difference(machine, family, seed)
                if verdict is not None:
                    different += 1
                    sys.stdout.write(f"{family.value}: program {seed}: {verdict.stuck[0]}\n")
        seconds = time.monotonic() - began
        sys.stdout.write(f"{family.value}: {programs} programs of {LENGTH} accesses, {seconds:.0f} s\n")
    sys.stdout.write(f"{different} differences\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else PROGRAMS))
