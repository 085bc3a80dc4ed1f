"""Register accesses of a TPM command: our driver's, SeaBIOS' and Linux' for the very same commands, and the least.

    python -m tests.benchmarks.tis [--json]

Those of SeaBIOS and Linux are counted in a recording of both on QEMU's TPM 1.2; ours are made on the same device now.
How often the status is read while the TPM executes depends on the day, and is told apart.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.impl.tis.packets import PACKETS

from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.qemu import Machine
from vtpm_impl.tpm import commands
from vtpm_impl.tpm.family import Family

ROOT: Final = Path(__file__).parents[2]
RECORDING: Final = ROOT / "traces" / "recorded" / "tis" / "seabios+linux6.1-tis-mmio-trace.txt.gz"
BY_SEABIOS: Final = 23
"""Commands of the recording that SeaBIOS has sent; the others are of Linux."""

STS, FIFO = 0x18, 0x24
GO, COMMAND_READY, DATA_AVAIL = 0x20, 0x40, 0x10

EXTEND: Final = bytes.fromhex("00c10000002200000014" + "00000000" + "00" * 20)
CAPABILITY: Final = bytes.fromhex("00c10000001600000065" + "00000005" + "00000004" + "00000115")
RANDOM: Final = bytes.fromhex("00c10000000e00000046" + "00000040")

ASKED: Final = (PACKETS[Family.TPM_1_2].pcr_read, RANDOM, CAPABILITY, EXTEND)
"""PcrRead, GetRandom of 64 bytes, GetCapability of four time-outs, and Extend."""


@dataclass(frozen=True)
class Access:
    """One access: `write` or not, its offset in the page, and its value."""

    write: bool
    offset: int
    value: int


@dataclass
class Count:
    """Accesses of one command; `polls`: reads of the status while the TPM executes that did not show a response."""

    command: bytes
    accesses: int
    polls: int

    @property
    def needed(self) -> int:
        """All but the polls."""
        return self.accesses - self.polls


@dataclass
class Row:
    """A command's accesses without polls; `others` has those drivers that sent such a command in the recording."""

    command: str
    least: int
    ours: int
    others: dict[str, int]
    polls: dict[str, int]

    @property
    def ours_are_the_fewest(self) -> bool:
        """Whether every other driver needs more."""
        return all(self.ours < other for other in self.others.values())


def recorded() -> list[Count]:
    """The commands of the recording in turn: each ends when its driver is ready for the next one."""
    counts = map(count, _command_by_command(_accesses(gzip.decompress(RECORDING.read_bytes()).decode())))
    return [one for one in counts if one.command]


def count(accesses: list[Access]) -> Count:
    """Count one command, in whatever order its driver does things."""
    command = b"".join(bytes([one.value]) for one in accesses if one.write and one.offset == FIFO)
    polls, executing = 0, False
    for one in accesses:
        if one.write and one.offset == STS and one.value == GO:
            executing = True
        elif executing and not one.write and one.offset == STS:
            executing = not one.value & DATA_AVAIL
            polls += executing
    return Count(command, len(accesses), polls)


def least(command: bytes, response: bytes) -> int:
    """What a device with words and a large burst count allows: its FIFO, and four more.

    These are the status with a burst count, go, the status with the response, and commandReady.
    """
    return sum(len(packet) // 4 + (len(packet) % 4).bit_count() for packet in (command, response)) + 4


def measured() -> list[Row]:
    """Every row. Ours are counted for the second of two such commands, so that the locality is held."""
    told = recorded()
    rows = []
    with Machine(Family.TPM_1_2) as machine:
        noted = _Noted(machine)
        driver = Driver(noted)
        driver.transmit(PACKETS[Family.TPM_1_2].startup)
        for command in ASKED:
            driver.transmit(command)
            noted.accesses.clear()
            response = driver.transmit(command)
            ours = count(noted.accesses)
            others = {
                name: found
                for name, sent in (("linux", told[BY_SEABIOS:]), ("seabios", told[:BY_SEABIOS]))
                if (found := _found(sent, command)) is not None
            }
            rows.append(
                Row(
                    command=commands.name(command),
                    least=least(command, response),
                    ours=ours.needed,
                    others={name: one.needed for name, one in others.items()},
                    polls={"ours": ours.polls} | {name: one.polls for name, one in others.items()},
                )
            )
    return rows


class _Noted:
    """A port that notes its accesses."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.accesses: list[Access] = []

    def read(self, offset: int, width: int) -> int:
        value = self._machine.read(offset, width)
        self.accesses.append(Access(write=False, offset=offset & 0xFFF, value=value))
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        self._machine.write(offset, width, value)
        self.accesses.append(Access(write=True, offset=offset & 0xFFF, value=value & 0xFF))

    def close(self) -> None:
        pass


def _accesses(trace: str) -> Iterator[Access]:
    form = re.compile(r"^tpm_tis_mmio_(?:read  read|write write)\.(\d)\((0x[0-9a-f]+)\) = (0x[0-9a-f]+)$", re.MULTILINE)
    for line in form.finditer(trace):
        yield Access("write" in line[0], int(line[2], 16) & 0xFFF, int(line[3], 16))


def _command_by_command(accesses: Iterator[Access]) -> Iterator[list[Access]]:
    piece: list[Access] = []
    executed = False
    for one in accesses:
        piece.append(one)
        if one.write and one.offset == STS and one.value == GO:
            executed = True
        elif executed and one.write and one.offset == STS and one.value == COMMAND_READY:
            yield piece
            piece, executed = [], False
    yield piece


def _found(counts: list[Count], command: bytes) -> Count | None:
    """The cheapest of those with the same ordinal and as many bytes: their parameters are other ones."""
    alike = [one for one in counts if (len(one.command), one.command[6:10]) == (len(command), command[6:10])]
    same = [one for one in alike if one.command == command] or alike
    return min(same, key=lambda one: one.needed, default=None)


def main(arguments: list[str]) -> int:
    """Print the table; code 1 if ours are not the fewest."""
    if set(arguments) - {"--json"}:
        sys.stderr.write("usage: python -m tests.benchmarks.tis [--json]\n")
        return 2
    rows = measured()
    if arguments:
        sys.stdout.write(json.dumps({"version": 1, "commands": [asdict(row) for row in rows]}, indent=1) + "\n")
    else:
        sys.stdout.write(
            f"{'register accesses of':<22}{'least':>7}{'ours':>7}{'Linux 6.1':>11}{'SeaBIOS':>9}   polls\n"
        )
        for row in rows:
            linux, seabios = (str(row.others.get(name, "-")) for name in ("linux", "seabios"))
            polls = ", ".join(f"{name} {number}" for name, number in row.polls.items())
            sys.stdout.write(f"{row.command:<22}{row.least:>7}{row.ours:>7}{linux:>11}{seabios:>9}   {polls}\n")
    return int(not all(row.ours_are_the_fewest for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
