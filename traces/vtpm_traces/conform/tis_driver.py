"""Judges a driver of the TIS by what it does to a device that the model plays: benign, broken, seized, or nonsense."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from vtpm_traces.conform.tis_device import (
    ACCESS,
    BUS,
    STS,
    A,
    B,
    C,
    Clock,
    D,
    Device,
    Fault,
    Nature,
    TooLong,
)
from vtpm_traces.conform.tis_nonsense import Nonsense

NATURES: Final = {
    "quick": Nature(),
    "bytes only": Nature(words=False),
    "small and slow": Nature(bursts=(0, 1, 2, 3, 4), late=0.03, execution=(0.0, 1.5)),
    "any burst": Nature(bursts=(0, 1, 3, 5, 7, 64, 255, 256, 511, 4096), late=0.02, idle_after_completion=True),
    "takes 10 s": Nature(bursts=(32,), execution=(1.9, 1.99)),
}
EXECUTION: Final = 120.0
"""Seconds that a command may take; what is asked below is TPM_GetRandom, which no driver awaits for so long."""

ORDINAL: Final = 0x46

ENOUGH: Final = 60_000
"""Accesses that no driver needs for one command."""

MOMENTS: Final = 40
"""Accesses of a command before which the TPM is seized, at the most about; they are spread evenly."""

ERRORS: Final[Mapping[Fault, str]] = {
    Fault.ACCESS_NEVER_VALID: "TimedOut",
    Fault.NEVER_GRANTS: "LocalityDenied",
    Fault.NEVER_READY: "TimedOut",
    Fault.TAKES_NOTHING: "TimedOut",
    Fault.TAKES_NO_MORE: "TimedOut",
    Fault.NEVER_VALID: "TimedOut",
    Fault.EXPECTS_MORE: "Violation",
    Fault.EXPECTS_LESS: "Violation",
    Fault.NEVER_RESPONDS: "TimedOut",
    Fault.DROPS: "Dropped",
    Fault.GIVES_NOTHING: "TimedOut",
    Fault.GIVES_NO_MORE: "TimedOut",
    Fault.ENDS_EARLY: "MalformedResponse",
    Fault.ENDS_IN_HEADER: "MalformedResponse",
    Fault.HAS_MORE: "MalformedResponse",
    Fault.TINY: "MalformedResponse",
    Fault.HUGE: "MalformedResponse",
    Fault.ABSENT: "Absent",
    Fault.ODD_STATUS: "Violation",
}
"""What a driver says of each fault; GARBLED_ONCE is none to it."""


class Failed(Exception):
    """A driver has no response; `kind` is the name of its error in the protocol `vtpm-tis/1`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Transmitter(Protocol):
    """A driver under test."""

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """The response. Raises Failed, and the Fault of a subject that breaks the protocol."""


Port = Device | Nonsense
"""Registers and a clock."""

MakeDriver = Callable[[Port, Clock], Transmitter]
"""Gives a driver that knows nothing yet, for a port and a clock."""


@dataclass(frozen=True)
class Run:
    """One run: its name, what it is about, and what finds what is wrong with a driver, sentence by sentence."""

    name: str
    doc: str
    play: Callable[[MakeDriver], Iterator[str]]


def command(size: int, mark: int) -> bytes:
    """A command of so many bytes, that differs from others by its mark."""
    return b"\x00\xc1" + size.to_bytes(4, "big") + ORDINAL.to_bytes(4, "big") + _filling(size - 10, mark)


def _filling(size: int, mark: int) -> bytes:
    return random.Random(mark).randbytes(size)


def answer(asked: bytes) -> bytes:
    """What the device's inside answers: of 10 to 300 bytes, and of its own for each command."""
    digest = hashlib.sha256(asked).digest()
    size = 10 if digest[0] < 32 else 10 + int.from_bytes(digest[1:3], "big") % 291
    return b"\x00\xc4" + size.to_bytes(4, "big") + bytes(4) + _filling(size - 10, digest[3])


def longest(size: int, response: int = 4096) -> float:
    """Seconds within which a driver has to come to an end with a command of so many bytes, all waits at their longest.

    Each wait may overshoot by one access. Nothing here is as long as a device that takes a byte at a time, each late.
    """
    waits = A + B + size * (C + D) + C + EXECUTION + (response + 1) * (C + D) + C
    return waits + 0.1 + 20_000 * BUS


def runs(seeds: int = 1) -> Iterator[Run]:
    """All runs but the random ones, with so many seeds of each."""
    yield Run("reject/bad-commands", "what is no whole command reaches no register", _contract)
    for seed in range(seeds):
        for name, nature in NATURES.items():
            play = partial(_benign, nature=nature, seed=seed)
            yield Run(_name("accept", name, seed), f"a device that keeps the rules: {name}", play)
        for fault in (*ERRORS, Fault.GARBLED_ONCE):
            for name in ("quick", "small and slow"):
                if (fault, name) != (Fault.EXPECTS_LESS, "quick"):  # which nobody can see
                    play = partial(_broken, fault=fault, nature=NATURES[name], seed=seed)
                    yield Run(_name("reject", f"{fault.name.lower()} {name}", seed), f"{fault.value}: {name}", play)
        for name in ("quick", "any burst"):
            play = partial(_seized, nature=NATURES[name], seed=seed)
            yield Run(_name("seized", name, seed), f"the TPM is seized before many an access in turn: {name}", play)


def _name(kind: str, what: str, seed: int) -> str:
    return f"{kind}/{what.replace(' ', '-').replace('_', '-')}-{seed}"


def _driver(make: MakeDriver, nature: Nature, seed: int, fault: Fault = Fault.NONE) -> tuple[Device, Transmitter]:
    device = Device(answer, nature, seed, fault)
    device.most = ENOUGH
    return device, make(device, device.clock)


def _attempt(device: Port, driver: Transmitter, asked: bytes, locality: int) -> bytes | str:
    """The response, or what came instead of it: the name of the error, or what is wrong."""
    began = device.clock.time
    device.most = device.accesses + ENOUGH
    try:
        got: bytes | str = driver.transmit(asked, locality=locality)
    except Failed as error:
        got = error.kind
        if not str(error):
            return "wrong: an error that says nothing"
    except TooLong as error:
        return f"wrong: no end after {error}"
    if device.clock.time - began > longest(len(asked)):
        return f"wrong: {device.clock.time - began:.1f} s, of {longest(len(asked)):.1f}"
    return got


def _benign(make: MakeDriver, *, nature: Nature, seed: int) -> Iterator[str]:
    """Commands of all sizes at all localities: each is executed once, as it is, and answered with its own response."""
    device, driver = _driver(make, nature, seed)
    chooser = random.Random(seed)
    asked = []
    locality = 0
    for mark in range(8):
        asked.append(command(chooser.choice((10, 11, 12, 13, 14, 20, 54, 300)), mark))
        if mark != 4:
            locality = chooser.choice((0, 0, 0, 1, 2, 3, 4))
        got = _attempt(device, driver, asked[-1], locality)
        yield from map(str, device.wrong)
        device.wrong.clear()
        if got != answer(asked[-1]):
            yield f"command {mark} of {len(asked[-1])} bytes: {got if isinstance(got, str) else 'a wrong response'}"
        if device.requests:
            yield f"requests are left: {device.requests}"
        if mark == 3:  # another locality asks for the TPM, and must have it after the next command
            device.requests.add(5)
        elif device.owner == 5:
            device.give_back(5)
        elif mark == 4:
            yield "the TPM was not given to who had asked for it"
            break
    if device.executed != asked:
        yield "what was executed is not what was asked"


def _broken(make: MakeDriver, *, fault: Fault, nature: Nature, seed: int) -> Iterator[str]:
    """A command meets the fault: a typed error, one abort, the locality is given back; and the next command works."""
    device, driver = _driver(make, nature, seed)
    first = _attempt(device, driver, command(20, seed), 0)
    if first != answer(command(20, seed)):
        yield f"before the fault: {first if isinstance(first, str) else 'a wrong response'}"
    if fault in (Fault.ACCESS_NEVER_VALID, Fault.NEVER_GRANTS):
        device, driver = _driver(make, nature, seed)
    if fault is Fault.NEVER_READY:
        device.owner = None  # a reset
    if fault is Fault.NEVER_GRANTS:
        device.owner = 5
    device.fault = fault
    device.writes.clear()
    asked = command(64, 1000 + seed)
    got = _attempt(device, driver, asked, 0)
    recovers = fault is Fault.GARBLED_ONCE
    if recovers and got != answer(asked):
        yield f"{got if isinstance(got, str) else 'a wrong response'}, though it was right the second time"
    elif isinstance(got, bytes) and not recovers:
        yield f"a response of {len(got)} bytes"
    elif isinstance(got, str) and got != ERRORS[fault]:
        yield got
    yield from map(str, device.wrong)
    device.wrong.clear()
    if not recovers and fault is not Fault.ABSENT:
        held = any(offset == STS for _, offset, _ in device.writes)
        last = [(offset, value) for _, offset, value in device.writes][-2:]
        if held and fault is not Fault.NEVER_GRANTS and last != [(STS, 0x40), (ACCESS, 0x20)]:
            yield f"after the error were written {last}, and not commandReady, and the locality given back"
        if device.owner == 0:
            yield "the locality is still held after the error"
        if device.requests:
            yield "the request still stands after the error"
    device.fault = Fault.NONE
    if device.owner == 5:
        device.give_back(5)
    asked = command(30, 2000 + seed)
    after = _attempt(device, driver, asked, 0)
    if after == "LocalityLost":
        after = _attempt(device, driver, asked, 0)
    if after != answer(asked):
        yield f"after the fault: {after if isinstance(after, str) else 'a wrong response'}"
    yield from map(str, device.wrong)


def _seized(make: MakeDriver, *, nature: Nature, seed: int) -> Iterator[str]:
    """The TPM is seized before many an access in turn: it is told unless the response was whole; the next one works."""
    device, driver = _driver(make, nature, seed)
    _attempt(device, driver, command(40, 0), 0)
    before = device.accesses
    _attempt(device, driver, command(40, 1), 0)
    accesses = device.accesses - before
    for turn in range(1, accesses + 1, 1 + accesses // MOMENTS):
        device, driver = _driver(make, nature, seed)
        _attempt(device, driver, command(40, 0), 0)
        seized: list[int] = []

        def seize(device: Device = device, seized: list[int] = seized) -> None:
            device.seize_by(4)
            seized.append(len(device.wrong))

        device.at[device.accesses + turn] = seize
        device.wrong.clear()
        got = _attempt(device, driver, command(40, 1), 0)
        if isinstance(got, bytes) and got != answer(command(40, 1)):
            yield f"before access {turn}: a wrong response"
        elif isinstance(got, str) and got != "Seized":
            yield f"before access {turn}: {got}"
        if not seized:
            continue
        unowned = len(device.wrong) - seized[0]
        if unowned > max(nature.bursts) + 1 or sum("STS" in wrong.sentence for wrong in device.wrong) > 1:
            yield f"before access {turn}: {unowned} accesses to what was not its own"
        device.wrong.clear()
        device.give_back(4)
        after = _attempt(device, driver, command(30, 2), 0)
        if after == "Seized" and isinstance(got, bytes):
            after = _attempt(device, driver, command(30, 2), 0)
        if after != answer(command(30, 2)):
            yield f"before access {turn}, afterwards: {after if isinstance(after, str) else 'a wrong response'}"
        yield from map(str, device.wrong)


def plays(make: MakeDriver, *, lines: Sequence[str]) -> Iterator[str]:
    """Whatever is read: an end in time, with an error, or with what at least looks like a whole response."""
    device = Nonsense(lines)
    driver = make(device, device.clock)
    for locality, asked in device.commands:
        got = _attempt(device, driver, asked, locality)
        if isinstance(got, str) and got.startswith("wrong"):
            yield got
        elif isinstance(got, bytes) and not 10 <= len(got) == int.from_bytes(got[2:6], "big") <= 4096:
            yield f"a response of {len(got)} bytes that says it has {int.from_bytes(got[2:6], 'big')}"


def _contract(make: MakeDriver) -> Iterator[str]:
    """What is no whole command reaches no register."""
    good = command(20, 0)
    for bad in (b"", good[:9], good[:19], good + b"\0", good[:2] + bytes(4) + good[6:], command(4097, 0)):
        device, driver = _driver(make, NATURES["quick"], 0)
        got = _attempt(device, driver, bad, 0)
        if got != "BadCommand":
            yield f"a bad command of {len(bad)} bytes: {got if isinstance(got, str) else 'a response'}"
        if device.accesses:
            yield f"a bad command of {len(bad)} bytes: {device.accesses} accesses"
