"""A domain whose xenstore, grants and event channels are asked of a harness, one line each."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, overload

from vtpm_impl.xen.platform import FRAME, StoreError, StoreView
from vtpm_impl.xen.sut.link import Link, RefusedByHarness

T = TypeVar("T")

TICK: Final = 0.00001
"""Seconds that pass between two looks at the clock: it stands still otherwise, and nobody may wait for it in a loop."""

LONGEST_WAIT: Final = 86_400_000
"""Milliseconds that the harness may be asked to wait for."""

_NOT_SEEN: Final = ("ENOENT", "EACCES")


class _Bell:
    """A descriptor that is readable from `ring` until `take`."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def ring(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def take(self) -> bool:
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._descriptor)


class SutMemory:
    """The bytes of a page; each access is a line to the harness."""

    def __init__(self, link: Link, page: int) -> None:
        self._link = link
        self._page = page

    @overload
    def __getitem__(self, where: int, /) -> int: ...
    @overload
    def __getitem__(self, where: slice, /) -> bytes: ...
    def __getitem__(self, where: int | slice, /) -> int | bytes:
        if isinstance(where, int):
            return self._load(where, 1)[0]
        start, stop, _ = where.indices(FRAME)
        return self._load(start, stop - start)

    @overload
    def __setitem__(self, where: slice, value: bytes, /) -> None: ...
    @overload
    def __setitem__(self, where: int, value: int, /) -> None: ...
    def __setitem__(self, where: int | slice, value: int | bytes, /) -> None:
        start = where if isinstance(where, int) else where.indices(FRAME)[0]
        data = bytes((value,)) if isinstance(value, int) else value
        self._link.ask("store", page=self._page, offset=start, data=data.hex())

    def _load(self, start: int, length: int) -> bytes:
        return bytes.fromhex(self._link.ask("load", page=self._page, offset=start, length=length)["data"])


class SutGrant:
    """A page of this domain that another one may map."""

    def __init__(self, link: Link, domid: int) -> None:
        answer = link.ask("grant", domain=domid)
        self._link = link
        self.ref: int = answer["ref"]
        self.memory = SutMemory(link, answer["page"])

    def end(self) -> bool:
        """Withdraw the grant. False while the other domain has it mapped."""
        try:
            self._link.ask("end_grant", ref=self.ref)
        except RefusedByHarness:
            return False
        return True


class SutMapping:
    """A page of another domain, mapped here."""

    def __init__(self, link: Link, domid: int, ref: int) -> None:
        self._link = link
        self._page: int = link.ask("map", domain=domid, ref=ref)["page"]
        self.memory = SutMemory(link, self._page)

    def unmap(self) -> None:
        """Take the mapping away."""
        self._link.ask("unmap", page=self._page)


class SutPort:
    """This domain's end of an event channel."""

    def __init__(self, link: Link, number: int, ports: dict[int, SutPort]) -> None:
        self.number = number
        self.bell = _Bell()
        self._link = link
        self._ports = ports
        ports[number] = self

    def fileno(self) -> int:
        """Readable while the bit is set."""
        return self.bell.fileno()

    def take(self) -> bool:
        """Clear the bit; whether it was set."""
        return self.bell.take()

    def wait(self, seconds: float, /) -> bool:
        """Leave it to the descriptor to tell: who sleeps here does not let the harness have its turn."""
        del seconds
        return False

    def notify(self) -> None:
        """Set the bit of the other end."""
        self._link.ask("notify", port=self.number)

    def close(self) -> None:
        """Close this end."""
        self._link.ask("close_port", port=self.number)
        del self._ports[self.number]
        self.bell.close()


class _View:
    """xenstore inside a transaction, or outside (`tx` None)."""

    def __init__(self, link: Link, tx: int | None) -> None:
        self._link = link
        self._tx = tx

    def read(self, path: str) -> bytes | None:
        """The value of a node; None where there is none."""
        answer = self._seen("read", path)
        return None if answer is None else answer["value"].encode("latin-1")

    def directory(self, path: str) -> tuple[str, ...]:
        """The names below a node; none where there is no node."""
        answer = self._seen("ls", path)
        return () if answer is None else tuple(answer["names"])

    def write(self, path: str, value: bytes) -> None:
        """Write a node. Raises StoreError."""
        self._link.ask("write", path=path, value=value.decode("latin-1"), tx=self._tx)

    def remove(self, path: str) -> None:
        """Remove a node and all below it; nothing where there is none."""
        self._seen("rm", path, allowed=("ENOENT",))

    def _seen(self, do: str, path: str, allowed: tuple[str, ...] = _NOT_SEEN) -> dict[str, Any] | None:
        try:
            return self._link.ask(do, path=path, tx=self._tx)
        except RefusedByHarness as refused:
            if refused.reason in allowed:
                return None
            raise


class SutStore(_View):
    """The domain's xenstore."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, None)
        self._bell = _Bell()
        self._events: list[tuple[str, str]] = []

    def transact(self, change: Callable[[StoreView], T]) -> T:
        """Run `change` in a transaction, again as long as it conflicts with another."""
        while True:
            tx = self._link.ask("begin")["tx"]
            try:
                result = change(_View(self._link, tx))
            except BaseException:
                with contextlib.suppress(StoreError):
                    self._link.ask("abort", tx=tx)
                raise
            try:
                self._link.ask("commit", tx=tx)
            except RefusedByHarness as refused:
                if refused.reason == "EAGAIN":
                    continue
                raise
            return result

    def watch(self, path: str, token: str) -> None:
        """Ask for an event at every change at or below the path."""
        self._link.ask("watch", path=path, token=token)

    def unwatch(self, path: str, token: str) -> None:
        """Ask for no more."""
        self._link.ask("unwatch", path=path, token=token)

    def fileno(self) -> int:
        """Readable while an event waits."""
        return self._bell.fileno()

    def events(self) -> Iterator[tuple[str, str]]:
        """The events that wait."""
        self._bell.take()
        while self._events:
            yield self._events.pop(0)

    def tell(self, path: str, token: str) -> None:
        """A watch has fired."""
        self._events.append((path, token))
        self._bell.ring()


class SutPoller:
    """Waits for descriptors; while none is ready, it is the harness's turn."""

    def __init__(self, platform: SutPlatform) -> None:
        self._platform = platform
        self._poll = select.poll()

    def register(self, descriptor: int, events: int, /) -> None:
        """Wait for this one, too."""
        self._poll.register(descriptor, events)

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """The descriptors that are ready; none after `timeout` milliseconds without."""
        deadline = None if timeout is None else self._platform.now() * 1000 + timeout
        while not (ready := self._poll.poll(0)):
            left = None if deadline is None else deadline - self._platform.now() * 1000
            if left is not None and left <= 0:
                return []
            self._platform.take(self._platform.link.wait(None if left is None else min(left + 1, LONGEST_WAIT)))
        return ready


class SutPlatform:
    """The machine, as the harness plays it. `other(event)` is given the events that are not the machine's."""

    def __init__(self, link: Link, domid: int, other: Callable[[dict[str, Any]], None]) -> None:
        self.link = link
        self.domid = domid
        self.store = SutStore(link)
        self._other = other
        self._ports: dict[int, SutPort] = {}
        self._looks = 0

    def take(self, event: dict[str, Any]) -> None:
        """Let an event of the harness take effect."""
        match event["event"]:
            case "watch":
                self.store.tell(event["path"], event["token"])
            case "upcall":
                if event["port"] in self._ports:
                    self._ports[event["port"]].bell.ring()
            case "time":
                pass
            case _:
                self._other(event)

    def grant(self, domid: int) -> SutGrant:
        """A zeroed page that domain `domid` may map."""
        return SutGrant(self.link, domid)

    def map_grant(self, domid: int, ref: int) -> SutMapping:
        """Map a page that domain `domid` has granted. Raises Unavailable."""
        return SutMapping(self.link, domid, ref)

    def open_port(self, domid: int) -> SutPort:
        """A port that domain `domid` may bind."""
        return SutPort(self.link, self.link.ask("open_port", domain=domid)["port"], self._ports)

    def bind_port(self, domid: int, port: int) -> SutPort:
        """Bind a port of domain `domid`; its bit is set, which the harness tells. Raises Unavailable."""
        return SutPort(self.link, self.link.ask("bind", domain=domid, port=port)["port"], self._ports)

    def now(self) -> float:
        """Seconds, as the harness counts them."""
        self._looks += 1
        return self.link.now / 1000 + self._looks * TICK

    def poller(self) -> SutPoller:
        """A new one."""
        return SutPoller(self)

    def close(self) -> None:
        """Nothing is given back: the harness forgets it all when the conversation is over."""
