"""What a sound frontend and backend owe beyond what mini-os and Linux do, and what holds ours to each of it: table E2x.

Rows of the published table (closes: rows of the invariants, races, interleavings and quirks), and three that its text
adds. Runs are those of `vtpmspec conform`; a planted defect is a copy of our end that breaks just this, and is found in
one of these runs; tests are what no run of the protocol can tell.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from tests.quality.ends import PLANTED

from vtpm_traces.conform.trial import kept_scripts

ROOT = Path(__file__).parents[2]


class Obligation(NamedTuple):
    """One row: who owes what, what it closes, and what holds our end to it."""

    end: str
    owes: str
    closes: tuple[str, ...]
    runs: tuple[str, ...] = ()
    planted: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


OBLIGATIONS = (
    # -------------------------------------------------------------------------------------------------- the backend
    Obligation(
        "backend",
        "A command in service knows its connection: the answer to one that is over is dropped, none starts in the next",
        ("E4", "E9", "E13", "E14", "i1", "i2", "i3"),
        ("reject/reconnect-in-service", "accept/destroy-while-serving", "reject/page-after-close"),
        ("a-stale-answer-goes-into-the-new-connection", "an-answer-is-written-although-the-page-is-unmapped"),
        ("tests/impl/xenbus/test_ends.py::test_either_side_may_be_killed_at_any_time",),
    ),
    Obligation(
        "backend",
        "Keys are read again whenever the frontend wants to be connected; others than the mapped ones connect anew",
        ("E19", "i4"),
        ("reject/missed-close", "reject/keys-change-while-connected"),
        ("new-keys-of-a-connected-frontend-are-ignored",),
        ("tests/impl/xenbus/test_ends.py::test_another_frontend_takes_over_from_one_that_went_without_a_word",),
    ),
    Obligation(
        "backend",
        "A request that does not fit is answered all the same",
        ("E10", "E11", "E17", "r11", "i5"),
        ("reject/request-length-4089", "reject/request-length-4096", "reject/extra-pages-255"),
        ("a-request-that-is-too-long-gets-no-answer", "a-length-is-believed", "extra-pages-are-not-counted"),
        ("tests/impl/ring/test_ring.py::test_a_length_that_does_not_fit_is_answered_and_harms_nothing",),
    ),
    Obligation(
        "backend",
        "Lengths are compared without a sum that wraps, and each field of the header is read once",
        ("E6", "E8", "r12"),
        (
            "reject/request-length-4294967295",
            "reject/request-length-4294967288",
            "reject/extra-pages-wrap",
            "reject/length-change-amid-fetching",
            "reject/both-change-amid-fetching",
        ),
        ("a-length-is-checked-by-a-sum-that-wraps",),
        ("tests/impl/ring/test_ring.py::test_the_header_of_a_request_and_of_an_answer_is_read_once",),
    ),
    Obligation(
        "backend",
        "What was cancelled before its fetch is not executed but becomes IDLE; FINISH is stored after the answer",
        ("E2", "r3", "r4", "B7"),
        ("accept/cancel-while-another-is-served", "accept/cancel-before-fetch", "accept/connect-and-close"),
        (
            "a-cancel-before-the-fetch-is-ignored",
            "a-cancelled-request-is-forgotten",
            "finish-is-stored-before-the-answer",
            "the-event-is-sent-before-finish",
        ),
        ("tests/impl/ring/test_ring.py::test_the_accesses_in_c_are_those_of_python",),
    ),
    Obligation(
        "backend",
        "The answer goes where the request was, whatever nr_extra_pages says by then",
        ("r13", "i6"),
        (
            "reject/extra-pages-change-in-service",
            "reject/extra-pages-change-before-a-long-answer",
            "reject/extra-pages-change-amid-answering",
        ),
        ("the-answer-goes-where-the-page-says-now", "the-room-for-an-answer-is-what-the-page-says-now"),
        ("tests/impl/ring/test_ring.py::test_the_answer_goes_where_the_request_was_although_the_header_was_changed",),
    ),
    Obligation(
        "backend",
        "Whoever has waited longest is served first; a request that is refused costs its frontend the turn",
        ("E16", "E17", "i13"),
        ("accept/three-frontends-in-turn", "reject/misbehaving-neighbour", "accept/three-frontends"),
        ("the-lowest-number-is-served-first", "events-of-the-second-device-are-lost"),
        (
            "tests/impl/xenbus/test_ends.py::test_nonsense_without_end_holds_up_nobody_else",
            "tests/impl/xenbus/test_ends.py::test_a_hostile_frontend_is_its_own_worst_enemy",
            "tests/traces/conform/test_turns.py::test_a_second_turn_while_another_waits_is_told",
        ),
    ),
    Obligation(
        "backend",
        "Asked to close by the toolstack, it goes to Closed at once",
        ("E24", "i8"),
        (
            "accept/detach",
            "accept/detach-and-attach-again",
            "reject/detach-amid-creating",
            "reject/device-not-online-before-start",
        ),
        ("the-toolstacks-request-to-close-is-unseen", "a-closed-device-is-opened-again-although-it-is-not-online"),
        (
            "tests/impl/xenbus/test_ends.py::test_a_device_is_detached_at_once",
            "tests/impl/xenbus/test_ends.py::test_a_command_in_service_does_not_hold_up_a_detach",
        ),
    ),
    Obligation(
        "backend",
        "A state is one digit, a key a decimal number, and a path exactly the device's",
        ("q2", "q3", "i7"),
        (
            "reject/frontend-state-zero-padded-closed",
            "reject/frontend-state-text",
            "reject/frontend-state-spaces",
            "reject/ring-ref-text",
            "reject/ring-ref-huge",
            "reject/node-below-state",
        ),
        (
            "a-state-is-any-number",
            "what-is-no-state-is-taken-for-another",
            "a-key-that-is-no-number-stops-the-backend",
            "a-key-of-more-than-32-bits-is-cut",
        ),
    ),
    Obligation(
        "backend",
        "A node that was removed is not written, not even where it goes between a look and a write",
        ("E24", "C3"),
        ("reject/nodes-removed-by-toolstack", "reject/nodes-removed-amid-closing"),
        ("a-removed-node-is-written-again",),
        ("tests/impl/xenbus/test_ends.py::test_nodes_that_go_away_end_the_device",),
    ),
    Obligation(
        "backend",
        "A request that was in the page before the port was bound is served",
        ("E12", "i11"),
        ("accept/request-before-bind", "accept/request-before-connected"),
        ("the-event-of-the-bind-is-taken-for-spurious", "the-backend-connects-only-to-a-connected-frontend"),
    ),
    # ------------------------------------------------------------------------------------------------- the frontend
    Obligation(
        "frontend",
        "Other keys are published only after the backend's InitWait or Closed; old ones are removed at a close",
        ("E19",),
        ("accept/opens-again-while-the-backend-closes", "accept/opens-again", "accept/backend-never-lets-go"),
        ("keys-are-published-anew-before-the-backend-has-let-go",),
        ("tests/impl/xenbus/test_obliged.py::test_a_connection_that_is_closed_leaves_no_keys",),
    ),
    Obligation(
        "frontend",
        "An answer that comes before it is waited for is taken; the wait has an end, then CANCEL, then another end",
        ("E11", "E12", "r10", "i12", "m4"),
        ("accept/no-answer-in-time", "reject/wakes-and-no-answer", "reject/late-answer", "accept/no-backend-in-time"),
        (
            "an-answer-is-waited-for-without-an-end",
            "a-command-whose-time-is-over-is-not-cancelled",
            "a-backend-that-never-connects-is-waited-for",
        ),
        (
            "tests/impl/xenbus/test_obliged.py::test_an_answer_that_comes_before_it_is_waited_for_is_taken",
            "tests/impl/xenbus/test_ends.py::test_an_engine_that_hangs_costs_a_command_its_time_and_no_more",
        ),
    ),
    Obligation(
        "frontend",
        "The state is read before length and data, each once; a length unlike the packet's own is an error",
        ("r6", "A3"),
        (
            "reject/answer-shorter-than-its-header",
            "reject/answer-longer-than-its-header",
            "reject/answer-length-4089",
            "reject/answer-length-0",
        ),
        (
            "an-answer-need-not-be-as-long-as-its-header-says",
            "the-length-of-an-answer-is-believed",
            "an-answer-of-no-bytes-is-an-answer",
        ),
        ("tests/impl/ring/test_ring.py::test_the_header_of_a_request_and_of_an_answer_is_read_once",),
    ),
    Obligation(
        "frontend",
        "A backend that closes, or whose node is gone, is a device that is lost, in a command and between two",
        ("E11", "l10", "l11", "i9"),
        ("accept/backend-vanishes", "accept/backend-detaches", "accept/backend-closes-in-service"),
        (
            "a-backend-that-vanishes-is-unseen",
            "a-backend-that-closes-is-unseen",
            "a-backend-that-closes-is-unseen-while-a-command-runs",
        ),
        ("tests/impl/xenbus/test_ends.py::test_a_killed_backend_is_a_lost_device",),
    ),
    Obligation(
        "frontend",
        "A page is not freed before the end of its grant has succeeded",
        ("E15",),
        tests=(
            "tests/impl/xenbus/test_obliged.py::test_a_page_that_the_backend_still_maps_is_kept_until_it_does_no_more",
            "tests/impl/host/test_sharing.py::test_a_page_cannot_be_withdrawn_while_it_is_mapped",
        ),
    ),
    Obligation(
        "frontend",
        "A request is sent only to a backend of version 2 that is Connected, and has bound the port: no event is lost",
        ("E12", "E20"),
        ("accept/backend-comes-late", "reject/backend-of-version-3", "reject/backend-without-version"),
        ("the-backends-version-is-not-asked-for", "the-backends-version-is-asked-for-too-late"),
    ),
)


def faults(row: Obligation) -> list[str]:
    """What is wrong with what a row names: nothing where all of it exists and fits together."""
    found = [f"there is no run {run} for a {row.end}" for run in row.runs if run not in kept_scripts(row.end)]
    for name in row.planted:
        planted = PLANTED.get(name)
        if planted is None or planted.end != row.end:
            found.append(f"no {row.end} is planted as {name}")
        elif planted.run not in row.runs:
            found.append(f"{name} is found in {planted.run}, which the row does not name")
    found += [f"there is no test {test}" for test in row.tests if not _exists(test)]
    if not row.tests and not (row.runs and row.planted):
        found.append("nothing shows that it is met: meant are tests, or runs with a defect that they find")
    return found


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    return path.is_file() and any(
        isinstance(one, ast.FunctionDef) and one.name == name for one in ast.parse(path.read_text("utf-8")).body
    )
