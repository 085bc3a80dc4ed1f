"""The backend: serves any number of frontends with one engine, each in its turn, none at another's expense."""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vtpm_impl.engines import Engine, EngineError
from vtpm_impl.ring.backend import Request
from vtpm_impl.xen.platform import Platform, PlatformError, StoreError
from vtpm_impl.xenbus import nodes
from vtpm_impl.xenbus.device import BackendDevice, Connection
from vtpm_impl.xenbus.nodes import Device

DIRECTORY = "backend/vtpm"
"""The directory that the toolstack makes a backend's devices in, relative to the backend's domain."""

SPIN = 0.0001
"""Seconds of asking one frontend for its next request before sleeping, with an engine that answers promptly."""

STREAK = 32
"""Requests that one frontend gets answered in a row before everybody else is looked at."""


@dataclass(frozen=True)
class Job:
    """A command in service, and the connection that it came from: whoever connects later gets nothing of it."""

    device: BackendDevice
    connection: Connection
    request: Request


class Backend:
    """All devices of this backend. One thread calls `step` or `serve`; `stop` may come from any."""

    def __init__(
        self,
        platform: Platform,
        engine: Engine,
        *,
        permits: Callable[[Device, int], bool] = lambda device, locality: True,
        removes_nodes: bool = False,
        report: Callable[[Device, str], None] = lambda device, step: None,
    ) -> None:
        """`permits(device, locality)` is the locality mask; `removes_nodes`: nobody else removes what was closed."""
        self._platform = platform
        self._engine = engine
        self._permits = permits
        self._removes_nodes = removes_nodes
        self._report = report
        self._devices: dict[Device, BackendDevice] = {}  # in the order of service: who was served last stands last
        self._selector = selectors.DefaultSelector()
        self._listening: dict[Device, tuple[Connection, int]] = {}
        self._job: Job | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._answers: queue.SimpleQueue[bytes | EngineError] = queue.SimpleQueue()
        self._commands: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        if not engine.prompt:
            self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
            self._worker.start()
        self._selector.register(platform.store.fileno(), selectors.EVENT_READ, None)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        platform.store.watch(DIRECTORY, DIRECTORY)

    # ------------------------------------------------------------------------------------------------------ running

    def serve(self) -> None:
        """Serve until `stop`, then close every device. Raises PlatformError when the store is gone."""
        try:
            while not self._stopping:
                self.step(None)
        finally:
            self.close()

    def stop(self) -> None:
        """Let `serve` return soon."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def step(self, timeout: float | None) -> None:
        """Wait for news, at most `timeout` seconds, and do all that it asks for."""
        for key, _ in self._selector.select(timeout):
            if key.fd == self._wake:
                os.eventfd_read(self._wake)
            elif key.data is None:
                self._read_watches()
            else:
                self._take_event(key.data)
        self._take_answer()
        last = self._serve_next()
        if last is not None and self._worker is None:
            self._linger(last)

    def close(self) -> None:
        """Close every device, the engine's thread, and the watches."""
        with contextlib.suppress(PlatformError):  # without a store there is nobody to tell
            for device in list(self._devices.values()):
                device.retire()
                self._settle(device)
            self._platform.store.unwatch(DIRECTORY, DIRECTORY)
        for device in self._devices.values():
            device.disconnect()
        if self._worker is not None:
            self._commands.put(None)
            self._worker.join(timeout=1)
        self._selector.close()
        if self._worker is None or not self._worker.is_alive():  # else it still rings this bell
            os.close(self._wake)

    # ---------------------------------------------------------------------------------------------------- the store

    def _read_watches(self) -> None:
        """Look once at every device that some event speaks of, however many events there are."""
        told: dict[Device, None] = {}
        for path, token in self._platform.store.events():
            device = nodes.device_of(path if token == DIRECTORY else token)
            if device is not None:
                told[device] = None
            elif token == DIRECTORY:
                # a directory above devices: all of them, or those of one domain, may have come or gone
                domid = nodes.domid_of(path)
                around = (*self._listed(domid), *self._devices)
                told |= dict.fromkeys(d for d in around if domid in (None, d.domid))
        for device in told:
            self._look(device)

    def _listed(self, domid: int | None) -> list[Device]:
        store = self._platform.store
        domids = store.directory(DIRECTORY) if domid is None else (str(domid),)
        paths = [
            f"{DIRECTORY}/{above}/{handle}" for above in domids for handle in store.directory(f"{DIRECTORY}/{above}")
        ]
        return [device for device in map(nodes.device_of, paths) if device is not None]

    def _look(self, name: Device) -> None:
        device = self._devices.get(name)
        if device is None:
            device = self._new_device(name)
            if not device.find():
                return
            try:
                self._platform.store.watch(device.watched, nodes.backend_directory(name))
            except StoreError:  # as many watches as the store lets this domain have
                device.retire()
                return
            self._devices[name] = device
        device.look()
        self._settle(device)

    def _new_device(self, name: Device) -> BackendDevice:
        return BackendDevice(
            self._platform,
            name,
            permits=lambda locality: self._permits(name, locality),
            report=lambda step: self._report(name, step),
        )

    def _settle(self, device: BackendDevice) -> None:
        """Follow what a look has changed: the port that is listened to, and whether the device is still there."""
        name, connection = device.device, device.connection
        heard, descriptor = self._listening.get(name, (None, -1))
        if heard is not connection:
            if heard is not None:
                self._selector.unregister(descriptor)
                del self._listening[name]
            if connection is not None:
                self._listening[name] = (connection, connection.port.fileno())
                self._selector.register(connection.port.fileno(), selectors.EVENT_READ, device)
                self._take_event(device)
        busy = self._job is not None and self._job.device is device
        if device.leaving and connection is None and not busy:
            self._release(device)

    def _release(self, device: BackendDevice) -> None:
        self._devices.pop(device.device, None)
        device.tracked = False
        self._report(device.device, "backend_releases_device")
        self._platform.store.unwatch(device.watched, nodes.backend_directory(device.device))
        if self._removes_nodes:
            device.remove_node()

    # --------------------------------------------------------------------------------------------------- the engine

    def _take_event(self, device: BackendDevice) -> bool:
        connection = device.connection
        if connection is None or not connection.port.take():
            return False
        connection.ring.on_event()
        self._report(device.device, "backend_wakes")
        return True

    def _serve_next(self) -> BackendDevice | None:
        """Give the engine the request of whoever has waited longest since it was served; who was served last."""
        last = None
        while self._job is None:
            waiting = (d for d in self._devices.values() if d.connection is not None and d.connection.ring.ready)
            device = next(waiting, None)
            if device is None:
                break
            self._devices[device.device] = self._devices.pop(device.device)
            last = device
            self._serve(device)
        return last

    def _serve(self, device: BackendDevice) -> None:
        """Give the engine the request of one device; a prompt engine has answered it when this returns."""
        connection = device.connection
        assert connection is not None
        request = connection.ring.fetch()
        self._report(device.device, "backend_fetches")
        if request is None:
            return
        if self._worker is None:
            self._finish(device, connection, self._ask(request))
        else:
            self._job = Job(device, connection, request)
            self._commands.put(request)

    def _linger(self, device: BackendDevice) -> None:
        """Go on with one frontend while it asks without a pause, for a while: to sleep and wake takes longer."""
        connection = device.connection
        assert connection is not None
        take, ring = connection.port.take, connection.ring
        for _ in range(STREAK):
            deadline = time.monotonic() + SPIN
            while not take():
                if time.monotonic() > deadline:
                    return
            ring.on_event()
            self._report(device.device, "backend_wakes")
            if ring.ready:
                self._serve(device)

    def _ask(self, request: Request) -> bytes | EngineError:
        try:
            return self._engine.transmit(request.command, locality=request.locality)
        except EngineError as error:
            return error

    def _work(self) -> None:
        while (request := self._commands.get()) is not None:
            self._answers.put(self._ask(request))
            os.eventfd_write(self._wake, 1)

    def _take_answer(self) -> None:
        if self._job is None or self._answers.empty():
            return
        answer = self._answers.get()
        job, self._job = self._job, None
        if job.device.connection is job.connection:
            self._finish(job.device, job.connection, answer)
        else:
            self._report(job.device.device, "backend_drops_stale_answer")
            self._settle(job.device)

    def _finish(self, device: BackendDevice, connection: Connection, answer: bytes | EngineError) -> None:
        connection.ring.finish(b"" if isinstance(answer, EngineError) else answer)
        self._report(device.device, "backend_finishes")
