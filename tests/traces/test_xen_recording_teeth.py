"""Spoilt recordings: what later lines depend on is refused, and what is accepted has a run that shows it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from vtpm_model.device import LINUX
from vtpm_traces.recordings.xen import read_contents, read_sources
from vtpm_traces.recordings.xen_events import Device
from vtpm_traces.recordings.xen_model import device_recording
from vtpm_traces.recordings.xen_rejudge import Rejudge
from vtpm_traces.recordings.xen_teeth import Bite, Mutant, Spoilt, bite, mutants
from vtpm_traces.recordings.xen_verdict import BOUNDS
from vtpm_traces.search import explain
from vtpm_traces.verdict import Outcome

RECORDED = Path(__file__).parents[2] / "traces" / "recorded" / "linux-frontend"

ALWAYS_REFUSED = {
    # what another line shows, or what could not have followed, whatever was hidden
    (Spoilt.DROPPED, "write"),
    (Spoilt.STATE, "write"),
    (Spoilt.KEY, "write"),
    (Spoilt.STATE, "backend-node"),
    (Spoilt.STATE, "frontend-state"),
    (Spoilt.KEY, "backend-node"),
    (Spoilt.KEY, "frontend-state"),
}


@functools.cache
def base_of(folder: str, device: Device) -> Rejudge:
    contents, _ = read_contents(RECORDED / folder)
    return Rejudge(next(d for d in read_sources("", contents).devices if d.device == device), LINUX, BOUNDS)


def of(folder: str, device: Device, wanted: Callable[[Mutant], bool]) -> list[Bite]:
    contents, _ = read_contents(RECORDED / folder)
    base = base_of(folder, device)
    return [bite(each, base, contents, run=True) for each in mutants(contents, device) if wanted(each)]


@pytest.fixture(scope="module")
def bites() -> list[Bite]:
    """Every mutant of a device that was created and destroyed before its guest came up."""
    return of("h2-virtioserial-reload", Device(1, 0), lambda mutant: True)


def test_whatever_was_written_and_whatever_was_read_exactly_is_held_against_the_rest(bites: list[Bite]) -> None:
    for each in bites:
        if (each.mutant.spoilt, each.mutant.line_kind) in ALWAYS_REFUSED:
            assert each.outcome is Outcome.REFUSED, each.mutant.origin


def test_nothing_is_left_undecided_and_what_is_accepted_has_its_run(bites: list[Bite]) -> None:
    assert {each.outcome for each in bites} == {Outcome.REFUSED, Outcome.ACCEPTED}
    for each in bites:
        if each.outcome is Outcome.ACCEPTED:
            assert each.run, each.mutant.origin
        else:
            assert each.ends_at, each.mutant.origin


def test_judging_from_before_the_difference_says_what_judging_everything_says(bites: list[Bite]) -> None:
    contents, _ = read_contents(RECORDED / "h2-virtioserial-reload")
    for each in bites[::6]:
        file = each.mutant.origin.file
        spoilt = {**contents, file: each.mutant.of(contents[file])}
        (device,) = (d for d in read_sources("", spoilt).devices if d.device == Device(1, 0))
        verdict = explain(*device_recording(device, LINUX), bounds=BOUNDS)
        assert verdict.outcome is each.outcome, (each.mutant.origin, each.mutant.spoilt)


@pytest.mark.parametrize(
    ("line", "spoilt"), [(19, Spoilt.RING_REF), (19, Spoilt.DROPPED), (20, Spoilt.KEY), (24, Spoilt.DROPPED)]
)
def test_it_says_so_where_the_difference_tells_on_lines_far_behind(line: int, spoilt: Spoilt) -> None:
    """Keys that are read count until they are read again, and a line between may part those around it."""
    folder, device = "h1-fast", Device(1, 0)
    (each,) = of(folder, device, lambda mutant: (mutant.origin.line, mutant.spoilt) == (line, spoilt))
    contents, _ = read_contents(RECORDED / folder)
    file = each.mutant.origin.file
    (seen,) = read_sources("", {**contents, file: each.mutant.of(contents[file])}).devices
    assert explain(*device_recording(seen, LINUX), bounds=BOUNDS).outcome is each.outcome


def test_the_run_of_an_accepted_one_is_a_run_of_the_specification(bites: list[Bite]) -> None:
    actions = {action.name: action for action in LINUX.actions}
    for each in bites:
        state = LINUX.init()
        for taken in each.run:
            state = actions[taken.action].run(state, **taken.picks)
            assert state == taken.after, (each.mutant.origin, taken.action)


@pytest.mark.parametrize(
    ("line", "spoilt"),
    [
        (20, Spoilt.RING_REF),  # connected
        (20, Spoilt.KEY),
        (20, Spoilt.DROPPED),
        (21, Spoilt.DROPPED),  # the backend's Connected
        (21, Spoilt.STATE),
        (22, Spoilt.DROPPED),  # the look at a request before its command
        (22, Spoilt.LENGTH),
        (23, Spoilt.LENGTH),  # the command
        (26, Spoilt.LENGTH),  # a later look
        (26, Spoilt.DROPPED),
    ],
)
def test_with_the_stores_trace_what_the_backend_did_is_refused_when_it_is_spoilt(line: int, spoilt: Spoilt) -> None:
    found = of(
        "canned-attach-detach-tpm2-errors",
        Device(2, 0),
        lambda mutant: (mutant.origin.line, mutant.spoilt) == (line, spoilt),
    )
    assert found
    for each in found:
        assert each.outcome is Outcome.REFUSED


def test_a_byte_that_no_other_line_shows_may_be_another() -> None:
    (last, length) = of(
        "canned-attach-detach-tpm2-errors",
        Device(2, 0),
        lambda mutant: (mutant.origin.line, mutant.spoilt) == (23, Spoilt.RESPONSE),
    )
    assert last.outcome is Outcome.ACCEPTED
    assert any(taken.action == "backend_finishes" for taken in last.run)
    assert length.outcome is Outcome.REFUSED
