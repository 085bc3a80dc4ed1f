"""Judges recordings of driven programs: whether the true model and its variant mini-os show them, and what decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vtpm_model.core import Actor, Fact, Kind, Spec, Step
from vtpm_model.driven import DRIVEN
from vtpm_model.minios import MINIOS
from vtpm_traces.files import BadInput, read_json
from vtpm_traces.observe import Quiescent, Recording
from vtpm_traces.recordings.script import Malformed
from vtpm_traces.recordings.tpmback import read_tpmback
from vtpm_traces.recordings.tpmfront import read_tpmfront
from vtpm_traces.schema import data
from vtpm_traces.search import explain
from vtpm_traces.verdict import Outcome, Verdict

TRUE_MODEL = "true model"
MINI_OS = "mini-os"

SPECIFICATIONS: Mapping[str, Spec[Any]] = {TRUE_MODEL: DRIVEN, MINI_OS: MINIOS}

READERS: Mapping[str, Callable[[Path], Mapping[Any, Recording]]] = {
    "tpmback": read_tpmback,
    "tpmfront": read_tpmfront,
}
"""The formats, by the folder in which recordings of each are kept."""

SUBJECTS: Mapping[str, Actor] = {"tpmback": Actor.BACKEND, "tpmfront": Actor.FRONTEND}

TABLE = "minios-verdicts.json"


@dataclass(frozen=True)
class Refusal:
    """Where no run goes on: the specification, the device, the line and what it shows, and what decides.

    `owed` names what the program should still have done, where it claims to rest. `facts` are the facts that the
    variant mini-os, which explains the recording, breaks at this place or, at rest, what it leaves waiting.
    """

    specification: str
    device: str
    line: int
    shows: str
    owed: tuple[str, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """What one recording is found to be."""

    recording: str
    devices: int
    accepted_by: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    malformed: str = ""


def judge(path: Path, form: str, name: str = "") -> Judged:
    """Hold a recording of a form, `tpmback` or `tpmfront`, against both specifications. Raises BadInput."""
    name = name or path.name
    try:
        recordings = READERS[form](path)
    except Malformed as why:
        return Judged(name, 0, (), (), f"line {why.line}: {why.sentence}")
    accepted: list[str] = []
    refusals: list[Refusal] = []
    for title, spec in SPECIFICATIONS.items():
        refused = []
        for device, recording in recordings.items():
            verdict = explain(spec, recording)
            if not verdict.accepted:
                refused.append(_refusal(title, str(device), recording, verdict, SUBJECTS[form]))
        refusals += refused
        if not refused:
            accepted.append(title)
    return Judged(name, len(recordings), tuple(accepted), tuple(refusals))


def _refusal(title: str, device: str, recording: Recording, verdict: Verdict, subject: Actor) -> Refusal:
    if verdict.outcome is not Outcome.REFUSED:
        return Refusal(title, device, 0, f"{verdict.outcome.value}: {verdict.reason}", (), ())
    origin = verdict.stuck[0].origin
    observations = recording.streams[0].observations
    index = next(number for number, one in enumerate(observations) if one.origin == origin)
    at_rest = isinstance(observations[index], Quiescent)
    owed = _owed(SPECIFICATIONS[title], verdict, subject) if at_rest else ()
    facts = () if title == MINI_OS else _decided_by(recording, index, subject, at_rest=at_rest)
    return Refusal(title, device, origin.line, origin.text, owed, facts)


def _owed(spec: Spec[Any], verdict: Verdict, subject: Actor) -> tuple[str, ...]:
    """What the program owes in every state that the recording allows there."""
    owed = {a.name for a in spec.actions if a.owed and a.by is subject}
    possible = {told.partition("(")[0] for told in verdict.stuck[0].possible}
    return tuple(sorted(owed & possible))


def _decided_by(recording: Recording, index: int, subject: Actor, *, at_rest: bool) -> tuple[str, ...]:
    """The facts that mini-os' run breaks until it has shown this observation, and those that wait there."""
    broken: dict[str, None] = {}
    state = MINIOS.init()
    shown = 0
    for taken in explain(MINIOS, recording).run:
        if taken.by is subject:
            # Facts read these picks, which a driven program does not choose.
            step = Step(taken.action, taken.by, {"permitted": True, "header": state.named, **taken.picks})
            for fact in DRIVEN.facts:
                if fact.about in (subject, None) and _breaks(fact, state, step, taken.after):
                    broken[fact.name] = None
        state = taken.after
        shown += len(taken.seen)
        if shown > index:
            break
    if at_rest:
        broken |= {claim.name: None for claim in DRIVEN.liveness if claim.about is subject and claim.pending(state)}
    return tuple(broken)


def _breaks(fact: Fact, before: Any, step: Step, after: Any) -> bool:
    if fact.kind is Kind.STEP:
        return not fact.holds(before, step, after)
    return bool(fact.holds(before)) and not fact.holds(after)


# ------------------------------------------------------------------------------------------------- the kept table


@dataclass(frozen=True)
class Row:
    """A recording of the kept table: what it was judged to be, and for a refusal the rows of the dossier and why."""

    judged: Judged
    rows: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Checked:
    """What the check of the kept recordings counted, and a sentence for each thing that falls short."""

    figures: Mapping[str, int]
    shortfalls: tuple[str, ...]


def kept_recordings() -> Mapping[str, tuple[Path, str]]:
    """The recordings that lie beside the table: by name, where each lies and its form."""
    return {
        f"{form}/{path.name.removesuffix('.jsonl.gz')}": (path, form)
        for form in READERS
        for path in sorted(data("recorded", form).glob("*.jsonl.gz"))
    }


def kept_table() -> Mapping[str, Row]:
    """The table as it is kept."""
    document = read_json(data("recorded", TABLE))
    return {entry["recording"]: _row(entry) for entry in document["recordings"]}


def _row(entry: Mapping[str, Any]) -> Row:
    refusals = tuple(
        Refusal(**{**refusal, "owed": tuple(refusal["owed"]), "facts": tuple(refusal["facts"])})
        for refusal in entry["refusals"]
    )
    judged = Judged(entry["recording"], entry["devices"], tuple(entry["accepted_by"]), refusals)
    return Row(judged, tuple(entry["rows"]), entry["why"])


def check_recordings() -> Checked:
    """Judge every kept recording anew and hold it against the table; mini-os must show them all."""
    table, kept = kept_table(), kept_recordings()
    shortfalls = [f"{name} is in the table but not kept" for name in sorted(table.keys() - kept.keys())]
    devices = 0
    by_true_model = 0
    for name, (path, form) in kept.items():
        judged = judge(path, form, name)
        devices += judged.devices
        by_true_model += TRUE_MODEL in judged.accepted_by
        if MINI_OS not in judged.accepted_by:
            shortfalls.append(f"{name}: mini-os itself refuses it: {judged.malformed or judged.refusals[-1]}")
        if name not in table:
            shortfalls.append(f"{name} is kept but not in the table")
        elif table[name].judged != judged:
            shortfalls.append(f"{name} is judged otherwise than the table says: {judged}")
        elif judged.refusals and not (table[name].rows and table[name].why):
            shortfalls.append(f"{name} is refused, and the table does not say why")
    figures = {
        "recordings": len(kept), "devices": devices, "accepted": by_true_model, "refused": len(kept) - by_true_model,
    }  # fmt: skip
    return Checked(figures, tuple(shortfalls))


def renewed_table() -> dict[str, Any]:
    """The table's document with every recording judged anew; rows and reasons stay, and are empty for a new one."""
    table = kept_table()
    document: dict[str, Any] = read_json(data("recorded", TABLE))
    document["recordings"] = []
    for name, (path, form) in kept_recordings().items():
        judged = asdict(judge(path, form, name))
        if judged.pop("malformed"):
            raise BadInput(f"{path} is no recording of {form}")
        kept = table.get(name)
        reasons = {"rows": list(kept.rows) if kept else [], "why": kept.why if kept else ""}
        document["recordings"].append({**judged, **reasons})
    return document
