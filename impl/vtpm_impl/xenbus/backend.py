"""The backend: serves any number of frontends with one engine, each in its turn, none at another's expense."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vtpm_impl.engines import Engine, EngineError
from vtpm_impl.ring.backend import Request
from vtpm_impl.xen.platform import Platform, PlatformError, Port, StoreError
from vtpm_impl.xenbus import nodes
from vtpm_impl.xenbus.device import BackendDevice, Connection
from vtpm_impl.xenbus.nodes import Device
from vtpm_impl.xenbus.spinning import SPIN, Spinning

DIRECTORY = "backend/vtpm"
"""The directory that the toolstack makes a backend's devices in, relative to the backend's domain."""

LINGER = 10
"""Milliseconds of sleep with an eye on the frontend that was served last."""

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
        self._devices: dict[Device, BackendDevice] = {}
        self._left: set[Device] = set()  # closed here, and not made anew since: it would only have to be closed again
        self._ready: dict[Device, BackendDevice] = {}  # in the order of service: who asks next stands last
        self._poll = select.epoll()
        self._ports: dict[int, BackendDevice] = {}  # by the descriptor of the port
        self._listening: dict[Device, tuple[Connection, int]] = {}
        self._spinning = Spinning()
        self._job: Job | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._answers: queue.SimpleQueue[bytes | EngineError] = queue.SimpleQueue()
        self._commands: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
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
        for descriptor, _ in self._poll.poll(timeout):
            device = self._ports.get(descriptor)
            if device is not None:
                self._take_event(device)
            elif descriptor == self._wake:
                os.eventfd_read(self._wake)
            else:
                self._read_watches()
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
        device = self._devices.get(name)
        if device is None:
            device = self._new_device(name)
            if name in self._left and not device.is_new():
                device.close_again()
                return
            if not device.find():
                return
            self._left.discard(name)
            try:
                self._platform.store.watch(device.watched, nodes.backend_directory(name))
            except StoreError:  # as many watches as the store lets this domain have
                device.retire()
                return
            self._devices[name] = device
        device.look()
        self._follow(device)

    def _follow(self, device: BackendDevice) -> None:
        """Settle; a device that was made anew while the old one was being closed is looked at next."""
        self._settle(device)
        if device.device not in self._devices and device.is_new():
            self._look(device.device)

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
        if device.leaving and connection is None and not busy:
            self._release(device)

    def _release(self, device: BackendDevice) -> None:
        self._devices.pop(device.device, None)
        device.tracked = False
        self._left.add(device.device)
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
        if connection.ring.ready:
            self._ready.setdefault(device.device, device)
        return True

    def _serve_next(self) -> BackendDevice | None:
        """Give the engine the request of whoever has waited longest; who was served last."""
        last = None
        while self._ready and self._job is None:
            device = self._ready.pop(next(iter(self._ready)))
            if device.connection is not None and device.connection.ring.ready:
                self._serve(device)
                last = device
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
        """Go on with one frontend for as long as nobody else has news, and at most STREAK requests."""
        connection = device.connection
        assert connection is not None
        port, ring = connection.port, connection.ring
        poll = select.poll()
        poll.register(port.fileno(), select.POLLIN)
        poll.register(self._poll.fileno(), select.POLLIN)
        for _ in range(STREAK):
            if not self._wait(poll, port):
                return
            ring.on_event()
            self._report(device.device, "backend_wakes")
            if ring.ready:
                self._serve(device)

    def _wait(self, poll: select.poll, port: Port) -> bool:
        """Wait for an event of a port, but no longer than until somebody else has news; whether it came."""
        spinning = self._spinning
        started = time.monotonic()
        wasted = 0.0
        if spinning.worthwhile():
            until = started + SPIN
            while (now := time.monotonic()) < until:
                if port.take():
                    spinning.took(now - started)
                    return True
            wasted = SPIN
        # to be woken through `_poll` takes longer than to be woken by the port itself
        woken = [descriptor for descriptor, _ in poll.poll(LINGER)]
        if port.fileno() not in woken or not port.take():
            return False
        spinning.took(time.monotonic() - started + wasted)
        return True

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
            self._follow(job.device)

    def _finish(self, device: BackendDevice, connection: Connection, answer: bytes | EngineError) -> None:
        connection.ring.finish(b"" if isinstance(answer, EngineError) else answer)
        self._report(device.device, "backend_finishes")
