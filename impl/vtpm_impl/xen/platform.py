"""What a domain can ask of the machine it runs on: xenstore, grants and event channels, whatever carries them.

Platforms answer to this: processes of one host (`xen.host`), a harness that plays the machine (`xen.sut`), real Xen.
`ring` and `xenbus` know this file only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, overload

FRAME = 4096
"""Bytes of a page that one grant shares."""

T = TypeVar("T")


class PlatformError(Exception):
    """The machine refused; the message shows what was asked."""


class Unavailable(PlatformError):
    """What was asked for is not there: no such grant, no port reserved for this domain, no such domain."""


class Memory(Protocol):
    """The bytes of a page; each access is one load or one store."""

    @overload
    def __getitem__(self, where: int, /) -> int: ...
    @overload
    def __getitem__(self, where: slice, /) -> bytes | memoryview: ...
    @overload
    def __setitem__(self, where: slice, value: bytes, /) -> None: ...
    @overload
    def __setitem__(self, where: int, value: int, /) -> None: ...


class Page(Protocol):
    """4 096 bytes that two domains share; either may change any of them at any time."""

    @property
    def memory(self) -> Memory:
        """The bytes themselves, writable."""


class Grant(Page, Protocol):
    """A page of this domain that it lets one other domain map."""

    @property
    def ref(self) -> int:
        """The number that the other domain maps it by."""

    def end(self) -> bool:
        """Withdraw the grant and free the page. False, and nothing is done, while the other domain has it mapped."""


class GrantMapping(Page, Protocol):
    """A page of another domain, mapped here."""

    def unmap(self) -> None:
        """Take the mapping away; `memory` must not be touched afterwards."""


class Port(Protocol):
    """This domain's end of an event channel: one bit that says that something happened."""

    @property
    def number(self) -> int:
        """The number that the other domain binds it by."""

    def fileno(self) -> int:
        """A file descriptor that is readable while the bit is set, but see `wait`."""

    def take(self) -> bool:
        """Clear the bit; whether it was set."""

    def wait(self, seconds: float, /) -> bool:
        """Sleep until the bit is set, and clear it; False after so many seconds without.

        It is quicker than to be told by the descriptor, which need not tell again until this has returned False.
        """

    def notify(self) -> None:
        """Set the bit of the other end. An end that is not bound loses it without a word."""

    def close(self) -> None:
        """Close this end; the other one is unbound from then on."""


class Poller(Protocol):
    """Waits for descriptors, as `select.poll` does."""

    def register(self, descriptor: int, events: int, /) -> None:
        """Wait for this one, too."""

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """The descriptors that are ready; none after `timeout` milliseconds without."""


class StoreError(PlatformError):
    """xenstore refused a request; `reason` is the name of its error, as ENOENT."""

    reason: str


class StoreView(Protocol):
    """Reading and writing xenstore, inside a transaction or outside."""

    def read(self, path: str) -> bytes | None:
        """The value of a node; None where there is no node, or none that this domain may see."""

    def directory(self, path: str) -> tuple[str, ...]:
        """The names below a node; none where there is no node."""

    def write(self, path: str, value: bytes) -> None:
        """Write a node, making it and its parents where they are missing. Raises StoreError."""

    def remove(self, path: str) -> None:
        """Remove a node and all below it; nothing where there is none. Raises StoreError."""


class Store(StoreView, Protocol):
    """A domain's connection to xenstore."""

    def transact(self, change: Callable[[StoreView], T]) -> T:
        """Run `change` in a transaction, again as long as it conflicts with another; its result is returned."""

    def watch(self, path: str, token: str) -> None:
        """Ask for an event at every change at or below the path; there is one at once."""

    def unwatch(self, path: str, token: str) -> None:
        """Ask for no more. Raises StoreError for a watch that was not set."""

    def fileno(self) -> int:
        """A file descriptor that is readable while an event waits."""

    def events(self) -> Iterable[tuple[str, str]]:
        """The events that wait, as (path, token); never blocks."""


class Platform(Protocol):
    """The machine, as one domain sees it."""

    @property
    def domid(self) -> int:
        """The number of this domain."""

    @property
    def store(self) -> Store:
        """This domain's xenstore."""

    def grant(self, domid: int) -> Grant:
        """A zeroed page that domain `domid` may map."""

    def map_grant(self, domid: int, ref: int) -> GrantMapping:
        """Map a page that domain `domid` has granted this one. Raises Unavailable."""

    def open_port(self, domid: int) -> Port:
        """A port that domain `domid` may bind."""

    def bind_port(self, domid: int, port: int) -> Port:
        """Bind a port that domain `domid` has opened for this one; the new end's bit is set. Raises Unavailable."""

    def now(self) -> float:
        """Seconds, by a clock that only goes forward."""

    def poller(self) -> Poller:
        """A new one, which waits for nothing yet."""

    def close(self) -> None:
        """Give everything back that is still open."""


__all__ = [
    "FRAME", "Grant", "GrantMapping", "Memory", "Page", "Platform", "PlatformError", "Poller", "Port", "Store",
    "StoreError", "StoreView", "Unavailable",
]  # fmt: skip
