"""What a proof may cost: a ceiling for each fact, well above what it was recorded to need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from vtpm_proofs.obligation import Obligation, Result

MANIFEST: Final = Path(__file__).with_name("data") / "limits.json"

ROOM: Final = 20
"""A proof may cost so many times what was recorded before it is cut off: solvers differ from version to version."""

DRIFT: Final = 4
"""A proof that costs so many times what was recorded is told, though it holds."""

FLOOR: Final = 2_000
"""Below this many units of Z3's rlimit no proof is worth a word."""

CEILING: Final = 20_000_000
"""The ceiling of a fact that has no record: some seconds."""


class Limits:
    """Recorded costs in Z3's rlimit, by system and fact, and the ceilings that follow."""

    def __init__(self, recorded: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self._given = recorded

    @cached_property
    def recorded(self) -> Mapping[str, Mapping[str, int]]:
        """By system and fact, the most that one of its obligations cost."""
        if self._given is not None:
            return self._given
        if not MANIFEST.exists():
            return {}
        found: Mapping[str, Mapping[str, int]] = json.loads(MANIFEST.read_text(encoding="utf-8"))["rlimit"]
        return found

    def ceiling(self, obligation: Obligation) -> int:
        """What the obligation may cost."""
        known = self.recorded.get(obligation.system, {}).get(obligation.fact)
        return CEILING if known is None else max(FLOOR, known) * ROOM

    def drifted(self, results: Iterable[Result]) -> list[tuple[Result, int, int]]:
        """(result, cost, recorded) of what has become much dearer than recorded."""
        found = []
        for result in results:
            answer = result.answer("z3")
            known = self.recorded.get(result.obligation.system, {}).get(result.obligation.fact)
            if answer is not None and known is not None and answer.cost > DRIFT * max(FLOOR, known):
                found.append((result, answer.cost, known))
        return found


def record(results: Iterable[Result]) -> dict[str, dict[str, int]]:
    """What a run's proofs cost, as the manifest keeps it."""
    found: dict[str, dict[str, int]] = {}
    for result in results:
        answer = result.answer("z3")
        if answer is not None and answer.cost:
            facts = found.setdefault(result.obligation.system, {})
            facts[result.obligation.fact] = max(answer.cost, facts.get(result.obligation.fact, 0))
    return found


def write(results: Iterable[Result], version: str) -> None:
    """Replace the manifest by what this run cost."""
    content = {"solver": f"z3 {version}", "rlimit": record(results)}
    MANIFEST.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
