"""Runs a model's functions with unknowns: a value that is asked for its truth forks the run.

The functions are the ones that run on plain states; Python itself interprets them. A state of unknowns is a record
whose leaves are proxies (`symbolic_state`), every path of a function is a `Path` (`paths`), and a fact is one formula
(`formula`). Formulas are `terms.Term`; solvers come in `solvers.py`.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, TypeAlias, TypeVar

from vtpm_model import core
from vtpm_model.core import Disabled, fields
from vtpm_proofs import terms
from vtpm_proofs.leaves import integer_range, is_enum, is_record, leaves
from vtpm_proofs.terms import BOOL, FALSE, INT, TRUE, Term, Value

S = TypeVar("S")

PATH_LIMIT = 4096
"""So many paths of one function are a mistake in the model, not a proof."""


class SymbolicError(TypeError):
    """A model function does something that has no meaning for unknowns, or means something else for them."""


# ---------------------------------------------------------------------------------------------------------- proxies


class _Unknown:
    """What every proxy shares: a term, and a refusal of whatever would need its value."""

    __slots__ = ("term",)

    def __init__(self, term: Term) -> None:
        self.term = term

    def __repr__(self) -> str:
        return f"<{self.term}>"

    def __hash__(self) -> int:
        raise SymbolicError(f"hash() of the unknown {self.term}: it cannot be looked up in a dict or a set")

    def __int__(self) -> int:
        raise SymbolicError(f"int() of the unknown {self.term}: compare it, or compute with it as it is")

    __index__ = __int__

    def __float__(self) -> float:
        raise SymbolicError(f"float() of the unknown {self.term}: a model computes with integers only")

    def __iter__(self) -> Any:
        raise SymbolicError(f"a loop over the unknown {self.term}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise SymbolicError(f"the attribute {name!r} of the unknown {self.term}: it has none")


class SymbolicBool(_Unknown):
    """A boolean that is not known."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return _branch(self.term)

    def __eq__(self, other: object) -> Any:
        return _bool(terms.equal, self, other)

    def __ne__(self, other: object) -> Any:
        return _negated(self == other)

    def __and__(self, other: object) -> Any:
        return _bool(lambda a, b: terms.conjunction((a, b)), self, other)

    def __rand__(self, other: object) -> Any:
        return _bool(lambda a, b: terms.conjunction((b, a)), self, other)

    def __or__(self, other: object) -> Any:
        return _bool(lambda a, b: terms.disjunction((a, b)), self, other)

    def __ror__(self, other: object) -> Any:
        return _bool(lambda a, b: terms.disjunction((b, a)), self, other)

    def __xor__(self, other: object) -> Any:
        return self != other

    __rxor__ = __xor__

    def __le__(self, other: object) -> Any:
        return _bool(terms.implication, self, other)

    def __ge__(self, other: object) -> Any:
        return _bool(lambda a, b: terms.implication(b, a), self, other)

    def __lt__(self, other: object) -> Any:
        return _negated(self >= other)

    def __gt__(self, other: object) -> Any:
        return _negated(self <= other)

    def __add__(self, other: object) -> Any:
        return _int(terms.add, self, other)

    __radd__ = __add__

    def __invert__(self) -> Any:
        raise SymbolicError(f"~ of the unknown {self.term}: of a plain bool it gives -1 or -2; use negate()")

    __hash__ = _Unknown.__hash__


class SymbolicInt(_Unknown):
    """An integer, or a member of an IntEnum, that is not known."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return _branch(terms.negation(terms.equal(self.term, terms.ZERO)))

    def __eq__(self, other: object) -> Any:
        return _compared(terms.equal, self, other)

    def __ne__(self, other: object) -> Any:
        return _negated(self == other)

    def __le__(self, other: object) -> Any:
        return _compared(terms.at_most, self, other)

    def __ge__(self, other: object) -> Any:
        return _compared(lambda a, b: terms.at_most(b, a), self, other)

    def __lt__(self, other: object) -> Any:
        return _negated(self >= other)

    def __gt__(self, other: object) -> Any:
        return _negated(self <= other)

    def __add__(self, other: object) -> Any:
        return _int(terms.add, self, other)

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        return _int(terms.subtract, self, other)

    def __rsub__(self, other: object) -> Any:
        return _int(lambda a, b: terms.subtract(b, a), self, other)

    def __neg__(self) -> Any:
        return SymbolicInt(terms.subtract(terms.ZERO, self.term))

    def __mul__(self, other: object) -> Any:
        return _int(terms.multiply, self, other)

    __rmul__ = __mul__

    def __mod__(self, other: object) -> Any:
        return SymbolicInt(terms.modulo(self.term, _divisor(self, other)))

    def __floordiv__(self, other: object) -> Any:
        return SymbolicInt(terms.quotient(self.term, _divisor(self, other)))

    __hash__ = _Unknown.__hash__


Raw: TypeAlias = bool | int | SymbolicBool | SymbolicInt


def lift(value: object) -> Term:
    """The term of a proxy or of a plain value. Raises SymbolicError for anything else."""
    if isinstance(value, _Unknown):
        return value.term
    if isinstance(value, int):
        return terms.constant(value if isinstance(value, bool) else int(value))
    raise SymbolicError(f"neither a boolean nor an integer: {value!r}")


def lower(term: Term) -> Any:
    """The proxy of a term; a plain value where it is known."""
    if term.op == "const":
        return term.value
    return SymbolicBool(term) if term.sort == BOOL else SymbolicInt(term)


def _known_kind(value: object) -> bool:
    return isinstance(value, _Unknown | int)


def _bool(make: Callable[[Term, Term], Term], left: object, right: object) -> Any:
    if not isinstance(right, bool | SymbolicBool):
        return NotImplemented
    return lower(make(lift(left), lift(right)))


def _compared(make: Callable[[Term, Term], Term], left: object, right: object) -> Any:
    return lower(make(_number(left), _number(right))) if _known_kind(right) else NotImplemented


def _int(make: Callable[[Term, Term], Term], left: object, right: object) -> Any:
    return lower(make(_number(left), _number(right))) if _known_kind(right) else NotImplemented


def _number(value: object) -> Term:
    """A boolean counts as 0 or 1 among integers, as in Python."""
    term = lift(value)
    return terms.choice(term, terms.constant(1), terms.ZERO) if term.sort == BOOL else term


def _negated(value: Any) -> Any:
    if value is NotImplemented:
        return value
    return not value if isinstance(value, bool) else lower(terms.negation(value.term))


def _divisor(left: _Unknown, right: object) -> int:
    if isinstance(right, int) and right > 0:
        return int(right)
    raise SymbolicError(f"{left.term} is divided by {right!r}; only a positive constant is understood")


# --------------------------------------------------------------------------------------------------- states, sorts


def symbolic_state(cls: type[S], tag: str = "") -> S:
    """A record whose every leaf is an unknown named by its dotted path and the tag."""
    return _symbolic(cls, "", tag)  # type: ignore[no-any-return]


def symbolic_picks(picks: Mapping[str, Any], tag: str = "") -> dict[str, Any]:
    """An unknown for each pick of an action, named `?name` and the tag."""
    return {name: _symbolic(sort, f"?{name}", tag) for name, sort in picks.items()}


def _symbolic(sort: Any, path: str, tag: str) -> Any:
    if is_record(sort):
        prefix = f"{path}." if path else ""
        inner = {name: _symbolic(leaf, prefix + name, tag) for name, leaf in fields(sort).items()}
        return _comparable(sort)(**inner)
    return lower(terms.variable(path + tag, BOOL if sort is bool else INT))


@functools.cache
def _comparable(cls: type) -> type:
    """The record class, with an equality that is one condition (a tuple's own would fork at every field)."""

    def equals(left: Any, right: object) -> Any:
        return lower(same(left, right)) if isinstance(right, cls) else NotImplemented

    def differs(left: Any, right: object) -> Any:
        return lower(terms.negation(same(left, right))) if isinstance(right, cls) else NotImplemented

    body = {"__slots__": (), "__eq__": equals, "__ne__": differs, "__hash__": _unhashable}
    return type(cls.__name__, (cls,), body)


def _unhashable(state: object) -> int:
    raise SymbolicError(f"hash() of a {type(state).__name__} of unknowns: it cannot be looked up in a dict or a set")


def flat_sorts(sort: Any, path: str = "") -> tuple[tuple[str, Any], ...]:
    """(dotted path, sort) of every leaf of a sort, which may be a record or a leaf itself."""
    if not is_record(sort):
        return ((path, sort),)
    prefix = f"{path}." if path else ""
    return tuple((prefix + name, inner) for name, inner in leaves(sort))


def flat_terms(value: Any) -> list[Term]:
    """The terms of a state, or of a leaf, in the order of its leaves."""
    if not isinstance(value, tuple):
        return [lift(value)]
    return [term for inner in value for term in flat_terms(inner)]


def of_sort(sort: Any, value: Any) -> list[Term]:
    """What it takes for the value to be one of its sort; a term for each leaf that needs one.

    Raises SymbolicError where a leaf is of another kind (a boolean for an integer).
    """
    found = []
    for (path, leaf), term in zip(flat_sorts(sort), flat_terms(value), strict=True):
        if (leaf is bool) != (term.sort == BOOL):
            raise SymbolicError(f"{path or 'value'} is declared {_sort_name(leaf)} and gets {term}")
        condition = _member(leaf, term)
        if condition is not TRUE:
            found.append(condition)
    return found


def _member(sort: Any, term: Term) -> Term:
    if sort is bool:
        return TRUE
    span = integer_range(sort)
    if span is not None:
        low = terms.at_most(terms.constant(span.low), term)
        high = TRUE if span.high is None else terms.at_most(term, terms.constant(span.high))
        return terms.conjunction((low, high))
    if not is_enum(sort):
        raise SymbolicError(f"{sort!r} is not a sort; use bool, an IntEnum, Nat, U8, U16, U32 or a record")
    values = sorted(int(member) for member in sort)
    if values == list(range(values[0], values[-1] + 1)):
        low, high = terms.constant(values[0]), terms.constant(values[-1])
        return terms.conjunction((terms.at_most(low, term), terms.at_most(term, high)))
    return terms.disjunction(terms.equal(term, terms.constant(value)) for value in values)


def _sort_name(sort: Any) -> str:
    return getattr(sort, "__name__", None) or str(integer_range(sort) or sort)


def decode(sort: Any, value: Any, model: Mapping[str, Value]) -> Any:
    """The concrete state (or pick) that proxies stand for in a solver's model; variables it does not name are zero."""
    full = _Defaulting(model)
    return _decode(sort, value, full)


class _Defaulting(dict[str, Value]):
    def __missing__(self, name: str) -> Value:
        return 0


def _decode(sort: Any, value: Any, model: Mapping[str, Value]) -> Any:
    if is_record(sort):
        inner = {name: _decode(leaf, getattr(value, name), model) for name, leaf in fields(sort).items()}
        return sort(**inner)
    plain = terms.evaluate(lift(value), model)
    if sort is bool:
        return bool(plain)
    if not is_enum(sort):
        return int(plain)
    try:
        return sort(plain)
    except ValueError:
        return int(plain)  # outside of its sort: a failed obligation about sorts shows just that


def least(sort: Any) -> Any:
    """A value of the sort: what an unknown that no formula names stands for."""
    if is_record(sort):
        return sort(**{name: least(inner) for name, inner in fields(sort).items()})
    if sort is bool:
        return False
    span = integer_range(sort)
    return span.low if span is not None else min(sort)


# ------------------------------------------------------------------------------------------------------------- runs


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
        return f"{self.offset}{'t' if self.outcome else 'f'}"

    def __str__(self) -> str:
        return f"{self.file.rsplit('/', 1)[-1]}:{self.line} {'yes' if self.outcome else 'no'}: {self.condition}"


@dataclass(frozen=True)
class Path:
    """One way through a function: what it takes to go there, and what comes out."""

    conditions: tuple[Term, ...]
    outcome: Any
    decisions: tuple[Decision, ...]
    known: Mapping[Term, Term]  # what the conditions settle: a rewriting that holds on this path

    @property
    def condition(self) -> Term:
        return terms.conjunction(self.conditions)

    @property
    def label(self) -> str:
        """Which branches were taken, by line within the function; unique among the paths of one action."""
        return ".".join(d.label for d in self.decisions if not (d.guard and d.outcome)) or "only"


class _Run:
    """One execution: the choices to repeat, and those made."""

    def __init__(self, prefix: tuple[bool, ...]) -> None:
        self.prefix = prefix
        self.taken: list[bool] = []
        self.conditions: list[Term] = []
        self.decisions: list[Decision] = []
        self.known: dict[Term, Term] = {}
        self._rewritten: dict[Term, Term] = {}

    def branch(self, term: Term) -> bool:
        reduced = terms.rewrite(term, self.known, self._rewritten)
        if reduced.op == "const":
            return bool(reduced.value)
        at = len(self.taken)
        outcome = self.prefix[at] if at < len(self.prefix) else True
        self.taken.append(outcome)
        condition = reduced if outcome else terms.negation(reduced)
        self.conditions.append(condition)
        self.decisions.append(_decision(outcome, term))
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


_current: _Run | None = None


def _branch(term: Term) -> bool:
    if _current is None:
        raise SymbolicError(f"the truth of the unknown {term} was asked outside of paths() and formula()")
    return _current.branch(term)


_MACHINERY = {__file__, terms.__file__, core.__file__}


def _decision(outcome: bool, term: Term) -> Decision:
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


def paths(function: Callable[..., Any], *args: Any, **picks: Any) -> list[Path]:
    """Every path of `function(*args, **picks)` that does not end in Disabled.

    Conditions that contradict each other are noticed only where rewriting shows it; ask a solver for the rest.
    """
    global _current
    check_habits(function)
    found: list[Path] = []
    todo: list[tuple[bool, ...]] = [()]
    outer = _current
    runs = 0
    try:
        while todo:
            runs += 1
            if runs > PATH_LIMIT:
                raise SymbolicError(f"{_name(function)} has more than {PATH_LIMIT} paths; join conditions with & and |")
            prefix = todo.pop()
            run = _current = _Run(prefix)
            try:
                outcome = function(*args, **picks)
            except Disabled:
                pass
            else:
                found.append(Path(tuple(run.conditions), outcome, tuple(run.decisions), run.known))
            for at in range(len(run.taken) - 1, len(prefix) - 1, -1):
                todo.append((*run.taken[:at], not run.taken[at]))
    finally:
        _current = outer
    return found


def formula(predicate: Callable[..., Any], *args: Any, **picks: Any) -> Term:
    """A function that gives a boolean, as one formula. Raises SymbolicError if it gives anything else."""
    ways = [(path.conditions, _truth(predicate, path.outcome)) for path in paths(predicate, *args, **picks)]
    return _merged(predicate, ways)


def _truth(predicate: Callable[..., Any], outcome: object) -> Term:
    if isinstance(outcome, bool | SymbolicBool):
        return lift(outcome)
    raise SymbolicError(f"{_name(predicate)} must give a boolean and gives {outcome!r}")


def _merged(predicate: Callable[..., Any], ways: list[tuple[tuple[Term, ...], Term]]) -> Term:
    if not ways:
        raise SymbolicError(f"{_name(predicate)} raises Disabled; a fact must give a boolean in every state")
    if len(ways) == 1 and not ways[0][0]:
        return ways[0][1]
    first = ways[0][0][0]
    then = [(conditions[1:], outcome) for conditions, outcome in ways if conditions[0] is first]
    otherwise = [(conditions[1:], outcome) for conditions, outcome in ways if conditions[0] is not first]
    return terms.choice(first, _merged(predicate, then), _merged(predicate, otherwise))


def enabled(ways: Iterable[Path]) -> Term:
    """At least one of the paths can be taken (for the picks that they name)."""
    return terms.disjunction(path.condition for path in ways)


def same(left: Any, right: Any) -> Term:
    """Two states, or picks, agree in every leaf."""
    pairs = zip(flat_terms(left), flat_terms(right), strict=True)
    return terms.conjunction(terms.equal(a, b) for a, b in pairs)


def rewritten(state: S, mapping: Mapping[Term, Term]) -> S:
    """The state with every subterm that is a key of the mapping replaced."""
    done: dict[Term, Term] = {}

    def visit(value: Any) -> Any:
        if isinstance(value, tuple):
            return type(value)(*[visit(inner) for inner in value])
        return lower(terms.rewrite(value.term, mapping, done)) if isinstance(value, _Unknown) else value

    return visit(state)  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------------------------- habits


def check_habits(function: Callable[..., Any]) -> None:
    """Refuse `is` between values in the file of a model function: for unknowns it would quietly be false."""
    code = getattr(function, "__code__", None) or getattr(getattr(function, "run", None), "__code__", None)
    if isinstance(code, CodeType):
        complaint = _identity_tests(code.co_filename)
        if complaint:
            raise SymbolicError(complaint)


@functools.cache
def _identity_tests(file: str) -> str:
    try:
        tree = ast.parse(open(file, encoding="utf-8").read())  # noqa: SIM115
    except OSError:
        return ""  # made in memory; its source was checked where it was read
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            if not any(_plain(side) for side in (node.left, *node.comparators)):
                return f"{file}:{node.lineno}: `is` between values; for unknowns it would be false, use =="
    return ""


def _plain(side: ast.expr) -> bool:
    """None, and what a Step tells of itself, are never unknowns."""
    constant = isinstance(side, ast.Constant) and side.value is None
    return constant or (isinstance(side, ast.Attribute) and side.attr in ("by", "name"))


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or getattr(function, "name", None) or repr(function)


__all__ = [
    "FALSE", "TRUE", "Decision", "Path", "Raw", "SymbolicBool", "SymbolicError", "SymbolicInt", "Term",
    "check_habits", "decode", "enabled", "flat_sorts", "flat_terms", "formula", "learn", "least", "lift", "lower",
    "of_sort", "paths", "rewritten", "same", "symbolic_picks", "symbolic_state",
]  # fmt: skip
