"""The driven device keeps its facts whatever the driver does; what mini-os breaks of them in the same surroundings."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from vtpm_model.core import Action, Actor, Disabled, Kind, Spec, Step
from vtpm_model.driven import DRIVEN, DRIVER, Wish
from vtpm_model.handshake import XenbusState
from vtpm_model.minios import MINIOS
from vtpm_model.ring import RingState
from vtpm_traces.recordings.judged import READERS, kept_recordings
from vtpm_traces.search import explain

FORMS = {Actor.BACKEND: "tpmback", Actor.FRONTEND: "tpmfront"}

NOT_THE_DRIVERS = {
    Actor.BACKEND: {"driver_replies", "driver_raises_frontend_event", "driver_fails_no_more", "driver_lets_time_pass"},
    Actor.FRONTEND: {
        "driver_publishes_another_page", "driver_publishes_again", "driver_stores_length", "driver_stores_extra",
        "driver_stores_state", "driver_stores_into_old_page", "driver_raises_backend_event", "driver_answers",
        "driver_starts_backend", "driver_stops_backend", "driver_fails_no_more",
    },
}  # fmt: skip
"""What the driver does in the place of the program under test, and therefore not while it is there.

That nothing fails any more is seen by what succeeds; by itself it does nothing.
"""

LENGTHS = (0, 9, 10, 14, 4088, 4089, 8000, 0xFFFF_FFFF)


def some(name: str, sort: Any, dice: random.Random) -> Any:
    """A value of a pick: mostly what keeps a device going, at times anything."""
    usual = dice.random() < 0.8
    if sort is bool:
        return dice.random() < 0.9
    if sort is XenbusState:
        return XenbusState(dice.choice((1, 2, 3, 4, 4, 4, 5, 6))) if usual else dice.choice(list(XenbusState))
    if sort is RingState:
        return RingState.SUBMIT if usual else dice.choice(list(RingState))
    if sort is Wish:
        return Wish.OPEN if usual else dice.choice(list(Wish))
    if name == "extra":
        return 0 if usual else dice.choice((1, 254, 255))
    return 14 if usual else dice.choice(LENGTHS)


def places(spec: Spec[Any], subject: Actor) -> list[Any]:
    """The states that the kept recordings lead through, and what half an hour makes of them."""
    found = {spec.init()}
    for path, form in kept_recordings().values():
        if form == FORMS[subject]:
            for recording in READERS[form](path).values():
                found |= {taken.after for taken in explain(spec, recording).run}
    late = {state._replace(late=state.waiting) for state in found}
    return sorted(found | late, key=str)


def walks(spec: Spec[Any], subject: Actor) -> tuple[Counter[str], Counter[str]]:
    """How often each fact about the subject was broken by it, and how often it took each action, in random runs."""
    theirs = [a for a in DRIVER if a.name not in NOT_THE_DRIVERS[subject]]
    own = [a for a in spec.actions if a.by is subject and a not in DRIVER]
    facts = [fact for fact in spec.facts if fact.about is subject]
    broken: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    dice = random.Random(1)
    for start in places(spec, subject) * 3:
        state = start
        for _ in range(60):
            action: Action[Any] = dice.choice(own if dice.random() < 0.7 else theirs)
            picks = {name: some(name, sort, dice) for name, sort in action.picks.items()}
            try:
                after = action.run(state, **picks)
            except Disabled:
                continue
            if action in own:
                taken[action.name] += 1
                step = Step(action.name, subject, {"permitted": True, "header": state.named, **picks})
                for fact in facts:
                    if fact.kind is Kind.STEP:
                        broken[fact.name] += not fact.holds(state, step, after)
                    else:
                        broken[fact.name] += bool(fact.holds(state)) and not fact.holds(after)
            state = after
    return +broken, taken


@pytest.mark.parametrize("subject", [Actor.BACKEND, Actor.FRONTEND])
def test_a_sound_end_keeps_its_facts_against_any_driver(subject: Actor) -> None:
    broken, taken = walks(DRIVEN, subject)
    assert broken == {}
    assert {a.name for a in DRIVEN.actions if a.by is subject and a not in DRIVER} == set(taken)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        # The dossier finds mini-os' backend to violate E6, E9, E13, E14, E26 and N3, and its frontend, which takes
        # what it finds, E4; its E2 holds only while nobody else writes into the page.
        (Actor.BACKEND, {"E6", "E9", "E13", "E14", "E26", "N3"}),
        (Actor.FRONTEND, {"E2", "E4"}),
    ],
)
def test_mini_os_breaks_facts_in_the_same_walks(subject: Actor, expected: set[str]) -> None:
    broken, _ = walks(MINIOS, subject)
    assert {row for fact in MINIOS.facts if fact.name in broken for row in fact.covers} >= expected
