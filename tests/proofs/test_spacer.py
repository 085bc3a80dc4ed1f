"""The second proof: Spacer finds invariants without the lemmas, none is taken on trust, and a mistake is not proved."""

import json
from dataclasses import replace as changed
from pathlib import Path

import pytest
from tests.proofs.toy_mistakes import KEEPS_ITS_JOB, TELLS_NOBODY
from tests.proofs.toy_ring import TOY, waiting_means_up

from vtpm_proofs import spacer, terms
from vtpm_proofs.spacer import NOT_ATTEMPTED, SAFE, UNDECIDED, UNSAFE, prove_again
from vtpm_proofs.system import System


@pytest.fixture(autouse=True)
def nothing_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "undecided.json"
    monkeypatch.setattr(spacer, "REASONS", path)
    return path


def test_every_fact_of_the_toy_is_proved_again_and_its_invariant_confirmed() -> None:
    found = list(prove_again(TOY))
    assert {one.verdict for one in found} == {SAFE}, found
    assert {one.fact for one in found} == {fact.name for fact in TOY.facts}
    assert all(one.checks > len(TOY.actions) for one in found)


@pytest.mark.parametrize(
    ("spec", "fact"), [(KEEPS_ITS_JOB, "an_answer_stays_in_its_connection"), (TELLS_NOBODY, "no_wakeup_is_lost")]
)
def test_a_mistake_is_never_proved(spec: object, fact: str) -> None:
    (one,) = prove_again(spec, {fact})  # type: ignore[arg-type]
    assert one.verdict in (UNSAFE, UNDECIDED)
    assert one.reason


def test_an_invariant_that_is_not_inductive_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spacer._Question, "confirmed", lambda *_: None)
    (one,) = prove_again(TOY, {"no_wakeup_is_lost"})
    assert (one.verdict, one.reason) == (UNDECIDED, "its invariant could not be confirmed")


def test_what_confirms_an_invariant_refuses_a_wrong_one() -> None:
    import z3

    attempt = spacer._Attempt(TOY)
    question = attempt.question(attempt.fields, list(attempt.claims(TOY.facts[0])))
    assert question.confirmed(z3.BoolVal(True)) is None  # does not imply the fact
    assert question.confirmed(z3.BoolVal(False)) is None  # does not hold at the start
    assert question.confirmed(z3.Not(z3.Bool("up"))) is None  # is not kept


def test_a_place_that_the_lemmas_do_not_rule_out_is_shown_unreachable() -> None:
    """Without the lemma that says so, nobody waits who is not up; what is reachable is not shown unreachable."""
    fewer = changed(TOY, lemmas=tuple(one for one in TOY.lemmas if one is not waiting_means_up))
    system = System(fewer)
    waiting, up = terms.variable("waiting", terms.BOOL), terms.variable("up", terms.BOOL)
    assert spacer.never(system, (waiting, terms.negation(up)))
    assert not spacer.never(system, (waiting, up))


def test_a_fact_known_as_too_hard_is_not_attempted_unless_all_are(nothing_undecided: Path) -> None:
    nothing_undecided.write_text(json.dumps({"facts": {"toy.no_wakeup_is_lost": "nothing within an hour"}}))
    (one,) = prove_again(TOY, {"no_wakeup_is_lost"})
    assert (one.verdict, one.reason) == (NOT_ATTEMPTED, "nothing within an hour")
    (one,) = prove_again(TOY, {"no_wakeup_is_lost"}, everything=True)
    assert one.verdict == SAFE
