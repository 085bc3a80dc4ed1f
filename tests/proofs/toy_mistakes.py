"""The small ring with one mistake each: what the prover has to find."""

from typing import Any

from tests.proofs.toy_ring import CANCEL, FINISH, IDLE, SUBMIT, TOY, Page, Toy, put

from vtpm_model.core import Actor, Spec, action, among, negate, replace, require


@action(by=Actor.BACKEND)
def backend_disconnects(s: Toy) -> Toy:
    """Lets go of the page, and not of the job."""
    require(s.mapped != 0)
    require(negate(s.up))
    return replace(s, mapped=0)


KEEPS_ITS_JOB: Spec[Any] = TOY.variant(
    "keeps-its-job", doc="The job outlives its mapping.", replaced=(backend_disconnects,)
)


@action(by=Actor.BACKEND, owed=True)
def backend_finishes(s: Toy) -> Toy:
    """Answers, and tells nobody."""
    require(s.busy)
    return replace(s, busy=False, page=Page(state=FINISH, answer=s.job))


TELLS_NOBODY: Spec[Any] = TOY.variant("tells-nobody", doc="No event with the answer.", replaced=(backend_finishes,))


@action(by=Actor.FRONTEND)
def frontend_forgets(s: Toy) -> Toy:
    """Counts down."""
    require(negate(s.up))
    return replace(s, job_epoch=s.job_epoch - 1)


COUNTS_DOWN: Spec[Any] = TOY.variant("counts-down", doc="A natural number falls below zero.", added=(frontend_forgets,))


@action(by=Actor.FRONTEND, owed=True)
def frontend_wakes(s: Toy) -> Toy:
    """Takes its event, and asks again what was cancelled."""
    require(s.up)
    require(s.to_frontend)
    require(negate(s.cancelling))
    if s.waiting and s.page.state == FINISH:
        return replace(s, to_frontend=False, waiting=False)
    if s.waiting and s.page.state == IDLE:
        return replace(s, to_frontend=False, page=put(s, SUBMIT), to_backend=True)
    return replace(s, to_frontend=False)


ASKS_AGAIN: Spec[Any] = TOY.variant("asks-again", doc="No cancel ends.", replaced=(frontend_wakes,))


@action(by=Actor.BACKEND, owed=True)
def backend_connects(s: Toy) -> Toy:
    """Maps, but only if nothing stands in the page."""
    require(s.up)
    require(s.mapped == 0)
    require(negate(among(s.page.state, SUBMIT, CANCEL)))
    return replace(s, mapped=s.epoch, to_backend=True)


CONNECTS_LATE: Spec[Any] = TOY.variant("connects-late", doc="Asking prevents it.", replaced=(backend_connects,))


def impossible_start() -> Toy:
    """A frontend that waits without being there."""
    return replace(TOY.init(), waiting=True)


STARTS_WRONG: Spec[Any] = TOY.variant("starts-wrong", doc="The start breaks a lemma.", init=impossible_start)
