"""The header of a TPM packet: tag, size and code, the same ten bytes in TPM 1.2 and 2.0 (TCG, big endian)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

SIZE = 10
"""Bytes of a header; no packet is shorter."""

_FORMAT = struct.Struct(">HII")
_SIZE = struct.Struct(">I")


class Tag(IntEnum):
    """The tags that tell a TPM 2.0 command, and those of an answer without a session."""

    RESPONSE_1_2 = 0x00C4
    NO_SESSIONS_2_0 = 0x8001
    SESSIONS_2_0 = 0x8002


class Code(IntEnum):
    """The return codes of answers that a carrier makes itself."""

    FAIL_1_2 = 0x009
    BAD_PARAM_SIZE_1_2 = 0x019
    BAD_LOCALITY_1_2 = 0x03D
    COMMAND_SIZE_2_0 = 0x142
    FAILURE_2_0 = 0x101
    LOCALITY_2_0 = 0x907


class Fault(IntEnum):
    """Why a carrier answers instead of the TPM."""

    NO_ANSWER = 0  # the TPM gave none, or none that can be delivered
    SIZE = 1  # the command is not one whole packet
    LOCALITY = 2  # the locality is not permitted


_CODES = {
    Fault.NO_ANSWER: (Code.FAIL_1_2, Code.FAILURE_2_0),
    Fault.SIZE: (Code.BAD_PARAM_SIZE_1_2, Code.COMMAND_SIZE_2_0),
    Fault.LOCALITY: (Code.BAD_LOCALITY_1_2, Code.LOCALITY_2_0),
}


class Header(NamedTuple):
    """The first ten bytes of a packet."""

    tag: int
    size: int
    code: int


def parse(packet: bytes) -> Header | None:
    """The header of a packet, or None where there are not even ten bytes."""
    if len(packet) < SIZE:
        return None
    return Header(*_FORMAT.unpack_from(packet))


def is_whole(packet: bytes) -> bool:
    """Whether the packet is as long as its own header says."""
    size = len(packet)
    return size >= SIZE and _SIZE.unpack_from(packet, 2)[0] == size


def error(fault: Fault, command: bytes) -> bytes:
    """The answer of a carrier to a command that its TPM does not answer, in the command's own version."""
    header = parse(command)
    version_2 = header is not None and header.tag in (Tag.NO_SESSIONS_2_0, Tag.SESSIONS_2_0)
    code = _CODES[fault][1 if version_2 else 0]
    return _FORMAT.pack(Tag.NO_SESSIONS_2_0 if version_2 else Tag.RESPONSE_1_2, SIZE, code)
