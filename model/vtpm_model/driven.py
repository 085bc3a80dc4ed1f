"""One end of a device, and a driver who plays everybody else: the surroundings of a program under test.

The driver is not held to any rule. It writes every node, stores into the shared page whatever it likes, raises events,
answers as the engine, and tells the program when to open and to close. What the program then owes is written into its
actions: one that carries out a wish of the driver is owed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

from vtpm_model import handshake, ring, sources
from vtpm_model.core import U8, U32, Action, Actor, Spec, action, among, negate, record, replace, require
from vtpm_model.device import DEVICE
from vtpm_model.handshake import CLOSED, CLOSING, CONNECTED, UNKNOWN, Device, XenbusState
from vtpm_model.page import request_fits
from vtpm_model.ring import FINISH, IDLE, SUBMIT, RingState

FRONTEND, BACKEND, TOOLSTACK = Actor.FRONTEND, Actor.BACKEND, Actor.TOOLSTACK


class Wish(IntEnum):
    """What the application wants of its frontend."""

    NOTHING = 0
    OPEN = 1
    CLOSED = 2


@record
class Driven(Device):
    """A device, and what the driver has asked of the program at one end of it."""

    refused: bool  # Xen refuses what the backend tries, until the frontend's state is written anew
    has_uuid: bool  # the backend's node names a uuid
    told_of_directory: bool  # a watch event on the very directory of the backend waits
    stopped: bool  # the backend was told to shut down
    answered: bool  # the engine has its answer, the backend has not taken it
    reply: U32  # its length
    wish: Wish
    commanded: bool  # the application has handed a command to its frontend
    command: U32  # its length
    named: U32  # the length that the packet in the page names in its own header
    late: bool  # the frontend has waited for its answer longer than anybody should


R = TypeVar("R", bound=Driven)
D = TypeVar("D", bound=Device)


def nothing_yet() -> Driven:
    """No node exists and the program has not been started."""
    return Driven(
        **handshake.no_device()._replace(up=False)._asdict(),  # type: ignore[attr-defined]
        refused=False, has_uuid=False, told_of_directory=False, stopped=False, answered=False, reply=0,
        wish=Wish.NOTHING, commanded=False, command=0, named=0, late=False,
    )  # fmt: skip


# ------------------------------------------------------------------------------- the driver in the toolstack's place


@action(by=TOOLSTACK)
def driver_writes_backend_state(s: R, state: XenbusState) -> R:
    """The driver writes the backend's state node, or removes it."""
    return handshake.write_be_state(s, state)


@action(by=TOOLSTACK)
def driver_makes_directory(s: R) -> R:
    """The driver writes the backend's directory itself."""
    return replace(s, told_of_directory=True, backend_told=True)


@action(by=TOOLSTACK)
def driver_removes_directory(s: R) -> R:
    """The driver removes the backend's directory and all in it."""
    return replace(
        handshake.write_be_state(s, UNKNOWN),
        be_v2=False,
        online=False,
        complete=False,
        has_uuid=False,
        told_of_directory=True,
    )


@action(by=TOOLSTACK)
def driver_completes_node(s: R, complete: bool, has_uuid: bool) -> R:
    """The driver writes or removes what names the other end, and the uuid; `complete`: both are good."""
    return replace(s, complete=complete, has_uuid=has_uuid, backend_told=True)


@action(by=TOOLSTACK)
def driver_sets_online(s: R, online: bool) -> R:
    """The driver writes `online`."""
    return replace(s, online=online, backend_told=True)


@action(by=TOOLSTACK)
def driver_writes_frontend_state(s: R, state: XenbusState) -> R:
    """The driver writes the frontend's state node, or removes it."""
    return handshake.write_fe_state(replace(s, refused=False), state)


@action(by=BACKEND)
def driver_writes_backend_version(s: R, version: bool) -> R:
    """The driver writes the backend's feature-protocol-v2, or removes it."""
    return replace(s, be_v2=version)


# -------------------------------------------------------------------------------- the driver in the frontend's place


@action(by=FRONTEND)
def driver_writes_frontend_version(s: R, version: bool) -> R:
    """The driver writes the frontend's feature-protocol-v2, or removes it."""
    return replace(s, fe_v2=version)


@action(by=FRONTEND)
def driver_publishes_another_page(s: R, exists: bool) -> R:
    """The driver publishes keys that it had not before; they name a page, or nothing."""
    s = ring.with_new_page(s)
    return replace(s, keys=s.epoch, granted=exists, open=exists)


@action(by=FRONTEND)
def driver_publishes_again(s: R) -> R:
    """The driver publishes the keys that it had published last."""
    return replace(s, keys=s.epoch)


@action(by=FRONTEND)
def driver_retracts_keys(s: R) -> R:
    """The driver removes a key."""
    return replace(s, keys=0)


@action(by=FRONTEND)
def driver_stores_length(s: R, length: U32) -> R:
    """The driver stores a length into the page that it published last."""
    return replace(s, page=replace(s.page, length=length))


@action(by=FRONTEND)
def driver_stores_extra(s: R, extra: U8) -> R:
    """The driver stores nr_extra_pages into the page that it published last."""
    return replace(s, page=replace(s.page, extra=extra))


@action(by=FRONTEND)
def driver_stores_state(s: R, state: RingState) -> R:
    """The driver stores the state byte of the page that it published last; each SUBMIT is a request of its own."""
    s = replace(s, frontend_owes_event=True)
    if state == SUBMIT:
        return replace(s, request=s.request + 1, page=replace(s.page, state=state, request=s.request + 1))
    return replace(s, page=replace(s.page, state=state))


@action(by=FRONTEND)
def driver_stores_into_old_page(s: R, length: U32, state: RingState, extra: U8) -> R:
    """The driver stores a header into the page of a connection that the backend still holds after others were made."""
    require((s.mapped != 0) & (s.mapped != s.epoch))
    page = replace(s.old_page, length=length, state=state, extra=extra)
    s = replace(s, frontend_owes_event=True)
    if state == SUBMIT:
        return replace(s, request=s.request + 1, old_page=replace(page, request=s.request + 1))
    return replace(s, old_page=page)


# --------------------------------------------------------------------------------- the driver in the backend's place


@action(by=BACKEND)
def driver_replies(s: R, length: U32, state: RingState, extra: U8, named: U32) -> R:
    """The driver stores into a frontend's page, which then has this header, and a packet that names this length."""
    answer = s.request if state == FINISH else s.page.answer
    page = replace(s.page, length=length, state=state, extra=extra, answer=answer)
    return replace(s, page=page, named=named, backend_owes_event=True)


# --------------------------------------------------------------------------------------- the driver as the application


@action(by=Actor.ENGINE)
def driver_answers(s: R, reply: U32) -> R:
    """The application answers the command that it was given last."""
    return replace(s, answered=s.busy, reply=reply)


@action(by=Actor.XEN)
def driver_starts_backend(s: R) -> R:
    """The backend's domain starts; what lies in xenstore already it is told of."""
    require(negate(s.up))
    return replace(s, up=True, stopped=False, backend_told=True, told_of_directory=s.be_state != UNKNOWN)


@action(by=Actor.XEN)
def driver_stops_backend(s: R) -> R:
    """The backend is told to shut down."""
    return replace(s, stopped=True, leaving=s.leaving | s.tracked)


@action(by=Actor.XEN)
def driver_wants(s: R, wish: Wish) -> R:
    """The application opens or closes its frontend; an opening that fails ends in the wish to close."""
    return replace(s, wish=wish)


@action(by=Actor.XEN)
def driver_commands(s: R, length: U32) -> R:
    """The application hands a command to its frontend."""
    return replace(s, commanded=True, command=length)


@action(by=Actor.XEN)
def driver_lets_time_pass(s: R) -> R:
    """Half an hour passes: whoever waits for an answer has waited too long."""
    return replace(s, late=s.waiting)


@action(by=Actor.XEN)
def driver_fails_connection(s: R) -> R:
    """What the backend tries for the connection fails: to map, to bind, to read a key."""
    return replace(s, refused=True)


@action(by=Actor.XEN)
def driver_fails_no_more(s: R) -> R:
    """What the backend tries for the connection may succeed again."""
    return replace(s, refused=False)


@action(by=Actor.XEN)
def driver_raises_backend_event(s: R) -> R:
    """An event reaches the backend's port."""
    return replace(s, to_backend=s.mapped != 0, frontend_owes_event=False)


@action(by=Actor.XEN)
def driver_raises_frontend_event(s: R) -> R:
    """An event reaches the frontend's port."""
    return replace(s, to_frontend=s.granted, backend_owes_event=False)


DRIVER = (
    driver_writes_backend_state,
    driver_makes_directory,
    driver_removes_directory,
    driver_completes_node,
    driver_sets_online,
    driver_writes_frontend_state,
    driver_writes_backend_version,
    driver_writes_frontend_version,
    driver_publishes_another_page,
    driver_publishes_again,
    driver_retracts_keys,
    driver_stores_length,
    driver_stores_extra,
    driver_stores_state,
    driver_stores_into_old_page,
    driver_replies,
    driver_answers,
    driver_starts_backend,
    driver_stops_backend,
    driver_wants,
    driver_commands,
    driver_lets_time_pass,
    driver_fails_connection,
    driver_fails_no_more,
    driver_raises_backend_event,
    driver_raises_frontend_event,
)
"""What the driver does."""


# ------------------------------------------------------------------------------------- the backend as it is driven


def taken(declared: Action[Any], s: D, **picks: object) -> D:
    """The state after an action as the composed system declares it."""
    after: D = declared.run(s, **picks)
    return after


@action(by=BACKEND, owed=True, cites=handshake.backend_tracks.cites)
def backend_tracks(s: R) -> R:
    """The backend finds the device's node, unless it was told to shut down; once released, only one that is online."""
    require(negate(s.stopped))
    require(negate(s.leaving) | s.online)
    return taken(handshake.backend_tracks, s)


@action(by=BACKEND, cites=handshake.backend_answers_incomplete_node.cites)
def backend_answers_incomplete_node(s: R) -> R:
    """The backend goes to InitWait before it finds that the node of a device that is online lacks something."""
    require(s.online)
    return taken(handshake.backend_answers_incomplete_node, s)


@action(by=BACKEND, owed=True, cites=handshake.backend_maps.cites)
def backend_maps(s: R) -> R:
    """The backend maps and binds, if Xen lets it; in these surroundings binding raises no event."""
    require(negate(s.refused))
    pending = s.to_backend
    return replace(taken(handshake.backend_maps, s), to_backend=pending)


@action(by=BACKEND, owed=True, cites=handshake.backend_refuses_connection.cites)
def backend_refuses_connection(s: R) -> R:
    """The keys are missing or name nothing, the version is not 2, or Xen refused: Closed."""
    return taken(handshake.backend_refuses_connection, s, failed=s.refused)


@action(by=BACKEND, cites=handshake.backend_refuses_connection.cites)
def backend_undoes_connection(s: R) -> R:
    """Something failed after the page was mapped: the backend unmaps it again."""
    require(s.refused & (s.mapped != 0))
    require(negate(s.acking) & negate(s.backend_owes_event))
    return ring.without_mapping(s)


@action(by=BACKEND, cites=handshake.backend_retires.cites)
def backend_gives_device_up(s: R) -> R:
    """Something failed that the backend cannot do without: it leaves the device."""
    require(s.refused & s.tracked)
    return replace(s, leaving=True)


@action(by=BACKEND, owed=True, cites=ring.backend_fetches.cites)
def backend_fetches(s: R) -> R:
    """The backend gives the request to the application; localities are the application's business here."""
    return taken(ring.backend_fetches, s, permitted=True)


@action(by=BACKEND, owed=True, cites=ring.backend_refuses_request.cites)
def backend_refuses_request(s: R, with_error: bool) -> R:
    """The backend answers a request that it cannot serve, by a TPM error or by IDLE, without its application."""
    return taken(ring.backend_refuses_request, s, permitted=True, with_error=with_error)


@action(by=BACKEND, owed=True, cites=ring.backend_finishes.cites)
def backend_finishes(s: R) -> R:
    """The application has answered: the backend writes the answer and, after it, FINISH."""
    require(s.answered)
    return replace(taken(ring.backend_finishes, s, reply=s.reply), answered=False)


@action(by=BACKEND, owed=True, cites=ring.backend_drops_stale_answer.cites)
def backend_drops_stale_answer(s: R) -> R:
    """The application has answered a request whose connection is gone."""
    require(s.answered)
    return replace(taken(ring.backend_drops_stale_answer, s), answered=False)


# ------------------------------------------------------------------------------------ the frontend as it is driven


def opening(s: Driven) -> bool:
    """The application wants the frontend open."""
    return s.wish == Wish.OPEN


def must_close(s: Driven) -> bool:
    """The application wants the frontend closed, or the backend has gone, closes, or is of another version."""
    gone = among(s.be_state, UNKNOWN, CLOSING, CLOSED)
    other = (s.be_state == CONNECTED) & negate(s.be_v2) & negate(s.peer_v2)
    return (s.wish == Wish.CLOSED) | gone | other


def reads_version(s: Driven) -> bool:
    """The backend has connected, and the frontend does not know its version yet."""
    return opening(s) & negate(s.peer_v2) & (s.be_state == CONNECTED)


def when(declared: Action[Device], condition: Callable[[Driven], bool]) -> Action[Driven]:
    """An action that its actor takes only under this condition, and then owes."""

    def run(s: R, **picks: object) -> R:
        require(condition(s))
        return taken(declared, s, **picks)

    run.__name__ = declared.name
    run.__doc__ = declared.run.__doc__
    return Action(declared.name, declared.by, run, declared.cites, True, declared.picks)


@action(by=FRONTEND, owed=True, cites=handshake.frontend_submits.cites)
def frontend_submits(s: R) -> R:
    """The frontend sends the command that the application handed to it, in a page without extra pages."""
    require(s.commanded)
    return replace(taken(handshake.frontend_submits, s, length=s.command, extra=0), commanded=False, late=False)


@action(by=FRONTEND, owed=True, cites=(sources.LINUX_SEND_BOUNDS, sources.TPMFRONT_SEND_BOUNDS))
def frontend_refuses_command(s: R) -> R:
    """The frontend cannot send the command: it has no connection, the command does not fit, the page is in disorder."""
    require(s.commanded)
    disorder = negate(among(s.page.state, IDLE, FINISH))
    require(negate(s.open & s.peer_v2) | negate(request_fits(0, s.command)) | disorder)
    return replace(s, commanded=False)


@action(by=FRONTEND, owed=True, cites=ring.frontend_looks.cites)
def frontend_looks(s: R, success: bool) -> R:
    """Awake, the frontend reads the page; it reports success for a whole packet only, an error else."""
    require(success == ((s.page.state == FINISH) & ring.whole_packet(s.page, s.named)))
    return taken(ring.frontend_looks, s, header=s.named)


REPLACED: tuple[Action[Driven], ...] = (
    backend_tracks,
    backend_answers_incomplete_node,
    backend_maps,
    backend_refuses_connection,
    backend_fetches,
    backend_refuses_request,
    backend_finishes,
    backend_drops_stale_answer,
    when(handshake.frontend_allocates, lambda s: opening(s) & s.complete),
    when(handshake.frontend_publishes, opening),
    when(handshake.frontend_goes_to_initialised, opening),
    when(handshake.frontend_reads_version, reads_version),
    when(handshake.frontend_goes_to_connected, lambda s: opening(s) & negate(must_close(s))),
    when(handshake.frontend_starts_closing, must_close),
    when(handshake.frontend_closes, lambda s: must_close(s) | (s.fe_state == CLOSING)),
    frontend_submits,
    frontend_looks,
    when(ring.frontend_times_out, lambda s: s.late),
    when(ring.frontend_gives_up, lambda s: s.late),
)

OF_ITS_OWN = (backend_undoes_connection, backend_gives_device_up, frontend_refuses_command)
"""What a program does because of what the driver did, and otherwise would not."""

LEFT_TO_THE_DRIVER = frozenset(
    {
        *(a.name for a in (*handshake.TOOLSTACK_ACTIONS, *ring.SURPRISES)),
        "backend_retires", "backend_crashes", "backend_starts", "frontend_vanishes",
        "frontend_cancels_at_rest",
    }
)  # fmt: skip
"""Actions of the composed system that happen here only as the driver wants them."""

_GONE = LEFT_TO_THE_DRIVER | {a.name for a in REPLACED}

_ACTIONS = (*(a for a in DEVICE.actions if a.name not in _GONE), *REPLACED, *OF_ITS_OWN, *DRIVER)
_NAMES = {a.name for a in _ACTIONS}

DRIVEN: Spec[Driven] = Spec(
    name="driven",
    doc="a sound device of which a script drives one end, obeying no rule",
    state=Driven,
    init=nothing_yet,
    actions=_ACTIONS,
    facts=DEVICE.facts,
    liveness=DEVICE.liveness,
    fair={group: tuple(name for name in names if name in _NAMES) for group, names in DEVICE.fair.items()},
)
