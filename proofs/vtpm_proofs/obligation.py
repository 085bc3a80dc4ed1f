"""What is to be shown, one name each, and what became of it. Plain data: no formulas, so it is stored and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

HOLDS: Final = "holds"
FAILS: Final = "fails"
UNKNOWN: Final = "unknown"  # the solver gave up, or its limit was reached
DISPUTED: Final = "disputed"  # one solver says that it holds, another that it does not

SORTS: Final = "every_value_is_of_its_sort"
"""The fact that no step leaves the range of a field; every other proof takes the ranges for granted."""


class EngineError(Exception):
    """A solver's counterexample does not replay on the concrete model: a fault of the prover, not a verdict."""


@dataclass(frozen=True)
class Obligation:
    """One thing to show: that a fact survives one path of one action, or one premise of a liveness claim.

    `method` is init, step, sorts or liveness; `part` tells the premises of a liveness claim apart.
    """

    system: str
    action: str  # "init" for the initial state; a fair group for the claim that it is possible
    path: str
    fact: str
    method: str
    part: str = ""

    @property
    def name(self) -> str:
        """`system.action.path.fact`, and the part."""
        whole = f"{self.system}.{self.action}.{self.path}.{self.fact}"
        return f"{whole}.{self.part}" if self.part else whole


@dataclass(frozen=True)
class Answer:
    """What one solver said.

    `how`: run (on plain states), rewriting, query, again (the same question was asked before in this run), or cache (in
    an earlier run).
    """

    solver: str
    verdict: str
    how: str
    cost: int = 0  # in the solver's own unit, which does not depend on the machine
    seconds: float = 0.0


@dataclass(frozen=True)
class Counterexample:
    """One step that breaks a fact: plain values, replayed on the model. `after` is None for a claim about one state."""

    before: Any
    picks: Mapping[str, Any]
    after: Any
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What became of an obligation."""

    obligation: Obligation
    answers: tuple[Answer, ...]
    counterexample: Counterexample | None = None

    @property
    def verdict(self) -> str:
        """What the solvers agree on."""
        found = {answer.verdict for answer in self.answers}
        if len(found) == 1:
            return next(iter(found))
        return DISPUTED if {HOLDS, FAILS} <= found else UNKNOWN

    @property
    def trivial(self) -> bool:
        """No solver was needed beyond rewriting."""
        return all(answer.how == "rewriting" for answer in self.answers)

    def answer(self, solver: str) -> Answer | None:
        """What that solver said."""
        return next((answer for answer in self.answers if answer.solver == solver), None)
