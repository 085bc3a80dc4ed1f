"""How many observations of a raw recording are validated a second, on a long log of commands made from a real one.

The log is that of a real Xen system; its commands are repeated, counted on as their recorder counts. What is measured
is everything from the files to the verdict, in processor time.
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

from vtpm_traces.recordings.xen_verdict import judge_folder
from vtpm_traces.schema import data

LINES = 20_000
LEAST = 5_000


def repeated(folder: Path, lines: int) -> Path:
    """A recording of one device with at least so many lines: its commands again and again, then its end."""
    with gzip.open(data("recorded", "linux-frontend", "pv-python-front-and-tis", "backend.jsonl.gz"), "rt") as file:
        real = [json.loads(line) for line in file]
    commands = [number for number, line in enumerate(real) if line["ev"] == "command"]
    first, last = commands[10] + 1, commands[-2] + 1
    assert {line["ev"] for line in real[first:last]} == {"event", "command"}
    made = real[:last]
    while len(made) < lines:
        made += real[first:last]
    made += real[last:]
    number = 0
    with (folder / "backend.jsonl").open("w", encoding="utf-8") as out:
        for line in made:
            if line["ev"] == "command":
                number += 1
                line = {**line, "n": number}
            out.write(json.dumps(line) + "\n")
    return folder


def test_observations_a_second(tmp_path: Path) -> None:
    folder = repeated(tmp_path, LINES)
    began = time.process_time()
    verdict = judge_folder(folder)
    seconds = time.process_time() - began
    (device,) = verdict.devices
    speed = device.verdict.lines / seconds
    figures = f"{device.lines} lines, {device.verdict.lines} observations, {device.verdict.states} nodes"
    print(f"\n{figures}: {speed:.0f} observations/s, {device.lines / seconds:.0f} lines/s")  # noqa: T201
    assert device.accepted_by == "device.linux"
    assert device.lines >= LINES
    assert speed >= LEAST
