"""Event logs of recordings: the steps that a recording shows are lines, and what happened unseen is called hidden."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, TextIO

from vtpm_model.core import Spec
from vtpm_traces.log import Header
from vtpm_traces.values import sort_of
from vtpm_traces.verdict import Taken


def write_into(folder: Path, spec: Spec[Any], run: tuple[Taken, ...], title: str) -> Path:
    """Write the log of a device into a folder, which is made if need be; its file. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub('[^0-9A-Za-z]+', '-', title)}.ndjson"
    with path.open("w", encoding="utf-8") as file:
        write_observed(file, spec, run, title)
    return path


def write_observed(file: TextIO, spec: Spec[Any], run: tuple[Taken, ...], title: str) -> None:
    """Write what was observed of a completed run, a line a step with its place; a validator has to find the rest.

    Picks of hidden actions get the values that they had in this run as candidates.
    """
    sorts = {action.name: {pick: sort_of(sort) for pick, sort in action.picks.items()} for action in spec.actions}
    hidden = set()
    candidates: dict[str, set[Any]] = defaultdict(set)
    lines = []
    for taken in run:
        picks = {pick: sorts[taken.action][pick].write(value) for pick, value in taken.picks.items()}
        if taken.seen:
            line: dict[str, Any] = {"action": taken.action, "by": taken.by.value}
            line |= {"picks": picks} if picks else {}
            lines.append(line | {"note": ", ".join(f"{origin.file}:{origin.line}" for origin in taken.seen)})
            continue
        hidden.add(taken.action)
        for pick, value in picks.items():
            if not sorts[taken.action][pick].number:
                candidates[f"{taken.action}.{pick}"].add(value)
    header = Header(
        system=spec.name,
        hidden=tuple(sorted(hidden)),
        candidates={name: tuple(sorted(values)) for name, values in sorted(candidates.items())},
        provenance={"recording": title},
    )
    for document in (header.to_document(), *lines):
        file.write(json.dumps(document) + "\n")
