"""One execution of a model function with unknowns: which conditions it has decided, which way, and where."""

from __future__ import annotations

import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from vtpm_model import core
from vtpm_proofs import terms
from vtpm_proofs.terms import FALSE, TRUE, Term

DECISION_LIMIT = 500
"""A run that branches so often is in a loop that an unknown bounds."""


class SymbolicError(TypeError):
    """A model function does something that has no meaning for unknowns, or means something else for them."""


@dataclass(frozen=True)
class Decision:
    """Where a run forked, and which way it went."""

    file: str
    line: int
    function: str
    offset: int  # lines below the function's first one: stays when the file changes elsewhere
    outcome: bool
    guard: bool  # asked by `require`
    condition: Term  # as the model asked it, before what was known simplified it

    @property
    def label(self) -> str:
        """The line within the function, and t or f."""
        return f"{self.offset}{'t' if self.outcome else 'f'}"

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line} {'yes' if self.outcome else 'no'}: {self.source}"

    @property
    def source(self) -> str:
        """The line of the model that asks."""
        return linecache.getline(self.file, self.line).strip() or str(self.condition)


class Run:
    """One execution: the choices to repeat, and those made."""

    def __init__(self, prefix: tuple[bool, ...]) -> None:
        self.prefix = prefix
        self.taken: list[bool] = []
        self.conditions: list[Term] = []
        self.decisions: list[Decision] = []
        self.known: dict[Term, Term] = {}
        self._rewritten: dict[Term, Term] = {}

    def __enter__(self) -> None:
        _running.append(self)

    def __exit__(self, *_: object) -> None:
        _running.pop()

    def branch(self, term: Term) -> bool:
        """The truth of a condition on this run: decided before, or decided now."""
        reduced = terms.rewrite(term, self.known, self._rewritten)
        if reduced.op == "const":
            return bool(reduced.value)
        at = len(self.taken)
        if at == DECISION_LIMIT:
            raise SymbolicError(f"a run has branched {at} times and goes on, last at {self.decisions[-1]}")
        outcome = self.prefix[at] if at < len(self.prefix) else True
        self.taken.append(outcome)
        condition = reduced if outcome else terms.negation(reduced)
        self.conditions.append(condition)
        self.decisions.append(_decision(term, outcome=outcome))
        learn(condition, self.known)
        self._rewritten.clear()
        return outcome


def learn(condition: Term, known: dict[Term, Term]) -> None:
    """Add to `known` whatever the truth of the condition settles."""
    if condition.op == "and":
        for part in condition.children:
            learn(part, known)
        return
    if condition.op == "not" and condition.children[0].op == "or":
        for part in condition.children[0].children:
            learn(terms.negation(part), known)
        return
    opposite = terms.negation(condition)
    if condition.op == "=" and condition.children[1].op == "const" and condition.children[0].op == "var":
        known[condition.children[0]] = condition.children[1]
    known[condition] = TRUE
    known[opposite] = FALSE


_running: list[Run] = []


def branch(term: Term) -> bool:
    """The truth of a condition on the run under way."""
    if not _running:
        raise SymbolicError(f"the truth of the unknown {term} was asked outside of paths() and formula()")
    return _running[-1].branch(term)


_MACHINERY = {__file__, str(Path(__file__).with_name("proxies.py")), terms.__file__, core.__file__}


def _decision(term: Term, *, outcome: bool) -> Decision:
    frame: FrameType | None = sys._getframe(1)
    guard = False
    while frame is not None and frame.f_code.co_filename in _MACHINERY:
        guard = guard or frame.f_code is core.require.__code__
        frame = frame.f_back
    assert frame is not None
    code = frame.f_code
    return Decision(
        code.co_filename, frame.f_lineno, code.co_name, frame.f_lineno - code.co_firstlineno, outcome, guard, term
    )
