"""Draws scripts at random for Linux' frontend: a walk of the driven model says what could be done next, and awaited.

The same seed and number give the same script. What the walk expects of Linux is waited for; where that does not come,
the judge decides what it means.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from vtpm_model.core import Actor
from vtpm_model.driven_linux import DRIVEN_LINUX, Binding, DrivenLinux
from vtpm_model.handshake import XenbusState as S
from vtpm_model.ring import RingState
from vtpm_traces.conform.linux_script import PCR_READ
from vtpm_traces.conform.script import Script
from vtpm_traces.observe import Candidates
from vtpm_traces.steps import Steps

MOVES: Final = 9
"""Moves of a script, of some lines each."""

TIMES: Final = "times 1000 2000"
"""What makes a command that is not answered end soon."""

LENGTHS: Final = (0, 9, 10, 11, 4088, 4089, 4096, 0x7FFF_FFFF, 0xFFFF_FFF8, 0xFFFF_FFFF)

Calls: TypeAlias = tuple[tuple[str, dict[str, Any]], ...]
"""What the driver of the model does."""

Move: TypeAlias = tuple[int, tuple[str, ...], Calls]
"""How likely it is, the lines of the script, and what the driver of the model does by them."""

_FRONTEND: Final = frozenset((Actor.FRONTEND,))
_SETTLED: Final = 40


def draw(seed: int, number: int) -> Script:
    """The script of this number."""
    dice = random.Random(f"linux {seed} {number}")
    walk = _Walk()
    lines = [TIMES]
    for _ in range(MOVES):
        moves = list(_moves(dice, walk.state))
        _, words, calls = dice.choices(moves, [move[0] for move in moves])[0]
        lines += words
        before = walk.state
        for call in calls:
            walk.act(*call)
        walk.settle()
        if walk.state.epoch != before.epoch:  # Linux probes, and its first commands are answered
            lines += ["await 3", "connect", "serve 2"]
            walk.act("driver_maps")
        elif walk.state.fe_state is before.fe_state or walk.state.fe_state is S.UNKNOWN:
            continue
        if walk.state.fe_state is not S.INITIALISED:
            lines.append(f"await {int(walk.state.fe_state)}")
    return Script(f"random/{number}", f"drawn with seed {seed}", tuple(lines))


class _Walk:
    """A device of the model in the driver's hands, and a Linux that does at once what it owes."""

    def __init__(self) -> None:
        self.state: DrivenLinux = DRIVEN_LINUX.init()
        self._steps = Steps(
            DRIVEN_LINUX,
            {"frontend_submits.length": Candidates((14,)), "frontend_submits.extra": Candidates((0,))},
        )

    def act(self, name: str, picks: dict[str, Any] | None = None) -> None:
        """The driver does something, where the model has it; nodes that are not named stay as they are."""
        if name == "driver_writes_nodes":
            s = self.state
            nodes = ("there", "fe_state", "be_state", "be_v2", "fe_v2", "online", "complete")
            picks = {**{node: getattr(s, node) for node in nodes}, "keeps_keys": True, **(picks or {})}
            picks["tells"] = picks["be_state"] is not s.be_state
        for _, after in self._steps.take(self.state, name, picks or {}):
            self.state = after

    def settle(self) -> None:
        """Linux does what it owes."""
        for _ in range(_SETTLED):
            name = self._steps.owed(self.state, _FRONTEND, frozenset())
            if name is None:
                break
            self.state = next(iter(self._steps.take(self.state, name, {})))[1]
        if self.state.granted and not self.state.open and self.state.fe_state in (S.CLOSED, S.UNKNOWN):
            self.act("frontend_releases_page")


def _nodes(**changed: Any) -> Calls:
    return (("driver_writes_nodes", changed),)


def _moves(dice: random.Random, s: DrivenLinux) -> Iterator[Move]:
    """What could be done now."""
    if s.fe_state is S.UNKNOWN:
        if s.mapped:
            yield 20, ("disconnect",), (("driver_unmaps", {}),)
        elif s.be_state is not S.UNKNOWN:
            gone = _nodes(be_state=S.UNKNOWN, be_v2=False, online=False, complete=False)
            yield 20, ("rm back",), gone
        else:
            yield from _creations()
        return
    yield 4, ("rest",), ()
    if s.be_state is S.UNKNOWN:
        yield 10, ("rm front",), _nodes(there=False, fe_state=S.UNKNOWN, fe_v2=False, complete=False, keeps_keys=False)
    else:
        yield from _of_the_backend(dice, s)
        yield from _of_the_toolstack(s)
    if s.open and s.fe_state is S.CONNECTED and s.mapped == s.epoch:
        yield from _on_the_page(dice)
        yield 3, ("unbind", "done"), (("driver_binds", {"binding": Binding.UNBOUND}),)
    if s.binding is Binding.UNBOUND and s.be_state not in (S.CLOSING, S.CLOSED):
        yield 20, ("disconnect", "bind"), (("driver_unmaps", {}), ("driver_binds", {"binding": Binding.AGAIN}))


def _creations() -> Iterator[Move]:
    """The device is made, with its backend as far as it may be by then."""
    new = {"there": True, "fe_state": S.INITIALISING, "online": True, "complete": True}
    yield 6, ("attach",), _nodes(be_state=S.INITIALISING, **new)
    for state in (S.INIT_WAIT, S.INITIALISED, S.CONNECTED):
        words = f"attach state={int(state)} feature-protocol-v2=1"
        yield 4, (words,), _nodes(be_state=state, be_v2=True, **new)


def _of_the_backend(dice: random.Random, s: DrivenLinux) -> Iterator[Move]:
    if not s.be_v2:
        yield 30, ("back feature-protocol-v2 1",), _nodes(be_v2=True)
    elif s.fe_state is S.CONNECTED:
        yield 1, ("back feature-protocol-v2",), _nodes(be_v2=False)
    for state in (S.INITIALISING, S.INIT_WAIT, S.INITIALISED, S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED):
        likely = 20 if state is S.CONNECTED and s.be_state is not S.CONNECTED else 1
        yield likely, (f"back state {int(state)}",), _nodes(be_state=state)
    for state in (S.CLOSING, S.CLOSED):
        yield 2, (f"back state {int(state)}",), _nodes(be_state=state)


def _of_the_toolstack(s: DrivenLinux) -> Iterator[Move]:
    yield 2, ("detach",), _nodes(be_state=S.CLOSING, online=False)
    gone = {"there": False, "fe_state": S.UNKNOWN, "fe_v2": False, "complete": False, "keeps_keys": False}
    likely = 20 if s.fe_state is S.CLOSED and s.binding is not Binding.UNBOUND else 1
    yield likely, ("rm both",), _nodes(be_state=S.UNKNOWN, be_v2=False, online=False, **gone)
    yield 1, ("rm front",), _nodes(**gone)
    yield 1, ("rm back",), _nodes(be_state=S.UNKNOWN, be_v2=False, online=False, complete=False)


def _on_the_page(dice: random.Random) -> Iterator[Move]:
    """A command, and what becomes of it; the page is in order after it."""
    call = (f"call {PCR_READ}", "request")
    yield 15, (*call, "answer", "result"), ()
    size = dice.choice((10, 11, 100, 4087, 4088))
    yield 6, (f"call size {size}", "request", "answer", "result"), ()
    length, named = dice.choice(LENGTHS), dice.choice((*LENGTHS, 30))
    packet = bytes((0, 0xC4)) + (named & 0xFFFF_FFFF).to_bytes(4, "big") + bytes(24)
    yield 10, (*call, f"put {length} 2 - {packet.hex()}", "notify", "result"), ()
    yield 5, (*call, "put - 0 -", "notify", "result"), ()
    yield 3, (*call, "await-page 3", f"put - {dice.choice((0, 2))} -", "notify", "result", "put - 0 -"), ()
    state = dice.choice((RingState.SUBMIT, RingState.CANCEL, 4, 200))
    yield 3, (f"put - {int(state)} -", f"call {PCR_READ}", "result", "put - 0 -"), ()
    yield 3, ("cancel", "await-page 3", "put - 0 -", "notify", "done"), ()
    yield 3, ("notify",) * dice.randrange(1, 4), ()
