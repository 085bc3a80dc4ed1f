"""The shared page: its header, declared once, and every access to it (xen/include/public/io/tpmif.h).

Whatever is read here may change before it is used: each field is read once, and only the copy counts.

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
import threading
from enum import IntEnum
from typing import NamedTuple

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


class Header(NamedTuple):
    """The header as it was at one moment."""

    length: int
    state: int
    locality: int
    pad: int
    extra: int


def data_offset(extra: int) -> int:
    """Where the packet begins, behind a list of `extra` grant references."""
    return HEADER + GRANT_REFERENCE * extra


def capacity(extra: int) -> int:
    """How many bytes of packet fit: 4 088 with no extra pages."""
    return FRAME - data_offset(extra)


def read_header(page: Memory) -> Header:
    """All fields, each read once."""
    return Header._make(_HEADER.unpack(page[:HEADER]))


def read_state(page: Memory) -> int:
    """The state byte."""
    return page[STATE]


def write_state(page: Memory, state: State) -> None:
    """Store the state byte, after everything that was stored before it."""
    barrier()
    page[STATE] = state


def read_packet(page: Memory, extra: int, length: int) -> bytes:
    """A private copy of the packet. Raises ValueError if it does not lie in the page."""
    barrier()
    offset = HEADER + GRANT_REFERENCE * extra
    if not 0 <= length <= FRAME - offset:
        raise ValueError(f"a packet of {length} bytes behind {extra} extra pages; at most {capacity(extra)} fit")
    return bytes(page[offset : offset + length])


def write_packet(page: Memory, extra: int, packet: bytes) -> None:
    """Store a packet and its length. Raises ValueError if it does not fit."""
    offset = HEADER + GRANT_REFERENCE * extra
    end = offset + len(packet)
    if end > FRAME:
        raise ValueError(f"a packet of {len(packet)} bytes behind {extra} extra pages; at most {capacity(extra)} fit")
    page[offset:end] = packet
    page[:4] = _LENGTH.pack(len(packet))


def write_request(page: Memory, extra: int, locality: int, command: bytes) -> None:
    """Store a command with its header fields. Raises ValueError if it does not fit."""
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
