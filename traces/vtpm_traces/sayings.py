"""What the lines of a log say of things outside the model, and whether they contradict each other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeAlias

from vtpm_traces.observe import Sayings

Renaming: TypeAlias = tuple[tuple[Hashable, Hashable], ...]
"""Subjects of which something may still be said, each with the name that it goes by from now on."""


class Memory:
    """All that was said of subjects, as numbers: 0 is nothing, and the same sayings have the same number."""

    def __init__(self) -> None:
        self._all: list[Mapping[Hashable, Hashable]] = [{}]
        self._number: dict[frozenset[tuple[Hashable, Hashable]], int] = {frozenset(): 0}

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
        known = self._all[said]
        return self._numbered({new: known[old] for old, new in renaming if old in known}) if known else said

    def _numbered(self, known: Mapping[Hashable, Hashable]) -> int:
        key = frozenset(known.items())
        number = self._number.get(key)
        if number is None:
            number = self._number[key] = len(self._all)
            self._all.append(known)
        return number
