"""The commands explore and mutants, as a user runs them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.proofs.toy_mistakes import KEEPS_ITS_JOB
from tests.proofs.toy_ring import TOY
from typer.testing import CliRunner, Result

import vtpm_model.catalog
import vtpm_traces.schema
from vtpm_model.core import Spec
from vtpm_proofs import campaign, explore, kills, limits, spacer
from vtpm_proofs.bounds import bounds_of
from vtpm_proofs.cli import app

BROKEN: Spec[Any] = KEEPS_ITS_JOB


@pytest.fixture(autouse=True)
def small_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vtpm_model.catalog, "SYSTEMS", {"toy": TOY})
    monkeypatch.setattr(vtpm_model.catalog, "VARIANTS", {BROKEN.name: BROKEN})
    monkeypatch.setattr(explore, "MANIFEST", tmp_path / "states.json")
    monkeypatch.setattr(spacer, "REASONS", tmp_path / "undecided.json")
    monkeypatch.setattr(campaign, "EXPLAINED", tmp_path / "equivalent.json")
    monkeypatch.setattr(kills, "MANIFEST", tmp_path / "kills.json")
    kept = vtpm_traces.schema.data
    monkeypatch.setattr(vtpm_traces.schema, "data", lambda *parts: kept(*parts) if parts else tmp_path / "traces")
    monkeypatch.setenv("COLUMNS", "200")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_search_without_a_record_falls_short_and_says_how_to_make_one() -> None:
    said = run("explore", "toy", "--no-spacer")
    assert said.exit_code == 1
    assert "vtpmspec record toy" in said.stdout


def test_a_search_with_its_count_on_record_holds() -> None:
    assert run("record", "toy", "--only", "states").exit_code == 0
    said = run("explore", "--jobs", "1")
    assert said.exit_code == 0
    assert "searched whole" in said.stdout
    assert re.search(r"toy +.*job_epoch 2 +all", said.stdout)
    assert "second proof, by Spacer without lemmas: 4 of 4 facts" in said.stdout


def test_the_document_of_a_search_has_the_counts() -> None:
    run("record", "--only", "states")
    document = json.loads(run("explore", "--no-spacer", "--json").stdout)
    assert document["schema"] == "vtpmspec/explore/1"
    (system,) = document["systems"]
    assert system["holds"]
    assert system["states"] == explore.recorded()["toy"]["states"]
    assert system["not_generated"] == {}
    assert system["bounds"] == {"fields": dict(bounds_of(TOY).fields), "picks": {}}


def test_a_search_of_a_variant_shows_the_run_that_breaks_a_fact() -> None:
    said = run("explore", "--variant", "toy+keeps-its-job")
    assert said.exit_code == 1
    assert "backend_disconnects" in said.stdout


def test_a_mistyped_system_is_wrong_use() -> None:
    for command in ("explore", "mutants"):
        said = run(command, "toi")
        assert said.exit_code == 2
        assert "no system is called 'toi'; there are toy" in said.stderr


def test_one_fact_cannot_be_searched_or_mutated() -> None:
    for command in ("explore", "mutants"):
        said = run(command, "toy.no_wakeup_is_lost")
        assert said.exit_code == 2
        assert "name the system" in said.stderr


def test_mutants_are_judged_counted_and_what_survives_is_told() -> None:
    said = run("mutants", "--jobs", "1", "--verbose")
    assert said.exit_code == 1
    assert "toy: each_side_writes_its_own_bytes kills no mutant alone" in said.stdout
    assert "liveness     toy/toy_ring.frontend_cancels: does not set cancelled to True" in said.stdout
    assert "4 of 5 facts alone kill a mutant" in said.stdout
    document = json.loads(run("mutants", "--jobs", "1", "--json").stdout)
    assert document["schema"] == "vtpmspec/mutants/1"
    assert sum(document["fates"].values()) == len(document["mutants"]) > 80
    assert {one["fact"] for one in document["facts"] if not one["kills_alone"]} == {"each_side_writes_its_own_bytes"}


def test_what_is_recorded_kills_again_and_without_it_everything_is_asked_anew(tmp_path: Path) -> None:
    assert "no trace pins toy/toy_ring." in run("record", "--only", "pins").stdout
    said = run("record", "--only", "kills")
    assert said.exit_code == 1
    assert "toy: each_side_writes_its_own_bytes kills no mutant alone" in said.stdout
    again = json.loads(run("mutants", "--jobs", "1", "--json").stdout)
    anew = json.loads(run("mutants", "--jobs", "1", "--json", "--no-hints").stdout)
    survivors = anew["fates"].get("survives", 0)
    assert again["died_again"] == len(again["mutants"]) - survivors
    assert anew["died_again"] == 0
    assert again["fates"] == anew["fates"]
    assert again["complaints"] == anew["complaints"]
    assert list((tmp_path / "traces" / "accept").iterdir())


def test_nothing_is_recorded_of_a_model_that_does_not_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "MANIFEST", tmp_path / "limits.json")
    monkeypatch.setattr(vtpm_model.catalog, "SYSTEMS", {BROKEN.name: BROKEN})
    said = run("record")
    assert said.exit_code == 1
    assert "does not hold" in said.stdout
    assert not (tmp_path / "limits.json").exists()
    assert not (tmp_path / "states.json").exists()


@pytest.mark.parametrize("command", ["explore", "mutants", "record"])
def test_help_has_an_example(command: str) -> None:
    said = run(command, "--help")
    assert said.exit_code == 0
    assert f"Example: vtpmspec {command}" in said.stdout
