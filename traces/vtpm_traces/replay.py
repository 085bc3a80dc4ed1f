"""Runs a trace on a specification: what must be possible is, with exactly the states given; what must not be is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Disabled, Spec
from vtpm_traces.itf import Expect, Trace
from vtpm_traces.steps import Steps
from vtpm_traces.values import leaves, told


@dataclass(frozen=True)
class Replay:
    """How a trace went: the number of steps that were possible with the states given, and why the next one was not."""

    trace: Trace
    done: int
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether the specification does what the trace expects."""
        last = len(self.trace.moments) - 1
        if self.trace.expect is Expect.ACCEPT:
            return self.done == last and not self.problem
        return self.done == last - 1 and bool(self.problem)

    @property
    def sentence(self) -> str:
        """What happened, told against what was expected."""
        if self.holds:
            return f"refused at its last step: {self.problem}" if self.problem else f"accepted, {self.done} steps"
        if self.trace.expect is Expect.REJECT and not self.problem:
            return "its last step should be refused, and is possible"
        return f"step {self.done + 1} should be possible: {self.problem}"


def replay(spec: Spec[Any], trace: Trace) -> Replay:
    """Take the steps of a trace one by one, until one is not possible or ends in another state than the trace's."""
    steps = Steps(spec)
    state = trace.moments[0].state
    if state != spec.init():
        return Replay(trace, -1, "it does not begin in the initial state; " + difference(state, spec.init()))
    for done, moment in enumerate(trace.moments[1:]):
        action = steps.action(moment.action)
        try:
            if action is None:
                raise Disabled
            after = action.run(state, **moment.picks)
        except Disabled:
            name = steps.told(moment.action, moment.picks) if action is not None else moment.action
            possible = ", ".join(steps.possible([state])) or "nothing"
            return Replay(trace, done, f"{name} is not possible; possible is {possible}")
        if after != moment.state:
            told_name = steps.told(moment.action, moment.picks)
            return Replay(trace, done, f"{told_name} ends otherwise; {difference(moment.state, after)}")
        state = after
    last = len(trace.moments) - 1
    if trace.loop is not None and trace.moments[trace.loop].state != state:
        return Replay(trace, last, f"the last state is not that of moment {trace.loop}, to which the loop leads")
    return Replay(trace, last)


def difference(expected: Any, found: Any) -> str:
    """The fields in which two states differ: "page.state is FINISH, the trace has IDLE"."""
    parts = [
        f"{leaf.path} is {told(leaf.sort, leaf.get(found))}, the trace has {told(leaf.sort, leaf.get(expected))}"
        for leaf in leaves(type(found)).values()
        if leaf.get(found) != leaf.get(expected)
    ]
    return "; ".join(parts)
