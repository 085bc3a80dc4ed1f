"""Numbers that stand for something: systems only compare and count them, so states alike in order go on alike."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from tests.traces.box import BOX, Box
from tests.traces.test_values import some_values

from vtpm_model.catalog import SURROUNDINGS, SYSTEMS, VARIANTS
from vtpm_model.core import Spec, replace
from vtpm_model.handshake import Device
from vtpm_traces.belief import GAP, Beliefs
from vtpm_traces.generate import walk
from vtpm_traces.identities import EPOCHS, ONLY_WHILE, UNASKED, essence, known
from vtpm_traces.steps import Steps
from vtpm_traces.values import leaves, sort_of

ALL = SYSTEMS | SURROUNDINGS | VARIANTS
KNOWN = [name for name, spec in ALL.items() if known(spec.state)]
UNPICKED = [name for name in KNOWN if not any(sort_of(s).number for a in ALL[name].actions for s in a.picks.values())]


def steps_from(spec: Spec[Any], state: Any, steps: Steps) -> dict[tuple[str, tuple[Any, ...]], Any]:
    return {
        (action.name, tuple(picks.values())): after
        for action in spec.actions
        for picks, after in steps.take(state, action.name, {})
    }


def some_states(spec: Spec[Any], steps: Steps) -> list[Any]:
    states = dict.fromkeys(after for seed in range(6) for *_, after in walk(spec, 150, seed, steps.candidates))
    return random.Random(1).sample(list(states), min(len(states), 60))


def test_it_is_known_of_the_ring_and_all_around_it() -> None:
    assert {"ring", "device", "device.linux", "driven", "driven+mini-os"} <= set(UNPICKED)
    assert set(KNOWN) - set(UNPICKED) == {name for name in ALL if name.startswith("device.hostile")}
    assert not known(SYSTEMS["page"].state)
    assert not known(Box)


@pytest.mark.parametrize("name", UNPICKED)
def test_states_with_one_essence_have_the_same_steps_to_states_with_one_essence(name: str) -> None:
    spec = ALL[name]
    steps = Steps(spec, some_values(spec))
    alike = essence(spec.state)
    for state in some_states(spec, steps):
        here, there = steps_from(spec, state, steps), steps_from(spec, alike(state), steps)
        assert here.keys() == there.keys()
        for key, after in here.items():
            assert alike(after) == alike(there[key]), key


@pytest.mark.parametrize("name", KNOWN)
def test_numbers_far_apart_may_be_further_apart(name: str) -> None:
    spec = ALL[name]
    steps = Steps(spec, some_values(spec))
    beliefs = Beliefs(spec, steps, (), numbered=True)
    source = random.Random(2)
    compared = 0
    for state in some_states(spec, steps):
        numbers = sorted({0, *(leaf.get(state) for leaf in leaves(spec.state).values() if leaf.sort.number)})
        wider, shift = {}, 0
        for before, number in zip([0, *numbers], numbers, strict=False):
            if number - before >= GAP:
                shift += source.randrange(50)
            wider[number] = number + shift
        if not shift:
            continue
        compared += 1
        further = _counting_on(wider)
        stretched = beliefs._renumber(state, wider)
        there = steps_from(spec, stretched, steps)
        for (action, picks), after in steps_from(spec, state, steps).items():
            numbered = [sort_of(sort).number for sort in spec.action(action).picks.values()]
            if all(pick in wider for pick, number in zip(picks, numbered, strict=True) if number):
                same = tuple(wider[pick] if number else pick for pick, number in zip(picks, numbered, strict=True))
                assert spec.action(action).run(
                    stretched, **dict(zip(spec.action(action).picks, same, strict=True))
                ) == beliefs._renumber(after, further), (action, picks)
        if not any(sort_of(sort).number for action in spec.actions for sort in action.picks.values()):
            assert there.keys() == steps_from(spec, state, steps).keys()
    assert compared or "driven" in name  # whose runs are too short for numbers to lie far apart


def _counting_on(wider: Mapping[int, int]) -> Mapping[int, int]:
    """The same replacement, of the numbers that come next too."""
    return {number + 1: other + 1 for number, other in wider.items()} | dict(wider)


@pytest.mark.parametrize("name", UNPICKED)
def test_what_no_action_asks_for_decides_nothing(name: str) -> None:
    spec = ALL[name]
    steps = Steps(spec, some_values(spec))
    source = random.Random(3)
    alike = essence(spec.state)
    for state in some_states(spec, steps):
        other = spoilt(state, source)
        assert alike(other) == alike(state)
        here, there = steps_from(spec, state, steps), steps_from(spec, other, steps)
        assert here.keys() == there.keys()
        for key, after in here.items():
            assert alike(after) == alike(there[key]), key


def spoilt(state: Any, source: random.Random) -> Any:
    """The state with other values in fields that should not matter, and with other epochs in the same order."""
    changes: dict[str, Any] = {}
    shift = source.randrange(1, 30)
    for path, leaf in leaves(type(state)).items():
        name, value = path.rpartition(".")[2], leaf.get(state)
        if name in UNASKED or (name in ONLY_WHILE and not getattr(state, ONLY_WHILE[name])):
            value = source.choice(leaf.sort.few) if leaf.sort.few is not None else source.randrange(50)
        elif name in EPOCHS and value:
            value = value * 2 + shift
        top, _, below = path.partition(".")
        if below:
            changes[top] = replace(changes.get(top, getattr(state, top)), **{below: value})
        else:
            changes[top] = value
    return replace(state, **changes)


def test_the_essence_keeps_the_order_of_epochs_and_all_that_is_asked_for() -> None:
    start = SYSTEMS["device"].init()
    full = replace(start, epoch=70, mapped=40, keys=70, commands=9, request=3, busy=True, job_epoch=40, job_extra=3)
    after = essence(Device)(full)
    assert after == replace(start, epoch=2, mapped=1, keys=2, busy=True, job_epoch=1, job_extra=3)
    assert essence(Device)(replace(full, busy=False)) == replace(start, epoch=2, mapped=1, keys=2)
    assert essence(Box)(replace(BOX.init(), sent=7)) == replace(BOX.init(), sent=7)
