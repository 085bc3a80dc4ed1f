"""What goes wrong without each barrier, step by step, and that it cannot with the barrier in its place."""

from __future__ import annotations

import pytest
from tests.model.scenario import Steps, play

from vtpm_model.core import Disabled, Spec
from vtpm_model.order import DEFECTS, FINISH, ORDER, ORDER_TSO, Asking, State

READS_REQUEST = "who_loads_submit_reads_the_request_stored_before_it"
READS_ANSWER = "who_loads_finish_reads_the_answer_stored_before_it"
REQUEST_EVENT = "a_request_that_is_seen_has_an_event_on_its_way"
ANSWER_EVENT = "an_answer_that_is_seen_has_an_event_on_its_way"


def steps(text: str) -> Steps:
    return [(name, {}) for name in text.split()]


SUBMIT_SEEN = "frontend_stores_the_request request_is_seen frontend_waits_for_its_request frontend_arms " + (
    "frontend_stores_submit submit_is_seen "
)
ASKED = SUBMIT_SEEN + "frontend_waits_for_submit frontend_sends_the_event "
READ = "backend_takes_an_event backend_drops_early_loads backend_reads_the_request "
STORED = READ + "backend_stores_the_answer answer_is_seen backend_waits_for_its_answer backend_stores_finish "
ANSWERED = STORED + "finish_is_seen backend_waits_for_finish backend_sends_the_event "
TAKEN = "frontend_takes_an_event frontend_looks frontend_drops_early_loads frontend_reads_the_answer "
SPURIOUS = "xen_raises_the_frontends_event "

OVERTAKEN = "frontend_stores_the_request frontend_waits_for_its_request frontend_arms frontend_stores_submit " + (
    "submit_is_seen "
)

RUNS: dict[str, tuple[str, str]] = {
    # SUBMIT overtakes the data, and an old event makes the backend look at once.
    "frontend-data": (
        OVERTAKEN + "xen_raises_the_backends_event " + READ,
        READS_REQUEST,
    ),
    # The event overtakes SUBMIT: the backend looks too early, and nobody calls it again.
    "frontend-event": (
        "frontend_stores_the_request request_is_seen frontend_waits_for_its_request frontend_arms "
        "frontend_stores_submit frontend_waits_for_submit frontend_sends_the_event backend_takes_an_event "
        "submit_is_seen",
        REQUEST_EVENT,
    ),
    "frontend-load": (
        ASKED + READ + "frontend_loads_early backend_stores_the_answer answer_is_seen backend_waits_for_its_answer "
        "backend_stores_finish finish_is_seen " + SPURIOUS + TAKEN,
        READS_ANSWER,
    ),
    "backend-data": (
        ASKED + READ + "backend_stores_the_answer backend_waits_for_its_answer backend_stores_finish finish_is_seen "
        + SPURIOUS + TAKEN,
        READS_ANSWER,
    ),
    "backend-event": (
        ASKED + STORED + "backend_waits_for_finish backend_sends_the_event frontend_takes_an_event frontend_looks "
        "finish_is_seen",
        ANSWER_EVENT,
    ),
    "backend-load": ("backend_loads_early " + ASKED + READ, READS_REQUEST),
    # The answer's event comes while the frontend ignores events; then it arms and sleeps.
    "r10": (
        SUBMIT_SEEN + "frontend_waits_for_submit xen_raises_the_backends_event " + ANSWERED
        + "frontend_takes_an_event frontend_sends_the_event",
        ANSWER_EVENT,
    ),
    "tso.r10": (
        SUBMIT_SEEN + "frontend_waits_for_submit xen_raises_the_backends_event " + ANSWERED
        + "frontend_takes_an_event frontend_sends_the_event",
        ANSWER_EVENT,
    ),
    "tso.frontend-data": (
        OVERTAKEN + "xen_raises_the_backends_event " + READ,
        READS_REQUEST,
    ),
    "tso.backend-data": (
        ASKED + READ + "backend_stores_the_answer backend_waits_for_its_answer backend_stores_finish finish_is_seen "
        + SPURIOUS + TAKEN,
        READS_ANSWER,
    ),
}  # fmt: skip


def base_of(name: str) -> Spec[State]:
    return ORDER_TSO if name.startswith("tso.") else ORDER


def last_facts(spec: Spec[State], text: str) -> set[str]:
    """The facts that the last step broke; earlier ones break lemmas at most."""
    bare = Spec(spec.name, spec.doc, spec.state, spec.init, spec.actions, spec.facts)
    return play(bare, steps(text))[1]


@pytest.mark.parametrize("name", RUNS)
def test_without_its_barrier_the_claim_fails(name: str) -> None:
    text, fact = RUNS[name]
    assert last_facts(DEFECTS[name], text) == {fact}


@pytest.mark.parametrize("name", RUNS)
def test_with_the_barrier_the_same_run_is_impossible_or_harmless(name: str) -> None:
    text, _ = RUNS[name]
    try:
        assert last_facts(base_of(name), text) == set()
    except Disabled:
        pass
    else:
        assert name in ("frontend-load", "backend-load", "r10", "tso.r10")


def test_every_barrier_has_a_run() -> None:
    assert set(RUNS) == set(DEFECTS)


@pytest.mark.parametrize("spec", [ORDER, ORDER_TSO], ids=lambda spec: spec.name)
def test_two_requests_and_their_answers(spec: Spec[State]) -> None:
    once = ASKED + ANSWERED + TAKEN
    state, found = play(spec, steps(once + once))
    assert not found
    assert (state.asking, state.request, state.word) == (Asking.RESTING, 2, FINISH)
    assert (state.reply.number, state.reply.answer) == (2, True)


@pytest.mark.parametrize("spec", [ORDER, ORDER_TSO], ids=lambda spec: spec.name)
def test_a_frontend_may_ask_again_before_the_backend_has_sent_its_event(spec: Spec[State]) -> None:
    first = ASKED + STORED + "finish_is_seen " + SPURIOUS + TAKEN
    second = ASKED + "backend_waits_for_finish backend_sends_the_event " + READ
    state, found = play(spec, steps(first + second))
    assert not found
    assert (state.job.number, state.job.answer) == (2, False)


def test_x86_needs_no_barrier_but_cannot_do_without_the_order_of_the_program() -> None:
    assert not {"frontend_loads_early", "backend_loads_early"} & {action.name for action in ORDER_TSO.actions}
    with pytest.raises(Disabled):
        play(ORDER_TSO, steps(RUNS["tso.frontend-data"][0]))


def test_facts_name_their_rows_and_sources() -> None:
    assert {row for fact in ORDER.facts for row in fact.covers} == {"N2", "E12"}
    assert all(fact.cites for fact in ORDER.facts)
    assert all(action.cites for action in (*ORDER.actions, *ORDER_TSO.actions))
