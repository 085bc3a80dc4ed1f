"""A small ring to try the engine on: one page, two event bits, a frontend that cancels and crashes, a backend."""

from enum import IntEnum

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

FRONTEND, BACKEND, XEN = Actor.FRONTEND, Actor.BACKEND, Actor.XEN


class Byte(IntEnum):
    IDLE = 0
    SUBMIT = 1
    FINISH = 2
    CANCEL = 3


IDLE, SUBMIT, FINISH, CANCEL = Byte


@record
class Page:
    state: Byte
    answer: Nat


@record
class Toy:
    page: Page
    to_backend: bool
    to_frontend: bool
    up: bool
    epoch: Nat
    request: Nat
    waiting: bool
    cancelling: bool
    cancelled: bool
    mapped: Nat
    busy: bool
    job: Nat
    job_epoch: Nat


def start() -> Toy:
    return Toy(
        page=Page(state=IDLE, answer=0), to_backend=False, to_frontend=False, up=False, epoch=0, request=0,
        waiting=False, cancelling=False, cancelled=False, mapped=0, busy=False, job=0, job_epoch=0,
    )  # fmt: skip


def put(s: Toy, state: Byte) -> Page:
    return replace(s.page, state=state)


@action(by=FRONTEND)
def frontend_connects(s: Toy) -> Toy:
    """A new page, once the backend has let go of the old one."""
    require(negate(s.up))
    require(s.mapped == 0)
    page = Page(state=IDLE, answer=0)
    return replace(s, up=True, epoch=s.epoch + 1, page=page, to_backend=False, to_frontend=False)


@action(by=FRONTEND)
def frontend_submits(s: Toy) -> Toy:
    """A request."""
    require(s.up)
    require(negate(s.waiting))
    return replace(s, page=put(s, SUBMIT), request=s.request + 1, waiting=True, cancelled=False, to_backend=True)


@action(by=FRONTEND)
def frontend_decides_to_cancel(s: Toy) -> Toy:
    """Looks, and will write."""
    require(s.waiting)
    require(s.page.state == SUBMIT)
    require(negate(s.cancelled) & negate(s.cancelling))
    return replace(s, cancelling=True)


@action(by=FRONTEND, owed=True)
def frontend_cancels(s: Toy) -> Toy:
    """Writes CANCEL over whatever is there."""
    require(s.cancelling)
    return replace(s, page=put(s, CANCEL), cancelling=False, cancelled=True, to_backend=True)


@action(by=FRONTEND, owed=True)
def frontend_wakes(s: Toy) -> Toy:
    """Takes its event."""
    require(s.up)
    require(s.to_frontend)
    require(negate(s.cancelling))
    if s.waiting and among(s.page.state, FINISH, IDLE):
        return replace(s, to_frontend=False, waiting=False)
    return replace(s, to_frontend=False)


@action(by=FRONTEND)
def frontend_crashes(s: Toy) -> Toy:
    """Gone."""
    require(s.up)
    return replace(s, up=False, waiting=False, cancelling=False, cancelled=False)


@action(by=BACKEND, owed=True)
def backend_connects(s: Toy) -> Toy:
    """Maps; binding raises the event."""
    require(s.up)
    require(s.mapped == 0)
    return replace(s, mapped=s.epoch, to_backend=True)


@action(by=BACKEND, owed=True)
def backend_wakes(s: Toy) -> Toy:
    """Takes its event."""
    require(s.to_backend)
    require(s.mapped != 0)
    if s.page.state == SUBMIT and not s.busy:
        return replace(s, to_backend=False, busy=True, job=s.request, job_epoch=s.mapped)
    if s.page.state == CANCEL and not s.busy:
        return replace(s, to_backend=False, page=put(s, IDLE), to_frontend=True)
    return replace(s, to_backend=False)


@action(by=BACKEND, owed=True)
def backend_finishes(s: Toy) -> Toy:
    """Answers."""
    require(s.busy)
    return replace(s, busy=False, page=Page(state=FINISH, answer=s.job), to_frontend=True)


@action(by=BACKEND, owed=True)
def backend_aborts(s: Toy) -> Toy:
    """Gives up."""
    require(s.busy)
    return replace(s, busy=False, page=put(s, IDLE), to_frontend=True)


@action(by=BACKEND)
def backend_disconnects(s: Toy) -> Toy:
    """Lets go."""
    require(s.mapped != 0)
    require(negate(s.up))
    return replace(s, mapped=0, busy=False)


@action(by=XEN)
def event_comes_unasked(s: Toy, backend: bool) -> Toy:
    """A port becomes pending without a reason."""
    if backend:
        require(s.mapped != 0)
        return replace(s, to_backend=True)
    require(s.up)
    return replace(s, to_frontend=True)


@always(covers="E12")
def no_wakeup_is_lost(s: Toy) -> bool:
    """While somebody waits, somebody will be woken."""
    asked = among(s.page.state, SUBMIT, CANCEL)
    told = implies(asked, s.busy | s.to_backend | s.cancelling) & implies(negate(asked), s.to_frontend | s.cancelling)
    return implies(s.waiting & (s.mapped != 0), told)


@every_step(covers="E4")
def an_answer_is_to_the_last_request(before: Toy, step: Step, after: Toy) -> bool:
    """Whoever stops waiting on FINISH has the answer to what it asked."""
    if step.name != "frontend_wakes":
        return True
    done = before.waiting & negate(after.waiting) & (before.page.state == FINISH)
    return implies(done, before.page.answer == before.request)


@every_step(covers="E1")
def each_side_writes_its_own_bytes(before: Toy, step: Step, after: Toy) -> bool:
    """SUBMIT and CANCEL are the frontend's, FINISH and IDLE the backend's."""
    if step.name == "frontend_connects":
        return True
    mine = among(after.page.state, SUBMIT, CANCEL) if step.by == FRONTEND else among(after.page.state, FINISH, IDLE)
    return implies(before.page != after.page, mine)


@every_step(covers="E13")
def an_answer_stays_in_its_connection(before: Toy, step: Step, after: Toy) -> bool:
    """A job that ends with an answer belongs to the connection."""
    ends = before.busy & negate(after.busy) & (before.page != after.page)
    return implies(ends, (before.job_epoch == before.epoch) & (before.mapped != 0))


@lemma
def a_mapping_is_current(s: Toy) -> bool:
    """Mapped is none or this epoch."""
    return (s.mapped == 0) | (s.mapped == s.epoch)


@lemma
def a_job_is_of_the_mapping(s: Toy) -> bool:
    """Busy only while mapped."""
    return implies(s.busy, (s.mapped != 0) & (s.job_epoch == s.mapped))


@lemma
def a_job_is_the_last_request(s: Toy) -> bool:
    """Of a frontend that is up."""
    return implies(s.busy & s.up, (s.job == s.request) & s.waiting)


@lemma
def a_job_stands_in_the_page(s: Toy) -> bool:
    """As SUBMIT or CANCEL."""
    return implies(s.busy & s.up, among(s.page.state, SUBMIT, CANCEL))


@lemma
def an_answer_is_current(s: Toy) -> bool:
    """While it is waited for."""
    return implies(s.waiting & (s.page.state == FINISH), s.page.answer == s.request)


@lemma
def waiting_means_up(s: Toy) -> bool:
    """Nobody waits who is not there."""
    return implies(s.waiting, s.up)


@lemma
def cancelling_means_waiting(s: Toy) -> bool:
    """And only once."""
    return implies(s.cancelling, s.waiting & negate(s.cancelled))


@lemma
def a_request_in_the_page_is_waited_for(s: Toy) -> bool:
    """While its frontend is up."""
    return implies(s.up & among(s.page.state, SUBMIT, CANCEL), s.waiting)


@lemma
def an_epoch_is_counted(s: Toy) -> bool:
    """From one."""
    return implies(s.up, s.epoch > 0)


@lemma
def nothing_is_answered_unmapped(s: Toy) -> bool:
    """Without a backend the request stands."""
    return implies(s.waiting & (s.mapped == 0), among(s.page.state, SUBMIT, CANCEL))


def helpful(s: Toy) -> str:
    """The group whose turn it is."""
    if s.cancelling:
        return "cancel"
    if s.mapped == 0:
        return "connect"
    if s.busy:
        return "work"
    if among(s.page.state, SUBMIT, CANCEL):
        return "take"
    return "wake"


def rank(s: Toy) -> tuple[int, int]:
    """Cancels still to come, stages still to go."""
    budget = 0
    if s.cancelling:
        budget = 1
    elif negate(s.cancelled):
        budget = 2
    stage = 0
    if s.mapped == 0:
        stage = 3
    elif s.busy:
        stage = 1
    elif among(s.page.state, SUBMIT, CANCEL):
        stage = 2
    return budget, stage


@eventually(helpful=helpful, rank=rank, covers="E11")
def every_request_is_answered(s: Toy) -> bool:
    """Or its frontend is gone."""
    return s.waiting


TOY: Spec[Toy] = Spec(
    name="toy",
    doc="A small ring.",
    state=Toy,
    init=start,
    actions=(
        frontend_connects, frontend_submits, frontend_decides_to_cancel, frontend_cancels, frontend_wakes,
        frontend_crashes, backend_connects, backend_wakes, backend_finishes, backend_aborts, backend_disconnects,
        event_comes_unasked,
    ),
    facts=(
        no_wakeup_is_lost, an_answer_is_to_the_last_request, each_side_writes_its_own_bytes,
        an_answer_stays_in_its_connection,
    ),
    lemmas=(
        a_mapping_is_current, a_job_is_of_the_mapping, a_job_is_the_last_request, a_job_stands_in_the_page,
        an_answer_is_current, waiting_means_up, cancelling_means_waiting, a_request_in_the_page_is_waited_for,
        an_epoch_is_counted, nothing_is_answered_unmapped,
    ),
    liveness=(every_request_is_answered,),
    fair={
        "cancel": ("frontend_cancels",),
        "connect": ("backend_connects",),
        "take": ("backend_wakes",),
        "work": ("backend_finishes", "backend_aborts"),
        "wake": ("frontend_wakes",),
    },
)  # fmt: skip
