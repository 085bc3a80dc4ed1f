"""The frontend's side of one connection: puts requests into the page and takes answers out of it.

Nothing here waits. Whoever owns a `FrontendRing` calls `look` when the port's bit was set or time has passed.
"""

from __future__ import annotations

from collections.abc import Callable

from vtpm_impl.ring import page as layout
from vtpm_impl.ring.page import State
from vtpm_impl.tpm import header
from vtpm_impl.xen.platform import Memory

# plain numbers: to look up a member of an enumeration takes longer than what is done with it
_IDLE, _SUBMIT, _FINISH, _CANCEL = map(int, State)
_FREE = (_IDLE, _FINISH)
_SHORTEST, _ROOM, _REFERENCE = header.SIZE, layout.capacity(0), layout.GRANT_REFERENCE


class RingError(Exception):
    """The ring cannot do what was asked, or has brought what nobody can use."""


class TooLong(RingError):
    """The command does not fit into the page."""


class Busy(RingError):
    """An earlier request, or a cancel of it, still stands in the page."""


class Cancelled(RingError):
    """The backend dropped the request: its engine has not executed it, or its answer was destroyed by the cancel."""


class Malformed(RingError):
    """What the backend stored is not one whole TPM packet within the page."""


class FrontendRing:
    """One page and one port, from allocation to release."""

    def __init__(self, page: Memory, notify: Callable[[], None]) -> None:
        """`notify` sets the backend's bit."""
        self._page = page
        self._at = layout.of(page)
        self._notify = notify

    def submit(self, command: bytes, *, locality: int = 0, extra: int = 0) -> None:
        """Put a request into the page and tell the backend. Raises TooLong, Busy, and ValueError for a locality."""
        if not 0 <= locality <= 255:
            raise ValueError(f"locality {locality}; it is a byte, 0 to 255")
        if not 0 <= extra <= 255 or len(command) > _ROOM - _REFERENCE * extra:
            raise TooLong(f"a command of {len(command)} bytes; at most {layout.capacity(extra)} fit into the page")
        state = self._at.read_state(self._page)
        if state not in _FREE:
            raise Busy(f"the state byte is {state}; a request is put only over IDLE (0) or FINISH (2)")
        self._at.write_request(self._page, extra, locality, command)
        self._at.write_state(self._page, _SUBMIT)
        self._notify()

    def look(self) -> bytes | None:
        """The answer, or None while there is none. Raises Cancelled or Malformed; the request is then over, too."""
        state = self._at.read_state(self._page)
        if state == _IDLE:
            raise Cancelled("the backend cancelled the request")
        if state != _FINISH:
            return None
        length, _, _, _, extra = self._at.read_header(self._page)
        if not _SHORTEST <= length <= _ROOM - _REFERENCE * extra:
            raise Malformed(f"an answer of {length} bytes; it has {header.SIZE} to {layout.capacity(extra)}")
        answer = self._at.read_packet(self._page, extra, length)
        if not header.is_whole(answer):
            named = header.parse(answer)
            raise Malformed(f"an answer of {len(answer)} bytes whose header says {named.size if named else 'nothing'}")
        return answer

    def cancel(self) -> None:
        """Ask the backend to drop the request; an answer that lies in the page is destroyed by it."""
        self._at.write_state(self._page, _CANCEL)
        self._notify()
