"""Registers that read what a script says, whatever a driver writes: nonsense, drawn at random.

| line                         | meaning                                                                              |
|------------------------------|--------------------------------------------------------------------------------------|
| `command LOCALITY HEX`       | the driver is given a command                                                        |
| `value OFFSET VALUE [TIMES]` | what the register reads next, so many times; its last value stays, without any: ones |
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from vtpm_traces.conform.script import Script, number
from vtpm_traces.conform.tis_device import (
    ACCESS,
    BUS,
    DID_VID,
    FIFO,
    INTF_CAPABILITY,
    ONES,
    PAGE,
    RID,
    STS,
    Clock,
    TooLong,
)
from vtpm_traces.files import BadInput, shown

LOCALITIES: Final = 5

VALUES: Final = {STS: 300, FIFO: 300, ACCESS: 30, INTF_CAPABILITY: 2, DID_VID: 2, RID: 1}
"""Lines of a random script, by the register that they are about."""

STICKY: Final = (1, 10, 1000)
"""How often a value is read, on the average."""

COMMANDS: Final = ("00c10000000a00000046", "00c10000004000000046" + "5a" * 54)
"""What a driver is given, at the localities 0 and 1."""


class Command(NamedTuple):
    """A command for the driver."""

    locality: int
    data: bytes


class Value(NamedTuple):
    """What a register reads, so many times."""

    offset: int
    value: int
    times: int


def parse_line(line: str) -> Command | Value:
    """What a line says. Raises BadInput."""
    match line.split():
        case ["command", locality, digits]:
            if not re.fullmatch("([0-9a-f]{2})+", digits):
                raise BadInput(f"{shown(digits)}: two hexadecimal digits for each byte are meant")
            return Command(number(locality, LOCALITIES - 1), bytes.fromhex(digits))
        case ["value", offset, value]:
            return Value(number(offset, PAGE - 1), number(value, ONES[32]), 1)
        case ["value", offset, value, times]:
            return Value(number(offset, PAGE - 1), number(value, ONES[32]), number(times, 1_000_000))
    raise BadInput(f"{shown(line)}: meant are command LOCALITY HEX and value OFFSET VALUE [TIMES]")


class Nonsense:
    """What answers each read as a script has it, in simulated time."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.clock = Clock()
        self.accesses = 0
        self.most = 60_000
        self.commands: list[Command] = []
        self._values: dict[int, deque[Value]] = {}
        for said in map(parse_line, lines):
            if isinstance(said, Command):
                self.commands.append(said)
            elif said.times:
                self._values.setdefault(said.offset, deque()).append(said)

    def read(self, offset: int, width: int) -> int:
        self._pass()
        values = self._values.get(offset % PAGE)
        if not values:
            return ONES[width]
        now = values[0]
        if now.times > 1:
            values[0] = now._replace(times=now.times - 1)
        elif len(values) > 1:
            values.popleft()
        return now.value & ONES[width]

    def write(self, offset: int, width: int, value: int) -> None:
        self._pass()

    def close(self) -> None:
        pass

    def _pass(self) -> None:
        self.accesses += 1
        self.clock.time += BUS
        if self.accesses > self.most:
            raise TooLong(f"{self.accesses} accesses")


def draw(seed: int, number: int) -> Script:
    """The random script of this number."""
    return Script(f"random/{number}", f"each read gives anything, drawn with seed {seed}", tuple(_lines(seed, number)))


def _lines(seed: int, number: int) -> Iterator[str]:
    dice = random.Random(f"tis-driver {seed} {number}")
    likely = dice.random()  # that a bit is 1
    sticky = dice.choice(STICKY)
    for locality, command in enumerate(COMMANDS):
        yield f"command {locality} {command}"
    for register, count in VALUES.items():
        for _ in range(count):
            times = 1 + int(dice.expovariate(1 / sticky)) if sticky > 1 else 1
            yield f"value {register:#x} {_anything(dice, likely, register):#x} {times}"


def _anything(dice: random.Random, likely: float, register: int) -> int:
    bits = sum((dice.random() < likely) << bit for bit in range(32))
    if register == STS and dice.random() < 0.9:
        return bits & ~0x23  # as the active locality would see it
    if register == ACCESS and dice.random() < 0.9:
        return 0xA1
    if register == FIFO and dice.random() < 0.5:
        return dice.choice((0x0000C400, 0x0000000A, 0x0000FFFF, 0x00020000, 0x0A000000))
    return bits
