"""The nodes of a vTPM device in xenstore: where they are, and what their values may be.

Whoever owns a node may write anything into it, so every value is parsed strictly and what does not parse has a name.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

VERSION = b"1"
"""The value of feature-protocol-v2 on both sides."""


class XenbusState(IntEnum):
    """The value of a `state` node; UNKNOWN also where there is none, INVALID for a text that is no state."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8
    INVALID = 9

    @property
    def text(self) -> bytes:
        """What is written into the node."""
        return b"%d" % self


class Device(NamedTuple):
    """A frontend's device, as its backend tells it from others."""

    domid: int
    handle: int

    def __str__(self) -> str:
        return f"{self.domid}/{self.handle}"


class Keys(NamedTuple):
    """What a frontend publishes of its page and port."""

    ring_ref: int
    event_channel: int


_BACKEND_PATH = re.compile(r"(?:/local/domain/\d{1,5}/)?backend/vtpm/(\d{1,5})/(\d{1,9})(?:/.*)?", re.DOTALL)
_DOMAIN_PATH = re.compile(r"(?:/local/domain/\d{1,5}/)?backend/vtpm/(\d{1,5})")
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,9}")


def parse_state(value: bytes | None) -> XenbusState:
    """The state that a node holds: one digit, 0 to 8; a missing node is UNKNOWN, any other text INVALID."""
    if value is None:
        return XenbusState.UNKNOWN
    if len(value) == 1 and value in b"012345678":
        return XenbusState(int(value))
    return XenbusState.INVALID


def parse_number(value: bytes | None) -> int | None:
    """A decimal number of 32 bits, without sign, space or leading zero; None for anything else."""
    if value is None or _NUMBER.fullmatch(value) is None:
        return None
    number = int(value)
    return number if number <= 0xFFFF_FFFF else None


def parse_keys(ring_ref: bytes | None, event_channel: bytes | None) -> Keys | None:
    """The keys, or None where one is missing or is no number."""
    ref, port = parse_number(ring_ref), parse_number(event_channel)
    return None if ref is None or port is None else Keys(ref, port)


def parse_uuid(value: bytes | None) -> bytes | None:
    """The 16 bytes of a uuid, or None where the text is none."""
    if value is None or _UUID.fullmatch(value) is None:
        return None
    return bytes.fromhex(value.replace(b"-", b"").decode())


def device_of(path: str) -> Device | None:
    """The device below whose backend directory a path lies, or None."""
    found = _BACKEND_PATH.fullmatch(path)
    return Device(int(found[1]), int(found[2])) if found else None


def domid_of(path: str) -> int | None:
    """The domain whose devices lie right below a backend's directory, if the path is such a directory."""
    found = _DOMAIN_PATH.fullmatch(path)
    return int(found[1]) if found else None


def backend_directory(device: Device) -> str:
    """The backend's directory of a device, relative to the backend's domain."""
    return f"backend/vtpm/{device.domid}/{device.handle}"


def frontend_directory(device: Device) -> str:
    """The frontend's directory of a device, from the root."""
    return f"/local/domain/{device.domid}/device/vtpm/{device.handle}"
