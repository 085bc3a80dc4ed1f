"""Permissions of a node: who owns it, who else may read or write it, and how they are written."""

from __future__ import annotations

import re
from enum import IntFlag
from typing import Final, NamedTuple

from vtpm_impl.xen.xenstore.wire import clamp_long


class Access(IntFlag):
    """What a domain may do with a node."""

    NONE = 0
    READ = 1
    WRITE = 2
    OWNER = 4


class Permission(NamedTuple):
    """One entry: the first of a node names its owner, and its access is for everybody who has no entry."""

    domid: int
    access: int
    ignored: bool = False  # it was given to a domain that is gone, or to another one that had the same domid


Permissions = tuple[Permission, ...]

ALL: Final = int(Access.READ | Access.WRITE | Access.OWNER)
PRIVATE: Final[Permissions] = (Permission(0, Access.NONE),)
"""The control domain's own."""

_LETTERS: Final = {"n": 0, "r": int(Access.READ), "w": int(Access.WRITE), "b": int(Access.READ | Access.WRITE)}
_LETTER_OF: Final = {access: letter for letter, access in _LETTERS.items()}
_ENTRY = re.compile(r"([nrwb])[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))")


def parse(text: str) -> Permission | None:
    """Read an entry such as `r5`; a domid may be decimal, octal or hexadecimal, as C writes them."""
    found = _ENTRY.fullmatch(text)
    if found is None:
        return None
    letter, sign, hexadecimal, octal, decimal = found.groups()
    if decimal is not None:
        number = int(decimal) if len(decimal) < 32 else clamp_long(10**32)
    else:
        number = int(hexadecimal, 16) if hexadecimal is not None else int(octal or "0", 8)
    number = clamp_long(-number if sign == "-" else number)
    return Permission(number & 0xFFFFFFFF, _LETTERS[letter])


def text(permission: Permission) -> str:
    """Write an entry; a domid beyond the 31st bit is written as a negative number, as xenstored does."""
    domid = permission.domid
    return f"{_LETTER_OF[permission.access]}{domid - (1 << 32) if domid >> 31 else domid}"


def granted(permissions: Permissions, domid: int, target: int | None = None) -> int:
    """Give what an unprivileged domain may do; `target` is the domain in whose place it may act, if any."""
    owner = permissions[0]
    if owner.domid == domid or (target is not None and owner.domid == target):
        return ALL
    for entry in permissions[1:]:
        if not entry.ignored and (entry.domid == domid or (target is not None and entry.domid == target)):
            return entry.access
    return owner.access


def without(permissions: Permissions, domid: int) -> Permissions:
    """Give the permissions that are left when a domain is gone; what it owned falls to the control domain."""
    owner = permissions[0]._replace(domid=0) if permissions[0].domid == domid else permissions[0]
    return (owner, *(entry for entry in permissions[1:] if entry.domid != domid))
