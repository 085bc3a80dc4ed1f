"""A guess of when each line of a backend's log was written, told in places of the store's trace.

What the backend read and wrote stands in both, nearly the same and in the same order; the lines between are spread
evenly. The guess orders a search, and no verdict rests on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from vtpm_traces.observe import Stream
from vtpm_traces.recordings.xen import Source, SourceKind
from vtpm_traces.recordings.xen_events import Commit, Event, Party, Read

_WINDOW = 500
"""Events of either side that are compared at a time: logs may be long, and to compare is quadratic."""


def timed(
    streams: Sequence[Stream], sources: Sequence[Source], firsts: Mapping[str, Sequence[int]]
) -> tuple[Stream, ...]:
    """The streams of these sources, the store's trace and each backend's log with a clock if there are both.

    `firsts` tells for each source the place of the first observation of each of its events.
    """
    by_file = {source.file: source for source in sources}
    stores = [stream for stream in streams if by_file[stream.name].kind is SourceKind.STORE]
    logs = [stream for stream in streams if by_file[stream.name].kind is SourceKind.BACKEND]
    if not stores or not logs:
        return tuple(streams)
    store = stores[0]
    end = len(store.observations)
    clocks = {store.name: tuple(float(place) for place in range(end))}
    for log in logs:
        matched = [
            (firsts[log.name][here], firsts[store.name][there])
            for here, there in _matched(by_file[log.name].events, by_file[store.name].events)
        ]
        clocks[log.name] = tuple(_spread([(0, 0), *matched, (len(log.observations), end)]))
    return tuple(replace(stream, clock=clocks.get(stream.name, ())) for stream in streams)


def _spread(matched: Sequence[tuple[int, int]]) -> Iterator[float]:
    """A time for each place of a log, from the places whose times are known, both ascending."""
    for (here, time), (next_here, next_time) in itertools.pairwise(matched):
        for place in range(here, next_here):
            yield time + (next_time - time) * (place - here) / (next_here - here)


def _matched(log: Sequence[Event], store: Sequence[Event]) -> Iterator[tuple[int, int]]:
    """Numbers of the events that both show, in ascending order."""
    ours = [(number, shown) for number, event in enumerate(log) if (shown := _shown(event))]
    theirs = [(number, shown) for number, event in enumerate(store) if (shown := _shown(event))]
    here = there = 0
    while here < len(ours) and there < len(theirs):
        piece, other = ours[here : here + _WINDOW], theirs[there : there + _WINDOW]
        matcher = SequenceMatcher(None, [shown for _, shown in piece], [shown for _, shown in other], autojunk=False)
        begins = (here, there)
        for block in matcher.get_matching_blocks():
            for step in range(block.size):
                yield piece[block.a + step][0], other[block.b + step][0]
                here, there = begins[0] + block.a + step + 1, begins[1] + block.b + step + 1
        if (here, there) == begins:
            here, there = here + _WINDOW, there + _WINDOW


def _shown(event: Event) -> Hashable:
    """What an event shows of the backend's doing, alike in both; nothing of others."""
    match event:
        case Read(party=Party.BACKEND | Party.LOCAL):
            return "read", event.side, event.node, event.value
        case Commit(party=Party.BACKEND | Party.LOCAL):
            return event.changes
        case _:
            return None
