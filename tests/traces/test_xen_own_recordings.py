"""The kept recordings of our own backend on real Xen, with Linux' frontend, our own, and a hostile one beside them."""

from __future__ import annotations

import functools
import hashlib
import json
import lzma
import re
from pathlib import Path
from typing import Any

import pytest

from vtpm_model import catalog
from vtpm_traces import log
from vtpm_traces.recordings.event_log import write_into
from vtpm_traces.recordings.xen import read_contents, read_sources
from vtpm_traces.recordings.xen_verdict import (
    FRONTENDS,
    TABLES,
    FolderVerdict,
    as_document,
    judge_device,
    judge_folder,
)
from vtpm_traces.schema import RECORDING, check
from vtpm_traces.validate import validate
from vtpm_traces.verdict import Outcome

RECORDED = Path(__file__).parents[2] / "traces" / "recorded" / "xen"
FOLDERS = sorted(path.name for path in RECORDED.iterdir())


def told(folder: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RECORDED / folder / "recording.json").read_text())
    return document


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_says_what_it_is_and_its_files_are_what_it_says(folder: str) -> None:
    document = told(folder)
    check(document, RECORDING, folder, part="folder")
    assert {"xen", "linux", "qemu", "commit", "command", "date"} <= document["provenance"].keys()
    kept = {}
    for path in (RECORDED / folder).rglob("*.xz"):
        content = lzma.decompress(path.read_bytes())
        name = str(path.relative_to(RECORDED / folder)).removesuffix(".xz")
        kept[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert kept == document["files"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_line_of_a_recorder_is_as_the_published_schema_says(folder: str) -> None:
    contents, _ = read_contents(RECORDED / folder)
    lines = [
        line for name, text in contents.items() if name.startswith("console/")
        for line in text.splitlines() if line.startswith(b"{")
    ]  # fmt: skip
    assert lines
    for line in lines:
        document = json.loads(line)
        check(document, RECORDING, line.decode(), part=document["ev"])


@functools.cache
def judged(folder: str) -> FolderVerdict:
    return judge_folder(RECORDED / folder)


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_is_a_run_and_the_kept_table_says_so(folder: str) -> None:
    table = json.loads((RECORDED.parent / TABLES["xen"]).read_text())["recordings"]
    (entry,) = [entry for entry in table if entry["folder"] == folder]
    found = json.loads(json.dumps(as_document(judged(folder))))
    assert {**found, "folder": folder} == entry
    assert found["devices"]
    for device in found["devices"]:
        system = told(folder)["frontends"][str(device["domain"])]
        assert (device["outcome"], device["accepted_by"], device["forbidden"]) == ("accepted", system, [])


@pytest.mark.parametrize("folder", FOLDERS)
def test_event_logs_of_what_was_observed_are_runs_too(folder: str, tmp_path: Path) -> None:
    for number, device in enumerate(judged(folder).devices):
        spec = catalog.SYSTEMS[device.verdict.specification]
        verdict = validate(spec, log.read(write_into(tmp_path, spec, device.run, f"{number}")))
        assert verdict.outcome is Outcome.ACCEPTED


def test_the_end_of_the_backends_domain_is_a_step_of_the_toolstack_and_no_close() -> None:
    (destroyed,) = (
        [taken.action for taken in device.run]
        for device in judged("leaving").devices
        if any(taken.action == "toolstack_destroys_backend" for taken in device.run)
    )
    end = destroyed.index("toolstack_destroys_backend")
    assert "backend_goes_to_connected" in destroyed[:end]
    assert "backend_closes" not in destroyed[:end]
    assert "backend_starts" in destroyed[end:]
    assert "backend_goes_to_connected" in destroyed[end:]  # of the device that was attached anew


def test_a_backend_that_begins_again_without_its_start_is_refused() -> None:
    contents, _ = read_contents(RECORDED / "service")
    name = next(name for name in contents if name.startswith("console/dom0-backend"))
    first, second = re.finditer(rb'\{[^\n]*"ev": "start"[^\n]*\n', contents[name])
    assert first.start() < second.start()
    spoilt = contents[name][: second.start()] + contents[name][second.end() :]
    (device,) = read_sources("service", contents).devices
    spec = FRONTENDS[told("service")["frontends"][str(device.device.domain)]]
    assert judge_device(device, spec=spec).outcome is Outcome.ACCEPTED
    (device,) = read_sources("service", {**contents, name: spoilt}).devices
    assert judge_device(device, spec=spec).outcome is Outcome.REFUSED
