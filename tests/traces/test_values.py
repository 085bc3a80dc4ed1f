"""Values in files: whatever a system holds comes back, and whatever is not of its sort is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.traces.box import BOX, Box, Colour, Letter

from vtpm_model.catalog import SYSTEMS
from vtpm_model.core import U8, Nat, Spec
from vtpm_traces.files import BadInput
from vtpm_traces.generate import walk
from vtpm_traces.observe import Candidates
from vtpm_traces.values import leaves, sort_of


def some_values(spec: Spec[Any]) -> dict[str, Candidates]:
    """A few values for picks of which there are too many to try."""
    found = {}
    for action in spec.actions:
        for pick, annotation in action.picks.items():
            sort = sort_of(annotation)
            if sort.few is None:
                found[f"{action.name}.{pick}"] = Candidates((0, 1, 10, 22, 4088, 4089))
            elif len(sort.few) > 16:
                found[f"{action.name}.{pick}"] = Candidates((0, 1, 255))
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_state_comes_back_as_it_was_written(name: str) -> None:
    spec = SYSTEMS[name]
    sort = sort_of(spec.state)  # type: ignore[arg-type]
    states = {spec.init()} | {after for *_, after in walk(spec, 300, 1, some_values(spec))}
    assert len(states) > 5
    for state in states:
        assert sort.read(json.loads(json.dumps(sort.write(state)))) == state
        assert sort.read_itf(json.loads(json.dumps(sort.write_itf(state)))) == state


def test_leaves_are_dotted_fields_in_order() -> None:
    assert list(leaves(Box)) == ["letter.number", "letter.colour", "full", "sent", "taken", "weight", "bell"]
    box = BOX.init()
    assert leaves(Box)["letter.colour"].get(box) is Colour.RED
    assert [path for path, leaf in leaves(Box).items() if leaf.sort.number] == ["letter.number", "sent", "taken"]


@pytest.mark.parametrize(
    ("annotation", "bad", "says"),
    [
        (bool, 1, "1 is not true or false"),
        (bool, "true", "true is not true or false"),
        (Colour, 0, "0 is not one of RED, BLUE"),
        (Colour, "GREEN", "GREEN is not one of RED, BLUE"),
        (U8, 256, "256 is not an integer from 0 to 255"),
        (U8, -1, "-1 is not an integer from 0 to 255"),
        (U8, True, "True is not an integer"),
        (U8, 1.0, "1.0 is not an integer"),
        (U8, "1", "1 is not an integer"),
        (Nat, -1, "-1 is not an integer of at least 0"),
        (Letter, {"number": 1}, "is not a record of number, colour"),
        (Letter, {"number": 1, "colour": "RED", "more": 1}, "is not a record of number, colour"),
        (Letter, {"number": -1, "colour": "RED"}, "number: -1 is not an integer"),
    ],
)
def test_a_value_of_another_sort_is_refused_with_what_is_allowed(annotation: Any, bad: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        sort_of(annotation).read(bad)


@pytest.mark.parametrize("bad", [{"#bigint": "x"}, {"#bigint": None}, {"#bigint": "1", "a": 1}, {"#bigint": "-1"}, []])
def test_itf_integers_are_checked_too(bad: Any) -> None:
    with pytest.raises(BadInput):
        sort_of(Nat).read_itf(bad)


def test_small_sorts_know_all_their_values() -> None:
    assert sort_of(bool).few == (False, True)
    assert sort_of(Colour).few == (Colour.RED, Colour.BLUE)
    assert sort_of(U8).few == tuple(range(256))
    assert sort_of(Nat).few is None
