"""The command conform: exit codes, verdicts, reports, deviations, and what repeats a failure."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.traces.conform.subjects import IDLE, command
from typer.testing import CliRunner

from vtpm_proofs.cli import app
from vtpm_traces import schema
from vtpm_traces.conform.campaign import Campaign
from vtpm_traces.conform.trial import Ended, Verdict

VTPM = str(Path(sys.executable).with_name("vtpm"))
BACKEND = (VTPM, "sut", "backend")
FRONTEND = (VTPM, "sut", "frontend")

WITHOUT_VERSION = """
hello(again=True)
while True:
    event = call("wait")
    while event["event"] == "reset":
        hello(again=True)
        event = call("wait")
    if event["event"] == "end":
        break
    if event["event"] == "watch":
        call("write", path="backend/vtpm/1/0/state", value="2")
"""
"""Goes to InitWait at any event, and does nothing else."""


def run(*arguments: object, subject: tuple[str, ...] | list[str] = BACKEND) -> Any:
    return CliRunner().invoke(app, ["conform", "--timeout", "20", *map(str, arguments), "--", *subject])


@pytest.mark.parametrize("subject", [BACKEND, FRONTEND])
def test_our_own_ends_conform(subject: tuple[str, ...]) -> None:
    result = run("--runs", 5, "--only", "accept/*", "--only", "random/*", "--json", subject=subject)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["schema"] == "vtpmspec/conform/1"
    assert document["holds"]
    assert document["subject"] == {"name": "xen-vtpm", "end": subject[2], "command": list(subject)}
    assert document["counts"]["sanity"] == {"success": 2}
    assert document["counts"]["random"] == {"success": 5}
    assert set(document["counts"]["accept"]) == {"success"}


def test_a_table_tells_the_runs_by_kind() -> None:
    result = run("--only", "accept/re*")
    assert result.exit_code == 0
    assert "xen-vtpm, a backend, seed 0" in result.stdout
    assert "known deviations" in result.stdout


def test_without_sanity_nothing_else_is_tried_and_that_is_a_failure() -> None:
    result = run("--runs", 2, "--json", subject=command(IDLE))
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["counts"]["sanity"] == {"failure": 1}
    assert set(document["counts"]["accept"]) == {"skip"}
    assert "backend_tracks" in document["runs"][0]["sentence"]


def test_a_failure_is_shrunk_and_the_command_that_repeats_it_does(tmp_path: Path) -> None:
    script = tmp_path / "device.script"
    script.write_text("# A device is made and the guest goes.\ninit\nrun\nattach 1 0\nrun\ndestroy 1 0\nrun\n")
    subject = command(WITHOUT_VERSION)
    result = run("--script", script, "--keep", tmp_path / "kept", subject=subject)
    assert result.exit_code == 1
    kept = (tmp_path / "kept" / "device.script").read_text().splitlines()
    assert kept[0] == "# A device is made and the guest goes."
    assert kept[1].startswith("# device: ")
    assert kept[2:] == ["init", "attach 1 0", "run"]
    again = run("--script", tmp_path / "kept" / "device.script", subject=subject)
    assert again.exit_code == 1
    log = tmp_path / "kept" / "device.jsonl"
    judged = CliRunner().invoke(app, ["trace", "validate", "--format", "tpmback-script", str(log)])
    assert "true model refuses" in judged.output


def test_the_command_that_repeats_a_run_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sane = Ended("sanity/before", Verdict.SUCCESS)
    monkeypatch.setattr(Campaign, "_sanity", lambda self, when: sane)
    (tmp_path / "idle subject.py").write_text(command(IDLE)[-1])
    subject = [sys.executable, str(tmp_path / "idle subject.py")]
    result = run("--runs", 20, "--only", "random/*", "--seed", 8, "--no-shrink", subject=subject)
    assert result.exit_code == 1
    told = [line for line in result.stdout.splitlines() if line.startswith("to repeat it: ")]
    words = shlex.split(told[0].removeprefix("to repeat it: "))
    assert words[:2] == ["vtpmspec", "conform"]
    assert words[-len(subject) :] == subject
    again = CliRunner().invoke(app, [*words[1:2], "--no-shrink", *words[2:]])
    assert again.exit_code == 1
    assert told[0] in again.stdout


def deviations(path: Path, *found: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"schema": "vtpm-deviations/1", "subject": "tiny", "deviations": list(found)}))
    return path


def test_a_known_deviation_is_a_success_and_a_stale_one_a_failure(tmp_path: Path) -> None:
    script = tmp_path / "device.script"
    script.write_text("init\nattach 1 0\nrun\n")
    known = {"runs": ["device"], "shows": "at rest", "rows": ["E20"], "why": "it never tells its version"}
    file = deviations(tmp_path / "known.json", known)
    result = run("--script", script, "--deviations", file, "--json", subject=command(WITHOUT_VERSION))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["runs"][0]["known_deviation"] == known
    file = deviations(tmp_path / "other.json", {**known, "shows": "something else"})
    assert run("--script", script, "--deviations", file, subject=command(WITHOUT_VERSION)).exit_code == 1
    stale = run("--script", script, "--deviations", deviations(tmp_path / "known.json", known))
    assert stale.exit_code == 1
    assert "a known deviation no longer shows in device: it never tells its version" in stale.stdout
    unplayed = deviations(tmp_path / "unplayed.json", {**known, "runs": ["random/*"]})
    assert run("--script", script, "--deviations", unplayed).exit_code == 0


@pytest.mark.parametrize("change", [{"why": ""}, {"runs": []}, {"colour": "red"}, {"rows": "E1"}])
def test_deviations_of_another_shape_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    known = {"runs": ["x"], "shows": "", "rows": [], "why": "a reason that is long enough", **change}
    result = run("--deviations", deviations(tmp_path / "known.json", known))
    assert result.exit_code == 2
    assert "known.json" in result.stderr


def test_reports_for_other_tools(tmp_path: Path) -> None:
    script = tmp_path / "device.script"
    script.write_text("# A device.\ninit\nattach 1 0\nset /local/domain/1/x a\x01b\nrun\n")
    known = {"runs": ["device"], "shows": "nothing like it", "rows": [], "why": "it is not seen any more"}
    result = run(
        "--script", script, "--no-shrink", "--junit", tmp_path / "junit.xml", "--sarif", tmp_path / "sarif.json",
        "--deviations", deviations(tmp_path / "known.json", known), subject=command(WITHOUT_VERSION),
    )  # fmt: skip
    assert result.exit_code == 1
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert suite.attrib["tests"] == "2"
    assert suite.attrib["failures"] == "2"
    failure = suite[0][0]
    assert failure.tag == "failure"
    assert "at rest" in failure.attrib["message"]
    assert "a\\x01b" in str(failure.text)
    finding = json.loads((tmp_path / "sarif.json").read_text())["runs"][0]["results"][0]
    assert finding["ruleId"] == "device"
    assert finding["locations"]
    assert finding["partialFingerprints"]


@pytest.mark.parametrize(
    ("arguments", "subject", "expected"),
    [
        (["--end", "device"], BACKEND, "frontend, backend"),
        (["--end", "frontend"], BACKEND, "the subject is a backend"),
        (["--only", "accept/nothing"], BACKEND, "no run is called so"),
        (["--script", "/nowhere.script"], BACKEND, "is not a file"),
        (["--deviations", "/nowhere.json"], BACKEND, "is not a file"),
        (["--only", "accept/shutdown", "--junit", "/nowhere/junit.xml"], BACKEND, "No such file"),
        ([], ("/nowhere/subject",), "does not start"),
        (["--runs", "-1"], BACKEND, "--runs"),
        (["--timeout", "0"], BACKEND, "--timeout"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], subject: tuple[str, ...], expected: str) -> None:
    result = run(*arguments, subject=subject)
    assert result.exit_code == 2
    assert expected in result.output


def test_a_subject_that_does_not_introduce_itself_falls_short() -> None:
    result = run(subject=command("sys.exit(4)"))
    assert result.exit_code == 1
    assert "the subject does not introduce itself: it ended with code 4" in result.stderr


def test_the_kept_deviations_are_whole() -> None:
    folder = schema.data("deviations")
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        schema.check(json.loads(path.read_text()), schema.DEVIATIONS, path.name)


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(app, ["conform", "--help"])
    assert result.exit_code == 0
    assert "Example: vtpmspec conform --runs 500 --seed 7 -- vtpm sut backend" in result.stdout
