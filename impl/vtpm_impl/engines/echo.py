"""An engine for trying things out: it answers each command with the command's own bytes, as a TPM 1.2 success."""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">HII")


class Echo:
    """Answers at once, with as many bytes as it was given."""

    prompt = True

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """A success whose parameters are the command's."""
        del locality
        return _HEADER.pack(0x00C4, len(command), 0) + command[10:]

    def close(self) -> None:
        """Nothing is held."""
