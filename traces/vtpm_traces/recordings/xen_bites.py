"""Runs every mutant of recorded folders."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtpm_model.core import Spec
from vtpm_model.device import LINUX
from vtpm_model.recorder import RECORDER
from vtpm_traces.recordings.xen import DeviceRecording, read_contents, read_sources
from vtpm_traces.recordings.xen_rejudge import Rejudge
from vtpm_traces.recordings.xen_teeth import Bite, Mutant, bite, mutants, thinned
from vtpm_traces.search import Bounds
from vtpm_traces.verdict import Outcome, Taken

SPECIFICATIONS: Mapping[str, Spec[Any]] = {spec.name: spec for spec in (LINUX, RECORDER)}

_CHUNK = 8
_TOLD = 100  # mutants, after which is told how far it has got

BOUNDS = Bounds(nodes=2_000_000, hidden=(256,))
"""Of a recording that is to be spoilt everything is searched, not only what leads to a run."""


@dataclass(frozen=True)
class Bitten:
    """What became of the mutants of one recorded device.

    `specification` is the one that explains the recording itself; `every`: after the 40th command only the lines of
    each so many-th were spoilt. `bites` are in the order of the lines; without a run unless it was asked for.
    """

    folder: str
    recorder: str
    device: str
    specification: str
    every: int
    contents: Mapping[str, bytes]
    bites: tuple[Bite, ...]


@dataclass(frozen=True)
class _Task:
    base: Rejudge
    contents: Mapping[str, bytes]
    mutants: tuple[Mutant, ...]
    run: bool

    def bite(self, mutant: Mutant) -> Bite:
        return bite(mutant, self.base, self.contents, run=self.run)


_tasks: list[_Task] = []  # for the processes that are forked to share the work


def bitten(
    folder: Path,
    *,
    every: int = 1,
    wanted: Callable[[DeviceRecording], bool] = lambda seen: True,
    jobs: int = 1,
    run: bool = False,
    say: Callable[[str], None] = lambda line: None,
    bounds: Bounds = BOUNDS,
) -> Iterator[Bitten]:
    """Run the mutants of each wanted device of a folder. Raises BadInput if it is no recording."""
    contents, _ = read_contents(folder)
    for seen in read_sources(str(folder), contents).devices:
        if not wanted(seen):
            continue
        say(f"{folder.name} {seen.title}: all that it can mean is searched")
        base = _base(seen, bounds)
        spoilt = tuple(thinned(mutants(contents, seen.device), every))
        say(f"{folder.name} {seen.title}: {len(spoilt)} mutants, held against {base.spec.name}")
        begun = time.monotonic()
        found: list[Bite] = []
        for each in _bites(_Task(base, contents, spoilt, run), jobs):
            found.append(each)
            if len(found) % _TOLD == 0:
                left = (time.monotonic() - begun) / len(found) * (len(spoilt) - len(found))
                say(f"  {len(found)} of {len(spoilt)}, about {left:.0f} s to go")
        yield Bitten(folder.name, seen.recorder, str(seen.device), base.spec.name, every, contents, tuple(found))
        gc.unfreeze()


def _base(seen: DeviceRecording, bounds: Bounds) -> Rejudge:
    """The device, judged by the true model, or where that has no run of it by the recordings' own backend."""
    true_model = Rejudge(seen, LINUX, bounds)
    base = true_model if true_model.accepted else Rejudge(seen, RECORDER, bounds)
    gc.freeze()  # it is large, and stays: without this most of the time goes into looking whether it is needed
    return base


def _bites(task: _Task, jobs: int) -> Iterator[Bite]:
    if jobs <= 1:
        for mutant in task.mutants:
            yield task.bite(mutant)
        return
    _tasks.append(task)
    try:
        with multiprocessing.get_context("fork").Pool(jobs, _left_to_the_parent) as pool:
            for mutant, (outcome, ends_at, run) in zip(
                task.mutants, pool.imap(_one, range(len(task.mutants)), _CHUNK), strict=True
            ):
                yield Bite(mutant, outcome, ends_at, run)
    finally:
        _tasks.pop()


def _one(number: int) -> tuple[Outcome, Any, tuple[Taken, ...]]:
    task = _tasks[-1]
    found = task.bite(task.mutants[number])
    return found.outcome, found.ends_at, found.run


def _left_to_the_parent() -> None:
    """An interrupt ends the parent, which ends its processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
