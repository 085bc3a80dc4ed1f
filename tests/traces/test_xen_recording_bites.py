"""The kept table of spoilt recordings, and the command that makes such a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vtpm_proofs.cli import app
from vtpm_traces.files import read_json
from vtpm_traces.recordings import xen_bites_kept as kept
from vtpm_traces.recordings.xen import read_contents
from vtpm_traces.schema import data

RECORDED = Path(__file__).parents[2] / "traces" / "recorded" / "linux-frontend"
FOLDER = RECORDED / "canned-attach-detach-tpm2-errors"


def test_a_sample_of_the_kept_table_becomes_what_it_says() -> None:
    checked = kept.check_teeth()
    assert checked.shortfalls == ()
    assert checked.figures["sampled"] >= 1


def test_what_is_sampled_changes_with_what_the_outcomes_depend_on() -> None:
    contents, _ = read_contents(RECORDED / "h1-fast")
    assert kept.made_of(contents) == kept.made_of(dict(contents))
    assert kept.made_of(contents) != kept.made_of({name: text + b"\n" for name, text in contents.items()})


def test_every_recorded_device_is_in_the_table_or_named_and_every_mutant_is_decided() -> None:
    verdicts = read_json(data("recorded", "linux-verdicts.json"))["recordings"]
    expected = {
        (folder["folder"], device["recorder"], f"{device['domain']}/{device['device']}")
        for folder in verdicts
        for device in folder["devices"]
    }
    table = kept.kept_table()
    named = [(each["folder"], each["recorder"], each["device"]) for each in table]
    assert sorted([*map(" ".join, named), *kept.left_out()]) == sorted(map(" ".join, expected))
    assert kept.total(table)["undecided"] == 0
    for each in table:
        assert len("".join(each["outcomes"])) == each["mutants"] == sum(kept.total([each]).values())


def test_what_later_lines_mostly_depend_on_is_accepted_only_where_the_lines_tell_why() -> None:
    exceptions = [each for entry in kept.kept_table() for each in entry["exceptions"]]
    assert exceptions
    for each in exceptions:
        assert each["why"], each
        assert each["line"] not in ("write", "WRITE", "connected", "backend-node"), each


# ---------------------------------------------------------------------------------------------- a table of one's own


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of two folders, each with the first, short device of a log; nothing is kept as yet."""
    log = read_contents(RECORDED / "h2-virtioserial-reload")[0]["backend-port.jsonl.gz"]
    lines = log.split(b"\n")
    other = next(number for number, line in enumerate(lines) if b"/2/0" in line)
    for name in ("one", "two"):
        folder = tmp_path / "recorded" / "linux-frontend" / name
        folder.mkdir(parents=True)
        (folder / "backend.jsonl").write_bytes(b"\n".join(lines[:other]))
    monkeypatch.setattr(kept, "data", tmp_path.joinpath)
    file = tmp_path / "recorded" / kept.TABLE
    file.write_text(json.dumps({"schema": kept.SCHEMA, "left_out": [], "devices": []}))
    return file


def record(*, anew: bool = False) -> list[str]:
    """Make the table, and return what was run for it."""
    said: list[str] = []
    list(kept.record(anew=anew, jobs=1, say=said.append))
    return [line.split(" ")[0] for line in said if "mutants" in line]


def test_a_device_is_kept_as_soon_as_it_is_run_and_a_stopped_run_goes_on_where_it_stopped(table: Path) -> None:
    next(iter(kept.record(anew=False, jobs=1, say=lambda line: None)))
    assert [each["folder"] for each in kept.kept_table()] == ["one"]
    assert kept.left_out() == ["two backend.jsonl 1/0"]
    assert record() == ["two"]
    assert [each["folder"] for each in kept.kept_table()] == ["one", "two"]
    before = table.read_bytes()
    assert record() == []
    assert record(anew=True) == ["one", "two"]
    assert table.read_bytes() == before


def test_what_another_recording_or_model_gave_is_run_again(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record()
    log = table.parent / "linux-frontend" / "two" / "backend.jsonl"
    log.write_bytes(log.read_bytes() + b"\n")
    assert record() == ["two"]
    monkeypatch.setattr(kept, "_sources", lambda: (("vtpm_model.ring", b"another one"),))
    assert record() == ["one", "two"]


def test_the_sample_finds_what_the_table_has_wrong(table: Path) -> None:
    record()
    assert kept.check_teeth().shortfalls == ()
    document = read_json(table)
    one, two = document["devices"]
    one["outcomes"] = ["u" * one["mutants"]]
    table.write_text(json.dumps({**document, "devices": [one]}))
    missing, wrong = kept.check_teeth().shortfalls
    assert "not as kept" in wrong
    assert missing == f"two backend.jsonl 1/0: {two['mutants']} mutants, the table has 0"


def test_an_exception_without_a_reason_is_a_shortfall(table: Path) -> None:
    record()
    document = read_json(table)
    document["devices"][0]["exceptions"][0]["why"] = ""
    table.write_text(json.dumps(document))
    (sentence,) = kept.check_teeth().shortfalls
    assert "nothing tells why" in sentence
    shown = CliRunner().invoke(app, ["trace", "teeth"])
    assert shown.exit_code == 1
    assert sentence in shown.stderr


def test_the_command_makes_the_table_shows_it_and_holds_a_run_against_it(table: Path) -> None:
    made = CliRunner().invoke(app, ["trace", "teeth", "--all", "--record", "--jobs", "2"])
    assert made.exit_code == 0
    shown = CliRunner().invoke(app, ["trace", "teeth", "--json"])
    document = json.loads(shown.stdout)
    assert document["devices"] == kept.kept_table()
    assert document["total"] == {name: 2 * sum(one[name] for one in document["devices"][0]["classes"])
                                 for name in ("refused", "accepted", "undecided")}  # fmt: skip
    assert CliRunner().invoke(app, ["trace", "teeth", "--all"]).exit_code == 0
    kept_devices = read_json(table)["devices"]
    kept_devices[0]["outcomes"][0] = "u" + kept_devices[0]["outcomes"][0][1:]
    table.write_text(json.dumps({"schema": kept.SCHEMA, "left_out": [], "devices": kept_devices}))
    unlike = CliRunner().invoke(app, ["trace", "teeth", "--all"])
    assert unlike.exit_code == 1
    assert "one 1/0: the mutants do not become what the kept table says" in unlike.stderr


def test_a_table_of_another_schema_is_refused_by_name(table: Path) -> None:
    table.write_text(json.dumps({"schema": "vtpmspec/teeth/9", "devices": []}))
    shown = CliRunner().invoke(app, ["trace", "teeth"])
    assert shown.exit_code == 2
    assert "vtpmspec/teeth/9" in shown.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["--all", "--device", "1/0"],
        ["--all", "--every", "2"],
        ["--all", str(FOLDER)],
        ["--record"],
        ["--all", "--anew"],
        ["--device", "1/0"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_use(wrong: list[str]) -> None:
    found = CliRunner().invoke(app, ["trace", "teeth", *wrong])
    assert found.exit_code == 2
    assert found.stdout == ""


# ------------------------------------------------------------------------------------------------------- one device


def test_the_command_counts_and_writes_runs(tmp_path: Path) -> None:
    found = CliRunner().invoke(
        app, ["trace", "teeth", str(FOLDER), "--device", "3/0", "--json", "--runs", str(tmp_path)]
    )
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert document["total"] == dict(kept.total(document["devices"]))
    assert len(list(tmp_path.iterdir())) == document["total"]["accepted"]


def test_the_command_says_which_device_is_not_there() -> None:
    found = CliRunner().invoke(app, ["trace", "teeth", str(FOLDER), "--device", "9/9"])
    assert found.exit_code == 2
