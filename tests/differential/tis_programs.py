"""Random programs of register accesses, run on QEMU's TPM and held against the model of its device.

    python -m tests.differential.tis_programs [PROGRAMS] [--first 0] [--family 1.2] [--machines 2] [--keep]

Each program begins after a reset of the machine and makes 50 accesses: reads and writes of every width and offset that
the specification names, of all localities, stray or in the order in which a driver makes them. One thing is avoided,
since it freezes QEMU: tpmGo for a command of less than ten bytes.

A program takes 10 ms, and its reset 1 ms with a TPM 2.0 but 0.18 s of processor time with a TPM 1.2: whenever QEMU is
reset it initialises swtpm, and the self-test of libtpms' TPM 1.2 makes a new RSA key of 2048 bits. Nothing waits, and a
state that was stored before changes nothing. So as many machines work as there are processors; what was begun goes on
with `--first`, the number of the first program; and with `--keep` only QEMU is reset, with its registers, and not swtpm
behind them, so that a TPM 1.2 is as fast as the other one; what such a TPM answers depends on programs before.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Final

from vtpm_impl.tis.qemu import Machine, MachineError
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

RESET: Final = ("swtpm",)
KEPT: Final = (sys.executable, "-m", "tests.peers.kept_tpm")
"""What is the TPM: one that is reset with the machine, or one that is not."""

PART = 50
"""Programs that one machine runs, which is then started anew."""

PROGRESS: Final = 5.0
"""Seconds between two words on how far the work is."""

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


def differences(family: Family, tpm: Sequence[str], enough: Event, seeds: range) -> list[str]:
    """Run the programs of these numbers on a machine of their own, until enough; a sentence for each difference."""
    found = []
    with Machine(family, tpm=tpm) as machine:
        for seed in seeds:
            if enough.is_set():
                break
            verdict = difference(machine, family, seed)
            if verdict is not None:
                found.append(f"TPM {family.value}: program {seed}: {verdict.stuck[0]}")
    return found


def run(family: Family, seeds: range, machines: int, tpm: Sequence[str] = RESET) -> int:
    """Run the programs of these numbers on so many machines at once, tell each difference, and count them."""
    began = time.monotonic()
    parts = [seeds[at : at + PART] for at in range(0, len(seeds), PART)]
    different = done = 0
    enough = Event()
    with ThreadPoolExecutor(machines) as pool:
        try:
            spoke = began
            for part, found in zip(parts, pool.map(partial(differences, family, tpm, enough), parts), strict=True):
                different += len(found)
                done += len(part)
                sys.stdout.writelines(f"{one}\n" for one in found)
                if time.monotonic() - spoke > PROGRESS or done == len(seeds):
                    spoke = time.monotonic()
                    sys.stderr.write(f"TPM {family.value}: {done} of {len(seeds)} programs, {spoke - began:.0f} s\n")
        finally:
            enough.set()
            pool.shutdown(cancel_futures=True)
    sys.stdout.write(
        f"TPM {family.value}: programs {seeds.start} to {seeds.stop - 1} of {LENGTH} accesses, "
        f"{different} differences, {time.monotonic() - began:.0f} s\n"
    )
    sys.stdout.flush()
    return different


def main(arguments: list[str]) -> int:
    """Run them as told; 0 if there was no difference, 1 if there was one or no machine, 2 for wrong use."""
    options = argparse.ArgumentParser(
        prog="tis_programs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("programs", nargs="?", type=_from(1), default=PROGRAMS, help="of each family; %(default)s")
    options.add_argument("--first", type=_from(0), default=0, help="the number of the first one; %(default)s")
    options.add_argument("--family", choices=[one.value for one in Family], help="of this family alone")
    options.add_argument("--machines", type=_from(1), default=os.cpu_count(), help="that run at once; %(default)s")
    options.add_argument("--keep", action="store_true", help="reset QEMU and its registers, but not swtpm behind them")
    told = options.parse_args(arguments)
    seeds = range(told.first, told.first + told.programs)
    tpm = KEPT if told.keep else RESET
    families = [one for one in Family if told.family in (None, one.value)]
    try:
        return 1 if sum(run(family, seeds, told.machines, tpm) for family in families) else 0
    except MachineError as error:
        sys.stderr.write(f"tis_programs: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _from(least: int) -> Callable[[str], int]:
    """A number that is not smaller, from an argument."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} on")
        return int(text)

    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
