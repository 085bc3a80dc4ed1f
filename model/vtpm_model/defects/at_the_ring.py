"""Defects of the page and of the ring: bounds, cancelling, events, and what outlives a connection."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from vtpm_model import order, page, ring, sources
from vtpm_model.core import U8, U32, Actor, action, among, negate, record, replace, require
from vtpm_model.defects.defect import Defect
from vtpm_model.device import HOSTILE
from vtpm_model.page import request_fits
from vtpm_model.ring import CANCEL, FINISH, IDLE, RING, SUBMIT, Page, Ring, acceptable, deliverable

FRONTEND, BACKEND = Actor.FRONTEND, Actor.BACKEND
R = TypeVar("R", bound=Ring)


# ----------------------------------------------------------------------------------------- r5, i14: a lost request


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_ACKNOWLEDGES_CANCEL)
def backend_acknowledges_cancel(s: R) -> R:
    """The handler has read CANCEL; it stores IDLE over whatever the state byte has become since."""
    require(s.acking)
    require(negate(s.backend_owes_event))
    idle = replace(ring.backend_page(s), state=IDLE)
    return ring.put_backend_page(replace(s, acking=False, backend_owes_event=True), idle)


LATE_IDLE = HOSTILE.variant(
    "r5",
    doc="the backend's handler stores IDLE without another look at the state byte",
    replaced=(backend_acknowledges_cancel,),
)


@record
class Racing(Ring):
    """A ring whose frontend cancels without the lock that its sender holds."""

    found_free: bool  # a sender has found the page free, and will not look again


S = TypeVar("S", bound=Racing)


def at_rest() -> Racing:
    """Nobody is connected and nobody sends."""
    return Racing(**ring.at_rest()._asdict(), found_free=False)  # type: ignore[attr-defined]


@action(by=FRONTEND, cites=sources.LINUX_SEND_WAITS_FOR_IDLE)
def frontend_finds_the_page_free(s: S) -> S:
    """The sender looks once whether the page is free."""
    require(s.open)
    require(negate(s.waiting))
    require(among(s.page.state, IDLE, FINISH))
    return replace(s, found_free=True)


@action(by=FRONTEND, cites=(sources.LINUX_SUBMITS, sources.LINUX_SYSFS_CANCEL))
def frontend_submits_after_its_look(s: S, length: U32, extra: U8) -> S:
    """The sender stores SUBMIT; a cancel from elsewhere may have come in between."""
    require(s.found_free)
    require(s.open)
    require(negate(s.waiting))
    require(negate(s.frontend_owes_event))
    require(request_fits(extra, length))
    return replace(submitted(s, length, extra), found_free=False)


def submitted(s: R, length: int, extra: int) -> R:
    """The state after a request and SUBMIT were stored."""
    request = s.request + 1
    written = replace(s.page, state=SUBMIT, length=length, extra=extra, request=request)
    return replace(
        s, page=written, request=request, waiting=True, awake=True, cancelled=False, frontend_owes_event=True
    )


CANCEL_BESIDE_SEND = dataclasses.replace(
    RING.variant(
        "i14",
        doc="the frontend cancels while its sender is between its look and its store, and the handler stores IDLE late",
        replaced=(
            dataclasses.replace(frontend_submits_after_its_look, name="frontend_submits"),
            backend_acknowledges_cancel,
        ),
        added=(frontend_finds_the_page_free,),
        init=at_rest,
    ),
    state=Racing,
)


# ------------------------------------------------------------------------------------- r8: a request over a request


@action(by=FRONTEND, cites=sources.TPMFRONT_SEND)
def frontend_submits(s: R, length: U32, extra: U8) -> R:
    """The frontend looks neither at the state byte nor at whether it still waits."""
    require(s.open)
    require(negate(s.frontend_owes_event))
    require(request_fits(extra, length))
    return submitted(s, length, extra)


SUBMIT_IN_SERVICE = RING.variant(
    "r8", doc="the frontend submits while its last request is in service", replaced=(frontend_submits,)
)


# ------------------------------------------------------------------------------------------- i12: a lost wake-up


@action(by=FRONTEND, cites=sources.TPMFRONT_SUBMITS_BEFORE_ARMING)
def frontend_submits_unarmed(s: R, length: U32, extra: U8) -> R:
    """The frontend stores SUBMIT before it arms its handler."""
    require(s.open)
    require(negate(s.waiting))
    require(negate(s.frontend_owes_event))
    require(among(s.page.state, IDLE, FINISH))
    require(request_fits(extra, length))
    return replace(submitted(s, length, extra), waiting=False, awake=False)


@action(by=FRONTEND, owed=True, cites=(sources.TPMFRONT_SUBMITS_BEFORE_ARMING, sources.TPMFRONT_WAITS_WITHOUT_END))
def frontend_arms_and_notifies(s: R) -> R:
    """The frontend arms its handler, sends its event and sleeps, without a look at the page."""
    after: R = ring.frontend_notifies(s)
    return replace(after, waiting=True)


ARMED_LATE = RING.variant(
    "i12",
    doc="the frontend arms its handler after SUBMIT, never cancels at rest, and sleeps until it is called",
    replaced=(
        dataclasses.replace(frontend_submits_unarmed, name="frontend_submits"),
        dataclasses.replace(frontend_arms_and_notifies, name="frontend_notifies"),
    ),
    dropped=("frontend_cancels_at_rest",),
)


# -------------------------------------------------------------------------------- r15: what outlives a connection


def page_behind_the_pointer(s: Ring) -> Page:
    """The page that the backend's record points to: the one that it mapped last, mapped or not."""
    if s.latest == s.epoch:
        return s.page
    return s.old_page


def put_behind_the_pointer(s: R, stored: Page) -> R:
    """The state after a store through that pointer."""
    if s.latest == s.epoch:
        return replace(s, page=stored)
    return replace(s, old_page=stored)


def unmapped_with_its_flag(s: R) -> R:
    """The state after the backend has unmapped and unbound, and left its flag for a request as it was."""
    return replace(ring.without_mapping(s), ready=s.ready)


@action(by=BACKEND, cites=sources.TPMBACK_DISCONNECT)
def backend_disconnects(s: R) -> R:
    """The backend lets go of page and port; its flag for a request and its pointer to the page stay."""
    require(s.mapped != 0)
    require(negate(ring.connected(s)))
    return unmapped_with_its_flag(s)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_GET_REQUEST)
def backend_fetches(s: R, permitted: bool) -> R:
    """The backend fetches because its flag is set, whatever the state byte says and wherever the pointer leads."""
    require(s.ready)
    require(negate(s.busy))
    require(negate(s.backend_owes_event))
    found = page_behind_the_pointer(s)
    require(acceptable(found, permitted))
    return given(s, found)


def given(s: R, found: Page) -> R:
    """The state after the engine was given what lies in that page."""
    return replace(
        s, ready=False, busy=True, job=found.request, job_epoch=s.mapped, job_extra=found.extra,
        executed=found.request, commands=s.commands + 1,
    )  # fmt: skip


@action(by=BACKEND, cites=(sources.TPMBACK_RESPONSE_TO_WHOM, sources.TPMBACK_STORES_FINISH))
def backend_finishes(s: R, reply: U32) -> R:
    """The backend stores the answer, and FINISH, wherever the pointer leads."""
    require(s.busy)
    require(negate(s.backend_owes_event))
    length = deliverable(reply, s.job_extra)
    stored = replace(page_behind_the_pointer(s), state=FINISH, length=length, answer=s.job)
    return put_behind_the_pointer(replace(s, busy=False, backend_owes_event=True), stored)


OUTLIVED_CONNECTION = RING.variant(
    "r15",
    doc="neither the flag for a request, nor the pointer to the page, nor a command ends with its connection",
    replaced=(backend_disconnects, backend_fetches, backend_finishes),
    dropped=("backend_drops_stale_answer",),
)


@action(by=BACKEND, cites=sources.TPMBACK_RESPONSE_TO_WHOM)
def backend_drops_stale_answer(s: R) -> R:
    """The command of a connection that is gone has ended; with it the backend acknowledges the new one's cancel."""
    require(s.busy)
    require(s.job_epoch != s.mapped)
    found = ring.backend_page(s)
    if (s.mapped != 0) & (found.state == CANCEL):
        after = replace(s, busy=False, ready=False, acking=False, backend_owes_event=True)
        return ring.put_backend_page(after, replace(found, state=IDLE))
    return replace(s, busy=False)


ACKNOWLEDGED_BY_ANOTHER = RING.variant(
    "stale-end",
    doc="a cancel is acknowledged by the end of a command that came from another connection",
    replaced=(backend_drops_stale_answer,),
)


# ----------------------------------------------------------------------------------- i6, i16: an answer without room


def room_was_taken_away(s: page.State) -> bool:
    """The answer would have fitted when the request was taken, and does not now."""
    return page.reply_fits(s.taken.extra, s.answer) & negate(page.reply_fits(s.page.extra, s.answer))


def longer_than_a_page(s: page.State) -> bool:
    """The answer is longer than any page can hold."""
    return s.answer > page.capacity(0)


LOST = "no_request_is_lost"
UNTOUCHED = "the_backend_touches_only_a_mapped_page"
ENDS = "every_request_comes_to_an_end"

DEFECTS = (
    Defect(
        id="r5",
        variant=LATE_IDLE,
        fails=LOST,
        sentence="The handler reads CANCEL, SUBMIT is stored, and the handler's IDLE wipes the request out.",
        cites=(sources.TPMBACK_ACKNOWLEDGES_CANCEL, sources.TPMBACK_HANDLER),
    ),
    Defect(
        id="r8",
        variant=SUBMIT_IN_SERVICE,
        fails="an_answer_belongs_to_the_last_request",
        sentence="A request over one in service is never executed: the first one's answer is taken for its own.",
        cites=(sources.TPMFRONT_SEND, sources.TPMIF_STATES),
        along=("a_request_is_submitted_only_over_idle_or_finish", "one_request_is_outstanding"),
    ),
    Defect(
        id="r10",
        variant=order.DEFECTS["r10"],
        fails="an_answer_that_is_seen_has_an_event_on_its_way",
        sentence="The frontend arms after SUBMIT: an answer that came in between leaves no event, and it sleeps on.",
        cites=(sources.TPMFRONT_SUBMITS_BEFORE_ARMING, sources.TPMFRONT_IGNORES_EVENTS_UNARMED),
    ),
    Defect(
        id="r11",
        variant=page.DEFECTS["r11"],
        fails=ENDS,
        sentence="A request that does not fit is neither served nor refused: it stands until the frontend mends it.",
        cites=(sources.TPMBACK_BAD_REQUEST_STAYS_READY,),
    ),
    Defect(
        id="r12",
        variant=page.DEFECTS["r12"],
        fails="the_backend_reads_requests_only_inside_the_frame",
        sentence="Offset and length are added in 32 bits, so a length near 2^32 passes, and memory behind is read.",
        cites=(sources.TPMBACK_REQUEST_BOUNDS_WRAP,),
    ),
    Defect(
        id="r13",
        variant=page.DEFECTS["r13"],
        fails="the_reply_begins_where_the_request_began",
        sentence="nr_extra_pages is read again for the reply, which goes where the frontend moved it to meanwhile.",
        cites=(sources.TPMBACK_RESPONSE_REREADS_EXTRA,),
    ),
    Defect(
        id="r15",
        variant=OUTLIVED_CONNECTION,
        fails=UNTOUCHED,
        sentence="The flag for a request outlives the connection: the backend reads a page that it has unmapped.",
        cites=(sources.TPMBACK_DISCONNECT, sources.TPMBACK_GET_REQUEST),
        along=("a_request_is_executed_at_most_once",),
    ),
    Defect(
        id="i6",
        variant=page.DEFECTS["i6"],
        fails=ENDS,
        sentence="nr_extra_pages grows after the fetch; the reply no longer fits, and none is ever given.",
        cites=(sources.TPMBACK_RESPONSE_REREADS_EXTRA, sources.TPMBACK_LONG_RESPONSE_STAYS_READY),
        shown=room_was_taken_away,
    ),
    Defect(
        id="i12",
        variant=ARMED_LATE,
        fails="the_frontend_misses_no_answer",
        sentence="An event left over lets the backend answer before the frontend arms; nothing wakes the frontend.",
        cites=(sources.TPMFRONT_SUBMITS_BEFORE_ARMING, sources.TPMFRONT_HANDLER),
        along=("whoever_gave_up_gets_nothing_later",),
    ),
    Defect(
        id="i14",
        variant=CANCEL_BESIDE_SEND,
        fails=LOST,
        sentence="A cancel from sysfs comes between a sender's look and its SUBMIT; the handler's IDLE wipes it out.",
        cites=(sources.LINUX_SYSFS_CANCEL, sources.LINUX_SEND_WAITS_FOR_IDLE, sources.TPMBACK_ACKNOWLEDGES_CANCEL),
        along=("a_request_is_submitted_only_over_idle_or_finish",),
    ),
    Defect(
        id="i16",
        variant=page.DEFECTS["i16"],
        fails=ENDS,
        sentence="A manager lists 255 vTPMs in one legitimate answer, longer than the page: it is never replied to.",
        cites=(sources.VTPMMGR_LISTS_MORE_THAN_A_PAGE, sources.VTPMMGR_BUFFER_SIZE),
        shown=longer_than_a_page,
    ),
    Defect(
        id="q5",
        variant=page.DEFECTS["q5"],
        fails="the_backend_touches_the_header_only_to_publish_a_reply",
        sentence="The length of a reply is stored before it is known to fit; the request now has that length.",
        cites=(sources.TPMBACK_LENGTH_BEFORE_CHECK, sources.TPMBACK_LONG_RESPONSE_STAYS_READY),
        along=("every_reply_is_a_packet_that_fits", "the_backend_writes_exactly_the_bytes_that_it_publishes"),
    ),
)
