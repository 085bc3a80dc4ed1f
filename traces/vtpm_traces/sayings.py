"""What the lines of a log say of things outside the model, and whether they contradict each other."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from vtpm_traces.observe import Sayings


class Memory:
    """All that was said of subjects, as numbers: 0 is nothing, and saying the same again gives the same number."""

    def __init__(self) -> None:
        self._all: list[dict[Hashable, Hashable]] = [{}]
        self._next: dict[tuple[int, frozenset[tuple[Hashable, Hashable]]], int] = {}

    def of(self, said: int, subjects: Iterable[Hashable]) -> Hashable:
        """What has been said of each of these subjects; None: nothing."""
        known = self._all[said]
        return tuple([known.get(subject) for subject in subjects])

    def after(self, said: int, sayings: Sayings) -> int | None:
        """What has been said after this is said too; None: it contradicts."""
        known = self._all[said]
        new = {}
        for subject, content in sayings.items():
            if subject not in known:
                new[subject] = content
            elif known[subject] != content:
                return None
        if not new:
            return said
        key = (said, frozenset(new.items()))
        if key not in self._next:
            self._next[key] = len(self._all)
            self._all.append({**known, **new})
        return self._next[key]
