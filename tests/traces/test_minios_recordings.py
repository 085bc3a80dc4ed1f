"""The kept recordings of mini-os: what each is judged to be, against a table made by reading them."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from vtpm_traces.recordings.judged import (
    MINI_OS,
    READERS,
    TRUE_MODEL,
    check_recordings,
    judge,
    kept_recordings,
    kept_table,
    renewed_table,
)

RECORDED = Path(__file__).parents[2] / "traces" / "recorded"

REFUSED = {
    "tpmback/backend-directory-removed-by-toolstack": (
        61,
        "backend_disconnects",
        "a_page_is_held_although_its_node_is_gone",
    ),
    "tpmback/frontend-removed-while-a-request-is-pending": (76, "", "a_command_in_service_has_its_device"),
    "tpmback/no-directory-event-only-child-events": (18, "backend_tracks", "a_new_device_waits_for_its_backend"),
    "tpmback/request-length-4089": (62, "backend_refuses_request", "a_request_stands_unanswered"),
    "tpmback/request-length-4096": (62, "backend_refuses_request", "a_request_stands_unanswered"),
    "tpmback/request-length-4294967295": (63, "", "a_request_is_read_within_the_page"),
    "tpmback/response-length-0": (68, "", "an_answer_lies_within_the_page"),
    "tpmback/response-length-4089": (65, "backend_finishes", "a_request_stands_unanswered"),
    "tpmback/response-length-8000": (65, "backend_finishes", "a_request_stands_unanswered"),
    "tpmfront/response-4088": (38, "", "a_caller_gets_one_whole_packet"),
    "tpmfront/response-empty": (40, "", "a_caller_gets_one_whole_packet"),
    "tpmfront/spurious-kick-and-cancelled": (43, "", "a_caller_gets_one_whole_packet"),
}
"""By hand: the line at which the true model must refuse, what is owed there, and the fact that mini-os breaks."""


@pytest.mark.parametrize("form", READERS)
def test_the_kept_files_are_what_their_provenance_says(form: str) -> None:
    told = json.loads((RECORDED / form / "provenance.json").read_text())["files"]
    kept = {
        path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes()) for path in (RECORDED / form).glob("*.gz")
    }
    found = {name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in kept.items()}
    assert found == told


def test_there_are_51_recordings() -> None:
    assert len(kept_recordings()) == 51


@pytest.mark.parametrize("name", sorted(kept_recordings()))
def test_a_recording_is_judged_as_by_hand(name: str) -> None:
    path, form = kept_recordings()[name]
    judged = judge(path, form, name)
    assert judged.malformed == ""
    assert MINI_OS in judged.accepted_by
    if name not in REFUSED:
        assert judged.accepted_by == (TRUE_MODEL, MINI_OS)
        return
    line, owed, fact = REFUSED[name]
    (refusal,) = judged.refusals
    assert refusal.specification == TRUE_MODEL
    assert refusal.line == line
    assert owed in (*refusal.owed, "")
    assert bool(owed) == bool(refusal.owed)
    assert fact in (*refusal.facts, "")


def test_each_frontend_of_six_is_judged() -> None:
    path, form = kept_recordings()["tpmback/six-frontends-order-and-shutdown"]
    assert judge(path, form).devices == 6


def test_the_kept_table_stands() -> None:
    checked = check_recordings()
    assert checked.shortfalls == ()
    assert checked.figures == {"recordings": 51, "devices": 57, "accepted": 39, "refused": 12}


def test_the_table_says_why_of_each_refusal() -> None:
    assert json.loads(json.dumps(renewed_table())) == json.loads((RECORDED / "minios-verdicts.json").read_text())
    explained = {name for name, row in kept_table().items() if row.why and row.rows}
    assert explained == set(REFUSED)
