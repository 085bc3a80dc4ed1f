"""A campaign: the kept scripts and random ones against one subject, with a sanity conversation before and after."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from vtpm_traces.conform import script
from vtpm_traces.conform.deviations import Deviation
from vtpm_traces.conform.draw import draw
from vtpm_traces.conform.judge import Judged, judge
from vtpm_traces.conform.player import Conversation, Player
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.shrink import shrunk
from vtpm_traces.schema import data

SANITY: Final = "accept/connect-and-close"
"""The conversation that a subject must be able to have before anything else is tried, and still after it."""

TRIES: Final = 150
"""Conversations that a failure may cost until it is shrunk."""


SWEEP: Final = 500
"""Numbers that a script is tried with at most."""


class Verdict(Enum):
    """The verdicts of XTF, Xen's own test framework."""

    SUCCESS = "success"
    SKIP = "skip"
    ERROR = "error"  # the harness could not tell
    FAILURE = "failure"  # the subject's


@dataclass(frozen=True)
class Ended:
    """A run and what came of it; of a failure, the script that is left of it after shrinking, and that one's log."""

    run: str
    verdict: Verdict
    sentence: str = ""
    known: Deviation | None = None  # which explains the failure, so that it counts as a success
    doc: str = ""
    lines: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        """The first part of the run's name."""
        return self.run.partition("/")[0]


@dataclass
class Campaign:
    """What is asked of a subject. `only`: patterns of the runs to be played, as a shell has them."""

    command: Sequence[str]
    seed: int = 0
    runs: int = 100  # random ones
    patience: float = 5.0
    only: tuple[str, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    shrink: bool = True
    scripts: tuple[Script, ...] = ()  # to be played instead of all others
    end: str = field(default="", init=False)
    name: str = field(default="", init=False)

    def play(self) -> Iterator[Ended]:
        """Play it all, run by run. Raises CannotStart, and Fault when the subject does not even introduce itself."""
        with Player(self.command, patience=self.patience) as player:
            hello = player.meet()
            self.end, self.name = hello.end, hello.name
            if self.scripts:
                yield from (self._ended(player, one) for one in self.scripts)
                return
            before = self._sanity("before")
            yield before
            if before.verdict is not Verdict.SUCCESS:
                for name in self._names():
                    yield Ended(name, Verdict.SKIP, "the subject fails the sanity conversation")
                return
            for name in self._names():
                yield self._ended(player, self.script(name))
        yield self._sanity("after")

    def script(self, run: str) -> Script:
        """The script of a run of this campaign."""
        kind, _, name = run.partition("/")
        if kind == "random":
            return draw(self.end, self.seed, int(name))
        return replace(script.read(data("scripts", self.end, kind, f"{name}.script")), name=run)

    def stale(self, ended: Sequence[Ended]) -> list[Deviation]:
        """Deviations that no run has shown, although one was played that should have."""
        shown = {one.known for one in ended if one.known}
        played = [one.run for one in ended if one.verdict is not Verdict.SKIP]
        return [one for one in self.deviations if one not in shown and any(map(one.concerns, played))]

    def _names(self) -> Iterator[str]:
        names = [*kept(self.end), *(f"random/{number}" for number in range(self.runs))]
        if self.only:
            # a run of a higher number is meant, too, where it is named
            names += [one for one in self.only if one.partition("/")[0] == "random" and one[7:].isdigit()]
            names = [name for name in dict.fromkeys(names) if any(fnmatchcase(name, one) for one in self.only)]
        return iter(names)

    def _sanity(self, when: str) -> Ended:
        """In a process of its own: what other runs have left behind is not meant."""
        with Player(self.command, patience=self.patience) as player:
            player.meet()
            return replace(self._ended(player, self.script(SANITY), shrink=False), run=f"sanity/{when}")

    def _ended(self, player: Player, played: Script, *, shrink: bool = True) -> Ended:
        began = time.monotonic()
        if played.sweeps:
            played, found, conversation = _swept(player, played)
        else:
            found, conversation = _judged(player, played)
        if not found.sentence:
            return Ended(played.name, Verdict.SUCCESS, doc=played.doc, seconds=time.monotonic() - began)
        if found.undecided:
            return Ended(played.name, Verdict.ERROR, found.sentence, doc=played.doc, lines=played.lines)
        known = next((one for one in self.deviations if one.explains(played.name, found.sentence)), None)
        if known is None and shrink and self.shrink:
            played, found, conversation = self._shrunk(player, played, found, conversation)
        verdict = Verdict.SUCCESS if known else Verdict.FAILURE
        seconds = time.monotonic() - began
        return Ended(
            played.name, verdict, found.sentence, known, played.doc, played.lines, conversation.log, seconds
        )  # fmt: skip

    def _shrunk(
        self, player: Player, played: Script, found: Judged, conversation: Conversation
    ) -> tuple[Script, Judged, Conversation]:
        seen = {played.lines: (found, conversation)}

        def fails(lines: tuple[str, ...]) -> bool:
            again, talk = _judged(player, replace(played, lines=lines))
            same = bool(again.sentence) and not again.undecided and again.kind == found.kind
            if same:
                seen[lines] = (again, talk)
            return same

        lines = shrunk(played.lines, fails, TRIES)
        return replace(played, lines=lines), *seen[lines]


def kept(end: str) -> list[str]:
    """The names of the kept scripts for an end, those of well-behaved peers first."""
    folder = data("scripts", end)
    return [
        f"{kind}/{path.name.removesuffix('.script')}"
        for kind in ("accept", "reject")
        for path in sorted((folder / kind).glob("*.script"))
    ]


def counts(ended: Sequence[Ended]) -> dict[str, dict[str, int]]:
    """By kind of run: how many ended with each verdict, and how many of the successes are known deviations."""
    found: dict[str, Counter[str]] = {}
    for one in ended:
        counter = found.setdefault(one.kind, Counter())
        counter[one.verdict.value] += 1
        counter["known deviations"] += one.known is not None
    return {kind: dict(+counter) for kind, counter in found.items()}


def _swept(player: Player, played: Script) -> tuple[Script, Judged, Conversation]:
    """Play a script with one number after another, until it fails or the subject is at rest before that many."""
    for number in range(SWEEP):
        one = played.at(number)
        found, conversation = _judged(player, one)
        if found.sentence or conversation.idle_amid:
            break
    return one, found, conversation


def _judged(player: Player, played: Script) -> tuple[Judged, Conversation]:
    conversation = player.play(played)
    return judge(conversation, played.name), conversation
