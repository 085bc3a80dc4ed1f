"""Store order: in which order what one end writes is seen by the other, and what each barrier buys.

A store waits in a buffer of its writer before it is seen; without a barrier the buffers empty in any order, and a load
may be done earlier than the program says. Both ends follow the same pattern: data, barrier, state word, barrier, event;
and in reading: state word, barrier, data. `ORDER` is the weak model with every barrier in its place; `ORDER_TSO` has no
barrier but a machine that keeps stores in order (x86). Each defect leaves one barrier out.

Data stands for length and packet together: they are stored and loaded on the same side of every barrier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from vtpm_model import sources
from vtpm_model.core import (
    Action,
    Actor,
    Nat,
    Spec,
    action,
    always,
    among,
    eventually,
    implies,
    lemma,
    negate,
    record,
    replace,
    require,
)


class Word(IntEnum):
    """The state word, as far as publishing goes."""

    IDLE = 0
    SUBMIT = 1
    FINISH = 2


class Asking(IntEnum):
    """How far the frontend's program is."""

    RESTING = 0
    WRITTEN = 1  # the data is stored
    PUBLISHABLE = 2  # and seen: barrier
    ARMED = 3  # events now count
    SUBMITTED = 4  # the state word is stored
    SEEN_BY_ALL = 5  # and seen: barrier
    WAITING = 6  # the event is sent
    FINISHED = 7  # FINISH was loaded
    LOADABLE = 8  # what is loaded from now on is no older


class Serving(IntEnum):
    """How far the backend's program is."""

    RESTING = 0
    CALLED = 1  # SUBMIT was loaded
    LOADABLE = 2  # what is loaded from now on is no older
    SERVING = 3  # the request is in private memory
    WRITTEN = 4  # the answer is stored
    PUBLISHABLE = 5  # and seen: barrier
    FINISHED = 6  # the state word is stored
    SEEN_BY_ALL = 7  # and seen: barrier


@record
class Data:
    """What the bytes of the page are: request or answer, and of which request; 0 is the zeroed page."""

    number: Nat
    answer: bool


@record
class State:
    """What memory holds, what is on its way to it, and both programs."""

    # memory, as any processor would load it now
    data: Data
    word: Word
    number: Nat  # which request the word speaks of
    # the frontend
    asking: Asking
    request: Nat  # its last request
    request_on_its_way: bool  # stored, not yet seen
    submit_on_its_way: bool
    armed: bool
    awake: bool
    frontend_loaded: bool  # the data was loaded before the program asked for it
    frontend_early: Data
    reply: Data  # what it read last
    # the backend
    serving: Serving
    called_for: Nat  # the request whose SUBMIT it loaded last
    job: Data  # what it read as a request
    answer_on_its_way: bool
    finish_on_its_way: bool
    backend_loaded: bool
    backend_early: Data
    # events
    to_backend: bool
    to_frontend: bool


IDLE, SUBMIT, FINISH = Word
ZEROES = Data(number=0, answer=False)


def init() -> State:
    """A zeroed page, both ends at rest."""
    return State(
        data=ZEROES, word=IDLE, number=0,
        asking=Asking.RESTING, request=0, request_on_its_way=False, submit_on_its_way=False,
        armed=False, awake=False, frontend_loaded=False, frontend_early=ZEROES, reply=ZEROES,
        serving=Serving.RESTING, called_for=0, job=ZEROES, answer_on_its_way=False, finish_on_its_way=False,
        backend_loaded=False, backend_early=ZEROES,
        to_backend=False, to_frontend=False,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- the frontend asks


@action(by=Actor.FRONTEND, cites=(sources.LINUX_SUBMITS, sources.TPMFRONT_SEND))
def frontend_stores_the_request(s: State) -> State:
    """The frontend stores length and packet."""
    require(s.asking == Asking.RESTING)
    return replace(s, asking=Asking.WRITTEN, request=s.request + 1, request_on_its_way=True)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_SUBMITS, sources.TPMFRONT_SEND))
def frontend_waits_for_its_request(s: State) -> State:
    """The barrier before SUBMIT: the data is seen first."""
    require(s.asking == Asking.WRITTEN)
    require(negate(s.request_on_its_way))
    return replace(s, asking=Asking.PUBLISHABLE)


@action(by=Actor.FRONTEND, owed=True, cites=sources.TPMFRONT_SUBMITS_BEFORE_ARMING)
def frontend_arms(s: State) -> State:
    """From here on an event is remembered."""
    require(s.asking == Asking.PUBLISHABLE)
    return replace(s, asking=Asking.ARMED, armed=True)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_SUBMITS, sources.TPMFRONT_SEND))
def frontend_stores_submit(s: State) -> State:
    """The frontend stores the state word."""
    require(s.asking == Asking.ARMED)
    return replace(s, asking=Asking.SUBMITTED, submit_on_its_way=True)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_SUBMITS, sources.TPMFRONT_SEND))
def frontend_waits_for_submit(s: State) -> State:
    """The barrier before the event: SUBMIT is seen first."""
    require(s.asking == Asking.SUBMITTED)
    require(negate(s.submit_on_its_way))
    return replace(s, asking=Asking.SEEN_BY_ALL)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_SUBMITS, sources.SEND_SETS_PENDING))
def frontend_sends_the_event(s: State) -> State:
    """The frontend tells the backend to look."""
    require(s.asking == Asking.SEEN_BY_ALL)
    return replace(s, asking=Asking.WAITING, to_backend=True)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.TPMFRONT_HANDLER, sources.LINUX_INTERRUPT))
def frontend_takes_an_event(s: State) -> State:
    """An event wakes a frontend that has armed; for one that has not, it is gone."""
    require(s.to_frontend)
    return replace(s, to_frontend=False, awake=s.armed)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.TPMFRONT_RECV, sources.LINUX_POLLS))
def frontend_looks(s: State) -> State:
    """A frontend that was woken loads the state word, and sleeps again unless it is FINISH."""
    require((s.asking == Asking.WAITING) & s.awake)
    if s.word == FINISH:
        return replace(s, asking=Asking.FINISHED, armed=False, awake=False)
    return replace(s, awake=False)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_READS_LENGTH_BEFORE_STATE, sources.TPMFRONT_RECV))
def frontend_drops_early_loads(s: State) -> State:
    """The barrier after FINISH: data that was loaded before it does not count."""
    require(s.asking == Asking.FINISHED)
    return replace(s, asking=Asking.LOADABLE, frontend_loaded=False)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_RECV, sources.TPMFRONT_RECV))
def frontend_reads_the_answer(s: State) -> State:
    """The frontend copies the data, as far as it is not loaded already."""
    require(s.asking == Asking.LOADABLE)
    if s.frontend_loaded:
        return replace(s, asking=Asking.RESTING, reply=s.frontend_early)
    return replace(s, asking=Asking.RESTING, reply=s.data)


# --------------------------------------------------------------------------------------------- the backend answers


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_HANDLER, sources.TPMBACK_SEES_SUBMIT))
def backend_takes_an_event(s: State) -> State:
    """An event makes a backend at rest load the state word."""
    require(s.to_backend & (s.serving == Serving.RESTING))
    if s.word == SUBMIT:
        return replace(s, to_backend=False, serving=Serving.CALLED, called_for=s.number)
    return replace(s, to_backend=False)


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_SEES_SUBMIT, sources.TPMBACK_SNAPSHOT))
def backend_drops_early_loads(s: State) -> State:
    """The barrier after SUBMIT: data that was loaded before it does not count."""
    require(s.serving == Serving.CALLED)
    return replace(s, serving=Serving.LOADABLE, backend_loaded=False)


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_SNAPSHOT, sources.TPMBACK_COPIES_THE_REQUEST))
def backend_reads_the_request(s: State) -> State:
    """The backend copies length and packet, as far as they are not loaded already."""
    require(s.serving == Serving.LOADABLE)
    if s.backend_loaded:
        return replace(s, serving=Serving.SERVING, job=s.backend_early)
    return replace(s, serving=Serving.SERVING, job=s.data)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_COPIES_THE_RESPONSE)
def backend_stores_the_answer(s: State) -> State:
    """The backend stores length and packet of the answer."""
    require(s.serving == Serving.SERVING)
    return replace(s, serving=Serving.WRITTEN, answer_on_its_way=True)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_STORES_FINISH)
def backend_waits_for_its_answer(s: State) -> State:
    """The barrier before FINISH: the data is seen first."""
    require(s.serving == Serving.WRITTEN)
    require(negate(s.answer_on_its_way))
    return replace(s, serving=Serving.PUBLISHABLE)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_STORES_FINISH)
def backend_stores_finish(s: State) -> State:
    """The backend stores the state word."""
    require(s.serving == Serving.PUBLISHABLE)
    return replace(s, serving=Serving.FINISHED, finish_on_its_way=True)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_STORES_FINISH)
def backend_waits_for_finish(s: State) -> State:
    """The barrier before the event: FINISH is seen first."""
    require(s.serving == Serving.FINISHED)
    require(negate(s.finish_on_its_way))
    return replace(s, serving=Serving.SEEN_BY_ALL)


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_STORES_FINISH, sources.SEND_SETS_PENDING))
def backend_sends_the_event(s: State) -> State:
    """The backend tells the frontend to look."""
    require(s.serving == Serving.SEEN_BY_ALL)
    return replace(s, serving=Serving.RESTING, to_frontend=True)


# ------------------------------------------------------------------------------------------ the machine and Xen


@action(by=Actor.FRONTEND, owed=True, cites=sources.MINIOS_ARM_BARRIERS)
def request_is_seen(s: State) -> State:
    """The data of the request reaches memory."""
    require(s.request_on_its_way)
    return replace(s, request_on_its_way=False, data=Data(number=s.request, answer=False))


@action(by=Actor.FRONTEND, owed=True, cites=sources.MINIOS_ARM_BARRIERS)
def submit_is_seen(s: State) -> State:
    """SUBMIT reaches memory."""
    require(s.submit_on_its_way)
    return replace(s, submit_on_its_way=False, word=SUBMIT, number=s.request)


@action(by=Actor.BACKEND, owed=True, cites=sources.MINIOS_ARM_BARRIERS)
def answer_is_seen(s: State) -> State:
    """The data of the answer reaches memory."""
    require(s.answer_on_its_way)
    return replace(s, answer_on_its_way=False, data=Data(number=s.job.number, answer=True))


@action(by=Actor.BACKEND, owed=True, cites=sources.MINIOS_ARM_BARRIERS)
def finish_is_seen(s: State) -> State:
    """FINISH reaches memory, for the request whose SUBMIT it replaces."""
    require(s.finish_on_its_way)
    return replace(s, finish_on_its_way=False, word=FINISH)


@action(by=Actor.FRONTEND, cites=sources.MINIOS_ARM_BARRIERS)
def frontend_loads_early(s: State) -> State:
    """The frontend's processor loads the data before the program asks for it."""
    return replace(s, frontend_loaded=True, frontend_early=s.data)


@action(by=Actor.BACKEND, cites=sources.MINIOS_ARM_BARRIERS)
def backend_loads_early(s: State) -> State:
    """The backend's processor loads the data before the program asks for it."""
    return replace(s, backend_loaded=True, backend_early=s.data)


@action(by=Actor.XEN, cites=(sources.BIND_RAISES_THE_EVENT, sources.EVENTS_ARE_ONE_BIT))
def xen_raises_the_backends_event(s: State) -> State:
    """An event that nobody sent now: left over from before, or raised by binding."""
    return replace(s, to_backend=True)


@action(by=Actor.XEN, cites=(sources.TPMBACK_IGNORES_SPURIOUS_EVENTS, sources.EVENTS_ARE_ONE_BIT))
def xen_raises_the_frontends_event(s: State) -> State:
    """An event that nobody sent now."""
    return replace(s, to_frontend=True)


# ----------------------------------------------------------------------------------------------------------- facts


def submitting(s: State) -> bool:
    """The frontend's last request is not yet submitted for all to see."""
    return among(s.asking, Asking.WRITTEN, Asking.PUBLISHABLE, Asking.ARMED) | s.submit_on_its_way


def answered(s: State) -> bool:
    """FINISH for the frontend's last request is in memory."""
    return (s.word == FINISH) & (s.number == s.request)


def serving_now(s: State) -> bool:
    """The backend was called, and its FINISH is not yet seen."""
    called = (s.serving >= Serving.CALLED) & (s.serving <= Serving.PUBLISHABLE)
    return called | s.finish_on_its_way


@always(covers="N2", about=Actor.BACKEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMBACK_SNAPSHOT))
def who_loads_submit_reads_the_request_stored_before_it(s: State) -> bool:
    """What the backend serves is the data of the request whose SUBMIT it loaded."""
    serves = s.serving >= Serving.SERVING
    return implies(serves, (s.job.number == s.called_for) & negate(s.job.answer))


@always(covers="N2", about=Actor.FRONTEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.LINUX_RECV))
def who_loads_finish_reads_the_answer_stored_before_it(s: State) -> bool:
    """What the frontend has read is the data of the answer to its last request."""
    read = (s.asking == Asking.RESTING) & (s.request > 0)
    return implies(read, (s.reply.number == s.request) & s.reply.answer)


@always(covers="E12", about=Actor.BACKEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMBACK_HANDLER))
def a_request_that_is_seen_has_an_event_on_its_way(s: State) -> bool:
    """While SUBMIT is in memory and the backend rests, its event is pending, or the frontend is about to send it.

    A backend whose own FINISH is still on its way has served that SUBMIT.
    """
    unserved = (s.word == SUBMIT) & (s.serving == Serving.RESTING) & negate(s.finish_on_its_way)
    return implies(unserved, s.to_backend | among(s.asking, Asking.SUBMITTED, Asking.SEEN_BY_ALL))


@always(covers="E12", about=Actor.FRONTEND, cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMFRONT_HANDLER))
def an_answer_that_is_seen_has_an_event_on_its_way(s: State) -> bool:
    """While FINISH is in memory and the frontend waits, it is awake, or its event is pending or about to be sent."""
    return implies(
        s.armed & answered(s), s.to_frontend | s.awake | among(s.serving, Serving.FINISHED, Serving.SEEN_BY_ALL)
    )


# -------------------------------------------------------------------------------------------------------- liveness


def whose_turn(s: State) -> str:
    """The group that brings the request nearer to its answer."""
    if s.request_on_its_way | s.submit_on_its_way | s.answer_on_its_way | s.finish_on_its_way:
        return "memory"
    if (s.asking != Asking.WAITING) | (answered(s) & s.awake):
        return "frontend"
    if answered(s) & (s.serving == Serving.RESTING):
        return "frontend's events"
    return "backend"


def distance(s: State) -> tuple[int, ...]:
    """What is left: steps of the frontend, steps of the backend, stores on their way, an event to take."""
    asks = 9 - s.asking
    serves = 8 - s.serving
    if s.serving == Serving.RESTING:
        serves = 0
    if negate(answered(s) | serving_now(s)):
        serves = serves + 8
    on_their_way = s.request_on_its_way + s.submit_on_its_way + s.answer_on_its_way + s.finish_on_its_way
    asleep = answered(s) & negate(s.awake)
    return (asks, serves, on_their_way, 0 + asleep)


@eventually(
    helpful=whose_turn, rank=distance, covers=("E11", "E12"),
    cites=(sources.TPMIF_REQUEST_AND_RESPONSE, sources.TPMFRONT_WAITS_WITHOUT_END),
)  # fmt: skip
def every_request_is_answered(s: State) -> bool:
    """A frontend that sleeps until its event comes gets every answer."""
    return s.asking != Asking.RESTING


# ---------------------------------------------------------------------------------------------------------- lemmas


@lemma
def the_word_speaks_of_the_last_request_once_it_is_submitted(s: State) -> bool:
    """Until SUBMIT is seen the word is the last one's FINISH (or IDLE); then it speaks of this request."""
    before = (s.word != SUBMIT) & (s.number + 1 == s.request)
    return implies(submitting(s), before) & implies(negate(submitting(s)), s.number == s.request)


@lemma
def idle_is_only_at_the_start(s: State) -> bool:
    """Nobody stores IDLE here: cancelling is not part of this model."""
    return implies(s.word == IDLE, s.number == 0)


@lemma
def stores_are_on_their_way_only_before_their_barrier(s: State) -> bool:
    """No program passes a barrier with a store on its way."""
    asks = implies(s.request_on_its_way, s.asking == Asking.WRITTEN)
    submits = implies(s.submit_on_its_way, s.asking == Asking.SUBMITTED)
    serves = implies(s.answer_on_its_way, s.serving == Serving.WRITTEN)
    finishes = implies(s.finish_on_its_way, s.serving == Serving.FINISHED)
    return asks & submits & serves & finishes


@lemma
def the_backend_serves_what_is_submitted(s: State) -> bool:
    """From its call until its FINISH is seen, the word is the SUBMIT that called the backend."""
    return implies(serving_now(s), (s.word == SUBMIT) & (s.called_for == s.number))


@lemma
def a_new_submit_has_an_event_on_its_way(s: State) -> bool:
    """A SUBMIT that the backend was not called for has its event pending or about to be sent, even before it rests."""
    unserved = (s.word == SUBMIT) & negate(serving_now(s))
    return implies(unserved, s.to_backend | among(s.asking, Asking.SUBMITTED, Asking.SEEN_BY_ALL))


@lemma
def the_data_is_the_request_until_it_is_answered(s: State) -> bool:
    """From the barrier before SUBMIT until the answer is stored, the page holds the last request."""
    asked = submitting(s) & negate(s.request_on_its_way)
    untouched = (s.serving < Serving.WRITTEN) | s.answer_on_its_way | negate(serving_now(s))
    holds = (s.data.number == s.request) & negate(s.data.answer)
    return implies(asked | ((s.word == SUBMIT) & untouched), holds)


@lemma
def the_data_is_the_answer_once_it_is_stored(s: State) -> bool:
    """From the barrier before FINISH until the next request is stored, the page holds the answer."""
    stored = serving_now(s) & (s.serving >= Serving.WRITTEN) & negate(s.answer_on_its_way)
    finished = (s.word == FINISH) & negate(submitting(s))
    return implies(stored | finished, (s.data.number == s.request) & s.data.answer)


@lemma
def the_frontend_reads_only_after_finish(s: State) -> bool:
    """Past its wait, the frontend's request is answered."""
    return implies(among(s.asking, Asking.FINISHED, Asking.LOADABLE), answered(s))


@lemma
def a_frontend_is_armed_from_before_submit_to_finish(s: State) -> bool:
    """Armed exactly while an event may mean the answer; awake only then."""
    waits = (s.asking >= Asking.ARMED) & (s.asking <= Asking.WAITING)
    return (s.armed == waits) & implies(s.awake, s.armed)


@lemma
def what_is_loaded_past_the_barrier_is_what_the_page_holds(s: State) -> bool:
    """An early load that the barrier let live was done after the state word was loaded."""
    backend = (s.serving == Serving.LOADABLE) & s.backend_loaded
    frontend = (s.asking == Asking.LOADABLE) & s.frontend_loaded
    backend_fresh = (s.backend_early.number == s.called_for) & negate(s.backend_early.answer)
    frontend_fresh = (s.frontend_early.number == s.request) & s.frontend_early.answer
    return implies(backend, backend_fresh) & implies(frontend, frontend_fresh)


@lemma
def a_frontend_at_rest_has_no_request_open(s: State) -> bool:
    """Before its first request the page is untouched; afterwards a frontend at rest has FINISH before it."""
    rests = s.asking == Asking.RESTING
    return implies(rests & (s.request > 0), s.word == FINISH) & implies(s.request == 0, rests & (s.word == IDLE))


# -------------------------------------------------------------------------------------------------- specifications

ORDER: Spec[State] = Spec(
    name="order",
    doc="What each end sees of the other's stores, on a machine that reorders whatever no barrier keeps in order.",
    state=State,
    init=init,
    actions=(
        frontend_stores_the_request,
        frontend_waits_for_its_request,
        frontend_arms,
        frontend_stores_submit,
        frontend_waits_for_submit,
        frontend_sends_the_event,
        frontend_takes_an_event,
        frontend_looks,
        frontend_drops_early_loads,
        frontend_reads_the_answer,
        backend_takes_an_event,
        backend_drops_early_loads,
        backend_reads_the_request,
        backend_stores_the_answer,
        backend_waits_for_its_answer,
        backend_stores_finish,
        backend_waits_for_finish,
        backend_sends_the_event,
        request_is_seen,
        submit_is_seen,
        answer_is_seen,
        finish_is_seen,
        frontend_loads_early,
        backend_loads_early,
        xen_raises_the_backends_event,
        xen_raises_the_frontends_event,
    ),
    facts=(
        who_loads_submit_reads_the_request_stored_before_it,
        who_loads_finish_reads_the_answer_stored_before_it,
        a_request_that_is_seen_has_an_event_on_its_way,
        an_answer_that_is_seen_has_an_event_on_its_way,
    ),
    lemmas=(
        the_word_speaks_of_the_last_request_once_it_is_submitted,
        idle_is_only_at_the_start,
        stores_are_on_their_way_only_before_their_barrier,
        the_backend_serves_what_is_submitted,
        a_new_submit_has_an_event_on_its_way,
        the_data_is_the_request_until_it_is_answered,
        the_data_is_the_answer_once_it_is_stored,
        the_frontend_reads_only_after_finish,
        a_frontend_is_armed_from_before_submit_to_finish,
        what_is_loaded_past_the_barrier_is_what_the_page_holds,
        a_frontend_at_rest_has_no_request_open,
    ),
    liveness=(every_request_is_answered,),
    fair={
        "frontend": (
            "frontend_waits_for_its_request",
            "frontend_arms",
            "frontend_stores_submit",
            "frontend_waits_for_submit",
            "frontend_sends_the_event",
            "frontend_looks",
            "frontend_drops_early_loads",
            "frontend_reads_the_answer",
        ),
        "frontend's events": ("frontend_takes_an_event",),
        "backend": (
            "backend_takes_an_event",
            "backend_drops_early_loads",
            "backend_reads_the_request",
            "backend_stores_the_answer",
            "backend_waits_for_its_answer",
            "backend_stores_finish",
            "backend_waits_for_finish",
            "backend_sends_the_event",
        ),
        "memory": ("request_is_seen", "submit_is_seen", "answer_is_seen", "finish_is_seen"),
    },
)


# ------------------------------------------------------------------------------------ a machine that keeps the order


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_SUBMITS, sources.MINIOS_X86_BARRIERS))
def frontend_goes_on_to_submit(s: State) -> State:
    """Only the compiler is told to keep the order; the program does not wait."""
    require(s.asking == Asking.WRITTEN)
    return replace(s, asking=Asking.PUBLISHABLE)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_SUBMITS, sources.MINIOS_X86_BARRIERS))
def frontend_goes_on_to_the_event(s: State) -> State:
    """The program does not wait for SUBMIT to be seen."""
    require(s.asking == Asking.SUBMITTED)
    return replace(s, asking=Asking.SEEN_BY_ALL)


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_STORES_FINISH, sources.MINIOS_X86_BARRIERS))
def backend_goes_on_to_finish(s: State) -> State:
    """Only the compiler is told to keep the order; the program does not wait."""
    require(s.serving == Serving.WRITTEN)
    return replace(s, serving=Serving.PUBLISHABLE)


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_STORES_FINISH, sources.MINIOS_X86_BARRIERS))
def backend_goes_on_to_the_event(s: State) -> State:
    """The program does not wait for FINISH to be seen."""
    require(s.serving == Serving.FINISHED)
    return replace(s, serving=Serving.SEEN_BY_ALL)


@action(by=Actor.FRONTEND, owed=True, cites=sources.X86_KEEPS_STORES_IN_ORDER)
def submit_is_seen_after_the_request(s: State) -> State:
    """The stores of one processor are seen in the order in which it made them."""
    require(s.submit_on_its_way)
    require(negate(s.request_on_its_way))
    return replace(s, submit_on_its_way=False, word=SUBMIT, number=s.request)


@action(by=Actor.BACKEND, owed=True, cites=sources.X86_KEEPS_STORES_IN_ORDER)
def finish_is_seen_after_the_answer(s: State) -> State:
    """The stores of one processor are seen in the order in which it made them."""
    require(s.finish_on_its_way)
    require(negate(s.answer_on_its_way))
    return replace(s, finish_on_its_way=False, word=FINISH)


@action(by=Actor.FRONTEND, owed=True, cites=sources.SEND_SETS_PENDING)
def frontends_event_follows_its_stores(s: State) -> State:
    """Raising the event is a store of the same processor, behind all the others."""
    require(s.asking == Asking.SEEN_BY_ALL)
    require(negate(s.submit_on_its_way))
    return replace(s, asking=Asking.WAITING, to_backend=True)


@action(by=Actor.BACKEND, owed=True, cites=sources.SEND_SETS_PENDING)
def backends_event_follows_its_stores(s: State) -> State:
    """Raising the event is a store of the same processor, behind all the others."""
    require(s.serving == Serving.SEEN_BY_ALL)
    require(negate(s.finish_on_its_way))
    return replace(s, serving=Serving.RESTING, to_frontend=True)


@action(by=Actor.FRONTEND, owed=True, cites=sources.LINUX_READS_LENGTH_BEFORE_STATE)
def frontend_goes_on_to_read(s: State) -> State:
    """No barrier: data that was loaded before FINISH counts as well."""
    require(s.asking == Asking.FINISHED)
    return replace(s, asking=Asking.LOADABLE)


@action(by=Actor.BACKEND, owed=True, cites=sources.TPMBACK_SNAPSHOT)
def backend_goes_on_to_read(s: State) -> State:
    """No barrier: data that was loaded before SUBMIT counts as well."""
    require(s.serving == Serving.CALLED)
    return replace(s, serving=Serving.LOADABLE)


@action(by=Actor.FRONTEND, owed=True, cites=(sources.LINUX_RECV, sources.TPMFRONT_RECV))
def frontend_loads_in_order(s: State) -> State:
    """The loads of one processor are done in the order of its program."""
    require(s.asking == Asking.LOADABLE)
    return replace(s, asking=Asking.RESTING, reply=s.data)


@action(by=Actor.BACKEND, owed=True, cites=(sources.TPMBACK_SNAPSHOT, sources.TPMBACK_COPIES_THE_REQUEST))
def backend_loads_in_order(s: State) -> State:
    """The loads of one processor are done in the order of its program."""
    require(s.serving == Serving.LOADABLE)
    return replace(s, serving=Serving.SERVING, job=s.data)


@lemma
def stores_are_on_their_way_only_before_their_event(s: State) -> bool:
    """No program sends its event with a store on its way, and the state word is behind the data."""
    asks = implies(s.request_on_its_way, submitting(s))
    submits = implies(s.submit_on_its_way, among(s.asking, Asking.SUBMITTED, Asking.SEEN_BY_ALL))
    serves = implies(s.answer_on_its_way, serving_now(s) & (s.serving >= Serving.WRITTEN))
    finishes = implies(s.finish_on_its_way, s.serving >= Serving.FINISHED)
    return asks & submits & serves & finishes


def _in_place_of(original: Action[State], other: Action[State]) -> Action[State]:
    return dataclasses.replace(other, name=original.name)


ORDER_TSO: Spec[State] = dataclasses.replace(
    ORDER.variant(
        "tso",
        doc="The same two programs without barriers, on a machine that keeps stores in order and loads in order (x86).",
        replaced=(
            _in_place_of(frontend_waits_for_its_request, frontend_goes_on_to_submit),
            _in_place_of(frontend_waits_for_submit, frontend_goes_on_to_the_event),
            _in_place_of(frontend_sends_the_event, frontends_event_follows_its_stores),
            _in_place_of(backend_waits_for_its_answer, backend_goes_on_to_finish),
            _in_place_of(backend_waits_for_finish, backend_goes_on_to_the_event),
            _in_place_of(backend_sends_the_event, backends_event_follows_its_stores),
            _in_place_of(submit_is_seen, submit_is_seen_after_the_request),
            _in_place_of(finish_is_seen, finish_is_seen_after_the_answer),
            _in_place_of(frontend_drops_early_loads, frontend_goes_on_to_read),
            _in_place_of(backend_drops_early_loads, backend_goes_on_to_read),
            _in_place_of(frontend_reads_the_answer, frontend_loads_in_order),
            _in_place_of(backend_reads_the_request, backend_loads_in_order),
        ),
        dropped=("frontend_loads_early", "backend_loads_early"),
    ),
    name="order.tso",
    lemmas=(
        stores_are_on_their_way_only_before_their_event,
        *(
            known
            for known in ORDER.lemmas
            if known
            not in (
                stores_are_on_their_way_only_before_their_barrier,
                what_is_loaded_past_the_barrier_is_what_the_page_holds,
            )
        ),
    ),
)


# --------------------------------------------------------------------------------------------------------- defects


@action(by=Actor.FRONTEND, owed=True, cites=sources.TPMFRONT_SUBMITS_BEFORE_ARMING)
def frontend_does_not_arm_yet(s: State) -> State:
    """The frontend goes on to SUBMIT without having armed."""
    require(s.asking == Asking.PUBLISHABLE)
    return replace(s, asking=Asking.ARMED)


@action(by=Actor.FRONTEND, owed=True, cites=sources.TPMFRONT_SUBMITS_BEFORE_ARMING)
def frontend_arms_and_sends_the_event(s: State) -> State:
    """The frontend arms when SUBMIT is already seen, then sends its event."""
    require(s.asking == Asking.SEEN_BY_ALL)
    require(negate(s.submit_on_its_way))
    return replace(s, asking=Asking.WAITING, armed=True, to_backend=True)


def _without(base: Spec[State], name: str, doc: str, *pairs: tuple[Action[State], Action[State]]) -> Spec[State]:
    return base.variant(name, doc=doc, replaced=tuple(_in_place_of(*pair) for pair in pairs))


ARMED_LATE = (
    (frontend_arms, frontend_does_not_arm_yet),
    (frontend_sends_the_event, frontend_arms_and_sends_the_event),
)

DEFECTS: Mapping[str, Spec[State]] = MappingProxyType(
    {
        "frontend-data": _without(
            ORDER, "frontend-data", "The frontend has no barrier between its data and SUBMIT.",
            (frontend_waits_for_its_request, frontend_goes_on_to_submit),
        ),
        "frontend-event": _without(
            ORDER, "frontend-event", "The frontend has no barrier between SUBMIT and its event.",
            (frontend_waits_for_submit, frontend_goes_on_to_the_event),
        ),
        "frontend-load": _without(
            ORDER, "frontend-load", "The frontend has no barrier between loading FINISH and loading the data.",
            (frontend_drops_early_loads, frontend_goes_on_to_read),
        ),
        "backend-data": _without(
            ORDER, "backend-data", "The backend has no barrier between its data and FINISH.",
            (backend_waits_for_its_answer, backend_goes_on_to_finish),
        ),
        "backend-event": _without(
            ORDER, "backend-event", "The backend has no barrier between FINISH and its event.",
            (backend_waits_for_finish, backend_goes_on_to_the_event),
        ),
        "backend-load": _without(
            ORDER, "backend-load", "The backend has no barrier between loading SUBMIT and loading the data.",
            (backend_drops_early_loads, backend_goes_on_to_read),
        ),
        "r10": _without(ORDER, "r10", "The frontend arms after SUBMIT instead of before it.", *ARMED_LATE),
        "tso.r10": _without(
            ORDER_TSO, "r10", "The frontend arms after SUBMIT; that stores stay in order does not help.", *ARMED_LATE
        ),
        "tso.frontend-data": _without(
            ORDER_TSO, "frontend-data", "The compiler may move SUBMIT before the frontend's data.",
            (submit_is_seen, submit_is_seen),
        ),
        "tso.backend-data": _without(
            ORDER_TSO, "backend-data", "The compiler may move FINISH before the backend's data.",
            (finish_is_seen, finish_is_seen),
        ),
    }
)  # fmt: skip
"""The two machines with one barrier less each: every one of them breaks a fact."""
