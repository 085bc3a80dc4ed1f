"""Event channels through the evtchn device: a descriptor for each port, so that it is readable for that port alone."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable
from typing import Final

from vtpm_impl.xen.linux import calls
from vtpm_impl.xen.linux.calls import XenDevice
from vtpm_impl.xen.platform import PlatformError, Unavailable

_PENDING: Final = struct.Struct("=I")
"""What is read when the port's bit is set, and written back to be told again: the port's number."""


class LinuxPort:
    """This domain's end of a channel."""

    def __init__(self, device: XenDevice, number: int, held: set[LinuxPort], *, bit: bool) -> None:
        self._device = device
        self._number = number
        self._bit = bit
        self._held = held
        held.add(self)

    @classmethod
    def open(cls, open_device: Callable[[str], XenDevice], domid: int, held: set[LinuxPort]) -> LinuxPort:
        """A port that domain `domid` may bind. Raises PlatformError."""
        device = open_device("evtchn")
        try:
            number, _ = device.call(calls.BIND_UNBOUND_PORT, domid)
        except OSError as error:
            device.close()
            raise PlatformError(f"no port can be opened for domain {domid}: {error.strerror}") from error
        return cls(device, number, held, bit=False)

    @classmethod
    def bind(cls, open_device: Callable[[str], XenDevice], domid: int, port: int, held: set[LinuxPort]) -> LinuxPort:
        """Bind a port of another domain; this end's bit is set, whatever the kernel made of it. Raises Unavailable."""
        device = open_device("evtchn")
        try:
            number, _ = device.call(calls.BIND_INTERDOMAIN, domid, port)
        except OSError as error:
            device.close()
            raise Unavailable(f"port {port} of domain {domid} cannot be bound: {error.strerror}") from error
        return cls(device, number, held, bit=True)

    @property
    def number(self) -> int:
        """This domain's number of it."""
        return self._number

    def fileno(self) -> int:
        """The descriptor of the device that this port has to itself."""
        return self._device.fileno()

    def take(self) -> bool:
        """Clear the bit; whether it was set."""
        was, self._bit = self._bit, False
        try:
            pending = os.read(self._device.fileno(), _PENDING.size)
        except BlockingIOError:
            return was
        os.write(self._device.fileno(), pending)
        return True

    def wait(self, seconds: float, /) -> bool:
        """Sleep until the bit is set, and clear it."""
        return self.take() or (bool(select.select([self], [], [], seconds)[0]) and self.take())

    def notify(self) -> None:
        """Set the bit of the other end; Xen drops what nobody has bound."""
        self._device.call(calls.NOTIFY, self._number)

    def close(self) -> None:
        """Close this end, with its device."""
        self._held.discard(self)
        self._device.close()
