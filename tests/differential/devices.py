"""One end of some devices, run beside the model of each: nodes, page, ring and handshake, all others in hostile hands.

The subject is a program that speaks the protocol of a system under test; everybody else's part is drawn. A step is one
deed of somebody else, after which the subject runs: to its rest, or, where it is slow, only a little. Then what it has
done since its start must be what the model can do, device by device, each in its turn; and the state in which the model
is after that says what is worth doing next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from vtpm_model.driven import DRIVEN
from vtpm_traces.conform.draw import VALUES, PlayedBackend, PlayedFrontend
from vtpm_traces.conform.judge import READERS, judge
from vtpm_traces.conform.player import Conversation, Player, Playing
from vtpm_traces.conform.subject import Fault
from vtpm_traces.conform.turns import unfair
from vtpm_traces.recordings.script import entries_of
from vtpm_traces.search import explain

END = '{"ev":"end"}'
"""The last line of a log."""

FRONT_NODES = ("state", "ring-ref", "event-channel", "feature-protocol-v2", "backend", "backend-id", "handle")
BACK_NODES = ("state", "uuid", "frontend-id")
BACK_NODES_FOR_A_FRONTEND = ("state", "feature-protocol-v2", "online", "uuid")
"""What others may write besides the subject itself, and what the toolstack does not write once and for all."""

PACES = ("run",) * 6 + ("deliver 1", "deliver 2", "")
"""How far the subject runs before the next step; mostly to its rest."""

DICE = st.integers(0, 2**32 - 1).map(random.Random)
"""Chance for the contents of one step, so that steps can be left out and the others stay what they are."""


class Devices(RuleBasedStateMachine):
    """Whoever derives from it says who the subject is."""

    player: ClassVar[Player]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.end = self.player.meet().end
        self.playing: Playing | None = self.player.begin()
        self.started = self.end == "frontend"  # which is told to open its device, again and again
        self.peers: tuple[PlayedBackend | PlayedFrontend, ...] = (PlayedBackend(),)
        if self.end == "backend":
            self.peers = (PlayedFrontend(1, 0), PlayedFrontend(2, 0), PlayedFrontend(1, 1))

    @rule(data=st.data())
    def somebody_acts(self, data: st.DataObject) -> None:
        """One deed of a peer, of the toolstack, of the application or of time, and the comparison after it."""
        dice = data.draw(DICE, label="dice")
        moves = [(peer, move) for peer in self.peers for move in peer.moves(dice)]
        others = [line for peer in self.peers for line in _stores(peer, dice)]
        weighted: list[tuple[int, tuple[str, ...]]] = [
            *((8, ("init",)) for _ in range(not self.started)),
            *((weight, lines) for _, (weight, lines, _) in moves),
            *((1, (line,)) for line in (*others, "pass")),
        ]
        lines = data.draw(st.sampled_from([lines for weight, lines in weighted for _ in range(weight)]))
        pace = data.draw(st.sampled_from(PACES), label="pace")
        self.started |= lines == ("init",)
        for peer, move in moves:
            if move[1] is lines:
                peer.made(move)  # what the walk takes for done is a guess, until the log tells of this device
        self._play((*lines, pace) if pace else lines)
        self._compare()
        type(self).steps += 1

    def _play(self, lines: tuple[str, ...]) -> None:
        assert self.playing is not None
        for line in lines:
            note(line if len(line) < 200 else f"{line[:200]}...")
            try:
                self.playing.take(line)
            except Fault as fault:
                self.playing = None
                self.player.stop()
                raise AssertionError(f"the subject breaks down: {fault}") from None

    def _compare(self) -> None:
        """The model explains all that has happened, and is in a state of its own for each device."""
        assert self.playing is not None
        log = (*self.playing.world.log, END)
        entries = entries_of(enumerate(log, 1), "run")
        recordings = READERS[self.end](entries, "run", "run")
        for device, recording in recordings.items():
            verdict = explain(DRIVEN, recording)
            if not verdict.accepted:
                raise AssertionError(f"no run of the model is like it: {judge(Conversation(self.end, log), 'run')}")
            for peer in self.peers:
                mine = isinstance(peer, PlayedBackend) or peer.name == f"{device.domain} {device.handle}"
                if verdict.run and mine:
                    peer.walk.state = verdict.run[-1].after
        found = unfair(entries) if self.end == "backend" else None
        assert found is None, str(found)

    def teardown(self) -> None:
        """The next run finds a subject that remembers nothing."""
        if self.playing is not None:
            self.player.part(self.playing)


def _stores(peer: PlayedBackend | PlayedFrontend, dice: random.Random) -> Iterator[str]:
    """A node that is not the subject's own gets a value that it must not have, or one of another time, or goes."""
    if isinstance(peer, PlayedFrontend):
        nodes = [f"{peer.front}/{dice.choice(FRONT_NODES)}", f"{peer.back}/{dice.choice(BACK_NODES)}"]
    else:
        nodes = [f"{peer.back}/{dice.choice(BACK_NODES_FOR_A_FRONTEND)}"]
    for node in nodes:
        yield f"set {node} {dice.choice((*VALUES, *'012345678'))}"
        yield f"rm {node}"


def beside(player: Player) -> type[Devices]:
    """The machine whose subject this player speaks with."""
    return type("Devices", (Devices,), {"player": player})
