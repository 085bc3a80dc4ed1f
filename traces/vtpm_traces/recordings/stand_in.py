"""What surrounds a driven program: xenstore and shared pages, kept as driver and program are seen to write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vtpm_model.handshake import XenbusState
from vtpm_model.page import HEADER
from vtpm_model.ring import RingState
from vtpm_traces.observe import Holds, Origin
from vtpm_traces.recordings.script import PAGE_SIZE, Malformed

_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")


RING_STATE = 4
"""Where in the page the state byte is."""

MOST_NODES = 5_000
DEEPEST = 32


@dataclass
class Store:
    """The nodes of xenstore and their values."""

    file: str
    nodes: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> str | None:
        """The value of a node, None if nobody wrote it."""
        return self.nodes.get(path)

    def set(self, path: str, value: str, origin: Origin) -> None:
        """Somebody writes a node, and thereby makes those above it. Raises Malformed for a store without end."""
        if path.count("/") > DEEPEST or len(self.nodes) > MOST_NODES:
            raise Malformed(self.file, origin.line, f"a store of more than {MOST_NODES} nodes or {DEEPEST} levels")
        self.nodes[path] = value
        above = path.rpartition("/")[0]
        while above and above not in self.nodes:
            self.nodes[above] = ""
            above = above.rpartition("/")[0]

    def remove(self, path: str) -> None:
        """Somebody removes a node and all below it."""
        for name in [name for name in self.nodes if is_at_or_below(name, path)]:
            del self.nodes[name]

    def contradicts(self, path: str, value: str | None) -> str | None:
        """Why this value cannot have been read, if so."""
        known = self.nodes.get(path)
        if value == known:
            return None
        return f"{path} reads {told(value)}, but the store has {told(known)} there"


def told(value: str | None) -> str:
    """A node's value for people."""
    return "nothing" if value is None else repr(value)


def is_at_or_below(path: str, parent: str) -> bool:
    """Whether a path names this node or one below it."""
    return path == parent or path.startswith(parent + "/")


def xenbus_state(text: str | None) -> XenbusState:
    """The state that a `state` node's text means: one digit from 0 to 8, or no state at all."""
    if text is None:
        return XenbusState.UNKNOWN
    if len(text) == 1 and text in "012345678":
        return XenbusState(int(text))
    return XenbusState.INVALID


def is_uuid(text: str | None) -> bool:
    """Whether a node names a vTPM by 16 bytes in hexadecimal digits, with hyphens."""
    return text is not None and _UUID.fullmatch(text) is not None


def as_number(text: str | None) -> int | None:
    """The number that a key's text says: 32 bits in decimal digits, and nothing before or after them."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    number = int(text)
    return number if number <= 0xFFFF_FFFF and text == str(number) else None


@dataclass
class SharedPage:
    """The bytes of a shared page, as far as they are known."""

    content: bytearray = field(default_factory=lambda: bytearray(PAGE_SIZE))
    known: bytearray = field(default_factory=lambda: bytearray(b"\1" * PAGE_SIZE))

    def store(self, offset: int, data: bytes) -> None:
        """These bytes are in the page now."""
        self.content[offset : offset + len(data)] = data
        self.known[offset : offset + len(data)] = b"\1" * len(data)

    def forget(self, offset: int, count: int) -> None:
        """Nobody knows what these bytes are now."""
        self.known[offset : offset + count] = bytes(len(self.known[offset : offset + count]))

    def agrees(self, offset: int, data: bytes) -> bool:
        """Whether these may be the bytes that begin at the offset."""
        here = range(offset, min(offset + len(data), PAGE_SIZE))
        return all(not self.known[at] or self.content[at] == data[at - offset] for at in here)

    def known_bytes(self, offset: int, count: int) -> bytes | None:
        """The bytes that begin at the offset, if each is known."""
        if not all(self.known[offset : offset + count]) or offset + count > PAGE_SIZE:
            return None
        return bytes(self.content[offset : offset + count])

    @property
    def length(self) -> int:
        """The header's length."""
        return int.from_bytes(self.content[0:4], "little")

    @property
    def state(self) -> RingState:
        """The header's state byte."""
        return ring_state(self.content[4])

    @property
    def locality(self) -> int | None:
        """The header's locality, if it is known."""
        return self.content[5] if self.known[5] else None

    @property
    def extra(self) -> int:
        """The header's nr_extra_pages."""
        return self.content[7]

    @property
    def data_offset(self) -> int:
        """Where the packet begins."""
        return HEADER + 4 * self.extra


def ring_state(value: int) -> RingState:
    """The state that a page's state byte means."""
    return RingState(value) if value < RingState.OTHER else RingState.OTHER


def impossible(origin: Origin, why: str) -> Holds:
    """An observation that no run shows, because the recording contradicts itself or its surroundings."""
    return Holds(Origin(origin.file, origin.line, f"{origin.text}: {why}"), lambda state: False)


def shown_data(text: str) -> bytes:
    """The bytes that a line shows; what it leaves out at the end is left out here too. Raises ValueError."""
    return bytes.fromhex(text.removesuffix("...").rstrip("."))
