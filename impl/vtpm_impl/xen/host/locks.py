"""Locks that end with the process that holds them, and that anybody can ask about without taking them."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = struct.Struct("hhqqi4x")
"""type, whence, start, length, pid: the `struct flock` of 64-bit Linux."""


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock a file for this open descriptor, alone or shared with others who share it; False if another is in the way.

    The descriptor must be open for reading (shared) or writing (alone). Closing it unlocks, as the end of the process
    does, however it ends.
    """
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
    except BlockingIOError:
        return False
    return True


def is_locked(descriptor: int) -> bool:
    """Whether some other descriptor holds a lock on the file; asking takes none."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK
