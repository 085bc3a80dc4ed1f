"""Mutants of the small ring: each fate is met, for the right reason, and what is claimed of it can be replayed."""

import json
from dataclasses import replace as changed
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.proofs.toy_mistakes import KEEPS_ITS_JOB
from tests.proofs.toy_ring import FRONTEND, TOY, Toy, a_job_is_of_the_mapping, no_wakeup_is_lost

from vtpm_model.core import Disabled, Spec, action, always, negate, replace, require
from vtpm_proofs import campaign
from vtpm_proofs.campaign import Campaign, distinguishing, run
from vtpm_proofs.explore import replay
from vtpm_proofs.mutants import INDUCTION, LIVENESS, SURVIVES, TRACE, Mutated, Verdict, mutations_of


@cache
def judged() -> Campaign:
    return run({"toy": TOY}, {KEEPS_ITS_JOB.name: KEEPS_ITS_JOB}, jobs=1)


def verdict(name: str) -> Verdict:
    (found,) = [v for v in judged().verdicts if v.name == f"toy_ring.{name}"]
    return found


@pytest.fixture(autouse=True)
def no_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "equivalent.json"
    monkeypatch.setattr(campaign, "EXPLAINED", path)
    return path


def test_a_mistake_that_breaks_a_fact_is_killed_by_induction() -> None:
    found = verdict("backend_finishes: does not set to_frontend to True")
    assert (found.fate, found.by) == (INDUCTION, "no_wakeup_is_lost")


def test_a_mistake_that_only_ends_progress_is_killed_by_liveness() -> None:
    found = verdict("frontend_cancels: does not set cancelled to True")
    assert (found.fate, found.by) == (LIVENESS, "every_request_is_answered")


def test_a_mistake_that_no_fact_minds_is_told_by_a_run() -> None:
    found = verdict("backend_wakes: no longer requires s.to_backend")
    assert (found.fate, found.kind) == (TRACE, "allows more")


def test_a_guard_that_others_imply_survives_and_is_shown_equivalent() -> None:
    """Nobody is cancelling who does not wait, so `cancelling` is needed only where waiting is not asked for."""
    fates = judged().count()
    assert fates[SURVIVES] <= 3
    assert set(fates) <= {INDUCTION, LIVENESS, TRACE, SURVIVES, "reachability"}
    assert len(judged().verdicts) > 80


def test_every_run_tells_the_mutant_from_the_model() -> None:
    mutated = Mutated(TOY)
    mutations = {mutation.name: mutation for mutation in mutations_of(TOY)}
    told = 0
    for found in judged().verdicts:
        if not found.run:
            continue
        told += 1
        *_, before = replay(TOY, found.run[:-1])
        last = found.run[-1]
        action_changed = mutated.changes(mutations[found.name])[last.action]
        outcomes = []
        for one in (TOY.action(last.action), action_changed):
            try:
                outcomes.append(one(before, **last.picks))
            except Disabled:
                outcomes.append(None)
        assert outcomes[0] != outcomes[1]
        kinds = {(False, True): "allows more", (True, False): "allows less", (True, True): "does other"}
        assert found.kind == kinds[outcomes[0] is not None, outcomes[1] is not None]
    assert told > 80


def test_a_survivor_needs_a_reason_and_a_reason_a_survivor(no_reasons: Path) -> None:
    spec: Spec[Any] = TOY.variant("timid", doc="Asks for the same thing twice.", replaced=(frontend_crashes,))
    name = "timid/test_mutants.frontend_crashes: no longer requires negate(negate(s.up))"
    small = changed(spec, name="timid", actions=(frontend_crashes, *spec.actions[:5], *spec.actions[6:]))
    complaints = "\n".join(run({"timid": small}, jobs=1).complaints)
    assert f"{name} (require(negate(negate(s.up)))) is equivalent: remove what it changes, or say why" in complaints
    no_reasons.write_text(json.dumps({"mutants": {name: "It is said twice.", "timid/gone: x": "Was of use."}}))
    found = run({"timid": small}, jobs=1)
    assert name not in "\n".join(found.complaints)
    assert found.count()["equivalent"] == 1
    assert "timid/gone: x is no mutant any more; take its reason out of equivalent.json" in found.complaints


@action(by=FRONTEND)
def frontend_crashes(s: Toy) -> Toy:
    """Gone; it makes very sure that it was there."""
    require(s.up)
    require(negate(negate(s.up)))
    return replace(s, up=False, waiting=False, cancelling=False, cancelled=False)


def test_a_fact_that_kills_nothing_alone_is_told() -> None:
    @always()
    def nothing_is_said_twice(s: Toy) -> bool:
        """The same as another fact."""
        return no_wakeup_is_lost.holds(s)

    twice = changed(TOY, facts=(*TOY.facts, nothing_is_said_twice))
    found = run({"toy": twice}, jobs=1)
    lonely = {line.split()[1] for line in found.complaints if "kills no mutant alone" in line}
    assert {"no_wakeup_is_lost", "nothing_is_said_twice"} <= lonely
    derived = changed(nothing_is_said_twice, derived_from=("no_wakeup_is_lost",))
    found = run({"toy": changed(TOY, facts=(*TOY.facts, derived))}, jobs=1)
    assert not [line for line in found.complaints if "nothing_is_said_twice" in line or "no_wakeup" in line]
    wrong = changed(derived, derived_from=("each_side_writes_its_own_bytes",))
    found = run({"toy": changed(TOY, facts=(*TOY.facts, wrong))}, jobs=1)
    assert "toy: nothing_is_said_twice does not follow from each_side_writes_its_own_bytes" in "\n".join(
        found.complaints
    )


def test_facts_are_given_the_mutants_that_they_kill_alone() -> None:
    alone = {sole.fact: sole.mutant for sole in judged().soles}
    assert set(alone) == {fact.name for fact in TOY.facts} | {"every_request_is_answered"}
    assert alone["an_answer_stays_in_its_connection"] == "toy+keeps-its-job"
    assert alone["every_request_is_answered"] == "toy/toy_ring.frontend_cancels: does not set cancelled to True"
    assert [fact for fact, mutant in alone.items() if not mutant] == ["each_side_writes_its_own_bytes"]


def test_two_processes_find_what_one_finds() -> None:
    def known(found: Campaign) -> list[tuple[str, str, str]]:
        return [(v.id, v.fate, v.by) for v in found.verdicts]

    assert known(run({"toy": TOY}, jobs=2)) == known(judged())


def test_a_system_without_its_lemma_has_more_survivors_to_prove() -> None:
    """Equivalence is shown from facts and lemmas: without a lemma the proof fails, and that is what is said."""
    fewer = changed(TOY, lemmas=tuple(one for one in TOY.lemmas if one is not a_job_is_of_the_mapping))
    told = {v.name for v in judged().verdicts if v.fate == SURVIVES}
    mutated = Mutated(fewer)
    assert all(mutated.judge(m).fate in (SURVIVES, INDUCTION, LIVENESS) for m in mutations_of(fewer) if m.name in told)


def test_the_source_of_traces_gives_runs_that_replay() -> None:
    found = list(distinguishing({"toy": TOY}, jobs=1))
    assert {kind for *_, kind in found} == {"allows more", "allows less", "does other"}
    for _, pinned, steps, _ in found:
        assert pinned
        assert list(replay(TOY, steps[:-1]))
