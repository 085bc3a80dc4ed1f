"""The commands prove, list and explain, as a user runs them: what they print, write and exit with."""

import json
import re
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest
from tests.proofs.toy_mistakes import ASKS_AGAIN, KEEPS_ITS_JOB, TELLS_NOBODY
from tests.proofs.toy_ring import TOY
from typer.testing import CliRunner, Result

import vtpm_model.assumptions
import vtpm_model.catalog
from vtpm_model.assumptions import Reading
from vtpm_model.core import Actor, Assumption, Spec, action, lemma
from vtpm_proofs import limits
from vtpm_proofs.cli import SUB_COMMANDS, app

SYSTEMS: dict[str, Spec[Any]] = {"toy": TOY, "toy.other": changed(TOY, name="toy.other")}
VARIANTS: dict[str, Spec[Any]] = {spec.name: spec for spec in (KEEPS_ITS_JOB, TELLS_NOBODY, ASKS_AGAIN)}


@pytest.fixture(autouse=True)
def small_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vtpm_model.catalog, "SYSTEMS", SYSTEMS)
    monkeypatch.setattr(vtpm_model.catalog, "VARIANTS", VARIANTS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words, catch_exceptions=False)


# ------------------------------------------------------------------------------------------------------------ prove


def test_everything_is_proved_by_default() -> None:
    said = run("prove")
    assert said.exit_code == 0
    assert "toy.other" in said.stdout
    assert "obligations hold" in said.stdout


def test_a_system_whose_name_has_a_dot_is_found_before_a_fact() -> None:
    assert "toy.other " in run("prove", "toy.other").stdout
    said = run("prove", "toy.other.no_wakeup_is_lost")
    assert said.exit_code == 0
    assert "toy.other.backend_wakes.5t.5t.no_wakeup_is_lost" in said.stdout
    assert "a_mapping_is_current" not in said.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("prove", "toys"), "'toys'"),
        (("prove", "toy.no_wakeup"), "'no_wakeup'"),
        (("prove", "--variant", "loud"), "'loud'"),
        (("prove", "toy.nothing", "--variant", "tells-nobody"), "'toy.nothing'"),
        (("prove", "toy.other", "--variant", "tells-nobody"), "'toy.other'"),
        (("prove", "--solver", "z3,yices"), "'z3,yices'"),
        (("prove", "--solver", ""), "''"),
        (("prove", "--slice", "0/2"), "'0/2'"),
        (("prove", "--slice", "half"), "'half'"),
        (("record", "toys"), "'toys'"),
        (("record", "toy.no_wakeup_is_lost"), "'toy.no_wakeup_is_lost'"),
        (("list", "toys"), "'toys'"),
        (("explain", "toys.no_wakeup_is_lost"), "'toys'"),
        (("explain", "nothing_at_all"), "'nothing_at_all'"),
    ],
)
def test_wrong_use_is_told_by_the_value_and_what_is_allowed(words: tuple[str, ...], told: str) -> None:
    said = run(*words)
    assert said.exit_code == 2
    assert told in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert not said.stdout


def test_a_file_that_cannot_be_written_is_wrong_use(tmp_path: Path) -> None:
    said = run("prove", "toy", "--junit", str(tmp_path / "no" / "such" / "folder.xml"))
    assert said.exit_code == 2
    assert "folder.xml" in said.stderr


def test_a_variant_fails_with_its_step_and_a_real_run() -> None:
    said = run("prove", "--variant", "keeps-its-job", "--depth", "8")
    assert said.exit_code == 1
    assert "FAILS  an_answer_stays_in_its_connection" in said.stdout or "a_job_is_of_the_mapping" in said.stdout
    assert "a_job_is_of_the_mapping: a run of" in said.stdout
    assert "obligations do not hold" in said.stdout


def test_one_fact_of_a_variant_may_hold() -> None:
    assert run("prove", "toy.each_side_writes_its_own_bytes", "--variant", "keeps-its-job").exit_code == 0
    assert (
        run("prove", "keeps-its-job.a_job_is_of_the_mapping", "--variant", "keeps-its-job", "--depth", "0").exit_code
        == 1
    )


def test_files_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    said = run(
        "prove", "--variant", "tells-nobody", "--junit", str(tmp_path / "j.xml"), "--sarif", str(tmp_path / "s.json"),
        "--smtlib", str(tmp_path / "smt"), "--itf", str(tmp_path / "itf"), "--json",
    )  # fmt: skip
    assert said.exit_code == 1
    document = json.loads(said.stdout)
    [run_found] = [one for one in document["runs"] if one["fact"] == "no_wakeup_is_lost"]
    assert run_found["run"][-1]["action"] == "backend_finishes"
    assert "<failure" in (tmp_path / "j.xml").read_text()
    assert json.loads((tmp_path / "s.json").read_text())["version"] == "2.1.0"
    names = {file.name for file in (tmp_path / "itf").iterdir()}
    assert "toy+tells-nobody.run.no_wakeup_is_lost.itf.json" in names
    assert "toy+tells-nobody.backend_finishes.only.no_wakeup_is_lost.itf.json" in names
    assert len(list((tmp_path / "smt").iterdir())) > 50


def test_annotations_appear_on_github_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "::error" not in run("prove", "--variant", "tells-nobody", "--depth", "0").stdout
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error file=" in run("prove", "--variant", "tells-nobody", "--depth", "0").stdout
    said = run("prove", "--variant", "tells-nobody", "--depth", "0", "--json")
    assert json.loads(said.stdout)
    assert "::error file=" in said.stderr


def test_an_idle_lemma_fails_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    @lemma
    def jobs_are_numbered(s: Any) -> Any:
        """True, and of no use."""
        return (s.job != s.request + 1) | (s.job > 0)

    assert run("prove", "toy", "--map").exit_code == 0
    more = changed(TOY, lemmas=(*TOY.lemmas, jobs_are_numbered))
    monkeypatch.setattr(vtpm_model.catalog, "SYSTEMS", {"toy": more})
    assert run("prove", "toy").exit_code == 0
    said = run("prove", "toy", "--map")
    assert said.exit_code == 1
    assert "LEMMA THAT NO FACT RESTS ON: jobs_are_numbered" in said.stdout


def test_a_model_that_cannot_be_read_falls_short(monkeypatch: pytest.MonkeyPatch) -> None:
    @action(by=Actor.XEN)
    def xen_looks_up(s: Any) -> Any:
        """In a dict."""
        return {0: s}[s.request]

    monkeypatch.setattr(vtpm_model.catalog, "SYSTEMS", {"toy": TOY.variant("odd", doc="", added=(xen_looks_up,))})
    said = run("prove")
    assert said.exit_code == 1
    assert "hash() of the unknown |request|" in said.stderr


def test_costs_are_recorded_and_a_proof_that_became_dear_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "limits.json"
    monkeypatch.setattr(limits, "MANIFEST", manifest)
    assert run("record", "--only", "costs").exit_code == 0
    recorded = json.loads(manifest.read_text())
    assert {solver: set(systems) for solver, systems in recorded["costs"].items()} == {
        "z3": set(SYSTEMS),
        "cvc5": set(SYSTEMS),
    }
    assert "dearer than recorded" not in run("prove", "--no-cache").stdout
    monkeypatch.setattr(limits, "FLOOR", 0)
    cheap = {name: dict.fromkeys(facts, 10) for name, facts in recorded["costs"]["z3"].items()}
    manifest.write_text(json.dumps(recorded | {"costs": {"z3": cheap}}))
    said = run("prove", "--no-cache", "--depth", "0")
    assert "dearer than recorded" in said.stdout
    assert said.exit_code == 1  # beyond the ceiling nothing is known


# --------------------------------------------------------------------------------------------------- list, explain


def test_the_list_names_systems_and_variants() -> None:
    document = json.loads(run("list", "--json").stdout)
    assert [one["name"] for one in document["systems"]] == list(SYSTEMS)
    assert [one["name"] for one in document["variants"]] == list(VARIANTS)
    assert "toy+keeps-its-job" in run("list").stdout


def test_the_list_of_a_system_names_what_it_consists_of() -> None:
    document = json.loads(run("list", "toy", "--json").stdout)
    assert [one["name"] for one in document["lemmas"]] == [one.name for one in TOY.lemmas]
    assert [one["name"] for one in document["actions"]] == [one.name for one in TOY.actions]
    kinds = {one["name"]: one["kind"] for one in document["facts"]}
    assert kinds["every_request_is_answered"] == "liveness"
    assert kinds["each_side_writes_its_own_bytes"] == "step"
    assert "frontend_cancels" in run("list", "toy").stdout


def test_a_fact_is_explained_with_what_it_rests_on_and_what_it_catches(monkeypatch: pytest.MonkeyPatch) -> None:
    assumed = Assumption("A1", "Events arrive.", "Xen sends them.", facts=("no_wakeup_is_lost",))
    other = Assumption("A2", "Pages stay.", "Xen keeps them.", facts=("E1",))
    reading = Reading("E12", "Whoever waits is woken.", "Nobody is awake for ever.")
    monkeypatch.setattr(vtpm_model.assumptions, "ASSUMPTIONS", (assumed, other))
    monkeypatch.setattr(vtpm_model.assumptions, "READINGS", (reading,))
    document = json.loads(run("explain", "no_wakeup_is_lost", "--json").stdout)
    assert document["says"] == "While somebody waits, somebody will be woken."
    assert document["covers"] == "E12"
    assert "nothing_is_answered_unmapped" in document["lemmas"]
    assert {"waiting_means_up", "an_epoch_is_counted"} <= set(document["rests_on"])
    assert [one["id"] for one in document["assumptions"]] == ["A1"]
    assert [one["row"] for one in document["readings"]] == ["E12"]
    assert document["catches"] == ["toy+tells-nobody"]
    text = run("explain", "toy.no_wakeup_is_lost").stdout
    for word in ("While somebody waits", "nothing_is_answered_unmapped", "A1: Events arrive.", "toy+tells-nobody"):
        assert word in text
    assert re.search(r"toy_ring\.py:\d+", text)


def test_a_liveness_claim_is_explained() -> None:
    document = json.loads(run("explain", "every_request_is_answered", "--json").stdout)
    assert document["kind"] == "liveness"
    assert document["also_in"] == ["toy.other"]
    assert "toy+asks-again" in document["catches"]


# -------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("name", ["prove", "list", "explain"])
def test_help_shows_an_example(name: str) -> None:
    said = run(name, "--help")
    assert said.exit_code == 0
    assert f"Example: vtpmspec {name}" in said.stdout


def test_only_what_exists_is_a_sub_command() -> None:
    assert "prove" in SUB_COMMANDS
    assert run("improve").exit_code == 2
