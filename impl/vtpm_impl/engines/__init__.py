"""What can answer a TPM command."""

from __future__ import annotations

from typing import Protocol


class EngineError(Exception):
    """The engine cannot answer; the message says why."""


class Engine(Protocol):
    """A TPM, or whatever stands for one: one command at a time."""

    @property
    def prompt(self) -> bool:
        """Whether it answers without waiting for anything, so that nobody needs to wait in a thread of its own."""

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """The answer to a command. Raises EngineError."""

    def close(self) -> None:
        """Give back what the engine holds."""
