"""The variant `mini-os`: a driven device whose both ends are as mini-os wrote them, with all their defects.

The backend is a chain of what it does for each watch event, to its end, before it looks at the next one. It caches its
own state, never looks at what the toolstack asks, keeps its flag for a request over disconnecting, and gives a request
up without an answer when lengths do not fit. The frontend goes to Connected directly, watches the backend only while it
opens and closes, and takes whatever it finds after its wait for the answer.
"""

from __future__ import annotations

import dataclasses
from enum import IntEnum
from typing import Any, TypeVar

from vtpm_model import driven, handshake, ring, sources
from vtpm_model.core import Action, Actor, Spec, action, among, negate, record, replace, require, wrap
from vtpm_model.driven import DRIVEN, Driven, Wish
from vtpm_model.handshake import (
    CLOSED,
    CLOSING,
    CONNECTED,
    INIT_WAIT,
    INITIALISED,
    INITIALISING,
    INVALID,
    UNKNOWN,
    XenbusState,
)
from vtpm_model.page import FRAME, HEADER, request_fits
from vtpm_model.ring import CANCEL, FINISH, IDLE, SUBMIT

FRONTEND, BACKEND = Actor.FRONTEND, Actor.BACKEND


class Task(IntEnum):
    """What the backend's listener is about to do."""

    NONE = 0
    PUBLISH = 1  # its version, for a device that it has just found
    CONNECT = 2
    ANNOUNCE = 3  # Connected
    REFUSE = 4  # Closed
    FOLLOW = 5  # Closing, after the frontend
    DISCONNECT = 6
    REOPEN = 7  # InitWait
    LEAVE = 8  # Closing, for good
    LET_GO = 9
    CLOSE = 10  # Closed
    RELEASE = 11
    REMOVE = 12
    UNDO = 13  # the mapping: the backend could not announce it


@record
class MiniOs(Driven):
    """A driven device with what else mini-os keeps."""

    task: Task
    cache: XenbusState  # the backend's own state, as it wrote or read it last
    opened: bool  # the frontend has opened the device and watches no more
    giving_up: bool  # the frontend could not open the device


M = TypeVar("M", bound=MiniOs)


def nothing_yet() -> MiniOs:
    """No node exists and the program has not been started."""
    return MiniOs(
        **driven.nothing_yet()._asdict(),  # type: ignore[attr-defined]
        task=Task.NONE, cache=UNKNOWN, opened=False, giving_up=False,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- the backend's xenbus


def change_state(s: M, state: XenbusState, task: Task) -> M:
    """The state after the backend has gone to a state of its own, which it does not write twice, nor without a node."""
    s = replace(s, task=task)
    if s.cache == state:
        return s
    if s.be_state == UNKNOWN:
        return s
    if s.be_state == state:
        return replace(s, cache=state)
    return handshake.write_be_state(replace(s, cache=state), state)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_NEW_DEVICE)
def backend_tracks(s: M) -> M:
    """An event on the very directory of a device that is complete: the backend goes to InitWait and keeps it."""
    require(s.up & negate(s.stopped) & (s.task == Task.NONE))
    require(s.told_of_directory)
    require(negate(s.tracked))
    require(s.complete & (s.be_state != UNKNOWN))
    s = replace(s, tracked=True, leaving=False, told_of_directory=False, backend_told=True, cache=UNKNOWN)
    return change_state(s, INIT_WAIT, Task.PUBLISH)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_NEW_DEVICE)
def backend_answers_incomplete_node(s: M) -> M:
    """A device without a uuid is left alone; one without its frontend's path is left in InitWait.

    So is one of which something could not be read or written.
    """
    require(s.up & negate(s.stopped) & (s.task == Task.NONE))
    require(s.told_of_directory & negate(s.tracked) & (negate(s.complete) | s.refused))
    s = replace(s, told_of_directory=False)
    if s.has_uuid & (s.be_state != UNKNOWN) & (s.be_state != INIT_WAIT):
        return handshake.write_be_state(s, INIT_WAIT)
    return s


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_NEW_DEVICE)
def backend_ignores_directory(s: M) -> M:
    """An event on the directory of a device that it has, or that is gone, means nothing to the backend."""
    require(s.up & (s.task == Task.NONE))
    require(s.told_of_directory & (s.tracked | (s.be_state == UNKNOWN)))
    return replace(s, told_of_directory=False)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FEATURE_AFTER_STATE)
def backend_publishes_version(s: M) -> M:
    """The backend writes its feature-protocol-v2, after its InitWait."""
    require(s.task == Task.PUBLISH)
    return replace(s, be_v2=True, task=Task.NONE)


def task_for(s: MiniOs, state: XenbusState) -> Task:
    """What the backend does when it reads this state of the frontend."""
    if state == UNKNOWN:
        return Task.LEAVE
    if among(state, INITIALISED, CONNECTED):
        return Task.CONNECT if s.mapped == 0 else Task.NONE
    if state == CLOSING:
        return Task.FOLLOW
    if state == CLOSED:
        return Task.REOPEN if s.mapped == 0 else Task.DISCONNECT
    return Task.NONE


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_FRONTEND_CHANGED, sources.TPMBACK_MISSES_BACKEND_STATE))
def backend_looks(s: M, misread: XenbusState) -> M:
    """Told by a watch, the backend reads the frontend's state.

    Text that is no number reads as anything (`misread`), a failing read as no state.
    """
    require(s.tracked & s.backend_told & (s.task == Task.NONE))
    read = misread if (s.fe_state == INVALID) | (s.refused & (misread == UNKNOWN)) else s.fe_state
    s = replace(s, backend_told=False, seen=read, seen_keys=s.keys, seen_v2=s.fe_v2)
    task = task_for(s, read)
    return replace(s, task=task, leaving=s.leaving | (task == Task.LEAVE))


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_READS_THE_KEYS, sources.TPMBACK_MAPS_AND_BINDS))
def backend_maps(s: M) -> M:
    """The backend maps the page and binds the port that the keys name."""
    require(s.task == Task.CONNECT)
    require(negate(s.refused) & s.seen_v2 & s.granted & (s.seen_keys == s.epoch))
    pending = s.to_backend
    return replace(ring.with_mapping(s), to_backend=pending, task=Task.ANNOUNCE)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_CHECKS_THE_FEATURE, sources.TPMBACK_REFUSES_TO_CONNECT))
def backend_refuses_connection(s: M) -> M:
    """A key is missing or names nothing, the version is not 2, or Xen refused: Closed, from any state."""
    require(s.task == Task.CONNECT)
    require(s.refused | negate(s.seen_v2) | negate(s.granted) | (s.seen_keys != s.epoch))
    return change_state(s, CLOSED, Task.NONE)


def task_without(task: Task) -> Task:
    """How the backend goes on after a write that failed: the mapping is undone, leaving goes on, all else ends."""
    if task == Task.ANNOUNCE:
        return Task.UNDO
    if task == Task.LEAVE:
        return Task.LET_GO
    if task == Task.CLOSE:
        return Task.RELEASE
    return Task.NONE


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_CHANGE_STATE)
def backend_fails_to_write(s: M) -> M:
    """What the backend writes does not arrive; a device that it has just found it then gives up."""
    require(s.refused)
    require(among(s.task, Task.PUBLISH, Task.ANNOUNCE, Task.FOLLOW, Task.REOPEN, Task.LEAVE, Task.CLOSE))
    leaving = s.leaving | (s.task == Task.LEAVE)
    return replace(s, task=task_without(s.task), leaving=leaving, tracked=s.tracked & (s.task != Task.PUBLISH))


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_SETS_CONNECTED)
def backend_goes_to_connected(s: M) -> M:
    """The backend has connected, and says so."""
    require(s.task == Task.ANNOUNCE)
    return change_state(s, CONNECTED, Task.NONE)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FOLLOWS_CLOSING)
def backend_follows_closing(s: M) -> M:
    """The frontend is Closing: so is the backend. The mapping stays."""
    require(s.task == Task.FOLLOW)
    return change_state(s, CLOSING, Task.NONE)


@action(
    by=BACKEND,
    owed=True,
    cites=(sources.TPMBACK_FREES_ON_UNKNOWN, sources.TPMBACK_FREE_CLEARS_FLAGS_FIRST, sources.TPMBACK_SHUTDOWN),
)
def backend_starts_closing(s: M) -> M:
    """The backend leaves a frontend that has gone, or shuts down; it drops its flag first."""
    require((s.task == Task.LEAVE) | (s.stopped & s.tracked & (s.task == Task.NONE)))
    return change_state(replace(s, leaving=True, ready=False), CLOSING, Task.LET_GO)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_DISCONNECT)
def backend_disconnects(s: M) -> M:
    """The backend unmaps and unbinds; it keeps its flag for a request, and its answers for later."""
    require(among(s.task, Task.DISCONNECT, Task.UNDO) | ((s.task == Task.LET_GO) & (s.mapped != 0)))
    flag = s.ready
    after = Task.CLOSE if s.task == Task.LET_GO else Task.CONNECT if s.task == Task.UNDO else Task.REOPEN
    return replace(ring.without_mapping(s), ready=flag, task=after)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FOLLOWS_CLOSED)
def backend_awaits_reopening(s: M) -> M:
    """The frontend has closed: the backend goes to InitWait, in whatever state it was."""
    require(s.task == Task.REOPEN)
    return change_state(s, INIT_WAIT, Task.NONE)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FREE_DEVICE)
def backend_closes(s: M) -> M:
    """The backend that leaves goes to Closed."""
    require((s.task == Task.CLOSE) | ((s.task == Task.LET_GO) & (s.mapped == 0)))
    return change_state(s, CLOSED, Task.RELEASE)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FREE_DEVICE)
def backend_releases_device(s: M) -> M:
    """The backend closes the device towards its application, whether that still works for it or not."""
    require(s.task == Task.RELEASE)
    return replace(s, tracked=False, leaving=False, task=Task.REMOVE)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_FREE_DEVICE)
def backend_removes_node(s: M) -> M:
    """The backend removes the device's node, if it is there."""
    require(s.task == Task.REMOVE)
    told = s.told_of_directory | (s.be_state != UNKNOWN)
    return replace(s, be_state=UNKNOWN, be_v2=False, told_of_directory=told, task=Task.NONE)


# --------------------------------------------------------------------------------------------- the backend's ring


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_SEES_SUBMIT, sources.TPMBACK_IGNORES_CANCEL_IN_SERVICE))
def backend_wakes(s: M) -> M:
    """The handler flags a request; a cancel it acknowledges only where no request is flagged."""
    require(s.to_backend & (s.mapped != 0) & negate(s.acking))
    state = ring.backend_page(s).state
    return replace(s, to_backend=False, ready=s.ready | (state == SUBMIT), acking=(state == CANCEL) & negate(s.ready))


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_ACKNOWLEDGES_CANCEL)
def backend_acknowledges_cancel(s: M) -> M:
    """The handler stores IDLE, over whatever the state byte has become."""
    require(s.acking & negate(s.backend_owes_event) & (s.mapped != 0))
    page = replace(ring.backend_page(s), state=IDLE)
    return ring.put_backend_page(replace(s, acking=False, backend_owes_event=True), page)


def wrapped_end(extra: int, length: int) -> int:
    """Where a packet ends, as an unsigned machine integer of 32 bits says."""
    return wrap(HEADER + 4 * extra + length, 32)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_GET_REQUEST, sources.TPMBACK_BAD_REQUEST_STAYS_READY))
def backend_fetches(s: M) -> M:
    """The backend copies whatever lies in the page of a flagged request, and keeps the flag; what is too long stays."""
    require(s.ready & s.tracked & negate(s.busy) & negate(s.backend_owes_event) & (s.mapped != 0))
    page = ring.backend_page(s)
    require(request_fits(page.extra, page.length))
    return replace(s, busy=True, job=page.request, job_epoch=s.mapped, job_extra=page.extra, executed=page.request)


@action(by=BACKEND, cites=sources.TPMBACK_REQUEST_BOUNDS_WRAP)
def backend_dies(s: M) -> M:
    """In the middle of a copy the backend reads or writes outside what is mapped, and its domain ends."""
    page = ring.backend_page(s)
    wraps = negate(request_fits(page.extra, page.length)) & (wrapped_end(page.extra, page.length) <= FRAME)
    fetching = s.ready & s.tracked & negate(s.busy) & (wraps | (s.mapped == 0))
    answering = s.ready & s.tracked & s.busy & s.answered & (s.mapped == 0)
    require(s.up & (fetching | answering))
    return replace(s, up=False, busy=True, job=page.request, executed=page.request)


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_SEND_RESPONSE, sources.TPMBACK_LENGTH_BEFORE_CHECK))
def backend_finishes(s: M) -> M:
    """The application has answered: the backend stores the length, and the rest only if it fits where the page says."""
    require(s.busy & s.answered & s.ready & s.tracked & (s.mapped != 0) & negate(s.backend_owes_event))
    page = replace(ring.backend_page(s), length=s.reply)
    s = replace(s, busy=False, answered=False)
    if wrapped_end(page.extra, s.reply) <= FRAME:
        page = replace(page, state=FINISH, answer=s.job)
        return ring.put_backend_page(replace(s, ready=False, backend_owes_event=True), page)
    return ring.put_backend_page(s, page)


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_RESPONSE_TO_WHOM)
def backend_drops_stale_answer(s: M) -> M:
    """The application has answered a request of a device that is gone, or that is flagged no more."""
    require(s.busy & s.answered & (negate(s.tracked) | negate(s.ready)))
    return replace(s, busy=False, answered=False)


# --------------------------------------------------------------------------------------------------- the frontend


def watching(s: MiniOs) -> bool:
    """The frontend is open halfway: it looks at every change of the backend's state."""
    return (s.wish == Wish.OPEN) & negate(s.opened) & negate(s.giving_up)


@action(by=FRONTEND, owed=True, cites=(sources.TPMFRONT_ZEROES_THE_PAGE, sources.TPMFRONT_ALLOCATES_THE_PORT))
def frontend_allocates(s: M) -> M:
    """The frontend takes a page and a port, whatever the states are."""
    require(watching(s) & s.complete & negate(s.granted))
    return replace(ring.with_new_page(s), peer_v2=False)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_PUBLISHES_KEYS)
def frontend_publishes(s: M) -> M:
    """The frontend writes its keys."""
    require(watching(s) & s.granted & negate(s.open) & (s.keys != s.epoch))
    return replace(s, keys=s.epoch, fe_v2=True)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_GOES_TO_CONNECTED)
def frontend_goes_to_initialised(s: M) -> M:
    """The frontend goes to Connected directly."""
    require(watching(s) & s.granted & negate(s.open) & (s.keys == s.epoch))
    return handshake.write_fe_state(replace(s, open=True, fresh=False), CONNECTED)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_CHECKS_THE_FEATURE)
def frontend_reads_version(s: M) -> M:
    """The backend is Connected, and of version 2: the device is open, and the backend's state is watched no more."""
    require(watching(s) & s.open & (s.be_state == CONNECTED) & s.be_v2)
    return replace(s, peer_v2=True, opened=True)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_WAITS_FOR_CONNECTED)
def frontend_gives_up_opening(s: M) -> M:
    """The backend closes, has gone, or is of another version: the frontend closes what it has opened."""
    require(watching(s) & s.open)
    other = (s.be_state == CONNECTED) & negate(s.be_v2)
    require(among(s.be_state, UNKNOWN, CLOSING, CLOSED, INVALID) | other)
    return replace(s, giving_up=True)


def ending(s: MiniOs) -> bool:
    """The frontend closes the device."""
    return s.giving_up | (s.wish == Wish.CLOSED)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_SHUTDOWN)
def frontend_starts_closing(s: M) -> M:
    """The frontend goes to Closing, from Connected or from what it takes for it."""
    unannounced = s.granted & (s.keys == s.epoch) & (s.fe_state == INITIALISING)  # its write of Connected failed
    require(ending(s) & (s.open | unannounced))
    return handshake.write_fe_state(replace(handshake.stop_using(s), opened=False), CLOSING)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_SHUTDOWN)
def frontend_retracts_keys(s: M) -> M:
    """The frontend removes its keys."""
    require(ending(s) & (s.fe_state == CLOSING) & (s.keys != 0))
    return replace(s, keys=0)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_SHUTDOWN)
def frontend_closes(s: M) -> M:
    """The frontend goes to Closed."""
    require(ending(s) & (s.fe_state == CLOSING) & (s.keys == 0))
    return handshake.write_fe_state(s, CLOSED)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_WAITS_FOR_CLOSED)
def frontend_goes_back_to_initialising(s: M) -> M:
    """The backend has let go, or is gone."""
    require(ending(s) & (s.fe_state == CLOSED) & among(s.be_state, INIT_WAIT, CLOSED, UNKNOWN, INVALID))
    return handshake.write_fe_state(s, INITIALISING)


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_FREES_A_MAPPED_PAGE)
def frontend_releases_page(s: M) -> M:
    """The frontend frees its page and port, whether the page is mapped or not."""
    require(ending(s) & (s.fe_state == INITIALISING) & s.granted)
    return replace(ring.without_page(s), giving_up=False, kept=False, wish=Wish.CLOSED)


@action(by=FRONTEND, owed=True, cites=(sources.TPMFRONT_SEND, sources.TPMFRONT_SUBMITS_BEFORE_ARMING))
def frontend_submits(s: M) -> M:
    """The frontend stores the command and SUBMIT, over whatever stands in the page."""
    require(s.commanded & s.opened & request_fits(0, s.command) & negate(s.waiting) & negate(s.frontend_owes_event))
    page = replace(s.page, state=SUBMIT, length=s.command, request=s.request + 1)
    return replace(
        s, page=page, request=s.request + 1, waiting=True, awake=False, frontend_owes_event=True, commanded=False
    )


@action(by=FRONTEND, owed=True, cites=sources.TPMFRONT_SEND_BOUNDS)
def frontend_refuses_command(s: M) -> M:
    """The frontend is not open, or the command is too long."""
    require(s.commanded & (negate(s.opened) | negate(request_fits(0, s.command))))
    return replace(s, commanded=False)


@action(by=FRONTEND, owed=True, cites=(sources.TPMFRONT_HANDLER, sources.TPMFRONT_IGNORES_EVENTS_UNARMED))
def frontend_wakes(s: M) -> M:
    """The handler takes the event and looks: FINISH and IDLE end the wait."""
    require(s.to_frontend & negate(s.frontend_owes_event))
    return replace(s, to_frontend=False, awake=s.awake | (s.waiting & among(s.page.state, FINISH, IDLE)))


@action(by=FRONTEND, owed=True, cites=(sources.TPMFRONT_RECV, sources.TPMFRONT_RECV_BOUNDS))
def frontend_looks(s: M, success: bool) -> M:
    """The wait over, the frontend takes what fits in the page; anything but FINISH is an empty answer."""
    require(s.waiting & s.awake & negate(s.frontend_owes_event))
    require(success == ((s.page.state != FINISH) | request_fits(0, s.page.length)))
    return replace(s, waiting=False, awake=False, delivered=s.request if success else s.delivered)


_SAME_NAME: tuple[Action[Any], ...] = (
    backend_tracks,
    backend_answers_incomplete_node,
    backend_publishes_version,
    backend_looks,
    backend_maps,
    backend_refuses_connection,
    backend_goes_to_connected,
    backend_follows_closing,
    backend_starts_closing,
    backend_disconnects,
    backend_awaits_reopening,
    backend_closes,
    backend_releases_device,
    backend_removes_node,
    backend_wakes,
    backend_acknowledges_cancel,
    backend_fetches,
    backend_finishes,
    backend_drops_stale_answer,
    frontend_allocates,
    frontend_publishes,
    frontend_goes_to_initialised,
    frontend_reads_version,
    frontend_starts_closing,
    frontend_retracts_keys,
    frontend_closes,
    frontend_goes_back_to_initialising,
    frontend_releases_page,
    frontend_submits,
    frontend_refuses_command,
    frontend_wakes,
    frontend_looks,
)

MINIOS: Spec[Any] = dataclasses.replace(
    DRIVEN.variant(
        "mini-os",
        doc="a driven device whose ends are mini-os' backend and frontend, with all their defects",
        replaced=_SAME_NAME,
        added=(backend_ignores_directory, backend_fails_to_write, backend_dies, frontend_gives_up_opening),
        dropped=(
            "backend_refuses_request",
            "backend_undoes_connection",
            "backend_gives_device_up",
            "backend_reopens",
            "frontend_goes_to_connected",
            "frontend_loses_device",
            "frontend_polls",
            "frontend_times_out",
            "frontend_cancels",
            "frontend_gives_up",
        ),
        init=nothing_yet,
    ),
    state=MiniOs,
)
