"""Programs of register accesses for a TPM behind the TIS in a process of its own, and what it showed, judged.

The process speaks `vtpm-tis/1` (PROTOCOL-TIS.md). A program has a line for each of its parts; offsets count from
locality 0.

| line                         | meaning                                                                |
|------------------------------|------------------------------------------------------------------------|
| `read BITS OFFSET [TIMES]`   | so many reads of 8, 16 or 32 bits                                      |
| `write BITS OFFSET VALUE...` | as many writes as there are values                                     |
| `await BITS OFFSET MASK`     | reads until one of these bits is set, but no more than `LONGEST`       |
| `drain BITS OFFSET`          | a read of the FIFO there for as long as STS, before each, has dataAvail |

A random program only begins a command after commandReady, and writes its words in one line, so that its length is its
own, also when lines are left out: QEMU's device stops for ever when a command of less than ten bytes is to be executed
and then dropped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from vtpm_model.tis_device import (
    ACCESS,
    DATA_AVAIL,
    DATA_FIFO,
    DID_VID,
    INT_ENABLE,
    INT_STATUS,
    INT_VECTOR,
    INTF_CAPABILITY,
    RID,
    STS,
    XDATA_FIFO,
)
from vtpm_traces.conform.script import Script, number
from vtpm_traces.conform.subject import Fault, Garbage, Subject
from vtpm_traces.conform.tis_device import PAGE
from vtpm_traces.conform.tis_subject import EXTENT, PROTOCOL, WIDTHS
from vtpm_traces.files import BadInput, shown
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.tis_accesses import Access, Identity, aligned
from vtpm_traces.recordings.tis_trace import text_of

END: Final = "tis-device"

ACCESSES: Final = 50
"""Of a random program, at the least."""

MOST: Final = 5000
"""Accesses of a line."""

COMMAND: Final = bytes.fromhex("00c1000000160000006500000005000000040000 0103")
"""TPM_GetCapability, whose answer nothing depends on."""

READ: Final = (ACCESS, ACCESS, STS, STS, INT_ENABLE, INT_VECTOR, INT_STATUS, INTF_CAPABILITY, DID_VID, RID)
FIFOS: Final = (DATA_FIFO, DATA_FIFO, DATA_FIFO, XDATA_FIFO)
WRITTEN: Final = {
    ACCESS: (0x02, 0x02, 0x20, 0x20, 0x08, 0x10, 0x22, 0x00, 0xFF),
    STS: (0x40, 0x40, 0x20, 0x02, 0x60, 0x00, 0xFF),
    INT_ENABLE: (0x80000087, 0x80000001, 0x0, 0x18),
    INT_STATUS: (0x87, 0x01, 0x80),
}
FILLER: Final = 0x11

LONGEST: Final = 10_000
"""Reads in which a bit is waited for."""


class Wish(NamedTuple):
    """One access: `value` is None for a read; widths are in bits.

    `until`: reads until one of these bits is set; `drains`: reads for as long as there is data.
    """

    width: int
    offset: int
    value: int | None = None
    until: int = 0
    drains: bool = False


def parse_line(line: str) -> tuple[Wish, ...]:
    """The accesses that a line of a program stands for. Raises BadInput."""
    match line.split():
        case ["read", width, offset]:
            return (_wish(width, offset),)
        case ["read", width, offset, times]:
            return (_wish(width, offset),) * number(times, MOST)
        case ["write", width, offset, *values] if values:
            place = _wish(width, offset)
            return tuple(place._replace(value=number(value, (1 << place.width) - 1)) for value in values)
        case ["await", width, offset, mask]:
            place = _wish(width, offset)
            return (place._replace(until=number(mask, (1 << place.width) - 1)),)
        case ["drain", width, offset]:
            return (_wish(width, offset)._replace(drains=True),)
    meant = "read BITS OFFSET [TIMES], write BITS OFFSET VALUE..., await BITS OFFSET MASK, drain BITS OFFSET"
    raise BadInput(f"{shown(line)}: meant are {meant}")


def _wish(width: str, offset: str) -> Wish:
    if width not in map(str, WIDTHS):
        raise BadInput(f"{shown(width)}: accesses have {', '.join(map(str, WIDTHS))} bits")
    place = number(offset, EXTENT - 1)
    if place % PAGE + int(width) // 8 > PAGE:
        raise BadInput(f"{shown(offset)}: {width} bits from there on leave the page of a locality")
    return Wish(int(width), place)


def draw(seed: int, number: int) -> Script:
    """The random program of this number."""
    chooser = random.Random(f"{END} {seed} {number}")
    lines = [_write(8, ACCESS, 0x02)]
    done = 0
    while done < ACCESSES:
        piece = list(_piece(chooser, chooser.choice((0, 0, 0, 1, 1, 2, 4)) << 12))
        done += sum(len(parse_line(line)) for line in piece)
        lines += piece
    return Script(f"random/{number}", f"a program of register accesses, drawn with seed {seed}", tuple(lines))


def _piece(chooser: random.Random, page: int) -> Iterator[str]:
    match chooser.randrange(8):
        case 0:  # a whole command, and perhaps it is executed
            # twice: from Idle, QEMU's device keeps what another locality has left in its one FIFO
            yield _write(8, page | STS, 0x40, 0x40)
            width = chooser.choice((1, 2, 4))
            words = len(COMMAND) // width * width
            yield _write(8 * width, page | DATA_FIFO, *_words(COMMAND[:words], width))
            if words < len(COMMAND):
                yield _write(8, page | DATA_FIFO, *COMMAND[words:])
            yield _write(8, page | STS, chooser.choice((0x20, 0x20, 0x40)))
        case 1:  # some bytes that belong to no command
            width = chooser.choice((1, 2, 4))
            filler = _words(bytes([FILLER]) * width, width)
            yield _write(8 * width, page | chooser.choice(FIFOS), *filler * chooser.randrange(1, 6))
        case 2:  # some of a response
            width = 8 * chooser.choice((1, 2, 4))
            yield f"read {width} {page | chooser.choice(FIFOS):#x} {chooser.randrange(1, 6)}"
        case 3 | 4:
            yield f"read {8 * chooser.choice((1, 2, 4))} {page | chooser.choice(READ):#x}"
        case _:
            offset = chooser.choice((ACCESS, ACCESS, STS, INT_ENABLE, INT_STATUS))
            value = chooser.choice(WRITTEN[offset])
            yield _write(32 if value > 0xFF else 8, page | offset, value)


def _words(data: bytes, width: int) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width))


def _write(width: int, offset: int, *values: int) -> str:
    return " ".join(("write", str(width), f"{offset:#x}", *map(hex, values)))


class DeviceProcess:
    """The process, from its start to its end; after a Fault it is started anew."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        """`patience`: seconds to wait for each of its lines."""
        self._command = command
        self._patience = patience
        self._subject: Subject | None = None
        self._identity: Identity | None = None
        self.name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def meet(self) -> Subject:
        """The process, started if need be. Raises CannotStart, and Fault if it is no such device."""
        if self._subject is None:
            self._subject = Subject(self._command, self._patience)
            hello = self._subject.hear()
            said = {name: hello.get(name) for name in ("do", "protocol", "end", "resets")}
            if said != {"do": "hello", "protocol": PROTOCOL, "end": END, "resets": True}:
                raise Garbage(f"it says {shown(said)}; hello, {PROTOCOL}, {END} and that it resets are meant")
            self.name = str(hello.get("name", ""))[:100]
            self._subject.say({"ok": True})
            self._answer(self._subject)
        return self._subject

    def stop(self) -> None:
        """End the process."""
        if self._subject is not None:
            self._subject.end(0.0)
            self._subject = None

    def play(self, script: Script) -> Iterator[Access]:
        """Reset it, and let a program run. Raises CannotStart, and Fault, after which there is another process."""
        try:
            subject = self.meet()
            self._tell(subject, event="reset")
            self._answer(subject)
            made = 0
            for wish in (wish for line in script.lines for wish in parse_line(line)):
                for one in _singly(wish):
                    made += 1
                    value = self._make(subject, one)
                    yield from _accesses(one, value, script.name, made)
                    if one.until and bool(value & one.until) != wish.drains:
                        break
        except Fault:
            self.stop()
            raise

    def identity(self) -> Identity:
        """What the device says that it is; asked once of each process. Raises CannotStart, and Fault."""
        if self._identity is None or self._subject is None:
            places = ((8, INT_VECTOR), (32, DID_VID), (8, RID), (32, INTF_CAPABILITY))
            lines = tuple(f"read {width} {offset:#x}" for width, offset in places)
            found = [access.value or 0 for access in self.play(Script("identity", "", lines))]
            self._identity = Identity(*found)
        return self._identity

    def _make(self, subject: Subject, wish: Wish) -> int:
        """What was read or written."""
        told = {"offset": wish.offset, "width": wish.width}
        if wish.value is None:
            self._tell(subject, event="read", **told)
            return self._answer(subject, wish.width)
        self._tell(subject, event="write", **told, value=wish.value)
        self._answer(subject)
        return wish.value

    def _tell(self, subject: Subject, **answer: object) -> None:
        subject.say({"ok": True, **answer})

    def _answer(self, subject: Subject, width: int = 0) -> int:
        """The value of a read of so many bits; 0 where nothing was read."""
        said = subject.hear()
        value = said.get("value", 0)
        named = {"do": "wait", "value": value} if width else {"do": "wait"}
        if said != named or type(value) is not int or not 0 <= value < 1 << max(width, 1):
            raise Garbage(f"it says {shown(said)}; wait{f' and a value of {width} bits' * (width > 0)} is meant")
        return value


def _singly(wish: Wish) -> Iterator[Wish]:
    """The accesses that are meant, unless one of them shows that it is enough."""
    if wish.drains:
        status = Wish(32, wish.offset & ~(PAGE - 1) | STS, until=DATA_AVAIL)
        return (one for _ in range(LONGEST) for one in (status, wish))
    return iter([wish] * (LONGEST if wish.until else 1))


def _accesses(wish: Wish, value: int, title: str, number: int) -> Iterator[Access]:
    """The access; of one that is not aligned, the several that a bus makes of it."""
    locality, first = divmod(wish.offset, PAGE)
    writes = wish.value is not None
    for at, width in aligned(first, wish.width // 8):
        part = value >> 8 * (at - first) & (1 << 8 * width) - 1
        text = text_of(writes=writes, width=width, offset=locality * PAGE + at, value=part)
        yield Access(Origin(title, number, text), writes, locality, at, width, part)
