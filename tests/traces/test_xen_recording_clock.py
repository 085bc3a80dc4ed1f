"""The clock of a recording's streams orders the search for a run, and decides nothing."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path

import pytest

from vtpm_model.device import LINUX
from vtpm_traces.recordings.xen import DeviceRecording, SourceKind, read_folder
from vtpm_traces.recordings.xen_clock import timed
from vtpm_traces.recordings.xen_events import Commit, Event, Party, Side
from vtpm_traces.recordings.xen_model import Reading, device_recording
from vtpm_traces.recordings.xen_verdict import BOUNDS, judged_devices
from vtpm_traces.search import explain
from vtpm_traces.verdict import Outcome

RECORDED = Path(__file__).parents[2] / "traces" / "recorded"


def both_sources(folder: str) -> DeviceRecording:
    """The first device of a folder that the store's trace shows as well as the backend's log."""
    devices = read_folder(RECORDED / folder).devices
    return next(each for each in devices if {s.kind for s in each.sources} == {SourceKind.STORE, SourceKind.BACKEND})


def test_what_a_backend_writes_is_at_one_time_in_both() -> None:
    seen = both_sources("xen/ours")
    reading = Reading(seen, LINUX)
    streams = {stream.name: stream for stream in timed(reading.recording().streams, seen.sources, reading.firsts)}
    times: dict[SourceKind, list[float]] = {}
    for source in seen.sources:
        clock = streams[source.file].clock
        assert len(clock) == len(streams[source.file].observations)
        assert all(one <= other for one, other in itertools.pairwise(clock))
        firsts = reading.firsts[source.file]
        places = [place for place, event in zip(firsts, source.events, strict=False) if states_written(event)]
        times[source.kind] = [clock[place] for place in places]
    assert len(times[SourceKind.STORE]) >= 3
    assert times[SourceKind.STORE] == times[SourceKind.BACKEND]


def states_written(event: Event) -> list[str | None]:
    """The states that a backend gives its node in an event."""
    if not isinstance(event, Commit) or event.party is not Party.BACKEND:
        return []
    return [each.value for each in event.changes if each.side is Side.BACKEND and each.node == "state"]


@pytest.mark.parametrize("folder", sorted(p for p in (RECORDED / "xen").iterdir() if p.is_dir()), ids=lambda p: p.name)
def test_by_the_clock_a_run_is_found_at_once(folder: Path) -> None:
    for device, spec in judged_devices(read_folder(folder)):
        watched, recording = device_recording(device, spec)
        verdict = explain(watched, recording, bounds=BOUNDS)
        assert verdict.outcome is Outcome.ACCEPTED
        assert verdict.states < 6 * verdict.lines, device.title


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_clock_that_is_wrong_changes_no_verdict(spoilt: bool) -> None:
    seen = both_sources("xen/migration")
    if spoilt:
        seen = without_its_first_connected(seen)
    watched, recording = device_recording(seen, LINUX)
    chance = random.Random(0)
    at_random = tuple(
        dataclasses.replace(stream, clock=tuple(chance.random() for _ in stream.observations))
        for stream in recording.streams
    )
    without = tuple(dataclasses.replace(stream, clock=()) for stream in recording.streams)
    recordings = [recording, *(dataclasses.replace(recording, streams=each) for each in (at_random, without))]
    found = {explain(watched, each, bounds=BOUNDS).outcome for each in recordings}
    assert found == {Outcome.REFUSED if spoilt else Outcome.ACCEPTED}


def without_its_first_connected(seen: DeviceRecording) -> DeviceRecording:
    """The recording without the line in which the backend goes to Connected."""
    sources = []
    for source in seen.sources:
        events = list(source.events)
        if source.kind is SourceKind.BACKEND:
            events.remove(next(event for event in events if "4" in states_written(event)))
        sources.append(dataclasses.replace(source, events=tuple(events)))
    return dataclasses.replace(seen, sources=tuple(sources))


def test_a_store_alone_has_no_clock() -> None:
    devices = read_folder(RECORDED / "linux-frontend" / "canned-attach-detach-tpm2-errors").devices
    seen = next(each for each in devices if {source.kind for source in each.sources} == {SourceKind.STORE})
    _, recording = device_recording(seen, LINUX)
    assert [stream.clock for stream in recording.streams] == [()]
