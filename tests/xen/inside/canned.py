"""Commands and answers of a TPM 1.2 that is a few lines: what Linux' driver asks at its start, and little more."""

from __future__ import annotations

import os
import struct
from enum import IntEnum

HEADER = struct.Struct(">HII")
REQUEST, RESPONSE = 0x00C1, 0x00C4

TIMEOUTS, DURATIONS = 0x115, 0x120


class Ordinal(IntEnum):
    """The commands that are known."""

    PCR_READ = 0x15
    GET_RANDOM = 0x46
    GET_CAPABILITY = 0x65


USUAL = (2_000_000, 20_000_000)
"""Microseconds of a time-out and of a command's duration, as the TPM names them."""


def sized(size: int) -> bytes:
    """A command of so many bytes, of an ordinal that no TPM has."""
    return HEADER.pack(REQUEST, size, 0xFFFF) + bytes(at % 251 for at in range(size - HEADER.size))


def answer_to(command: bytes, times: tuple[int, int] = USUAL) -> bytes:
    """The answer of a TPM that has these time-outs and durations; what it does not know it answers by its size."""
    ordinal = int.from_bytes(command[6:10], "big")
    timeout, duration = times
    match ordinal:
        case Ordinal.GET_CAPABILITY if command[18:22] == TIMEOUTS.to_bytes(4, "big"):
            body = struct.pack(">I4I", 16, *(timeout,) * 4)
        case Ordinal.GET_CAPABILITY if command[18:22] == DURATIONS.to_bytes(4, "big"):
            body = struct.pack(">I3I", 12, *(duration,) * 3)
        case Ordinal.GET_RANDOM:
            count = min(int.from_bytes(command[10:14], "big"), 1024)
            body = struct.pack(">I", count) + os.urandom(count)
        case Ordinal.PCR_READ:
            body = bytes(20)
        case _:
            body = command[HEADER.size :]
    return HEADER.pack(RESPONSE, HEADER.size + len(body), 0) + body
