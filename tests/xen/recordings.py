"""What was recorded in a run, held against the specification: Linux' frontend, libxl, xenstored and our backend."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from tests.xen.rig import Step, tell

from vtpm_traces.files import BadInput
from vtpm_traces.recordings.xen import read_folder
from vtpm_traces.recordings.xen_verdict import judge_device
from vtpm_traces.verdict import Outcome

LIMIT = 300.0
"""Seconds for all of it."""


def judge(folder: Path, domains: Collection[int]) -> list[Step]:
    """A step for each vTPM of these domains: accepted by the true model, or the line at which it is not."""
    started = time.monotonic()
    try:
        recording = read_folder(folder)
    except BadInput as error:
        return [Step("recordings", "the run was recorded", 0.0, LIMIT, "", str(error))]
    steps = []
    for device in recording.devices:
        if device.device.domain not in domains or device.recorder == "xenstored.trace":
            continue
        if time.monotonic() - started > LIMIT:
            steps.append(Step("recordings", device.title, 0.0, LIMIT, "", "no time was left for it"))
            continue
        began = time.monotonic()
        verdict = judge_device(device)
        found = f"{verdict.lines} lines, {verdict.outcome.value} by {verdict.accepted_by}"
        wrong = ""
        if verdict.outcome is not Outcome.ACCEPTED or verdict.forbidden:
            refusal = verdict.refused or verdict.verdict
            wrong = "; ".join(
                f"{stuck.origin.file}:{stuck.origin.line}: {stuck.origin.text}" for stuck in refusal.stuck
            )
            wrong = wrong or refusal.reason or "refused"
        steps.append(Step("recordings", device.title, time.monotonic() - began, LIMIT, found, wrong))
    for step in steps:
        tell(f"  {step.seconds:6.1f} s  {step.title}: {step.found}")
        if step.wrong:
            tell(f"           FALLS SHORT: {step.wrong}")
    return steps
