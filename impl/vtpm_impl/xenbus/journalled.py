"""Rings and ports whose steps are written into a journal, each step and its line in one piece."""

from __future__ import annotations

from collections.abc import Callable

from vtpm_impl.ring.backend import BackendRing, Request
from vtpm_impl.ring.frontend import FrontendRing
from vtpm_impl.xen.platform import Memory, Port
from vtpm_impl.xenbus.journal import Journal


class JournalledPort:
    """A port whose events are taken where the journal can be told: never in `wait`."""

    def __init__(self, port: Port, journal: Journal, wakes: Callable[[], None]) -> None:
        """`wakes` is called when an event was taken."""
        self._port = port
        self._journal = journal
        self._wakes = wakes
        self.fileno = port.fileno
        self.notify = port.notify
        self.close = port.close

    @property
    def number(self) -> int:
        """As the port's."""
        return self._port.number

    def wait(self, seconds: float, /) -> bool:
        """Leave it to the descriptor to tell."""
        del seconds
        return False

    def take(self) -> bool:
        """Clear the bit; whether it was set."""
        with self._journal:
            taken = self._port.take()
            if taken:
                self._wakes()
        return taken


class JournalledFrontendRing(FrontendRing):
    """A frontend's side."""

    def __init__(self, page: Memory, notify: Callable[[], None], journal: Journal) -> None:
        super().__init__(page, notify)
        self._journal = journal
        self._awake = False

    def wake(self) -> None:
        """An event has been taken."""
        self._journal.step("frontend_wakes")
        self._awake = True

    def submit(self, command: bytes, *, locality: int = 0, extra: int = 0) -> None:
        """As a frontend's."""
        with self._journal:
            super().submit(command, locality=locality, extra=extra)
            self._journal.step("frontend_submits", length=len(command), extra=extra)
            self._journal.step("frontend_notifies")
            self._awake = True

    def look(self) -> bytes | None:
        """As a frontend's."""
        with self._journal:
            if not self._awake:
                self._journal.step("frontend_polls")
            self._awake = False
            answer = None
            try:
                answer = super().look()
            finally:  # an answer that is no whole packet is none of any length
                self._journal.step("frontend_looks", header=len(answer or b""))
        return answer

    def cancel(self) -> None:
        """As a frontend's."""
        with self._journal:
            super().cancel()
            self._journal.step("frontend_cancels")
            self._journal.step("frontend_notifies")


class JournalledBackendRing(BackendRing):
    """A backend's side."""

    def __init__(
        self, page: Memory, notify: Callable[[], None], permits: Callable[[int], bool], journal: Journal
    ) -> None:
        super().__init__(page, self._count(notify), self._ask(permits))
        self._journal = journal
        self._told = 0
        self._acknowledged = self._refused = False
        self._permitted = True

    def _count(self, notify: Callable[[], None]) -> Callable[[], None]:
        def told() -> None:
            notify()
            self._told += 1

        return told

    def _ask(self, permits: Callable[[int], bool]) -> Callable[[int], bool]:
        def permitted(locality: int) -> bool:
            self._permitted = permits(locality)
            return self._permitted

        return permitted

    def on_event(self) -> None:
        """As a backend's."""
        with self._journal:
            self._begin()
            super().on_event()
            self._journal.step("backend_wakes")
            self._end()

    def fetch(self) -> Request | None:
        """As a backend's."""
        with self._journal:
            self._begin()
            request = super().fetch()
            if self._refused:
                self._journal.step("backend_refuses_request", permitted=self._permitted, with_error=True)
            else:
                self._journal.step("backend_fetches", permitted=True)
            self._end()
        return request

    def finish(self, response: bytes) -> None:
        """As a backend's."""
        with self._journal:
            self._begin()
            super().finish(response)
            self._journal.step("backend_finishes", reply=len(response))
            self._end()

    def _begin(self) -> None:
        self._told = 0
        self._acknowledged = self._refused = False
        self._permitted = True

    def _end(self) -> None:
        if self._acknowledged:
            self._journal.step("backend_acknowledges_cancel")
        if self._told:
            self._journal.step("backend_notifies")

    def _answer(self, extra: int, response: bytes) -> None:
        self._refused = True
        super()._answer(extra, response)

    def _acknowledge(self) -> None:
        self._acknowledged = True
        super()._acknowledge()
