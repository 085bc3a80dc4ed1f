"""A trial of a subject: the kept runs and random ones, with a sanity run before and after, and what came of each."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Final, Generic, TypeVar

from vtpm_traces.conform.deviations import Deviation
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.shrink import shrunk
from vtpm_traces.schema import data

TRIES: Final = 150
"""Plays that a failure may cost until it is shrunk."""

SHRINKING: Final = 300.0
"""Seconds after which no further play is begun for it: a subject that says nothing costs all its patience each time."""


class Verdict(Enum):
    """The verdicts of XTF, Xen's own test framework."""

    SUCCESS = "success"
    SKIP = "skip"
    ERROR = "error"  # the harness could not tell
    FAILURE = "failure"  # the subject's


@dataclass(frozen=True)
class Judged:
    """What is wrong with a run: nothing, if `sentence` is empty.

    `kind` is alike for failures of the same sort. `undecided`: nobody knows, as a bound of the search was hit.
    """

    sentence: str = ""
    kind: str = ""
    line: int = 0  # of the log
    undecided: bool = False


@dataclass(frozen=True)
class Played:
    """A script as it was played, what is wrong with it, and the log."""

    script: Script
    found: Judged
    log: tuple[str, ...]


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


Player = TypeVar("Player")
"""Who speaks with the subject."""


@dataclass
class Trial(ABC, Generic[Player]):
    """What is asked of a subject. `only`: patterns of the runs to be played, as a shell has them."""

    command: Sequence[str]
    seed: int = 0
    runs: int = 100  # random ones
    patience: float = 5.0  # seconds to wait for each line of the subject
    only: tuple[str, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    shrink: bool = True
    scripts: tuple[Script, ...] = ()  # to be played instead of all others
    end: str = field(default="", init=False)
    name: str = field(default="", init=False)

    suffix: ClassVar[str] = ".jsonl"
    """Of a file that holds the log of a run."""

    @staticmethod
    @abstractmethod
    def parse_line(line: str) -> object:
        """What a line of a script says. Raises BadInput."""

    @abstractmethod
    def player(self) -> AbstractContextManager[Player]:
        """The subject, started, which says who it is. Raises CannotStart, and Fault when it does not."""

    @abstractmethod
    def kept(self) -> Iterable[str]:
        """The names of the runs that are not random."""

    @abstractmethod
    def script(self, run: str) -> Script:
        """The script of a run."""

    @abstractmethod
    def sanity(self) -> Script:
        """What a subject must be able to do before anything else is tried, and still after it."""

    @abstractmethod
    def judged(self, player: Player, script: Script) -> Played:
        """Play a script, and judge it. Raises CannotStart."""

    @abstractmethod
    def source(self, run: str) -> str:
        """The file of this repository that a run comes from."""

    def play(self) -> Iterator[Ended]:
        """Play it all, run by run. Raises CannotStart, and Fault when the subject does not even introduce itself."""
        with self.player() as player:
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

    def stale(self, ended: Sequence[Ended]) -> list[Deviation]:
        """Deviations of its own that no run has shown, although one was played that should have."""
        return stale(self.deviations, ended)

    def _names(self) -> Iterator[str]:
        return iter(wanted(self.kept(), self.runs, self.only))

    def _sanity(self, when: str) -> Ended:
        """In a process of its own: what other runs have left behind is not meant."""
        with self.player() as player:
            return replace(self._ended(player, self.sanity(), shrink=False), run=f"sanity/{when}")

    def _ended(self, player: Player, script: Script, *, shrink: bool = True) -> Ended:
        began = time.monotonic()
        played = self.judged(player, script)
        found, script = played.found, played.script
        if not found.sentence:
            return Ended(script.name, Verdict.SUCCESS, doc=script.doc, seconds=time.monotonic() - began)
        if found.undecided:
            return Ended(script.name, Verdict.ERROR, found.sentence, doc=script.doc, lines=script.lines)
        known = next((one for one in self.deviations if one.explains(script.name, found.sentence)), None)
        if known is None and shrink and self.shrink:
            played = self._shrunk(player, played)
        verdict = Verdict.SUCCESS if known else Verdict.FAILURE
        seconds = time.monotonic() - began
        return Ended(
            script.name, verdict, played.found.sentence, known, script.doc, played.script.lines, played.log, seconds
        )  # fmt: skip

    def _shrunk(self, player: Player, played: Played) -> Played:
        seen = {played.script.lines: played}
        began = time.monotonic()

        def fails(lines: tuple[str, ...]) -> bool:
            if time.monotonic() - began > SHRINKING:
                return False
            again = self.judged(player, replace(played.script, lines=lines))
            same = bool(again.found.sentence) and not again.found.undecided and again.found.kind == played.found.kind
            if same:
                seen[lines] = again
            return same

        return seen[shrunk(played.script.lines, fails, TRIES)]


def wanted(kept: Iterable[str], runs: int, only: Sequence[str]) -> list[str]:
    """The names of the runs that are meant: those kept and so many random ones, or of all those `only` some."""
    names = [*kept, *(f"random/{number}" for number in range(runs))]
    if only:
        # a run of a higher number is meant, too, where it is named
        names += [one for one in only if one.partition("/")[0] == "random" and one[7:].isdigit()]
        names = [name for name in dict.fromkeys(names) if any(fnmatchcase(name, one) for one in only)]
    return names


def kept_scripts(end: str, kinds: Sequence[str] = ("accept", "reject")) -> list[str]:
    """The names of the kept scripts for an end, those of well-behaved peers first."""
    folder = data("scripts", end)
    return [
        f"{kind}/{path.name.removesuffix('.script')}"
        for kind in kinds
        for path in sorted((folder / kind).glob("*.script"))
    ]


def kept_script(end: str, run: str, read: Callable[[Path], Script]) -> Script:
    """The script of a kept run, which bears the run's name. Raises BadInput."""
    return replace(read(data("scripts", end, f"{run}.script")), name=run)


def stale(deviations: Sequence[Deviation], ended: Sequence[Ended]) -> list[Deviation]:
    """Known deviations that no run has shown, although one was played that should have: a random one need not."""
    shown = {one.known for one in ended if one.known}
    played = [one.run for one in ended if one.verdict is not Verdict.SKIP and one.kind != "random"]
    return [one for one in deviations if one not in shown and any(map(one.concerns, played))]


def counts(ended: Sequence[Ended]) -> dict[str, dict[str, int]]:
    """By kind of run: how many ended with each verdict, and how many of the successes are known deviations."""
    found: dict[str, Counter[str]] = {}
    for one in ended:
        counter = found.setdefault(one.kind, Counter())
        counter[one.verdict.value] += 1
        counter["known deviations"] += one.known is not None
    return {kind: dict(+counter) for kind, counter in found.items()}
