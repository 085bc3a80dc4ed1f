"""What the shared page looks like, and that each known mistake about its bounds breaks a claim in a run."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model.scenario import Steps, play, possible, stuck

from vtpm_model.core import Actor, wrap
from vtpm_model.page import (
    DEFECTS,
    FRAME,
    HEADER,
    LAYOUT,
    PAGE,
    RESTING,
    TPM_HEADER,
    capacity,
    data_offset,
    reply_fits,
    request_fits,
)

U32 = st.integers(0, 0xFFFF_FFFF)
U8 = st.integers(0, 0xFF)


def test_the_header_is_a_table_without_gaps() -> None:
    at = 0
    for field in LAYOUT:
        assert field.offset == at, field
        at += field.width
    assert at == HEADER == struct.calcsize("<IBBBB")


def test_who_writes_what() -> None:
    assert {field.name for field in LAYOUT if Actor.BACKEND in field.writers} == {"length", "state"}
    assert {field.name for field in LAYOUT if not field.writers} == {"pad"}


@pytest.mark.parametrize(("extra", "offset", "room"), [(0, 8, 4088), (1, 12, 4084), (255, 1028, 3068)])
def test_the_numbers_that_others_state(extra: int, offset: int, room: int) -> None:
    assert (data_offset(extra), capacity(extra)) == (offset, room)
    assert request_fits(extra, room)
    assert not request_fits(extra, room + 1)
    assert reply_fits(extra, room)
    assert not reply_fits(extra, room + 1)


def test_a_reply_is_at_least_a_tpm_header() -> None:
    assert reply_fits(0, TPM_HEADER)
    assert not reply_fits(0, TPM_HEADER - 1)
    assert request_fits(0, 0)


@given(extra=U8, length=U32)
def test_fitting_means_that_every_byte_lies_in_the_frame(extra: int, length: int) -> None:
    assert request_fits(extra, length) == (8 + 4 * extra + length <= FRAME)
    assert reply_fits(extra, length) == (length >= 10 and 8 + 4 * extra + length <= FRAME)


@given(extra=U8, length=U32)
def test_the_wrapped_check_errs_on_exactly_the_lengths_that_wrap(extra: int, length: int) -> None:
    passes = wrap(data_offset(extra) + length, 32) <= FRAME
    assert (passes and not request_fits(extra, length)) == (length >= 2**32 - data_offset(extra))


def test_the_first_length_that_wraps() -> None:
    assert 2**32 - data_offset(0) == 0xFFFF_FFF8
    assert 2**32 - data_offset(255) == 0xFFFF_FBFC


def asks(length: int, extra: int = 0) -> Steps:
    return [("frontend_stores_a_header", {"length": length, "extra": extra, "asked": True})]


TAKES: Steps = [("backend_takes_the_header", {})]
COPIES: Steps = [("backend_copies_the_request", {})]
REPLIES: Steps = [("backend_replies", {})]


def answers(length: int) -> Steps:
    return [("engine_answers", {"length": length})]


SERVED = asks(10) + TAKES + COPIES

RUNS: dict[str, tuple[Steps, str]] = {
    "r12": (asks(0xFFFF_FFF8) + TAKES + COPIES, "the_backend_reads_requests_only_inside_the_frame"),
    "r13": (SERVED + answers(10) + asks(10, 255) + REPLIES, "the_reply_begins_where_the_request_began"),
    "r14-empty": (asks(0) + TAKES + COPIES + answers(0) + REPLIES, "every_reply_is_a_packet_that_fits"),
    "q5": (SERVED + answers(4089) + REPLIES, "the_backend_touches_the_header_only_to_publish_a_reply"),
    "q20-64k": ([("frontend_sends", {"length": 4096})], "the_frontend_writes_requests_only_inside_the_frame"),
    "q20-32bit": (
        [
            ("frontend_stores_a_header", {"length": 0xFFFF_FFF8, "extra": 0, "asked": False}),
            ("frontend_reads", {}),
        ],
        "the_frontend_reads_replies_only_inside_the_frame",
    ),
    "double-fetch": (asks(10) + TAKES + asks(5000) + COPIES, "the_backend_reads_requests_only_inside_the_frame"),
    "whole-buffer": (SERVED + answers(10) + REPLIES, "the_backend_writes_exactly_the_bytes_that_it_publishes"),
    "stale-extra": (asks(10, 1) + TAKES, "the_snapshot_is_taken_once_a_request"),
    "constant-offset": (
        asks(10, 1) + TAKES + COPIES + answers(10) + REPLIES,
        "the_reply_begins_where_the_request_began",
    ),
    "length-at-refusal": (
        asks(4089) + TAKES + [("backend_refuses_the_request", {})],
        "the_backend_touches_the_header_only_to_publish_a_reply",
    ),
}

STUCK: dict[str, Steps] = {
    "r11": asks(4089) + TAKES,
    "i6": SERVED + answers(3069) + asks(10, 255),
    "i16": SERVED + answers(4089),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_mistake_breaks_its_claim_and_the_true_model_does_not(name: str) -> None:
    steps, fact = RUNS[name]
    _, found = play(DEFECTS[name], steps)
    assert fact in found
    last, picks = steps[-1]
    before, _ = play(PAGE, steps[:-1])
    if possible(PAGE, before, last, **picks):
        _, found = play(PAGE, steps)
        assert not found


@pytest.mark.parametrize("name", STUCK)
def test_a_mistake_leaves_a_request_without_end_and_the_true_model_does_not(name: str) -> None:
    state, found = play(DEFECTS[name], STUCK[name])
    assert not found
    assert stuck(DEFECTS[name], state) == {"every_request_comes_to_an_end"}
    state, _ = play(PAGE, STUCK[name])
    assert stuck(PAGE, state) == set()


def test_every_mistake_has_a_run() -> None:
    assert set(DEFECTS) == set(RUNS) | set(STUCK)


def test_a_request_and_its_reply() -> None:
    steps = [("frontend_sends", {"length": 10}), *TAKES, *COPIES, *answers(4088), *REPLIES]
    state, found = play(PAGE, [*steps, ("frontend_reads", {})])
    assert not found
    assert (state.phase, state.asked, state.page.length) == (RESTING, False, 4088)
    assert (state.stored.first, state.stored.end) == (state.read.first, state.read.end) == (8, 4096)


def test_an_answer_that_does_not_fit_becomes_an_error() -> None:
    state, found = play(PAGE, SERVED + answers(4089) + asks(10, 255) + REPLIES)
    assert not found
    assert (state.page.length, state.page.extra, state.stored.first) == (TPM_HEADER, 255, 8)


def test_facts_speak_of_the_rows_of_the_page() -> None:
    assert {row for fact in PAGE.facts for row in fact.covers} >= {"E6", "E7", "E8", "E21", "N3"}
    assert all(fact.cites for fact in PAGE.facts)
