"""What the lines of a log say of things outside the model, and whether they contradict each other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from vtpm_traces.observe import Sayings


class Renaming(tuple[tuple[Hashable, Hashable], ...]):
    """Subjects of which something may still be said, each with the name that it goes by from now on.

    Two of them are the same only if they are one object: whoever makes many keeps one for all that are equal.
    """

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Memory:
    """All that was said of subjects, as numbers: 0 is nothing, and the same sayings have the same number."""

    def __init__(self) -> None:
        self._all: list[Mapping[Hashable, Hashable]] = [{}]
        self._number: dict[frozenset[tuple[Hashable, Hashable]], int] = {frozenset(): 0}
        self._renamed: dict[tuple[int, Renaming], int] = {}

    def after(self, said: int, sayings: Sayings) -> int | None:
        """What has been said after this is said too; None: it contradicts."""
        known = self._all[said]
        new = {}
        for subject, content in sayings.items():
            if subject not in known:
                new[subject] = content
            elif known[subject] != content:
                return None
        return self._numbered({**known, **new}) if new else said

    def renamed(self, said: int, renaming: Renaming) -> int:
        """What has been said of these subjects, by their new names; all else is forgotten."""
        if not said:
            return said
        key = (said, renaming)
        after = self._renamed.get(key)
        if after is None:
            known = self._all[said]
            after = self._renamed[key] = self._numbered({new: known[old] for old, new in renaming if old in known})
        return after

    def _numbered(self, known: Mapping[Hashable, Hashable]) -> int:
        key = frozenset(known.items())
        number = self._number.get(key)
        if number is None:
            number = self._number[key] = len(self._all)
            self._all.append(known)
        return number
