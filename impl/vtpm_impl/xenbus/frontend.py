"""The frontend: opens a device through xenstore, carries commands over its ring, and closes it.

Every wait has an end. A frontend belongs to one thread; `cancel` alone may be called from another.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vtpm_impl.ring.frontend import Cancelled, FrontendRing, RingError
from vtpm_impl.xen.platform import Grant, Platform, Poller, Port, StoreView
from vtpm_impl.xenbus import nodes
from vtpm_impl.xenbus.journal import Journals, silent
from vtpm_impl.xenbus.journalled import JournalledFrontendRing, JournalledPort
from vtpm_impl.xenbus.nodes import Device, XenbusState
from vtpm_impl.xenbus.nodes import XenbusState as S

OPEN_TIMEOUT = 10.0
"""Seconds that a toolstack, too, waits for a backend."""

COMMAND_TIMEOUT = 120.0
"""Seconds for a command whose caller names none: the longest that Linux waits."""

CANCEL_TIMEOUT = 2.0
"""Seconds for the backend to answer a cancel."""

NAP = 0.001
"""Seconds of waiting for the backend alone, before xenstore and whoever cancels are listened to as well."""


class FrontendError(Exception):
    """The device cannot be used; the message says why."""


class NoDevice(FrontendError):
    """xenstore has no such device, or its nodes make no sense."""


class Refused(FrontendError):
    """The backend has refused the connection, or does not speak version 2."""


class DeviceLost(FrontendError):
    """The backend, or the device's nodes, are gone."""


class TimedOut(FrontendError):
    """What was waited for has not come in time. A command may have been executed all the same."""


@dataclass
class Connection:
    """A page that is granted and a port that is open."""

    grant: Grant
    port: Port
    ring: FrontendRing
    poll: Poller


class Frontend:
    """One vTPM device of this domain."""

    def __init__(
        self,
        platform: Platform,
        handle: int = 0,
        *,
        report: Callable[[str], None] = lambda step: None,
        journals: Journals = silent,
    ) -> None:
        """`report` is told the name of each step. Raises NoDevice."""
        self._platform = platform
        self._store = platform.store
        self._report = report
        self._journal = journals(Device(platform.domid, handle))
        self._directory = f"device/vtpm/{handle}"
        self._connection: Connection | None = None
        self._kept: list[Grant] = []  # pages that the backend still had mapped when they were given up
        self._version_read = False
        self._turn = threading.RLock()
        self._interrupted = False
        self._interrupt = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        backend = nodes.parse_number(self._store.read(f"{self._directory}/backend-id"))
        directory = self._store.read(f"{self._directory}/backend")
        if backend is None or not directory:
            os.close(self._interrupt)
            raise NoDevice(f"{self._directory} names no backend: backend-id {backend!r}, backend {directory!r}")
        self.backend = backend
        self._backend_directory = directory.decode()
        self._store.watch(f"{self._backend_directory}/state", self._directory)

    # --------------------------------------------------------------------------------------------------- open, close

    def open(self, timeout: float = OPEN_TIMEOUT) -> None:
        """Publish a new page and port and wait until the backend serves them. Raises Refused, DeviceLost, TimedOut."""
        with self._turn:
            self._open(self._platform.now() + timeout)

    def _open(self, deadline: float) -> None:
        state = self._own()
        if state is S.UNKNOWN:
            raise NoDevice(f"{self._directory} is gone")
        if state in (S.INITIALISED, S.CONNECTED, S.CLOSING):
            with self._journal:
                self._move(S.CLOSED)
                self._step("frontend_closes")
            state = S.CLOSED
        if state is S.CLOSED:
            self._await_backend(lambda be: be in (S.INIT_WAIT, S.CLOSED), deadline, "let go of the old connection")
        with self._journal:
            self._allocate()
            found = self._backend_state()  # a backend that is still Closed has yet to see that this end is back
            self._publish()
            self._move(S.INITIALISED)
            self._step("frontend_goes_to_initialised", directly=False)
        try:
            self._await_backend(lambda be: be is S.CONNECTED, deadline, "connect", tolerated=found)
            self._read_version()
        except FrontendError:
            self.close()
            raise
        with self._journal:
            self._move(S.CONNECTED)
            self._step("frontend_goes_to_connected")

    def close(self, timeout: float = OPEN_TIMEOUT) -> None:
        """Close the connection, wait until the backend let go, and free the page. Does nothing if none is open.

        A command that another thread waits for is waited for first; `cancel` makes that short.
        """
        with self._turn:
            self._close(timeout)

    def _close(self, timeout: float) -> None:
        connection, self._connection = self._connection, None
        self._version_read = False
        if connection is None:
            return
        with self._journal:
            if self._own() in (S.INITIALISED, S.CONNECTED):
                self._move(S.CLOSING)
                self._step("frontend_starts_closing")
            else:  # the toolstack has removed the nodes, or made them anew
                self._step("frontend_loses_device")
            self._retract()
            closing = self._own() is S.CLOSING
            if closing:
                self._move(S.CLOSED)
                self._step("frontend_closes")
        if closing:
            let_go = (S.INIT_WAIT, S.CLOSED, S.UNKNOWN)
            with contextlib.suppress(FrontendError):  # if not, the page is kept until the backend has unmapped it
                self._await_backend(lambda be: be in let_go, self._platform.now() + timeout, "let go")
        with self._journal:
            connection.port.close()
            self._kept.append(connection.grant)
            self._release_kept()
            self._step("frontend_releases_page")

    def shutdown(self) -> None:
        """Close for good: the command in service is cancelled, and nothing of this frontend is left."""
        self.cancel()
        self.close()
        self._store.unwatch(f"{self._backend_directory}/state", self._directory)
        os.close(self._interrupt)

    def _allocate(self) -> None:
        self._release_kept()
        grant = self._platform.grant(self.backend)
        port = self._platform.open_port(self.backend)
        poll = self._platform.poller()
        for descriptor in (port.fileno(), self._store.fileno(), self._interrupt):
            poll.register(descriptor, select.POLLIN)
        if self._journal.writes:
            ring = JournalledFrontendRing(grant.memory, port.notify, self._journal)
            self._connection = Connection(grant, JournalledPort(port, self._journal, ring.wake), ring, poll)
        else:
            self._connection = Connection(grant, port, FrontendRing(grant.memory, port.notify), poll)
        self._version_read = False
        self._step("frontend_allocates")

    def _release_kept(self) -> None:
        self._kept = [grant for grant in self._kept if not grant.end()]

    def _publish(self) -> None:
        connection = self._connection
        assert connection is not None

        def change(view: StoreView) -> None:
            view.write(f"{self._directory}/ring-ref", b"%d" % connection.grant.ref)
            view.write(f"{self._directory}/event-channel", b"%d" % connection.port.number)
            view.write(f"{self._directory}/feature-protocol-v2", nodes.VERSION)

        self._store.transact(change)
        self._step("frontend_publishes")

    def _retract(self) -> None:
        keys = f"{self._directory}/event-channel", f"{self._directory}/ring-ref"

        def change(view: StoreView) -> bool:
            if view.read(f"{self._directory}/state") is None or not any(view.read(key) for key in keys):
                return False
            for key in keys:
                view.remove(key)
            return True

        if self._store.transact(change):
            self._step("frontend_retracts_keys")

    # ------------------------------------------------------------------------------------------------------ commands

    def transmit(self, command: bytes, *, locality: int = 0, timeout: float = COMMAND_TIMEOUT) -> bytes:
        """The TPM's answer to a command. Raises DeviceLost, TimedOut, or an error of the ring (TooLong, Busy, ...).

        Threads take turns. At the time-out, or when `cancel` is called, the command is cancelled, and the backend has
        some time to say so.
        """
        deadline = self._platform.now() + timeout
        if not self._turn.acquire(blocking=False) and not self._turn.acquire(timeout=timeout):
            raise TimedOut(f"the commands of others took all of {timeout} s")
        try:
            return self._exchange(command, locality, deadline)
        finally:
            self._turn.release()

    def _exchange(self, command: bytes, locality: int, deadline: float) -> bytes:
        connection = self._connection
        if connection is None or not self._version_read:
            raise DeviceLost(f"{self._directory} is not open")
        if self._interrupted:
            self._forget_interrupt()
        connection.ring.submit(command, locality=locality)
        self._report("frontend_submits")
        answer = self._await_answer(connection, deadline)
        if answer is not None:
            return answer
        connection.ring.cancel()
        self._report("frontend_cancels")
        answer = self._await_answer(connection, self._platform.now() + CANCEL_TIMEOUT, cancelling=True)
        if answer is None:
            raise TimedOut(f"no answer to {command[:10].hex()} in time, nor to the cancel after it")
        raise Cancelled(f"{command[:10].hex()} was cancelled, and answered meanwhile; it has been executed")

    def attend(self) -> bool:
        """Take the news of the store, between commands: a backend that is gone ends the connection. False if none is.

        Whoever waits for an answer meanwhile takes the news instead.
        """
        if not self._turn.acquire(blocking=False):
            return True
        try:
            if self._connection is None:
                for _ in self._store.events():
                    pass
            else:
                with contextlib.suppress(DeviceLost):
                    self._lose_if_gone()
            return self._connection is not None
        finally:
            self._turn.release()

    def cancel(self) -> None:
        """Cancel the command that another thread waits for; without one, nothing happens."""
        self._interrupted = True
        os.eventfd_write(self._interrupt, 1)

    def _forget_interrupt(self) -> None:
        self._interrupted = False
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._interrupt)

    def _await_answer(self, connection: Connection, deadline: float, *, cancelling: bool = False) -> bytes | None:
        """The answer; None at the deadline, or when a cancel was asked for."""
        look, port = connection.ring.look, connection.port
        while port.wait(NAP):
            answer = look()
            if answer is not None:
                return answer
            if self._platform.now() >= deadline:
                break
        while True:
            left = deadline - self._platform.now()
            with self._journal:
                answer = look()
                if answer is not None:
                    return answer
                if left <= 0:
                    self._step("frontend_gives_up" if cancelling else "frontend_times_out")
                    return None
            for woken, _ in connection.poll.poll(left * 1000):
                if woken == port.fileno():
                    port.take()
                elif woken == self._interrupt:
                    self._forget_interrupt()
                    if not cancelling:
                        deadline = self._platform.now()
                else:
                    self._lose_if_gone()

    def _lose_if_gone(self) -> None:
        for _ in self._store.events():
            pass
        with self._journal:
            state, own = self._backend_state(), self._own()
            lost = state in (S.UNKNOWN, S.CLOSING, S.CLOSED) or own in (S.UNKNOWN, S.INITIALISING)
            if lost:
                self.close(timeout=0)  # whoever waits for an answer is told now
        if lost:
            raise DeviceLost(f"the backend of {self._directory} is {state.name}")

    # --------------------------------------------------------------------------------------------------------- nodes

    def _step(self, name: str, **picks: bool) -> None:
        self._report(name)
        self._journal.step(name, **picks)

    def _own(self) -> XenbusState:
        return nodes.parse_state(self._store.read(f"{self._directory}/state"))

    def _backend_state(self) -> XenbusState:
        return nodes.parse_state(self._store.read(f"{self._backend_directory}/state"))

    def _move(self, to: XenbusState) -> None:
        node = f"{self._directory}/state"

        def change(view: StoreView) -> bool:
            if view.read(node) is None:
                return False
            view.write(node, to.text)
            return True

        if not self._store.transact(change):
            raise DeviceLost(f"{self._directory} is gone")

    def _read_version(self) -> None:
        with self._journal:
            found = self._store.read(f"{self._backend_directory}/feature-protocol-v2")
            if found == nodes.VERSION:
                self._step("frontend_reads_version")
        if found != nodes.VERSION:
            raise Refused(f"the backend's feature-protocol-v2 is {found!r}; this frontend speaks version 2 only")
        self._version_read = True

    def _await_backend(
        self,
        settled: Callable[[XenbusState], bool],
        deadline: float,
        what: str,
        *,
        tolerated: XenbusState = S.UNKNOWN,
    ) -> None:
        """Wait for a state of the backend. Raises Refused if it closes instead, DeviceLost, TimedOut.

        `tolerated` is the state that it had, which means nothing until it has had another one.
        """
        poll = self._platform.poller()
        poll.register(self._store.fileno(), select.POLLIN)
        while True:
            state = self._backend_state()
            if settled(state):
                return
            if state is S.UNKNOWN:
                raise DeviceLost(f"the backend's node {self._backend_directory} is gone")
            if state is not tolerated:
                tolerated = S.UNKNOWN
            if self._connection is not None and state in (S.CLOSING, S.CLOSED) and state is not tolerated:
                raise Refused(f"the backend went to {state.name} instead of serving {self._directory}")
            left = deadline - self._platform.now()
            if left <= 0:
                raise TimedOut(f"the backend is {state.name}; it did not {what} in time")
            poll.poll(left * 1000)
            for _ in self._store.events():
                pass


def await_device(platform: Platform, handle: int = 0, timeout: float | None = None) -> None:
    """Wait until the toolstack has made a device for this domain; for ever without a time-out. Raises TimedOut."""
    store, path = platform.store, f"device/vtpm/{handle}/backend"
    deadline = None if timeout is None else platform.now() + timeout
    poll = platform.poller()
    poll.register(store.fileno(), select.POLLIN)
    store.watch(path, path)
    try:
        while not store.read(path):
            left = None if deadline is None else deadline - platform.now()
            if left is not None and left <= 0:
                raise TimedOut(f"nobody has made a vtpm {handle} for domain {platform.domid} in {timeout:g} s")
            poll.poll(None if left is None else left * 1000)
            for _ in store.events():
                pass
    finally:
        store.unwatch(path, path)


__all__ = ["DeviceLost", "Frontend", "FrontendError", "NoDevice", "Refused", "RingError", "TimedOut", "await_device"]
