"""The command trace: exit codes, sentences and JSON for logs, traces and recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vtpm_model.ring import RING
from vtpm_proofs.cli import app
from vtpm_traces import itf
from vtpm_traces.itf import INIT, Expect, Moment, Trace
from vtpm_traces.schema import EVENT_LOG, check, data

CONNECT = {"action": "frontend_connects"}
BIND = {"action": "backend_connects", "after": {"mapped": 1, "to_backend": True}}


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


def log(path: Path, *lines: Any, **header: Any) -> Path:
    first = {"schema": "vtpm-event-log/1", "system": "ring", **header}
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, *lines)))
    return path


def trace_file(path: Path, expect: Expect = Expect.ACCEPT) -> Path:
    start = RING.init()
    moments = (Moment(INIT, {}, start), Moment("frontend_connects", {}, RING.action("frontend_connects").run(start)))
    itf.write(path, Trace("ring", "A frontend connects", expect, moments), RING)
    return path


def test_an_accepted_log_ends_with_0(tmp_path: Path) -> None:
    result = run("validate", log(tmp_path / "a.ndjson", CONNECT, BIND))
    assert result.exit_code == 0
    assert result.output == f"{tmp_path}/a.ndjson: accepted by ring, 2 lines\n"


def test_a_refused_log_ends_with_1_and_tells_where_and_what_was_possible(tmp_path: Path) -> None:
    result = run("validate", log(tmp_path / "a.ndjson", CONNECT, {**BIND, "after": {"mapped": 2}}))
    assert result.exit_code == 1
    assert "a.ndjson:3: backend_connects, then mapped=2" in result.output
    assert "mapped could be 1" in result.output
    assert "possible was: " in result.output
    result = run("validate", log(tmp_path / "a.ndjson", BIND), "--json")
    (report,) = json.loads(result.output)["files"]
    assert report["outcome"] == "refused"
    assert report["refused_at"]["line"] == 2
    assert "frontend_connects" in report["refused_at"]["possible"]


def test_a_run_is_printed_when_asked_for(tmp_path: Path) -> None:
    path = log(tmp_path / "a.ndjson", BIND, hidden=["frontend_connects"])
    result = run("validate", path, "--run", "--json")
    steps = json.loads(result.output)["files"][0]["run"]
    assert [(step["action"], step["hidden"]) for step in steps] == [
        ("frontend_connects", True), ("backend_connects", False),
    ]  # fmt: skip
    assert steps[1]["seen"] == [f"{path}:2"]
    assert "[hidden]" in run("validate", path, "--run").output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"schema": "vtpm-event-log/7", "system": "ring"}\n', "schema vtpm-event-log/7 is not known here"),
        ('{"schema": "vtpm-event-log/1", "system": "rang"}\n', "system rang is not known; there are page, "),
        ("nonsense\n", "nonsense is not JSON"),
        ("", "empty"),
    ],
)
def test_what_is_no_log_ends_with_2_and_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.ndjson").write_text(text)
    result = run("validate", tmp_path / "a.ndjson")
    assert result.exit_code == 2
    assert says in result.output


def test_each_of_several_files_is_told_and_the_worst_decides(tmp_path: Path) -> None:
    good, bad = log(tmp_path / "good.ndjson", CONNECT), log(tmp_path / "bad.ndjson", BIND)
    result = run("validate", good, bad, tmp_path / "absent.ndjson")
    assert result.exit_code == 2
    assert "good.ndjson: accepted" in result.output
    assert "bad.ndjson: refused" in result.output
    assert "absent.ndjson is not a file" in result.output
    assert run("validate", good, bad).exit_code == 1


def test_a_variant_is_taken_from_the_header_or_the_command_line(tmp_path: Path) -> None:
    path = log(tmp_path / "a.ndjson", CONNECT, variant="r8")
    assert "accepted by ring+r8" in run("validate", path).output
    assert "accepted by ring+r15" in run("validate", path, "--variant", "r15").output
    result = run("validate", path, "--variant", "r99")
    assert result.exit_code == 2
    assert "no one variant is called 'r99'" in result.output


def test_itf_traces_do_what_they_say_or_fall_short(tmp_path: Path) -> None:
    assert run("validate", trace_file(tmp_path / "a.itf.json")).exit_code == 0
    result = run("validate", trace_file(tmp_path / "b.itf.json", Expect.REJECT))
    assert result.exit_code == 1
    assert "its last step should be refused, and is possible" in result.output


def test_another_tools_trace_needs_the_name_of_its_system(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "a.itf.json")
    document = json.loads(path.read_text())
    document["#meta"] = {}
    path.write_text(json.dumps(document))
    result = run("validate", path)
    assert result.exit_code == 2
    assert "--system NAME" in result.output
    assert run("validate", path, "--system", "ring").exit_code == 0


def test_show_prints_a_table_a_diagram_and_json(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "a.itf.json")
    assert "granted: false → true" in run("show", path).output
    assert run("show", path, "--mermaid").output.splitlines()[3] == "sequenceDiagram"
    assert json.loads(run("show", path, "--json").output)["steps"][0]["action"] == "frontend_connects"
    assert run("show", path, "--svg", tmp_path / "a.svg").exit_code == 0
    assert (tmp_path / "a.svg").read_text().startswith("<svg ")
    assert "seen at" not in run("show", path).output
    shown = run("show", log(tmp_path / "a.ndjson", CONNECT, BIND))
    assert "backend_connects" in shown.output
    assert "seen at" in shown.output


def test_show_of_what_cannot_be_shown(tmp_path: Path) -> None:
    assert run("show", log(tmp_path / "a.ndjson", BIND)).exit_code == 1
    assert run("show", tmp_path / "absent.itf.json").exit_code == 2
    result = run("show", trace_file(tmp_path / "a.itf.json"), "--svg", tmp_path / "no" / "a.svg")
    assert result.exit_code == 2
    assert "No such file or directory" in result.output


def test_recordings_are_judged_by_their_format() -> None:
    recorded = data("recorded")
    result = run("validate", "--format", "xen-recording", recorded / "linux-frontend" / "h1-fast", "--json")
    assert result.exit_code == 0
    reports = json.loads(result.output)["files"]
    assert reports
    assert {report["outcome"] for report in reports} == {"accepted"}
    script = next((recorded / "tpmback").glob("request-length-4089*"))
    result = run("validate", "--format", "tpmback-script", script)
    assert "accepted by mini-os" in result.output
    assert "true model refuses" in result.output


def test_what_a_recording_shows_becomes_event_logs_whose_rest_the_validator_finds(tmp_path: Path) -> None:
    folder = data("recorded") / "linux-frontend" / "canned-attach-detach-tpm2-errors"
    result = run("validate", "--format", "xen-recording", folder, "--logs", tmp_path / "logs")
    assert result.exit_code == 0
    logs = sorted((tmp_path / "logs").iterdir())
    assert len(logs) == 3
    assert all(str(log) in result.output for log in logs)
    systems, found = [], []
    for log in logs:
        header, *lines = map(json.loads, log.read_text().splitlines())
        check(header, EVENT_LOG, log.name, part="header")
        for line in lines:
            check(line, EVENT_LOG, log.name, part="event")
        assert all(line["note"] for line in lines)
        systems.append(header["system"])
        result = run("validate", log, "--run", "--json")
        assert result.exit_code == 0
        (report,) = json.loads(result.output)["files"]
        assert report["lines"] == len(lines)
        unseen = [step["action"].partition("(")[0] for step in report["run"] if step["hidden"]]
        assert len(report["run"]) == len(lines) + len(unseen)
        assert set(unseen) <= set(header.get("hidden", ()))
        found += unseen
    assert sorted(systems) == ["device.linux", "device.linux", "device.linux+recorder-backend"]
    assert "frontend_submits" in found  # nobody saw Linux write its requests


def test_event_logs_that_cannot_be_written_are_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    folder = data("recorded") / "linux-frontend" / "h1-fast"
    result = run("validate", "--format", "xen-recording", folder, "--logs", tmp_path / "taken")
    assert result.exit_code == 2
    assert "File exists" in result.output


def test_an_unknown_format_is_wrong_use(tmp_path: Path) -> None:
    result = run("validate", "--format", "pcap", tmp_path)
    assert result.exit_code == 2
    assert "'pcap' is not one of xen-recording, linux-runs, tpmback-script, tpmfront-script" in result.output


@pytest.mark.parametrize("command", ["validate", "show", "pin"])
def test_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: vtpmspec trace {command}" in result.output
