"""Mutants of the small ring: each fate is met, for the right reason, and what is claimed of it can be replayed."""

import json
from dataclasses import replace as changed
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.proofs.toy_mistakes import KEEPS_ITS_JOB
from tests.proofs.toy_ring import FRONTEND, TOY, Toy, a_job_is_of_the_mapping, no_wakeup_is_lost

from vtpm_model.core import Actor, Disabled, Spec, action, always, implies, negate, replace, require
from vtpm_proofs import campaign, pins
from vtpm_proofs.campaign import Campaign, run
from vtpm_proofs.distinguish import tells_apart
from vtpm_proofs.explore import replay
from vtpm_proofs.kills import Killer
from vtpm_proofs.mutants import INDUCTION, LIVENESS, MISTAKE, SURVIVES, TRACE, Mutated, Verdict, mutations_of


@cache
def judged() -> Campaign:
    return run({"toy": TOY}, VARIANTS, jobs=1)


def verdict(name: str) -> Verdict:
    (found,) = [v for v in judged().verdicts if v.name == f"toy_ring.{name}"]
    return found


VARIANTS = {KEEPS_ITS_JOB.name: KEEPS_ITS_JOB}


def known(found: Campaign) -> list[tuple[str, str, str]]:
    return [(v.id, v.fate, v.by) for v in found.verdicts]


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
    told = 0
    kinds = {(False, True): "allows more", (True, False): "allows less", (True, True): "does other"}
    for mutation in mutations_of(TOY):
        found = mutated.told(mutation)
        if not found.run:
            continue
        told += 1
        *_, before = replay(TOY, found.run[:-1])
        last = found.run[-1]
        outcomes = []
        for one in (TOY.action(last.action), mutated.changes(mutation)[last.action]):
            try:
                outcomes.append(one(before, **last.picks))
            except Disabled:
                outcomes.append(None)
        assert outcomes[0] != outcomes[1]
        assert found.kind == kinds[outcomes[0] is not None, outcomes[1] is not None]
    assert told > 80


def test_what_killed_a_mutant_kills_it_again_and_nothing_else_is_believed() -> None:
    kills = judged().kills()
    again = run({"toy": TOY}, VARIANTS, kills=kills, jobs=1)
    assert known(again) == known(judged())
    assert set(again.soles) == set(judged().soles)
    by_proof = sum(killer.method in (INDUCTION, LIVENESS) for killer in kills.mutants.values())
    assert again.again == by_proof > 40
    lies = {name: Killer(INDUCTION, "toy", "frontend_submits", "no_wakeup_is_lost") for name in kills.mutants}
    doubted = run({"toy": TOY}, VARIANTS, kills=changed(kills, mutants=lies), jobs=1)
    assert {v.id: v.fate for v in doubted.verdicts} == {v.id: v.fate for v in judged().verdicts}


def test_a_trace_that_names_a_mutant_kills_it_only_if_it_tells_it_from_the_model() -> None:
    made = pins.make({"toy": TOY})
    survivors = {v.id for v in judged().verdicts if v.fate == SURVIVES}
    assert survivors <= {pins.id_of(pin) for pin in made.unpinned}
    pinned = {pins.id_of(pin): [trace] for trace in made.traces for pin in trace.pins}
    quick = run({"toy": TOY}, VARIANTS, kills=judged().kills(), pinned=pinned, jobs=1)
    assert quick.again == len(quick.verdicts) - quick.count().get(SURVIVES, 0)
    first = next(trace for trace in made.traces if trace.pins)
    stubborn = next(mutation for mutation in mutations_of(TOY) if f"toy/{mutation.name}" not in str(first.pins))
    mutated = Mutated(TOY)
    assert (mutated.told_by(stubborn, [first]) is None) != tells_apart(TOY, first, mutated.changes(stubborn))


def in_order(s: Toy) -> bool:
    return (s.job <= s.request) & (s.job <= s.request + 1)


@always()
def a_job_was_asked_for(s: Toy) -> bool:
    """Said twice, the second time more loosely."""
    return implies(s.busy, in_order(s))


@action(by=Actor.BACKEND, owed=True)
def backend_wakes(s: Toy) -> Toy:
    """Takes up what nobody has asked for yet."""
    require(s.to_backend)
    require(s.mapped != 0)
    return replace(s, to_backend=False, busy=True, job=s.request + 1, job_epoch=s.mapped)


SAID: Spec[Any] = changed(TOY, name="said", facts=(*TOY.facts, a_job_was_asked_for))
HASTY: Spec[Any] = SAID.variant("hasty", doc="The backend runs ahead.", replaced=(backend_wakes,))


def test_a_mistake_in_what_only_facts_use_makes_a_proof_fail_lets_a_mistake_pass_or_is_equivalent() -> None:
    found = run({"said": SAID}, {HASTY.name: HASTY}, jobs=1)
    own = {v.name.partition(": ")[2]: v.fate for v in found.verdicts if "in_order" in v.name}
    whole = "(s.job <= s.request) & (s.job <= s.request + 1)"
    assert own == {
        "takes s.job <= s.request for s.job < s.request": INDUCTION,
        f"leaves s.job <= s.request out of {whole}": MISTAKE,
        f"leaves s.job <= s.request + 1 out of {whole}": SURVIVES,
        "takes s.job <= s.request + 1 for s.job < s.request + 1": SURVIVES,
        "takes s.request for s.request + 1": SURVIVES,
    }
    equivalent = [line for line in found.complaints if "is equivalent" in line and "in_order" in line]
    assert len(equivalent) == 3
    again = run({"said": SAID}, {HASTY.name: HASTY}, kills=found.kills(), jobs=1)
    assert known(again) == known(found)
    assert again.again > found.again


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
    assert known(run({"toy": TOY}, jobs=2)) == known(judged())


def test_a_system_without_its_lemma_has_more_survivors_to_prove() -> None:
    """Equivalence is shown from facts and lemmas: without a lemma the proof fails, and that is what is said."""
    fewer = changed(TOY, lemmas=tuple(one for one in TOY.lemmas if one is not a_job_is_of_the_mapping))
    told = {v.name for v in judged().verdicts if v.fate == SURVIVES}
    mutated = Mutated(fewer)
    found = [mutated.noticed(m).fate for m in mutations_of(fewer) if m.name in told]
    assert found
    assert set(found) <= {SURVIVES, INDUCTION, LIVENESS}
