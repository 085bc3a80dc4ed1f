"""Every known defect is reproduced from its kept trace, and a trace that shows something else is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vtpm_model.catalog import SYSTEMS
from vtpm_model.defects import DEFECTS, SITUATIONS
from vtpm_proofs.cli import app
from vtpm_proofs.defects import (
    SUFFIX,
    base_of,
    check_defect,
    check_defects,
    check_situation,
    directory,
    find,
    keep,
    kept_as_trace,
    searched,
    untouched,
)
from vtpm_proofs.hunt import Hunt, shortest
from vtpm_traces import itf
from vtpm_traces.itf import Moment

QUICK = (
    "r8", "r10", "r11", "r12", "r13", "r15", "i5", "i6", "i10", "i12", "i13", "i14", "i15", "i16", "q2", "q3", "q4",
    "q5", "q8",
)  # fmt: skip
"""Defects whose shortest run is found in about a second; for the others `vtpmspec defects --find` takes minutes."""


def steps_kept(row: str) -> int:
    return len(json.loads((directory() / f"{row}{SUFFIX}").read_text())["states"]) - 1


def test_every_defect_is_reproduced() -> None:
    found = check_defects()
    assert {row.row: row.problems for row in found.rows if not row.holds} == {}
    assert [row.row for row in found.rows] == [*DEFECTS, *SITUATIONS]


@pytest.mark.parametrize("row", QUICK)
def test_no_shorter_run_breaks_the_fact(row: str) -> None:
    run = find(DEFECTS[row]).run
    assert run is not None
    assert len(run) == steps_kept(row)


@pytest.mark.parametrize("row", ["r8", "r11", "i6", "i12", "i13", "i15", "q2", "q3", "q4"])
def test_the_system_itself_breaks_nothing_where_the_defect_does(row: str) -> None:
    defect = DEFECTS[row]
    system = SYSTEMS[base_of(defect.variant)]
    as_far = dataclasses.replace(searched(defect.variant), states=find(defect).states + 1)
    found = shortest(system, defect.fails, as_far, shown=defect.shown)
    assert found.run is None
    with pytest.raises(ValueError, match=f"{row}: no run breaks {defect.fails} among"):
        kept_as_trace(defect, found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory(), tmp_path / "defects"))


def test_a_run_that_breaks_nothing_is_told(folder: Path) -> None:
    defect = DEFECTS["r8"]
    run = find(defect).run
    assert run is not None
    itf.write(folder / f"r8{SUFFIX}", kept_as_trace(defect, Hunt(run[:-2], 1)), defect.variant)
    shown = check_defect(defect, folder)
    assert not shown.holds
    assert any("its last step does not break an_answer_belongs_to_the_last_request" in one for one in shown.problems)
    assert any("breaks no fact on the way" in one for one in shown.problems)


def test_a_run_that_rests_too_early_is_told(folder: Path) -> None:
    defect = DEFECTS["r11"]
    run = find(defect).run
    assert run is not None
    itf.write(folder / f"r11{SUFFIX}", kept_as_trace(defect, Hunt(run[:-1], 1)), defect.variant)
    assert "its last step does not break every_request_comes_to_an_end" in check_defect(defect, folder).problems


def test_an_altered_trace_is_no_run_of_the_variant(folder: Path) -> None:
    defect = DEFECTS["i15"]
    run = find(defect).run
    assert run is not None
    trace = kept_as_trace(defect, Hunt(run, 1))
    last = trace.moments[-1]
    altered = Moment(last.action, last.picks, last.state._replace(clock=9))
    itf.write(
        folder / f"i15{SUFFIX}", dataclasses.replace(trace, moments=(*trace.moments[:-1], altered)), defect.variant
    )
    (problem,) = check_defect(defect, folder).problems
    assert "clock is" in problem


def test_a_row_that_breaks_more_than_it_says_is_told() -> None:
    defect = dataclasses.replace(DEFECTS["r8"], along=())
    (problem,) = check_defect(defect, directory()).problems
    assert problem.startswith("it breaks a_request_is_submitted_only_over_idle_or_finish, an_answer_belongs")


def test_a_situation_that_ends_otherwise_is_told() -> None:
    situation = dataclasses.replace(SITUATIONS["i9"], shown=lambda state: state.up)
    (problem,) = check_situation(situation, directory()).problems
    assert problem.startswith("its last state is not as")


def test_missing_traces_and_strangers_are_told(folder: Path) -> None:
    (folder / f"q2{SUFFIX}").unlink()
    (folder / f"q99{SUFFIX}").write_text("{}")
    problems = {row.row: row.problems for row in check_defects(folder).rows if not row.holds}
    assert problems == {"q2": ("no trace is kept in q2.itf.json",), "q99": ("a trace is kept of what is no row",)}


def test_found_anew_it_is_the_same_file(tmp_path: Path) -> None:
    keep(tmp_path, ["i14", "r14"])
    for row in ("i14", "r14"):
        assert (tmp_path / f"{row}{SUFFIX}").read_text() == (directory() / f"{row}{SUFFIX}").read_text()


def test_facts_that_no_defect_breaks_are_listed() -> None:
    rest = untouched(SYSTEMS)
    assert "a_caller_gets_one_whole_packet" in rest["ring"]
    assert "an_answer_belongs_to_the_last_request" not in rest["ring"]


def test_the_command_shows_a_table_and_json() -> None:
    told = CliRunner().invoke(app, ["defects", "i4", "r14"])
    assert told.exit_code == 0, told.output
    assert "device.linux+i4" in told.output
    assert "all 2 rows hold" in told.output
    document = json.loads(CliRunner().invoke(app, ["defects", "i4", "--json"]).output)
    assert document["holds"] is True
    assert document["rows"][0]["fails"] == "a_published_connection_waits_for_its_backend"


def test_the_command_refuses_what_is_no_row() -> None:
    told = CliRunner().invoke(app, ["defects", "r1"])
    assert told.exit_code == 2
    assert "no defect is called 'r1'; there are r5, " in told.output


def test_the_command_falls_short_where_a_trace_is_missing(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["defects", "q2", "q3", "--find", str(tmp_path)])
    assert told.exit_code == 0, told.output
    (tmp_path / f"q99{SUFFIX}").write_text("{}")
    assert CliRunner().invoke(app, ["defects", "q2", "q3", "--find", str(tmp_path)]).exit_code == 1
