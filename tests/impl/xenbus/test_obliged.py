"""What a frontend owes to its own domain, which no other end can tell: its pages, its keys, its waits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.impl.host.guests import control, store
from tests.impl.xenbus.ends import BackendProcess, answer, attach, command

from vtpm_impl.ring.page import STATE, State
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xen.platform import Grant
from vtpm_impl.xenbus.frontend import Frontend

LONG = 10.0
"""Seconds after which something that should have happened at once has not."""


class Watched:
    """A frontend on a platform that remembers its pages, and a backend in another process."""

    def __init__(self, run: Path, domain: HostDomain, backend: BackendProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = run
        self.grants: list[Grant] = []
        self.backend = backend.process
        self._platform = domain.platform()
        grant = self._platform.grant
        monkeypatch.setattr(self._platform, "grant", lambda peer: self._remembered(grant(peer)))
        self.end = Frontend(self._platform)

    def _remembered(self, grant: Grant) -> Grant:
        self.grants.append(grant)
        return grant

    def delay(self, monkeypatch: pytest.MonkeyPatch, until: Callable[[], bool]) -> None:
        """Let every event that is sent return only when this is so."""
        open_port = self._platform.open_port

        def opened(peer: int) -> object:
            port = open_port(peer)
            notify = port.notify

            def tell() -> None:
                notify()
                wait(until)

            monkeypatch.setattr(port, "notify", tell)
            return port

        monkeypatch.setattr(self._platform, "open_port", opened)


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(name="watched")
def a_frontend_that_is_watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with store() as run, BackendProcess(run) as backend, HostDomain(run, 1) as domain:
        attach(run, 1)
        watched = Watched(run, domain, backend, monkeypatch)
        yield watched
        watched.backend.send_signal(signal.SIGCONT)
        watched.end.shutdown()


def test_a_page_that_the_backend_still_maps_is_kept_until_it_does_no_more(watched: Watched) -> None:
    watched.end.open()
    os.kill(watched.backend.pid, signal.SIGSTOP)
    watched.end.close(timeout=0.1)
    assert watched.grants[0].memory[STATE] == State.IDLE
    watched.backend.send_signal(signal.SIGCONT)
    watched.end.open()
    assert watched.end.transmit(command()) == answer()
    with pytest.raises(ValueError, match="released"):
        watched.grants[0].memory[STATE]


def test_a_connection_that_is_closed_leaves_no_keys(watched: Watched) -> None:
    keys = [f"/local/domain/1/device/vtpm/0/{key}" for key in ("ring-ref", "event-channel")]
    with control(watched.run) as client:
        watched.end.open()
        assert all(client.read_or_none(key) for key in keys)
        watched.end.close()
        assert [client.read_or_none(key) for key in keys] == [None, None]


def test_an_answer_that_comes_before_it_is_waited_for_is_taken(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.delay(monkeypatch, lambda: watched.grants[0].memory[STATE] == State.FINISH)
    watched.end.open()
    for size in range(20, 30):
        assert watched.end.transmit(command(size), timeout=LONG) == answer(size)
