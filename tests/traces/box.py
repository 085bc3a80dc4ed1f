"""A small system to try readers and validators on: a sender puts numbered letters of a colour into a box."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from vtpm_model.core import U8, U32, Actor, Nat, Spec, Step, action, every_step, record, replace, require


class Colour(IntEnum):
    RED = 0
    BLUE = 1


@record
class Letter:
    number: Nat
    colour: Colour


@record
class Box:
    letter: Letter
    full: bool
    sent: Nat
    taken: Nat
    weight: U32
    bell: bool


def empty() -> Box:
    return Box(letter=Letter(number=0, colour=Colour.RED), full=False, sent=0, taken=0, weight=0, bell=False)


@action(by=Actor.FRONTEND)
def sender_puts(s: Box, colour: Colour, weight: U32) -> Box:
    """The sender puts the next letter into the empty box."""
    require(s.full == False)  # noqa: E712
    return replace(s, letter=Letter(number=s.sent + 1, colour=colour), sent=s.sent + 1, full=True, weight=weight)


@action(by=Actor.XEN)
def bell_rings(s: Box) -> Box:
    """The bell rings; it may, at any time."""
    require(s.bell == False)  # noqa: E712
    return replace(s, bell=True)


@action(by=Actor.BACKEND, owed=True)
def taker_hears(s: Box) -> Box:
    """The taker hears the bell."""
    require(s.bell)
    return replace(s, bell=False)


@action(by=Actor.BACKEND, owed=True)
def taker_takes(s: Box, gently: bool) -> Box:
    """The taker takes the letter; a heavy one not gently."""
    require(s.full)
    require((s.weight < 100) | (gently == False))  # noqa: E712
    return replace(s, full=False, taken=s.letter.number)


@action(by=Actor.BACKEND)
def taker_stamps(s: Box, value: U8) -> Box:
    """The taker stamps the letter with a value, which weighs."""
    require(s.full)
    return replace(s, weight=value)


@every_step(about=Actor.BACKEND)
def nothing_heavy_is_taken(before: Box, step: Step, after: Box) -> bool:
    """Only light letters are taken."""
    return (before.taken == after.taken) | (before.weight < 100)


BOX: Spec[Any] = Spec(
    name="box",
    doc="a box for letters",
    state=Box,
    init=empty,
    actions=(sender_puts, bell_rings, taker_hears, taker_takes, taker_stamps),
    facts=(nothing_heavy_is_taken,),
)
