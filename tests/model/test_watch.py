"""What a backend makes of watch events: the longest path that it copies, and the texts that are states."""

from __future__ import annotations

import pytest
from tests.model.scenario import play, possible

from vtpm_model.core import Disabled
from vtpm_model.handshake import INVALID, UNKNOWN, XenbusState
from vtpm_model.watch import BUFFER, NODE, WATCH


@pytest.mark.parametrize(("name", "copied"), [(1, 8), (33, 40), (34, 0), (10_000, 0)])
def test_a_path_is_copied_with_its_terminator_or_not_at_all(name: int, copied: int) -> None:
    state, broken = play(
        WATCH, [("frontend_makes_a_child", {"name": name}), ("backend_takes_the_event_of_a_child", {})]
    )
    assert state.copied == copied <= BUFFER
    assert not broken
    assert state.changed  # the event of the node itself still waits


def test_a_child_has_a_name() -> None:
    with pytest.raises(Disabled):
        WATCH.action("frontend_makes_a_child")(WATCH.init(), name=0)


@pytest.mark.parametrize("value", range(9))
def test_a_number_up_to_8_is_a_state(value: int) -> None:
    state, broken = play(
        WATCH, [("frontend_writes_its_state", {"numeric": True, "value": value}), ("backend_reads_the_state", {})]
    )
    assert state.seen is XenbusState(value)
    assert state.copied == NODE + 1
    assert not broken


@pytest.mark.parametrize(("numeric", "value"), [(True, 9), (True, 0xFFFF_FFFF), (False, 1), (False, 9)])
def test_any_other_text_is_none(numeric: bool, value: int) -> None:
    state, broken = play(
        WATCH, [("frontend_writes_its_state", {"numeric": numeric, "value": value}), ("backend_reads_the_state", {})]
    )
    assert state.seen is INVALID
    assert not broken


def test_the_backend_has_read_nothing_at_first_and_reads_once_a_change() -> None:
    assert WATCH.init().seen is UNKNOWN
    state, _ = play(WATCH, [("backend_reads_the_state", {})])
    assert not possible(WATCH, state, "backend_reads_the_state")
