"""Where our store is known to differ from Debian's xenstored 4.17, and why: data, of which nothing may become stale."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.impl.xenstore.sequences import Ask

from vtpm_impl.xen.xenstore.wire import MessageType as M


class Deviation(NamedTuple):
    """A short story whose last request the two answer differently."""

    name: str
    reason: str
    story: tuple[Ask, ...]
    ours: bytes
    theirs: bytes  # what the answer of xenstored begins with


_CARELESS: Final = (
    "xenstored answers such a request with whatever error the request before happened to leave behind, and ends with a "
    "failed assertion where there was none; nobody can want either"
)
_BEFORE: Final = Ask(0, M.READ, b"/nowhere\0")

KNOWN: Final = (
    *(
        Deviation(
            f"{kind.name} of what is not one string", _CARELESS, (_BEFORE, Ask(0, kind, payload)), b"EINVAL\0", said
        )
        for kind, payload, said in (
            (M.READ, b"/t", b"ENOENT\0"),
            (M.DIRECTORY, b"", b"ENOENT\0"),
            (M.GET_PERMS, b"/t\0/t\0", b"ENOENT\0"),
            (M.MKDIR, b"/t", b"ENOMEM\0"),
            (M.RM, b"/t\0x", b"ENOMEM\0"),
        )
    ),
    Deviation(
        "SET_PERMS of a special watch that does not exist",
        _CARELESS,
        (_BEFORE, Ask(0, M.SET_PERMS, b"@nothing\0n0\0")),
        b"EINVAL\0",
        b"ENOENT\0",
    ),
    Deviation(
        "SET_PERMS of a special watch by a guest",
        _CARELESS,
        (Ask(1, M.READ, b"not valid\0"), Ask(1, M.SET_PERMS, b"@releaseDomain\0n1\0")),
        b"EACCES\0",
        b"E",
    ),
    Deviation(
        "CONTROL by the control domain",
        "what can be controlled in xenstored is not there in ours; the protocol lets a store have no CONTROL",
        (Ask(0, M.CONTROL, b"help\0"),),
        b"ENOSYS\0",
        b"check\t",
    ),
)
"""Not among them, for they show in no answer: xenstored delays guests that write while transactions are open, drops
events that a guest does not take within 20 seconds, and stalls a guest whose nodes, watches and transactions exceed
2.5 MiB together. Ours does none of that; it ends the connection of a client with 4 MiB on the way to it."""
