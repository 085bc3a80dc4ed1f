"""Event logs of devices (`vtpm-event-log/1`): one file for each, which all processes that take part write together.

Whoever takes a step of a device does so with the file locked, and adds its line before letting go: lines stand in the
order of the steps, whichever processes took them. A process that begins where another one of its side has ended
without a word says so first.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from vtpm_impl.xen.platform import PlatformError
from vtpm_impl.xenbus.nodes import Device

HEADER = {"schema": "vtpm-event-log/1", "system": "device", "hidden": ["toolstack_forces"]}
"""The first line. The store removes the nodes of a domain that has died, which is as if a toolstack did it by force."""


class Journal(Protocol):
    """What the steps of one device are told to. Inside `with` nobody else's steps come in between."""

    writes: bool

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def step(self, action: str, **picks: bool | int) -> None:
        """A step has been taken."""


class Silent:
    """Writes nothing."""

    writes = False

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def step(self, action: str, **picks: bool | int) -> None:
        """Nobody wants to know."""


class FileJournal:
    """The log of one device, as one process writes it; threads take turns."""

    writes = True

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._depth = 0
        self._turn = threading.RLock()
        self._begun: set[str] = set()

    def __enter__(self) -> FileJournal:
        self._turn.acquire()
        if self._depth == 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._turn.release()

    def step(self, action: str, **picks: bool | int) -> None:
        """Add the line of a step."""
        with self:
            by = action.partition("_")[0]
            if by not in self._begun:
                self._begun.add(by)
                for gone in self._gone(by):
                    self._write({"action": gone, "by": by})
            self._write({"action": action, "by": by, **({"picks": picks} if picks else {})})

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def _gone(self, by: str) -> list[str]:
        """What became of the process that was this side of the device before."""
        size = os.fstat(self._descriptor).st_size
        if size == 0:
            self._write(dict(HEADER))
            return []
        lines = os.pread(self._descriptor, size, 0).splitlines()
        taken = [line["action"] for line in map(json.loads, lines) if line.get("by") == by]
        if by == "backend" and taken:
            return ["backend_starts"] if taken[-1] == "backend_crashes" else ["backend_crashes", "backend_starts"]
        pages = [a for a in taken if a in ("frontend_allocates", "frontend_releases_page", "frontend_vanishes")]
        return ["frontend_vanishes"] if pages and pages[-1] == "frontend_allocates" else []


Journals = Callable[[Device], Journal]
"""The journal of a device."""


def silent(device: Device) -> Journal:
    """No journal."""
    del device
    return Silent()


def journals_in(folder: Path | None) -> Journals:
    """The journals that lie in a folder, which is made if need be: `DOMID-HANDLE.ndjson`. None: no journals.

    Raises PlatformError.
    """
    if folder is None:
        return silent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"the event logs cannot be kept in {str(folder)!r}: {error.strerror}") from error
    opened: dict[Device, FileJournal] = {}

    def journal(device: Device) -> Journal:
        if device not in opened:
            opened[device] = FileJournal(folder / f"{device.domid}-{device.handle}.ndjson")
        return opened[device]

    return journal
