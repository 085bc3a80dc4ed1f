"""An engine that is a TPM behind a Unix socket, as `swtpm socket` serves one."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from pathlib import Path
from typing import Final

from vtpm_impl.engines import EngineError
from vtpm_impl.tpm import header

LONGEST: Final = 65536
"""Bytes of an answer; who announces more does not speak TPM."""

TIMEOUT: Final = 120.0
"""Seconds for an answer: as long as Linux waits for a command of which it knows nothing."""

_SET_LOCALITY: Final = 5  # CMD_SET_LOCALITY of swtpm's control channel
_LOCALITY_REQUEST: Final = struct.Struct(">IB")
_RESULT: Final = struct.Struct(">I")


class SocketTpm:
    """Keeps one connection, made when it is needed, and made anew after anything went wrong.

    A TPM that was asked and did not answer in time may answer later: that connection is never read again.
    """

    prompt = False

    def __init__(self, path: Path, *, control: Path | None = None, timeout: float = TIMEOUT) -> None:
        """`control` is swtpm's control channel, without which there is locality 0 only."""
        self._path = path
        self._control = control
        self._timeout = timeout
        self._stream: socket.socket | None = None
        self._locality = 0

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """The TPM's answer. Raises EngineError where there is none, or none that is one TPM packet."""
        deadline = time.monotonic() + self._timeout
        try:
            if locality != self._locality:
                self._set_locality(locality)
            return self._exchange(command, deadline)
        except (OSError, EngineError) as error:
            self.close()
            if isinstance(error, EngineError):
                raise
            raise EngineError(f"the TPM at {str(self._path)!r} does not answer: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _exchange(self, command: bytes, deadline: float) -> bytes:
        if self._stream is not None and _has_ended(self._stream):
            self.close()
        if self._stream is None:
            self._stream = _connect(self._path, self._timeout)
        self._stream.sendall(command)
        answer = b""
        wanted = header.SIZE
        while len(answer) < wanted:
            self._stream.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = self._stream.recv(LONGEST)
            if not piece:
                raise EngineError(f"the TPM at {str(self._path)!r} has closed the connection")
            answer += piece
            if len(answer) >= header.SIZE:
                parsed = header.parse(answer)
                assert parsed is not None
                wanted = parsed.size
                if not header.SIZE <= wanted <= LONGEST or len(answer) > wanted:
                    sent = f"{len(answer)} bytes that say they are {wanted}"
                    raise EngineError(f"what answers at {str(self._path)!r} is no TPM: it sent {sent}")
        return answer

    def _set_locality(self, locality: int) -> None:
        if self._control is None:
            raise EngineError(f"locality {locality}: without a control channel the TPM has locality 0 only")
        with contextlib.closing(_connect(self._control, self._timeout)) as control:
            control.sendall(_LOCALITY_REQUEST.pack(_SET_LOCALITY, locality))
            result = control.recv(_RESULT.size, socket.MSG_WAITALL)
        if len(result) != _RESULT.size or _RESULT.unpack(result)[0] != 0:
            raise EngineError(f"the TPM refuses locality {locality}: its control channel answered {result.hex()}")
        self._locality = locality


def _connect(path: Path, timeout: float) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(timeout)
    try:
        stream.connect(str(path))
    except OSError:
        stream.close()
        raise
    return stream


def _has_ended(stream: socket.socket) -> bool:
    """Whether the other end has closed, or has sent what nobody asked for."""
    stream.settimeout(0)
    try:
        stream.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True
