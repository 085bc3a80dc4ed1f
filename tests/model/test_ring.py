"""Stories of one request over the ring: what may happen, and what it leaves behind."""

from __future__ import annotations

import pytest
from tests.model.scenario import Steps, play, possible

from vtpm_model.ring import CANCEL, FINISH, IDLE, RING, SUBMIT

CONNECT: Steps = [("frontend_connects", {}), ("backend_connects", {})]
ASK: Steps = [("frontend_submits", {"length": 10, "extra": 0}), ("frontend_notifies", {})]
SERVE: Steps = [("backend_wakes", {}), ("backend_fetches", {"permitted": True})]
ANSWER: Steps = [("backend_finishes", {"reply": 30}), ("backend_notifies", {})]
TAKE: Steps = [("frontend_wakes", {}), ("frontend_looks", {"header": 30})]


def test_a_request_is_answered_and_delivered() -> None:
    state, broken = play(RING, [*CONNECT, *ASK, *SERVE, *ANSWER, *TAKE])
    assert not broken
    assert (state.page.state, state.page.length, state.delivered, state.waiting) == (FINISH, 30, 1, False)


def test_a_request_that_was_there_before_the_backend_is_served_because_binding_raises_the_event() -> None:
    early: Steps = [("frontend_connects", {}), *ASK, ("backend_connects", {})]
    state, broken = play(RING, [*early, *SERVE, *ANSWER, *TAKE])
    assert not broken
    assert state.delivered == 1


def test_an_event_to_a_port_that_nobody_has_bound_is_lost() -> None:
    state, _ = play(RING, [("frontend_connects", {}), *ASK])
    assert not state.to_backend


def test_a_cancel_before_the_fetch_drops_the_request_unexecuted() -> None:
    cancel: Steps = [("frontend_times_out", {}), ("frontend_cancels", {}), ("frontend_notifies", {})]
    acknowledge: Steps = [
        ("backend_wakes", {}),
        ("backend_acknowledges_cancel", {}),
        ("backend_notifies", {}),
        ("frontend_wakes", {}),
        ("frontend_looks", {"header": 0}),
    ]
    state, broken = play(RING, [*CONNECT, *ASK, *cancel, *acknowledge])
    assert not broken
    assert (state.page.state, state.commands, state.delivered, state.waiting) == (IDLE, 0, 0, False)


def test_a_cancel_that_lands_on_the_answer_destroys_it() -> None:
    late: Steps = [*ASK, *SERVE, ("frontend_times_out", {}), *ANSWER, ("frontend_cancels", {})]
    state, broken = play(RING, [*CONNECT, *late])
    assert not broken
    assert (state.page.state, state.commands, state.delivered) == (CANCEL, 1, 0)


def test_an_answer_to_a_request_of_a_closed_connection_is_dropped() -> None:
    gone: Steps = [("frontend_leaves", {}), ("backend_disconnects", {}), *CONNECT, *ASK]
    state, broken = play(RING, [*CONNECT, *ASK, *SERVE, *gone, ("backend_drops_stale_answer", {})])
    assert not broken
    assert (state.page.state, state.page.answer) == (SUBMIT, 0)
    assert not possible(RING, state, "backend_finishes", reply=30)


@pytest.mark.parametrize("length", [4089, 4096, 0xFFFF_FFFF])
def test_a_frontend_that_keeps_the_rules_submits_no_more_than_the_page_holds(length: int) -> None:
    state, _ = play(RING, CONNECT)
    assert not possible(RING, state, "frontend_submits", length=length, extra=0)


@pytest.mark.parametrize(("reply", "written"), [(9, 10), (10, 10), (4088, 4088), (4089, 10)])
def test_a_reply_that_cannot_be_delivered_becomes_an_error(reply: int, written: int) -> None:
    state, broken = play(RING, [*CONNECT, *ASK, *SERVE, ("backend_finishes", {"reply": reply})])
    assert not broken
    assert state.page.length == written


def test_a_locality_that_is_not_permitted_is_refused_without_the_engine() -> None:
    state, _ = play(RING, [*CONNECT, *ASK, ("backend_wakes", {})])
    assert not possible(RING, state, "backend_fetches", permitted=False)
    state, broken = play(
        RING,
        [*CONNECT, *ASK, ("backend_wakes", {}), ("backend_refuses_request", {"permitted": False, "with_error": True})],
    )
    assert not broken
    assert (state.page.state, state.commands) == (FINISH, 0)
