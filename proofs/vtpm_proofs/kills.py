"""What killed each mutant when it was judged last: asked first when it is judged again, and always asked anew.

Nothing here is believed. A killer names one obligation, and the mutant is dead only if that obligation fails again; for
a fact the mutant that it alone kills is named, and is judged by all facts again. Kept traces name the mutants that they
tell from the model themselves (`pins`), so they need no entry here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Final

MANIFEST: Final = Path(__file__).with_name("data") / "kills.json"


@dataclass(frozen=True)
class Killer:
    """An obligation that a mutant does not meet, or another thing about it that is wrong.

    `method` is how it shows (see `mutants`); `action` and `fact` name the obligation, `detail` the premise of a
    liveness claim, or the mistake that a changed fact lets pass.
    """

    method: str
    system: str
    action: str = ""
    fact: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Kills:
    """By mutant what killed it last; by fact the mutant, or variant, that it alone kills, its system, and how.

    Of a mutant that no run tells from the model, by system the invariants (SMT-LIB text) that show it.
    """

    mutants: Mapping[str, Killer] = field(default_factory=dict)
    facts: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    invariants: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)


def read() -> Kills:
    """What is on record."""
    if not MANIFEST.exists():
        return Kills()
    known = json.loads(MANIFEST.read_text(encoding="utf-8"))
    facts = {name: (system, mutant, how) for name, (system, mutant, how) in known["facts"].items()}
    return Kills({name: Killer(*killer) for name, killer in known["mutants"].items()}, facts, known["invariants"])


def record(kills: Kills, systems: Collection[str], every: Collection[str]) -> None:
    """Put the kills of some systems' mutants on record, in the place of those that were; `every`: all that there are.

    What is on record of systems that there are no more is forgotten.
    """
    before = read()

    def kept(name: str) -> bool:
        return name in every and name not in systems

    write(
        Kills(
            {name: one for name, one in before.mutants.items() if kept(name.partition("/")[0])} | dict(kills.mutants),
            {fact: one for fact, one in before.facts.items() if kept(one[0])} | dict(kills.facts),
            {name: one for name, one in before.invariants.items() if kept(name.partition("/")[0])}
            | dict(kills.invariants),
        )
    )


def write(kills: Kills) -> None:
    """Put kills on record, in the place of all that were."""
    rows = {
        "mutants": {name: _row(killer) for name, killer in kills.mutants.items()},
        "facts": {name: list(found) for name, found in kills.facts.items()},
        "invariants": kills.invariants,
    }
    parts = []
    for title, entries in rows.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items())]
        parts.append(f' "{title}": {{\n' + ",\n".join(lines) + "\n }" if lines else f' "{title}": {{}}')
    MANIFEST.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _row(killer: Killer) -> list[str]:
    """The parts of a killer; empty ones at the end are left out."""
    parts = list(astuple(killer))
    while not parts[-1]:
        parts.pop()
    return parts
