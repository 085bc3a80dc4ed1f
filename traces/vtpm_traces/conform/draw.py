"""Draws scripts at random: a walk of the driven model that settles after each run says what would be worth doing next.

The same end, seed and number give the same script. The walk guesses what the subject does; where the subject takes
another permitted way, the script goes on all the same, only less to the point.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Final, TypeAlias

from vtpm_model.core import Actor
from vtpm_model.driven import DRIVEN, Driven, Wish
from vtpm_model.handshake import XenbusState as S
from vtpm_model.ring import RingState
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.words import back, front
from vtpm_traces.steps import Steps

LINES: Final = 40
"""Moves of a script."""

SETTLED: Final = 60
"""Steps after which a walk is taken to have settled."""

VALUES: Final = ("", "x", " 3", "3 ", "03", "9", "-1", "4294967299", "1e0", "3\x003", "\xff", "1" * 60)
"""What nobody should write into a node that holds a number."""

LENGTHS: Final = (0, 1, 9, 10, 11, 4087, 4088, 4089, 4096, 0x7FFF_FFFF, 0xFFFF_FFF8, 0xFFFF_FFFF)

Calls: TypeAlias = tuple[tuple[str, dict[str, Any]], ...]
"""What the driver of the model does."""

Move: TypeAlias = tuple[int, tuple[str, ...], Calls]
"""How likely it is, the lines of the script, and what the driver of the model does by them."""


def draw(end: str, seed: int, number: int) -> Script:
    """The script of this number."""
    dice = random.Random(f"{end} {seed} {number}")
    lines = tuple(_backend_lines(dice) if end == "backend" else _frontend_lines(dice))
    return Script(f"random/{number}", f"drawn with seed {seed}", lines)


class Walk:
    """One device of the model, in the driver's hands."""

    def __init__(self, subject: Actor) -> None:
        self.state: Driven = DRIVEN.init()
        self._subject = frozenset((subject,))
        self._steps = Steps(DRIVEN)

    def act(self, calls: Calls) -> None:
        """The driver does something, where the model has it."""
        for name, picks in calls:
            for _, after in self._steps.take(self.state, name, picks):
                self.state = after

    def settle(self) -> None:
        """The subject does what it owes."""
        for _ in range(SETTLED):
            name = self._steps.owed(self.state, self._subject, frozenset())
            if name is None:
                return
            self.state = next(iter(self._steps.take(self.state, name, {})))[1]


class Played(ABC):
    """An end that the script plays, with its device: what it might do next."""

    opening: ClassVar[Calls]
    """What the driver does when the device is made."""

    def __init__(self, subject: Actor, opens: str) -> None:
        """`opens`: the line that makes the device."""
        self.walk = Walk(subject)
        self._opens = opens

    def moves(self, dice: random.Random) -> list[Move]:
        """What could be done now."""
        s = self.walk.state
        if s.be_state is S.UNKNOWN and s.fe_state is S.UNKNOWN:
            return [(20, (self._opens,), self.opening)]
        return [*self._sane(dice, s), *self._hostile(dice, s)]

    def take(self, dice: random.Random) -> tuple[str, ...]:
        """Make one of these moves; its lines."""
        moves = self.moves(dice)
        move = dice.choices(moves, [weight for weight, _, _ in moves])[0]
        self.made(move)
        return move[1]

    def made(self, move: Move) -> None:
        """A move was made."""
        self.walk.act(move[2])

    @abstractmethod
    def _sane(self, dice: random.Random, s: Driven) -> Iterator[Move]:
        """What such an end does."""

    @abstractmethod
    def _hostile(self, dice: random.Random, s: Driven) -> Iterator[Move]:
        """What none does."""


def _packet(dice: random.Random, tag: str, size: int) -> str:
    body = bytes(dice.randrange(256) for _ in range(min(size, 64) - 10)) if size > 10 else b""
    head = tag + size.to_bytes(4, "big").hex() + f"{dice.randrange(1 << 32):08x}"
    return head + (body + bytes(4088))[: size - 10].hex()


def _size(dice: random.Random) -> int:
    return dice.choice((10, 10, 14, 30, 4088)) if dice.random() < 0.5 else dice.randrange(10, 300)


# ------------------------------------------------------------------------------------------------- to a backend


class PlayedFrontend(Played):
    """A frontend that the script plays, with its device."""

    opening = (
        ("driver_completes_node", {"complete": True, "has_uuid": True}),
        ("driver_sets_online", {"online": True}),
        ("driver_writes_backend_state", {"state": S.INITIALISING}),
        ("driver_writes_frontend_state", {"state": S.INITIALISING}),
    )

    def __init__(self, domain: int, handle: int) -> None:
        self.domain, self.handle = domain, handle
        self.name = f"{domain} {handle}"
        super().__init__(Actor.BACKEND, f"attach {self.name}")
        self.front, self.back = front(str(domain), str(handle)), back(str(domain), str(handle))
        self.ref = 8 + 100 * handle  # of a domain's devices each has its own

    def made(self, move: Move) -> None:
        """What a move published is this device's page from now on."""
        super().made(move)
        self.ref += any(line.startswith(f"publish {self.name} ") for line in move[1])

    def _sane(self, dice: random.Random, s: Driven) -> Iterator[Move]:
        if s.fe_state in (S.INITIALISING, S.CLOSED) and s.be_state in (S.INIT_WAIT, S.CLOSED):
            yield self._publishes(dice, 20)
        if s.fe_state is S.INITIALISED:
            yield self._writes(dice, S.CONNECTED, 10)
        if s.open and s.page.state in (RingState.IDLE, RingState.FINISH):
            yield self._submits(dice, 30)
        if s.busy and not s.answered:
            size = _size(dice)
            yield 30, (f"resp {_packet(dice, '00c4', size)}",), (("driver_answers", {"reply": size}),)
        if s.open:
            yield self._stores(3, "page {d} {r} 4 03", ("driver_stores_state", {"state": RingState.CANCEL}))
            yield self._writes(dice, S.CLOSING, 2)
            yield self._writes(dice, S.CLOSED, 4)
        if s.fe_state is S.CLOSED:
            yield self._writes(dice, S.INITIALISING, 3)
        if s.online and s.be_state is not S.UNKNOWN:
            calls: Calls = (
                ("driver_sets_online", {"online": False}),
                ("driver_writes_backend_state", {"state": S.CLOSING}),
            )
            yield 2, (f"detach {self.name}",), calls
            gone: Calls = (("driver_writes_frontend_state", {"state": S.UNKNOWN}), ("driver_retracts_keys", {}), *calls)
            yield 2, (f"destroy {self.name}",), gone
        if not s.online and s.be_state in (S.CLOSED, S.UNKNOWN):
            yield self._removed(10)

    def _hostile(self, dice: random.Random, s: Driven) -> Iterator[Move]:
        yield self._writes(dice, dice.choice([one for one in S if one not in (S.UNKNOWN, S.INVALID)]), 2)
        value = dice.choice(VALUES)
        yield 2, (f"set {self.front}/state {value}",), (("driver_writes_frontend_state", {"state": S.INVALID}),)
        key = dice.choice(("ring-ref", "event-channel", "feature-protocol-v2"))
        yield 1, (f"set {self.front}/{key} {value}",), (("driver_retracts_keys", {}),)
        yield 1, (f"rm {self.front}/{key}",), (("driver_retracts_keys", {}),)
        yield self._publishes(dice, 2)
        yield 1, (f"rm {self.front}",), (("driver_writes_frontend_state", {"state": S.UNKNOWN}),)
        yield self._removed(1)
        yield 1, (f"fail {dice.choice(('map', 'bind'))} 1",), ()
        if s.granted:
            length, extra = dice.choice(LENGTHS), dice.choice((0, 0, 1, 254, 255))
            header = length.to_bytes(4, "little") + bytes([1, dice.choice((0, 4, 255)), 0, extra])
            calls: Calls = (
                ("driver_stores_length", {"length": length}),
                ("driver_stores_extra", {"extra": extra}),
                ("driver_stores_state", {"state": RingState.SUBMIT}),
            )
            yield self._stores(6, "page {d} {r} 0 " + header.hex(), *calls)
            byte = dice.choice((0, 2, 4, 255))
            state = RingState(byte) if byte < RingState.OTHER else RingState.OTHER
            yield self._stores(3, f"page {{d}} {{r}} 4 {byte:02x}", ("driver_stores_state", {"state": state}))
            yield 2, (f"page {self.domain} {self.ref} 7 {extra:02x}",), (("driver_stores_extra", {"extra": extra}),)
            yield self._submits(dice, 2)
            yield 3, (f"notify {self.domain} {self.ref}",), (("driver_raises_backend_event", {}),)
        if s.busy and not s.answered:
            size = dice.choice((0, 1, 9, 4089, 8000))
            yield 4, (f"resplen {size}",), (("driver_answers", {"reply": size}),)

    def _publishes(self, dice: random.Random, weight: int) -> Move:
        ref = self.ref + 1
        state = dice.choice((S.INITIALISED, S.INITIALISED, S.CONNECTED))
        calls: Calls = (
            ("driver_publishes_another_page", {"exists": True}),
            ("driver_writes_frontend_version", {"version": True}),
            ("driver_writes_frontend_state", {"state": state}),
        )
        lines = (f"publish {self.name} {ref} {ref}", f"state {self.name} {state:d}")
        return weight, lines, calls

    def _writes(self, dice: random.Random, state: S, weight: int) -> Move:
        return weight, (f"state {self.name} {state:d}",), (("driver_writes_frontend_state", {"state": state}),)

    def _submits(self, dice: random.Random, weight: int) -> Move:
        size, locality = _size(dice), dice.choice((0, 0, 0, 2, 255))
        calls: Calls = (
            ("driver_stores_length", {"length": size}),
            ("driver_stores_extra", {"extra": 0}),
            ("driver_stores_state", {"state": RingState.SUBMIT}),
            ("driver_raises_backend_event", {}),
        )
        packet = _packet(dice, "00c1", size)
        return weight, (f"submit {self.domain} {self.ref} {self.ref} {locality} {packet}",), calls

    def _stores(self, weight: int, line: str, *calls: tuple[str, dict[str, Any]]) -> Move:
        lines = (line.format(d=self.domain, r=self.ref), f"notify {self.domain} {self.ref}")
        return weight, lines, (*calls, ("driver_raises_backend_event", {}))

    def _removed(self, weight: int) -> Move:
        calls: Calls = (
            ("driver_removes_directory", {}),
            ("driver_retracts_keys", {}),
            ("driver_writes_frontend_state", {"state": S.UNKNOWN}),
        )
        return weight, (f"remove {self.name}",), calls


def _backend_lines(dice: random.Random) -> Iterator[str]:
    frontends = [PlayedFrontend(1, 0), PlayedFrontend(2, 0), PlayedFrontend(1, 1)][: dice.choice((1, 1, 2, 3))]
    for one in frontends:
        one.walk.act((("driver_starts_backend", {}),))
    early = [line for one in frontends for line in one.take(dice) if dice.random() < 0.2]
    yield from early
    yield "init"
    yield "run"
    for _ in range(dice.randrange(5, LINES)):
        yield from dice.choice(frontends).take(dice)
        roll = dice.random()
        if roll < 0.65:
            for one in frontends:
                one.walk.settle()
            yield "run"
        elif roll < 0.8:
            yield f"deliver {dice.randrange(1, 4)}"
    yield "run"


# ------------------------------------------------------------------------------------------------ to a frontend


class PlayedBackend(Played):
    """A backend that the script plays, with its one device."""

    domain = 58
    opening = (
        ("driver_completes_node", {"complete": True, "has_uuid": False}),
        ("driver_writes_backend_version", {"version": True}),
        ("driver_writes_backend_state", {"state": S.INIT_WAIT}),
        ("driver_writes_frontend_state", {"state": S.INITIALISING}),
    )

    def __init__(self) -> None:
        super().__init__(Actor.FRONTEND, f"offer {self.domain} 0")
        self.front = front("20", "0")
        self.back = f"/local/domain/{self.domain}/backend/vtpm/20/0"

    def _sane(self, dice: random.Random, s: Driven) -> Iterator[Move]:
        if s.wish is not Wish.OPEN:
            yield 15, ("init -",), (("driver_wants", {"wish": Wish.OPEN}),)
        if s.fe_state in (S.INITIALISED, S.CONNECTED) and s.be_state is not S.CONNECTED:
            yield self._writes(S.CONNECTED, 15)
        if s.fe_state in (S.CLOSING, S.CLOSED):
            yield self._writes(dice.choice((S.INIT_WAIT, S.INIT_WAIT, S.CLOSED)), 15)
        if s.open and s.peer_v2 and not s.waiting:
            size = _size(dice)
            if dice.random() < 0.2:
                yield 3, (f"loc {dice.choice((0, 1, 4, 255))}",), ()
            yield 30, (f"cmd {_packet(dice, '00c1', size)}",), (("driver_commands", {"length": size}),)
            yield 2, (f"cmdlen {dice.choice((4089, 5000))}",), (("driver_commands", {"length": 4089}),)
            yield 3, ("close",), (("driver_wants", {"wish": Wish.CLOSED}),)
        if s.waiting:
            yield 4, ("pass",), (("driver_lets_time_pass", {}),)
            size = _size(dice)
            yield self._replies(30, _packet(dice, "00c4", size), size, RingState.FINISH, 0, size)
        if s.wish is Wish.OPEN and not s.peer_v2:
            yield 1, ("pass",), (("driver_wants", {"wish": Wish.CLOSED}),)
        yield self._writes(S.CLOSING, 1)
        yield self._writes(S.CLOSED, 1)

    def _hostile(self, dice: random.Random, s: Driven) -> Iterator[Move]:
        yield self._writes(dice.choice([one for one in S if one not in (S.UNKNOWN, S.INVALID)]), 1)
        value = dice.choice(VALUES)
        yield 1, (f"set {self.back}/state {value}",), (("driver_writes_backend_state", {"state": S.INVALID}),)
        node = f"{self.back}/feature-protocol-v2"
        yield 1, (f"set {node} {value}",), (("driver_writes_backend_version", {"version": False}),)
        gone: Calls = (
            ("driver_writes_backend_state", {"state": S.UNKNOWN}),
            ("driver_writes_backend_version", {"version": False}),
        )
        yield 1, (f"rm {self.back}",), gone
        if s.granted:
            yield 2, (f"kick {self._port()}",), (("driver_raises_frontend_event", {}),)
            byte = dice.choice((0, 1, 2, 3, 4, 255))
            length, extra = dice.choice(LENGTHS), dice.choice((0, 0, 0, 255))
            state = RingState(byte) if byte < RingState.OTHER else RingState.OTHER
            yield self._replies(5, "00c40000000a00000000", length, state, extra, 10, byte=byte)
            named = dice.choice(LENGTHS)
            packet = "00c4" + named.to_bytes(4, "big").hex() + "00000000"
            yield self._replies(3, packet, 10, RingState.FINISH, 0, named)

    def _ref(self) -> int:
        return 99 + max(self.walk.state.epoch, 1)

    def _port(self) -> int:
        return 9 + max(self.walk.state.epoch, 1)

    def _writes(self, state: S, weight: int) -> Move:
        line = f"backend {self.domain} 0 {state:d}"
        return weight, (line,), (("driver_writes_backend_state", {"state": state}),)

    def _replies(
        self,
        weight: int,
        packet: str,
        length: int,
        state: RingState,
        extra: int,
        named: int,
        *,
        byte: int | None = None,
    ) -> Move:
        header = length.to_bytes(4, "little") + bytes([state if byte is None else byte])
        lines = (
            f"page 20 {self._ref()} 8 {packet}",
            f"page 20 {self._ref()} 7 {extra:02x}",
            f"page 20 {self._ref()} 0 {header.hex()}",
            f"kick {self._port()}",
        )
        picks = {"length": length, "state": state, "extra": extra, "named": named}
        return weight, lines, (("driver_replies", picks), ("driver_raises_frontend_event", {}))


def _frontend_lines(dice: random.Random) -> Iterator[str]:
    backend = PlayedBackend()
    for _ in range(dice.randrange(8, LINES)):
        yield from backend.take(dice)
        roll = dice.random()
        if roll < 0.7:
            backend.walk.settle()
            yield "run"
        elif roll < 0.8:
            yield f"deliver {dice.randrange(1, 3)}"
    yield "run"
