"""Runs the parts of a verification side by side, each in a process of its own, and says how each one ended."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

HEARTBEAT = 15.0
"""Seconds of silence after which the parts that are still at work are named."""

SHOWN = 12
"""Shortfalls of a part that are reported; an outcome keeps them all."""

Report = Callable[[str], None]
"""Takes a line that says how far the work is."""


@dataclass(frozen=True)
class Outcome:
    """What a part found: the figures that it counted, and a sentence for each thing that falls short."""

    figures: Mapping[str, int] = field(default_factory=dict)
    shortfalls: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing falls short."""
        return not self.shortfalls


@dataclass(frozen=True)
class Part:
    """One question of a verification; `ask` is a function of a module, since another process has to find it."""

    name: str
    question: str
    ask: Callable[[Report], Outcome]


@dataclass(frozen=True)
class Ended:
    """A part, what it found and what it took: seconds by the clock and of processor time."""

    part: Part
    outcome: Outcome
    seconds: float
    processor_seconds: float


@dataclass
class _Running:
    part: Part
    process: BaseProcess
    began: float
    last_word: str = ""


def run_parts(parts: Sequence[Part], jobs: int, report: Report) -> list[Ended]:
    """Ask every part, at most `jobs` at a time, in the order given; the answers come in that order, too.

    A part that raises, or whose process dies, has fallen short: nothing that happens inside one stops the others.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(parts)
    running: dict[Connection, _Running] = {}
    ended: dict[str, Ended] = {}
    spoke = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                part = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_ask, args=(part.ask, theirs), name=part.name, daemon=False)
                process.start()
                theirs.close()
                running[ours] = _Running(part, process, time.monotonic())
                report(f"{part.name}: {part.question}")
            lines = _listen(running, ended)
            if not lines and time.monotonic() - spoke > HEARTBEAT:
                lines = [_still(work) for work in running.values()]
            for line in lines:
                spoke = time.monotonic()
                report(line)
    finally:
        for work in running.values():
            work.process.terminate()
            work.process.join()
    return [ended[part.name] for part in parts]


def _listen(running: dict[Connection, _Running], ended: dict[str, Ended]) -> list[str]:
    """Wait for a word from any part; take those that have ended out of `running`; give the lines to show."""
    lines = []
    for connection in wait(list(running), timeout=HEARTBEAT):
        assert isinstance(connection, Connection)
        work = running[connection]
        try:
            said = connection.recv()
        except EOFError:
            work.process.join()
            said = (Outcome(shortfalls=(f"its process ended with code {work.process.exitcode}",)), 0.0)
        if isinstance(said, str):
            work.last_word = said
            continue
        outcome, processor_seconds = said
        work.process.join()
        connection.close()
        del running[connection]
        ended[work.part.name] = Ended(work.part, outcome, _age(work), processor_seconds)
        word = "holds" if outcome.holds else "FALLS SHORT"
        figures = ", ".join(f"{count} {name}" for name, count in outcome.figures.items())
        lines.append(f"{work.part.name}: {word} after {_age(work):.1f} s" + (f"; {figures}" if figures else ""))
        lines += [f"{work.part.name}: {shortfall}" for shortfall in outcome.shortfalls[:SHOWN]]
        if len(outcome.shortfalls) > SHOWN:
            lines.append(f"{work.part.name}: and {len(outcome.shortfalls) - SHOWN} more, which --json lists")
    return lines


def _still(work: _Running) -> str:
    word = f" ({work.last_word})" if work.last_word else ""
    return f"{work.part.name}: still at work after {_age(work):.0f} s{word}"


def _age(work: _Running) -> float:
    return time.monotonic() - work.began


def _ask(ask: Callable[[Report], Outcome], connection: Connection) -> None:
    """What a part's process does: send words while at work, then the outcome and the processor time."""
    try:
        outcome = ask(connection.send)
    except Exception:  # the part's own fault becomes its outcome
        outcome = Outcome(shortfalls=(traceback.format_exc().rstrip(),))
    connection.send((outcome, sum(os.times()[:4])))
