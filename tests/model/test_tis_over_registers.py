"""The device that the driver of `tis` meets is `tis.device`, seen through the registers of one locality.

The driver of `tis` is walked at random over the registers: each of its steps is an access, each step of the others is
one from another locality. What the registers show is what `tis` lets its device show, and every access leads to a state
of which `tis` knows by its own steps.

One thing is left out: when the driver returns the TPM to a locality that waits while a command is executed, the
registers show the old owner until that is dropped; here it is dropped at once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from vtpm_model import tis_device as registers
from vtpm_model.core import Action, Actor, Disabled, replace
from vtpm_model.page import TPM_HEADER
from vtpm_model.tis import LOOKS, TIS
from vtpm_model.tis_device import ACCESS, DATA_FIFO, LOCALITIES, ONES, STS, Device
from vtpm_model.tis_driver import DRIVER, NOBODY, OTHERS, Sts, Tis, at_rest, shows
from vtpm_model.tis_fifo import COMPLETION, EMPTY, EXECUTION, IDLE, PREPARING, RECEPTION, Phase, expects

MINE = 2
STRANGERS = (0, 1, 3)
"""Localities below and above the driver's; what locality 4 writes is for the processor alone."""

LENGTHS = (10, 11, 30)
STEPS = 150
WALKS = 60

BITS = {
    "driver_asks_for_readiness": registers.COMMAND_READY,
    "driver_aborts": registers.COMMAND_READY,
    "driver_clears": registers.COMMAND_READY,
    "driver_goes": registers.GO,
    "driver_retries": registers.RETRY,
}
"""What the driver writes to STS."""

LOOKS_AT_STS = {look.name for look in LOOKS if "seen" in look.picks}

RARE = {"caller_aborts", "driver_learns_a_limit", "driver_times_out"}
"""What would keep most commands from their end, if it were as likely as all else."""

SILENT = {"caller_sends", "time_passes", *RARE}
"""Steps of the driver that access no register."""

HIDDEN = {
    Actor.DRIVER: ("device_gets_ready", "others_withdraw"),
    Actor.DEVICE: (
        "device_completes", "device_gets_ready", "others_seize", "others_give_back", "others_withdraw"
    ),
    Actor.OTHERS: ("others_request", "others_withdraw", "others_seize", "others_give_back"),
}  # fmt: skip
"""By whose access it was: the steps of `tis` by which its device may come to where the registers are."""


class Seen(NamedTuple):
    """What a device is to the driver. Of a TPM that others have, nothing is known but that they have it."""

    owner: int
    asking: bool
    wanted: bool
    phase: Phase = IDLE
    taken: int = 0
    expects: bool = False
    given: int = 0
    answer: int = 0


def through_the_registers(d: Device) -> Seen:
    """The device at register level, as the driver's locality has it."""
    owner = {registers.NOBODY: NOBODY, MINE: DRIVER}.get(d.owner, OTHERS)
    seen = Seen(owner, bool(d.asking & registers.bit(MINE)), bool(d.asking & ~registers.bit(MINE)))
    own = registers.page(d, MINE)
    if owner != DRIVER:
        assert own.phase == IDLE
        return seen
    if own.phase == EXECUTION and d.aborting == d.successor == MINE:
        return seen._replace(phase=PREPARING)
    if own.phase in (RECEPTION, EXECUTION):
        return seen._replace(phase=own.phase, taken=d.place, expects=bool(own.flags & registers.EXPECT))
    if own.phase == COMPLETION:
        assert bool(own.flags & registers.DATA_AVAIL) == (d.place < d.size)
        return seen._replace(phase=own.phase, given=d.place, answer=d.size)
    return seen._replace(phase=own.phase)


def as_the_driver_has_it(s: Tis) -> Seen:
    """The device of `tis`."""
    if s.owner != DRIVER:
        assert s.owner == OTHERS or s.fifo == EMPTY
        return Seen(s.owner, s.asking, s.wanted)
    f = s.fifo
    return Seen(s.owner, s.asking, s.wanted, f.phase, f.taken, expects(f), f.given, f.answer)


def reading(value: int) -> tuple[Sts, int]:
    """What the driver makes of STS, and the burst count."""
    burst = value >> 8 & 0xFFFF
    if value & (registers.GO | registers.RETRY):
        return Sts.FOREIGN, burst
    if value & registers.COMMAND_READY:
        return Sts.READY, burst
    if not value & registers.STS_VALID:
        return Sts.NOT_VALID, burst
    flags = bool(value & registers.EXPECT), bool(value & registers.DATA_AVAIL)
    return {(1, 0): Sts.EXPECT, (0, 1): Sts.DATA, (1, 1): Sts.MIXED, (0, 0): Sts.NEITHER}[flags], burst


def statuses(rest: int) -> Iterator[int]:
    """Values of STS, where a response of so many bytes is left."""
    valid, more = registers.STS_VALID, (0, registers.EXPECT, registers.DATA_AVAIL)
    ready = registers.COMMAND_READY
    for burst in {0, 1, rest, rest + 1, 4096}:
        for flags in (*more, *(valid | bit for bit in more), valid | sum(more), ready, valid | ready):
            yield flags | burst << 8
    yield ONES


class Walk:
    """Both devices, and a driver; each step is checked."""

    def __init__(self, seed: int, d: Device) -> None:
        self.random = random.Random(seed)
        self.s, self.d = at_rest(), d
        self.steps: Counter[str] = Counter()

    def goes(self) -> None:
        """Make one step."""
        others = 100 if self.d.owner in STRANGERS else 7
        whose = self.random.choices(("driver", "device", "others", "reset"), (80, 10, others, 1))[0]
        if whose == "driver":
            self._driver()
        elif whose == "device" and self._executes():
            self._completes()
        elif whose == "others":
            self._others()
        elif whose == "reset":
            self._takes("device_is_reset")
            self.d = registers.device_is_reset.run(self.d)
            self._follows(Actor.DEVICE)
        self._shows()

    def _takes(self, name: str, **picks: Any) -> None:
        self.s = TIS.action(name).run(self.s, **picks)
        self.steps[name] += 1

    def _writes(self, offset: int, value: int, *, locality: int = MINE, width: int = 1) -> None:
        self.d = registers.software_writes.run(self.d, locality, offset, width, value)

    # ------------------------------------------------------------------------------------------------ what is checked

    def _follows(self, by: Actor) -> None:
        """`tis` comes to where the registers are, by at most three steps of its own."""
        goal = through_the_registers(self.d)
        reached: list[tuple[Tis, tuple[str, ...]]] = [(self.s, ())]
        for state, path in reached:
            if as_the_driver_has_it(state) == goal:
                self.s = state
                self.steps.update(path)
                return
            if len(path) < 3:
                for name in HIDDEN[by]:
                    reached += [(after, (*path, name)) for after in _afters(TIS.action(name), state, goal.answer)]
        raise AssertionError(f"{as_the_driver_has_it(self.s)} does not lead to {goal}")

    def _shows(self) -> None:
        """STS reads as `tis` lets it read, and wherever it is valid, `tis` lets it read nothing else."""
        for value in statuses(self.s.fifo.answer - self.s.fifo.given):
            seen, burst = reading(value)
            one, other = shows(self.s, seen, burst), registers.agrees(self.d, MINE, STS, 4, value)
            assert one or not other, f"{value:#x} is no {seen!r} of {as_the_driver_has_it(self.s)}"
            assert other or not one or seen == Sts.NOT_VALID, f"{value:#x} is no STS of {through_the_registers(self.d)}"

    # ---------------------------------------------------------------------------------------------------- who does what

    def _driver(self) -> None:
        """One step of the driver that is possible now."""
        names = [action.name for action in TIS.actions if action.by == Actor.DRIVER]
        for name in sorted(names, key=lambda name: self.random.random() + (name in RARE) * 0.8):
            before = self.s, self.d
            try:
                self._access(name)
            except Disabled:
                assert self.s is before[0], f"the registers refuse {name}"
                self.d = before[1]
                continue
            self._follows(Actor.DRIVER)
            return

    def _access(self, name: str) -> None:
        """A step of the driver with its access. Raises Disabled where the driver does something else."""
        if name in SILENT:
            self._takes(name, **self._any_picks(name))
        elif name in BITS:
            self._takes(name)
            self._writes(STS, BITS[name])
        elif name in LOOKS_AT_STS:
            value = self._status()
            seen, burst = reading(value)
            self._takes(name, seen=seen, burst=burst)
            registers.software_reads.run(self.d, MINE, STS, 4, value)
        elif name == "driver_requests_the_locality":
            self._takes(name)
            self._writes(ACCESS, registers.REQUEST)
        elif name == "driver_awaits_the_locality":
            shown = registers.access_read(self.d, MINE)
            self._takes(name, valid=bool(shown & registers.VALID), active=bool(shown & registers.ACTIVE))
        elif name == "driver_leaves":
            pending = bool(registers.access_read(self.d, MINE) & registers.PENDING)
            self._takes(name, pending=pending)
            if pending:
                self._returns()
        elif name == "driver_releases":
            self._takes(name)
            self._returns()
        elif name == "driver_writes":
            self._sends()
        else:
            assert name == "driver_reads", name
            self._receives()

    def _returns(self) -> None:
        self._writes(ACCESS, registers.ACTIVE)
        if self._executes() and self.d.successor in STRANGERS:
            self.d = registers.device_completes.run(self.d, 10, False)

    def _sends(self) -> None:
        length, sent = self.s.length, self.s.sent
        count = self.random.randint(1, max(1, min(self.s.burst, length - sent)))
        self._takes("driver_writes", count=count)
        packet = packet_of(length)
        for byte in packet[sent : sent + count]:
            self._writes(DATA_FIFO, byte)

    def _receives(self) -> None:
        got = self.s.got
        left = TPM_HEADER - got if got < TPM_HEADER else self.s.expected - got
        count = self.random.randint(1, max(1, min(self.s.burst, left)))
        owned = self.d.owner == MINE
        size = self.s.fifo.answer if owned else ONES
        if owned and not self.s.garbled and self.random.random() < 0.5:
            size = self.random.choice((9, 4097))
        self._takes("driver_reads", count=count, size=size)
        packet = packet_of(self.d.size) if owned else b"\xff" * (got + count)
        for byte in packet[got : got + count]:
            self.d = registers.software_reads.run(self.d, MINE, DATA_FIFO, 1, byte)

    def _status(self) -> int:
        """STS as it may read now: any burst count that may be, and a status that may not be valid yet."""
        rest = self.s.fifo.answer - self.s.fifo.given
        possible = [value for value in statuses(rest) if registers.agrees(self.d, MINE, STS, 4, value)]
        return self.random.choice(possible)

    def _any_picks(self, name: str) -> dict[str, Any]:
        length, which = self.random.choice(LENGTHS), TIS.action("driver_learns_a_limit").picks["which"]
        picks = {"named": length, "given": length, "which": self.random.choice(list(which)), "told": 3}
        return {pick: picks[pick] for pick in TIS.action(name).picks}

    def _executes(self) -> bool:
        return any(registers.page(self.d, locality).phase == EXECUTION for locality in LOCALITIES)

    def _completes(self) -> None:
        self.d = registers.device_completes.run(self.d, self.random.choice(LENGTHS), False)
        self._follows(Actor.DEVICE)

    def _others(self) -> None:
        """An access from another locality; one that has the TPM uses it, too."""
        locality = self.random.choice(STRANGERS)
        kind = self.random.choice(("request", "return", "seize", "ready", "command", "go"))
        bits = {"request": registers.REQUEST, "return": registers.ACTIVE, "seize": registers.SEIZE}
        if kind in bits:
            self._writes(ACCESS, bits[kind], locality=locality)
        elif kind == "command":
            for byte in packet_of(10):
                self._writes(DATA_FIFO, byte, locality=locality)
        else:
            bit = registers.COMMAND_READY if kind == "ready" else registers.GO
            self._writes(STS, bit, locality=locality)
        self._follows(Actor.OTHERS)


def packet_of(size: int) -> bytes:
    """A packet of so many bytes, whose header says so."""
    return b"\x00\xc1" + size.to_bytes(4, "big") + bytes(size - 6)


def _afters(action: Action[Tis], s: Tis, answer: int) -> Iterator[Tis]:
    """Where a step of `tis` may lead; a response has the size that is looked for, if it is known."""
    values: dict[str, tuple[Any, ...]] = {"to_the_driver": (False, True), "answer": (answer or 10,)}
    (pick,) = list(action.picks) or [""]
    for value in values.get(pick, (None,)):
        try:
            yield action.run(s, **({pick: value} if pick else {}))
        except Disabled:
            continue


def walked(seeds: range, d: Device) -> Counter[str]:
    """How often each step was taken in walks of these seeds. Raises AssertionError where the two devices differ."""
    steps: Counter[str] = Counter()
    for seed in seeds:
        walk = Walk(seed, d)
        for _ in range(STEPS):
            walk.goes()
        steps += walk.steps
    return steps


def test_the_drivers_device_is_the_one_behind_the_registers() -> None:
    steps = walked(range(WALKS), registers.device())
    never = {action.name for action in TIS.actions} - steps.keys()
    assert never == {"device_breaks", "others_have_a_response"}, "it is sound; what others do with it is not seen"


def keeps_what_was_left(d: Device, owner: int) -> Device:
    """The FIFO stays as it was when the TPM changes hands."""
    return replace(PASSES(replace(d, one_fifo=True), owner), one_fifo=d.one_fifo)


def forgets_no_abort(d: Device, owner: int) -> Device:
    """A command that was to be dropped is gone with its owner; that it was to be dropped is not."""
    return replace(PASSES(d, owner), aborting=d.aborting, successor=d.successor)


def ignores(bit: int) -> Callable[[Device, int, int], Device]:
    """One command bit of STS does nothing."""
    return lambda d, locality, value: STS_WRITTEN(d, locality, value & ~bit)


def gives_no_pending_request(d: Device, locality: int, value: int) -> Device:
    """A request is heard only while the TPM is free."""
    return ACCESS_WRITTEN(d, locality, value if d.owner == registers.NOBODY else value & ~registers.REQUEST)


def shows_any_burst_count(d: Device, locality: int, offset: int, width: int, value: int) -> bool:
    """The burst count may exceed what is left of the response."""
    return AGREES(d, locality, offset, width, value) or AGREES(d, locality, offset, width, value & ~registers.BURST)


PASSES, STS_WRITTEN, ACCESS_WRITTEN = registers.passes_to, registers.sts_written, registers.access_written
AGREES = registers.agrees


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("passes_to", keeps_what_was_left),
        ("passes_to", forgets_no_abort),
        ("sts_written", ignores(registers.RETRY)),
        ("sts_written", ignores(registers.COMMAND_READY)),
        ("access_written", gives_no_pending_request),
        ("agrees", shows_any_burst_count),
    ],
)
def test_another_device_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str, mistake: Callable[..., Any]) -> None:
    monkeypatch.setattr(registers, name, mistake)
    with pytest.raises(AssertionError):
        walked(range(WALKS), registers.device())
