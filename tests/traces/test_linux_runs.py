"""Runs in which scripts drove Linux' frontend on real Xen: what the kept ones are, and that spoilt ones are noticed."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vtpm_model.driven_linux import DRIVEN_LINUX
from vtpm_traces.conform import linux_campaign
from vtpm_traces.conform.trial import Verdict, stale
from vtpm_traces.files import BadInput
from vtpm_traces.recordings.json_line import Unusable
from vtpm_traces.recordings.linux_runs import LOG, TRACE, Line, LinuxRun, Reading, read_runs
from vtpm_traces.recordings.xen_events import Change, Commit, Party
from vtpm_traces.schema import data
from vtpm_traces.search import explain
from vtpm_traces.verdict import Outcome

FOLDER = data("recorded", "linux-conform")
SOUND = "accept/connect-and-close"


@pytest.fixture(scope="module")
def runs() -> dict[str, LinuxRun]:
    return {run.name: run for run in read_runs(FOLDER)}


def outcome(run: LinuxRun) -> Outcome:
    return explain(DRIVEN_LINUX, Reading(run).recording(), bounds=linux_campaign.BOUNDS).outcome


def test_the_kept_files_are_what_their_provenance_says() -> None:
    told = json.loads((FOLDER / "provenance.json").read_text())["files"]
    kept = {path.name.removesuffix(".xz"): lzma.decompress(path.read_bytes()) for path in FOLDER.glob("*.xz")}
    assert told == {name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in kept.items()}


def test_the_kept_runs_are_those_of_a_whole_campaign(runs: dict[str, LinuxRun]) -> None:
    assert len(runs) >= 200
    wanted = {script.name: script.lines for script in linux_campaign.scripts(seed=0, runs=0)}
    assert {name: run.script for name, run in runs.items() if not name.startswith("random/")} == wanted
    assert sum(name.startswith("random/") for name in runs) >= 40


def test_a_sound_run_is_one_of_the_model(runs: dict[str, LinuxRun]) -> None:
    assert outcome(runs[SOUND]) is Outcome.ACCEPTED


# ------------------------------------------------------------------------------------------------------------ teeth


def with_lines(run: LinuxRun, change: Callable[[Line], Line | None]) -> LinuxRun:
    return replace(run, lines=tuple(made for line in run.lines if (made := change(line)) is not None))


def changed(line: Line, **fields: Any) -> Line:
    return replace(line, fields={**line.fields, **fields})


def spoilt(run: LinuxRun) -> Iterator[tuple[str, LinuxRun]]:
    """The run, told otherwise than it was, in one way after another."""
    first = {kind: next(line for line in run.lines if line.kind == kind) for kind in ("mapped", "result", "calls")}
    submitted = next(line for line in run.lines if line.kind == "looked" and line.number("state") == 1)
    answered = [line for line in run.lines if line.kind == "stored"][-1]

    def instead(old: Line, **fields: Any) -> LinuxRun:
        return with_lines(run, lambda line: changed(line, **fields) if line is old else line)

    yield "another page is mapped", instead(first["mapped"], ring_ref=first["mapped"].number("ring_ref") + 1)
    yield "another port is bound", instead(first["mapped"], remote_port=first["mapped"].number("remote_port") + 1)
    yield "a request has a locality", instead(submitted, locality=1)
    yield "a request has extra pages", instead(submitted, nr_extra_pages=1)
    yield "a request has something in its pad", instead(submitted, pad=1)
    yield "a request is longer than its packet", instead(submitted, length=submitted.number("length") + 1)
    yield "a request is no request", instead(submitted, state=3)
    yield "the caller got other bytes", instead(first["result"], digest="0" * 64)
    yield "the caller got an error", instead(first["result"], error="EIO")
    yield "another command was called", instead(first["calls"], digest="0" * 16)
    yield "an answer was never stored", with_lines(run, lambda line: None if line is answered else line)
    yield "an answer was no whole packet", instead(answered, named=9)
    yield "nothing was mapped", with_lines(run, lambda line: None if line is first["mapped"] else line)


def frontend_states(run: LinuxRun) -> list[int]:
    """The places in the store's events where the frontend writes its state."""
    return [
        at
        for at, event in enumerate(run.store)
        if isinstance(event, Commit) and event.party is Party.FRONTEND and event.changes[-1].node == "state"
    ]


def spoilt_store(run: LinuxRun) -> Iterator[tuple[str, LinuxRun]]:
    """The run, with something else in xenstored's trace."""
    for at in frontend_states(run):
        event = run.store[at]
        assert isinstance(event, Commit)
        value = event.changes[-1].value
        other = tuple(Change(c.origin, c.side, c.node, "5" if c.node == "state" else c.value) for c in event.changes)
        for title, events in (
            (f"state {value} is not written", ()),
            (f"state 5 is written instead of {value}", (replace(event, changes=other),)),
        ):
            yield title, replace(run, store=(*run.store[:at], *events, *run.store[at + 1 :]))


def test_spoilt_runs_are_refused(runs: dict[str, LinuxRun]) -> None:
    told = {title: outcome(one) for title, one in (*spoilt(runs[SOUND]), *spoilt_store(runs[SOUND]))}
    assert {title for title, found in told.items() if found is not Outcome.REFUSED} == set()
    assert len(told) >= 15


def test_a_frontend_that_does_not_follow_is_noticed(runs: dict[str, LinuxRun]) -> None:
    """Cut off before its last state, and asked whether it rests, Linux owes one."""
    run = runs[SOUND]
    states = frontend_states(run)
    assert len(states) == 3
    at = next(number for number, line in enumerate(run.lines) if line.kind == "unmapped")
    rests = next(number for number, line in enumerate(run.lines) if line.kind == "rested")
    looked, rested = run.lines[rests - 1 : rests + 1]
    assert looked.kind == "looked"
    cut = replace(run, store=run.store[: states[-1]], lines=(*run.lines[:at], looked, rested))
    assert outcome(replace(run, store=run.store[: states[-1]], lines=run.lines[:at])) is Outcome.ACCEPTED
    assert outcome(cut) is Outcome.REFUSED


# ------------------------------------------------------------------------------------------------------- the verdict


def test_a_guest_that_complains_has_failed(runs: dict[str, LinuxRun]) -> None:
    ended = linux_campaign.judge(replace(runs[SOUND], trouble="the guest's kernel says: BUG"), ())
    assert (ended.verdict, ended.sentence) == (Verdict.FAILURE, "the guest's kernel says: BUG")


def test_what_the_harness_could_not_do_is_its_own_error(runs: dict[str, LinuxRun]) -> None:
    assert linux_campaign.judge(replace(runs[SOUND], trouble="harness: gone"), ()).verdict is Verdict.ERROR
    vain = Line(runs[SOUND].lines[-1].origin, {"ev": "rested", "vain": "await 9"})
    waited = replace(runs[SOUND], lines=(*runs[SOUND].lines, vain))
    assert linux_campaign.judge(waited, ()).verdict is Verdict.ERROR


def test_a_deviation_explains_only_its_own_runs(runs: dict[str, LinuxRun]) -> None:
    known = linux_campaign.known_deviations()
    for deviation in known:
        shown = [name for name in runs if deviation.concerns(name)]
        assert shown, deviation
        assert linux_campaign.judge(runs[shown[0]], (deviation,)).known == deviation
        assert linux_campaign.judge(runs[shown[0]], ()).verdict is Verdict.FAILURE
    assert stale(known, [linux_campaign.judge(runs[SOUND], known)]) == []
    lucky = next(one for one in known if one.concerns("random/0"))
    assert stale((lucky,), [linux_campaign.judge(runs["random/0"], known)]) == []


# --------------------------------------------------------------------------------------------------- malformed input


@pytest.mark.parametrize(
    "line",
    [
        "[]", "{", '{"run":"x"}', '{"run":"x","device":[1],"script":[],"log":[]}',
        '{"run":"x","device":["a","b"],"script":[],"log":[]}', '{"run":"x","device":[1,0],"script":[],"log":[7]}',
        '{"run":"x","device":[1,0],"script":5,"log":[]}',
    ],
)  # fmt: skip
def test_a_log_that_is_none_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    (tmp_path / TRACE).write_text("")
    (tmp_path / LOG).write_text(line + "\n")
    with pytest.raises(BadInput, match=LOG):
        read_runs(tmp_path)


def test_a_folder_without_a_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=TRACE):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("looked", {"state": 256}), ("looked", {"length": -1}), ("looked", {"digest": 5}),
        ("stored", {"named": 1 << 32}), ("stored", {"state": "2"}), ("mapped", {"ring_ref": None}),
        ("wrote", {"nodes": "x"}), ("calls", {"digest": None}), ("result", {"digest": None}),
        ("looked", {"ev": "stared"}), ("looked", {"ev": None}), ("calls", {"ev": "rested"}),
    ],
)  # fmt: skip
def test_a_line_that_is_none_makes_the_run_unusable(
    runs: dict[str, LinuxRun], kind: str, fields: dict[str, Any]
) -> None:
    run = with_lines(runs[SOUND], lambda line: changed(line, **fields) if line.kind == kind else line)
    with pytest.raises(Unusable):
        Reading(run).recording()
    assert linux_campaign.judge(run, ()).verdict is Verdict.ERROR
