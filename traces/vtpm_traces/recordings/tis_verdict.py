"""Judges recordings of a TPM's registers: each run of a device by `tis.device` and by its variant for QEMU's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtpm_model.tis_device import QEMU, TIS_DEVICE
from vtpm_traces.files import read_json
from vtpm_traces.recordings.tis_accesses import Access, Found, Reset, judge
from vtpm_traces.recordings.tis_script import read_tis_script
from vtpm_traces.recordings.tis_trace import read_tis_trace
from vtpm_traces.schema import data

FOLDER = "tis"
TABLE = "tis-verdicts.json"


def runs(path: Path, form: str) -> Mapping[str, Sequence[Access | Reset]]:
    """The runs of a device in a file, by their names: of a script each scenario, of a trace all of it."""
    if form == "tis-script":
        return read_tis_script(path)
    return {path.name.removesuffix(".gz"): read_tis_trace(path)}


def judge_file(path: Path, form: str) -> list[Found]:
    """What each run in a file is found to be. Raises BadInput."""
    return [judge(title, accesses) for title, accesses in runs(path, form).items()]


@dataclass(frozen=True)
class Row:
    """A run of the kept table: who shows it, and at which place those refuse who do not."""

    recording: str
    run: str
    accepted_by: tuple[str, ...]
    refused_at: Mapping[str, int]

    @property
    def key(self) -> tuple[str, str]:
        """By which the table finds it."""
        return self.recording, self.run


@dataclass(frozen=True)
class Checked:
    """What the check of the kept recordings counted, and a sentence for each thing that falls short."""

    figures: Mapping[str, int]
    shortfalls: tuple[str, ...]


def kept_recordings() -> Mapping[str, tuple[Path, str]]:
    """The recordings that are kept: by name, where each lies and its form."""
    return {
        path.name.removesuffix(".gz"): (path, "tis-script" if ".json" in path.name else "tis-trace")
        for path in sorted(data("recorded", FOLDER).glob("*.gz"))
    }


def row(recording: str, found: Found) -> Row:
    """What a run was found to be, as the table has it."""
    refused = {
        name: verdict.stuck[0].origin.line if verdict.stuck else 0
        for name, verdict in found.verdicts.items()
        if not verdict.accepted
    }
    return Row(recording, found.title, found.accepted_by, refused)


def check_recordings() -> Checked:
    """Judge every kept recording anew and hold it against the table, which says why each refusal is one."""
    table = {(entry["recording"], entry["run"]): entry for entry in read_json(data("recorded", TABLE))["runs"]}
    shortfalls = []
    accesses = accepted = refused = 0
    met = set()
    for recording, (path, form) in kept_recordings().items():
        for found in judge_file(path, form):
            judged = row(recording, found)
            entry: Mapping[str, Any] = table.get(judged.key, {})
            met.add(judged.key)
            accesses += found.accesses
            accepted += TIS_DEVICE.name in judged.accepted_by
            refused += TIS_DEVICE.name not in judged.accepted_by
            if list(judged.accepted_by) != entry.get("accepted_by") or judged.refused_at != entry.get("refused_at"):
                shortfalls.append(f"{recording}: {judged.run} is judged otherwise than the table says: {judged}")
            elif judged.refused_at and not (entry.get("rows") and entry.get("why")):
                shortfalls.append(f"{recording}: {judged.run} is refused, and the table does not say why")
            elif QEMU.name not in judged.accepted_by and not entry.get("incomplete"):
                shortfalls.append(f"{recording}: {judged.run} is refused by {QEMU.name}, too")
    shortfalls += [f"{recording}: {run} is in the table but not kept" for recording, run in sorted(table.keys() - met)]
    figures = {
        "recordings": len(kept_recordings()), "runs": len(met), "accesses": accesses,
        "accepted": accepted, "refused": refused,
    }  # fmt: skip
    return Checked(figures, tuple(shortfalls))
