"""A TPM behind the TIS that the model plays, in simulated time: as slow, as whimsical and as broken as a run wants.

What it does is `vtpm_model.tis_fifo`; here it gets registers, bytes and a clock. It is strict: what a driver does that
the specification forbids is written down with the fact that it breaks, and bytes beyond the burst count are lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from vtpm_model import tis_fifo
from vtpm_model.core import replace
from vtpm_model.tis_device import SIZE_IS_KNOWN
from vtpm_model.tis_fifo import COMPLETION, EMPTY, EXECUTION, IDLE, PREPARING, READY, RECEPTION, Fifo

PAGE = 0x1000
ACCESS, INT_ENABLE, INT_VECTOR, INT_STATUS, INTF_CAPABILITY, STS, FIFO = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x24
DID_VID, RID = 0xF00, 0xF04
ONES = {8: 0xFF, 16: 0xFFFF, 32: 0xFFFFFFFF}
BUS = 1e-6  # seconds of an access
A, B, C, D = 0.75, 2.0, 0.75, 0.75
NEARLY = 0.9  # of a time-out: how late a device that keeps it may be


class Wrong(NamedTuple):
    """What a driver did: the fact of the system `tis` that it breaks, and a sentence."""

    fact: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.sentence} ({self.fact})"


WRITES: Final = "a_byte_is_written_only_where_one_is_taken"
READS: Final = "a_byte_is_read_only_where_one_is_given"
BURSTS: Final = "no_access_exceeds_the_burst_count"
GOES: Final = "go_is_written_for_a_whole_command_only"
OWNS: Final = "registers_are_touched_only_after_the_locality_was_granted"
RETRIES: Final = "no_byte_of_the_response_is_lost_or_doubled"
ACCESSES: Final = "one command bit in each write, and each register in its width"
"""Facts by what they are about; the last one is no fact of the model, which has no widths."""


class Fault(Enum):
    """What a device may have, besides being slow. Some end by themselves, after the first command that meets them."""

    NONE = "none"
    ACCESS_NEVER_VALID = "ACCESS is never valid"
    NEVER_GRANTS = "another locality keeps the TPM"
    NEVER_READY = "it is never ready for a command"
    TAKES_NOTHING = "the burst count of an empty FIFO stays 0"
    TAKES_NO_MORE = "the burst count stays 0 within a command"
    NEVER_VALID = "the status is never valid once a command has begun"
    EXPECTS_MORE = "it expects more when it has the whole command"
    EXPECTS_LESS = "it expects no more before it has the whole command"
    NEVER_RESPONDS = "it executes for ever"
    DROPS = "it drops the command that it executes"
    GIVES_NOTHING = "the burst count of a response stays 0"
    GIVES_NO_MORE = "the burst count stays 0 within a response"
    ENDS_EARLY = "the response ends before its end"
    ENDS_IN_HEADER = "the response ends within its header"
    HAS_MORE = "there is more after the response"
    TINY = "the response says that it has 8 bytes, and has no more"
    HUGE = "the response says that it has 5000 bytes, and gives them"
    GARBLED_ONCE = "the response says that it has 5 bytes, and is right when it is read again"
    ABSENT = "every register reads all ones"
    ODD_STATUS = "the status has bits that read as 0"


@dataclass(frozen=True)
class Nature:
    """How a device behaves that keeps the rules."""

    bursts: tuple[int, ...] = (64,)  # of which one is picked at each look
    late: float = 0.0  # how likely it is that something takes its time
    execution: tuple[float, float] = (0.0, 0.0)  # seconds, least and most
    words: bool = True
    idle_after_completion: bool = False


class Clock:
    """Time that passes when somebody waits, or touches the bus."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.time += max(seconds, BUS)


class TooLong(Exception):
    """The driver has done more than any driver needs: it would not come to an end."""


class Device:
    """One TPM, of which `answers` is the inside."""

    def __init__(self, answers: Callable[[bytes], bytes], nature: Nature, seed: int, fault: Fault = Fault.NONE) -> None:
        self.clock = Clock()
        self.fault = fault
        self.nature = nature
        self.wrong: list[Wrong] = []  # what the driver did that it may not
        self.executed: list[bytes] = []
        self.accesses = 0
        self.at: dict[int, Callable[[], None]] = {}  # number of an access: what happens before it
        self.most = 1_000_000
        self.writes: list[tuple[int, int, int]] = []  # locality, offset, value of ACCESS and STS
        self._answers = answers
        self._random = random.Random(seed)
        self.owner: int | None = None
        self.requests: set[int] = set()
        self.seized: set[int] = set()
        self.fifo: Fifo = EMPTY
        self._taken = bytearray()
        self._response = b""
        self._credit = 0
        self._told_valid = self._told_expect = self._told_avail = False
        self._ready_at: float | None = None
        self._valid_at = 0.0
        self._done_at = 0.0
        self._granted_at: dict[int, float] = {}
        self._burst_by = 0.0  # when a burst count must be told that is not 0

    # -- the port

    def read(self, offset: int, width: int) -> int:
        self._pass()
        locality, register = divmod(offset, PAGE)
        if self.fault is Fault.ABSENT:
            return ONES[width]
        if register == ACCESS and width == 8:
            return self._access(locality)
        if register == DID_VID and width == 32:
            return 0x12345678
        if register == RID and width == 8:
            return 1
        if register == INTF_CAPABILITY and width == 32:
            return 0x20000600 if self.nature.words else 0x20000000
        if register == STS and width == 32:
            return self._status() if self._owns(locality) else ONES[32]
        if FIFO <= register < FIFO + 4 and register + width // 8 <= FIFO + 4:
            self._check_width(width)
            return int.from_bytes(bytes(self._take_out(locality) for _ in range(width // 8)), "little")
        self._note(ACCESSES, f"read of {width} bits at {register:#x}")
        return ONES[width]

    def write(self, offset: int, width: int, value: int) -> None:
        self._pass()
        locality, register = divmod(offset, PAGE)
        if self.fault is Fault.ABSENT:
            return
        if register in (ACCESS, STS) and width == 8:
            self.writes.append((locality, register, value))
            if value.bit_count() != 1:
                self._note(ACCESSES, f"write of {value:#04x} at {register:#x}: not one command")
            elif register == ACCESS:
                self._command_access(locality, value)
            elif self._owns(locality):
                self._command_status(value)
            else:
                self._note(OWNS, f"STS of locality {locality} written, which is not active")
        elif FIFO <= register < FIFO + 4 and register + width // 8 <= FIFO + 4:
            self._check_width(width)
            for byte in value.to_bytes(width // 8, "little"):
                self._put_in(locality, byte)
        else:
            self._note(ACCESSES, f"write of {width} bits at {register:#x}")

    def close(self) -> None:
        pass

    # -- localities

    def seize_by(self, locality: int) -> None:
        """A higher locality takes the TPM, and what was going on is dropped."""
        if self.owner is not None and self.owner < locality:
            self.seized.add(self.owner)
        self._change_owner(locality)

    def give_back(self, locality: int) -> None:
        """Another one than the driver gives the TPM back."""
        assert self.owner == locality
        self._change_owner(max(self.requests, default=None))

    def _owns(self, locality: int) -> bool:
        return self.owner == locality and self.clock.time >= self._granted_at.get(locality, 0.0)

    def _access(self, locality: int) -> int:
        if self.fault is Fault.ACCESS_NEVER_VALID:
            return 0x7F & self._random.getrandbits(8)
        owns = self._owns(locality)
        waits = locality in self.requests or (self.owner == locality and not owns)
        others = any(one != locality for one in self.requests)
        return 0x81 | owns << 5 | (locality in self.seized) << 4 | others << 2 | waits << 1

    def _command_access(self, locality: int, value: int) -> None:
        if value == 0x02 and self.owner != locality:
            if self.owner is None:
                self._change_owner(locality)
            else:
                self.requests.add(locality)
        elif value == 0x20 and self.owner == locality:
            self._change_owner(max(self.requests, default=None))
        elif value == 0x20:
            self.requests.discard(locality)
        elif value == 0x10:
            self.seized.discard(locality)
        elif value == 0x08 and (self.owner is None or self.owner < locality):
            self.seize_by(locality)
        elif value not in (0x02, 0x08):
            self._note(ACCESSES, f"ACCESS of locality {locality}: {value:#04x} is no command")

    def _change_owner(self, locality: int | None) -> None:
        self.owner = locality
        self.fifo = EMPTY
        self._ready_at = None
        self._forget()
        if locality is not None:
            self.requests.discard(locality)
            self._granted_at[locality] = self.clock.time + self._some(A)

    # -- commands

    def _command_status(self, value: int) -> None:
        if value == 0x40:
            old = self.nature.idle_after_completion and self.fifo.phase == COMPLETION
            self.fifo = EMPTY if old else tis_fifo.told_to_get_ready(self.fifo)
            if self.fifo.phase == PREPARING:
                self._ready_at = self.clock.time + self._some(B)
                if self.fault is Fault.NEVER_READY:
                    self._ready_at = float("inf")
            self._forget()
        elif value == 0x20:
            going = tis_fifo.told_to_go(self.fifo)
            if going.phase != EXECUTION or not self._told_valid or self._told_expect:
                told = f"told valid {self._told_valid}, expect {self._told_expect}"
                self._note(GOES, f"go in {self.fifo.phase.name}, {told}")
            elif self._is_valid():
                self.fifo = going
                self._execute()
        elif value == 0x02:
            if self.fifo.phase != COMPLETION:
                self._note(RETRIES, f"retry in {self.fifo.phase.name}")
            elif self.fault is Fault.GARBLED_ONCE:
                self.fault = Fault.NONE
                self._response = self._answers(self.executed[-1])
                self.fifo = tis_fifo.completed(len(self._response))
            self.fifo = tis_fifo.told_to_retry(self.fifo)
            self._forget_told()
        else:
            self._note(ACCESSES, f"STS: {value:#04x} is no command here")

    def _execute(self) -> None:
        command = bytes(self._taken)
        self.executed.append(command)
        response = self._answers(command)
        if self.fault is Fault.ENDS_EARLY:
            response = response[: max(10, len(response) // 2)] if len(response) > 10 else response[:9]
        elif self.fault is Fault.ENDS_IN_HEADER:
            response = response[:4]
        elif self.fault is Fault.HAS_MORE:
            response += bytes(3)
        elif self.fault is Fault.TINY:
            response = response[:2] + (8).to_bytes(4, "big") + response[6:8]
        elif self.fault is Fault.GARBLED_ONCE:
            response = response[:2] + (5).to_bytes(4, "big") + response[6:]
        elif self.fault is Fault.HUGE:
            response = response[:2] + (5000).to_bytes(4, "big") + bytes(5000 - 6)
        self._response = response
        self._done_at = self.clock.time + self._random.uniform(*self.nature.execution)
        if self.fault is Fault.NEVER_RESPONDS:
            self._done_at = float("inf")
        self._forget_told()

    def _status(self) -> int:
        self._progress()
        valid = self._is_valid()
        expect, avail = tis_fifo.expects(self.fifo), tis_fifo.has_data(self.fifo)
        burst = self._burst(moves=expect or avail or self.fifo.phase == READY, avail=avail)
        told_expect, told_avail = expect, avail
        if not valid:  # these two mean nothing then
            told_expect, told_avail = self._random.random() < 0.5, self._random.random() < 0.5
        self._credit = burst
        self._told_valid, self._told_expect, self._told_avail = valid, expect, avail
        ready = self.fifo.phase == READY
        odd = 0x20 if self.fault is Fault.ODD_STATUS and self.fifo.phase == RECEPTION else 0
        return burst << 8 | valid << 7 | ready << 6 | told_avail << 4 | told_expect << 3 | odd

    def _progress(self) -> None:
        if self._ready_at is not None and self.clock.time >= self._ready_at:
            self._ready_at = None
            self.fifo = replace(self.fifo, phase=READY)
            self._burst_by = self.clock.time + NEARLY * D
        if self.fifo.phase == EXECUTION and self.fault is Fault.DROPS:
            self.fifo = replace(EMPTY, phase=READY)
            self._forget()
        if self.fifo.phase == EXECUTION and self.clock.time >= self._done_at:
            self.fifo = tis_fifo.completed(len(self._response))
            self._burst_by = self.clock.time + NEARLY * D

    def _is_valid(self) -> bool:
        if self.fifo.phase in (IDLE, PREPARING, READY):
            return self._random.random() < 0.5
        return self.clock.time >= self._valid_at and self.fault is not Fault.NEVER_VALID

    def _burst(self, *, moves: bool, avail: bool) -> int:
        if not moves:
            return self._random.choice(self.nature.bursts)
        if self.fault is not Fault.NONE and self._is_stuck():
            return 0
        burst = self._random.choice(self.nature.bursts)
        if self.fault is Fault.TAKES_NO_MORE and self.fifo.phase == READY:
            return min(burst, 5)
        if self.fault is Fault.GIVES_NO_MORE:
            return min(burst, 5)
        if not burst and self.clock.time >= self._burst_by:
            burst = 1
        if burst:
            self._burst_by = self.clock.time + NEARLY * D
        if avail:
            burst = min(burst, self.fifo.answer - self.fifo.given)
        return burst

    def _is_stuck(self) -> bool:
        if self.fault is Fault.TAKES_NOTHING:
            return self.fifo.phase == READY
        if self.fault is Fault.TAKES_NO_MORE:
            return self.fifo.phase == RECEPTION and self.fifo.taken >= 5
        if self.fault is Fault.GIVES_NOTHING:
            return self.fifo.phase == COMPLETION
        return self.fault is Fault.GIVES_NO_MORE and self.fifo.phase == COMPLETION and self.fifo.given > 0

    # -- the FIFO

    def _put_in(self, locality: int, byte: int) -> None:
        if not self._owns(locality):
            self._note(OWNS, f"FIFO of locality {locality} written, which is not active")
            return
        self._progress()
        if self._credit == 0:
            self._note(BURSTS, "FIFO written beyond the burst count")
            return
        self._credit -= 1
        if tis_fifo.takes_bytes(self.fifo):
            self._taken.append(byte)
            self.fifo = tis_fifo.written(self.fifo, 1, self._size())
            self._touched()
        elif self.fault is not Fault.EXPECTS_LESS:
            self._note(WRITES, f"FIFO written in {self.fifo.phase.name}, {len(self._taken)} bytes taken")

    def _size(self) -> int:
        """Bytes of the command by its own header, of which a broken device makes something else."""
        if self.fault is Fault.EXPECTS_LESS:
            return 8
        if len(self._taken) < SIZE_IS_KNOWN:
            return SIZE_IS_KNOWN
        return int.from_bytes(self._taken[2:SIZE_IS_KNOWN], "big") + (self.fault is Fault.EXPECTS_MORE)

    def _take_out(self, locality: int) -> int:
        if not self._owns(locality):
            self._note(OWNS, f"FIFO of locality {locality} read, which is not active")
            return 0xFF
        if self.fifo.phase != COMPLETION or not self._told_valid or not self._told_avail:
            told = f"told valid {self._told_valid}, data {self._told_avail}"
            self._note(READS, f"FIFO read in {self.fifo.phase.name}, {told}")
            return 0xFF
        if self._credit == 0:
            self._note(BURSTS, "FIFO read beyond the burst count")
            return 0xFF
        self._credit -= 1
        if not tis_fifo.has_data(self.fifo):
            self._note(READS, "FIFO read beyond the response")
            return 0xFF
        self.fifo = tis_fifo.read(self.fifo, 1)
        self._touched()
        return self._response[self.fifo.given - 1]

    def _note(self, fact: str, sentence: str) -> None:
        self.wrong.append(Wrong(fact, sentence))

    def _touched(self) -> None:
        self._valid_at = max(self._valid_at, self.clock.time + self._some(C))
        self._burst_by = self.clock.time + NEARLY * D

    def _forget(self) -> None:
        self._taken.clear()
        self._response = b""
        self._valid_at = self.clock.time
        self._forget_told()

    def _forget_told(self) -> None:
        self._credit = 0
        self._told_valid = self._told_expect = self._told_avail = False

    def _check_width(self, width: int) -> None:
        if width != 8 and not self.nature.words:
            self._note(ACCESSES, f"FIFO accessed in {width} bits")

    def _some(self, most: float) -> float:
        """Seconds that something takes: none, or nearly all that it may."""
        return self._random.uniform(0.0, NEARLY * most) if self._random.random() < self.nature.late else 0.0

    def _pass(self) -> None:
        self.accesses += 1
        self.clock.time += BUS
        if self.accesses > self.most:
            raise TooLong(f"{self.accesses} accesses")
        happens = self.at.pop(self.accesses, None)
        if happens is not None:
            happens()
