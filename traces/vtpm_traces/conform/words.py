"""What a toolstack, a frontend and a backend usually do, each in one line of a script that stands for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from vtpm_traces.files import BadInput, shown
from vtpm_traces.recordings.tpmback import BACKEND_DOMAIN
from vtpm_traces.recordings.tpmfront import FRONTEND_DOMAIN

UUID: Final = "12345678-9abc-def0-1234-56789abcdef0"

BACKEND: Final = BACKEND_DOMAIN
FRONTEND: Final = FRONTEND_DOMAIN


def front(domain: str, handle: str) -> str:
    """The frontend's directory of a device."""
    return f"/local/domain/{domain}/device/vtpm/{handle}"


def back(domain: str, handle: str) -> str:
    """The directory that the backend under test has of a device."""
    return f"/local/domain/{BACKEND}/backend/vtpm/{domain}/{handle}"


def _attach(domain: str, handle: str) -> tuple[str, ...]:
    ours, theirs = back(domain, handle), front(domain, handle)
    return (
        f"set {theirs}",
        f"set {ours}",
        f"set {ours}/frontend {theirs}",
        f"set {ours}/frontend-id {domain}",
        f"set {ours}/online 1",
        f"set {ours}/uuid {UUID}",
        f"set {ours}/state 1",
        f"set {theirs}/backend {ours}",
        f"set {theirs}/backend-id {BACKEND}",
        f"set {theirs}/handle {handle}",
        f"set {theirs}/state 1",
    )


def _publish(domain: str, handle: str, ref: str, port: str) -> tuple[str, ...]:
    theirs = front(domain, handle)
    return (
        f"page {domain} {ref} 6 00",
        f"set {theirs}/ring-ref {ref}",
        f"set {theirs}/event-channel {port}",
        f"set {theirs}/feature-protocol-v2 1",
    )


def _submit(domain: str, ref: str, port: str, locality: str, command: str) -> tuple[str, ...]:
    header = (len(command) // 2).to_bytes(4, "little") + bytes([1, int(locality), 0, 0])
    return (f"page {domain} {ref} 8 {command}", f"page {domain} {ref} 0 {header.hex()}", f"notify {domain} {port}")


def _offer(domain: str, handle: str) -> tuple[str, ...]:
    ours, theirs = front(str(FRONTEND), handle), f"/local/domain/{domain}/backend/vtpm/{FRONTEND}/{handle}"
    return (
        f"set {ours}/backend {theirs}",
        f"set {ours}/backend-id {domain}",
        f"set {ours}/handle {handle}",
        f"set {ours}/state 1",
        f"set {theirs}/frontend {ours}",
        f"set {theirs}/feature-protocol-v2 1",
        f"set {theirs}/state 2",
    )


def _reply(ref: str, port: str, answer: str) -> tuple[str, ...]:
    header = (len(answer) // 2).to_bytes(4, "little") + bytes([2])
    return (f"page {FRONTEND} {ref} 8 {answer}", f"page {FRONTEND} {ref} 0 {header.hex()}", f"kick {port}")


WORDS: Final[Mapping[str, tuple[str, Callable[..., tuple[str, ...]]]]] = {
    "attach": ("DOM HANDLE", _attach),
    "publish": ("DOM HANDLE REF PORT", _publish),
    "state": ("DOM HANDLE STATE", lambda domain, handle, state: (f"set {front(domain, handle)}/state {state}",)),
    "submit": ("DOM REF PORT LOCALITY HEX", _submit),
    "cancel": ("DOM REF PORT", lambda domain, ref, port: (f"page {domain} {ref} 4 03", f"notify {domain} {port}")),
    "detach": (
        "DOM HANDLE",
        lambda domain, handle: (f"set {back(domain, handle)}/online 0", f"set {back(domain, handle)}/state 5"),
    ),
    "destroy": (
        "DOM HANDLE",
        lambda domain, handle: (
            f"rm {front(domain, handle)}",
            f"set {back(domain, handle)}/online 0",
            f"set {back(domain, handle)}/state 5",
        ),
    ),
    "remove": ("DOM HANDLE", lambda domain, handle: (f"rm {back(domain, handle)}", f"rm {front(domain, handle)}")),
    "offer": ("DOM HANDLE", _offer),
    "backend": (
        "DOM HANDLE STATE",
        lambda domain, handle, state: (f"set /local/domain/{domain}/backend/vtpm/{FRONTEND}/{handle}/state {state}",),
    ),
    "reply": ("REF PORT HEX", _reply),
}
"""Word: what follows it, and the lines that it stands for.

To a backend under test: `attach` makes a device, `publish` puts a frontend's keys into its nodes and grants the page,
`state` writes the frontend's state, `submit` and `cancel` use the ring; `detach`, `destroy` and `remove` are the
toolstack's. To a frontend: `offer` makes a device whose backend waits, `backend` writes the backend's state, `reply`
answers.
"""


def expanded(line: str) -> tuple[str, ...]:
    """The lines that a line stands for; most stand for themselves. Raises BadInput."""
    name, *rest = line.split() or [""]
    if name not in WORDS:
        return (line,)
    names, expand = WORDS[name]
    if len(rest) != len(names.split()):
        raise BadInput(f"{shown(line)}: meant is {name} {names}")
    try:
        return expand(*rest)
    except (ValueError, OverflowError):
        raise BadInput(f"{shown(line)}: meant is {name} {names}") from None
