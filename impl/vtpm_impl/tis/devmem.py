"""Registers in this machine's memory, through /dev/mem: for root in a domain to which the pages belong."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from typing import Final

from vtpm_impl.tis.errors import CarrierError
from vtpm_impl.tis.registers import BASE, EXTENT

_CELL: Final = {8: ctypes.c_uint8, 16: ctypes.c_uint16, 32: ctypes.c_uint32}


class DevMem:
    """Each access is one load or store of its width: what `ctypes` makes of a cell of that type."""

    def __init__(self, base: int = BASE, *, device: Path = Path("/dev/mem")) -> None:
        """Map the pages of all localities at the physical address `base`. Raises CarrierError."""
        where = f"the TPM's registers at {base:#x} in {str(device)!r}"
        if base % mmap.PAGESIZE:
            raise CarrierError(f"{where}: the address is no multiple of {mmap.PAGESIZE:#x}")
        try:
            file = os.open(device, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        except OSError as error:
            raise CarrierError(f"{where}: {error.strerror}") from error
        try:
            self._map = mmap.mmap(file, EXTENT, offset=base)
        except PermissionError as error:
            raise CarrierError(
                f"{where}: {error.strerror}; Linux refuses them while a driver of its own holds them (boot it with"
                " initcall_blacklist=init_tis), and Xen while the domain does not own them (iomem in its configuration)"
            ) from error
        except (OSError, ValueError, OverflowError) as error:
            raise CarrierError(f"{where}: {error}") from error
        finally:
            os.close(file)

    def read(self, offset: int, width: int) -> int:
        """Load a cell."""
        return int(_CELL[width].from_buffer(self._map, offset).value)

    def write(self, offset: int, width: int, value: int) -> None:
        """Store into a cell."""
        _CELL[width].from_buffer(self._map, offset).value = value

    def close(self) -> None:
        """Unmap."""
        self._map.close()
