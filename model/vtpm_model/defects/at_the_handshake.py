"""Defects of the handshake: missed closes, half connections, what is read from a node, answers that come too late."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from vtpm_model import handshake, ring, sources, watch
from vtpm_model.core import U32, Actor, action, among, negate, record, replace, require
from vtpm_model.defects.at_the_ring import (
    UNTOUCHED,
    backend_finishes,
    given,
    put_behind_the_pointer,
    unmapped_with_its_flag,
)
from vtpm_model.defects.defect import Defect
from vtpm_model.device import DEVICE, HOSTILE, LINUX
from vtpm_model.handshake import (
    CLOSED,
    CONNECTED,
    INIT_WAIT,
    INITIALISED,
    INITIALISING,
    INVALID,
    UNKNOWN,
    Device,
    XenbusState,
    unwanted,
    write_be_state,
)
from vtpm_model.ring import CANCEL, FINISH, acceptable, backend_page, deliverable
from vtpm_model.watch import WATCH, state_of

BACKEND = Actor.BACKEND
D = TypeVar("D", bound=Device)


# --------------------------------------------------------------------- i1, i2, i3: answers and flags that come too late

USE_AFTER_UNMAP = LINUX.variant(
    "i1",
    doc="the backend stores an answer through the pointer of its record, whether or not the page is still mapped",
    replaced=(backend_finishes,),
    dropped=("backend_drops_stale_answer",),
)


@action(by=BACKEND, cites=(sources.TPMBACK_RESPONSE_TO_WHOM, sources.TPMBACK_STORES_FINISH))
def backend_finishes_whatever_is_mapped(s: D, reply: U32) -> D:
    """The backend stores the answer, and FINISH, into the page that it has mapped by now."""
    require(s.busy)
    require(s.mapped != 0)
    require(negate(s.backend_owes_event))
    length = deliverable(reply, s.job_extra)
    stored = replace(backend_page(s), state=FINISH, length=length, answer=s.job)
    return put_behind_the_pointer(replace(s, busy=False, ready=False, backend_owes_event=True), stored)


@action(by=BACKEND, cites=sources.TPMBACK_RESPONSE_TO_WHOM)
def backend_drops_the_answer_of_no_connection(s: D) -> D:
    """The backend drops an answer only if nothing is connected."""
    require(s.busy)
    require(s.mapped == 0)
    return replace(s, busy=False)


STALE_ANSWER = LINUX.variant(
    "i2",
    doc="the backend answers whatever connection it holds by now, not the one that the request came from",
    replaced=(
        dataclasses.replace(backend_finishes_whatever_is_mapped, name="backend_finishes"),
        dataclasses.replace(backend_drops_the_answer_of_no_connection, name="backend_drops_stale_answer"),
    ),
)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_DISCONNECT)
def backend_disconnects_with_its_flag(s: D) -> D:
    """The backend lets go of page and port; its flag for a request stays."""
    require(unwanted(s))
    return unmapped_with_its_flag(s)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_GET_REQUEST)
def backend_fetches_whatever_stands(s: D, permitted: bool) -> D:
    """The backend takes what stands in the page for a request because its flag is set; it sees a cancel only."""
    require(s.ready)
    require(s.mapped != 0)
    require(negate(s.busy))
    require(negate(s.backend_owes_event))
    page = backend_page(s)
    if page.state == CANCEL:
        return replace(s, ready=False, acking=True)
    require(acceptable(page, permitted))
    return given(s, page)


PHANTOM_FETCH = LINUX.variant(
    "i3",
    doc="the flag for a request outlives its connection, and is believed without a look at the state byte",
    replaced=(
        dataclasses.replace(backend_disconnects_with_its_flag, name="backend_disconnects"),
        dataclasses.replace(backend_fetches_whatever_stands, name="backend_fetches"),
    ),
)

KEPT_FLAG = DEVICE.variant(
    "q6",
    doc="the flag for a request is not cleared when the connection ends",
    replaced=(dataclasses.replace(backend_disconnects_with_its_flag, name="backend_disconnects"),),
)


def frontend_has_closed(s: Device) -> bool:
    """The frontend has closed, and the backend is alive."""
    return (s.fe_state == CLOSED) & s.up


# ---------------------------------------------------------------------------------------------- i4: a missed close


def closed_as_seen(s: Device) -> bool:
    """The backend knows that its connection is over, but for new keys, which it never compares with its own."""
    return (s.mapped != 0) & (s.leaving | (s.seen == CLOSED))


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_STAYS_CONNECTED)
def backend_disconnects(s: D) -> D:
    """The backend lets go when it reads Closed; if it missed that, it keeps page and port."""
    require(closed_as_seen(s))
    return ring.without_mapping(s)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_STAYS_CONNECTED, sources.TPMBACK_SETS_CONNECTED))
def backend_goes_to_connected(s: D) -> D:
    """The backend is Connected because it holds a page, whichever that is."""
    require(s.tracked)
    require(negate(s.leaving))
    require(s.mapped != 0)
    require(negate(closed_as_seen(s)))
    require(among(s.seen, INITIALISED, CONNECTED))
    require(s.be_v2)
    require(s.online)
    require(among(s.be_state, INIT_WAIT, CLOSED))
    return write_be_state(s, CONNECTED)


MISSED_CLOSE = LINUX.variant(
    "i4",
    doc="the backend that is connected never compares new keys with those that it has mapped",
    replaced=(backend_disconnects, backend_goes_to_connected),
)


def both_connected(s: Device) -> bool:
    """Both ends say Connected."""
    return (s.fe_state == CONNECTED) & (s.be_state == CONNECTED)


# ------------------------------------------------------------------------------ i7, q2, q3: what is read from a node


@action(by=BACKEND, owed=True, cites=(sources.MINIOS_READ_INTEGER_UNINITIALISED, sources.TPMBACK_FREES_ON_UNKNOWN))
def backend_looks(s: D, left_over: XenbusState) -> D:
    """The backend takes what its memory held for the state, where the text is no number."""
    require(s.tracked)
    require(s.backend_told)
    read = left_over if s.fe_state == INVALID else s.fe_state
    over = negate(s.online) | (s.be_state == UNKNOWN) | (read == UNKNOWN)
    return replace(s, backend_told=False, seen=read, seen_keys=s.keys, seen_v2=s.fe_v2, leaving=s.leaving | over)


GARBAGE_STATE = HOSTILE.variant(
    "i7",
    doc="the backend, which never retires by itself, acts on a state that nobody wrote, where the text is no number",
    replaced=(backend_looks,),
    dropped=("backend_retires",),
)


def closed_for_no_reason(s: Device) -> bool:
    """The backend is Closed though the device is online and the frontend's node stands."""
    return s.online & (s.be_state == CLOSED) & (s.fe_state == INVALID)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_CHILD_NAME_OVERFLOWS)
def backend_takes_the_event_of_a_child(s: watch.State) -> watch.State:
    """The backend cuts a path at the size of its buffer and stores the terminator behind."""
    require(s.child != 0)
    if s.child < watch.BUFFER:
        return replace(s, child=0, copied=s.child + 1)
    return replace(s, child=0, copied=watch.BUFFER + 1)


LONG_PATH = WATCH.variant(
    "q2",
    doc="a path is cut at the size of the buffer, which leaves no room for the terminator",
    replaced=(backend_takes_the_event_of_a_child,),
)


@action(by=BACKEND, owed=True, cites=sources.MINIOS_READ_INTEGER_UNINITIALISED)
def backend_reads_the_state(s: watch.State, left_over: U32) -> watch.State:
    """The backend takes what its memory held for the number, where the text is none."""
    require(s.changed)
    value = s.value if s.numeric else left_over
    return replace(s, changed=False, copied=watch.NODE + 1, seen=state_of(True, value))


UNINITIALISED = WATCH.variant(
    "q3",
    doc="the integer that a text is read into keeps what it held before, if the text is no number",
    replaced=(backend_reads_the_state,),
)


# --------------------------------------------------------------------------- q7, q8: releasing and connecting by halves


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_FREE_DEVICE, sources.VTPMMGR_OPAQUE_POINTS_INTO_THE_CONNECTION))
def backend_releases_device(s: D) -> D:
    """The backend closes the device towards its application, which may be at work on a command of it."""
    require(s.tracked)
    require(s.leaving)
    require(s.mapped == 0)
    require(among(s.be_state, CLOSED, UNKNOWN, INITIALISING))
    return replace(s, tracked=False)


EARLY_RELEASE = DEVICE.variant(
    "q7",
    doc="the device is released while a command of it is in service",
    replaced=(backend_releases_device,),
)


def guest_is_gone(s: Device) -> bool:
    """The frontend's nodes were removed, as they are when its guest is destroyed."""
    return s.fe_state == UNKNOWN


@record
class Believing(Device):
    """A device whose backend keeps in mind that it is connected, apart from what it has mapped."""

    believes: bool  # its record says that it is connected


B = TypeVar("B", bound=Believing)


def no_device() -> Believing:
    """No node exists; the backend is up."""
    return Believing(**handshake.no_device()._asdict(), believes=False)  # type: ignore[attr-defined]


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_STAYS_CONNECTED)
def backend_maps(s: B) -> B:
    """The backend maps nothing while its record says that it is connected."""
    require(negate(s.believes))
    after: B = handshake.backend_maps(s)
    return after


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_STAYS_CONNECTED)
def backend_refuses_connection(s: B, failed: bool) -> B:
    """The backend refuses nothing while its record says that it is connected."""
    require(negate(s.believes))
    after: B = handshake.backend_refuses_connection(s, failed=failed)
    return after


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_CONNECT_FAILURE_KEEPS_STATUS)
def backend_goes_to_connected_by_halves(s: B, written: bool) -> B:
    """The backend notes that it is connected, then writes Connected; if it cannot, it only unmaps and unbinds."""
    after: B = replace(handshake.backend_goes_to_connected(s), believes=True)
    if written:
        return after
    return replace(ring.without_mapping(after), be_state=s.be_state, backend_told=s.backend_told)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_DISCONNECT)
def backend_disconnects_and_forgets(s: B) -> B:
    """The backend lets go of what it holds, or believes to hold, and notes that it is not connected."""
    require(unwanted(s) | (s.believes & (s.leaving | (s.seen == CLOSED))))
    return replace(ring.without_mapping(s), believes=False)


@action(by=BACKEND, cites=sources.CLOSE_LEAVES_THE_PEER_UNBOUND)
def backend_crashes(s: B) -> B:
    """The backend dies, and its record with it."""
    after: B = replace(handshake.backend_crashes(s), believes=False)
    return after


HALF_CONNECTED = dataclasses.replace(
    DEVICE.variant(
        "q8",
        doc="the record of a connection that failed at its last step still says that it is connected",
        replaced=(
            backend_maps,
            backend_refuses_connection,
            dataclasses.replace(backend_goes_to_connected_by_halves, name="backend_goes_to_connected"),
            dataclasses.replace(backend_disconnects_and_forgets, name="backend_disconnects"),
            backend_crashes,
        ),
        init=no_device,
    ),
    state=Believing,
)

WAITS = "a_published_connection_waits_for_its_backend"

DEFECTS = (
    Defect(
        id="i1",
        variant=USE_AFTER_UNMAP,
        fails=UNTOUCHED,
        sentence="The driver leaves while its command is in service; the answer goes into a page no longer mapped.",
        cites=(sources.TPMBACK_DISCONNECT, sources.TPMBACK_RESPONSE_TO_WHOM),
        along=("an_answer_stays_in_its_connection",),
        shown=frontend_has_closed,
    ),
    Defect(
        id="i2",
        variant=STALE_ANSWER,
        fails="an_answer_stays_in_its_connection",
        sentence="The frontend connects anew while its command is in service; the answer is stored into the new page.",
        cites=(sources.TPMBACK_DISCONNECT, sources.TPMBACK_RESPONSE_TO_WHOM, sources.TPMBACK_STORES_FINISH),
        along=("a_page_shows_nothing_of_other_connections", "only_a_request_or_a_cancel_is_answered"),
    ),
    Defect(
        id="i3",
        variant=PHANTOM_FETCH,
        fails="a_request_is_executed_at_most_once",
        sentence="A flag from the old connection makes the backend execute an empty command from the new, idle page.",
        cites=(sources.TPMBACK_DISCONNECT, sources.TPMBACK_GET_REQUEST),
    ),
    Defect(
        id="i4",
        variant=MISSED_CLOSE,
        fails=WAITS,
        sentence="The backend misses a Closed and keeps the old page; both say Connected, and the new is not served.",
        cites=(sources.TPMBACK_STAYS_CONNECTED, sources.LINUX_GOES_TO_INITIALISED),
        shown=both_connected,
    ),
    Defect(
        id="i7",
        variant=GARBAGE_STATE,
        fails="the_backend_knows_the_frontends_state",
        sentence="The guest writes a text that is no state; the backend reads one off its stack and closes the device.",
        cites=(sources.MINIOS_READ_INTEGER_UNINITIALISED, sources.TPMBACK_FREES_ON_UNKNOWN),
        shown=closed_for_no_reason,
    ),
    Defect(
        id="q2",
        variant=LONG_PATH,
        fails="the_path_of_an_event_stays_in_its_buffer",
        sentence="A child with a long name below `state`: 40 bytes of its path and a terminator go into 40 bytes.",
        cites=(sources.TPMBACK_CHILD_NAME_OVERFLOWS,),
    ),
    Defect(
        id="q3",
        variant=UNINITIALISED,
        fails="a_state_is_read_only_from_its_number",
        sentence="A text that is no number leaves the integer as it was in memory, and that is taken for the state.",
        cites=(sources.MINIOS_READ_INTEGER_UNINITIALISED,),
    ),
    Defect(
        id="q6",
        variant=KEPT_FLAG,
        fails=UNTOUCHED,
        sentence="A flag for a request survives the connection; the backend fetches from a page that it has unmapped.",
        cites=(sources.TPMBACK_DISCONNECT, sources.TPMBACK_READY_FLAG),
        shown=frontend_has_closed,
    ),
    Defect(
        id="q7",
        variant=EARLY_RELEASE,
        fails="a_command_in_service_has_its_device",
        sentence="The close callback comes, and what it frees is gone, while a command of the device is in service.",
        cites=(sources.TPMBACK_FREE_RACES_WITH_WAITERS, sources.VTPMMGR_OPAQUE_POINTS_INTO_THE_CONNECTION),
        shown=guest_is_gone,
    ),
    Defect(
        id="q8",
        variant=HALF_CONNECTED,
        fails=WAITS,
        sentence="Connected could not be written: page and port are gone, the record says connected, nothing follows.",
        cites=(sources.TPMBACK_CONNECT_FAILURE_KEEPS_STATUS, sources.TPMBACK_STAYS_CONNECTED),
    ),
)
