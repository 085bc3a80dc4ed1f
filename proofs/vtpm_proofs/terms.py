"""Formulas as shared trees: built with light simplification, then rewritten, evaluated, printed or handed to a solver.

A term is a boolean or an integer. Equal terms are the same object, so comparing, remembering and rewriting them is
quick, and nothing here needs a solver. Every constructor simplifies only locally (constants, duplicates, opposites,
sums); `tests/proofs/test_terms.py` holds each against plain evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

Value = bool | int

BOOL: Final = "Bool"
INT: Final = "Int"


class Term:
    """A node: an operator, its arguments, its sort. Made by the functions of this module only.

    Operators: `var` (name), `const` (value), `not`, `and`, `or`, `ite`, `=`, `<=`, `+`, `*` (constant first),
    `mod`, `div` (by a positive constant).
    """

    __slots__ = ("_support", "_text", "args", "op", "serial", "sort")

    def __init__(self, op: str, args: tuple[object, ...], sort: str, serial: int) -> None:
        self.op = op
        self.args = args
        self.sort = sort
        self.serial = serial
        self._support: frozenset[Term] | None = None
        self._text: str | None = None

    def __repr__(self) -> str:
        return text(self)

    @property
    def children(self) -> tuple[Term, ...]:
        """The arguments that are terms."""
        return () if self.op in ("var", "const") else self.args  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The name of a variable."""
        assert self.op == "var"
        return self.args[0]  # type: ignore[return-value]

    @property
    def value(self) -> Value:
        """The value of a constant."""
        assert self.op == "const"
        return self.args[0]  # type: ignore[return-value]


_table: dict[tuple[object, ...], Term] = {}


def _make(op: str, args: tuple[object, ...], sort: str) -> Term:
    key = (op, sort, *args)
    found = _table.get(key)
    if found is None:
        found = _table[key] = Term(op, args, sort, len(_table))
    return found


# ----------------------------------------------------------------------------------------------------------- leaves


def variable(name: str, sort: str) -> Term:
    """The unknown of that name."""
    return _make("var", (name,), sort)


def constant(value: Value) -> Term:
    """A known boolean or integer."""
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return _make("const", (int(value),), INT)


TRUE: Final = _make("const", (True,), BOOL)
FALSE: Final = _make("const", (False,), BOOL)
ZERO: Final = _make("const", (0,), INT)


# --------------------------------------------------------------------------------------------------------- booleans


def negation(term: Term) -> Term:
    """Not `term`."""
    if term is TRUE:
        return FALSE
    if term is FALSE:
        return TRUE
    if term.op == "not":
        return term.children[0]
    if term.op == "<=":
        left, right = term.children
        return at_most(add(right, constant(1)), left)
    return _make("not", (term,), BOOL)


def conjunction(terms: Iterable[Term]) -> Term:
    """All of them."""
    return _gather("and", terms, unit=TRUE, zero=FALSE)


def disjunction(terms: Iterable[Term]) -> Term:
    """At least one of them."""
    return _gather("or", terms, unit=FALSE, zero=TRUE)


def _gather(op: str, terms: Iterable[Term], unit: Term, zero: Term) -> Term:
    kept: dict[Term, None] = {}
    for term in terms:
        for part in term.children if term.op == op else (term,):
            if part is zero or negation(part) in kept:
                return zero
            if part is not unit:
                kept[part] = None
    if not kept:
        return unit
    if len(kept) == 1:
        return next(iter(kept))
    return _make(op, tuple(kept), BOOL)


def implication(premise: Term, conclusion: Term) -> Term:
    """The conclusion wherever the premise holds."""
    return disjunction((negation(premise), conclusion))


def choice(condition: Term, then: Term, otherwise: Term) -> Term:
    """`then` where the condition holds, `otherwise` where it does not; of either sort."""
    if condition is TRUE or then is otherwise:
        return then
    if condition is FALSE:
        return otherwise
    if then.sort == BOOL:
        if then is TRUE or then is condition:
            return disjunction((condition, otherwise))
        if then is FALSE:
            return conjunction((negation(condition), otherwise))
        if otherwise is TRUE:
            return disjunction((negation(condition), then))
        if otherwise is FALSE or otherwise is condition:
            return conjunction((condition, then))
    if condition.op == "not":
        return choice(condition.children[0], otherwise, then)
    return _make("ite", (condition, then, otherwise), then.sort)


def equal(left: Term, right: Term) -> Term:
    """Both have the same value; of either sort."""
    if left is right:
        return TRUE
    if left.sort != right.sort:
        raise TypeError(f"a boolean is compared with an integer: {left} = {right}")
    if left.sort == BOOL:
        return _same_truth(left, right)
    distributed = _over_choice(equal, left, right)
    if distributed is not None:
        return distributed
    parts, known = _difference(left, right)
    if not parts:
        return constant(known == 0)
    if next(iter(parts.values())) < 0:
        parts, known = {part: -factor for part, factor in parts.items()}, -known
    return _make("=", _sides(parts, known), BOOL)


def _same_truth(left: Term, right: Term) -> Term:
    for one, other in ((left, right), (right, left)):
        if one is TRUE:
            return other
        if one is FALSE:
            return negation(other)
    if left is negation(right):
        return FALSE
    return _make("=", (left, right) if left.serial < right.serial else (right, left), BOOL)


def at_most(left: Term, right: Term) -> Term:
    """`left` <= `right`, integers."""
    distributed = _over_choice(at_most, left, right)
    if distributed is not None:
        return distributed
    parts, known = _difference(left, right)
    if not parts:
        return constant(known <= 0)
    return _make("<=", _sides(parts, known), BOOL)


def _over_choice(relation: object, left: Term, right: Term) -> Term | None:
    """A relation between a choice and a constant, told apart by case: the cases often simplify."""
    assert callable(relation)
    if left.op == "ite" and right.op == "const":
        condition, then, otherwise = left.children
        return choice(condition, relation(then, right), relation(otherwise, right))
    if right.op == "ite" and left.op == "const":
        condition, then, otherwise = right.children
        return choice(condition, relation(left, then), relation(left, otherwise))
    return None


# --------------------------------------------------------------------------------------------------------- integers


def add(left: Term, right: Term) -> Term:
    """The sum."""
    parts, known = _linear(left)
    return _sum(*_plus(parts, known, right, 1))


def subtract(left: Term, right: Term) -> Term:
    """The difference."""
    return _sum(*_difference(left, right))


def multiply(left: Term, right: Term) -> Term:
    """The product, one side of which must be a constant."""
    if left.op != "const":
        left, right = right, left
    if left.op != "const":
        raise TypeError(f"a product of two unknowns is not linear: {left} * {right}")
    parts, known = _linear(right)
    factor = int(left.value)
    return _sum({part: count * factor for part, count in parts.items() if factor}, known * factor)


def modulo(left: Term, divisor: int) -> Term:
    """`left` modulo a positive constant, never negative (as Python computes it)."""
    return _by_constant("mod", left, divisor)


def quotient(left: Term, divisor: int) -> Term:
    """`left` divided by a positive constant, rounded down (as Python computes it)."""
    return _by_constant("div", left, divisor)


def _by_constant(op: str, left: Term, divisor: int) -> Term:
    if divisor <= 0:
        raise TypeError(f"only division by a positive constant is understood, not by {divisor}")
    if left.op == "const":
        known = int(left.value)
        return constant(known % divisor if op == "mod" else known // divisor)
    return _make(op, (left, constant(divisor)), INT)


def _linear(term: Term) -> tuple[dict[Term, int], int]:
    """A sum as its parts with their factors, and its constant."""
    if term.sort != INT:
        raise TypeError(f"arithmetic on a boolean: {term}")
    if term.op == "const":
        return {}, int(term.value)
    if term.op == "*":
        factor, part = term.children
        return {part: int(factor.value)}, 0
    if term.op == "+":
        parts: dict[Term, int] = {}
        known = 0
        for child in term.children:
            more, extra = _linear(child)
            parts |= more
            known += extra
        return parts, known
    return {term: 1}, 0


def _plus(parts: dict[Term, int], known: int, term: Term, sign: int) -> tuple[dict[Term, int], int]:
    more, extra = _linear(term)
    total = dict(parts)
    for part, factor in more.items():
        count = total.pop(part, 0) + sign * factor
        if count:
            total[part] = count
    ordered = dict(sorted(total.items(), key=lambda item: item[0].serial))
    return ordered, known + sign * extra


def _difference(left: Term, right: Term) -> tuple[dict[Term, int], int]:
    return _plus(*_linear(left), right, -1)


def _sum(parts: Mapping[Term, int], known: int) -> Term:
    terms = [part if factor == 1 else _make("*", (constant(factor), part), INT) for part, factor in parts.items()]
    if known or not terms:
        terms.append(constant(known))
    return terms[0] if len(terms) == 1 else _make("+", tuple(terms), INT)


def _sides(parts: Mapping[Term, int], known: int) -> tuple[Term, Term]:
    """`parts + known` compared with zero, without minus signs: what is added on the left, what is taken away right."""
    left = {part: factor for part, factor in parts.items() if factor > 0}
    right = {part: -factor for part, factor in parts.items() if factor < 0}
    if not right or (left and known < 0):
        return _sum(left, 0), _sum(right, -known)
    return _sum(left, known), _sum(right, 0)


# ------------------------------------------------------------------------------------------------------------- uses


def rebuild(op: str, args: tuple[Term, ...]) -> Term:
    """The term of that operator over other arguments, simplified again."""
    match op:
        case "not":
            return negation(args[0])
        case "and":
            return conjunction(args)
        case "or":
            return disjunction(args)
        case "ite":
            return choice(*args)
        case "=":
            return equal(*args)
        case "<=":
            return at_most(*args)
        case "*":
            return multiply(*args)
        case "mod":
            return modulo(args[0], int(args[1].value))
        case "div":
            return quotient(args[0], int(args[1].value))
        case "+":
            total = args[0]
            for more in args[1:]:
                total = add(total, more)
            return total
    raise AssertionError(op)


def rewrite(term: Term, mapping: Mapping[Term, Term], done: dict[Term, Term] | None = None) -> Term:
    """The term with every subterm that is a key of the mapping replaced, from the top down, and simplified.

    `done` remembers what has been rewritten under this same mapping.
    """
    if not mapping:
        return term
    done = {} if done is None else done

    def visit(node: Term) -> Term:
        found = mapping.get(node)
        if found is not None:
            return found
        children = node.children
        if not children:
            return node
        found = done.get(node)
        if found is None:
            changed = tuple([visit(child) for child in children])
            same = all(new is old for new, old in zip(changed, children, strict=True))
            found = done[node] = node if same else rebuild(node.op, changed)
        return found

    return visit(term)


def support(term: Term) -> frozenset[Term]:
    """The variables that occur in it."""
    if term._support is None:
        if term.op == "var":
            term._support = frozenset((term,))
        else:
            term._support = frozenset().union(*(support(child) for child in term.children))
    return term._support


def evaluate(term: Term, values: Mapping[str, Value]) -> Value:
    """What it comes to with these values of its variables. Raises KeyError if one is missing."""
    done: dict[Term, Value] = {}

    def visit(node: Term) -> Value:
        if node.op == "const":
            return node.value
        if node.op == "var":
            return values[node.name]
        if node not in done:
            done[node] = compute(node)
        return done[node]

    def compute(node: Term) -> Value:
        children = node.children
        match node.op:
            case "not":
                return not visit(children[0])
            case "and":
                return all(visit(child) for child in children)
            case "or":
                return any(visit(child) for child in children)
            case "ite":
                return visit(children[1] if visit(children[0]) else children[2])
            case "=":
                return visit(children[0]) == visit(children[1])
            case "<=":
                return visit(children[0]) <= visit(children[1])
            case "+":
                return sum(visit(child) for child in children)
            case "*":
                return visit(children[0]) * visit(children[1])
            case "mod":
                return visit(children[0]) % visit(children[1])
            case "div":
                return visit(children[0]) // visit(children[1])
        raise AssertionError(node.op)

    return visit(term)


def text(term: Term) -> str:
    """The term in SMT-LIB 2."""
    if term._text is None:
        if term.op == "var":
            term._text = f"|{term.name}|"
        elif term.op == "const":
            term._text = str(term.value).lower() if term.value >= 0 else f"(- {-term.value})"
        else:
            term._text = f"({term.op} {' '.join([text(child) for child in term.children])})"
    return term._text
