"""A harness of the protocol `vtpm-tis/1` for these tests: a driver or a device in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.impl.tis.device import Clock

from vtpm_impl.tis import errors
from vtpm_impl.tis.port import Port


class Subject:
    """A process that is spoken to line by line."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vtpm_impl.cli", "sut", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.hello = self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it ended with code {self._process.wait()}"
        return dict(json.loads(line))

    def say(self, **answer: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"ok": True, **answer}).encode() + b"\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """Let it end; its exit code."""
        return self._process.wait(10)


class DriverSubject:
    """A driver under test, as something that transmits: its registers are those of a port here."""

    def __init__(self, subject: Subject, port: Port, clock: Clock) -> None:
        self._subject, self._port, self._clock = subject, port, clock
        self._tell(event="reset")
        assert subject.hear() == {"do": "wait"}

    def transmit(self, command: bytes, *, locality: int | None = None, timeout: float | None = None) -> bytes:
        del timeout
        self._tell(event="command", data=command.hex(), locality=locality)
        while (asked := self._subject.hear())["do"] != "result":
            match asked["do"]:
                case "read":
                    self._tell(value=self._port.read(asked["offset"], asked["width"]))
                case "write":
                    self._port.write(asked["offset"], asked["width"], asked["value"])
                    self._tell()
                case "sleep":
                    self._clock.sleep(asked["us"] / 1e6)
                    self._tell()
                case other:
                    raise AssertionError(f"it says {other!r}")
        self._tell()
        assert self._subject.hear() == {"do": "wait"}
        if asked["ok"]:
            return bytes.fromhex(asked["data"])
        raise getattr(errors, asked["error"])(asked["text"])

    def _tell(self, **answer: object) -> None:
        self._subject.say(now=round(self._clock.now() * 1e6), **answer)


def made_by(subject: Subject) -> Callable[[Port, Clock], DriverSubject]:
    """What makes drivers, one after the other, of one process."""
    return lambda port, clock: DriverSubject(subject, port, clock)
