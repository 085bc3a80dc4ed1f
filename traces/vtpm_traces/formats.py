"""The formats in which a recording may lie: each name has a reader that judges all devices in a file or folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtpm_traces.verdict import Outcome, Taken


@dataclass(frozen=True)
class Finding:
    """What was found of one device in a recording: a line for people, and the same for programs.

    `accepted_by` names the specifications that show it, the true one first; `notes` say where others refuse, and why.
    """

    title: str
    outcome: Outcome
    accepted_by: tuple[str, ...]
    notes: tuple[str, ...]
    document: Mapping[str, Any]
    run: tuple[Taken, ...] = ()
    specification: str = ""  # of the run


def xen_recording(path: Path) -> list[Finding]:
    """A folder recorded on a real Xen system. Raises BadInput."""
    from vtpm_traces.recordings.xen_verdict import as_document, judge_folder

    verdict = judge_folder(path)
    documents = as_document(verdict)["devices"]
    findings = []
    for device, document in zip(verdict.devices, documents, strict=True):
        refused = device.refused.stuck if device.refused else ()
        if device.outcome is not Outcome.ACCEPTED:
            refused = device.verdict.stuck
        notes = [f"{each.origin}: {each.action} is forbidden: {each.sentence}" for each in device.forbidden]
        notes += [str(stuck) for stuck in refused[:1]]
        notes += [device.verdict.reason] if device.verdict.reason else []
        notes += [str(remark) for remark in verdict.remarks if remark.origin.file in device.sources]
        findings.append(
            Finding(
                title=f"{device.recorder}, domain {device.domain}, device {device.handle}, {device.lines} lines",
                outcome=device.outcome,
                accepted_by=(device.accepted_by,) if device.accepted_by else (),
                notes=tuple(notes),
                document=document,
                run=device.run,
                specification=device.verdict.specification,
            )
        )
    return findings


def linux_runs(path: Path) -> list[Finding]:
    """A folder of runs in which scripts drove Linux' frontend on real Xen. Raises BadInput."""
    from vtpm_model.driven_linux import DRIVEN_LINUX
    from vtpm_traces.conform.linux_campaign import BOUNDS
    from vtpm_traces.recordings.json_line import Unusable
    from vtpm_traces.recordings.linux_runs import Reading, read_runs
    from vtpm_traces.search import explain

    findings = []
    for run in read_runs(path):
        title = f"{run.name}, domain {run.device.domain}, device {run.device.handle}, {len(run.lines)} lines"
        try:
            verdict = explain(DRIVEN_LINUX, Reading(run).recording(), bounds=BOUNDS)
        except Unusable as why:
            findings.append(Finding(title, Outcome.MALFORMED, (), (str(why),), {"run": run.name}))
            continue
        accepted = (DRIVEN_LINUX.name,) if verdict.accepted else ()
        notes = tuple(map(str, verdict.stuck[:1])) + ((verdict.reason,) if verdict.reason else ())
        document = {"run": run.name, "outcome": verdict.outcome.value, "accepted_by": list(accepted)}
        findings.append(Finding(title, verdict.outcome, accepted, notes, document, verdict.run, DRIVEN_LINUX.name))
    return findings


def tpmback_script(path: Path) -> list[Finding]:
    """A recording of mini-os' backend under a script. Raises BadInput."""
    return _script(path, "tpmback")


def tpmfront_script(path: Path) -> list[Finding]:
    """A recording of mini-os' frontend under a script. Raises BadInput."""
    return _script(path, "tpmfront")


def _script(path: Path, form: str) -> list[Finding]:
    from dataclasses import asdict

    from vtpm_traces.recordings.judged import judge

    judged = judge(path, form)
    notes = [
        f"{path}:{refusal.line}: {refusal.specification} refuses: {refusal.shows}"
        + (f"; owed: {', '.join(refusal.owed)}" if refusal.owed else "")
        + (f"; decided by: {', '.join(refusal.facts)}" if refusal.facts else "")
        for refusal in judged.refusals
    ]
    outcome = Outcome.ACCEPTED if judged.accepted_by else Outcome.REFUSED
    if judged.malformed:
        outcome, notes = Outcome.MALFORMED, [f"{path}: {judged.malformed}"]
    title = f"{judged.recording}, {judged.devices} device{'' if judged.devices == 1 else 's'}"
    return [Finding(title, outcome, judged.accepted_by, tuple(notes), asdict(judged))]


def tis_script(path: Path) -> list[Finding]:
    """A script of register accesses and what a TPM answered. Raises BadInput."""
    return _tis(path, "tis-script")


def tis_trace(path: Path) -> list[Finding]:
    """QEMU's trace of a TPM's registers. Raises BadInput."""
    return _tis(path, "tis-trace")


def _tis(path: Path, form: str) -> list[Finding]:
    from vtpm_traces.recordings.tis_verdict import judge_file

    findings = []
    for found in judge_file(path, form):
        refused = {name: verdict for name, verdict in found.verdicts.items() if not verdict.accepted}
        places = {name: str(verdict.stuck[0]) if verdict.stuck else verdict.reason for name, verdict in refused.items()}
        outcome = Outcome.ACCEPTED if found.accepted_by else list(refused.values())[-1].outcome
        document = {
            "run": found.title, "accesses": found.accesses, "outcome": outcome.value,
            "accepted_by": list(found.accepted_by), "refused": places,
        }  # fmt: skip
        notes = tuple(f"{name} refuses: {place}" for name, place in places.items())
        findings.append(
            Finding(f"{found.title}, {found.accesses} accesses", outcome, found.accepted_by, notes, document)
        )
    return findings


FORMATS: Mapping[str, Callable[[Path], list[Finding]]] = {
    "xen-recording": xen_recording,
    "linux-runs": linux_runs,
    "tpmback-script": tpmback_script,
    "tpmfront-script": tpmfront_script,
    "tis-script": tis_script,
    "tis-trace": tis_trace,
}
"""The raw formats, by the name that the command line has for them."""
