"""The hostile frontend: any store, any key, any event, at any time, and it leaves at any time."""

from __future__ import annotations

from typing import TypeVar

from vtpm_model import handshake, ring, sources
from vtpm_model.core import U8, U32, Actor, Nat, action, replace, require
from vtpm_model.handshake import UNKNOWN, Device, XenbusState, write_fe_state
from vtpm_model.ring import SUBMIT, Page, RingState

FRONTEND = Actor.FRONTEND
D = TypeVar("D", bound=Device)


def stored(s: Device, page: Page, state: RingState, length: int, extra: int) -> Page:
    """The page after any store; a SUBMIT counts as a request of its own."""
    page = replace(page, state=state, length=length, extra=extra)
    if state == SUBMIT:
        return replace(page, request=s.request + 1)
    return page


def counted(s: D, state: RingState) -> D:
    """The state with that request counted, and with an event outstanding that may never be sent."""
    s = replace(s, frontend_owes_event=True)
    if state == SUBMIT:
        return replace(s, request=s.request + 1)
    return s


@action(by=FRONTEND, cites=sources.GRANT_NAMES_ONE_DOMAIN)
def frontend_takes_a_page(s: D, state: RingState, length: U32, extra: U8) -> D:
    """It grants another page, or the same one anew, with anything in it."""
    s = ring.with_new_page(ring.without_page(s))
    s = replace(s, open=True)
    return counted(replace(s, page=stored(s, s.page, state, length, extra)), state)


@action(by=FRONTEND, cites=sources.TPMIF_SHARED_PAGE)
def frontend_stores(s: D, state: RingState, length: U32, extra: U8) -> D:
    """It stores anything into its page."""
    require(s.granted)
    return counted(replace(s, page=stored(s, s.page, state, length, extra)), state)


@action(by=FRONTEND, cites=sources.TPMIF_SHARED_PAGE)
def frontend_stores_into_its_old_page(s: D, state: RingState, length: U32, extra: U8) -> D:
    """It stores anything into a page that the backend has not let go yet."""
    require(s.mapped != 0)
    require(s.mapped != s.epoch)
    return counted(replace(s, old_page=stored(s, s.old_page, state, length, extra)), state)


@action(by=FRONTEND, cites=sources.SEND_SETS_PENDING)
def frontend_notifies(s: D) -> D:
    """It sends an event."""
    require(s.granted)
    return replace(s, frontend_owes_event=False, to_backend=s.to_backend | ring.connected(s))


@action(by=FRONTEND, cites=sources.LIBXL_PERMISSIONS)
def frontend_writes_its_state(s: D, state: XenbusState) -> D:
    """It writes anything into its state node, or removes it."""
    require(s.fe_state != UNKNOWN)
    return write_fe_state(s, state)


@action(by=FRONTEND, cites=sources.LIBXL_PERMISSIONS)
def frontend_writes_its_keys(s: D, keys: Nat, v2: bool) -> D:
    """It writes any keys, or none, and any version."""
    require(s.fe_state != UNKNOWN)
    return replace(s, keys=keys, fe_v2=v2)


@action(by=FRONTEND, cites=sources.CLOSE_LEAVES_THE_PEER_UNBOUND)
def frontend_leaves(s: D) -> D:
    """It gives its page and port back, in the middle of anything."""
    require(s.granted)
    return ring.without_page(s)


ACTIONS = (
    frontend_takes_a_page,
    frontend_stores,
    frontend_stores_into_its_old_page,
    frontend_notifies,
    frontend_writes_its_state,
    frontend_writes_its_keys,
    frontend_leaves,
)

LEMMAS = (
    ring.epochs_are_mapped_in_order,
    ring.a_backend_that_is_down_holds_nothing,
    ring.the_backend_acts_only_on_a_mapping,
    ring.what_is_in_service_came_from_a_connection,
    ring.an_open_connection_holds_its_page,
    ring.requests_are_numbered_in_order,
    ring.a_submitted_request_is_new,
    ring.a_submitted_request_is_of_this_connection,
    handshake.a_device_is_tracked_by_a_living_backend,
    handshake.a_closing_device_is_known_to_close,
)
"""What holds of a connection whose frontend keeps no rule."""

LIVENESS = (
    handshake.a_new_device_waits_for_its_backend,
    handshake.a_watch_event_waits,
    handshake.a_closed_frontend_waits_for_its_backend,
    handshake.a_toolstack_waits_for_the_backend,
    handshake.a_page_is_held_although_its_node_is_gone,
)
"""What the backend owes the toolstack, and a frontend that closes, whoever that is."""
