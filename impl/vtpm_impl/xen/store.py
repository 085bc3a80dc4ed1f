"""A domain's xenstore as `platform` has it, over a client that speaks the protocol; the same on every platform."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from vtpm_impl.xen.platform import PlatformError, StoreError, StoreView
from vtpm_impl.xen.xenstore.client import Client, Conflict, Disconnected, Transaction, XenstoreError
from vtpm_impl.xen.xenstore.wire import ProtocolError

T = TypeVar("T")

_NOT_SEEN: Final = ("ENOENT", "EACCES")
"""No such node: which of the two is told depends on what the domain might have read above it."""


class StoreRefused(StoreError):
    """xenstore refused a request."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class StoreGone(PlatformError):
    """There is no xenstore any more, or it speaks another protocol."""


class _View:
    """What can be asked inside a transaction as well as outside."""

    def __init__(self, through: Client | Transaction) -> None:
        self._through = through

    def read(self, path: str) -> bytes | None:
        """The value of a node; None where there is no node, or none that this domain may see."""
        try:
            return _ask(lambda: self._through.read(path))
        except StoreRefused as refused:
            if refused.reason in _NOT_SEEN:
                return None
            raise

    def directory(self, path: str) -> tuple[str, ...]:
        """The names below a node; none where there is no node, or none that this domain may see."""
        try:
            return tuple(_ask(lambda: self._through.directory(path)))
        except StoreRefused as refused:
            if refused.reason in _NOT_SEEN:
                return ()
            raise

    def write(self, path: str, value: bytes) -> None:
        """Write a node."""
        _ask(lambda: self._through.write(path, value))

    def remove(self, path: str) -> None:
        """Remove a node and all below it; nothing where there is none."""
        try:
            _ask(lambda: self._through.rm(path))
        except StoreRefused as refused:
            if refused.reason != "ENOENT":
                raise


class ClientStore(_View):
    """The whole of a domain's connection. It takes the client over."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._client = client

    def transact(self, change: Callable[[StoreView], T]) -> T:
        """Run `change` in a transaction, again as long as it conflicts with another; its result is returned."""

        def run() -> T:
            for transaction in self._client.transaction():
                with transaction:
                    result = change(_View(transaction))
                if not transaction.conflict:
                    break
            return result

        return _ask(run)

    def watch(self, path: str, token: str) -> None:
        """Ask for an event at every change at or below the path; there is one at once."""
        _ask(lambda: self._client.watch(path, token))

    def unwatch(self, path: str, token: str) -> None:
        """Ask for no more."""
        _ask(lambda: self._client.unwatch(path, token))

    def fileno(self) -> int:
        """Readable while an event waits, and when the store is gone."""
        return self._client.fileno()

    def events(self) -> Iterator[tuple[str, str]]:
        """The events that wait; never blocks."""
        while (event := _ask(self._client.event)) is not None:
            yield event.path, event.token

    def close(self) -> None:
        """Leave the store."""
        self._client.close()


@contextlib.contextmanager
def told_by_platform() -> Iterator[None]:
    """What goes wrong inside is told in the words of `platform`: StoreRefused, StoreGone."""
    try:
        yield
    except XenstoreError as refused:
        raise StoreRefused(refused.error, str(refused)) from refused
    except Conflict as conflict:
        raise StoreRefused("EAGAIN", str(conflict)) from conflict
    except (Disconnected, ProtocolError) as gone:
        raise StoreGone(str(gone)) from gone


def _ask(request: Callable[[], T]) -> T:
    with told_by_platform():
        return request()
