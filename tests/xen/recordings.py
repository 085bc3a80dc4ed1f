"""What was recorded in a run, held against the specification: Linux' frontend, libxl, xenstored and our backend."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path

from tests.xen.rig import Step, tell

from vtpm_traces.files import BadInput
from vtpm_traces.recordings.xen import read_folder
from vtpm_traces.recordings.xen_verdict import judge_device
from vtpm_traces.verdict import Outcome

LIMIT = 300.0
"""Seconds for all of it."""


def judge(folder: Path, domains: Collection[int], beyond: Mapping[int, str]) -> list[Step]:
    """A step for each vTPM of these domains: accepted by the true model, or the line at which it is not.

    Those that went `beyond` the specification must be refused at the line that is told there, and nowhere else.
    """
    started = time.monotonic()
    try:
        recording = read_folder(folder)
    except BadInput as error:
        return [Step("recordings", "the run was recorded", 0.0, LIMIT, "", str(error))]
    steps = []
    for device in recording.devices:
        if device.device.domain not in domains:
            continue
        if time.monotonic() - started > LIMIT:
            steps.append(Step("recordings", device.title, 0.0, LIMIT, "", "no time was left for it"))
            continue
        began = time.monotonic()
        verdict = judge_device(device)
        refusal = verdict.refused or verdict.verdict
        places = "; ".join(str(stuck.origin) for stuck in refusal.stuck) or refusal.reason
        accepted = verdict.outcome is Outcome.ACCEPTED and not verdict.forbidden
        found = f"{verdict.lines} lines, {verdict.outcome.value}" + ("" if accepted else f" at {places}")
        wanted = beyond.get(device.device.domain)
        wrong = ""
        if wanted is None and not accepted:
            wrong = "no run of the specification shows this"
        elif wanted is not None and (accepted or wanted not in places):
            wrong = f"the specification should refuse the line {wanted!r}"
        steps.append(Step("recordings", device.title, time.monotonic() - began, LIMIT, found, wrong))
    for step in steps:
        tell(f"  {step.seconds:6.1f} s  {step.title}: {step.found}")
        if step.wrong:
            tell(f"           FALLS SHORT: {step.wrong}")
    return steps
