"""The registers of `tis.device` as a TPM that software can use: a device that behaves as the specification has it.

What the specification leaves open is picked by a seed: when a command comes to its end, which burst count is told, and
when stsValid is set. Without a seed nobody waits. Its inside answers every command, each with bytes of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from vtpm_model.page import TPM_HEADER
from vtpm_model.tis_device import (
    BUFFER,
    BURST,
    CONTINUE_SELF_TEST,
    DATA_AVAIL,
    EXPECT,
    STS,
    STS_VALID,
    agrees,
    device,
    device_completes,
    fifo_bytes,
    is_fifo,
    page,
    register_read,
    software_reads,
    software_writes,
)
from vtpm_model.tis_fifo import COMPLETION, EXECUTION
from vtpm_traces.conform.tis_device import ONES, PAGE
from vtpm_traces.conform.tis_driver import answer
from vtpm_traces.conform.tis_program import END
from vtpm_traces.conform.tis_subject import EXTENT, PROTOCOL, WIDTHS

PROMPT: Final = 0.3
"""How likely a command comes to its end between two accesses."""

HASTY: Final = 0.7
"""How likely all is told at once that may be told late."""

VERSION_2: Final = 0x8001
"""The tag of a response of a TPM 2.0 without sessions."""


class ModelDevice:
    """A port, as a driver has it: offsets count from locality 0, widths are in bits."""

    def __init__(
        self, answers: Callable[[bytes], bytes] = answer, *, family_2: bool = False, seed: int | None = None
    ) -> None:
        """A device that was just reset. `answers`: its inside."""
        self._answers = answers
        self._family_2 = family_2
        self._dice = None if seed is None else random.Random(seed)
        self.reset()

    def reset(self) -> None:
        """As after the machine was reset."""
        self._state = device(family_2=self._family_2)
        self._taken = b""
        self._response = b""

    def read(self, offset: int, width: int) -> int:
        """What a register reads."""
        self._progress()
        locality, register = divmod(offset, PAGE)
        if is_fifo(register) and self._state.owner == locality:
            value = self._next_bytes(locality, fifo_bytes(register, width // 8))
        else:
            value = self._told(locality, register, width // 8)
        self._state = software_reads(self._state, locality=locality, offset=register, width=width // 8, value=value)
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register."""
        self._progress()
        locality, register = divmod(offset, PAGE)
        before = self._state.place
        picks = {"locality": locality, "offset": register, "width": width // 8, "value": value}
        self._state = software_writes(self._state, **picks)
        if is_fifo(register):
            self._taken = self._taken[:before] + value.to_bytes(4, "little")[: max(0, self._state.place - before)]

    def close(self) -> None:
        """There is nothing to be let go of."""

    def _progress(self) -> None:
        """A command that is executed may come to its end; one of less than ten bytes never does."""
        d = self._state
        if d.running not in range(5) or page(d, d.running).phase != EXECUTION or d.place < TPM_HEADER:
            return
        if self._dice is None or self._dice.random() < PROMPT:
            response = self._answers(self._taken)
            self._response = response[:BUFFER]
            tested = d.ordinal == CONTINUE_SELF_TEST
            self._state = device_completes(d, answer=len(self._response), tested=tested)

    def _next_bytes(self, locality: int, count: int) -> int:
        own = page(self._state, locality)
        given = b""
        if own.phase == COMPLETION and own.flags & DATA_AVAIL:
            given = self._response[self._state.place : self._state.place + count]
        return int.from_bytes(given.ljust(count, b"\xff"), "little")

    def _told(self, locality: int, register: int, width: int) -> int:
        mask = (1 << 8 * width) - 1
        shown = register_read(self._state, locality, register, width) & mask
        if self._dice is None or register != STS or self._state.owner != locality:
            return shown
        whim = shown
        if self._dice.random() >= HASTY:
            whim = whim & ~BURST & mask | self._dice.randrange(1 + (shown >> 8 & 0xFFFF)) << 8 & mask
        if self._dice.random() >= HASTY:
            whim = whim & ~STS_VALID ^ self._dice.choice((0, EXPECT, DATA_AVAIL))
        return whim if agrees(self._state, locality, register, width, whim) else shown


def inside(*, family_2: bool) -> Callable[[bytes], bytes]:
    """What answers the commands of a TPM of that family."""

    def answers(command: bytes) -> bytes:
        return VERSION_2.to_bytes(2, "big") + answer(command)[2:] if family_2 else answer(command)

    return answers


class Unwanted(Exception):
    """The harness says what is not of the protocol; the message is a sentence."""


def serve(port: ModelDevice, source: BinaryIO, target: BinaryIO) -> None:
    """Be a subject, a line of JSON at a time, until the harness has had enough. Raises Unwanted."""

    def ask(**request: object) -> dict[str, Any]:
        target.write(json.dumps({name: value for name, value in request.items() if value is not None}).encode() + b"\n")
        target.flush()
        line = source.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("ok") is not True:
            raise Unwanted(f"the harness answers {line[:60]!r}")
        return answer

    ask(do="hello", protocol=PROTOCOL, end=END, name="tis.device", resets=True)
    value: int | None = None
    while True:
        match ask(do="wait", value=value):
            case {"event": "read", "offset": int(offset), "width": int(width)} if _is_place(offset, width):
                value = port.read(offset, width)
            case {"event": "write", "offset": int(offset), "width": int(width), "value": int(written)} if (
                _is_place(offset, width) and 0 <= written <= ONES[width]
            ):
                value = None
                port.write(offset, width, written)
            case {"event": "reset"}:
                value = None
                port.reset()
            case {"event": "end"}:
                return
            case other:
                raise Unwanted(f"the harness wants {other}, which this device does not do")


def _is_place(offset: int, width: int) -> bool:
    return width in WIDTHS and 0 <= offset < EXTENT and offset % PAGE + width // 8 <= PAGE
