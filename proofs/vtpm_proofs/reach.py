"""Every path of every action is taken by some run, or it is said why not: a proof about an idle path is void.

Paths are known by their decisions: the text of the line that asked, and what it came to. A witness is looked for in the
states of an explicit search first, then by a bounded search with a solver from those states. What neither finds must be
listed in `data/unreached.json` with a reason.
"""

from __future__ import annotations

import json
import linecache
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtpm_model.core import Action, Disabled, Spec
from vtpm_proofs import bounds as limits
from vtpm_proofs.bounded import PATIENCE, run_to
from vtpm_proofs.distinguish import Grounds
from vtpm_proofs.explore import Move
from vtpm_proofs.pursue import Witnesses
from vtpm_proofs.solvers import UNSAT, start
from vtpm_proofs.system import System, Way

UNREACHED = Path(__file__).with_name("data") / "unreached.json"


@dataclass(frozen=True)
class Witness:
    """A path of an action, and a run whose last step takes it; no run if none was found."""

    system: str
    action: str
    decisions: tuple[str, ...]
    run: tuple[Move, ...] | None
    how: str  # search, solver; impossible (no state with all facts takes it); none

    @property
    def id(self) -> str:
        """`system.action: decisions`."""
        return f"{self.system}.{self.action}: {'; '.join(self.decisions) or 'its only path'}"


def decisions_of(way: Way) -> tuple[str, ...]:
    """What a path decided, guards that held left out: `text of the line: yes` or `no`."""
    found = []
    for decision in way.path.decisions:
        if not (decision.guard and decision.outcome):
            text = linecache.getline(decision.file, decision.line).strip().rstrip(":")
            found.append(f"{text}: {'yes' if decision.outcome else 'no'}")
    return tuple(found)


def witnesses(spec: Spec[Any], grounds: Grounds | None = None, system: System | None = None) -> list[Witness]:
    """A witness for each path of each action of a specification, or the finding that there is none."""
    system = system or System(spec)
    grounds = grounds or Grounds(spec, system=system)
    found: list[Witness] = []
    for action in spec.actions:
        found += _of_action(system, action, grounds)
    return found


def _of_action(system: System, action: Action[Any], grounds: Grounds) -> list[Witness]:
    search = Witnesses(system, action)
    ways = list(search.missing)
    runs: dict[str, tuple[Move, ...]] = {}
    choices = limits.choices(action, grounds.atlas.bounds)
    for number, state in enumerate(grounds.atlas.states):
        if not search.missing:
            break
        for picks in choices:
            try:
                action.run(state, **picks)
            except Disabled:
                continue
            for way in search.note(state, picks):
                runs[way.label] = (*grounds.atlas.run_to(number), Move(action.name, picks))
    made = []
    for way in ways:
        how, run = "search", runs.get(way.label)
        if run is None:
            how, run = by_solver(system, way)
        made.append(Witness(system.spec.name, action.name, decisions_of(way), run, how))
    return made


def by_solver(system: System, way: Way) -> tuple[str, tuple[Move, ...] | None]:
    """A run that takes a path, found by unrolling the steps; or that there can be none.

    First the path is asked for in any state where all facts and lemmas hold. A path for which a reason is on record is
    not looked for any further.
    """
    solver = start("z3")
    solver.add(system.hypotheses)
    if solver.check(way.conditions) == UNSAT:
        return "impossible", None
    excused = Witness(system.spec.name, way.action.name, decisions_of(way), None, "none").id in explained()
    found = None if excused else run_to(system, way.action, way.picks, way.conditions, PATIENCE)
    if found is None:
        return "none", None
    run, picks = found
    return "solver", (*[Move(step.name, step.picks) for step, _ in run.steps], Move(way.action.name, picks))


def explained() -> dict[str, str]:
    """The paths that need no witness, each with the reason."""
    if not UNREACHED.exists():
        return {}
    reasons: dict[str, str] = json.loads(UNREACHED.read_text())["paths"]
    return reasons


def complaints(found: list[Witness]) -> list[str]:
    """A sentence for each path without witness and reason, and for each reason that is no longer needed."""
    reasons = explained()
    missing = {w.id: w for w in found if w.run is None}
    systems = {w.system for w in found}
    said = []
    for name, witness in missing.items():
        if name not in reasons:
            why = "no state with all facts takes it" if witness.how == "impossible" else "no run was found"
            said.append(f"{name} has no witness ({why}); remove it, or give a reason in {UNREACHED.name}")
    said += [
        f"{name} needs no reason in {UNREACHED.name} any more: it is reached, or gone"
        for name in reasons
        if any(name.startswith(f"{system}.") for system in systems) and name not in missing
    ]
    return said
