"""vTPM devices in xenstore as libxl writes them: made, waited for, listed, asked to close, and taken away.

The nodes, their permissions and the order of steps are those of libxl (tools/libs/light/libxl_device.c, Xen 4.17): all
of a device's nodes in one transaction; to detach, `online` "0" and the backend's `state` "5" in one, and then up to
10 seconds for the backend to go to 6.

Several toolstacks may be at work at once: a domain that ends takes its own devices away.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass

from vtpm_impl.toolstack.domains import home
from vtpm_impl.xen.xenstore.client import Client, Transaction, XenstoreError
from vtpm_impl.xenbus import nodes
from vtpm_impl.xenbus.journal import Journals, silent
from vtpm_impl.xenbus.nodes import Device, XenbusState

TIMEOUT = 10.0
"""Seconds for a backend to do what it is asked (LIBXL_INIT_TIMEOUT, LIBXL_DESTROY_TIMEOUT)."""

_BACKEND_NODE = re.compile(rb"/local/domain/([0-9]{1,5})/backend/vtpm/[0-9]+/[0-9]+")


class ToolstackError(Exception):
    """What was asked cannot be done; the message says why."""


class NoSuchDomain(ToolstackError):
    """The store knows of no such domain."""


class NoSuchDevice(ToolstackError):
    """The domain has no such device."""


class DeviceExists(ToolstackError):
    """The domain has a device of this number already."""


class BackendSilent(ToolstackError):
    """The backend has not done in time what it was asked."""


@dataclass(frozen=True)
class Attached:
    """A device as the store has it. UNKNOWN is the state of an end whose nodes are gone."""

    device: Device
    backend: int
    uuid: str
    frontend_state: XenbusState
    backend_state: XenbusState


class Toolstack:
    """The control domain's hand on devices, through a client of its own."""

    def __init__(self, client: Client, journals: Journals = silent) -> None:
        self._client = client
        self._journals = journals

    # ------------------------------------------------------------------------------------------------------- devices

    def attach(
        self,
        frontend: int,
        backend: int,
        *,
        handle: int | None = None,
        uuid: uuids.UUID | None = None,
        timeout: float = TIMEOUT,
    ) -> Attached:
        """Make a device and wait for its backend; if that does not come, the device is taken away again.

        Without a handle the device gets the lowest that is free, without a uuid one at random. Raises NoSuchDomain,
        DeviceExists, BackendSilent.
        """
        device = self.create(frontend, backend, handle=handle, uuid=uuid)
        at_work = (XenbusState.INIT_WAIT, XenbusState.INITIALISED, XenbusState.CONNECTED)
        try:
            # more than the InitWait that libxl waits for: a quick frontend is connected before we look
            self._await(_backend_node(backend, device), lambda state: state in at_work, timeout)
        except TimeoutError:
            state = _state(self._client, _backend_node(backend, device))
            self._remove(device, backend, by_force=True)
            raise BackendSilent(
                f"no backend in domain {backend} took device {device}: its state is {state.name} after {timeout:g} s"
            ) from None
        return self.get(device)

    def create(
        self, frontend: int, backend: int, *, handle: int | None = None, uuid: uuids.UUID | None = None
    ) -> Device:
        """Make the nodes of a device, and wait for nobody. Raises NoSuchDomain, DeviceExists."""
        for domid in (frontend, backend):
            if not self._client.is_introduced(domid):
                raise NoSuchDomain(f"the store knows of no domain {domid}")
        if handle is None:
            while True:
                with contextlib.suppress(DeviceExists):  # another toolstack may be quicker
                    return self.create(frontend, backend, handle=_free_handle(self._client, frontend), uuid=uuid)
        device = Device(frontend, handle)
        with self._journals(device) as journal:
            for transaction in self._client.transaction():
                with transaction:
                    if transaction.read_or_none(f"{_toolstack_node(device)}/backend") is not None:
                        raise DeviceExists(f"domain {frontend} has a vtpm {handle} already")
                    _write_nodes(transaction, device, backend, uuid or uuids.uuid4())
            journal.step("toolstack_creates", complete=True)
        return device

    def detach(self, device: Device, *, timeout: float = TIMEOUT) -> bool:
        """Ask the backend to close the device, wait for it, and take the device away.

        False if the backend did not close it in time, and the device was taken away all the same. Raises NoSuchDevice.
        """
        return self._close(device, self.get(device).backend, timeout)

    def destroy(self, device: Device, *, timeout: float = TIMEOUT) -> bool:
        """Take a device away as at its domain's end: the frontend's nodes go first, and nobody asks the frontend.

        False if the backend did not close it in time. Raises NoSuchDevice.
        """
        backend = self.get(device).backend
        return self._close(device, backend, timeout, by_force=True)

    def destroy_all(self, frontend: int, *, timeout: float = TIMEOUT) -> None:
        """Take all devices of a domain away, as at its end."""
        for attached in self.list(frontend):
            with contextlib.suppress(NoSuchDevice):  # another toolstack was quicker
                self.destroy(attached.device, timeout=timeout)

    def list(self, frontend: int | None = None) -> list[Attached]:
        """All devices, or those of one frontend's domain, in the order of their numbers."""
        domids = [str(frontend)] if frontend is not None else self._client.directory_or_none("/libxl") or []
        found = []
        for domid in domids:
            for handle in self._client.directory_or_none(f"/libxl/{domid}/device/vtpm") or []:
                device = nodes.device_of(f"backend/vtpm/{domid}/{handle}")
                if device is not None:
                    found.append(device)
        attached = []
        for device in sorted(found):
            with contextlib.suppress(NoSuchDevice):  # it has gone meanwhile
                attached.append(self.get(device))
        return attached

    def get(self, device: Device) -> Attached:
        """One device. Raises NoSuchDevice."""
        node = _toolstack_node(device)
        named = _BACKEND_NODE.fullmatch(self._client.read_or_none(f"{node}/backend") or b"")
        if named is None:
            raise NoSuchDevice(f"domain {device.domid} has no vtpm {device.handle}")
        number = int(named[1])
        return Attached(
            device,
            number,
            (self._client.read_or_none(f"{node}/uuid") or b"").decode("latin-1"),
            _state(self._client, _frontend_node(device)),
            _state(self._client, _backend_node(number, device)),
        )

    # -------------------------------------------------------------------------------------------------- how it is done

    def _close(self, device: Device, backend: int, timeout: float, *, by_force: bool = False) -> bool:
        """Ask the backend to close; by force, the frontend's nodes are removed first."""
        node = _backend_node(backend, device)
        with self._journals(device) as journal:
            there = _state(self._client, _frontend_node(device)) is not XenbusState.UNKNOWN
            if by_force:
                for transaction in self._client.transaction():
                    with transaction:
                        _remove_directory(transaction, _frontend_node(device), f"{home(device.domid)}/device")
            asked = self._ask_to_close(node)
            if by_force and there:
                journal.step("toolstack_forces")
            elif asked and not by_force:
                journal.step("toolstack_detaches")
        closed = True
        try:
            self._await(node, lambda state: state in (XenbusState.CLOSED, XenbusState.UNKNOWN), timeout)
        except TimeoutError:
            closed = False
        self._remove(device, backend, by_force=not closed)
        return closed

    def _ask_to_close(self, node: str) -> bool:
        """Let the backend know; False if its node is gone."""
        asked = False
        for transaction in self._client.transaction():
            with transaction:
                asked = transaction.read_or_none(f"{node}/state") is not None
                if asked:
                    transaction.write(f"{node}/online", b"0")
                    if nodes.parse_state(transaction.read(f"{node}/state")) is not XenbusState.CLOSED:
                        transaction.write(f"{node}/state", XenbusState.CLOSING.text)
        return asked

    def _remove(self, device: Device, backend: int, *, by_force: bool) -> None:
        """Remove all that is left of a device, and the directories above that have nothing else in them."""
        with self._journals(device) as journal:
            ours = theirs = False
            for transaction in self._client.transaction():
                with transaction:
                    ours = _state(transaction, _frontend_node(device)) is not XenbusState.UNKNOWN
                    theirs = _state(transaction, _backend_node(backend, device)) is not XenbusState.UNKNOWN
                    _remove_directory(transaction, _frontend_node(device), f"{home(device.domid)}/device")
                    _remove_directory(transaction, _backend_node(backend, device), f"{home(backend)}/backend")
                    _remove_directory(transaction, _toolstack_node(device), "/libxl")
            if by_force and ours:
                journal.step("toolstack_forces")
                ours = False
            if ours or theirs:
                journal.step("toolstack_removes")

    def _await(self, node: str, settled: Callable[[XenbusState], bool], timeout: float) -> None:
        """Wait until the state below a node is what is wanted. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        path, token = f"{node}/state", f"toolstack {node}"
        self._client.watch(path, token)
        try:
            while not settled(_state(self._client, node)):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._client.event(left)
        finally:
            self._client.unwatch(path, token)


def _state(store: Client | Transaction, node: str) -> XenbusState:
    return nodes.parse_state(store.read_or_none(f"{node}/state"))


def _frontend_node(device: Device) -> str:
    return nodes.frontend_directory(device)


def _backend_node(backend: int, device: Device) -> str:
    return f"{home(backend)}/{nodes.backend_directory(device)}"


def _toolstack_node(device: Device) -> str:
    return f"/libxl/{device.domid}/device/vtpm/{device.handle}"


def _free_handle(store: Client | Transaction, frontend: int) -> int:
    taken = set(store.directory_or_none(f"/libxl/{frontend}/device/vtpm") or [])
    return next(number for number in range(len(taken) + 1) if str(number) not in taken)


def _write_nodes(store: Transaction, device: Device, backend: int, uuid: uuids.UUID) -> None:
    """Write the three directories of a device; what a dead one of the same number left is removed."""
    ours, theirs = _frontend_node(device), _backend_node(backend, device)
    frontend_values = {
        "backend": theirs.encode(),
        "backend-id": b"%d" % backend,
        "state": XenbusState.INITIALISING.text,
        "handle": b"%d" % device.handle,
    }
    backend_values = {
        "frontend": ours.encode(),
        "frontend-id": b"%d" % device.domid,
        "online": b"1",
        "state": XenbusState.INITIALISING.text,
        "handle": b"%d" % device.handle,
        "uuid": str(uuid).encode(),
        "resume": b"False",
    }
    copy = {**backend_values, "backend": theirs.encode()}
    domid = device.domid
    _write_directory(store, _toolstack_node(device), copy, ["n0"], ["n0"], parents=3)
    _write_directory(store, ours, frontend_values, [f"n{domid}", f"r{backend}"], ["n0", f"r{domid}"], parents=1)
    _write_directory(store, theirs, backend_values, [f"n{backend}", f"r{domid}"], ["n0", f"r{backend}"], parents=3)


def _write_directory(
    store: Transaction, path: str, values: dict[str, bytes], permissions: list[str], above: list[str], *, parents: int
) -> None:
    """Write a directory anew, whose values inherit its permissions; of those above, so many are made where missing."""
    for up in range(parents, 0, -1):
        parent = path.rsplit("/", up)[0]
        if store.read_or_none(parent) is None:
            store.mkdir(parent)
            store.set_perms(parent, above)
    store.rm(path)
    store.mkdir(path)
    store.set_perms(path, permissions)
    for name, value in values.items():
        store.write(f"{path}/{name}", value)


def _remove_directory(store: Transaction, path: str, top: str) -> None:
    """Remove a directory, and those above it, up to `top` and without it, that have nothing else in them.

    A node that cannot be removed has no parent: it is gone, or going by another toolstack's hand, and then this
    transaction, which has seen the one with and the other without it, is in conflict.
    """
    while True:
        with contextlib.suppress(XenstoreError):
            store.rm(path)
        path = path.rpartition("/")[0]
        if path == top or store.directory_or_none(path):
            return
