"""A campaign: conversations with a frontend or a backend, in which the harness plays the machine and everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vtpm_traces.conform import script
from vtpm_traces.conform.draw import draw
from vtpm_traces.conform.judge import judge
from vtpm_traces.conform.player import Conversation, Player
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.trial import Judged, Played, Trial, kept_script, kept_scripts

SANITY: Final = "accept/connect-and-close"

SWEEP: Final = 500
"""Numbers that a script is tried with at most."""


class Campaign(Trial[Player]):
    """What is asked of a frontend or a backend; which of them it is, it says itself."""

    parse_line = staticmethod(script.parse_line)

    @contextmanager
    def player(self) -> Iterator[Player]:
        with Player(self.command, patience=self.patience) as player:
            hello = player.meet()
            self.end, self.name = hello.end, hello.name
            yield player

    def kept(self) -> list[str]:
        return kept_scripts(self.end)

    def script(self, run: str) -> Script:
        kind, _, name = run.partition("/")
        if kind == "random":
            return draw(self.end, self.seed, int(name))
        return kept_script(self.end, run, script.read)

    def sanity(self) -> Script:
        return self.script(SANITY)

    def judged(self, player: Player, script: Script) -> Played:
        """Play a script, one that sweeps with one number after another until it fails or the subject is at rest."""
        number = 0
        played = script
        while True:
            played = script.at(number) if script.sweeps else script
            found, conversation = _judged(player, played)
            number += 1
            if found.sentence or conversation.idle_amid or not script.sweeps or number == SWEEP:
                return Played(played, found, conversation.log)

    def source(self, run: str) -> str:
        if run.partition("/")[0] in ("accept", "reject"):
            return f"traces/scripts/{self.end}/{run}.script"
        return "traces/vtpm_traces/conform/draw.py"


def _judged(player: Player, played: Script) -> tuple[Judged, Conversation]:
    conversation = player.play(played)
    return judge(conversation, played.name), conversation
