"""Whoever waits at a port's descriptor is woken, whatever else happens between the steps of the two ends."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtpm_impl.xen.host.ports import HostPort

Ends = tuple[HostPort, HostPort]


@pytest.fixture(name="ends")
def both_ends(tmp_path: Path) -> Iterator[Ends]:
    held: set[HostPort] = set()
    opener = HostPort.open(tmp_path, 1, 2, held)
    binder = HostPort.bind(tmp_path, 1, 2, 1, held)
    assert binder.take()
    yield opener, binder
    binder.close()
    opener.close()


def comes(port: HostPort, seconds: float = 2.0) -> bool:
    """Whether an event comes, as whoever sleeps at the descriptor sees it."""
    deadline = time.monotonic() + seconds
    while select.select([port], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if port.take():
            return True
    return False


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("waits", [True, False])
def test_an_event_that_comes_during_a_take_takes_no_later_one_along(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, before: bool, waits: bool
) -> None:
    # the FIFO is read between an event of the past and one to come: what is read may be the byte of either
    opener, binder = ends
    read = os.read

    def while_reading(descriptor: int, most: int) -> bytes:
        monkeypatch.setattr(os, "read", read)
        if before:
            opener.notify()
        try:
            return read(descriptor, most)
        finally:
            if not before:
                opener.notify()

    opener.notify()
    monkeypatch.setattr(os, "read", while_reading)
    assert binder.take()
    if waits:  # the owner sees what the event was for without it, and sleeps at the descriptor only later
        while binder.wait(0):
            pass
    else:
        comes(binder, 0)
    opener.notify()
    assert comes(binder)


def test_each_of_two_ends_that_take_turns_is_woken(ends: Ends) -> None:
    # each waits for no, a short or a longer time before it sleeps at its descriptor; who is not woken ends the game
    rounds = 20_000
    turn = [0]

    def plays(own: HostPort, number: int) -> None:
        for at in range(number, 2 * rounds, 2):
            while turn[0] != at and own.wait((at * 7 + at // 11) % 3 * 1e-5):
                pass
            while turn[0] != at:
                if not comes(own):
                    return
            turn[0] += 1
            own.notify()

    threads = [threading.Thread(target=plays, args=(end, number)) for number, end in enumerate(ends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert turn == [2 * rounds]
