"""Failed proofs as traces: the one step that breaks a fact, and a real run that does."""

from __future__ import annotations

from typing import Any

from vtpm_model.core import Spec
from vtpm_proofs.bounded import Run
from vtpm_proofs.obligation import Result
from vtpm_traces.itf import INIT, Expect, Moment, Trace, to_document


def of_step(spec: Spec[Any], result: Result) -> dict[str, Any]:
    """The step of a counterexample, as an ITF document.

    It is no trace of ours, which begins at the initial state: its first state is one that the lemmas allow, reachable
    or not.
    """
    found = result.counterexample
    assert found is not None
    step = Moment(result.obligation.action, found.picks, found.after)
    title = f"A step that breaks {result.obligation.fact}"
    document = to_document(Trace(spec.name, title, Expect.ACCEPT, (Moment(INIT, {}, found.before), step)), spec)
    document["#meta"] = {
        "format": "ITF",
        "description": f"{title}, from a state that the lemmas allow, reachable or not",
        "specification": spec.name,
        "obligation": result.obligation.name,
    }
    return document


def of_run(spec: Spec[Any], fact: str, run: Run) -> Trace:
    """A run from the initial state that breaks a fact."""
    moments = [Moment(INIT, {}, run.start)]
    moments += [Moment(step.name, step.picks, state) for step, state in run.steps]
    return Trace(
        specification=spec.name,
        title=f"A run that breaks {fact}",
        expect=Expect.ACCEPT,
        moments=tuple(moments),
        provenance={"fact": fact, "start": "the initial state"},
        loop=run.loop,
    )
