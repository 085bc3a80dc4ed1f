"""The backend's side of one device: what it makes of the frontend's and the toolstack's nodes, and what it answers.

A `BackendDevice` never waits and never trusts: it reads both ends' nodes as they are now, takes one step after another
until it owes none, and writes its own state only in a transaction that has seen the node still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vtpm_impl.ring.backend import BackendRing
from vtpm_impl.xen.platform import GrantMapping, Platform, PlatformError, Port, StoreError, StoreView
from vtpm_impl.xenbus import nodes
from vtpm_impl.xenbus.journal import Journal, Silent
from vtpm_impl.xenbus.journalled import JournalledBackendRing, JournalledPort
from vtpm_impl.xenbus.nodes import Device, Keys, XenbusState
from vtpm_impl.xenbus.nodes import XenbusState as S

Report = Callable[[str], None]
"""Told the name of each step that is taken."""


@dataclass
class Connection:
    """A page that is mapped and a port that is bound."""

    keys: Keys
    mapping: GrantMapping
    port: Port
    ring: BackendRing


class BackendDevice:
    """One device of the backend, which is opened when its node is found, closed, and opened again when that is new."""

    def __init__(
        self,
        platform: Platform,
        device: Device,
        *,
        permits: Callable[[int], bool] = lambda locality: True,
        report: Report = lambda step: None,
        journal: Journal | None = None,
    ) -> None:
        """`permits(locality)`: whether this frontend may use it."""
        self.journal = journal or Silent()
        self._told_last: object = None  # what the journal was last told of a look
        self.device = device
        self.connection: Connection | None = None
        self.tracked = False
        self.leaving = False
        self._platform = platform
        self._store = platform.store
        self._permits = permits
        self._report = report
        self._directory = nodes.backend_directory(device)
        self._frontend = nodes.frontend_directory(device)
        self._seen = S.UNKNOWN
        self._seen_keys: Keys | None = None
        self._seen_v2 = False

    # ------------------------------------------------------------------------------------------------ what is read

    @property
    def watched(self) -> str:
        """The frontend's node whose changes concern this device."""
        return f"{self._frontend}/state"

    @property
    def closed(self) -> bool:
        """Whether it was released, and its node says so."""
        return not self.tracked and self.leaving and self._own() is S.CLOSED

    def track(self) -> bool:
        """Open the device if its node is whole; once released, only if that node was made anew. Whether it is open."""
        store, directory, own = self._store, self._directory, self._own()
        if self.leaving and not (own is S.INITIALISING and self._online()):
            if own is S.CLOSING:  # a toolstack asks for what is closed already
                self._take_owed()
            return False
        whole = store.read(f"{directory}/frontend") == self._frontend.encode() and (
            nodes.parse_uuid(store.read(f"{directory}/uuid")) is not None
        )
        if not whole or own is S.UNKNOWN:
            return False
        self.tracked = True
        self.leaving = False
        self._told_last = None
        self._step("backend_tracks")
        self._move(S.INIT_WAIT, frm=tuple(s for s in S if s is not S.UNKNOWN), online=True)
        self._write_version()
        return True

    def look(self) -> None:
        """Read both ends' states and the frontend's keys as they are now, and take every step that is owed."""
        frontend = self._frontend
        own = self._own()
        self._seen = nodes.parse_state(self._store.read(f"{frontend}/state"))
        self._seen_keys = nodes.parse_keys(
            self._store.read(f"{frontend}/ring-ref"), self._store.read(f"{frontend}/event-channel")
        )
        self._seen_v2 = self._store.read(f"{frontend}/feature-protocol-v2") == nodes.VERSION
        remade = own is S.INITIALISING  # by the toolstack: what was known of the device is over
        over = own is S.UNKNOWN or self._seen is S.UNKNOWN or not self._online()
        self._report("backend_looks")
        self._note_look(own, over=over)
        if remade:
            if not over and not self.leaving:
                self._step("backend_retires")
            self._write_version()
        self.leaving = self.leaving or over or remade
        self._take_owed()

    def _note_look(self, own: XenbusState, *, over: bool) -> None:
        """Tell the journal of a look that has found anything new; a watch may fire although nothing has changed."""
        keys = self._seen_keys if self._seen in (S.INITIALISED, S.CONNECTED) else None
        found = (own, self._seen, keys, over)
        if found != self._told_last:
            self._told_last = found
            self.journal.step("backend_looks")

    def retire(self) -> None:
        """Close the device, if it is open, although nobody asked for it."""
        if not self.tracked:
            return
        if not self.leaving:
            self._step("backend_retires")
        self.leaving = True
        self._take_owed()

    def release(self) -> None:
        """The device, which is closed, is open no longer."""
        self.tracked = False
        self._step("backend_releases_device")

    def _take_owed(self) -> None:
        for name, step, picks in self._owed():
            if step():
                self._step(name, **picks)

    def _own(self) -> XenbusState:
        return nodes.parse_state(self._store.read(f"{self._directory}/state"))

    def _online(self) -> bool:
        return self._store.read(f"{self._directory}/online") == b"1"

    # ----------------------------------------------------------------------------------------------- what is owed

    def _owed(self) -> Iterator[tuple[str, Callable[[], bool], dict[str, bool]]]:
        """The steps in their order; each says whether it was owed, and taken."""
        yield "backend_follows_closing", self._follow_closing, {}
        yield "backend_disconnects", self._disconnect_if_over, {}
        yield "backend_closes", self._close, {}
        yield "backend_awaits_reopening", self._await_reopening, {"closed": False}
        yield "backend_maps", self._connect, {}
        yield "backend_goes_to_connected", self._go_to_connected, {}

    def _over(self) -> bool:
        """The connection that is held is not the one that the frontend wants."""
        if self.connection is None:
            return False
        if self.leaving or self._seen is S.CLOSED:
            return True
        return self._seen in (S.INITIALISED, S.CONNECTED) and self._seen_keys != self.connection.keys

    def _follow_closing(self) -> bool:
        return self._seen is S.CLOSING and not self.leaving and self._move(S.CLOSING, frm=(S.INIT_WAIT, S.CONNECTED))

    def _disconnect_if_over(self) -> bool:
        if not self._over():
            return False
        self.disconnect()
        return True

    def disconnect(self) -> None:
        """Unbind and unmap; what the engine still works on is dropped when it is done."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.port.close()
            connection.mapping.unmap()

    def _close(self) -> bool:
        if not self.leaving or self.connection is not None:
            return False
        return self._move(S.CLOSED, frm=tuple(s for s in S if s not in (S.UNKNOWN, S.INITIALISING)))

    def _await_reopening(self) -> bool:
        if self.leaving or self.connection is not None or self._seen is not S.CLOSED:
            return False
        return self._move(S.INIT_WAIT, frm=(S.INITIALISING, S.CONNECTED, S.CLOSING, S.CLOSED), online=True)

    def _connect(self) -> bool:
        wanted = self._seen in (S.INITIALISED, S.CONNECTED) and not self.leaving and self.connection is None
        if not wanted or self._own() not in (S.INIT_WAIT, S.CONNECTED, S.CLOSED):
            return False
        connection = self._map() if self._seen_v2 and self._seen_keys is not None else None
        if connection is None:
            if self._move(S.CLOSED, frm=(S.INIT_WAIT, S.CONNECTED)):
                self._step("backend_refuses_connection", failed=True)
            return False
        self.connection = connection
        return True

    def _map(self) -> Connection | None:
        keys = self._seen_keys
        assert keys is not None
        try:
            mapping = self._platform.map_grant(self.device.domid, keys.ring_ref)
        except PlatformError:
            return None
        try:
            port = self._platform.bind_port(self.device.domid, keys.event_channel)
        except PlatformError:
            mapping.unmap()
            return None
        if not self.journal.writes:
            return Connection(keys, mapping, port, BackendRing(mapping.memory, port.notify, self._permits))
        ring = JournalledBackendRing(mapping.memory, port.notify, self._permits, self.journal)
        return Connection(keys, mapping, JournalledPort(port, self.journal, lambda: None), ring)

    def _go_to_connected(self) -> bool:
        if self.connection is None or self.leaving or self._seen not in (S.INITIALISED, S.CONNECTED):
            return False
        return self._move(S.CONNECTED, frm=(S.INIT_WAIT, S.CLOSED), online=True)

    # ----------------------------------------------------------------------------------------------- what is written

    def _move(self, to: XenbusState, *, frm: tuple[XenbusState, ...], online: bool = False) -> bool:
        """Write the own state if it is one of `frm` (and the device is online): seen and written in one transaction."""
        state, flag = f"{self._directory}/state", f"{self._directory}/online"

        def change(view: StoreView) -> bool:
            now = nodes.parse_state(view.read(state))
            if now is to or now not in frm or (online and view.read(flag) != b"1"):
                return False
            view.write(state, to.text)
            return True

        try:
            return self._store.transact(change)
        except StoreError:
            return False

    def _write_version(self) -> None:
        node, state = f"{self._directory}/feature-protocol-v2", f"{self._directory}/state"

        def change(view: StoreView) -> bool:
            if view.read(state) is None or view.read(node) == nodes.VERSION:
                return False
            view.write(node, nodes.VERSION)
            return True

        try:
            if self._store.transact(change):
                self._step("backend_publishes_version")
        except StoreError:
            return

    def remove_node(self) -> None:
        """Remove the device's node, which nobody else removes where the backend is a domain of its own."""
        directory = self._directory

        def change(view: StoreView) -> bool:
            if nodes.parse_state(view.read(f"{directory}/state")) is not S.CLOSED:
                return False
            view.remove(directory)
            return True

        try:
            if self._store.transact(change):
                self._step("backend_removes_node")
        except StoreError:
            return

    def _step(self, name: str, **picks: bool) -> None:
        self._report(name)
        self.journal.step(name, **picks)
