"""Isolation: one backend, any number of frontends, of which two are looked at: x and y, whichever they are.

What is proved of an arbitrary x and an arbitrary other y holds of every two, so no formula speaks of all frontends. The
backend has one engine, one order of service, and one address space: a page that it unmaps leaves an address behind that
the next mapping may get.
"""

from __future__ import annotations

from enum import IntEnum

from vtpm_model import sources
from vtpm_model.core import (
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

FRONTEND, BACKEND = Actor.FRONTEND, Actor.BACKEND


class Who(IntEnum):
    """A frontend of the backend, or none; OTHER is any that is neither x nor y."""

    NOBODY = 0
    X = 1
    Y = 2
    OTHER = 3


NOBODY, X, Y, OTHER = Who


@record
class Line:
    """What the backend has of one frontend."""

    connected: bool
    epoch: Nat  # how many times it has connected
    address: Nat  # where its page is mapped
    turn: Nat  # when it was served last, or connected: whoever has waited longest is served first
    ready: bool  # a request of it waits
    content: Who  # whose answer the backend stored into its page last


@record
class State:
    """The backend, with two of its frontends."""

    up: bool
    x: Line
    y: Line
    clock: Nat  # turns given so far
    ahead: Nat  # of the other frontends, how many may still be served before x
    serving: Who  # whose command the engine works on
    job_epoch: Nat  # the connection that it came from
    job_address: Nat  # where that page was


NO_LINE = Line(connected=False, epoch=0, address=0, turn=0, ready=False, content=NOBODY)


def nobody_connected() -> State:
    """The backend is up, and nobody has connected."""
    return State(up=True, x=NO_LINE, y=NO_LINE, clock=1, ahead=0, serving=NOBODY, job_epoch=0, job_address=0)


def put(s: State, who: Who, line: Line) -> State:
    """The state with another line for x or y."""
    if who == X:
        return replace(s, x=line)
    return replace(s, y=line)


def line_of(s: State, who: Who) -> Line:
    """The line of x or y."""
    if who == X:
        return s.x
    return s.y


def rival_of(s: State, who: Who) -> Line:
    """The line of the other of the two."""
    if who == X:
        return s.y
    return s.x


@action(by=BACKEND, cites=sources.GRANT_MAP_TAKES_THE_GRANTER)
def backend_maps(s: State, who: Who, address: Nat) -> State:
    """The backend maps a frontend's page at a free address; the frontend goes to the end of the order."""
    require(s.up)
    require(among(who, X, Y))
    line, rival = line_of(s, who), rival_of(s, who)
    require(negate(line.connected))
    require(negate(rival.connected & (rival.address == address)))
    line = replace(line, connected=True, epoch=line.epoch + 1, address=address, turn=s.clock, content=NOBODY)
    return replace(put(s, who, line), clock=s.clock + 1)


@action(by=BACKEND, cites=sources.TPMBACK_DISCONNECT)
def backend_unmaps(s: State, who: Who) -> State:
    """A frontend is gone: its address is free, its request is forgotten; what is in service goes on."""
    require(among(who, X, Y))
    line = line_of(s, who)
    require(line.connected)
    return put(s, who, replace(line, connected=False, ready=False))


@action(by=FRONTEND, cites=sources.TPMIF_REQUEST_AND_RESPONSE)
def frontend_asks(s: State, who: Who, others: Nat) -> State:
    """A request of a connected frontend waits; `others`: the frontends besides x and y that are connected now."""
    require(among(who, X, Y))
    line = line_of(s, who)
    require(line.connected)
    require(negate(line.ready))
    s = put(s, who, replace(line, ready=True))
    if who == X:
        return replace(s, ahead=others)
    return s


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_SERVES_BY_INDEX, sources.TPMBACK_WAITS_FOR_A_REQUEST))
def backend_serves(s: State, who: Who, malformed: bool) -> State:
    """The backend serves whoever has waited longest; a malformed request is answered at once, without the engine."""
    require(s.serving == NOBODY)
    require(among(who, X, Y))
    line, rival = line_of(s, who), rival_of(s, who)
    require(line.ready)
    require(implies(rival.ready, line.turn < rival.turn))
    served = replace(line, ready=False, turn=s.clock)
    if malformed:
        return replace(put(s, who, replace(served, content=who)), clock=s.clock + 1)
    s = put(s, who, served)
    return replace(s, clock=s.clock + 1, serving=who, job_epoch=line.epoch, job_address=line.address)


@action(by=BACKEND, cites=sources.TPMBACK_SERVES_BY_INDEX)
def backend_serves_another(s: State, address: Nat) -> State:
    """The backend serves a frontend that is neither x nor y, and that has waited longer than x if x waits."""
    require(s.up)
    require(s.serving == NOBODY)
    require(negate(s.x.ready) | (s.ahead > 0))
    require(negate(s.x.connected & (s.x.address == address)))
    require(negate(s.y.connected & (s.y.address == address)))
    ahead = s.ahead - 1 if s.ahead > 0 else s.ahead
    return replace(s, clock=s.clock + 1, serving=OTHER, job_epoch=0, job_address=address, ahead=ahead)


@action(by=BACKEND, cites=sources.TPMBACK_RESPONSE_TO_WHOM)
def backend_answers(s: State) -> State:
    """The engine has answered: the answer goes into the page of the connection that asked, if that still stands."""
    require(s.serving != NOBODY)
    after = replace(s, serving=NOBODY)
    if s.serving == OTHER:
        return after
    line = line_of(s, s.serving)
    if line.connected & (line.epoch == s.job_epoch):
        return put(after, s.serving, replace(line, content=s.serving))
    return after


@action(by=BACKEND, cites=sources.CLOSE_LEAVES_THE_PEER_UNBOUND)
def backend_crashes(s: State) -> State:
    """The backend dies; every page is unmapped."""
    require(s.up)
    return replace(
        s,
        up=False,
        serving=NOBODY,
        x=replace(s.x, connected=False, ready=False),
        y=replace(s.y, connected=False, ready=False),
    )


@action(by=BACKEND, cites=sources.VTPM_STARTS_THE_EMULATOR_ONCE)
def backend_starts(s: State) -> State:
    """The backend starts again."""
    require(negate(s.up))
    return replace(s, up=True)


# ---------------------------------------------------------------------------------------------------------- facts


def was_served(before: Line, after: Line) -> bool:
    """In this step a frontend got its turn."""
    return before.ready & negate(after.ready) & after.connected


@always(covers="E18", about=BACKEND, cites=sources.TPMBACK_RESPONSE_TO_WHOM)
def a_page_gets_its_own_frontends_answers_only(s: State) -> bool:
    """The backend stores into x's page only what it answers to x, and into y's page only what it answers to y."""
    return among(s.x.content, NOBODY, X) & among(s.y.content, NOBODY, Y)


@always(covers="E18", about=BACKEND, cites=sources.GRANT_MAP_TAKES_THE_GRANTER)
def two_pages_have_two_addresses(s: State) -> bool:
    """No two mapped pages lie at one address."""
    return implies(s.x.connected & s.y.connected, s.x.address != s.y.address)


@every_step(covers="E18", about=BACKEND, cites=sources.TPMBACK_RESPONSE_TO_WHOM)
def an_answer_goes_where_its_request_came_from(before: State, step: Step, after: State) -> bool:
    """What the engine answers is stored only into the connection that asked."""
    stored = (before.x.content != after.x.content) & (after.x.content != NOBODY) & (before.serving != NOBODY)
    same = (before.serving == X) & before.x.connected & (before.x.epoch == before.job_epoch)
    return implies(stored, same & (before.x.address == before.job_address))


@every_step(covers="E16", about=BACKEND, cites=sources.TPMBACK_SERVES_BY_INDEX)
def nobody_is_served_twice_while_another_waits(before: State, step: Step, after: State) -> bool:
    """Whoever is served while x waits was ahead of x and is behind x afterwards, so it is served once at the most.

    As this holds of every y, x waits for no more turns than there are other connected frontends.
    """
    waits = before.x.ready & after.x.ready
    return implies(
        waits & was_served(before.y, after.y), (before.y.turn < before.x.turn) & (after.y.turn > after.x.turn)
    )


@every_step(covers="E16", about=BACKEND, cites=sources.TPMBACK_SERVES_BY_INDEX)
def nobody_moves_ahead_in_the_order(before: State, step: Step, after: State) -> bool:
    """A place in the order is left only for the end, by being served or by connecting anew; x keeps its own."""
    kept = implies(before.x.ready & after.x.ready, before.x.turn == after.x.turn)
    return kept & (before.y.turn <= after.y.turn)


@every_step(covers="E17", about=BACKEND, cites=(sources.VTPM_ENDS_ON_NO_REQUEST, sources.VTPMMGR_SPINS_ON_NO_REQUEST))
def no_request_stops_the_backend(before: State, step: Step, after: State) -> bool:
    """Whatever a frontend asks, the backend stays up; only its own crash ends it."""
    return implies(before.up & negate(after.up), step.name == "backend_crashes")


@every_step(covers="E17", about=BACKEND, cites=sources.TPMBACK_BAD_REQUEST_STAYS_READY)
def one_frontends_request_leaves_the_others_alone(before: State, step: Step, after: State) -> bool:
    """Serving y, well-formed or not, changes nothing of x."""
    return implies(was_served(before.y, after.y), before.x == after.x)


# --------------------------------------------------------------------------------------------------------- lemmas


@lemma
def turns_are_given_in_order(s: State) -> bool:
    """Nobody has had a turn that is still to come, and no two have had the same."""
    past = (s.x.turn < s.clock) & (s.y.turn < s.clock)
    return past & implies(s.x.connected & s.y.connected, s.x.turn != s.y.turn)


@lemma
def a_request_waits_on_a_connection(s: State) -> bool:
    """Only a connected frontend's request waits."""
    return implies(s.x.ready, s.x.connected) & implies(s.y.ready, s.y.connected)


@lemma
def a_connection_keeps_its_address(s: State) -> bool:
    """The connection that a command in service came from is where it was; it is not a later one."""
    x_job = implies(s.serving == X, s.job_epoch <= s.x.epoch)
    y_job = implies(s.serving == Y, s.job_epoch <= s.y.epoch)
    x_place = implies((s.serving == X) & s.x.connected & (s.x.epoch == s.job_epoch), s.x.address == s.job_address)
    y_place = implies((s.serving == Y) & s.y.connected & (s.y.epoch == s.job_epoch), s.y.address == s.job_address)
    return x_job & y_job & x_place & y_place


# ------------------------------------------------------------------------------------------------------- liveness


def serving_in_order(s: State) -> str:
    """What has to happen next for x to be served."""
    if s.serving != NOBODY:
        return "the engine answers"
    return "the backend serves"


def distance_to_service(s: State) -> tuple[int, ...]:
    """How many turns, at the most, are given before x's."""
    y_ahead = s.y.connected & (s.y.turn < s.x.turn)
    return (s.ahead, 1 if y_ahead else 0, 1 if s.serving != NOBODY else 0)


@eventually(
    helpful=serving_in_order,
    rank=distance_to_service,
    covers=("E16", "E17"),
    about=BACKEND,
    cites=(sources.TPMBACK_SERVES_BY_INDEX, sources.VTPMMGR_SPINS_ON_NO_REQUEST),
)
def a_ready_frontend_waits(s: State) -> bool:
    """Every frontend whose request waits is served, whatever the others do."""
    return s.up & s.x.ready


ISOLATION = Spec(
    name="isolation",
    doc="one backend and any two of its frontends",
    state=State,
    init=nobody_connected,
    actions=(
        backend_maps,
        backend_unmaps,
        frontend_asks,
        backend_serves,
        backend_serves_another,
        backend_answers,
        backend_crashes,
        backend_starts,
    ),
    facts=(
        a_page_gets_its_own_frontends_answers_only,
        two_pages_have_two_addresses,
        an_answer_goes_where_its_request_came_from,
        nobody_is_served_twice_while_another_waits,
        nobody_moves_ahead_in_the_order,
        no_request_stops_the_backend,
        one_frontends_request_leaves_the_others_alone,
    ),
    lemmas=(
        turns_are_given_in_order,
        a_request_waits_on_a_connection,
        a_connection_keeps_its_address,
    ),
    liveness=(a_ready_frontend_waits,),
    fair={
        "the engine answers": ("backend_answers",),
        "the backend serves": ("backend_serves", "backend_serves_another"),
    },
)
