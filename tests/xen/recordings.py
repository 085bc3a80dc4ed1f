"""What was recorded in each scenario: cut out of the whole run's logs, put into a folder of its own, and judged."""

from __future__ import annotations

import hashlib
import json
import lzma
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.xen.rig import CONSOLES, TRACE, Step, tell

from vtpm_traces.files import BadInput
from vtpm_traces.recordings.xen import TOLD, read_folder
from vtpm_traces.recordings.xen_verdict import judge_device, judged_devices
from vtpm_traces.schema import RECORDING
from vtpm_traces.verdict import Outcome

LIMIT = 300.0
"""Seconds for all verdicts."""

Sizes = Mapping[str, int]
"""How many bytes each log of the machine has, by its path there."""


@dataclass
class Part:
    """What a scenario added to the logs."""

    scenario: str
    what: str
    booted: Sizes
    begins: Sizes
    ends: Sizes
    frontends: dict[int, str | None] = field(default_factory=dict)
    """By its domains that have a vTPM, the system that what they do is held against; None: they keep no rule."""


def cut(logs: Path, part: Part, target: Path, provenance: Mapping[str, str]) -> None:
    """Put a scenario's part of the collected logs into a folder, packed.

    Before xenstored's trace of the scenario comes that of the machine's start, so that it has one from its beginning.
    """
    files: dict[str, bytes] = {}
    for path in part.ends:
        name = Path(path).name
        begins, ends = part.begins.get(path, 0), part.ends[path]
        if path == TRACE:
            whole = (logs / name).read_bytes()
            files[name] = whole[: _line(whole, part.booted.get(path, 0))] + _lines(whole, begins, ends)
        elif (text := _lines((logs / Path(path).parent.name / name).read_bytes(), begins, ends)).find(b'{"t"') >= 0:
            said = "" if path.startswith(CONSOLES) else "dom0-"
            files[f"console/{said}{name}"] = text
    target.mkdir(parents=True)
    (target / "console").mkdir()
    told = {
        "schema": RECORDING,
        "what": part.what,
        "frontends": {str(domain): system for domain, system in part.frontends.items()},
        "provenance": dict(provenance),
        "files": packed(target, files),
    }
    (target / TOLD).write_text(json.dumps(told, indent=2) + "\n")


def packed(target: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Put files into a folder, packed; what is told of each: its size and digest as it was."""
    for name, content in files.items():
        (target / f"{name}.xz").write_bytes(lzma.compress(content))
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }


def _line(text: bytes, at: int) -> int:
    """The end of the line that a place lies in: a log may have been looked at in the middle of one."""
    return 0 if at == 0 else text.index(b"\n", at - 1) + 1


def _lines(text: bytes, begins: int, ends: int) -> bytes:
    return text[_line(text, begins) : _line(text, ends)]


def judge(folder: Path, part: Part, started: float) -> list[Step]:
    """A step for each vTPM of a scenario: accepted by its system, or the line at which it is not."""
    try:
        recording = read_folder(folder)
    except BadInput as error:
        return [Step("recordings", f"{part.scenario} was recorded", 0.0, LIMIT, "", str(error))]
    steps = []
    for device, spec in judged_devices(recording):
        title = f"{part.scenario}: {device.title}"
        if time.monotonic() - started > LIMIT:
            steps.append(Step("recordings", title, 0.0, LIMIT, "", "no time was left for it"))
            continue
        began = time.monotonic()
        verdict = judge_device(device, spec=spec)
        refusal = verdict.refused or verdict.verdict
        places = "; ".join(str(stuck.origin) for stuck in refusal.stuck) or refusal.reason
        accepted = verdict.outcome is Outcome.ACCEPTED and not verdict.forbidden
        found = f"{verdict.lines} lines, {verdict.outcome.value} by {spec.name}"
        found = found if accepted else f"{verdict.lines} lines, {spec.name}: {verdict.outcome.value} at {places}"
        wrong = "" if accepted else "no run of the specification shows this"
        steps.append(Step("recordings", title, time.monotonic() - began, LIMIT, found, wrong))
    for step in steps:
        tell(f"  {step.seconds:6.1f} s  {step.title}: {step.found}")
        if step.wrong:
            tell(f"           FALLS SHORT: {step.wrong}")
    if any(step.wrong for step in steps):
        for remark in recording.remarks:
            tell(f"           could not be read: {remark}")
    return steps
