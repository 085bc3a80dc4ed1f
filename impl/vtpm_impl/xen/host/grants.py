"""Granted pages: a file of 4 096 bytes that both domains map, locked by whoever maps what another domain grants."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from vtpm_impl.xen.host.locks import try_lock
from vtpm_impl.xen.platform import FRAME, Unavailable


class HostGrant:
    """A page of this domain."""

    def __init__(self, folder: Path, ref: int, peer: int, held: set[HostGrant]) -> None:
        """`held` is where its owner finds it, as long as it is granted."""
        self._ref = ref
        self._path = folder / f"{ref}-{peer}"
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        os.truncate(self._descriptor, FRAME)
        self._map = mmap.mmap(self._descriptor, FRAME)
        self._memory = memoryview(self._map)
        self._held = held
        held.add(self)

    @property
    def ref(self) -> int:
        """The number that the other domain maps it by."""
        return self._ref

    @property
    def memory(self) -> memoryview:
        """The bytes; after `end` every access raises ValueError."""
        return self._memory

    def end(self) -> bool:
        """Withdraw the grant, unless the other domain has it mapped."""
        if not try_lock(self._descriptor):
            return False
        self.drop()
        return True

    def drop(self) -> None:
        """Withdraw the grant although it may be mapped, as at a domain's end: who maps it keeps the bytes."""
        self._held.discard(self)
        self._path.unlink(missing_ok=True)
        self._memory.release()
        self._map.close()
        os.close(self._descriptor)


class HostMapping:
    """A page of another domain, mapped here."""

    def __init__(self, folder: Path, ref: int, own: int, held: set[HostMapping]) -> None:
        """`folder` is that of the other domain's grants. Raises Unavailable."""
        try:
            self._descriptor = os.open(folder / f"{ref}-{own}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            raise Unavailable(f"there is no page {ref} for domain {own} to map") from None
        # the lock is what `end` looks for; one that came too late locks a file that has no name any more
        if not try_lock(self._descriptor, shared=True) or not _is_page(self._descriptor):
            os.close(self._descriptor)
            raise Unavailable(f"page {ref} has just been withdrawn")
        self._map = mmap.mmap(self._descriptor, FRAME)
        self._memory = memoryview(self._map)
        self._held = held
        held.add(self)

    @property
    def memory(self) -> memoryview:
        """The bytes; after `unmap` every access raises ValueError."""
        return self._memory

    def unmap(self) -> None:
        """Take the mapping away."""
        self._held.discard(self)
        self._memory.release()
        self._map.close()
        os.close(self._descriptor)


def _is_page(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    return found.st_nlink == 1 and found.st_size == FRAME
