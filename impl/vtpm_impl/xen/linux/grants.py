"""Granted pages: this domain's own from gntalloc, and those of other domains through gntdev."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable

from vtpm_impl.xen.linux import calls
from vtpm_impl.xen.linux.calls import XenDevice
from vtpm_impl.xen.platform import FRAME, PlatformError, Port, Unavailable

Open = Callable[[str], XenDevice]
"""Opens a device by its name."""


class _MappedPage:
    """A page that a device lets this process map, and its place in that device."""

    def __init__(self, device: XenDevice, index: int, domid: int) -> None:
        """`domid`: the domain it is shared with. Raises OSError."""
        self.domid = domid
        self.tied = False
        self._device = device
        self._index = index
        self._map = mmap.mmap(device.fileno(), FRAME, offset=index)
        self._memory = memoryview(self._map)

    @property
    def memory(self) -> memoryview:
        """The bytes; after the page is given back every access raises ValueError."""
        return self._memory

    def tie(self, port: Port) -> None:
        """Let the kernel send an event through `port` when the page goes, be it because this process dies."""
        self.tied = True
        with contextlib.suppress(OSError):  # the peer then learns of it from xenstore alone
            self._device.call(calls.NOTIFY_AT_UNMAP, self._index, calls.SEND_EVENT, port.number)

    def _unmap(self) -> None:
        self._memory.release()
        self._map.close()


class LinuxGrant(_MappedPage):
    """A page of this domain."""

    def __init__(self, open_device: Open, domid: int, held: set[LinuxGrant]) -> None:
        """`held` is where its owner finds it, as long as it is granted. Raises PlatformError."""
        device = open_device("gntalloc")
        try:
            _, (_, _, _, index, ref) = device.call(calls.ALLOCATE_GRANT, domid, calls.WRITABLE, 1, 0, 0)
            super().__init__(device, index, domid)
        except OSError as error:
            device.close()
            raise PlatformError(f"no page can be granted to domain {domid}: {error.strerror}") from error
        self._ref = ref
        self._held = held
        held.add(self)

    @property
    def ref(self) -> int:
        """The number that the other domain maps it by."""
        return self._ref

    def end(self) -> bool:
        """Withdraw the grant. The kernel itself keeps a page that is still mapped, until it is not."""
        self._held.discard(self)
        self._unmap()
        with contextlib.suppress(OSError):  # what closing gives back anyway
            self._device.call(calls.FREE_GRANT, self._index, 1)
        self._device.close()
        return True


class LinuxMapping(_MappedPage):
    """A page of another domain, mapped here."""

    def __init__(self, open_device: Open, domid: int, ref: int, held: set[LinuxMapping]) -> None:
        """Raises Unavailable."""
        device = open_device("gntdev")
        try:
            _, (_, _, index, _, _) = device.call(calls.MAP_GRANT, 1, 0, 0, domid, ref)
            super().__init__(device, index, domid)
        except OSError as error:
            device.close()
            raise Unavailable(f"page {ref} of domain {domid} cannot be mapped: {error.strerror}") from error
        self._held = held
        held.add(self)

    def unmap(self) -> None:
        """Take the mapping away: first this process's, then the kernel's."""
        self._held.discard(self)
        self._unmap()
        with contextlib.suppress(OSError):
            self._device.call(calls.UNMAP_GRANT, self._index, 1, 0)
        self._device.close()
