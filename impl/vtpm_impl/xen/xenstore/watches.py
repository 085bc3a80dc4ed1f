"""Watches, found by the path that changed."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

C = TypeVar("C")


class Watch(NamedTuple, Generic[C]):
    """A client's wish to hear of changes at or below a path."""

    number: int  # the order in which watches were set
    client: C
    path: str
    token: bytes
    base: int  # characters that an event's path leaves out: those of the domain's own path, if set by a relative one

    def event(self, path: str) -> bytes:
        """Give the payload of the event for a changed path, which lies at or below the watched one."""
        return path[self.base :].encode("latin-1") + b"\0" + self.token + b"\0"


class Watches(Generic[C]):
    """All watches of all clients."""

    def __init__(self) -> None:
        self._at: dict[str, dict[int, Watch[C]]] = {}
        self._last = 0

    def add(self, client: C, path: str, token: bytes, base: int) -> Watch[C]:
        """Set a watch."""
        self._last += 1
        watch = Watch(self._last, client, path, token, base)
        self._at.setdefault(path, {})[watch.number] = watch
        return watch

    def remove(self, watch: Watch[C]) -> None:
        """Take a watch away."""
        there = self._at[watch.path]
        del there[watch.number]
        if not there:
            del self._at[watch.path]

    def matching(self, path: str, *, exact: bool) -> list[Watch[C]]:
        """Give the watches on a path, and unless `exact` those on every path above it, in the order of setting."""
        at = self._at
        if exact:
            return list(at.get(path, {}).values())
        found: list[Watch[C]] = []
        above = path
        while above:
            if above in at:
                found += at[above].values()
            above = above[: above.rfind("/")]
        if path != "/" and "/" in at:
            found += at["/"].values()
        found.sort(key=_number)
        return found


def _number(watch: Watch[C]) -> int:
    return watch.number
