"""The counterexample to a liveness claim: a run into a loop that is fair, and in which the claim stays pending.

Fair means: each group of actions that the specification counts on is taken in the loop, or is impossible at some state
of it. A loop comes back to the very state where it began, so one in which a counter grows is not found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vtpm_model.core import Eventually, Spec
from vtpm_proofs import terms
from vtpm_proofs.bounded import CHOICE, Run, Search, Unrolled, replayed
from vtpm_proofs.liveness import possible
from vtpm_proofs.obligation import EngineError
from vtpm_proofs.solvers import SAT, UNSAT, to_z3
from vtpm_proofs.symbolic import formula
from vtpm_proofs.system import System
from vtpm_proofs.terms import INT, Term

ENTRY = terms.variable("!entry", INT)
"""The number of steps before the loop."""


def lasso(spec: Spec[Any], claim: Eventually, *, depth: int = 12, seconds: float = 20.0) -> Search:
    """A shortest run into a fair loop in which the claim stays pending, within the bounds."""
    end = time.monotonic() + seconds
    system = System(spec)
    unrolled = Unrolled(system)
    pending = formula(claim.pending, system.before)
    for moment in range(depth):
        unrolled.solver.add(unrolled.at(unrolled.step, moment))
        said = unrolled.check(_closes(unrolled, pending, moment + 1), end)
        if said == SAT:
            model = unrolled.solver.model()
            entry = model.eval(to_z3(ENTRY), model_completion=True).as_long()
            run = replace(replayed(spec, unrolled.choices(moment + 1)), loop=entry)
            _confirm(spec, claim, run)
            return Search(run, moment + 1, loops=True)
        if said != UNSAT:
            return Search(None, moment, loops=True)
    return Search(None, depth, loops=True)


def _closes(unrolled: Unrolled, pending: Term, length: int) -> Any:
    """After `length` steps the run is back where it was, and what lies between is pending and fair."""
    z3 = unrolled.z3
    loops = []
    for entry in range(length):
        inside = range(entry, length)
        fair = [z3.Or([unrolled.at(to_z3(done), at) for at in inside]) for done in _fair(unrolled)]
        waiting = [unrolled.at(to_z3(pending), at) for at in inside]
        back = unrolled.same(entry, length)
        loops.append(z3.And(to_z3(terms.equal(ENTRY, terms.constant(entry))), back, *waiting, *fair))
    return z3.Or(loops)


def _fair(unrolled: Unrolled) -> Iterator[Term]:
    """For each group, what some moment of a fair loop must be: the group is impossible, or one of it is taken."""
    spec = unrolled.system.spec
    for group, names in spec.fair.items():
        taken = [
            terms.equal(CHOICE, terms.constant(at)) for at, way in enumerate(unrolled.ways) if way.action.name in names
        ]
        yield terms.disjunction((terms.negation(possible(unrolled.system, group)), *taken))


def _confirm(spec: Spec[Any], claim: Eventually, run: Run) -> None:
    states = run.states
    assert run.loop is not None
    if states[run.loop] != states[-1] or not all(claim.pending(state) for state in states[run.loop :]):
        raise EngineError(
            f"{spec.name}: the loop found for {claim.name} is none: {[step.name for step, _ in run.steps]}"
        )
