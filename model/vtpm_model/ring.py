"""The ring: one shared page, one event channel, a frontend that asks and a backend that answers.

The page carries one request at a time. Each page belongs to one *epoch*: a frontend that connects anew takes a new page
and a new port. Connecting is abstract here; `handshake` puts xenbus in its place.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from vtpm_model import sources
from vtpm_model.core import (
    U8,
    U32,
    Actor,
    Nat,
    Spec,
    Step,
    action,
    always,
    among,
    eventually,
    every_step,
    implies,
    lemma,
    negate,
    record,
    replace,
    require,
)
from vtpm_model.page import TPM_HEADER, reply_fits, request_fits

FRONTEND, BACKEND, XEN = Actor.FRONTEND, Actor.BACKEND, Actor.XEN


class RingState(IntEnum):
    """The state byte of the page; OTHER stands for every byte that names no state."""

    IDLE = 0
    SUBMIT = 1
    FINISH = 2
    CANCEL = 3
    OTHER = 4


IDLE, SUBMIT, FINISH, CANCEL, OTHER = RingState


@record
class Page:
    """What lies in one shared page."""

    state: RingState
    length: U32
    extra: U8  # nr_extra_pages
    request: Nat  # the request whose bytes were put here last, 0: none
    answer: Nat  # the request that the bytes of the answer belong to, 0: none


EMPTY_PAGE = Page(state=IDLE, length=0, extra=0, request=0, answer=0)


@record
class Ring:
    """Both ends of the ring, the page between them, and the event channel."""

    # the connection
    epoch: Nat  # the page and port that the frontend allocated last, 0: none yet
    granted: bool  # the frontend still holds them, its grant and port are live
    open: bool  # the frontend uses them: it has told the backend, and has not closed
    page: Page  # the page of that epoch
    mapped: Nat  # the epoch whose page and port the backend holds, 0: none
    old_page: Page  # the page of `mapped` where that is an earlier epoch
    kept: bool  # a page that the frontend gave up while it was mapped; its memory is not used again
    base: Nat  # requests that had been submitted when the epoch began
    # the event channel: one pending bit at each end
    to_backend: bool
    to_frontend: bool
    # the frontend
    request: Nat  # requests submitted so far; the last one's number
    waiting: bool  # for the answer to it
    awake: bool  # about to look at the page
    frontend_owes_event: bool  # has written the state byte, has not yet notified
    cancelling: bool  # has found the request unanswered, is about to write CANCEL
    cancelled: bool  # has written CANCEL for this request
    delivered: Nat  # the last request whose answer a caller got
    # the backend
    up: bool
    ready: bool  # has seen SUBMIT, has not fetched the request
    acking: bool  # has seen CANCEL with nothing in service, is about to write IDLE
    busy: bool  # the engine works on a command
    job: Nat  # the request that it came from
    job_epoch: Nat  # the epoch that it came from
    job_extra: U8  # nr_extra_pages as it was when the request was fetched
    backend_owes_event: bool
    latest: Nat  # the newest epoch that the backend has mapped since it started
    executed: Nat  # the last request of that epoch given to the engine
    commands: Nat  # what the engine was given since the backend started: all that its state depends on
    crashed_in: Nat  # the epoch during which the backend crashed last


R = TypeVar("R", bound=Ring)


def at_rest() -> Ring:
    """Nobody is connected; the backend is up."""
    return Ring(
        epoch=0, granted=False, open=False, page=EMPTY_PAGE, mapped=0, old_page=EMPTY_PAGE, kept=False,
        base=0, to_backend=False, to_frontend=False,
        request=0, waiting=False, awake=False, frontend_owes_event=False, cancelling=False, cancelled=False,
        delivered=0,
        up=True, ready=False, acking=False, busy=False, job=0, job_epoch=0, job_extra=0,
        backend_owes_event=False, latest=0, executed=0, commands=0, crashed_in=0,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- the page, the event


def backend_page(s: Ring) -> Page:
    """The page that the backend has mapped."""
    if s.mapped == s.epoch:
        return s.page
    return s.old_page


def put_backend_page(s: R, page: Page) -> R:
    """The state after the backend has stored into the page that it has mapped."""
    if s.mapped == s.epoch:
        return replace(s, page=page)
    return replace(s, old_page=page)


def serving(s: Ring) -> bool:
    """The engine works on a command of the connection that the backend holds now."""
    return s.busy & (s.job_epoch == s.mapped)


def connected(s: Ring) -> bool:
    """The backend holds the page and port that the frontend holds."""
    return s.open & (s.mapped == s.epoch)


def deliverable(reply: int, extra: int) -> int:
    """The length of what is answered: the engine's reply, or a TPM error where that cannot be delivered."""
    if reply_fits(extra, reply):
        return reply
    return TPM_HEADER


# ------------------------------------------------------------------------------------------ the frontend's requests


@action(by=FRONTEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.LINUX_SUBMITS))
def frontend_submits(s: R, length: U32, extra: U8) -> R:
    """The frontend writes a request and, after it, SUBMIT. It has armed its wait before."""
    require(s.open)
    require(negate(s.waiting))
    require(negate(s.frontend_owes_event))
    require(among(s.page.state, IDLE, FINISH))
    require(request_fits(extra, length))
    page = replace(s.page, state=SUBMIT, length=length, extra=extra, request=s.request + 1)
    return replace(
        s, page=page, request=s.request + 1, waiting=True, awake=True, cancelled=False, frontend_owes_event=True
    )


@action(by=FRONTEND, owed=True, cites=(sources.SEND_SETS_PENDING, sources.SEND_TO_UNBOUND_IS_DROPPED))
def frontend_notifies(s: R) -> R:
    """The frontend sends its event. A port that nobody has bound loses it."""
    require(s.frontend_owes_event)
    return replace(s, frontend_owes_event=False, to_backend=s.to_backend | connected(s))


@action(by=FRONTEND, owed=True, cites=(sources.LINUX_INTERRUPT, sources.TPMFRONT_HANDLER))
def frontend_wakes(s: R) -> R:
    """The frontend's handler takes the event and wakes whoever waits."""
    require(s.to_frontend)
    return replace(s, to_frontend=False, awake=s.waiting)


@action(by=FRONTEND, cites=sources.LINUX_POLLS)
def frontend_polls(s: R) -> R:
    """The frontend wakes without an event."""
    require(s.waiting)
    return replace(s, awake=True)


def whole_packet(page: Page, header: int) -> bool:
    """The bytes in the page are one TPM packet: its header's length is the page's, and lies within the page."""
    return (page.length == header) & reply_fits(page.extra, header)


@action(by=FRONTEND, owed=True, cites=(sources.LINUX_STATUS, sources.LINUX_RECV, sources.LINUX_CHECKS_THE_REPLY_LENGTH))
def frontend_looks(s: R, header: U32) -> R:
    """Awake, the frontend reads the state byte: FINISH is its answer, IDLE means cancelled, else it sleeps again.

    `header`: the length that the answer's own TPM header names. A caller gets a whole packet, or an error.
    """
    require(s.waiting)
    require(s.awake)
    require(negate(s.cancelling))
    require(negate(s.frontend_owes_event))
    if s.page.state == FINISH:
        whole = whole_packet(s.page, header)
        return replace(s, waiting=False, awake=False, delivered=s.page.answer if whole else s.delivered)
    return replace(s, waiting=s.page.state != IDLE, awake=False)


@action(by=FRONTEND, cites=sources.LINUX_SEND_GIVES_UP)
def frontend_times_out(s: R) -> R:
    """The frontend finds its request unanswered for too long and decides to cancel it."""
    require(s.waiting)
    require(negate(s.cancelling))
    require(negate(s.cancelled))
    require(negate(s.frontend_owes_event))
    require(negate(among(s.page.state, FINISH, IDLE)))
    return replace(s, cancelling=True)


@action(by=FRONTEND, owed=True, cites=(sources.TPMIF_CANCEL, sources.LINUX_CANCEL))
def frontend_cancels(s: R) -> R:
    """The frontend writes CANCEL, over whatever the state byte has become since it looked."""
    require(s.cancelling)
    page = replace(s.page, state=CANCEL)
    return replace(s, page=page, cancelling=False, cancelled=True, frontend_owes_event=True)


@action(by=FRONTEND, cites=(sources.LINUX_SEND_GIVES_UP, sources.LINUX_TRANSMIT))
def frontend_gives_up(s: R) -> R:
    """After the second bounded wait the caller gets an error, and the frontend waits no more."""
    require(s.waiting)
    require(s.cancelled)
    require(negate(s.frontend_owes_event))
    return replace(s, waiting=False, awake=False)


@action(by=FRONTEND, cites=(sources.TPMIF_CANCEL, sources.LINUX_SYSFS_CANCEL, sources.LINUX_SEND_WAITS_FOR_IDLE))
def frontend_cancels_at_rest(s: R) -> R:
    """The frontend writes CANCEL although it waits for nothing: it may, at any time."""
    require(s.open)
    require(negate(s.waiting))
    require(negate(s.frontend_owes_event))
    return replace(s, page=replace(s.page, state=CANCEL), frontend_owes_event=True)


# ----------------------------------------------------------------------------------------- the backend's answers


@action(
    by=BACKEND,
    owed=True,
    cites=(sources.TPMBACK_HANDLER, sources.TPMBACK_IGNORES_CANCEL_IN_SERVICE, sources.TPMBACK_IGNORES_SPURIOUS_EVENTS),
)
def backend_wakes(s: R) -> R:
    """The backend's handler takes the event and reads the state byte; what it does not await is spurious."""
    require(s.to_backend)
    require(negate(s.acking))
    state = backend_page(s).state
    news = negate(serving(s)) & negate(s.ready)
    return replace(s, to_backend=False, ready=s.ready | (news & (state == SUBMIT)), acking=news & (state == CANCEL))


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_ACKNOWLEDGES_CANCEL, sources.TPMIF_CANCEL))
def backend_acknowledges_cancel(s: R) -> R:
    """The backend writes IDLE for a cancel that came with nothing in service."""
    require(s.acking)
    require(negate(s.backend_owes_event))
    page = backend_page(s)
    if page.state == CANCEL:
        return put_backend_page(replace(s, acking=False, backend_owes_event=True), replace(page, state=IDLE))
    return replace(s, acking=False)


def acceptable(page: Page, permitted: bool) -> bool:
    """A request that the engine may be given: it lies within the page, and its locality is permitted."""
    return request_fits(page.extra, page.length) & permitted


def refusable(page: Page, permitted: bool) -> bool:
    """A request that the backend need not give to its engine."""
    return negate(acceptable(page, permitted)) | (page.extra != 0) | (page.length < TPM_HEADER)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_SNAPSHOT, sources.TPMBACK_COPIES_THE_REQUEST))
def backend_fetches(s: R, permitted: bool) -> R:
    """The backend reads the request once and gives it to its engine; a cancelled one it does not.

    `permitted`: whether the environment's mask lets this frontend use the locality that the page names.
    """
    require(s.ready)
    require(negate(s.busy))
    require(negate(s.backend_owes_event))
    page = backend_page(s)
    if page.state == SUBMIT:
        require(acceptable(page, permitted))
        return replace(
            s, ready=False, busy=True, job=page.request, job_epoch=s.mapped, job_extra=page.extra,
            executed=page.request, commands=s.commands + 1,
        )  # fmt: skip
    return replace(s, ready=False, acking=page.state == CANCEL)


@action(
    by=BACKEND,
    owed=True,
    cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMIF_CANCEL, sources.VTPM_ERROR_RESPONSE),
)
def backend_refuses_request(s: R, permitted: bool, with_error: bool) -> R:
    """The backend answers a request that it cannot serve, by a TPM error or by IDLE, without its engine.

    A cancel that came since it looked does not keep it from answering, nor does whatever else a hostile frontend has
    stored since: the page shows no locality, so any request may have been refused for its own.
    """
    require(s.ready)
    require(negate(s.busy))
    require(negate(s.backend_owes_event))
    page = backend_page(s)
    require(among(page.state, SUBMIT, CANCEL))
    require(refusable(page, permitted))
    after = replace(s, ready=False, backend_owes_event=True)
    if with_error:
        return put_backend_page(after, replace(page, state=FINISH, length=TPM_HEADER, answer=page.request))
    return put_backend_page(after, replace(page, state=IDLE))


@action(by=BACKEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMBACK_STORES_FINISH))
def backend_finishes(s: R, reply: U32) -> R:
    """The engine has answered with `reply` bytes; the backend writes them and, after them, FINISH."""
    require(serving(s))
    page = backend_page(s)
    after = replace(s, busy=False)
    if among(page.state, SUBMIT, CANCEL):
        page = replace(page, state=FINISH, length=deliverable(reply, s.job_extra), answer=s.job)
        return put_backend_page(replace(after, backend_owes_event=True), page)
    return after


@action(by=BACKEND, cites=sources.TPMBACK_RESPONSE_TO_WHOM)
def backend_drops_stale_answer(s: R) -> R:
    """The engine has answered a request whose connection is gone: nobody gets the answer."""
    require(s.busy)
    require(s.job_epoch != s.mapped)
    return replace(s, busy=False)


@action(by=BACKEND, owed=True, cites=(sources.SEND_SETS_PENDING, sources.SEND_TO_UNBOUND_IS_DROPPED))
def backend_notifies(s: R) -> R:
    """The backend sends its event. A port that the frontend has closed loses it."""
    require(s.backend_owes_event)
    return replace(s, backend_owes_event=False, to_frontend=s.to_frontend | connected(s))


# ------------------------------------------------------------------------------------------------------ surprises


@action(by=XEN, cites=sources.EVENTS_ARE_ONE_BIT)
def event_reaches_backend_unasked(s: R) -> R:
    """The backend's port becomes pending without a reason."""
    require(s.mapped != 0)
    return replace(s, to_backend=True)


@action(by=XEN, cites=sources.EVENTS_ARE_ONE_BIT)
def event_reaches_frontend_unasked(s: R) -> R:
    """The frontend's port becomes pending without a reason."""
    require(s.granted)
    return replace(s, to_frontend=True)


@action(by=BACKEND, cites=sources.CLOSE_LEAVES_THE_PEER_UNBOUND)
def backend_crashes(s: R) -> R:
    """The backend dies: Xen unmaps its pages and closes its ports."""
    require(s.up)
    return replace(
        s, up=False, mapped=0, old_page=EMPTY_PAGE, kept=False, to_backend=False, ready=False, acking=False, busy=False,
        backend_owes_event=False, crashed_in=s.epoch,
    )  # fmt: skip


@action(by=BACKEND, cites=sources.VTPM_STARTS_THE_EMULATOR_ONCE)
def backend_starts(s: R) -> R:
    """The backend starts again, with an engine that has executed nothing."""
    require(negate(s.up))
    return replace(s, up=True, latest=0, executed=0, commands=0)


# ------------------------------------------------------------------------------------------ connecting, abstractly


def with_new_page(s: R) -> R:
    """The state after the frontend has allocated a zeroed page and an unbound port: a new epoch."""
    old_page = s.page if s.mapped == s.epoch else s.old_page
    return replace(s, epoch=s.epoch + 1, granted=True, page=EMPTY_PAGE, old_page=old_page, base=s.request)


def without_page(s: R) -> R:
    """The state after the frontend has let go of its page and port; a page that is mapped is kept, not reused."""
    return replace(
        s, granted=False, open=False, kept=s.mapped != 0, to_frontend=False,
        waiting=False, awake=False, frontend_owes_event=False, cancelling=False, cancelled=False,
    )  # fmt: skip


def with_mapping(s: R) -> R:
    """The state after the backend has mapped the page and bound the port of this epoch: binding raises the event."""
    return replace(s, mapped=s.epoch, latest=s.epoch, executed=0, to_backend=True)


def without_mapping(s: R) -> R:
    """The state after the backend has unmapped and unbound; a command in service outlives its connection.

    An event that it still owes it sends before; what it has noticed but not begun, it forgets.
    """
    owed = s.backend_owes_event & connected(s)
    return replace(
        s, mapped=0, old_page=EMPTY_PAGE, kept=False, to_backend=False, ready=False, acking=False,
        backend_owes_event=False, to_frontend=s.to_frontend | owed,
    )  # fmt: skip


@action(by=FRONTEND, cites=(sources.LINUX_SETUP_RING, sources.TPMFRONT_ZEROES_THE_PAGE))
def frontend_connects(s: R) -> R:
    """The frontend allocates page and port and tells the backend."""
    require(negate(s.granted))
    return replace(with_new_page(s), open=True)


@action(by=FRONTEND, cites=(sources.LINUX_RING_FREE, sources.CLOSE_LEAVES_THE_PEER_UNBOUND))
def frontend_leaves(s: R) -> R:
    """The frontend closes, unloads or crashes, in the middle of anything."""
    require(s.granted)
    return without_page(s)


@action(by=BACKEND, cites=(sources.BIND_RAISES_THE_EVENT, sources.BIND_SETS_PENDING, sources.TPMBACK_MAPS_AND_BINDS))
def backend_connects(s: R) -> R:
    """The backend maps the page and binds the port that the frontend told it."""
    require(s.up)
    require(s.granted)
    require(s.mapped == 0)
    require(s.latest < s.epoch)
    return with_mapping(s)


@action(by=BACKEND, cites=sources.TPMBACK_DISCONNECT)
def backend_disconnects(s: R) -> R:
    """The backend lets go: its frontend has left, or it is asked to."""
    require(s.mapped != 0)
    return without_mapping(s)


# ---------------------------------------------------------------------------------------------------------- facts


def state_byte_changes(before: Ring, after: Ring) -> bool:
    """A store changed the state byte of the page that the frontend holds."""
    return (before.page.state != after.page.state) & (before.epoch == after.epoch)


@every_step(covers="E1", about=FRONTEND, cites=sources.TPMIF_WRITERS)
def the_frontend_writes_only_submit_and_cancel(before: Ring, step: Step, after: Ring) -> bool:
    """The frontend's stores into the state byte are SUBMIT and CANCEL."""
    if step.by != FRONTEND:
        return True
    return implies(state_byte_changes(before, after), among(after.page.state, SUBMIT, CANCEL))


@every_step(covers="E1", about=BACKEND, cites=sources.TPMIF_WRITERS)
def the_backend_writes_only_finish_and_idle(before: Ring, step: Step, after: Ring) -> bool:
    """The backend's stores into the state byte are FINISH and IDLE, and nobody else stores there but the frontend."""
    if step.by == FRONTEND:
        return True
    return implies(state_byte_changes(before, after), (step.by == BACKEND) & among(after.page.state, FINISH, IDLE))


@every_step(covers="E2", about=FRONTEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMIF_STATES))
def a_request_is_submitted_only_over_idle_or_finish(before: Ring, step: Step, after: Ring) -> bool:
    """SUBMIT replaces IDLE or FINISH, never a request in the page."""
    return implies(before.request != after.request, among(before.page.state, IDLE, FINISH))


@every_step(covers="E2", about=BACKEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMIF_CANCEL))
def only_a_request_or_a_cancel_is_answered(before: Ring, step: Step, after: Ring) -> bool:
    """The backend's FINISH and IDLE replace SUBMIT or CANCEL, in the page that it has mapped."""
    if step.by != BACKEND:
        return True
    here = implies(before.page != after.page, among(before.page.state, SUBMIT, CANCEL))
    there = implies(
        (before.old_page != after.old_page) & (before.mapped == after.mapped) & (after.mapped != 0),
        among(before.old_page.state, SUBMIT, CANCEL),
    )
    return here & there


@every_step(covers="E3", about=FRONTEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.LINUX_SEND_WAITS_FOR_IDLE))
def one_request_is_outstanding(before: Ring, step: Step, after: Ring) -> bool:
    """A request is submitted only when nobody waits for, or works on, an earlier one of the connection."""
    idle = negate(before.waiting) & negate(before.busy & (before.job_epoch == before.epoch))
    unread = before.ready & (before.mapped == before.epoch) & (before.page.state == SUBMIT)
    return implies(before.request != after.request, idle & negate(unread))


@always(covers="E4", cites=sources.TPMIF_REQUEST_AND_RESPONSE)
def an_answer_belongs_to_the_last_request(s: Ring) -> bool:
    """The answer that a waiting frontend finds is the answer to what it asked."""
    return implies(s.waiting & (s.page.state == FINISH), s.page.answer == s.request)


@every_step(
    covers=("N3", "E4", "E7"), about=FRONTEND, cites=(sources.LINUX_CHECKS_THE_REPLY_LENGTH, sources.LINUX_RECV_BOUNDS)
)
def a_caller_gets_one_whole_packet(before: Ring, step: Step, after: Ring) -> bool:
    """What a caller gets is finished, is the answer to its request, and is one TPM packet within the page."""
    if step.by != FRONTEND:
        return before.delivered == after.delivered
    header = step.picks.get("header", 0)
    size = (before.page.length == header) & (header >= 10) & (header <= 4096 - (8 + 4 * before.page.extra))
    asked = before.waiting & (before.page.state == FINISH) & (after.delivered == before.request)
    return implies(before.delivered != after.delivered, asked & size)


@every_step(covers="E5", about=FRONTEND, cites=(sources.LINUX_TRANSMIT, sources.LINUX_SEND_WAITS_FOR_IDLE))
def whoever_gave_up_gets_nothing_later(before: Ring, step: Step, after: Ring) -> bool:
    """A frontend waits again only for a new request."""
    return implies(negate(before.waiting) & after.waiting, after.request == before.request + 1)


@every_step(covers="E6", about=BACKEND, cites=(sources.TPMIF_SHARED_PAGE, sources.TPMBACK_REQUEST_BOUNDS_WRAP))
def a_request_is_read_within_the_page(before: Ring, step: Step, after: Ring) -> bool:
    """What the engine is given lies between the header and the end of the page, in unbounded integers."""
    page = backend_page(before)
    fits = 8 + 4 * page.extra + page.length <= 4096
    return implies(was_given(before, after), fits)


def was_given(before: Ring, after: Ring) -> bool:
    """In this step the engine was given a command."""
    return negate(before.busy) & after.busy


def was_answered(before: Ring, step: Step, after: Ring) -> bool:
    """In this step the backend wrote an answer into the page of the frontend's connection."""
    return (step.by == BACKEND) & (after.page.state == FINISH) & (before.page.state != FINISH)


@every_step(covers=("E7", "N3"), about=BACKEND, cites=(sources.TPMIF_SHARED_PAGE, sources.TPMBACK_SEND_RESPONSE))
def an_answer_lies_within_the_page(before: Ring, step: Step, after: Ring) -> bool:
    """An answer is a TPM packet, and lies in the page where the header was when the request was fetched."""
    room = 4096 - (8 + 4 * before.job_extra)
    size = implies(before.busy, (after.page.length >= 10) & (after.page.length <= room))
    return implies(was_answered(before, step, after), size)


@every_step(covers="E8", about=BACKEND, cites=(sources.TPMIF_SHARED_PAGE, sources.TPMBACK_RESPONSE_REREADS_EXTRA))
def the_backend_writes_nothing_but_its_answer(before: Ring, step: Step, after: Ring) -> bool:
    """The backend leaves locality, nr_extra_pages and the request alone."""
    if step.by != BACKEND:
        return True
    return (after.page.extra == before.page.extra) & (after.page.request == before.page.request)


@every_step(
    covers=("E9", "N1", "E23"), about=BACKEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMBACK_READY_FLAG)
)
def a_request_is_executed_at_most_once(before: Ring, step: Step, after: Ring) -> bool:
    """The engine is given only what stands submitted in the page, and was not given before."""
    page = backend_page(before)
    fresh = (page.state == SUBMIT) & (page.request > before.executed) & (after.executed == page.request)
    return implies(was_given(before, after), fresh)


@every_step(covers="E10", about=BACKEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMIF_CANCEL))
def no_request_is_lost(before: Ring, step: Step, after: Ring) -> bool:
    """A sound request that nobody cancels leaves the page by its answer only, and only from the engine."""
    if step.by != BACKEND:
        return True
    sound = request_fits(before.page.extra, before.page.length) & (before.page.length >= 10) & (before.page.extra == 0)
    permitted = step.picks.get("permitted", True)
    gone = (before.page.state == SUBMIT) & (after.page.state != SUBMIT)
    served = (after.page.state == FINISH) & before.busy
    return implies(gone & sound & permitted, served)


@always(covers="E12", about=BACKEND, cites=(sources.BIND_SETS_PENDING, sources.EVENTS_ARE_ONE_BIT))
def the_backend_misses_no_request(s: Ring) -> bool:
    """While a request stands in the page, its event is under way, or the backend knows of it."""
    noticed = s.frontend_owes_event | s.to_backend | s.ready | serving(s)
    return implies(connected(s) & (s.page.state == SUBMIT), noticed)


@always(covers=("E12", "E23"), about=BACKEND, cites=(sources.BIND_SETS_PENDING, sources.TPMIF_CANCEL))
def the_backend_misses_no_cancel(s: Ring) -> bool:
    """While a cancel stands in the page, its event is under way, or the backend will answer."""
    noticed = s.frontend_owes_event | s.to_backend | s.ready | s.acking | serving(s)
    return implies(connected(s) & (s.page.state == CANCEL), noticed)


@always(covers="E12", about=FRONTEND, cites=(sources.EVENTS_ARE_ONE_BIT, sources.TPMFRONT_HANDLER))
def the_frontend_misses_no_answer(s: Ring) -> bool:
    """While an answer stands in the page, its event is under way, or the waiting frontend is awake."""
    done = s.waiting & among(s.page.state, FINISH, IDLE)
    coming = s.backend_owes_event & (s.mapped == s.epoch)
    return implies(done & (s.crashed_in != s.epoch), s.awake | s.to_frontend | coming)


@every_step(covers="E13", about=BACKEND, cites=(sources.TPMBACK_RESPONSE_TO_WHOM, sources.TPMBACK_DISCONNECT))
def an_answer_stays_in_its_connection(before: Ring, step: Step, after: Ring) -> bool:
    """The backend stores only into the connection that it holds, and an answer only where its request came from."""
    if step.by != BACKEND:
        return True
    stored = before.page != after.page
    engine = stored & before.busy & negate(after.busy)
    return implies(stored, before.mapped == before.epoch) & implies(engine, before.job_epoch == before.epoch)


@every_step(covers="E14", about=BACKEND, cites=(sources.TPMBACK_DISCONNECT, sources.GRANT_MAP_CHECKS_THE_GRANTEE))
def the_backend_touches_only_a_mapped_page(before: Ring, step: Step, after: Ring) -> bool:
    """The backend reads and writes a page only while it is mapped."""
    if step.by != BACKEND:
        return True
    stored = before.page != after.page
    read = (before.ready != after.ready) | was_given(before, after)
    return implies(stored | read, before.mapped != 0)


@always(covers="E15", cites=(sources.GRANT_IS_WITHDRAWN_ONLY_UNUSED, sources.LINUX_DEFERS_A_MAPPED_PAGE))
def a_mapped_page_is_not_used_again(s: Ring) -> bool:
    """While the backend has a page mapped, the frontend holds it or keeps it aside."""
    return implies(s.mapped != 0, s.kept | (s.granted & (s.mapped == s.epoch)))


@every_step(covers="E22", about=BACKEND, cites=(sources.VTPM_LOCALITY_MASK, sources.VTPM_CHECKS_THE_LOCALITY))
def only_a_permitted_locality_is_served(before: Ring, step: Step, after: Ring) -> bool:
    """The engine is given a command only if the environment permits its frontend that locality."""
    return implies(was_given(before, after), step.picks.get("permitted", False))


@every_step(covers="E27", about=BACKEND, cites=(sources.VTPM_STARTS_THE_EMULATOR_ONCE, sources.VTPM_ATTACHED_LATE))
def the_engine_changes_by_commands_only(before: Ring, step: Step, after: Ring) -> bool:
    """The engine's state changes by a command that it is given, or by a new start, never by connecting or closing."""
    given = was_given(before, after) & (after.commands == before.commands + 1)
    started = negate(before.up) & after.up & (after.commands == 0)
    return implies(before.commands != after.commands, given | started)


@always(covers="E21", cites=(sources.XENBUS_SETUP_RING_ZEROES, sources.TPMFRONT_ZEROES_THE_PAGE))
def a_page_shows_nothing_of_other_connections(s: Ring) -> bool:
    """What stands in the page was exchanged over this connection."""
    return implies(s.page.request != 0, s.page.request > s.base) & implies(s.page.answer != 0, s.page.answer > s.base)


# --------------------------------------------------------------------------------------------------------- lemmas


@lemma
def epochs_are_mapped_in_order(s: Ring) -> bool:
    """The backend holds the newest epoch that it has mapped, and none that is still to come."""
    return implies(s.mapped != 0, s.mapped == s.latest) & (s.latest <= s.epoch)


@lemma
def a_backend_that_is_down_holds_nothing(s: Ring) -> bool:
    """A dead backend has no page, no command and no promise left."""
    return implies(negate(s.up), (s.mapped == 0) & negate(s.busy))


@lemma
def the_backend_acts_only_on_a_mapping(s: Ring) -> bool:
    """Whatever the backend has noticed or owes belongs to the connection that it holds."""
    return implies(s.ready | s.acking | s.to_backend | s.backend_owes_event, s.mapped != 0)


@lemma
def what_is_in_service_came_from_a_connection(s: Ring) -> bool:
    """A command in service came from an epoch that was mapped."""
    return implies(s.busy, (s.job_epoch != 0) & (s.job_epoch <= s.latest))


@lemma
def nobody_waits_on_a_closed_connection(s: Ring) -> bool:
    """Waiting, and promising an event, belong to an open connection."""
    return implies(s.waiting | s.frontend_owes_event, s.open)


@lemma
def an_open_connection_holds_its_page(s: Ring) -> bool:
    """An open connection has its page and port."""
    return implies(s.open, s.granted) & implies(s.granted, s.epoch != 0)


@lemma
def a_cancel_is_of_a_request_that_is_waited_for(s: Ring) -> bool:
    """Whoever is about to cancel waits, and has not cancelled yet."""
    return implies(s.cancelling, s.waiting & negate(s.cancelled) & negate(s.frontend_owes_event))


@lemma
def requests_are_numbered_in_order(s: Ring) -> bool:
    """No page holds, and nobody remembers, a request later than the last."""
    in_pages = (s.page.request <= s.request) & (s.old_page.request <= s.request)
    in_mind = (s.base <= s.request) & (s.executed <= s.request)
    return in_pages & in_mind


@lemma
def a_waiting_frontend_asked_last(s: Ring) -> bool:
    """What a frontend waits for is the last request."""
    return implies(s.waiting, s.page.request == s.request)


@lemma
def a_submitted_request_is_new(s: Ring) -> bool:
    """A request that stands submitted and is not in service was not executed."""
    page = backend_page(s)
    submitted = (s.mapped != 0) & (page.state == SUBMIT) & negate(serving(s))
    return implies(submitted, page.request > s.executed)


@lemma
def a_submitted_request_is_of_this_connection(s: Ring) -> bool:
    """A request that stands submitted was submitted in this epoch."""
    return implies(s.page.state == SUBMIT, s.page.request > s.base)


@lemma
def what_is_in_service_stands_in_its_page(s: Ring) -> bool:
    """While a command is in service, its request or a cancel stands in the page that it came from."""
    here = s.busy & (s.job_epoch == s.epoch)
    there = serving(s) & (s.mapped != s.epoch)
    return implies(here, stands_in(s.page, s.job)) & implies(there, stands_in(s.old_page, s.job))


def stands_in(page: Page, request: int) -> bool:
    """The request, or a cancel of it, stands in the page."""
    return among(page.state, SUBMIT, CANCEL) & (page.request == request)


@lemma
def what_is_in_service_is_not_seen_again(s: Ring) -> bool:
    """While it serves a connection, the backend has no other request or cancel of it in mind."""
    return implies(serving(s), negate(s.ready) & negate(s.acking))


@lemma
def what_is_in_service_is_of_this_connection(s: Ring) -> bool:
    """A command in service that came from this epoch was submitted in it."""
    return implies(s.busy & (s.job_epoch == s.epoch), (s.job > s.base) & (s.job <= s.request))


@lemma
def what_is_ready_stands_in_its_page(s: Ring) -> bool:
    """A request that the backend has seen, or a cancel of it, stands in the page until it is fetched."""
    return implies(s.ready, among(backend_page(s).state, SUBMIT, CANCEL) & negate(s.acking))


@lemma
def a_cancel_being_acknowledged_stands_in_its_page(s: Ring) -> bool:
    """A cancel that the backend is about to acknowledge stands in the page."""
    return implies(s.acking, backend_page(s).state == CANCEL)


# ------------------------------------------------------------------------------------------------------- liveness


def answering(s: Ring) -> str:
    """Who has to act next for the request in the page to be answered."""
    if s.backend_owes_event:
        return "the backend notifies"
    if s.acking:
        return "the backend acknowledges"
    if s.busy:
        return "the engine answers"
    if s.ready:
        return "the backend fetches"
    if s.to_backend:
        return "the backend wakes"
    return "the frontend notifies"


def distance_to_answer(s: Ring) -> tuple[int, ...]:
    """How far the request in the page is from its answer."""
    owes = 1 if s.backend_owes_event else 0
    if s.acking | serving(s):
        return (1, owes)
    if s.ready:
        return (3, owes) if s.busy else (2, owes)
    if s.to_backend:
        return (5, owes) if s.busy else (4, owes)
    return (7, owes) if s.busy else (6, owes)


@eventually(
    helpful=answering,
    rank=distance_to_answer,
    covers=("E11", "E10", "E23"),
    about=BACKEND,
    cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMIF_CANCEL),
)
def a_request_stands_unanswered(s: Ring) -> bool:
    """Every request and every cancel in a connected page is answered, by FINISH or IDLE."""
    return connected(s) & among(s.page.state, SUBMIT, CANCEL)


def returning(s: Ring) -> str:
    """What the waiting frontend does next."""
    if s.frontend_owes_event:
        return "the frontend notifies"
    if s.cancelling:
        return "the frontend cancels"
    if s.cancelled:
        return "the second wait ends"
    if among(s.page.state, FINISH, IDLE):
        return "the frontend looks" if s.awake else "the frontend polls"
    return "the first wait ends"


def distance_to_return(s: Ring) -> tuple[int, ...]:
    """How far the waiting frontend is from returning to its caller."""
    done = among(s.page.state, FINISH, IDLE)
    phase = 0 if s.cancelled else 1 if s.cancelling else 2
    asleep = 1 if done & negate(s.awake) else 0
    return (phase, 0 if done else 1, 1 if s.frontend_owes_event else 0, asleep)


@eventually(
    helpful=returning,
    rank=distance_to_return,
    covers="E11",
    about=FRONTEND,
    cites=(sources.LINUX_POLLS, sources.LINUX_SEND_GIVES_UP),
)
def a_caller_waits(s: Ring) -> bool:
    """Every wait ends, whatever the backend does: by the answer, or by two bounded waits with a cancel between."""
    return s.waiting


REQUEST_ACTIONS = (
    frontend_submits,
    frontend_notifies,
    frontend_wakes,
    frontend_polls,
    frontend_looks,
    frontend_times_out,
    frontend_cancels,
    frontend_gives_up,
    frontend_cancels_at_rest,
)
"""What a frontend does with a connection."""

ANSWER_ACTIONS = (
    backend_wakes,
    backend_acknowledges_cancel,
    backend_fetches,
    backend_refuses_request,
    backend_finishes,
    backend_drops_stale_answer,
    backend_notifies,
)
"""What a backend does with a connection."""

SURPRISES = (event_reaches_backend_unasked, event_reaches_frontend_unasked)

FAIR = {
    "the frontend notifies": ("frontend_notifies",),
    "the frontend looks": ("frontend_looks",),
    "the frontend cancels": ("frontend_cancels",),
    "the frontend polls": ("frontend_polls",),
    "the first wait ends": ("frontend_times_out",),
    "the second wait ends": ("frontend_gives_up",),
    "the backend wakes": ("backend_wakes",),
    "the backend fetches": ("backend_fetches", "backend_refuses_request"),
    "the backend acknowledges": ("backend_acknowledges_cancel",),
    "the backend notifies": ("backend_notifies",),
    "the engine answers": ("backend_finishes", "backend_drops_stale_answer"),
}
"""The groups of actions that the liveness claims count on."""

FACTS = (
    the_frontend_writes_only_submit_and_cancel,
    the_backend_writes_only_finish_and_idle,
    a_request_is_submitted_only_over_idle_or_finish,
    only_a_request_or_a_cancel_is_answered,
    one_request_is_outstanding,
    an_answer_belongs_to_the_last_request,
    a_caller_gets_one_whole_packet,
    whoever_gave_up_gets_nothing_later,
    a_request_is_read_within_the_page,
    an_answer_lies_within_the_page,
    the_backend_writes_nothing_but_its_answer,
    a_request_is_executed_at_most_once,
    no_request_is_lost,
    the_backend_misses_no_request,
    the_backend_misses_no_cancel,
    the_frontend_misses_no_answer,
    an_answer_stays_in_its_connection,
    the_backend_touches_only_a_mapped_page,
    a_mapped_page_is_not_used_again,
    only_a_permitted_locality_is_served,
    the_engine_changes_by_commands_only,
    a_page_shows_nothing_of_other_connections,
)

LEMMAS = (
    epochs_are_mapped_in_order,
    a_backend_that_is_down_holds_nothing,
    the_backend_acts_only_on_a_mapping,
    what_is_in_service_came_from_a_connection,
    nobody_waits_on_a_closed_connection,
    an_open_connection_holds_its_page,
    a_cancel_is_of_a_request_that_is_waited_for,
    requests_are_numbered_in_order,
    a_waiting_frontend_asked_last,
    a_submitted_request_is_new,
    a_submitted_request_is_of_this_connection,
    what_is_in_service_stands_in_its_page,
    what_is_in_service_is_not_seen_again,
    what_is_in_service_is_of_this_connection,
    what_is_ready_stands_in_its_page,
    a_cancel_being_acknowledged_stands_in_its_page,
)

LIVENESS = (a_request_stands_unanswered, a_caller_waits)

RING = Spec(
    name="ring",
    doc="one page and one event channel between a frontend and a backend",
    state=Ring,
    init=at_rest,
    actions=(
        *REQUEST_ACTIONS,
        *ANSWER_ACTIONS,
        *SURPRISES,
        backend_crashes,
        backend_starts,
        frontend_connects,
        frontend_leaves,
        backend_connects,
        backend_disconnects,
    ),
    facts=FACTS,
    lemmas=LEMMAS,
    liveness=LIVENESS,
    fair=FAIR,
)
