"""The toolstack's nodes are those that libxl was seen to write, and its steps end whether or not a backend helps."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.impl.host.guests import Guest, control, store

from vtpm_impl.toolstack.devices import (
    BackendSilent,
    DeviceExists,
    NoSuchDevice,
    NoSuchDomain,
    Toolstack,
)
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xen.xenstore.client import Client, XenstoreError
from vtpm_impl.xen.xenstore.server import socket_path
from vtpm_impl.xenbus.nodes import Device
from vtpm_impl.xenbus.nodes import XenbusState as S

IDENTITY = uuid.UUID("2b0095a4-cbb7-4032-beac-6ede2b63b6df")


@pytest.fixture(name="run")
def two_domains() -> Iterator[Path]:
    with store() as run, HostDomain(run, 1), HostDomain(run, 2):
        yield run


@pytest.fixture(name="client")
def control_domain(run: Path) -> Iterator[Client]:
    with control(run) as client:
        yield client


def tree(client: Client, path: str) -> dict[str, tuple[str, str]]:
    """Names right below a path, with value and permissions."""
    below = ((name, f"{path}/{name}") for name in client.directory(path))
    return {name: (client.read(node).decode(), ",".join(client.get_perms(node))) for name, node in below}


def everything(client: Client, path: str = "") -> set[str]:
    below = {f"{path}/{name}" for name in client.directory(path or "/")}
    return below.union(*(everything(client, node) for node in below))


def test_the_nodes_of_a_device_are_those_of_libxl(client: Client) -> None:
    # as xenstored logged them under xl of Debian's Xen 4.17 (backend in the control domain)
    assert Toolstack(client).create(1, 0, uuid=IDENTITY) == Device(1, 0)
    ours, theirs, libxl = "/local/domain/1/device/vtpm", "/local/domain/0/backend/vtpm", "/libxl/1/device/vtpm"
    assert tree(client, ours) == {"0": ("", "n1,r0")}
    assert tree(client, f"{ours}/0") == {
        "backend": ("/local/domain/0/backend/vtpm/1/0", "n1,r0"),
        "backend-id": ("0", "n1,r0"),
        "state": ("1", "n1,r0"),
        "handle": ("0", "n1,r0"),
    }
    values = {
        "frontend": "/local/domain/1/device/vtpm/0",
        "frontend-id": "1",
        "online": "1",
        "state": "1",
        "handle": "0",
        "uuid": str(IDENTITY),
        "resume": "False",
    }
    assert tree(client, f"{theirs}/1") == {"0": ("", "n0,r1")}
    assert tree(client, f"{theirs}/1/0") == {name: (value, "n0,r1") for name, value in values.items()}
    values["backend"] = "/local/domain/0/backend/vtpm/1/0"
    assert tree(client, f"{libxl}/0") == {name: (value, "n0") for name, value in values.items()}


def test_a_device_appears_at_once_or_not_at_all(client: Client, run: Path) -> None:
    with control(run) as other:
        other.watch("/local/domain/1/device/vtpm/0/backend", "here")
        assert other.event(1.0) is not None
        Toolstack(client).create(1, 2)
        assert other.event(1.0) is not None
        assert other.read("/local/domain/2/backend/vtpm/1/0/resume") == b"False"


def test_the_guest_owns_its_side_and_only_reads_the_other(client: Client, run: Path) -> None:
    Toolstack(client).create(1, 2)
    with Client.connect(socket_path(run, 1)) as guest:
        guest.write("device/vtpm/0/ring-ref", b"8")
        assert guest.read("/local/domain/2/backend/vtpm/1/0/state") == b"1"
        for path in ("/local/domain/2/backend/vtpm/1/0/state", "device/vtpm/1/state", "/libxl/1/device/vtpm/0/state"):
            with pytest.raises(XenstoreError, match="EACCES"):
                guest.write(path, b"4")


def test_handles_are_the_lowest_that_are_free(client: Client) -> None:
    toolstack = Toolstack(client)
    assert [toolstack.create(1, 2).handle for _ in range(2)] == [0, 1]
    assert toolstack.create(1, 2, handle=3) == Device(1, 3)
    assert toolstack.create(1, 2) == Device(1, 2)
    assert [(entry.device, entry.backend) for entry in toolstack.list()] == [(Device(1, n), 2) for n in range(4)]
    assert toolstack.list(2) == []
    with pytest.raises(DeviceExists, match="domain 1 has a vtpm 3 already"):
        toolstack.create(1, 2, handle=3)


def test_what_does_not_exist_is_told(client: Client) -> None:
    toolstack = Toolstack(client)
    for frontend, backend in ((7, 2), (1, 7)):
        with pytest.raises(NoSuchDomain, match="no domain 7"):
            toolstack.attach(frontend, backend)
    for act in (toolstack.detach, toolstack.destroy, toolstack.get):
        with pytest.raises(NoSuchDevice, match="domain 1 has no vtpm 5"):
            act(Device(1, 5))


def test_without_a_backend_nothing_is_left_of_the_device(client: Client) -> None:
    before = everything(client)
    started = time.monotonic()
    with pytest.raises(BackendSilent, match=r"INITIALISING after 0\.2 s"):
        Toolstack(client).attach(1, 2, timeout=0.2)
    assert time.monotonic() - started < 2
    assert {path for path in everything(client) - before if "/vtpm" in path} == set()


def test_a_backend_that_comes_to_init_wait_has_the_device(client: Client, run: Path) -> None:
    def backend() -> None:
        with control(run) as other:
            while other.read_or_none("/local/domain/2/backend/vtpm/1/0/state") is None:
                time.sleep(0.01)
            other.write("/local/domain/2/backend/vtpm/1/0/state", b"2")

    thread = threading.Thread(target=backend)
    thread.start()
    attached = Toolstack(client).attach(1, 2, uuid=IDENTITY, timeout=5)
    thread.join()
    assert attached.backend_state is S.INIT_WAIT
    assert (attached.device, attached.backend, attached.uuid) == (Device(1, 0), 2, str(IDENTITY))


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("way", ["detach", "destroy"])
def test_a_device_goes_whether_or_not_its_backend_closes_it(client: Client, run: Path, way: str, closes: bool) -> None:
    before = everything(client)
    toolstack = Toolstack(client)
    device = toolstack.create(1, 2)
    node = "/local/domain/2/backend/vtpm/1/0"
    seen: list[tuple[bytes, bool]] = []

    def backend() -> None:
        with control(run) as other:
            while other.read(f"{node}/state") != b"5":
                time.sleep(0.01)
            there = other.read_or_none("/local/domain/1/device/vtpm/0") is not None
            seen.append((other.read(f"{node}/online"), there))
            if closes:
                other.write(f"{node}/state", b"6")

    thread = threading.Thread(target=backend)
    thread.start()
    assert getattr(toolstack, way)(device, timeout=0.3) is closes
    thread.join()
    assert seen == [(b"0", way == "detach")]  # to detach, the frontend is asked and keeps its nodes meanwhile
    assert {path for path in everything(client) - before if "/vtpm" in path} == set()
    assert toolstack.list() == []


def test_two_toolstacks_may_take_the_same_device_away(client: Client, run: Path) -> None:
    # as when somebody detaches a vTPM while the domain that had it ends
    toolstack, before = Toolstack(client), everything(client)
    for _ in range(100):
        device = toolstack.create(1, 2)
        client.write("/local/domain/2/backend/vtpm/1/0/state", b"6")
        ready = threading.Barrier(3)

        def take(way: Callable[[Toolstack], object], ready: threading.Barrier = ready) -> None:
            with control(run) as other:
                ready.wait()
                way(Toolstack(other))

        def detach(one: Toolstack, device: Device = device) -> None:
            with contextlib.suppress(NoSuchDevice):  # the others were quicker
                one.detach(device)

        with ThreadPoolExecutor() as threads:
            ways: list[Callable[[Toolstack], object]] = [detach, lambda one: one.destroy_all(1), Toolstack.list]
            list(threads.map(take, ways))
        assert {path for path in everything(client) - before if "/vtpm" in path} == set()


def test_a_domain_that_ends_takes_its_devices_along(run: Path, client: Client) -> None:
    toolstack = Toolstack(client)
    with HostDomain(run, 3):
        toolstack.create(3, 2)
        toolstack.create(1, 2)
        client.write("/local/domain/2/backend/vtpm/3/0/state", b"6")
    assert [entry.device for entry in toolstack.list()] == [Device(1, 0)]


def test_the_nodes_of_a_dead_domain_are_gone_when_the_next_one_starts(run: Path, client: Client) -> None:
    toolstack = Toolstack(client)
    with Guest(run, 3) as guest:
        device = toolstack.create(3, 2, uuid=IDENTITY)
        client.write("/local/domain/2/backend/vtpm/3/0/state", b"6")
        guest.kill()
    with HostDomain(run, 3):
        assert toolstack.list() == []
        assert toolstack.create(3, 2) == device
        assert toolstack.get(device).uuid != str(IDENTITY)
