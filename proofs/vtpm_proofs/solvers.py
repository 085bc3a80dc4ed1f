"""Z3 and cvc5 behind one face: assert terms, ask, read a model, tell the cost; and the same question as SMT-LIB 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any, Final, Protocol

from vtpm_proofs.terms import BOOL, Term, Value, support, text

UNSAT: Final = "unsat"
SAT: Final = "sat"
UNKNOWN: Final = "unknown"

MOST: Final = 20_000_000
"""What one check may cost cvc5 at the very most, in its resource units."""


class Solver(Protocol):
    """What the methods need of a solver. Assertions are undone by `pop`, in order."""

    name: str

    def add(self, terms: Iterable[Term]) -> None:
        """Assert every one of the terms."""

    def push(self) -> None:
        """Open a frame of assertions."""

    def pop(self) -> None:
        """Forget the assertions of the last frame."""

    def check(self, more: Iterable[Term] = (), limit: int = 0) -> str:
        """Whether the assertions, and more, can be true together: sat, unsat or unknown.

        `limit` bounds the cost, 0 leaves it open; a check that costs more is unknown.
        """

    def model(self, variables: Iterable[Term]) -> dict[str, Value]:
        """Values of variables, after `sat`."""

    def cost(self) -> int:
        """What the last check cost, in a unit of the solver that does not depend on the machine."""


class Z3:
    """Z3, in process, incremental."""

    name = "z3"

    def __init__(self) -> None:
        import z3

        self._z3 = z3
        self._solver = z3.SimpleSolver()
        self._cost = 0
        self._limit = 0
        self._model: Any = None

    def add(self, terms: Iterable[Term]) -> None:
        self._solver.add([to_z3(term) for term in terms])

    def push(self) -> None:
        self._solver.push()

    def pop(self) -> None:
        self._solver.pop()

    def check(self, more: Iterable[Term] = (), limit: int = 0) -> str:
        if limit != self._limit:
            self._solver.set("rlimit", limit)
            self._limit = limit
        before = self._spent()
        self._solver.push()
        self.add(more)
        answer = str(self._solver.check())
        self._model = self._solver.model() if answer == SAT else None
        self._solver.pop()
        self._cost = self._spent() - before
        return answer

    def model(self, variables: Iterable[Term]) -> dict[str, Value]:
        assert self._model is not None
        found: dict[str, Value] = {}
        for variable in variables:
            value = self._model.eval(to_z3(variable), model_completion=True)
            found[variable.name] = self._z3.is_true(value) if variable.sort == BOOL else value.as_long()
        return found

    def cost(self) -> int:
        return self._cost

    def _spent(self) -> int:
        return int(self._solver.statistics().get_key_value("rlimit count"))


class Cvc5:
    """cvc5, in process, incremental."""

    name = "cvc5"

    def __init__(self) -> None:
        import cvc5

        manager, translate = _cvc5_translator()
        self._solver = cvc5.Solver(manager)
        self._translate = translate
        self._solver.setOption("incremental", "true")
        self._solver.setOption("produce-models", "true")
        self._solver.setOption("rlimit-per", str(MOST))  # it takes no other limit once it has begun
        self._solver.setLogic("QF_LIA")
        self._cost = 0

    def add(self, terms: Iterable[Term]) -> None:
        for term in terms:
            self._solver.assertFormula(self._translate(term))

    def push(self) -> None:
        self._solver.push()

    def pop(self) -> None:
        self._solver.pop()

    def check(self, more: Iterable[Term] = (), limit: int = 0) -> str:
        before = self._spent()
        result = self._solver.checkSatAssuming(*[self._translate(term) for term in more])
        self._cost = self._spent() - before
        if limit and self._cost > limit:
            return UNKNOWN
        return UNSAT if result.isUnsat() else SAT if result.isSat() else UNKNOWN

    def model(self, variables: Iterable[Term]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for variable in variables:
            value = self._solver.getValue(self._translate(variable))
            found[variable.name] = value.getBooleanValue() if variable.sort == BOOL else value.getIntegerValue()
        return found

    def cost(self) -> int:
        return self._cost

    def _spent(self) -> int:
        return int(self._solver.getStatistics()["resource::resourceUnitsUsed"]["value"])


SOLVERS: Final[dict[str, tuple[Callable[[], Solver], str]]] = {"z3": (Z3, "z3-solver"), "cvc5": (Cvc5, "cvc5")}
"""Each solver's name, class, and the distribution that brings it."""


def version(name: str) -> str | None:
    """The installed version of a solver, or None where it is not installed; does not import it."""
    try:
        return metadata.version(SOLVERS[name][1])
    except metadata.PackageNotFoundError:
        return None


def start(name: str) -> Solver:
    """A new solver of that name."""
    return SOLVERS[name][0]()


# ------------------------------------------------------------------------------------------------------ translations


def _z3_makers(z3: Any) -> dict[str, Callable[..., Any]]:
    return {
        "not": z3.Not,
        "and": lambda *args: z3.And(args),
        "or": lambda *args: z3.Or(args),
        "ite": z3.If,
        "=": lambda a, b: a == b,
        "<=": lambda a, b: a <= b,
        "+": lambda *args: z3.Sum(args),
        "*": lambda a, b: a * b,
        "mod": lambda a, b: a % b,
        "div": lambda a, b: a / b,
    }


def _cvc5_makers(cvc5: Any, manager: Any) -> dict[str, Callable[..., Any]]:
    kinds = {
        "not": cvc5.Kind.NOT, "and": cvc5.Kind.AND, "or": cvc5.Kind.OR, "ite": cvc5.Kind.ITE, "=": cvc5.Kind.EQUAL,
        "<=": cvc5.Kind.LEQ, "+": cvc5.Kind.ADD, "*": cvc5.Kind.MULT, "mod": cvc5.Kind.INTS_MODULUS,
        "div": cvc5.Kind.INTS_DIVISION,
    }  # fmt: skip

    def maker(kind: Any) -> Callable[..., Any]:
        return lambda *args: manager.mkTerm(kind, *args)

    return {op: maker(kind) for op, kind in kinds.items()}


def _translator(makers: dict[str, Callable[..., Any]], leaf: Callable[[Term], Any]) -> Callable[[Term], Any]:
    """Terms as a solver's own, each translated once in the life of the process."""
    done: dict[Term, Any] = {}

    def translate(term: Term) -> Any:
        found = done.get(term)
        if found is None:
            args = [translate(child) for child in term.children]
            found = done[term] = makers[term.op](*args) if args else leaf(term)
        return found

    return translate


_translators: dict[str, Any] = {}


def to_z3(term: Term) -> Any:
    """The term as a Z3 expression of the main context."""
    if "z3" not in _translators:
        import z3

        def leaf(term: Term) -> Any:
            if term.op == "const":
                return z3.BoolVal(term.value) if term.sort == BOOL else z3.IntVal(term.value)
            return z3.Bool(term.name) if term.sort == BOOL else z3.Int(term.name)

        _translators["z3"] = _translator(_z3_makers(z3), leaf)
    return _translators["z3"](term)


def _cvc5_translator() -> tuple[Any, Callable[[Term], Any]]:
    if "cvc5" not in _translators:
        import cvc5

        manager = cvc5.TermManager()

        def leaf(term: Term) -> Any:
            if term.op == "const":
                return manager.mkBoolean(term.value) if term.sort == BOOL else manager.mkInteger(str(term.value))
            sort = manager.getBooleanSort() if term.sort == BOOL else manager.getIntegerSort()
            return manager.mkConst(sort, term.name)

        _translators["cvc5"] = (manager, _translator(_cvc5_makers(cvc5, manager), leaf))
    return _translators["cvc5"]  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------------------- text


def variables(terms: Iterable[Term]) -> list[Term]:
    """The variables of all the terms, in the order of their making."""
    found: set[Term] = set()
    for term in terms:
        found |= support(term)
    return sorted(found, key=lambda term: term.serial)


def smtlib(name: str, hypotheses: Iterable[Term], goal: Term) -> str:
    """A file that asks whether the goal can fail under the hypotheses; `unsat` says that it cannot."""
    hypotheses = list(hypotheses)
    lines = [
        "(set-logic QF_LIA)",
        f"(set-info :source |{name}|)",
        "(set-info :status unsat)",
        *[f"(declare-const |{variable.name}| {variable.sort})" for variable in variables([*hypotheses, goal])],
        *[f"(assert {text(term)})" for term in hypotheses],
        f"(assert (not {text(goal)}))",
        "(check-sat)",
    ]
    return "\n".join(lines) + "\n"
