"""Stories of a device that comes and goes through xenstore, with each of the frontends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.model.scenario import Steps, play, possible

from vtpm_model.core import Spec
from vtpm_model.device import DEVICE, HOSTILE, LINUX
from vtpm_model.handshake import CLOSED, CLOSING, CONNECTED, INIT_WAIT, INITIALISED, UNKNOWN, Device, XenbusState

CREATE: Steps = [
    ("toolstack_creates", {"complete": True}),
    ("backend_tracks", {}),
    ("backend_publishes_version", {}),
]
OFFER: Steps = [("frontend_allocates", {}), ("frontend_publishes", {})]
INITIALISE: Steps = [("frontend_goes_to_initialised", {"directly": False})]
ACCEPT: Steps = [("backend_looks", {}), ("backend_maps", {}), ("backend_goes_to_connected", {})]
OPEN: Steps = [*CREATE, *OFFER, *INITIALISE, *ACCEPT]
LINUX_OPEN: Steps = [*CREATE, *OFFER, ("frontend_goes_to_initialised", {}), *ACCEPT]


def told(spec: Spec[Any], steps: Steps) -> Device:
    """The last state of a story in which nothing was broken."""
    state: Device
    state, broken = play(spec, steps)
    assert not broken
    return state


def test_both_ends_connect_to_one_page() -> None:
    state = told(DEVICE, [*OPEN, ("frontend_reads_version", {}), ("frontend_goes_to_connected", {})])
    assert (state.fe_state, state.be_state, state.mapped, state.keys) == (CONNECTED, CONNECTED, 1, 1)


def test_a_frontend_may_go_to_connected_directly() -> None:
    state = told(DEVICE, [*CREATE, *OFFER, ("frontend_goes_to_initialised", {"directly": True}), *ACCEPT])
    assert (state.fe_state, state.be_state) == (CONNECTED, CONNECTED)


def test_linux_sends_its_first_command_before_anybody_is_connected() -> None:
    early: Steps = [
        *CREATE,
        *OFFER,
        ("frontend_goes_to_initialised", {}),
        ("frontend_submits", {"length": 22, "extra": 0}),
    ]
    served: Steps = [
        ("backend_looks", {}),
        ("backend_maps", {}),
        ("backend_wakes", {}),
        ("backend_fetches", {"permitted": True}),
    ]
    state = told(LINUX, [*early, *served])
    assert (state.be_state, state.busy) == (INIT_WAIT, True)
    state, _ = play(DEVICE, [*CREATE, *OFFER, *INITIALISE])
    assert not possible(DEVICE, state, "frontend_submits", length=22, extra=0)


def test_linux_loaded_again_is_connected_to_its_new_page_although_nobody_waited() -> None:
    again: Steps = [
        ("frontend_closes", {}),
        ("frontend_releases_page", {}),
        *OFFER,
        ("frontend_goes_to_initialised", {}),
    ]
    state = told(LINUX, [*LINUX_OPEN, *again, ("backend_looks", {})])
    assert (state.seen, state.mapped, state.keys) == (INITIALISED, 1, 2)
    state = told(LINUX, [*LINUX_OPEN, *again, ("backend_looks", {}), ("backend_disconnects", {}), ("backend_maps", {})])
    assert state.mapped == state.keys == 2


def test_a_frontend_that_keeps_the_rules_waits_before_it_connects_again() -> None:
    state = told(DEVICE, [*OPEN, ("frontend_closes", {}), ("frontend_releases_page", {})])
    assert not possible(DEVICE, state, "frontend_allocates")
    rest: Steps = [("backend_looks", {}), ("backend_disconnects", {}), ("backend_awaits_reopening", {"closed": False})]
    state = told(DEVICE, [*OPEN, ("frontend_closes", {}), ("frontend_releases_page", {}), *rest])
    assert possible(DEVICE, state, "frontend_allocates")


@pytest.mark.parametrize("closed", [False, True])
def test_after_the_frontends_closed_the_backend_may_wait_or_close(closed: bool) -> None:
    over: Steps = [
        ("frontend_closes", {}),
        ("backend_looks", {}),
        ("backend_disconnects", {}),
        ("backend_awaits_reopening", {"closed": closed}),
    ]
    assert told(DEVICE, [*OPEN, *over]).be_state == (CLOSED if closed else INIT_WAIT)


def test_a_detach_is_answered_whatever_the_frontend_does() -> None:
    detach: Steps = [
        ("toolstack_detaches", {}),
        ("backend_looks", {}),
        ("backend_disconnects", {}),
        ("backend_closes", {}),
        ("toolstack_removes", {}),
    ]
    state = told(DEVICE, [*OPEN, *detach])
    assert (state.fe_state, state.be_state, state.mapped) == (UNKNOWN, UNKNOWN, 0)


def test_a_destroyed_backend_leaves_its_frontends_nodes_and_another_one_serves_them_after_the_toolstack() -> None:
    destroyed: Steps = [*OPEN, ("toolstack_destroys_backend", {}), ("backend_crashes", {}), ("backend_starts", {})]
    state = told(DEVICE, destroyed)
    assert (state.fe_state, state.be_state, state.keys, state.open) == (INITIALISED, UNKNOWN, 1, True)
    assert not possible(DEVICE, state, "toolstack_creates", complete=True)
    assert not possible(DEVICE, state, "toolstack_detaches")
    anew: Steps = [("frontend_loses_device", {}), ("toolstack_removes", {}), ("frontend_releases_page", {}), *OPEN]
    assert told(DEVICE, [*destroyed, *anew]).mapped == 2


def test_linux_goes_on_with_a_backend_that_was_destroyed() -> None:
    destroyed: Steps = [*LINUX_OPEN, ("toolstack_destroys_backend", {}), ("backend_crashes", {})]
    state = told(LINUX, destroyed)
    assert state.open
    assert not possible(LINUX, state, "frontend_loses_device")
    assert told(LINUX, [*destroyed, ("toolstack_removes", {}), ("frontend_loses_device", {})]).open is False


def test_a_backend_does_not_write_over_the_toolstacks_closing() -> None:
    state = told(
        DEVICE, [*CREATE, *OFFER, *INITIALISE, ("backend_looks", {}), ("backend_maps", {}), ("toolstack_detaches", {})]
    )
    assert state.be_state == CLOSING
    assert not possible(DEVICE, state, "backend_goes_to_connected")


def test_a_page_that_the_frontend_gives_up_while_it_is_mapped_is_kept_aside() -> None:
    state = told(DEVICE, [*OPEN, ("frontend_vanishes", {})])
    assert state.kept
    assert not told(DEVICE, [*OPEN, ("frontend_vanishes", {}), ("backend_crashes", {})]).kept


@pytest.mark.parametrize("state", list(XenbusState))
def test_a_hostile_frontend_may_write_any_state(state: XenbusState) -> None:
    after = told(HOSTILE, [*CREATE, ("frontend_writes_its_state", {"state": state})])
    assert after.fe_state == state
    assert possible(HOSTILE, after, "backend_looks")


def test_keys_that_name_nothing_are_refused() -> None:
    lie: Steps = [
        ("frontend_writes_its_keys", {"keys": 7, "v2": True}),
        ("frontend_writes_its_state", {"state": CONNECTED}),
        ("backend_looks", {}),
    ]
    state = told(HOSTILE, [*CREATE, *lie])
    assert not possible(HOSTILE, state, "backend_maps")
    state = told(HOSTILE, [*CREATE, *lie, ("backend_refuses_connection", {"failed": False})])
    assert (state.be_state, state.mapped) == (CLOSED, 0)
