"""The kept table of spoilt recordings, and the command that makes such a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vtpm_proofs.cli import app
from vtpm_traces.files import read_json
from vtpm_traces.recordings import xen_bites
from vtpm_traces.recordings.xen_bites import check_teeth, total
from vtpm_traces.schema import data

FOLDER = Path(__file__).parents[2] / "traces" / "recorded" / "linux-frontend" / "canned-attach-detach-tpm2-errors"


def test_a_sample_of_the_kept_table_becomes_what_it_says() -> None:
    checked = check_teeth()
    assert checked.shortfalls == ()
    assert checked.figures["sampled"] >= 5


def test_a_table_that_says_otherwise_falls_short(monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_json(data("recorded", xen_bites.TABLE))
    (small,) = (entry for entry in table["devices"] if entry["device"] == "3/0" and "canned" in entry["folder"])
    wrong = {**small, "outcomes": "a" * len(small["outcomes"])}
    monkeypatch.setattr(xen_bites, "read_json", lambda path: {"devices": [wrong]})
    assert len(check_teeth().shortfalls) == 1


def test_every_recorded_device_is_in_the_table_or_said_to_be_left_out() -> None:
    table = read_json(data("recorded", xen_bites.TABLE))
    verdicts = read_json(data("recorded", "linux-verdicts.json"))["recordings"]
    expected = {
        (folder["folder"], device["recorder"], f"{device['domain']}/{device['device']}")
        for folder in verdicts
        for device in folder["devices"]
    }
    named = [(e["folder"], e["recorder"], e["device"]) for e in (*table["devices"], *table["left_out"])]
    assert sorted(named) == sorted(expected)


def test_what_later_lines_mostly_depend_on_is_accepted_only_where_the_lines_tell_why() -> None:
    exceptions = [
        each for entry in read_json(data("recorded", xen_bites.TABLE))["devices"] for each in entry["exceptions"]
    ]
    assert exceptions
    for each in exceptions:
        assert each["why"], each
        assert each["kind"] not in ("write", "WRITE", "connected", "backend-node"), each


def test_the_command_counts_and_writes_runs(tmp_path: Path) -> None:
    found = CliRunner().invoke(
        app, ["trace", "teeth", str(FOLDER), "--device", "3/0", "--json", "--runs", str(tmp_path)]
    )
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert document["total"] == dict(total(document["devices"]))
    assert len(list(tmp_path.iterdir())) == document["total"]["accepted"]


def test_the_command_says_which_device_is_not_there(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["trace", "teeth", str(FOLDER), "--device", "9/9"])
    assert found.exit_code == 2
