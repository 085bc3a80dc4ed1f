"""The xenstore wire protocol: message types, errors, framing, and the limits of each.

Source: Xen 4.17, `xen/include/public/io/xs_wire.h` and `docs/misc/xenstore.txt`.
"""

from __future__ import annotations

import errno
import re
import struct
from enum import IntEnum
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("=IIII")
"""type, request id, transaction id, length of the payload: four u32 in the order of the machine."""

PAYLOAD_MAX: Final = 4096
"""Bytes of payload, in both directions. Who sends a longer request loses the connection."""

ABSOLUTE_PATH_MAX: Final = 3072
RELATIVE_PATH_MAX: Final = 2048
"""Bytes of a path; one below `/local/domain/<domid>/` counts from there."""


class MessageType(IntEnum):
    """The first field of a message."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


class Rule(NamedTuple):
    """How a request is written and who may make it; `|` is a nul, `*` any number, `+` at least one."""

    request: str
    reply: str = "OK|"
    privileged: bool = False  # only the control domain may
    transaction: bool = True  # its transaction id must be 0 or one that is open; else it is ignored


REQUESTS: Final[dict[MessageType, Rule]] = {
    MessageType.CONTROL: Rule("<command>|*", "<text>|", privileged=True),
    MessageType.DIRECTORY: Rule("<path>|", "<child>|*"),
    MessageType.READ: Rule("<path>|", "<value>"),
    MessageType.GET_PERMS: Rule("<path>|", "<permission>|+"),
    MessageType.WATCH: Rule("<path>|<token>|", transaction=False),
    MessageType.UNWATCH: Rule("<path>|<token>|", transaction=False),
    MessageType.TRANSACTION_START: Rule("|", "<transaction>|"),
    MessageType.TRANSACTION_END: Rule("T| or F|"),
    MessageType.INTRODUCE: Rule("<domid>|<gfn>|<port>|", privileged=True),
    MessageType.RELEASE: Rule("<domid>|", privileged=True),
    MessageType.GET_DOMAIN_PATH: Rule("<domid>|", "<path>|"),
    MessageType.WRITE: Rule("<path>|<value>"),
    MessageType.MKDIR: Rule("<path>|"),
    MessageType.RM: Rule("<path>|"),
    MessageType.SET_PERMS: Rule("<path>|<permission>|+"),
    MessageType.IS_DOMAIN_INTRODUCED: Rule("<domid>|", "T| or F|", privileged=True),
    MessageType.RESUME: Rule("<domid>|", privileged=True),
    MessageType.SET_TARGET: Rule("<domid>|<domid>|", privileged=True),
    MessageType.RESET_WATCHES: Rule("|"),
    MessageType.DIRECTORY_PART: Rule("<path>|<offset>|", "<generation>|<child>|*"),
}
"""The requests. WATCH_EVENT (`<path>|<token>|`) and ERROR (`<error>|`) only travel from the store to a client."""

ERRORS: Final[dict[str, int]] = {
    name: getattr(errno, name)
    for name in (
        "EINVAL", "EACCES", "EEXIST", "EISDIR", "ENOENT", "ENOMEM", "ENOSPC", "EIO", "ENOTEMPTY",
        "ENOSYS", "EROFS", "EBUSY", "EAGAIN", "EISCONN", "E2BIG", "EPERM",
    )
}  # fmt: skip
"""What an ERROR may say, and the number that this machine has for it. The name is what travels."""


class ProtocolError(Exception):
    """The other side does not speak the protocol; nothing that it sends from here on can be made sense of."""


class Message(NamedTuple):
    """One message, either way. `type` is a plain number, since a stranger may send any."""

    type: int
    request: int
    transaction: int
    payload: bytes

    @property
    def name(self) -> str:
        """The name of its type, for people."""
        try:
            return MessageType(self.type).name
        except ValueError:
            return f"type {self.type}"


def encode(message: Message) -> bytes:
    """Give the bytes of a message; a payload of more than 4096 bytes is a `ProtocolError`."""
    if len(message.payload) > PAYLOAD_MAX:
        raise ProtocolError(f"a {message.name} of {len(message.payload)} bytes; at most {PAYLOAD_MAX} are allowed")
    size = len(message.payload)
    return HEADER.pack(message.type, message.request, message.transaction, size) + message.payload


class Decoder:
    """Cuts a stream of bytes, which arrives in pieces of any size, into messages."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Message]:
        """Take the next piece and give the messages that it completes, in order.

        A header that announces more than 4096 bytes is a `ProtocolError`, however little of them has arrived; the
        messages before it are lost with the connection.
        """
        held = self._held + data if self._held else data
        messages = []
        at, end = 0, len(held)
        while end - at >= HEADER.size:
            kind, request, transaction, size = HEADER.unpack_from(held, at)
            if size > PAYLOAD_MAX:
                said = Message(kind, request, transaction, b"").name
                raise ProtocolError(f"a {said} announces {size} bytes; at most {PAYLOAD_MAX} are allowed")
            body = at + HEADER.size
            if end - body < size:
                break
            at = body + size
            messages.append(Message(kind, request, transaction, held[body:at]))
        self._held = held[at:]
        return messages

    @property
    def idle(self) -> bool:
        """Whether nothing is held of a message that has not arrived whole."""
        return not self._held


def strings(payload: bytes) -> list[bytes]:
    """Give the strings of a payload, each of which a nul ends; what follows the last nul is no string."""
    return payload.split(b"\0")[:-1]


def only_string(payload: bytes) -> bytes | None:
    """Give the string that a payload consists of, if there is one nul in it and that is its end."""
    return payload[:-1] if payload.find(b"\0") == len(payload) - 1 and payload else None


_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_LONG: Final = (1 << 63) - 1


def leading_number(text: bytes) -> int:
    """Give the u32 that a string begins with, 0 if none: domids and offsets are read as C's `atoi` reads them."""
    found = _NUMBER.match(text)
    return clamp_long(int(found[1])) & 0xFFFFFFFF if found and len(found[1]) <= PAYLOAD_MAX else 0


def clamp_long(number: int) -> int:
    """Hold a number within a C `long`, as `strtol` does."""
    return max(-_LONG - 1, min(_LONG, number))
