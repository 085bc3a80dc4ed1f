"""The verdicts on a folder that was recorded on a real Xen system: one for each recorder, frontend domain and device.

What Linux, libxl and xenstored did must be a run of the true model with Linux' frontend, or with our own where the
folder tells so; what it says that nobody vouches for is not judged. The recordings' own backend
was a quick one: what it did is held against the true model too; where that refuses, the variant `recorder-backend` is
asked for a run, and each step of it that a fact forbids is listed with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Actor, Fact, Kind, Spec, Step
from vtpm_model.device import DEVICE, LINUX
from vtpm_model.recorder import RECORDER
from vtpm_traces.files import read_json
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.judged import Checked
from vtpm_traces.recordings.xen import DeviceRecording, FolderRecording, SourceKind, read_folder
from vtpm_traces.recordings.xen_events import Remark
from vtpm_traces.recordings.xen_model import device_recording, plain_run
from vtpm_traces.schema import data
from vtpm_traces.search import Bounds, explain
from vtpm_traces.verdict import Outcome, Taken, Verdict

BOUNDS = Bounds(nodes=150_000, each=50, hidden=(256,))

FRONTENDS: Mapping[str, Spec[Any]] = {spec.name: spec for spec in (LINUX, DEVICE)}
"""The systems that a folder may name for a frontend: the device with Linux' frontend, and with one that meets every
obligation, as ours should."""


@dataclass(frozen=True)
class Forbidden:
    """A step of the backend that a fact forbids: where it was recorded, and the fact with its rows and sentence."""

    origin: Origin
    action: str
    fact: str
    covers: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class DeviceVerdict:
    """What one recorder showed of one device, and which specification explains it."""

    recorder: str
    domain: int
    handle: int
    sources: tuple[str, ...]
    lines: int
    outcome: Outcome
    accepted_by: str | None
    verdict: Verdict  # of the last specification that was asked
    refused: Verdict | None = None  # of the true model, where the variant was asked
    forbidden: tuple[Forbidden, ...] = ()

    @property
    def run(self) -> tuple[Taken, ...]:
        """The completed run of an accepted one."""
        return plain_run(self.verdict.run)


@dataclass(frozen=True)
class FolderVerdict:
    """The verdicts on a folder; without a device it is empty, and accepted as such."""

    folder: str
    files: tuple[str, ...]
    devices: tuple[DeviceVerdict, ...] = ()
    remarks: tuple[Remark, ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether no source of the folder shows a vTPM device."""
        return not self.devices

    @property
    def accepted(self) -> bool:
        """Whether every device has a run of the true model, or of the recordings' own backend."""
        return all(device.outcome is Outcome.ACCEPTED for device in self.devices)


def judge_folder(folder: Path, *, bounds: Bounds = BOUNDS) -> FolderVerdict:
    """Read a folder and judge each of its devices. Raises BadInput if it is no recording."""
    recording: FolderRecording = read_folder(folder)
    devices = tuple(judge_device(device, spec=spec, bounds=bounds) for device, spec in judged_devices(recording))
    return FolderVerdict(recording.folder, tuple(recording.files), devices, tuple(recording.remarks))


def judged_devices(recording: FolderRecording) -> Iterator[tuple[DeviceRecording, Spec[Any]]]:
    """The devices of a folder that are judged, each with what it is held against."""
    for device in recording.devices:
        system = recording.frontends.get(device.device.domain, LINUX.name)
        if system is not None:
            yield device, FRONTENDS[system]


def judge_device(seen: DeviceRecording, *, spec: Spec[Any] = LINUX, bounds: Bounds = BOUNDS) -> DeviceVerdict:
    """Hold one device against a specification and, where the true model refuses, against `recorder-backend`.

    Of a backend's log without its first lines nothing is known of where it begins: that is undecided.
    """
    rests = [source.file for source in seen.sources if source.kind is SourceKind.BACKEND and not source.from_start]
    if rests:
        reason = f"{rests[0]} does not begin with its recorder's start: it is the rest of a longer log"
        verdict = Verdict(Outcome.UNDECIDED, spec.name, 0, reason=reason)
    else:
        verdict = _explained(seen, spec, bounds)
    refused: Verdict | None = None
    forbidden: tuple[Forbidden, ...] = ()
    if not verdict.accepted and not rests and spec is LINUX:
        variant, recording = device_recording(seen, RECORDER)
        second = explain(variant, recording, bounds=bounds)
        if second.accepted:
            refused, verdict = verdict, second
            forbidden = forbidden_steps(variant, second)
    doubtful = [source.file for source in seen.sources if source.doubtful]
    if doubtful and verdict.outcome is Outcome.REFUSED:
        reason = f"{doubtful[0]} has lines that name no device, and may be of another than they were taken for"
        verdict = replace(verdict, outcome=Outcome.UNDECIDED, reason=reason)
    return DeviceVerdict(
        recorder=seen.recorder,
        domain=seen.device.domain,
        handle=seen.device.handle,
        sources=tuple(source.file for source in seen.sources),
        lines=sum(len({event.origin.line for event in source.events}) for source in seen.sources),
        outcome=verdict.outcome,
        accepted_by=verdict.specification if verdict.accepted else None,
        verdict=verdict,
        refused=refused,
        forbidden=forbidden,
    )


def _explained(seen: DeviceRecording, spec: Spec[Any], bounds: Bounds) -> Verdict:
    """The verdict on all sources together. What has no run that shows one of them has none that shows them all."""
    for source in seen.sources:
        if source.kind is SourceKind.STORE and len(seen.sources) > 1:
            alone = _of(replace(seen, sources=(source,)), spec, bounds)
            if alone.outcome is Outcome.REFUSED:
                return alone
    return _of(seen, spec, bounds)


def _of(seen: DeviceRecording, spec: Spec[Any], bounds: Bounds) -> Verdict:
    watched, recording = device_recording(seen, spec)
    return explain(watched, recording, bounds=bounds)


def forbidden_steps(spec: Spec[Any], verdict: Verdict) -> tuple[Forbidden, ...]:
    """The recorded steps of the backend in a completed run that a fact forbids."""
    found: list[Forbidden] = []
    before = spec.init()
    for taken in verdict.run:
        if taken.by is Actor.BACKEND:
            step = Step(taken.action, taken.by, taken.picks)
            for fact in spec.facts:
                if _breaks(fact, before, step, taken.after):
                    # Of each source, the first line is the step; what was read after it comes with it.
                    places = {origin.file: origin for origin in reversed(taken.seen)}
                    found += [
                        Forbidden(origin, taken.action, fact.name, fact.covers, fact.sentence)
                        for origin in sorted(places.values(), key=str)
                    ]
        before = taken.after
    return tuple(found)


def _breaks(fact: Fact, before: Any, step: Step, after: Any) -> bool:
    if fact.kind is Kind.STEP:
        return not fact.holds(before, step, after)
    return bool(fact.holds(before)) and not fact.holds(after)


def as_document(verdict: FolderVerdict) -> Mapping[str, Any]:
    """A folder's verdicts as a JSON document; of commands and answers it holds no bytes."""
    return {
        "folder": verdict.folder,
        "accepted": verdict.accepted,
        "empty": verdict.empty,
        "files": list(verdict.files),
        "devices": [_device_document(device) for device in verdict.devices],
        "remarks": [_place(remark.origin) | {"why": remark.why} for remark in verdict.remarks],
    }


def _device_document(device: DeviceVerdict) -> dict[str, Any]:
    refusal = device.refused or (None if device.outcome is Outcome.ACCEPTED else device.verdict)
    return {
        "recorder": device.recorder,
        "domain": device.domain,
        "device": device.handle,
        "sources": list(device.sources),
        "lines": device.lines,
        "outcome": device.outcome.value,
        "accepted_by": device.accepted_by,
        "reason": device.verdict.reason,
        "true_model_ends_at": [_place(stuck.origin) for stuck in refusal.stuck] if refusal else [],
        "forbidden": [
            _place(each.origin) | {"action": each.action, "fact": each.fact, "covers": list(each.covers)}
            for each in device.forbidden
        ],
    }


# ------------------------------------------------------------------------------------------------ the kept tables

TABLES: Mapping[str, str] = {"linux-frontend": "linux-verdicts.json", "xen": "xen-verdicts.json"}
"""The tables of verdicts, by the folder whose recordings they are about."""


def renewed_table(kept: str = "linux-frontend") -> dict[str, Any]:
    """A table's document, with every kept recording judged anew."""
    folders = sorted(path for path in data("recorded", kept).iterdir() if path.is_dir())
    return {"format": 1, "recordings": [{**as_document(judge_folder(path)), "folder": path.name} for path in folders]}


def check_recordings(kept: str = "linux-frontend") -> Checked:
    """Judge every kept recording anew and hold it against the table; all must be explained."""
    table = {entry["folder"]: entry for entry in read_json(data("recorded", TABLES[kept]))["recordings"]}
    renewed = {entry["folder"]: entry for entry in renewed_table(kept)["recordings"]}
    shortfalls = [f"{name} is in the table but not kept" for name in sorted(table.keys() - renewed.keys())]
    for name, entry in renewed.items():
        if name not in table:
            shortfalls.append(f"{name} is kept but not in the table")
        elif table[name] != entry:
            shortfalls.append(f"{name} is judged otherwise than the table says: {entry}")
        if not entry["accepted"]:
            shortfalls.append(f"{name} is not explained")
    devices = [device for entry in renewed.values() for device in entry["devices"]]
    by_true_model = sum(device["accepted_by"] in FRONTENDS for device in devices)
    figures = {
        "recordings": len(renewed), "devices": len(devices), "accepted": by_true_model,
        "refused": len(devices) - by_true_model,
    }  # fmt: skip
    return Checked(figures, tuple(shortfalls))


def _place(origin: Origin) -> dict[str, Any]:
    return {"file": origin.file, "line": origin.line}
