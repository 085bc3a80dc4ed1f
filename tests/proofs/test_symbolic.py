"""Running functions with unknowns: proxies behave as the values they stand for, or refuse in so many words."""

import operator
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import pytest

from vtpm_model.core import U8, Disabled, Nat, among, implies, negate, record, replace, require, wrap
from vtpm_proofs import terms
from vtpm_proofs.symbolic import (
    SymbolicError,
    cases,
    decode,
    formula,
    lift,
    numbers,
    of_sort,
    paths,
    symbolic_state,
)
from vtpm_proofs.terms import FALSE, TRUE


class Light(IntEnum):
    RED = 1
    GREEN = 2
    BLUE = 4


@record
class Inner:
    light: Light
    size: U8


@record
class Outer:
    on: bool
    off: bool
    count: Nat
    other: Nat
    inner: Inner
    spare: Inner


STATE = symbolic_state(Outer)
DARK = Inner(light=Light.RED, size=0)
PLAIN = [
    Outer(on=on, off=off, count=count, other=other, inner=Inner(light=light, size=200), spare=DARK)
    for on in (False, True)
    for off in (False, True)
    for count in (0, 1, 2)
    for other in (0, 1)
    for light in Light
]  # fmt: skip


def values(state: Outer) -> dict[str, terms.Value]:
    found: dict[str, terms.Value] = {"on": state.on, "off": state.off, "count": state.count, "other": state.other}
    for name in ("inner", "spare"):
        inner = getattr(state, name)
        found |= {f"{name}.light": int(inner.light), f"{name}.size": inner.size}
    return found


def agrees(predicate: Callable[[Outer], bool]) -> None:
    """The formula of a predicate is what the predicate says, on every plain state of the list."""
    whole = formula(predicate, STATE)
    for state in PLAIN:
        assert terms.evaluate(whole, values(state)) == bool(predicate(state)), state


BOOLEAN = [operator.and_, operator.or_, operator.xor, operator.eq, operator.ne, operator.le, operator.lt,
           operator.ge, operator.gt]  # fmt: skip
INTEGER = [operator.eq, operator.ne, operator.le, operator.lt, operator.ge, operator.gt]


@pytest.mark.parametrize("join", BOOLEAN)
def test_booleans_join_as_plain_ones_do(join: Callable[[Any, Any], Any]) -> None:
    agrees(lambda s: join(s.on, s.off))
    for known in (False, True):
        agrees(lambda s, known=known: join(s.on, known))  # type: ignore[misc]
        agrees(lambda s, known=known: join(known, s.on))  # type: ignore[misc]


@pytest.mark.parametrize("compare", INTEGER)
def test_integers_and_members_compare_as_plain_ones_do(compare: Callable[[Any, Any], Any]) -> None:
    agrees(lambda s: compare(s.count, s.other))
    agrees(lambda s: compare(s.count, 1))
    agrees(lambda s: compare(1, s.count))
    agrees(lambda s: compare(s.inner.light, Light.GREEN))
    agrees(lambda s: compare(Light.GREEN, s.inner.light))


def test_arithmetic_is_as_plain() -> None:
    agrees(lambda s: s.count + 2 - s.other == 3 - s.other + s.other)
    agrees(lambda s: 5 - s.count * 2 == 3)
    agrees(lambda s: -s.count + s.other >= -1)
    agrees(lambda s: wrap(s.inner.size + 100 * s.count, 8) < s.inner.size)
    agrees(lambda s: (s.inner.size + s.count) // 100 == 2)
    agrees(lambda s: s.count + s.on == 2)


def test_branches_make_paths_that_divide_the_states() -> None:
    def classify(s: Outer) -> Outer:
        require(s.on)
        if s.count == 0 or s.off:
            return replace(s, count=s.count + 1)
        return replace(s, other=7)

    found = paths(classify, STATE)
    assert [path.label for path in found] == ["2t", "2f.2t", "2f.2f"]
    for state in PLAIN:
        live = [path for path in found if terms.evaluate(path.condition, values(state))]
        try:
            expected = classify(state)
        except Disabled:
            assert not live
            continue
        [path] = live
        assert decode(Outer, path.outcome, values(state)) == expected


def test_a_condition_that_is_decided_is_not_asked_again() -> None:
    def is_(s: Outer, light: Light) -> bool:
        return s.inner.light == light

    def twice(s: Outer) -> int:
        if is_(s, Light.RED):
            return 1 if not is_(s, Light.GREEN) and is_(s, Light.RED) else 2
        return 3 if is_(s, Light.RED) else 4

    assert [path.outcome for path in paths(twice, STATE)] == [1, 4]


def test_a_fact_may_branch_and_return_early() -> None:
    def early(s: Outer) -> bool:
        if s.on and not s.off:
            return s.count > 0
        return implies(s.off, among(s.inner.light, Light.RED, Light.BLUE)) & negate(s.count == 2)

    agrees(early)


def test_records_are_compared_as_one_condition() -> None:
    assert len(paths(lambda s: s.inner == s.spare, STATE)) == 1
    agrees(lambda s: s.inner == s.spare)
    agrees(lambda s: s.inner != Inner(light=Light.GREEN, size=200))
    agrees(lambda s: Inner(light=Light.GREEN, size=200) == s.inner)
    agrees(lambda s: replace(s.inner, size=0) == s.spare)


def test_ranks_and_names_are_read_case_by_case() -> None:
    def rank(s: Outer) -> tuple[int, int]:
        return (2 if s.on else 0), s.count

    def turn(s: Outer) -> str:
        if s.on:
            return "left" if s.off else "right"
        return "left"

    first, second = numbers(rank, STATE)
    names = cases(turn, STATE)
    for state in PLAIN:
        assert (terms.evaluate(first, values(state)), terms.evaluate(second, values(state))) == rank(state)
        assert [name for name, when in names.items() if terms.evaluate(when, values(state))] == [turn(state)]


def test_sorts_say_what_a_value_may_be() -> None:
    inside = terms.conjunction(of_sort(Outer, STATE))
    good = values(PLAIN[0])
    assert terms.evaluate(inside, good)
    for name, wrong in {"inner.light": 3, "inner.size": 256, "count": -1, "spare.light": 0}.items():
        assert not terms.evaluate(inside, good | {name: wrong}), name
    assert of_sort(Outer, PLAIN[0]) == []
    assert FALSE in of_sort(Inner, Inner(light=Light.RED, size=256))


@pytest.mark.parametrize(
    ("misuse", "told"),
    [
        (lambda s: int(s.count) == 1, "int"),
        (lambda s: s.count in {1: True}, "hash"),
        (lambda s: hash(s) == 1, "hash"),
        (lambda s: [1, 2][s.count] == 1, "int"),
        (lambda s: all(s.count), "loop"),
        (lambda s: s.inner.light.name == "RED", "attribute"),
        (lambda s: ~s.on, "negate"),
        (lambda s: s.count * s.other == 1, "linear"),
        (lambda s: s.count % s.other == 1, "divided"),
        (lambda s: s.count, "boolean"),
    ],
)
def test_what_has_no_meaning_for_unknowns_is_refused(misuse: Callable[[Outer], bool], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        formula(misuse, STATE)


def test_identity_is_refused_even_in_a_helper() -> None:
    def helper(s: Outer) -> bool:
        return s.inner.light is Light.RED

    global _helper
    _helper = helper
    with pytest.raises(SymbolicError, match="is` between values"):
        formula(_calls_the_helper, STATE)


_helper: Callable[[Outer], bool] = lambda s: s.on  # noqa: E731


def _calls_the_helper(s: Outer) -> bool:
    return _helper(s)


def test_the_truth_of_an_unknown_is_asked_on_a_run_only() -> None:
    with pytest.raises(SymbolicError, match="outside"):
        bool(STATE.on)


def test_a_fact_that_is_disabled_is_refused() -> None:
    def partial(s: Outer) -> bool:
        require(s.on)
        return True

    with pytest.raises(SymbolicError, match="Disabled"):
        formula(partial, STATE)


def test_endless_branching_is_refused() -> None:
    def endless(s: Outer) -> bool:
        at = 0
        while s.count != at:
            at += 1
        return True

    with pytest.raises(SymbolicError, match="branched"):
        formula(endless, STATE)


def test_too_many_paths_are_refused() -> None:
    def wide(s: Outer) -> bool:
        return sum(1 for at in range(13) if s.count % (at + 2) == 0) > 3

    with pytest.raises(SymbolicError, match="more than 4096 paths"):
        formula(wide, STATE)


def test_plain_values_stay_plain() -> None:
    assert lift(True) is TRUE
    assert lift(Light.BLUE) is terms.constant(4)
    same = formula(lambda s: s.count == s.count, STATE)
    assert same is TRUE
