"""A port that writes down each access, in the words of QEMU's own trace of its TPM, and counts them."""

from __future__ import annotations

from typing import TextIO

from vtpm_impl.tis.port import Port


class Traced:
    """Passes accesses on. A line has the bytes of the access, its offset, and the value; times are not told."""

    def __init__(self, port: Port, to: TextIO | None = None) -> None:
        """`to`: where the lines go; without it, they are only counted."""
        self._port = port
        self._to = to
        self.accesses = 0

    def read(self, offset: int, width: int) -> int:
        """Read, and write down what was read."""
        value = self._port.read(offset, width)
        self._note("read ", "read", offset, width, value)
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Write down what is written, and write."""
        self._note("write", "write", offset, width, value)
        self._port.write(offset, width, value)

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def _note(self, kind: str, verb: str, offset: int, width: int, value: int) -> None:
        self.accesses += 1
        if self._to is not None:
            self._to.write(f"tpm_tis_mmio_{kind} {verb}.{width // 8}({offset:#010x}) = {value:#010x}\n")
