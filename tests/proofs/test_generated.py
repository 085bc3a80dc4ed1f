"""Generated code against the model that it was generated from."""

from enum import IntEnum
from typing import Any

import pytest
from tests.proofs.test_explore import LARGE, QUIET, SMALL
from tests.proofs.toy_mistakes import KEEPS_ITS_JOB
from tests.proofs.toy_ring import TOY

from vtpm_model.core import (
    U8,
    Actor,
    Nat,
    Spec,
    Step,
    action,
    always,
    among,
    every_step,
    implies,
    negate,
    record,
    replace,
    require,
)
from vtpm_proofs import generated
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.explore import search
from vtpm_proofs.generated import Broken, Disagreement, comparison, translate


def agrees(spec: Spec[Any], bounds: Bounds) -> generated.Translation:
    """The translation of a system, held against an interpreted search in every state."""
    translation = translate(spec, bounds)
    atlas = search(spec, bounds, watch=comparison(translation))
    count, _ = translation.count()
    assert count == atlas.count()
    assert count["states"] > 1
    return translation


@pytest.mark.parametrize(("spec", "bounds"), [(TOY, SMALL), (QUIET, LARGE)])
def test_the_toy_is_generated_whole(spec: Spec[Any], bounds: Bounds) -> None:
    assert agrees(spec, bounds).fallbacks == {}


def test_a_broken_fact_is_found_by_generated_code_and_confirmed_by_the_model() -> None:
    with pytest.raises(Broken, match="a_job_is_of_the_mapping"):
        translate(KEEPS_ITS_JOB, SMALL).count()


# ------------------------------------------------------------------------------------- every construct of the subset


class Light(IntEnum):
    RED = 0
    GREEN = 1
    BLUE = 2


@record
class Lamp:
    light: Light
    level: U8

    @property
    def bright(self) -> bool:
        """Above half."""
        return self.level > 2

    def dimmed(self, by: int) -> "Lamp":
        """A little darker."""
        if self.level >= by:
            return replace(self, level=self.level - by)
        return self


@record
class Room:
    left: Lamp
    right: Lamp
    count: Nat
    dark: bool


DARK = Lamp(light=Light.RED, level=0)
LEVELS = {Light.RED: 1, Light.GREEN: 2, Light.BLUE: 3}


def start() -> Room:
    return Room(left=DARK, right=DARK, count=0, dark=True)


def lamp(s: Room, left: bool) -> Lamp:
    if left:
        return s.left
    return s.right


def put(s: Room, left: bool, new: Lamp) -> Room:
    if left:
        return replace(s, left=new)
    return replace(s, right=new)


def permitted(s: Room) -> Room:
    require(s.count < 4)
    return s


@action(by=Actor.FRONTEND)
def turns_up(s: Room, left: bool, light: Light) -> Room:
    """Helpers that require, branch and return records; a constant dictionary; a local that is bound twice."""
    s = permitted(s)
    old = lamp(s, left)
    level = min(old.level + 1, 4)
    if old.light == light:
        level = LEVELS[Light.BLUE]
    new = replace(old, light=light, level=level) if not s.dark or light != Light.BLUE else DARK
    return put(replace(s, count=s.count + 1, dark=False), left, new)


@action(by=Actor.BACKEND)
def turns_down(s: Room) -> Room:
    """A property, a method, a chained comparison, `and`, `or`, a loop over known things, tuple assignment."""
    require(s.left.bright or s.right.bright)
    require(0 < s.left.level <= 3 and not s.dark)
    left, right = s.left.dimmed(1), s.right.dimmed(2)
    total = 0
    for one in (1, 2):
        total += one
    return replace(s, left=left, right=right, count=max(s.count - total, 0), dark=left.level == 0)


@action(by=Actor.XEN)
def swaps(s: Room, by: Nat) -> Room:
    """A comparison of whole records, a membership test, arithmetic of every kind."""
    require(negate(s.left == s.right))
    require(s.left.light in (Light.RED, Light.GREEN))
    number = (s.count * 3 + by) % 5 // 2
    return replace(s, left=s.right, right=s.left, count=number)


@action(by=Actor.XEN)
def sums(s: Room) -> Room:
    """A loop that generated code does not know."""
    require(s.count == 3)
    total = 0
    while total < 2:
        total += 1
    return replace(s, count=total)


@always()
def levels_are_low(s: Room) -> bool:
    """A fact with a branch and a generator."""
    if s.dark:
        return all(one.level < 5 for one in (s.left, s.right))
    return among(s.left.level, 0, 1, 2, 3, 4)


@every_step()
def only_a_frontend_counts_up(before: Room, step: Step, after: Room) -> bool:
    """A fact about who did it, and what was picked."""
    if step.by == Actor.FRONTEND:
        left = step.picks["left"]
        kept: bool = implies(left, before.right == after.right)
        return kept & bool(step.picks.get("nothing", True))
    return step.name == "swaps" or after.count <= before.count


ROOM: Spec[Any] = Spec(
    name="room",
    doc="Every construct that models use, and one that they do not.",
    state=Room,
    init=start,
    actions=(turns_up, turns_down, swaps, sums),
    facts=(levels_are_low, only_a_frontend_counts_up),
)


def test_every_construct_means_what_it_means() -> None:
    translation = agrees(ROOM, Bounds(fields={"count": 4}))
    assert set(translation.fallbacks) == {"sums"}
    assert "While" in translation.fallbacks["sums"]


def test_generated_code_that_differs_is_caught() -> None:
    translation = translate(TOY, SMALL)
    other = translate(QUIET, SMALL)
    translation.successors = other.successors
    with pytest.raises(Disagreement, match="event_comes_unasked"):
        search(TOY, SMALL, watch=comparison(translation))


def test_a_number_without_a_bound_that_grows_too_large_is_told() -> None:
    with pytest.raises(ValueError, match="went beyond 4095; give it a bound"):
        translate(COUNTING, Bounds(states=10_000)).count()


@record
class Count:
    number: Nat


@action(by=Actor.XEN)
def counts_up(s: Count) -> Count:
    """Counts."""
    return replace(s, number=s.number + 1)


COUNTING: Spec[Any] = Spec(
    name="counting", doc="Counts.", state=Count, init=lambda: Count(number=0), actions=(counts_up,), facts=()
)
