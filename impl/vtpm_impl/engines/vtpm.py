"""An engine that is another vTPM: what a domain between a guest and the manager of all vTPMs serves."""

from __future__ import annotations

from vtpm_impl.engines import EngineError
from vtpm_impl.ring.frontend import RingError
from vtpm_impl.xenbus.frontend import COMMAND_TIMEOUT, Frontend, FrontendError


class VtpmEngine:
    """Passes commands on through an open frontend, which stays its owner's to open again and to close."""

    prompt = False

    def __init__(self, frontend: Frontend, *, timeout: float = COMMAND_TIMEOUT) -> None:
        """`timeout`: seconds for one command."""
        self._frontend = frontend
        self._timeout = timeout

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """The other vTPM's answer. Raises EngineError."""
        try:
            return self._frontend.transmit(command, locality=locality, timeout=self._timeout)
        except (FrontendError, RingError) as error:
            raise EngineError(str(error)) from error

    def close(self) -> None:
        """Cancel the command in service."""
        self._frontend.cancel()
