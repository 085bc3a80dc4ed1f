"""Reads a folder that was recorded on a real Xen system: what each of its sources shows of each vTPM device.

A folder holds any of: `backend*.jsonl` (a backend's own log), `xenstored.trace` (every request to the store),
`xswatch.jsonl` (a watch on everything) and `console/*.log` (backends' and frontends' JSON lines between other text),
each as it lies or packed (`.gz`, `.xz`). Time stamps are not used: each source has a clock of its own. `recording.json`
may say whose frontends they are: without it, Linux'.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from vtpm_traces.files import BadInput, Limits, chunks, read_json
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.xen_events import Device, Event, Remark
from vtpm_traces.recordings.xen_log import read_log
from vtpm_traces.recordings.xen_store import read_store_trace
from vtpm_traces.schema import RECORDING, check, refuse_unknown

LIMITS = Limits(stored=64 << 20, unpacked=256 << 20)
TOLD = "recording.json"
"""What a folder says of itself (vtpm-recording/1)."""

_MOST_FILES = 1000

_PACKED = ("", ".gz", ".xz")


class SourceKind(Enum):
    """What a source is a record of, and so what it would have shown had it happened."""

    BACKEND = "backend's log"
    FRONTEND = "frontend's log"
    STORE = "trace of the store"
    WATCHER = "watch on everything"


@dataclass(frozen=True)
class Source:
    """What one file shows of one device, in its order.

    `from_start`: nothing of its kind is older than the file. `doubtful`: lines of it may be of another device.
    """

    file: str  # relative to the folder
    kind: SourceKind
    events: tuple[Event, ...]
    from_start: bool = False
    doubtful: bool = False


@dataclass(frozen=True)
class DeviceRecording:
    """All that a folder shows of one device. `recorder` is the file of the backend's log, else of what there is."""

    recorder: str
    device: Device
    sources: tuple[Source, ...]

    @property
    def title(self) -> str:
        """Recorder and device, as tables show them."""
        return f"{self.recorder} device {self.device}"


@dataclass
class FolderRecording:
    """A folder's devices, one for each recorder that saw it, the files that were read, and what could not be used."""

    folder: str
    devices: list[DeviceRecording] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    frontends: dict[int, str | None] = field(default_factory=dict)
    """By a frontend's domain, the system that it is held against, where that is told. None: it keeps to none."""


def read_folder(folder: Path) -> FolderRecording:
    """Read a folder. Raises BadInput if it is not one, or if nothing in it is a source that is known."""
    contents, remarks = read_contents(folder)
    recording = read_sources(str(folder), contents)
    recording.remarks = remarks + recording.remarks
    recording.frontends = _frontends(folder / TOLD)
    return recording


def _frontends(told: Path) -> dict[int, str | None]:
    """What a folder says of its frontends."""
    if not told.exists():
        return {}
    document = read_json(told)
    refuse_unknown(document.get("schema") if isinstance(document, dict) else None, RECORDING, str(told))
    check(document, RECORDING, str(told), part="folder")
    return {int(domain): system for domain, system in document["frontends"].items()}


def read_contents(folder: Path) -> tuple[dict[str, bytes], list[Remark]]:
    """The unpacked content of each source in a folder, by its name there, and what was cut off. Raises BadInput."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a directory")
    remarks: list[Remark] = []
    contents = {}
    for path in _files(folder):
        name = str(path.relative_to(folder))
        contents[name] = _content(path, name, remarks)
    if not contents:
        expected = "backend*.jsonl, xenstored.trace, xswatch.jsonl or console/*.log"
        raise BadInput(f"{folder} holds no recording: none of {expected} is in it")
    return contents, remarks


def read_sources(title: str, contents: Mapping[str, bytes]) -> FolderRecording:
    """Read the sources of a folder from their contents."""
    recording = FolderRecording(title)
    found: dict[Device, list[Source]] = defaultdict(list)
    for name, text in contents.items():
        recording.files.append(name)
        if name.startswith("xenstored"):
            trace = read_store_trace(text, name)
            recording.remarks += trace.remarks
            for device, events in trace.events.items():
                found[device].append(Source(name, SourceKind.STORE, tuple(events), trace.from_start))
        else:
            log = read_log(text, name, console=name.startswith("console/"))
            recording.remarks += log.remarks
            by_kind = {
                SourceKind.BACKEND: log.backend, SourceKind.FRONTEND: log.frontend, SourceKind.WATCHER: log.watcher,
            }  # fmt: skip
            for source_kind, devices in by_kind.items():
                for device, events in devices.items():
                    from_start = source_kind is SourceKind.BACKEND and log.started
                    doubtful = source_kind is SourceKind.BACKEND and device in log.doubtful
                    found[device].append(Source(name, source_kind, tuple(events), from_start, doubtful))
    for device in sorted(found):
        recording.devices += _by_recorder(device, found[device])
    recording.devices.sort(key=lambda each: (each.recorder, each.device))
    return recording


def _by_recorder(device: Device, sources: list[Source]) -> Iterator[DeviceRecording]:
    """A recording for each backend's log; what several logs show of one device is one run, so each gets all of them."""
    recorders = [source for source in sources if source.kind is SourceKind.BACKEND] or sources[:1]
    for recorder in recorders:
        others = tuple(source for source in sources if source is not recorder)
        yield DeviceRecording(recorder.file, device, (recorder, *others))


_PATTERNS = (("", "backend*.jsonl"), ("", "xswatch*.jsonl"), ("console", "*.log"), ("", "xenstored*.trace"))


def _files(folder: Path) -> Iterator[Path]:
    """The sources in a folder."""
    number = 0
    for inside, pattern in _PATTERNS:
        place = folder / inside
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if any(fnmatch.fnmatch(path.name, pattern + packed) for packed in _PACKED) and path.is_file():
                number += 1
                if number > _MOST_FILES:
                    raise BadInput(f"{folder} holds more than {_MOST_FILES} sources")
                yield path


def _content(path: Path, name: str, remarks: list[Remark]) -> bytes:
    """The content of a source; a packed one that was cut off is used as far as it goes, and told about."""
    content: list[bytes] = []
    try:
        content.extend(chunks(path, LIMITS))
    except BadInput as why:
        if not content:
            raise
        remarks.append(Remark(Origin(name, sum(part.count(b"\n") for part in content) + 1, ""), str(why)))
    return b"".join(content)
