"""Runs a model's functions with unknowns: a value that is asked for its truth forks the run.

The functions are the ones that run on plain states; Python itself interprets them. A state of unknowns is a record
whose leaves are proxies (`symbolic_state`), every path of a function is a `Path` (`paths`), and a fact is one formula
(`formula`). Formulas are `terms.Term`; solvers come in `solvers.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from vtpm_model.core import Disabled, fields
from vtpm_proofs import forks, terms
from vtpm_proofs.forks import Decision, SymbolicError
from vtpm_proofs.habits import check_habits
from vtpm_proofs.leaves import integer_range, is_enum, is_record, leaves
from vtpm_proofs.proxies import SymbolicBool, is_value, lift, lower, number
from vtpm_proofs.terms import BOOL, FALSE, INT, TRUE, Term, Value

S = TypeVar("S")

PATH_LIMIT = 4096
"""So many paths of one function are a mistake in the model, not a proof."""


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


# ------------------------------------------------------------------------------------------------------------- runs


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


def paths(function: Callable[..., Any], *args: Any, **picks: Any) -> list[Path]:
    """Every path of `function(*args, **picks)` that does not end in Disabled.

    Conditions that contradict each other are noticed only where rewriting shows it; ask a solver for the rest.
    """
    check_habits(function)
    found: list[Path] = []
    todo: list[tuple[bool, ...]] = [()]
    runs = 0
    while todo:
        runs += 1
        if runs > PATH_LIMIT:
            raise SymbolicError(f"{_name(function)} has more than {PATH_LIMIT} paths; join conditions with & and |")
        prefix = todo.pop()
        run = forks.Run(prefix)
        with run:
            try:
                outcome = function(*args, **picks)
            except Disabled:
                pass
            else:
                found.append(Path(tuple(run.conditions), outcome, tuple(run.decisions), run.known))
        later = range(len(run.taken) - 1, len(prefix) - 1, -1)
        todo += [(*run.taken[:at], not run.taken[at]) for at in later]
    return found


def formula(predicate: Callable[..., Any], *args: Any, **picks: Any) -> Term:
    """A function that gives a boolean, as one formula. Raises SymbolicError if it gives anything else."""
    (found,) = _merged(predicate, _ways(predicate, paths(predicate, *args, **picks), _truth))
    return found


def numbers(function: Callable[..., Any], *args: Any) -> tuple[Term, ...]:
    """A function that gives an integer or a tuple of integers, as one term for each."""
    return _merged(function, _ways(function, paths(function, *args), _integers))


def cases(function: Callable[..., Any], *args: Any) -> dict[Any, Term]:
    """A function that gives plain values (names), as the condition under which it gives each."""
    found: dict[Any, Term] = {}
    for path in paths(function, *args):
        found[path.outcome] = terms.disjunction((found.get(path.outcome, FALSE), path.condition))
    return found


_Ways: TypeAlias = list[tuple[tuple[Term, ...], tuple[Term, ...]]]


def _ways(
    function: Callable[..., Any], found: list[Path], read: Callable[[Callable[..., Any], object], tuple[Term, ...]]
) -> _Ways:
    if not found:
        raise SymbolicError(f"{_name(function)} raises Disabled; a claim must give a value in every state")
    return [(path.conditions, read(function, path.outcome)) for path in found]


def _truth(function: Callable[..., Any], outcome: object) -> tuple[Term, ...]:
    if isinstance(outcome, bool | SymbolicBool):
        return (lift(outcome),)
    raise SymbolicError(f"{_name(function)} must give a boolean and gives {outcome!r}")


def _integers(function: Callable[..., Any], outcome: object) -> tuple[Term, ...]:
    values = outcome if isinstance(outcome, tuple) else (outcome,)
    if all(is_value(value) for value in values):
        return tuple(number(value) for value in values)
    raise SymbolicError(f"{_name(function)} must give integers and gives {outcome!r}")


def _merged(function: Callable[..., Any], ways: _Ways) -> tuple[Term, ...]:
    """The ways of a function, which branch at the same condition as long as they agree, as one choice."""
    if len(ways) == 1 and not ways[0][0]:
        return ways[0][1]
    first = ways[0][0][0]
    then = [(conditions[1:], outcome) for conditions, outcome in ways if conditions[0] is first]
    otherwise = [(conditions[1:], outcome) for conditions, outcome in ways if conditions[0] is not first]
    if not otherwise:
        raise SymbolicError(f"{_name(function)} raises Disabled; a claim must give a value in every state")
    pairs = zip(_merged(function, then), _merged(function, otherwise), strict=True)
    return tuple(terms.choice(first, one, other) for one, other in pairs)


def same(left: Any, right: Any) -> Term:
    """Two states, or picks, agree in every leaf."""
    pairs = zip(flat_terms(left), flat_terms(right), strict=True)
    return terms.conjunction(terms.equal(a, b) for a, b in pairs)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or getattr(function, "name", None) or repr(function)


__all__ = [
    "Decision", "Path", "SymbolicError", "cases", "decode", "flat_sorts", "flat_terms", "formula", "lift",
    "lower", "numbers", "of_sort", "paths", "same", "symbolic_picks", "symbolic_state",
]  # fmt: skip
