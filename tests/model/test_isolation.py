"""Stories of two frontends of one backend: neither sees, delays or stops the other."""

from __future__ import annotations

from tests.model.scenario import Steps, play, possible

from vtpm_model.isolation import ISOLATION, NOBODY, X, Y

BOTH: Steps = [("backend_maps", {"who": X, "address": 1}), ("backend_maps", {"who": Y, "address": 2})]


def test_an_answer_to_a_frontend_that_left_reaches_nobody_although_its_address_is_taken_again() -> None:
    story: Steps = [
        ("backend_maps", {"who": X, "address": 1}),
        ("frontend_asks", {"who": X, "others": 0}),
        ("backend_serves", {"who": X, "malformed": False}),
        ("backend_unmaps", {"who": X}),
        ("backend_maps", {"who": Y, "address": 1}),
        ("backend_answers", {}),
    ]
    state, broken = play(ISOLATION, story)
    assert not broken
    assert (state.x.content, state.y.content) == (NOBODY, NOBODY)


def test_whoever_has_just_been_served_waits_behind_the_other() -> None:
    ask: Steps = [("frontend_asks", {"who": X, "others": 0}), ("frontend_asks", {"who": Y, "others": 0})]
    serve_x: Steps = [("backend_serves", {"who": X, "malformed": False}), ("backend_answers", {})]
    state, broken = play(ISOLATION, [*BOTH, *ask, *serve_x, ("frontend_asks", {"who": X, "others": 0})])
    assert not broken
    assert not possible(ISOLATION, state, "backend_serves", who=X, malformed=False)
    assert possible(ISOLATION, state, "backend_serves", who=Y, malformed=False)


def test_a_malformed_request_costs_the_other_frontend_one_turn() -> None:
    story: Steps = [
        *BOTH,
        ("frontend_asks", {"who": X, "others": 0}),
        ("backend_serves", {"who": X, "malformed": True}),
        ("frontend_asks", {"who": Y, "others": 0}),
    ]
    state, broken = play(ISOLATION, story)
    assert not broken
    assert possible(ISOLATION, state, "backend_serves", who=Y, malformed=False)
    assert state.up


def test_no_address_is_given_to_two_pages() -> None:
    state, _ = play(ISOLATION, BOTH[:1])
    assert not possible(ISOLATION, state, "backend_maps", who=Y, address=1)
