"""Formulas: every constructor, and rewriting, mean what plain evaluation says; solvers agree with the text."""

from collections.abc import Callable

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from vtpm_proofs import terms
from vtpm_proofs.solvers import SAT, SOLVERS, UNKNOWN, UNSAT, smtlib, start, to_z3
from vtpm_proofs.terms import BOOL, FALSE, INT, TRUE, Term, Value

NAMES = {"a": BOOL, "b": BOOL, "c": BOOL, "x": INT, "y": INT, "z": INT}
LEAVES = {name: terms.variable(name, sort) for name, sort in NAMES.items()}

Made = tuple[Term, Callable[[dict[str, Value]], Value]]
"""A term made by the constructors, and the same thing computed by Python on plain values."""

environments = st.fixed_dictionaries(
    {name: st.booleans() if sort == BOOL else st.integers(-6, 6) for name, sort in NAMES.items()}
)


def leaf(name: str) -> Made:
    return LEAVES[name], lambda values: values[name]


def known(value: Value) -> Made:
    return terms.constant(value), lambda _: value


def integers(depth: int) -> st.SearchStrategy[Made]:
    plain = st.sampled_from("xyz").map(leaf) | st.integers(-3, 3).map(known)
    if not depth:
        return plain
    inner = integers(depth - 1)
    return st.one_of(
        plain,
        st.tuples(inner, inner).map(lambda t: (terms.add(t[0][0], t[1][0]), lambda v: t[0][1](v) + t[1][1](v))),
        st.tuples(inner, inner).map(lambda t: (terms.subtract(t[0][0], t[1][0]), lambda v: t[0][1](v) - t[1][1](v))),
        st.tuples(inner, st.integers(-3, 3)).map(
            lambda t: (terms.multiply(t[0][0], terms.constant(t[1])), lambda v: t[0][1](v) * t[1])
        ),
        st.tuples(inner, st.integers(1, 4)).map(lambda t: (terms.modulo(t[0][0], t[1]), lambda v: t[0][1](v) % t[1])),
        st.tuples(inner, st.integers(1, 4)).map(
            lambda t: (terms.quotient(t[0][0], t[1]), lambda v: t[0][1](v) // t[1])
        ),
        st.tuples(booleans(depth - 1), inner, inner).map(
            lambda t: (terms.choice(t[0][0], t[1][0], t[2][0]), lambda v: t[1][1](v) if t[0][1](v) else t[2][1](v))
        ),
    )


def booleans(depth: int) -> st.SearchStrategy[Made]:
    plain = st.sampled_from("abc").map(leaf) | st.booleans().map(known)
    if not depth:
        return plain
    inner, number = booleans(depth - 1), integers(depth - 1)
    several = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(
        plain,
        inner.map(lambda t: (terms.negation(t[0]), lambda v: not t[1](v))),
        several.map(lambda t: (terms.conjunction(one for one, _ in t), lambda v: all(f(v) for _, f in t))),
        several.map(lambda t: (terms.disjunction(one for one, _ in t), lambda v: any(f(v) for _, f in t))),
        st.tuples(inner, inner).map(lambda t: (terms.equal(t[0][0], t[1][0]), lambda v: t[0][1](v) == t[1][1](v))),
        st.tuples(inner, inner).map(
            lambda t: (terms.implication(t[0][0], t[1][0]), lambda v: not t[0][1](v) or t[1][1](v))
        ),
        st.tuples(inner, inner, inner).map(
            lambda t: (terms.choice(t[0][0], t[1][0], t[2][0]), lambda v: t[1][1](v) if t[0][1](v) else t[2][1](v))
        ),
        st.tuples(number, number).map(lambda t: (terms.equal(t[0][0], t[1][0]), lambda v: t[0][1](v) == t[1][1](v))),
        st.tuples(number, number).map(lambda t: (terms.at_most(t[0][0], t[1][0]), lambda v: t[0][1](v) <= t[1][1](v))),
    )


made_terms = booleans(3) | integers(3)


@settings(max_examples=400, deadline=None)
@given(made_terms, environments)
def test_a_term_means_what_python_computes(made: Made, values: dict[str, Value]) -> None:
    term, compute = made
    assert terms.evaluate(term, values) == compute(values)


@settings(max_examples=300, deadline=None)
@given(made_terms, environments, st.sets(st.sampled_from(sorted(NAMES))))
def test_rewriting_variables_by_their_values_changes_nothing(
    made: Made, values: dict[str, Value], told: set[str]
) -> None:
    mapping = {LEAVES[name]: terms.constant(values[name]) for name in told}
    rewritten = terms.rewrite(made[0], mapping)
    assert terms.evaluate(rewritten, values) == made[1](values)
    assert terms.support(rewritten).isdisjoint(mapping)


@settings(max_examples=150, deadline=None)
@given(booleans(3), environments)
def test_what_z3_and_cvc5_read_is_the_same_term(made: Made, values: dict[str, Value]) -> None:
    here = [terms.equal(LEAVES[name], terms.constant(value)) for name, value in values.items()]
    expected = SAT if made[1](values) else UNSAT
    for solver in map(start, SOLVERS):
        solver.add(here)
        assert solver.check([made[0]]) == expected


@settings(max_examples=100, deadline=None)
@given(booleans(3), booleans(2))
def test_the_text_asks_the_same_question(goal: Made, hypothesis: Made) -> None:
    solver = z3.Solver()
    solver.from_string(smtlib("some.name", [hypothesis[0]], goal[0]))
    direct = z3.Solver()
    direct.add(to_z3(hypothesis[0]), z3.Not(to_z3(goal[0])))
    assert solver.check() == direct.check() != z3.unknown


def test_equal_terms_are_one_object() -> None:
    x, y = LEAVES["x"], LEAVES["y"]
    assert terms.add(x, y) is terms.add(y, x)
    assert terms.equal(x, y) is terms.equal(y, x)
    assert terms.at_most(terms.add(x, terms.constant(1)), terms.add(y, terms.constant(1))) is terms.at_most(x, y)


def test_opposites_meet() -> None:
    a, x, y = LEAVES["a"], LEAVES["x"], LEAVES["y"]
    assert terms.conjunction((a, terms.negation(a))) is FALSE
    assert terms.disjunction((terms.at_most(x, y), terms.negation(terms.at_most(x, y)))) is TRUE


def test_what_is_not_linear_is_refused() -> None:
    with pytest.raises(TypeError, match="not linear"):
        terms.multiply(LEAVES["x"], LEAVES["y"])
    with pytest.raises(TypeError, match="positive constant"):
        terms.modulo(LEAVES["x"], 0)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_a_solver_forgets_what_is_popped_and_keeps_what_is_not(name: str) -> None:
    x = LEAVES["x"]
    solver = start(name)
    solver.add([terms.at_most(terms.constant(3), x)])
    solver.push()
    solver.add([terms.at_most(x, terms.constant(2))])
    assert solver.check() == UNSAT
    solver.pop()
    assert solver.check([terms.at_most(x, terms.constant(3))]) == SAT
    assert solver.model([x]) == {"x": 3}


def test_a_limit_that_is_reached_is_unknown() -> None:
    # Seven pigeons in six holes: a refutation that is long for every solver that only reasons by cases.
    sits = {(p, h): terms.variable(f"pigeon{p}in{h}", BOOL) for p in range(7) for h in range(6)}
    solver = start("z3")
    solver.add(terms.disjunction(sits[p, h] for h in range(6)) for p in range(7))
    for h in range(6):
        solver.add(terms.negation(terms.conjunction((sits[p, h], sits[q, h]))) for p in range(7) for q in range(p))
    assert solver.check(limit=2_000) == UNKNOWN
    assert solver.check() == UNSAT
    assert solver.cost() > 2_000
