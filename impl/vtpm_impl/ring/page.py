"""The shared page: its header, declared once, and every access to it (xen/include/public/io/tpmif.h).

Whatever is read here may change before it is used: each field is read once, and only the copy counts. A page that is
real memory is accessed by the same functions in C (memory.c), which keep their order on every machine; these are for
pages that somebody plays, and where the library in C was not built.

| offset | bytes | field          | written by                          |
|--------|-------|----------------|-------------------------------------|
| 0      | 4     | length         | frontend: request; backend: answer  |
| 4      | 1     | state          | both                                |
| 5      | 1     | locality       | frontend                            |
| 6      | 1     | pad            | nobody                              |
| 7      | 1     | nr_extra_pages | frontend                            |
| 8+4n   | ...   | packet         | both, in turn                       |
"""

from __future__ import annotations

import platform
import struct
import sys
import threading
from enum import IntEnum
from typing import Any, Protocol

from vtpm_impl.xen.platform import Memory

FRAME = 4096
HEADER = 8
GRANT_REFERENCE = 4

_HEADER = struct.Struct("=IBBBB")  # in the byte order of the machine, as both ends run on one
_LENGTH = struct.Struct("=I")
STATE = 4
"""Offset of the state byte."""


class State(IntEnum):
    """The state byte. Any other value names no state."""

    IDLE = 0
    SUBMIT = 1
    FINISH = 2
    CANCEL = 3


class Accesses(Protocol):
    """The functions of this module that touch a page, as `of` gives them."""

    def read_state(self, page: Any, /) -> int:
        """The state byte."""

    def write_state(self, page: Any, state: int, /) -> None:
        """Store the state byte, after everything that was stored before it."""

    def read_header(self, page: Any, /) -> tuple[int, int, int, int, int]:
        """Length, state, locality, pad and nr_extra_pages, each read once."""

    def read_packet(self, page: Any, extra: int, length: int, /) -> bytes:
        """A private copy of the packet. Raises ValueError if it does not lie in the page."""

    def write_packet(self, page: Any, extra: int, packet: bytes, /) -> None:
        """Store a packet and its length. Raises ValueError if it does not fit."""

    def write_request(self, page: Any, extra: int, locality: int, packet: bytes, /) -> None:
        """Store a command with its header fields. Raises ValueError if it does not fit."""


def of(page: Memory) -> Accesses:
    """The accesses to a page."""
    here: Accesses = sys.modules[__name__]
    if not isinstance(page, memoryview):
        return here
    try:
        from vtpm_impl.ring import memory
    except ImportError:
        return here
    return memory


def data_offset(extra: int) -> int:
    """Where the packet begins, behind a list of `extra` grant references."""
    return HEADER + GRANT_REFERENCE * extra


def capacity(extra: int) -> int:
    """How many bytes of packet fit: 4 088 with no extra pages."""
    return FRAME - data_offset(extra)


def read_header(page: Memory) -> tuple[int, int, int, int, int]:
    """Length, state, locality, pad and nr_extra_pages, each read once."""
    barrier()
    length, state, locality, pad, extra = _HEADER.unpack(page[:HEADER])
    return length, state, locality, pad, extra


def read_state(page: Memory) -> int:
    """The state byte."""
    return page[STATE]


def write_state(page: Memory, state: int) -> None:
    """Store the state byte, after everything that was stored before it."""
    barrier()
    page[STATE] = state


def read_packet(page: Memory, extra: int, length: int) -> bytes:
    """A private copy of the packet. Raises ValueError if it does not lie in the page."""
    barrier()
    offset = HEADER + GRANT_REFERENCE * extra
    if not 0 <= extra <= 255 or not 0 <= length <= FRAME - offset:
        raise ValueError(f"a packet of {length} bytes behind {extra} extra pages; at most {capacity(extra)} fit")
    return bytes(page[offset : offset + length])


def write_packet(page: Memory, extra: int, packet: bytes) -> None:
    """Store a packet and its length. Raises ValueError if it does not fit."""
    if not 0 <= extra <= 255:
        raise ValueError(f"{extra} extra pages; 0 to 255 is meant")
    offset = HEADER + GRANT_REFERENCE * extra
    end = offset + len(packet)
    if end > FRAME:
        raise ValueError(f"a packet of {len(packet)} bytes behind {extra} extra pages; at most {capacity(extra)} fit")
    page[offset:end] = packet
    page[:4] = _LENGTH.pack(len(packet))


def write_request(page: Memory, extra: int, locality: int, command: bytes) -> None:
    """Store a command with its header fields. Raises ValueError if it does not fit."""
    if not 0 <= locality <= 255:
        raise ValueError(f"locality {locality}; 0 to 255 is meant")
    write_packet(page, extra, command)
    page[5] = locality
    page[7] = extra


if platform.machine() in ("x86_64", "AMD64", "i686", "i386"):

    def barrier() -> None:
        """Stores before this are seen before stores after it, and loads likewise: on x86 they always are."""

else:
    _fence = threading.Lock()

    def barrier() -> None:
        """Stores before this are seen before stores after it, and loads likewise: a lock is taken and let go."""
        with _fence:
            pass
