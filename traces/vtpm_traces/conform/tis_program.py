"""Random programs of register accesses for a TPM behind the TIS in a process of its own, and what it did, judged.

The process speaks `vtpm-tis/1` (PROTOCOL-TIS.md). A command is only begun after commandReady, so that its length is
its own: QEMU's device stops for ever when a command of less than ten bytes is to be executed and then dropped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from vtpm_model.tis_device import (
    ACCESS,
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
from vtpm_traces.conform.subject import Garbage, Subject
from vtpm_traces.conform.tis_subject import PROTOCOL
from vtpm_traces.files import shown
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.tis_accesses import Access, Found, Reset, judge

END: Final = "tis-device"

ACCESSES: Final = 50
"""Of a program, at the least."""

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


class Wish(NamedTuple):
    """One access: `value` is None for a read; widths are in bytes."""

    locality: int
    offset: int
    width: int
    value: int | None = None


def program(seed: int) -> Iterator[Wish]:
    """A program, the same for the same seed."""
    chooser = random.Random(seed)
    done = 0
    yield Wish(0, ACCESS, 1, 0x02)
    while done < ACCESSES:
        piece = list(_piece(chooser, chooser.choice((0, 0, 0, 1, 1, 2, 4))))
        done += len(piece)
        yield from piece


def _piece(chooser: random.Random, locality: int) -> Iterator[Wish]:
    match chooser.randrange(8):
        case 0:  # a whole command, and perhaps it is executed
            # twice: from Idle, QEMU's device keeps what another locality has left in its one FIFO
            yield from [Wish(locality, STS, 1, 0x40)] * 2
            at, width = 0, chooser.choice((1, 2, 4))
            while at < len(COMMAND):
                size = min(width, len(COMMAND) - at) if len(COMMAND) - at >= width else 1
                yield Wish(locality, DATA_FIFO, size, int.from_bytes(COMMAND[at : at + size], "little"))
                at += size
            yield Wish(locality, STS, 1, chooser.choice((0x20, 0x20, 0x40)))
        case 1:  # some bytes that belong to no command
            width = chooser.choice((1, 2, 4))
            value = int.from_bytes(bytes([FILLER]) * width, "little")
            yield from [Wish(locality, chooser.choice(FIFOS), width, value)] * chooser.randrange(1, 6)
        case 2:  # some of a response
            yield from [Wish(locality, chooser.choice(FIFOS), chooser.choice((1, 2, 4)))] * chooser.randrange(1, 6)
        case 3 | 4:
            yield Wish(locality, chooser.choice(READ), chooser.choice((1, 2, 4)))
        case _:
            offset = chooser.choice((ACCESS, ACCESS, STS, INT_ENABLE, INT_STATUS))
            value = chooser.choice(WRITTEN[offset])
            yield Wish(locality, offset, 4 if value > 0xFF else 1, value)


class DeviceProcess:
    """The process, from its start to its end."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        """`patience`: seconds to wait for each of its lines. Raises CannotStart, and Fault if it is no such device."""
        self._subject = Subject(command, patience)
        hello = self._subject.hear()
        said = {name: hello.get(name) for name in ("do", "protocol", "end", "resets")}
        if said != {"do": "hello", "protocol": PROTOCOL, "end": END, "resets": True}:
            raise Garbage(f"it says {shown(said)}; hello, {PROTOCOL}, {END} and that it resets are meant")
        self.name = str(hello.get("name", ""))[:100]
        self._subject.say({"ok": True})
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._subject.end(0.0)

    def play(self, seed: int) -> Found:
        """Reset it, let a program run, and judge what it showed. Raises Fault."""
        self._tell(event="reset")
        self._answer()
        done: list[Access | Reset] = []
        for number, wish in enumerate(program(seed), 1):
            writes = wish.value is not None
            told = {"offset": wish.locality << 12 | wish.offset, "width": 8 * wish.width}
            if writes:
                self._tell(event="write", **told, value=wish.value)
                self._answer()
                value = wish.value
            else:
                self._tell(event="read", **told)
                value = self._answer(8 * wish.width)
            verb = "write" if writes else "read"
            text = f"{verb}.{wish.width}({told['offset']:#010x}) = {value:#010x}"
            origin = Origin(f"program {seed}", number, text)
            done.append(Access(origin, writes, wish.locality, wish.offset, wish.width, value))
        return judge(f"program {seed}", done)

    def _tell(self, **answer: object) -> None:
        self._subject.say({"ok": True, **answer})

    def _answer(self, width: int = 0) -> int:
        """The value of a read of so many bits; 0 where nothing was read."""
        said = self._subject.hear()
        value = said.get("value", 0)
        named = {"do": "wait", "value": value} if width else {"do": "wait"}
        if said != named or not isinstance(value, int) or not 0 <= value < 1 << max(width, 1):
            raise Garbage(f"it says {shown(said)}; wait{f' and a value of {width} bits' * (width > 0)} is meant")
        return value
