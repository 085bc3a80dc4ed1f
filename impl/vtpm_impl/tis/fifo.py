"""Commands into the FIFO of a locality, and responses out of it, never more at once than the burst count allows."""

from __future__ import annotations

from typing import Final

from vtpm_impl.tis.errors import MalformedResponse, Violation
from vtpm_impl.tis.page import Page
from vtpm_impl.tis.registers import Sts, burst_count
from vtpm_impl.tpm import header

BUFFER: Final = 4096
"""Bytes of the longest command and of the longest response."""

RETRIES: Final = 1
"""How often a response that makes no sense is read again from its first byte."""

_VALID, _EXPECT, _DATA_AVAIL = int(Sts.VALID), int(Sts.EXPECT), int(Sts.DATA_AVAIL)
_COMMAND_READY = int(Sts.COMMAND_READY)
_SIZE_IS_KNOWN: Final = 8  # bytes: no response is shorter, and the size is within them; two words


class Fifo:
    """The FIFO of one page. `sizes`: the bytes that one access may have, the most first."""

    def __init__(self, page: Page, sizes: tuple[int, ...]) -> None:
        self._page = page
        self._sizes = sizes

    def make_ready(self) -> int:
        """Let the device be ready for a command; its status. Whatever was going on is dropped. Raises TisError."""
        status = self._page.status()
        if not status & _COMMAND_READY:
            if has_response(status):
                self._page.command(_COMMAND_READY)  # some are idle then, and not ready
            self._page.command(_COMMAND_READY)
            status = self._page.await_status(_is_ready, self._page.timeouts.b, "did not become ready (B)")
        return status

    def send(self, command: bytes, status: int) -> None:
        """Write a whole command into a device whose status was this when it was ready. Raises TisError."""
        page, times = self._page, self._page.timeouts
        if not burst_count(status):
            status = page.await_status(_has_burst, times.d, "took no byte of a command (D)")
        sent = 0
        while True:
            until = min(sent + burst_count(status), len(command))
            while sent < until:
                size = self._size(until - sent)
                page.write_fifo(command[sent : sent + size])
                sent += size
            if sent == len(command):
                break
            told = f"took no more after {sent} of {len(command)} bytes (C, D)"
            status = page.await_status(_takes_more_or_is_complete, times.c + times.d, told)
            if not status & _EXPECT:
                raise Violation(f"the TPM expects no more after {sent} of {len(command)} bytes: {_told(status)}")
        status = page.await_status(_is_valid, times.c, f"had no valid status after {sent} bytes of a command (C)")
        if status & _EXPECT:
            raise Violation(f"the TPM expects more than the {sent} bytes of the command: {_told(status)}")

    def receive(self, status: int) -> bytes:
        """Read the response that this status has shown. Raises TisError."""
        page = self._page
        for _ in range(RETRIES):
            try:
                return self._read(status)
            except MalformedResponse:
                page.command(Sts.RESPONSE_RETRY)
                told = "did not give its response again (C)"
                status = page.await_status(has_response, page.timeouts.c, told)
        return self._read(status)

    def _read(self, status: int) -> bytes:
        response = bytearray()
        status = self._read_until(response, _SIZE_IS_KNOWN, burst_count(status))
        size = int.from_bytes(response[2:6], "big")
        if not header.SIZE <= size <= BUFFER:
            raise MalformedResponse(f"a response says that it has {size} bytes; it has {header.SIZE} to {BUFFER}")
        self._read_until(response, size, status)
        told = f"had no valid status after {size} bytes of a response (C)"
        status = self._page.await_status(_is_valid, self._page.timeouts.c, told)
        if status & _DATA_AVAIL:
            raise MalformedResponse(f"there is more after the {size} bytes of a response: {_told(status)}")
        return bytes(response)

    def _read_until(self, response: bytearray, end: int, credit: int) -> int:
        """Read on until there are so many bytes; what is left of the burst count."""
        page, times = self._page, self._page.timeouts
        while len(response) < end:
            if not credit:
                told = f"gave no more after {len(response)} bytes of a response (C, D)"
                status = page.await_status(_gives_more_or_is_over, times.c + times.d, told)
                if not status & _DATA_AVAIL:
                    raise MalformedResponse(f"a response ends after {len(response)} bytes: {_told(status)}")
                credit = burst_count(status)
            size = self._size(min(credit, end - len(response)))
            response += page.read_fifo(size)
            credit -= size
        return credit

    def _size(self, most: int) -> int:
        return next(size for size in self._sizes if size <= most)


def has_response(status: int) -> bool:
    """Whether a status shows that there is a response, or more of it."""
    return status & (_VALID | _DATA_AVAIL) == _VALID | _DATA_AVAIL


def _is_valid(status: int) -> bool:
    return status & _VALID != 0


def _is_ready(status: int) -> bool:
    return status & _COMMAND_READY != 0


def _has_burst(status: int) -> bool:
    return burst_count(status) != 0


def _takes_more_or_is_complete(status: int) -> bool:
    return status & _VALID != 0 and (burst_count(status) != 0 or not status & _EXPECT)


def _gives_more_or_is_over(status: int) -> bool:
    return status & _VALID != 0 and (burst_count(status) != 0 or not status & _DATA_AVAIL)


def _told(status: int) -> str:
    return f"STS reads {status & 0xFF:#04x}, burst count {burst_count(status)}"
