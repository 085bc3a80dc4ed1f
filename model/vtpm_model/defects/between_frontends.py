"""Defects between the frontends of one backend: who stops whom, who is served, and whose page gets an answer."""

from __future__ import annotations

import dataclasses

from vtpm_model import isolation, sources
from vtpm_model.core import Action, Actor, Nat, Spec, action, among, implies, negate, replace, require
from vtpm_model.defects.defect import Defect
from vtpm_model.isolation import ISOLATION, NOBODY, OTHER, State, Who, X, Y, line_of, put, rival_of

BACKEND = Actor.BACKEND


def _varied(name: str, doc: str, **replaced: Action[State]) -> Spec[State]:
    """Isolation with other actions in the place of those named."""
    return ISOLATION.variant(
        name, doc=doc, replaced=tuple(dataclasses.replace(other, name=place) for place, other in replaced.items())
    )


def ended(s: State) -> State:
    """The state after the backend has ended."""
    after: State = isolation.backend_crashes(s)
    return after


# ------------------------------------------------------------------------------- i5, q4: a length that does not fit


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_BAD_REQUEST_STAYS_READY, sources.VTPM_ENDS_ON_NO_REQUEST))
def backend_serves(s: State, who: Who, malformed: bool) -> State:
    """No request is what the main loop gets for a malformed one, and that is its sign to end."""
    after: State = isolation.backend_serves(s, who=who, malformed=malformed)
    if malformed:
        return ended(s)
    return after


@action(by=BACKEND, owed=True, cites=(sources.TPMBACK_BAD_REQUEST_STAYS_READY, sources.VTPMMGR_SPINS_ON_NO_REQUEST))
def backend_serves_in_vain(s: State, who: Who, malformed: bool) -> State:
    """A malformed request is left as it is, first in line, and the main loop asks for the next one."""
    after: State = isolation.backend_serves(s, who=who, malformed=malformed)
    if malformed:
        return s
    return after


# ------------------------------------------------------------------------------------------------ i13: starvation


@action(by=BACKEND, owed=True, cites=sources.TPMBACK_SERVES_BY_INDEX)
def backend_serves_by_index(s: State, who: Who, malformed: bool) -> State:
    """The backend looks through its list from the start each time; y stands before x."""
    require(s.up)
    require(s.serving == NOBODY)
    require(among(who, X, Y))
    line, rival = line_of(s, who), rival_of(s, who)
    require(line.connected & line.ready)
    require(implies(who == X, negate(rival.connected & rival.ready)))
    served = replace(line, ready=False, turn=s.clock)
    if malformed:
        return replace(put(s, who, replace(served, content=who)), clock=s.clock + 1)
    return replace(put(s, who, served), clock=s.clock + 1, serving=who, job_epoch=line.epoch, job_address=line.address)


@action(by=BACKEND, cites=sources.TPMBACK_SERVES_BY_INDEX)
def backend_serves_another_by_index(s: State, address: Nat) -> State:
    """Another frontend that stands before x may be served any number of times before x."""
    require(s.up)
    require(s.serving == NOBODY)
    require(negate(s.x.connected & (s.x.address == address)))
    require(negate(s.y.connected & (s.y.address == address)))
    return replace(s, clock=s.clock + 1, serving=OTHER, job_epoch=0, job_address=address)


# ------------------------------------------------------------------------------------------- i10: destroyed midway


@action(by=BACKEND, cites=(sources.TPMBACK_FREE_CLEARS_FLAGS_FIRST, sources.TPMBACK_READY_WITHOUT_A_DEVICE))
def backend_answers_and_asks_again(s: State, recomputed: bool) -> State:
    """Its device destroyed, the answer is dropped; the main loop asks for a request while the common flag still stands.

    `recomputed`: whether the thread that frees the device came as far as the common flag. If it did not, and no
    frontend has a request, the main loop gets none, and takes that for its end.
    """
    after: State = isolation.backend_answers(s)
    require(s.serving != OTHER)
    line = line_of(s, s.serving)
    destroyed = negate(line.connected & (line.epoch == s.job_epoch))
    if destroyed & negate(recomputed) & negate(s.x.ready | s.y.ready):
        return ended(s)
    return after


# ----------------------------------------------------------------------------------- i15: into another one's page


@action(by=BACKEND, cites=(sources.TPMBACK_RESPONSE_TO_WHOM, sources.MINIOS_MAP_TAKES_THE_LOWEST_ADDRESS))
def backend_answers_at_the_address(s: State) -> State:
    """The answer is stored at the address where the page was; by now that may be another frontend's page."""
    require(s.up)
    require(s.serving != NOBODY)
    after = replace(s, serving=NOBODY)
    if s.x.connected & (s.x.address == s.job_address):
        return replace(after, x=replace(s.x, content=s.serving))
    if s.y.connected & (s.y.address == s.job_address):
        return replace(after, y=replace(s.y, content=s.serving))
    return after


def both_had_connected(s: State) -> bool:
    """The backend had served two frontends, not only the one that broke it."""
    return (s.x.epoch > 0) & (s.y.epoch > 0)


def x_waits_behind_y(s: State) -> bool:
    """A request of x waits behind one of y."""
    return s.x.ready & s.y.ready & (s.y.turn < s.x.turn)


def one_has_the_others_answer(s: State) -> bool:
    """An answer to x lies in y's page, or the other way round."""
    return (s.x.content == Y) | (s.y.content == X)


STOPPED = "no_request_stops_the_backend"

DEFECTS = (
    Defect(
        id="i5",
        variant=_varied(
            "i5",
            "the backend takes the failure to fetch one frontend's request for its own end",
            backend_serves=backend_serves,
        ),
        fails=STOPPED,
        sentence="One frontend's length does not fit, and the backend of all of them ends.",
        cites=(sources.TPMBACK_BAD_REQUEST_STAYS_READY, sources.VTPM_ENDS_ON_NO_REQUEST),
        shown=both_had_connected,
    ),
    Defect(
        id="i10",
        variant=_varied(
            "i10",
            "freeing a device clears its own flag first and the common one late",
            backend_answers=backend_answers_and_asks_again,
        ),
        fails=STOPPED,
        sentence="A guest destroyed while its command is in service leaves a common flag behind, and the backend ends.",
        cites=(
            sources.TPMBACK_FREE_CLEARS_FLAGS_FIRST,
            sources.TPMBACK_READY_WITHOUT_A_DEVICE,
            sources.VTPM_ENDS_ON_NO_REQUEST,
        ),
    ),
    Defect(
        id="i13",
        variant=_varied(
            "i13",
            "the backend serves by index: y, and any other, before x",
            backend_serves=backend_serves_by_index,
            backend_serves_another=backend_serves_another_by_index,
        ),
        fails="nobody_is_served_twice_while_another_waits",
        sentence="Whoever stands first in the list is served again and again while another one waits.",
        cites=(sources.TPMBACK_SERVES_BY_INDEX,),
    ),
    Defect(
        id="i15",
        variant=_varied(
            "i15",
            "an answer is stored at the address where the asking page was mapped",
            backend_answers=backend_answers_at_the_address,
        ),
        fails="a_page_gets_its_own_frontends_answers_only",
        sentence="A page is mapped where another one was, and gets the other frontend's answer.",
        cites=(sources.TPMBACK_RESPONSE_TO_WHOM, sources.MINIOS_MAP_TAKES_THE_LOWEST_ADDRESS),
        shown=one_has_the_others_answer,
    ),
    Defect(
        id="q4",
        variant=_varied(
            "q4",
            "a request that cannot be fetched stays first in line",
            backend_serves=backend_serves_in_vain,
        ),
        fails="a_ready_frontend_waits",
        sentence="One frontend's length does not fit, and the backend tries it for ever: nobody else is served.",
        cites=(sources.TPMBACK_BAD_REQUEST_STAYS_READY, sources.VTPMMGR_SPINS_ON_NO_REQUEST),
        shown=x_waits_behind_y,
    ),
)
