"""The backend: serves any number of frontends with one engine, each in its turn, none at another's expense."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vtpm_impl.engines import Engine, EngineError
from vtpm_impl.ring.backend import Request
from vtpm_impl.xen.platform import Platform, PlatformError, StoreError
from vtpm_impl.xenbus import nodes
from vtpm_impl.xenbus.device import BackendDevice, Connection
from vtpm_impl.xenbus.journal import Journals, silent
from vtpm_impl.xenbus.lingering import Lingering
from vtpm_impl.xenbus.nodes import Device

DIRECTORY = "backend/vtpm"
"""The directory that the toolstack makes a backend's devices in, relative to the backend's domain."""

LINGER = 0.0003
"""Seconds of waiting for the frontend that was served last alone."""

REMOVAL = 1.5
"""Seconds that a closed device's node is left standing for the toolstack to see: libxl, which waits for Closed, takes a
node that has gone for an error (libxl_event.c, devstate_callback), and does not wait longer than 10 for its removal."""

STREAK = 32
"""Requests that one frontend gets answered in a row before everybody else is looked at."""


@dataclass
class Job:
    """A command in service, and the connection that it came from: whoever connects later gets nothing of it."""

    device: BackendDevice
    connection: Connection
    request: Request
    done: bool = False
    goes_on: bool = False  # there may be more to do for it


class Backend:
    """All devices of this backend. One thread calls `step` or `serve`; `stop` may come from any.

    An engine that is not prompt has a thread of its own, which looks after the frontend in service and no other. That
    frontend's connection is under a lock meanwhile, though not while the engine works.
    """

    def __init__(
        self,
        platform: Platform,
        engine: Engine,
        *,
        permits: Callable[[Device, int], bool] = lambda device, locality: True,
        removal: float | None = None,
        report: Callable[[Device, str], None] = lambda device, step: None,
        journals: Journals = silent,
    ) -> None:
        """`permits(device, locality)` is the locality mask.

        `removal`: nobody else removes the nodes of closed devices, which are to stand for so many seconds.
        """
        self._platform = platform
        self._engine = engine
        self._permits = permits
        self._removal = removal
        self._closed: dict[Device, tuple[float, BackendDevice]] = {}  # to be removed then; who was closed last is last
        self._report = report
        self._journals = journals
        self._devices: dict[Device, BackendDevice] = {}  # those that were released, too: they know that they were
        self._ready: dict[Device, BackendDevice] = {}  # in the order of service: who asks next stands last
        self._poll = select.epoll()
        self._ports: dict[int, BackendDevice] = {}  # by the descriptor of the port
        self._listening: dict[Device, tuple[Connection, int]] = {}
        self._lingering = Lingering()
        self._job: Job | None = None
        self._lock = threading.RLock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        if not engine.prompt:
            self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
            self._worker.start()
        self._poll.register(platform.store.fileno(), select.EPOLLIN)
        self._poll.register(self._wake, select.EPOLLIN)
        platform.store.watch(DIRECTORY, DIRECTORY)

    @property
    def serving(self) -> Device | None:
        """The device whose command the engine works on."""
        return self._job.device.device if self._job is not None else None

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
        for descriptor, _ in self._poll.poll(0 if self._ready and self._job is None else self._until_removal(timeout)):
            device = self._ports.get(descriptor)
            if device is not None:
                self._take_event(device)
            elif descriptor == self._wake:
                os.eventfd_read(self._wake)
            else:
                self._read_watches()
        self._end_job()
        self._serve_ready()
        if self._closed:
            self._remove_closed(self._platform.now())

    def close(self) -> None:
        """Close every device, the engine's thread, and the watches."""
        with contextlib.suppress(PlatformError):  # without a store there is nobody to tell
            for device in self._devices.values():
                with self._lock, device.journal:
                    device.retire()
                self._settle(device)
            self._remove_closed(math.inf)
            self._platform.store.unwatch(DIRECTORY, DIRECTORY)
        for device in self._devices.values():
            with self._lock:
                device.disconnect()
        if self._worker is not None:
            self._jobs.put(None)
            self._worker.join(timeout=1)
        self._poll.close()
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
        """Go on with a device that is open; open one that is not, if it is due. One look does either once."""
        with self._kept(name), self._journals(name):
            if name not in self._devices:
                self._devices[name] = self._new_device(name)
            device = self._devices[name]
            if device.tracked:
                device.look()
                self._settle(device)
            if not device.tracked and device.track():
                try:
                    self._platform.store.watch(device.watched, nodes.backend_directory(name))
                except StoreError:  # as many watches as the store lets this domain have
                    device.retire()
                else:
                    device.look()
            self._settle(device)

    def _new_device(self, name: Device) -> BackendDevice:
        return BackendDevice(
            self._platform,
            name,
            permits=lambda locality: self._permits(name, locality),
            report=lambda step: self._report(name, step),
            journal=self._journals(name),
        )

    def _settle(self, device: BackendDevice) -> None:
        """Follow what a look has changed: the port that is listened to, and whether the device is still there."""
        name, connection = device.device, device.connection
        heard, descriptor = self._listening.get(name, (None, -1))
        if heard is not connection:
            if heard is not None:  # a port that is closed polls no more
                del self._listening[name]
                del self._ports[descriptor]
            if connection is not None:
                descriptor = connection.port.fileno()
                self._listening[name] = (connection, descriptor)
                self._ports[descriptor] = device
                self._poll.register(descriptor, select.EPOLLIN)
                self._take_event(device)
        busy = self._job is not None and self._job.device is device
        if device.tracked and device.leaving and connection is None and not busy:
            self._release(device)
        if self._removal is not None:
            self._await_removal(device, self._removal)

    def _release(self, device: BackendDevice) -> None:
        device.release()
        with contextlib.suppress(StoreError):  # there is no watch if the store did not let this domain have one more
            self._platform.store.unwatch(device.watched, nodes.backend_directory(device.device))

    def _await_removal(self, device: BackendDevice, seconds: float) -> None:
        """Let the node of a closed device stand for so long from now on."""
        self._closed.pop(device.device, None)
        if device.closed:
            self._closed[device.device] = (self._platform.now() + seconds, device)

    def _until_removal(self, timeout: float | None) -> float | None:
        """The seconds until the next removal is due, or `timeout` where that is sooner."""
        if not self._closed:
            return timeout
        due, _ = next(iter(self._closed.values()))
        left = max(0.0, due - self._platform.now())
        return left if timeout is None else min(left, timeout)

    def _remove_closed(self, now: float) -> None:
        for due, device in list(self._closed.values()):
            if due > now:
                return
            del self._closed[device.device]
            with device.journal:
                device.remove_node()

    # --------------------------------------------------------------------------------------------------- the engine

    def _kept(self, name: Device) -> contextlib.AbstractContextManager[object]:
        """Keep the engine's thread off a device, if it is the one in service."""
        return self._lock if self.serving == name else contextlib.nullcontext()

    def _take_event(self, device: BackendDevice) -> None:
        with self._kept(device.device), device.journal:
            connection = device.connection
            if connection is None or not connection.port.take():
                return
            self._note_event(device, connection)
            if connection.ring.ready:
                self._ready.setdefault(device.device, device)

    def _note_event(self, device: BackendDevice, connection: Connection) -> None:
        connection.ring.on_event()
        self._report(device.device, "backend_wakes")

    def _serve_ready(self) -> None:
        """Look after everybody who was ready when this began, as long as the engine is free, the longest first."""
        for _ in range(len(self._ready)):
            if self._job is not None:
                return
            device = self._ready.pop(next(iter(self._ready)))
            connection = device.connection
            if connection is None:
                continue
            request = self._fetch(device, connection)
            if request is not None and self._worker is not None:
                self._job = Job(device, connection, request)
                self._jobs.put(self._job)
            elif self._attend(device, connection, request):
                self._ready[device.device] = device

    def _fetch(self, device: BackendDevice, connection: Connection) -> Request | None:
        """The request that waits, if one does."""
        if not connection.ring.ready:
            return None
        request = connection.ring.fetch()
        self._report(device.device, "backend_fetches")
        return request

    def _attend(self, device: BackendDevice, connection: Connection, request: Request | None) -> bool:
        """Serve a frontend, and go on with it as long as it has more, nobody else is ready, and for STREAK requests.

        False once its descriptor will tell of what comes next, or its connection is over.
        """
        served = 0
        while True:
            if request is not None:
                answer = self._ask(request)
                served += 1
            with self._lock:
                if device.connection is not connection:
                    self._report(device.device, "backend_drops_stale_answer")
                    device.journal.step("backend_drops_stale_answer")
                    return False
                if request is not None:
                    connection.ring.finish(answer)
                    self._report(device.device, "backend_finishes")
                if self._wait(connection, linger=request is not None and not self._ready):
                    self._note_event(device, connection)
                elif not connection.ring.ready:
                    return False
                if self._ready or request is None or served == STREAK:
                    return True
                request = self._fetch(device, connection)

    def _wait(self, connection: Connection, *, linger: bool) -> bool:
        """Wait for the next event of a connection, for a while if that is likely to come; whether it has."""
        if not linger or not self._lingering.worthwhile():
            return connection.port.wait(0)
        came = connection.port.wait(LINGER)
        self._lingering.was(came)
        return came

    def _ask(self, request: Request) -> bytes:
        """The engine's answer; none, which no frontend will see, where it fails."""
        command, locality, _ = request
        try:
            return self._engine.transmit(command, locality=locality)
        except EngineError:
            return b""

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.goes_on = self._attend(job.device, job.connection, job.request)
            job.done = True
            os.eventfd_write(self._wake, 1)

    def _end_job(self) -> None:
        job = self._job
        if job is None or not job.done:
            return
        self._job = None
        if job.device.connection is not job.connection:
            self._look(job.device.device)
        elif job.goes_on:
            self._ready.setdefault(job.device.device, job.device)
