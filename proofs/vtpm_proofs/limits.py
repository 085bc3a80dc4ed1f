"""What a proof may cost: a ceiling for each fact and each solver, well above what it was recorded to need."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
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
"""Below this many units (Z3's rlimit, cvc5's resource units) no proof is worth a word."""

CEILING: Final = 20_000_000
"""The ceiling of a fact that has no record: some seconds."""

Costs = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By solver, system and fact, the most that one of its obligations cost, in the solver's own unit."""


class Limits:
    """Recorded costs, and the ceilings that follow."""

    def __init__(self, recorded: Costs | None = None) -> None:
        self._given = recorded

    @cached_property
    def recorded(self) -> Costs:
        """What is on record."""
        if self._given is not None:
            return self._given
        if not MANIFEST.exists():
            return {}
        found: Costs = json.loads(MANIFEST.read_text(encoding="utf-8"))["costs"]
        return found

    def known(self, obligation: Obligation, solver: str) -> int | None:
        """What the obligation's fact was recorded to cost a solver; None if it is not on record."""
        return self.recorded.get(solver, {}).get(obligation.system, {}).get(obligation.fact)

    def ceiling(self, obligation: Obligation, solver: str = "z3") -> int:
        """What the obligation may cost a solver."""
        known = self.known(obligation, solver)
        return CEILING if known is None else max(FLOOR, known) * ROOM

    def drifted(self, results: Iterable[Result]) -> list[tuple[Result, int, int]]:
        """(result, cost, recorded) of what has become much dearer than recorded."""
        found = []
        for result in results:
            for answer in result.answers:
                known = self.known(result.obligation, answer.solver)
                if known is not None and answer.cost > DRIFT * max(FLOOR, known):
                    found.append((result, answer.cost, known))
        return found


def costs(results: Iterable[Result]) -> dict[str, dict[str, dict[str, int]]]:
    """What a run's proofs cost, as the manifest keeps it."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for result in results:
        for answer in result.answers:
            if answer.cost:
                facts = found.setdefault(answer.solver, {}).setdefault(result.obligation.system, {})
                facts[result.obligation.fact] = max(answer.cost, facts.get(result.obligation.fact, 0))
    return found


def record(results: Iterable[Result], versions: Mapping[str, str], systems: Collection[str]) -> None:
    """Put on record what a run over some systems cost each solver, and forget systems that there are no more.

    `systems` are all that there are; those that the run leaves out keep what is on record.
    """
    fresh = costs(results)
    kept = Limits().recorded
    merged = {
        solver: {
            name: cost for name, cost in {**kept.get(solver, {}), **fresh.get(solver, {})}.items() if name in systems
        }
        for solver in versions
    }
    content = {"solvers": dict(versions), "costs": merged}
    MANIFEST.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
