"""A backend that removes what it has closed lets the node stand for the toolstack to see, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.impl.host.guests import control, store
from tests.impl.xenbus.ends import BACKEND

from vtpm_impl.engines.echo import Echo
from vtpm_impl.toolstack.devices import Toolstack
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xen.platform import Store
from vtpm_impl.xenbus.backend import Backend

STANDS = 5.0


class Standing:
    """A backend of one device, on a clock that goes only where it is put."""

    def __init__(self, run: Path, domain: HostDomain, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self._run = run
        platform = domain.platform()
        monkeypatch.setattr(platform, "now", lambda: self.now)
        self._store: Store = platform.store
        self._backend = Backend(platform, Echo(), removal=STANDS)
        self._ended = False

    def look(self) -> str | None:
        """Let the backend do what there is to do; the state that its node has then."""
        for _ in range(3):
            self._backend.step(0.02)
        return self.state()

    def state(self) -> str | None:
        """The state that the backend's node has; None where there is no such node."""
        value = self._store.read("backend/vtpm/1/0/state")
        return None if value is None else value.decode()

    def end(self) -> None:
        """End the backend, unless it has ended."""
        if not self._ended:
            self._ended = True
            self._backend.close()

    def create(self) -> None:
        """Make the device."""
        with control(self._run) as client:
            Toolstack(client).create(1, BACKEND, handle=0)

    def ask_to_close(self) -> None:
        """As libxl does."""
        with control(self._run) as client:
            for transaction in client.transaction():
                with transaction:
                    transaction.write(f"/local/domain/{BACKEND}/backend/vtpm/1/0/online", b"0")
                    transaction.write(f"/local/domain/{BACKEND}/backend/vtpm/1/0/state", b"5")


@pytest.fixture(name="device")
def a_device_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standing]:
    with store() as run, HostDomain(run, BACKEND) as domain, HostDomain(run, 1):
        standing = Standing(run, domain, monkeypatch)
        standing.create()
        assert standing.look() == "2"
        standing.ask_to_close()
        assert standing.look() == "6"
        yield standing
        standing.end()


def test_a_closed_node_stands_for_its_time_and_is_then_removed(device: Standing) -> None:
    device.now += STANDS - 0.1
    assert device.look() == "6"
    device.now += 0.2
    assert device.look() is None


def test_a_toolstack_that_asks_again_is_given_the_whole_time_again(device: Standing) -> None:
    device.now += STANDS - 0.1
    device.ask_to_close()
    assert device.look() == "6"
    device.now += STANDS - 0.1
    assert device.look() == "6"
    device.now += 0.2
    assert device.look() is None


def test_a_backend_that_ends_leaves_no_closed_node(device: Standing) -> None:
    device.end()
    assert device.state() is None
