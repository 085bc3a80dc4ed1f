"""The backend's side of one connection: takes requests from the page and puts answers into it.

Nothing here waits. Whoever owns a `BackendRing` calls `on_event` when the port's bit was set, `fetch` when its engine
is free, and `finish` when the engine has answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vtpm_impl.ring import page as layout
from vtpm_impl.ring.page import State
from vtpm_impl.tpm import header
from vtpm_impl.tpm.header import Fault
from vtpm_impl.xen.platform import Memory

# plain numbers: to look up a member of an enumeration takes longer than what is done with it
_IDLE, _SUBMIT, _FINISH, _CANCEL = map(int, State)
_ASKED = (_SUBMIT, _CANCEL)
_SHORTEST, _ROOM, _REFERENCE = header.SIZE, layout.capacity(0), layout.GRANT_REFERENCE


class Request(NamedTuple):
    """A command as it was when it was fetched."""

    command: bytes
    locality: int
    extra: int  # nr_extra_pages: the answer goes where the request was


_new = tuple.__new__  # which takes a third of the time of the class's own


class BackendRing:
    """One page and one port, from mapping to unmapping."""

    def __init__(self, page: Memory, notify: Callable[[], None], permits: Callable[[int], bool]) -> None:
        """`permits(locality)`: whether this frontend may use it."""
        self._page = page
        self._at = layout.of(page)
        self._notify = notify
        self._permits = permits
        self._ready = False
        self._serving: Request | None = None

    @property
    def ready(self) -> bool:
        """A request waits to be fetched."""
        return self._ready

    @property
    def serving(self) -> bool:
        """The engine works on a request of this connection."""
        return self._serving is not None

    def on_event(self) -> None:
        """Look at the page: a request is noted, a cancel of nothing is acknowledged, all else is spurious."""
        if self._ready or self._serving is not None:
            return
        state = self._at.read_state(self._page)
        if state == _SUBMIT:
            self._ready = True
        elif state == _CANCEL:
            self._acknowledge()

    def fetch(self) -> Request | None:
        """The request that waits, for the engine; None if it was cancelled, withdrawn, or refused here."""
        self._ready = False
        length, state, locality, _, extra = self._at.read_header(self._page)
        if state == _CANCEL:
            self._acknowledge()
            return None
        if state != _SUBMIT:
            return None
        if length > _ROOM - _REFERENCE * extra:
            self._answer(extra, header.error(Fault.SIZE, b""))
            return None
        command = self._at.read_packet(self._page, extra, length)
        if length < _SHORTEST:
            self._answer(extra, header.error(Fault.SIZE, command))
            return None
        if not self._permits(locality):
            self._answer(extra, header.error(Fault.LOCALITY, command))
            return None
        self._serving = _new(Request, (command, locality, extra))
        return self._serving

    def finish(self, response: bytes) -> None:
        """The engine's answer to what was fetched; one that cannot be delivered becomes an error of the TPM."""
        request = self._serving
        if request is None:
            raise RuntimeError("there is nothing to answer: no request of this connection is in service")
        self._serving = None
        command, _, extra = request
        if not _SHORTEST <= len(response) <= _ROOM - _REFERENCE * extra:
            response = header.error(Fault.NO_ANSWER, command)
        self._answer(extra, response)

    def _answer(self, extra: int, response: bytes) -> None:
        if self._at.read_state(self._page) in _ASKED:
            self._at.write_packet(self._page, extra, response)
            self._at.write_state(self._page, _FINISH)
            self._notify()

    def _acknowledge(self) -> None:
        if self._at.read_state(self._page) == _CANCEL:
            self._at.write_state(self._page, _IDLE)
            self._notify()
