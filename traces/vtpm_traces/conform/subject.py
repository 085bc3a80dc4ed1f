"""A system under test: a process that speaks a JSON object a line over its standard input and output.

It is started in a process group of its own, every wait for it has an end, and whatever it started dies with it. What
it says on its standard error is kept to be shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vtpm_traces.files import BadInput, Limits, parse_json, shown

LONGEST: Final = 65536
"""Bytes of a line, in either direction."""

KEPT: Final = 2000
"""Bytes of the standard error that are kept."""

_LIMITS: Final = Limits(depth=3)


class CannotStart(Exception):
    """The command does not start: wrong use, not a fault of the subject."""


class Fault(Exception):
    """The subject broke the protocol; the message is a sentence about it."""


class Silent(Fault):
    """It said nothing for too long."""


class Crashed(Fault):
    """It ended, or closed its output, without having been told to."""


class Garbage(Fault):
    """It said what is no line of the protocol."""


def line_of(message: Mapping[str, Any]) -> bytes:
    """A message as a line of printable ASCII; inside strings every other character is escaped as \\u00xx."""
    return ("{" + ",".join(f"{_text(key)}:{_value(value)}" for key, value in message.items()) + "}\n").encode("ascii")


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    return json.dumps(value)


def _text(text: str) -> str:
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\u{ord(c):04x}" for c in text) + '"'


def _found(program: str) -> str:
    """The program; one that is nowhere on the path may lie beside the interpreter, as ours do."""
    beside = Path(sys.executable).with_name(program) if "/" not in program else Path(program)
    return str(beside) if shutil.which(program) is None and beside.is_file() else program


class Subject:
    """The process, from its start to its end."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        """`patience`: seconds to wait for each of its lines. Raises CannotStart."""
        self._patience = patience
        self._rest = b""
        self._ended = False
        self._code: int | None = None
        self.complaints = b""
        try:
            self._process = subprocess.Popen(
                [_found(command[0]), *command[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise CannotStart(f"{shown(command[0])} does not start: {error.strerror}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._to = self._process.stdin
        self._from = self._process.stdout
        self._errors = self._process.stderr
        self._listening = [self._from, self._errors]

    def say(self, message: Mapping[str, Any]) -> None:
        """Answer the subject. Raises Crashed."""
        try:
            self._to.write(line_of(message))
        except BrokenPipeError:
            raise self._crashed() from None

    def hear(self) -> dict[str, Any]:
        """The subject's next line. Raises Silent, Crashed or Garbage."""
        text = self._line()
        try:
            message = parse_json(text.decode(), "it", _LIMITS)
        except UnicodeDecodeError:
            raise Garbage(f"it said {shown(repr(text[:60]))}, which is not UTF-8 text") from None
        except BadInput as error:
            raise Garbage(f"it said what is no JSON: {error}") from None
        if not isinstance(message, dict):
            raise Garbage(f"it said {shown(message)}; a JSON object a line is meant")
        return message

    def end(self, patience: float | None = None) -> int | None:
        """Let it end, kill it and all that it started if it does not; its exit code, None if it had to be killed.

        May be called again.
        """
        if self._ended:
            return self._code
        self._ended = True
        with contextlib.suppress(OSError):
            self._to.close()
        ended = os.pidfd_open(self._process.pid)
        try:
            in_time = bool(select.select([ended], [], [], self._patience if patience is None else patience)[0])
        finally:
            os.close(ended)
        with contextlib.suppress(ProcessLookupError):  # before it is reaped, so that its number means it
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._drain()
        self._from.close()
        self._errors.close()
        self._code = code if in_time else None
        return self._code

    def _line(self) -> bytes:
        deadline = time.monotonic() + self._patience
        while b"\n" not in self._rest:
            if len(self._rest) > LONGEST:
                break
            left = deadline - time.monotonic()
            ready = select.select(self._listening, [], [], max(left, 0))[0]
            if not ready:
                raise Silent(f"it said nothing for {self._patience:g} s")
            if self._errors in ready:
                self._hear_complaint()
            if self._from in ready:
                piece = os.read(self._from.fileno(), 1 << 16)
                if not piece:
                    raise self._crashed()
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        if len(line) > LONGEST:
            raise Garbage(f"it said a line of more than {LONGEST} bytes: {shown(repr(line[:40]))}")
        return line

    def _hear_complaint(self) -> None:
        piece = os.read(self._errors.fileno(), 1 << 16)
        if not piece:
            self._listening.remove(self._errors)
        self.complaints = (self.complaints + piece)[-KEPT:]

    def _drain(self) -> None:
        while self._errors in self._listening and select.select([self._errors], [], [], 0)[0]:
            self._hear_complaint()

    def _crashed(self) -> Crashed:
        code = self.end(patience=1.0)
        if code is None:
            return Crashed("it closed its output although it was not told to end")
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return Crashed(f"it ended {how} although it was not told to end")
