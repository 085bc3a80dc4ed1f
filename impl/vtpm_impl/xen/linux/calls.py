"""The calls of Linux' Xen devices, declared once (include/uapi/xen/gntdev.h, gntalloc.h and evtchn.h).

| device   | call              | number   | argument                                                  | result     |
|----------|-------------------|----------|-----------------------------------------------------------|------------|
| gntdev   | MAP_GRANT         | 0x184700 | u32 count, u32 pad, u64 index*, u32 domid, u32 reference  |            |
| gntdev   | UNMAP_GRANT       | 0x104701 | u64 index, u32 count, u32 pad                             |            |
| gntalloc | ALLOCATE_GRANT    | 0x184705 | u16 domid, u16 flags, u32 count, u64 index*, u32 ref*     |            |
| gntalloc | FREE_GRANT        | 0x104706 | u64 index, u32 count                                      |            |
| both     | NOTIFY_AT_UNMAP   | 0x104707 | u64 index, u32 action, u32 port                           |            |
| evtchn   | BIND_INTERDOMAIN  | 0x084501 | u32 domid, u32 port of that domain                        | local port |
| evtchn   | BIND_UNBOUND_PORT | 0x044502 | u32 domid                                                 | local port |
| evtchn   | NOTIFY            | 0x044504 | u32 local port                                            |            |

A field with a star is the kernel's to fill in.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

from vtpm_impl.xen.platform import PlatformError

DEVICES: Final = Path("/dev/xen")
"""Where Linux has its devices of Xen."""

WRITABLE: Final = 1
"""A flag of ALLOCATE_GRANT: the other domain may write into the page, too."""

SEND_EVENT: Final = 2
"""An action of NOTIFY_AT_UNMAP: send an event through the port."""


class Call(NamedTuple):
    """An ioctl: its letter and number, and the shape of its argument."""

    letter: str
    number: int
    argument: struct.Struct

    @property
    def code(self) -> int:
        """The number as the kernel wants it; none of these tells it a direction."""
        return self.argument.size << 16 | ord(self.letter) << 8 | self.number


MAP_GRANT: Final = Call("G", 0, struct.Struct("=IIQII"))
UNMAP_GRANT: Final = Call("G", 1, struct.Struct("=QII"))
ALLOCATE_GRANT: Final = Call("G", 5, struct.Struct("=HHIQI4x"))
FREE_GRANT: Final = Call("G", 6, struct.Struct("=QI4x"))
NOTIFY_AT_UNMAP: Final = Call("G", 7, struct.Struct("=QII"))
BIND_INTERDOMAIN: Final = Call("E", 1, struct.Struct("=II"))
BIND_UNBOUND_PORT: Final = Call("E", 2, struct.Struct("=I"))
NOTIFY: Final = Call("E", 4, struct.Struct("=I"))


class XenDevice:
    """One of the kernel's devices, open. What it has given is given back when it is closed, or its process ends."""

    def __init__(self, name: str, folder: Path = DEVICES) -> None:
        """Open FOLDER/NAME. Raises PlatformError."""
        try:
            self._descriptor = os.open(folder / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise PlatformError(f"{str(folder / name)!r}: {error.strerror} (kernel module xen-{name})") from error

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def call(self, call: Call, *values: int) -> tuple[int, tuple[int, ...]]:
        """The result and the fields of the argument as the kernel left them. Raises OSError."""
        argument = bytearray(call.argument.pack(*values))
        result = fcntl.ioctl(self._descriptor, call.code, argument)
        return result, call.argument.unpack(argument)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
