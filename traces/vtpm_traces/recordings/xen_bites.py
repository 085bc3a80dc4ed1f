"""Runs every mutant of recorded folders, and holds the kept table of what became of them against a sample run anew."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtpm_model.device import LINUX
from vtpm_model.recorder import RECORDER
from vtpm_traces.files import read_json
from vtpm_traces.recordings.judged import Checked
from vtpm_traces.recordings.xen import DeviceRecording, read_contents, read_sources
from vtpm_traces.recordings.xen_rejudge import Rejudge
from vtpm_traces.recordings.xen_teeth import Bite, Mutant, Spoilt, bite, mutants, table, thinned
from vtpm_traces.schema import data
from vtpm_traces.search import Bounds
from vtpm_traces.verdict import Outcome, Taken

TABLE = "linux-teeth.json"
_LETTERS = {Outcome.REFUSED: "r", Outcome.ACCEPTED: "a", Outcome.UNDECIDED: "u"}
_SAMPLE = 9  # of the mutants that the kept table has for a small device, one in so many is run anew
_SMALL = 100  # mutants of a device whose sample is run anew
_CHUNK = 8

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
    bites: tuple[Bite, ...]


@dataclass(frozen=True)
class _Task:
    base: Rejudge
    mutants: tuple[Mutant, ...]
    run: bool


_tasks: list[_Task] = []  # for the processes that are forked to share the work


def bitten(
    folder: Path,
    *,
    every: int = 1,
    device: str | None = None,
    jobs: int = 1,
    run: bool = False,
    say: Callable[[str], None] = lambda line: None,
    bounds: Bounds = BOUNDS,
) -> Iterator[Bitten]:
    """Run the mutants of each device of a folder, or of one ("2/0"). Raises BadInput if it is no recording."""
    contents, _ = read_contents(folder)
    for seen in read_sources(str(folder), contents).devices:
        if device is not None and str(seen.device) != device:
            continue
        base = _base(seen, bounds)
        spoilt = tuple(thinned(mutants(contents, seen.device), every))
        say(f"{folder.name} {seen.title}: {len(spoilt)} mutants, held against {base.spec.name}")
        found: list[Bite] = []
        for each in _bites(_Task(base, spoilt, run), jobs):
            found.append(each)
            if len(found) % 20 == 0:
                say(f"  {len(found)} of {len(spoilt)}")
        yield Bitten(folder.name, seen.recorder, str(seen.device), base.spec.name, every, tuple(found))


def _base(seen: DeviceRecording, bounds: Bounds) -> Rejudge:
    """The device, judged by the true model, or where that has no run of it by the recordings' own backend."""
    true_model = Rejudge(seen, LINUX, bounds)
    base = true_model if true_model.accepted else Rejudge(seen, RECORDER, bounds)
    gc.freeze()  # it is large, and stays: without this most of the time goes into looking whether it is needed
    return base


def _bites(task: _Task, jobs: int) -> Iterator[Bite]:
    if jobs <= 1:
        for mutant in task.mutants:
            yield bite(mutant, task.base, run=task.run)
        return
    _tasks.append(task)
    try:
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            for mutant, (outcome, ends_at, run) in zip(
                task.mutants, pool.imap(_one, range(len(task.mutants)), _CHUNK), strict=True
            ):
                yield Bite(mutant, outcome, ends_at, run)
    finally:
        _tasks.pop()


def _one(number: int) -> tuple[Outcome, Any, tuple[Taken, ...]]:
    task = _tasks[-1]
    found = bite(task.mutants[number], task.base, run=task.run)
    return found.outcome, found.ends_at, found.run


def as_document(found: Bitten) -> dict[str, Any]:
    """The table of one device; `outcomes` has a letter for each mutant, in the order of the lines.

    `exceptions` are those that were not refused although later lines mostly depend on what they spoil.
    """
    classes = table(found.bites)
    return {
        "folder": found.folder,
        "recorder": found.recorder,
        "device": found.device,
        "specification": found.specification,
        "every": found.every,
        "mutants": len(found.bites),
        "exceptions": [
            {"line": each.mutant.origin.line, "kind": each.mutant.line_kind, "spoilt": each.mutant.spoilt.value}
            for each in found.bites
            if each.outcome is not Outcome.REFUSED and _depended_on(each.mutant)
        ],
        "outcomes": "".join(_LETTERS[each.outcome] for each in found.bites),
        "classes": [
            {"spoilt": spoilt.value, "line": kind, **counts(classes[spoilt, kind])}
            for spoilt, kind in sorted(classes, key=lambda one: (one[0].value, one[1]))
        ],
    }


def _depended_on(mutant: Mutant) -> bool:
    """Whether it spoils what later lines mostly depend on: writes, keys, connecting, a command's event, lengths."""
    if mutant.spoilt is Spoilt.DROPPED:
        return mutant.line_kind in ("write", "WRITE", "connected", "event")
    return mutant.spoilt in (Spoilt.STATE, Spoilt.KEY, Spoilt.RING_REF, Spoilt.LENGTH)


def counts(found: Mapping[Outcome, int]) -> dict[str, int]:
    """How many were refused, accepted and undecided."""
    return {outcome.value: found.get(outcome, 0) for outcome in _LETTERS}


def total(documents: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many mutants of these devices were refused, accepted and undecided."""
    found: Counter[str] = Counter()
    for document in documents:
        for each in document["classes"]:
            for outcome in _LETTERS:
                found[outcome.value] += each[outcome.value]
    return found


def check_teeth() -> Checked:
    """Run a sample of the kept table's mutants anew: each must become what the table says."""
    kept = read_json(data("recorded", TABLE))["devices"]
    shortfalls: list[str] = []
    sampled = 0
    for entry in kept:
        if entry["mutants"] > _SMALL:
            continue
        name = f"{entry['folder']} {entry['device']}"
        contents, _ = read_contents(data("recorded", "linux-frontend", entry["folder"]))
        seen = next(d for d in read_sources("", contents).devices if str(d.device) == entry["device"])
        spoilt = list(thinned(mutants(contents, seen.device), entry["every"]))
        if len(spoilt) != len(entry["outcomes"]):
            shortfalls.append(f"{name}: {len(spoilt)} mutants, the table has {len(entry['outcomes'])}")
            continue
        base = _base(seen, BOUNDS)
        for mutant, letter in list(zip(spoilt, entry["outcomes"], strict=True))[::_SAMPLE]:
            sampled += 1
            outcome = bite(mutant, base).outcome
            if _LETTERS[outcome] != letter:
                place = f"{mutant.origin.file}:{mutant.origin.line}"
                shortfalls.append(f"{name}: {place}, {mutant.spoilt.value}: {outcome.value}, not as the table says")
    if not sampled:
        shortfalls.append("the table has no device that is small enough to be sampled")
    return Checked({"mutants": sum(entry["mutants"] for entry in kept), "sampled": sampled, **total(kept)},
                   tuple(shortfalls))  # fmt: skip
