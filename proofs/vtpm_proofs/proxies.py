"""Unknown values in place of plain ones: whoever asks such a value for its truth forks the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vtpm_proofs import forks, terms
from vtpm_proofs.forks import SymbolicError
from vtpm_proofs.terms import BOOL, Term


class Unknown:
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


class SymbolicBool(Unknown):
    """A boolean that is not known."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return forks.branch(self.term)

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

    __hash__ = Unknown.__hash__


class SymbolicInt(Unknown):
    """An integer, or a member of an IntEnum, that is not known."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return forks.branch(terms.negation(terms.equal(self.term, terms.ZERO)))

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

    __hash__ = Unknown.__hash__


def lift(value: object) -> Term:
    """The term of a proxy or of a plain value. Raises SymbolicError for anything else."""
    if isinstance(value, Unknown):
        return value.term
    if isinstance(value, int):
        return terms.constant(value if isinstance(value, bool) else int(value))
    raise SymbolicError(f"neither a boolean nor an integer: {value!r}")


def lower(term: Term) -> Any:
    """The proxy of a term; a plain value where it is known."""
    if term.op == "const":
        return term.value
    return SymbolicBool(term) if term.sort == BOOL else SymbolicInt(term)


def is_value(value: object) -> bool:
    """Whether it is a plain boolean or integer, or an unknown one."""
    return isinstance(value, Unknown | int)


def _bool(make: Callable[[Term, Term], Term], left: object, right: object) -> Any:
    if not isinstance(right, bool | SymbolicBool):
        return NotImplemented
    return lower(make(lift(left), lift(right)))


def _compared(make: Callable[[Term, Term], Term], left: object, right: object) -> Any:
    return lower(make(number(left), number(right))) if is_value(right) else NotImplemented


def _int(make: Callable[[Term, Term], Term], left: object, right: object) -> Any:
    return lower(make(number(left), number(right))) if is_value(right) else NotImplemented


def number(value: object) -> Term:
    """A boolean counts as 0 or 1 among integers, as in Python."""
    term = lift(value)
    return terms.choice(term, terms.constant(1), terms.ZERO) if term.sort == BOOL else term


def _negated(value: Any) -> Any:
    if value is NotImplemented:
        return value
    return not value if isinstance(value, bool) else lower(terms.negation(value.term))


def _divisor(left: Unknown, right: object) -> int:
    if isinstance(right, int) and right > 0:
        return int(right)
    raise SymbolicError(f"{left.term} is divided by {right!r}; only a positive constant is understood")
