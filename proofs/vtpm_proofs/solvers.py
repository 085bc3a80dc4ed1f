"""Z3 and cvc5 behind one face: assert terms, ask, read a model, tell the cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from vtpm_proofs.terms import BOOL, Term, Value, support

HOLDS = "unsat"
FAILS = "sat"
UNKNOWN = "unknown"


class Solver(Protocol):
    """What the methods need of a solver. Assertions are undone by `pop`, in order."""

    name: str
    version: str

    def add(self, terms: Iterable[Term]) -> None:
        """Assert every one of the terms."""

    def push(self) -> None:
        """Open a frame of assertions."""

    def pop(self) -> None:
        """Forget the assertions of the last frame."""

    def check(self, assumptions: Iterable[Term] = ()) -> str:
        """Whether the assertions and the assumptions can be true together: sat, unsat or unknown."""

    def model(self, variables: Iterable[Term]) -> dict[str, Value]:
        """Values of variables, after `sat`."""

    def cost(self) -> int:
        """What the last check cost, in a unit of the solver that does not depend on the machine."""


class Z3:
    """Z3, in process, incremental."""

    name = "z3"

    def __init__(self, limit: int = 0, logic: str | None = None) -> None:
        import z3

        self._z3 = z3
        self.version = z3.get_version_string()
        self._solver = z3.SimpleSolver() if logic is None else z3.SolverFor(logic)
        if limit:
            self._solver.set("rlimit", limit)
        self._translate = _z3_translator()
        self._before = 0
        self._after = 0

    def add(self, terms: Iterable[Term]) -> None:
        for term in terms:
            self._solver.add(self._translate(term))

    def push(self) -> None:
        self._solver.push()

    def pop(self) -> None:
        self._solver.pop()

    def check(self, assumptions: Iterable[Term] = ()) -> str:
        goals = [self._translate(term) for term in assumptions]
        self._before = self._spent()
        if goals:
            self._solver.push()
            for goal in goals:
                self._solver.add(goal)
        answer = str(self._solver.check())
        self._after = self._spent()
        self._model = self._solver.model() if answer == FAILS else None
        if goals:
            self._solver.pop()
        return answer

    def model(self, variables: Iterable[Term]) -> dict[str, Value]:
        assert self._model is not None
        found: dict[str, Value] = {}
        for variable in variables:
            value = self._model.eval(self._translate(variable), model_completion=True)
            found[variable.name] = self._z3.is_true(value) if variable.sort == BOOL else value.as_long()
        return found

    def cost(self) -> int:
        return self._after - self._before

    def _spent(self) -> int:
        return _statistic(self._solver, "rlimit count")


def _statistic(solver: Any, key: str) -> int:
    statistics = solver.statistics()
    for name, value in statistics:
        if name == key:
            return int(value)
    return 0


class _Z3Translator:
    """Terms as Z3's own, each translated once in the life of the process."""

    def __init__(self) -> None:
        import z3

        self._z3 = z3
        self._done: dict[Term, Any] = {}

    def __call__(self, term: Term) -> Any:
        found = self._done.get(term)
        if found is None:
            found = self._done[term] = self._translate(term)
        return found

    def _translate(self, term: Term) -> Any:
        z3 = self._z3
        if term.op == "var":
            return z3.Bool(term.name) if term.sort == BOOL else z3.Int(term.name)
        if term.op == "const":
            return z3.BoolVal(term.value) if term.sort == BOOL else z3.IntVal(term.value)
        args = [self(child) for child in term.children]
        match term.op:
            case "not":
                return z3.Not(args[0])
            case "and":
                return z3.And(args)
            case "or":
                return z3.Or(args)
            case "ite":
                return z3.If(*args)
            case "=":
                return args[0] == args[1]
            case "<=":
                return args[0] <= args[1]
            case "+":
                return z3.Sum(args)
            case "*":
                return args[0] * args[1]
            case "mod":
                return args[0] % args[1]
            case "div":
                return args[0] / args[1]
        raise AssertionError(term.op)


_translator: _Z3Translator | None = None


def _z3_translator() -> _Z3Translator:
    global _translator
    if _translator is None:
        _translator = _Z3Translator()
    return _translator


def to_z3(term: Term) -> Any:
    """The term as a Z3 expression (of the main context)."""
    return _z3_translator()(term)


def variables(terms: Iterable[Term]) -> list[Term]:
    """The variables of all the terms, in the order of their making."""
    found: set[Term] = set()
    for term in terms:
        found |= support(term)
    return sorted(found, key=lambda term: term.serial)
