"""A system under test in a process of its own, spoken to by the protocol `vtpm-tis/1`, line by line."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self


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
