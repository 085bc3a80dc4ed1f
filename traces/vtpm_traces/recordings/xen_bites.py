"""Runs every mutant of recorded folders, and holds the kept table of what became of them against a sample run anew."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Spec
from vtpm_model.device import LINUX
from vtpm_model.recorder import RECORDER
from vtpm_traces.files import read_json
from vtpm_traces.recordings.judged import Checked
from vtpm_traces.recordings.xen import DeviceRecording, read_contents, read_sources
from vtpm_traces.recordings.xen_model import device_recording
from vtpm_traces.recordings.xen_rejudge import Rejudge
from vtpm_traces.recordings.xen_teeth import Bite, Mutant, bite, changed_source, depended_on, mutants, table, thinned
from vtpm_traces.recordings.xen_teeth import why_nothing_depends as why
from vtpm_traces.recordings.xen_verdict import BOUNDS as PLAIN_BOUNDS
from vtpm_traces.schema import data
from vtpm_traces.search import Bounds, explain
from vtpm_traces.verdict import Outcome, Taken

TABLE = "linux-teeth.json"
SPECIFICATIONS: Mapping[str, Spec[Any]] = {spec.name: spec for spec in (LINUX, RECORDER)}

_LETTERS = {Outcome.REFUSED: "r", Outcome.ACCEPTED: "a", Outcome.UNDECIDED: "u"}
_CHUNK = 8

_SMALL = 130  # mutants of a device of which everything is searched when a sample is run anew
_ONE_IN = 10  # of its mutants
_EARLY = 60  # lines of a larger device's file in which a mutant of the sample lies; it is judged by itself
_EACH = 2  # of the larger device's mutants

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
        say(f"{folder.name} {seen.title}: all that it can mean is searched")
        base = _base(seen, bounds)
        spoilt = tuple(thinned(mutants(contents, seen.device), every))
        say(f"{folder.name} {seen.title}: {len(spoilt)} mutants, held against {base.spec.name}")
        found: list[Bite] = []
        for each in _bites(_Task(base, contents, spoilt, run), jobs):
            found.append(each)
            if len(found) % 100 == 0:
                say(f"  {len(found)} of {len(spoilt)}")
        yield Bitten(folder.name, seen.recorder, str(seen.device), base.spec.name, every, contents, tuple(found))


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
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
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


# ------------------------------------------------------------------------------------------------- the kept table


def as_document(found: Bitten) -> dict[str, Any]:
    """The table of one device; `outcomes` has a letter for each mutant, in the order of the lines.

    `exceptions` are those that were not refused although later lines mostly depend on what they spoil, each with the
    reason why here none does.
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
            {
                "file": each.mutant.origin.file, "line": each.mutant.origin.line, "kind": each.mutant.line_kind,
                "spoilt": each.mutant.spoilt.value, "why": why(each.mutant, found.contents),
            }
            for each in found.bites
            if each.outcome is not Outcome.REFUSED and depended_on(each.mutant)
        ],
        "outcomes": "".join(_LETTERS[each.outcome] for each in found.bites),
        "classes": [
            {"spoilt": spoilt.value, "line": kind, **counts(classes[spoilt, kind])}
            for spoilt, kind in sorted(classes, key=lambda one: (one[0].value, one[1]))
        ],
    }  # fmt: skip


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


def kept_folders() -> list[Path]:
    """The kept recordings of Linux on Xen."""
    return sorted(path for path in data("recorded", "linux-frontend").iterdir() if path.is_dir())


def kept_table() -> list[dict[str, Any]]:
    """The table as it is kept, a document for each device."""
    devices: list[dict[str, Any]] = read_json(data("recorded", TABLE))["devices"]
    return devices


def write_table(documents: list[dict[str, Any]]) -> None:
    """Keep this table, which leaves out no device."""
    text = json.dumps({"format": 2, "left_out": [], "devices": documents}, indent=1)
    data("recorded", TABLE).write_text(text + "\n", encoding="utf-8")


def unlike_the_table(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each device of which the kept table says something else; it may have spoilt fewer lines."""
    kept = {(entry["folder"], entry["recorder"], entry["device"]): entry for entry in kept_table()}
    return [
        f"{new['folder']} {new['device']}: the mutants do not become what the kept table says"
        for new in documents
        if (old := kept.get((new["folder"], new["recorder"], new["device"])))
        and old["every"] == new["every"]
        and old != new
    ]


def check_teeth() -> Checked:
    """Run a sample of the kept table's mutants anew: each must become what the table says; each exception has a reason.

    Of a small device everything is searched, as for the table. A mutant of a larger one is judged by itself, as any
    recording would be: the one way of judging is held against the other.
    """
    kept = kept_table()
    shortfalls: list[str] = []
    sampled = 0
    for entry in kept:
        name = f"{entry['folder']} {entry['device']}"
        contents, _ = read_contents(data("recorded", "linux-frontend", entry["folder"]))
        seen = next(d for d in read_sources("", contents).devices if str(d.device) == entry["device"])
        spoilt = list(thinned(mutants(contents, seen.device), entry["every"]))
        if len(spoilt) != len(entry["outcomes"]):
            shortfalls.append(f"{name}: {len(spoilt)} mutants, the table has {len(entry['outcomes'])}")
            continue
        shortfalls += [
            f"{name}: {each['file']}:{each['line']}, {each['spoilt']}: accepted, and nothing tells why it may be"
            for each in entry["exceptions"]
            if not each["why"]
        ]
        judged = dict(zip(spoilt, entry["outcomes"], strict=True))
        for mutant, outcome in _sample(seen, contents, list(judged), SPECIFICATIONS[entry["specification"]], name):
            sampled += 1
            if _LETTERS[outcome] != judged[mutant]:
                place = f"{mutant.origin.file}:{mutant.origin.line}"
                shortfalls.append(f"{name}: {place}, {mutant.spoilt.value}: {outcome.value}, not as the table says")
    if not sampled:
        shortfalls.append("the table has no mutant that could be sampled")
    figures = {"devices": len(kept), "mutants": sum(entry["mutants"] for entry in kept), "sampled": sampled}
    return Checked({**figures, **total(kept)}, tuple(shortfalls))


def _sample(
    seen: DeviceRecording, contents: Mapping[str, bytes], spoilt: list[Mutant], spec: Spec[Any], name: str
) -> Iterator[tuple[Mutant, Outcome]]:
    """Some mutants, chosen by a hash of what they are, and what becomes of each."""

    def draw(mutant: Mutant) -> str:
        return hashlib.sha256(f"{name} {mutant.origin.file} {mutant.spoilt.value} {mutant.edits}".encode()).hexdigest()

    if len(spoilt) <= _SMALL:
        base = Rejudge(seen, spec, BOUNDS)
        for mutant in sorted(spoilt, key=draw)[: max(1, len(spoilt) // _ONE_IN)]:
            yield mutant, bite(mutant, base, contents).outcome
        return
    early = [m for m in spoilt if m.origin.line <= _EARLY and m.origin.file == seen.recorder]
    for mutant in sorted(early, key=draw)[:_EACH]:
        changed = changed_source(mutant, seen, contents)
        sources = tuple(changed if source.file == changed.file else source for source in seen.sources)
        watched, recording = device_recording(replace(seen, sources=sources), spec)
        yield mutant, explain(watched, recording, bounds=PLAIN_BOUNDS).outcome
