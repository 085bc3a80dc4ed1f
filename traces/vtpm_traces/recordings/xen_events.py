"""What a recording of a Xen system shows of one vTPM device: typed events, each with the place where it was read.

Events are equal if they show the same, wherever they were read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from vtpm_traces.observe import Origin


@dataclass(frozen=True, order=True)
class Device:
    """A vTPM device: the frontend's domain and the handle that the toolstack gave it."""

    domain: int
    handle: int

    def __str__(self) -> str:
        return f"{self.domain}/{self.handle}"


class Side(Enum):
    """Whose directory in xenstore."""

    FRONTEND = "frontend"
    BACKEND = "backend"


class Party(Enum):
    """Who did something, as far as the recording tells."""

    FRONTEND = "frontend"
    BACKEND = "backend"
    TOOLSTACK = "toolstack"
    LOCAL = "backend or toolstack"  # they share a domain, and neither the node nor the value tells them apart
    OTHER = "somebody else"


DIRECTORY = ""
"""The node that is a device's directory itself."""


@dataclass(frozen=True)
class Change:
    """A node that got a value, or was removed (`value` None). For a directory "" is its existence.

    `implied`: nobody asked for the directory, it came with the first node written below it.
    """

    origin: Origin = field(compare=False)
    side: Side
    node: str
    value: str | None
    implied: bool = False


@dataclass(frozen=True)
class Commit:
    """Changes to xenstore that became visible at once: a transaction, or one request outside any."""

    origin: Origin = field(compare=False)
    party: Party
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Read:
    """A node was read. `exact`: at this place of the stream; else at some moment since the last such read of it.

    `own`: the line is about this very node, not about a directory above it.
    """

    origin: Origin = field(compare=False)
    party: Party
    side: Side
    node: str
    value: str | None  # None: it is not there
    exact: bool
    own: bool = True


@dataclass(frozen=True)
class Watched:
    """A watch on a node was set, or taken away."""

    origin: Origin = field(compare=False)
    party: Party
    side: Side
    node: str
    registered: bool


@dataclass(frozen=True)
class Fired:
    """A watch event on a node was delivered."""

    origin: Origin = field(compare=False)
    party: Party
    side: Side
    node: str


@dataclass(frozen=True)
class Header:
    """The first 8 bytes of a shared page."""

    length: int
    state: int
    locality: int
    pad: int
    extra: int  # nr_extra_pages


@dataclass(frozen=True)
class Mapped:
    """The backend mapped the frontend's page and bound its port, and looked at the page's first 16 bytes."""

    origin: Origin = field(compare=False)
    ring_ref: int
    port: int
    header: Header
    data: bytes


@dataclass(frozen=True)
class Sampled:
    """The backend woke and read the header: `after_connect` once after binding, else because an event came."""

    origin: Origin = field(compare=False)
    after_connect: bool
    header: Header


@dataclass(frozen=True)
class Commanded:
    """The backend had fetched a request, stored its answer and sent the event.

    Its recorder counts from 1, by device or by connection, so a number says how many commands there had been;
    `follows`: it is the next one after that of the device's last command in this log, or the first.
    """

    origin: Origin = field(compare=False)
    number: int
    request: bytes
    response: bytes
    locality: int
    follows: bool = True


@dataclass(frozen=True)
class Published:
    """The frontend wrote its keys and then its state; the keys are visible before the state is."""

    origin: Origin = field(compare=False)
    ring_ref: int
    port: int
    state: str


@dataclass(frozen=True)
class Restarted:
    """The backend began again: what it was before has ended without a word."""

    origin: Origin = field(compare=False)


Event: TypeAlias = Commit | Read | Watched | Fired | Mapped | Sampled | Commanded | Published | Restarted


@dataclass(frozen=True)
class Remark:
    """Something in a recording that could not be used, told by its place."""

    origin: Origin = field(compare=False)
    why: str

    def __str__(self) -> str:
        return f"{self.origin.file}:{self.origin.line}: {self.why}"


# ------------------------------------------------------------------------------------------------- paths in xenstore


@dataclass(frozen=True)
class Place:
    """A node of a device: `backend` is the backend's domain, where the path tells it."""

    device: Device
    side: Side
    node: str
    backend: int | None = None


_FRONTEND = re.compile(r"/local/domain/(\d{1,5})/device/vtpm/(\d{1,9})(?:/(.*))?", re.ASCII | re.DOTALL)
_BACKEND = re.compile(r"/local/domain/(\d{1,5})/backend/vtpm/(\d{1,5})/(\d{1,9})(?:/(.*))?", re.ASCII | re.DOTALL)


def place_of(path: str) -> Place | None:
    """The device, side and node that an absolute path names; None where it names no vTPM device."""
    if found := _FRONTEND.fullmatch(path):
        return Place(Device(int(found[1]), int(found[2])), Side.FRONTEND, found[3] or DIRECTORY)
    if found := _BACKEND.fullmatch(path):
        device = Device(int(found[2]), int(found[3]))
        return Place(device, Side.BACKEND, found[4] or DIRECTORY, backend=int(found[1]))
    return None


def directory_of(path: str) -> tuple[Place, str] | None:
    """The device directory that an absolute path lies in (or is), and the directory's own path."""
    place = place_of(path)
    if place is None:
        return None
    directory = path if place.node == DIRECTORY else path[: -len(place.node) - 1]
    return Place(place.device, place.side, DIRECTORY, place.backend), directory.rstrip("/")
