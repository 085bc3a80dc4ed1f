"""An engine that is a TPM behind a character device, as Linux has it: a command is written, its response is read."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import Final

from vtpm_impl.engines import EngineError
from vtpm_impl.tpm import header

LONGEST: Final = 4096
"""Bytes of a response that Linux gives."""

TIMEOUT: Final = 120.0
"""Seconds for an answer."""


class DeviceTpm:
    """Opens the device for each command, so that others can use it in between, and always at locality 0."""

    prompt = False

    def __init__(self, path: Path, *, timeout: float = TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """The TPM's response. Raises EngineError."""
        if locality != 0:
            raise EngineError(f"locality {locality}: through a device the TPM has locality 0 only")
        deadline = time.monotonic() + self._timeout
        where = f"the TPM at {str(self._path)!r}"
        try:
            device = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
            try:
                os.write(device, command)
                if not select.select([device], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise EngineError(f"{where} did not answer in {self._timeout:g} s")
                response = os.read(device, LONGEST)
            finally:
                os.close(device)
        except OSError as error:
            raise EngineError(f"{where}: {error.strerror}") from error
        if not header.is_whole(response):
            raise EngineError(
                f"what answers at {str(self._path)!r} is no TPM: it sent {response[:16].hex() or 'nothing'}"
            )
        return response

    def close(self) -> None:
        """Nothing is held."""
