"""Is an event log a behaviour of a specification: the set of states that the log allows, line by line.

At first only so many hidden steps are taken as a line needs, the fewest that make it possible. Whatever is accepted
that way is accepted. If no line can follow, states may have been passed over: all states are then kept, hidden actions
closed to a fixpoint before each line, from a little earlier, and at last from the beginning. Only that refuses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from vtpm_model.core import Disabled, Spec
from vtpm_traces.files import BadInput
from vtpm_traces.log import Event, Log, Reader
from vtpm_traces.observe import Origin
from vtpm_traces.sayings import Memory
from vtpm_traces.steps import Steps
from vtpm_traces.values import told
from vtpm_traces.verdict import Outcome, Stuck, Taken, Verdict

Link: TypeAlias = "tuple[Link | None, str, Mapping[str, Any], Any, int]"
"""How a node was reached: the link before, action, picks, state after, line (0: a hidden step)."""

Node: TypeAlias = "tuple[Any, int]"
"""A state, and what the lines have said so far of things outside the model."""

Front: TypeAlias = "dict[Node, Link | None]"

EVERY = 256
"""Lines between two places from which the validation can be taken up again."""


@dataclass(frozen=True)
class Bounds:
    """How many states hidden steps may lead to before one line, until the verdict is *undecided*."""

    closure: int = 20_000


class _NoFurther(Exception):
    """No state allows the line; these are the states before it."""

    def __init__(self, line: int, event: Event, front: Front, *, whole: bool) -> None:
        super().__init__(line)
        self.line, self.event, self.front, self.whole = line, event, front, whole


def validate(spec: Spec[Any], log: Log, *, bounds: Bounds | None = None, keep_run: bool = False) -> Verdict:
    """The verdict of a specification on an event log; with `keep_run` an accepted one has its completed run."""
    try:
        return _Validation(spec, log, bounds or Bounds(), keep_run=keep_run).verdict()
    except BadInput as error:
        return Verdict(Outcome.MALFORMED, spec.name, 0, reason=str(error))


class _Validation:
    def __init__(self, spec: Spec[Any], log: Log, bounds: Bounds, *, keep_run: bool) -> None:
        self.spec, self.log, self.bounds, self.keep_run = spec, log, bounds, keep_run
        self.reader = Reader(spec, log)
        self.hidden = self.reader.hidden()
        self.steps = Steps(spec, self.reader.candidates())
        self.memory = Memory()
        self.runs: dict[str, Callable[..., Any]] = {action.name: action.run for action in spec.actions}
        self.complete = {action.name: len(action.picks) for action in spec.actions}
        self.lines = 0
        self.widest = 1
        self.met = 0
        self.cut = False  # the bound was hit somewhere

    def verdict(self) -> Verdict:
        front: Front = {(self.spec.init(), 0): None}
        saved: list[tuple[int, Front]] = [(0, front)]
        after = 0  # lines that are done
        while True:
            try:
                front = self._pass(front, after, saved, whole=False)
                return self._accepted(front)
            except _NoFurther as stuck:
                if not self.hidden and stuck.whole:
                    return self._refused(stuck)
                again = self._whole_from_earlier(stuck, saved)
                if isinstance(again, _NoFurther):
                    return self._refused(again)
                front, after = again

    def _whole_from_earlier(self, stuck: _NoFurther, saved: list[tuple[int, Front]]) -> tuple[Front, int] | _NoFurther:
        """All states after the line at which the quick way stuck, or where the whole way sticks."""
        result = stuck
        for back in (1, 8, len(saved)):
            del saved[max(1, len(saved) - back + 1) :]
            after, front = saved[-1]
            try:
                return self._pass(front, after, None, whole=True, until=stuck.line), stuck.line
            except _NoFurther as further:
                result = further
        return result

    def _pass(
        self, front: Front, after: int, saved: list[tuple[int, Front]] | None, *, whole: bool, until: int | None = None
    ) -> Front:
        """Go through the lines after the given number of them. Raises _NoFurther."""
        count = after
        for number, document in itertools.islice(self.log.lines(), after, until):
            event = self.reader.event(number, document)
            count += 1
            quick = None if whole or event.contents else self._only(front, event)
            if quick is not None:
                front = quick
            else:
                before = front
                front = self._advance(before, event, count, whole=whole)
                if len(front) > self.widest:
                    self.widest = len(front)
            if saved is not None and count % EVERY == 0 and count > saved[-1][0]:
                saved.append((count, front))
        self.lines = max(self.lines, count)
        return front

    def _only(self, front: Front, event: Event) -> Front | None:
        """The next state where there is one state, and all of the step is logged."""
        if len(front) != 1 or len(event.picks) != self.complete[event.action]:
            return None
        (((state, said), link),) = front.items()
        try:
            after = self.runs[event.action](state, **event.picks)
        except Disabled:
            return None
        for leaf, value in event.after:
            if leaf.get(after) != value:
                return None
        self.met += 1
        return {(after, said): (link, event.action, event.picks, after, event.line) if self.keep_run else None}

    def _advance(self, front: Front, event: Event, count: int, *, whole: bool) -> Front:
        """All nodes after a line: from all nodes that hidden steps reach, or from those that fewest hidden steps do."""
        here: Front = front
        reached = dict(front)
        whole_closure = True
        if whole:
            whole_closure = self._close(reached)
            here = reached
        while True:
            after = self._after(here, event)
            if after:
                return after
            here = {} if whole else self._hidden_steps(here, reached)
            if not here:
                break
            if len(reached) > self.bounds.closure:
                whole_closure = False
                break
        self.cut = self.cut or not whole_closure
        raise _NoFurther(count, event, reached, whole=whole or not self.hidden)

    def _close(self, reached: Front) -> bool:
        here = dict(reached)
        while here:
            here = self._hidden_steps(here, reached)
            if len(reached) > self.bounds.closure:
                self.cut = True
                return False
        return True

    def _hidden_steps(self, front: Front, reached: Front) -> Front:
        """The nodes one hidden step further that were not reached before; they are noted as reached."""
        fresh: Front = {}
        for (state, said), link in front.items():
            for name in self.hidden:
                for picks, after in self.steps.take(state, name, {}):
                    node = (after, said)
                    if node not in reached:
                        reached[node] = fresh[node] = (link, name, picks, after, 0) if self.keep_run else None
        self.met += len(fresh)
        return fresh

    def _after(self, front: Front, event: Event) -> Front:
        """The nodes after exactly this line."""
        found: Front = {}
        for (state, said), link in front.items():
            for picks, after in self.steps.take(state, event.action, event.picks):
                if any(leaf.get(after) != value for leaf, value in event.after):
                    continue
                now = self._say(said, event, after)
                if now is not None:
                    found[after, now] = (link, event.action, picks, after, event.line) if self.keep_run else None
        self.met += len(found)
        return found

    def _say(self, said: int, event: Event, after: Any) -> int | None:
        if not event.contents:
            return said
        return self.memory.after(said, {(kind, leaf.get(after)): content for kind, leaf, content in event.contents})

    # ------------------------------------------------------------------------------------------------- the verdict

    def _accepted(self, front: Front) -> Verdict:
        run = tuple(self._run(next(iter(front.values())))) if self.keep_run else ()
        return Verdict(Outcome.ACCEPTED, self.spec.name, self.lines, self.met, self.widest, run)

    def _run(self, link: Link | None) -> Iterator[Taken]:
        links = []
        while link is not None:
            links.append(link)
            link = link[0]
        for _, name, picks, after, line in reversed(links):
            seen = (Origin(str(self.log.path), line, name),) if line else ()
            action = self.steps.action(name)
            if action is not None:
                yield Taken(name, action.by, picks, after, seen)

    def _refused(self, stuck: _NoFurther) -> Verdict:
        states = [state for state, _ in stuck.front]
        outcome, reason = Outcome.REFUSED, ""
        if self.cut:
            outcome, reason = Outcome.UNDECIDED, f"hidden steps lead to more than {self.bounds.closure} states"
        elif self.steps.untried:
            untried = ", ".join(sorted(self.steps.untried))
            outcome, reason = Outcome.UNDECIDED, f"not all values were tried of {untried}; give candidates or the picks"
        event = stuck.event
        values: dict[str, set[str]] = {leaf.path: set() for leaf, _ in event.after}
        seen = {leaf.path: value for leaf, value in event.after}
        for state in states:
            for _, after in self.steps.take(state, event.action, event.picks):
                for leaf, _ in event.after:
                    values[leaf.path].add(told(leaf.sort, leaf.get(after)))
        otherwise = {
            leaf.path: tuple(sorted(values[leaf.path]))
            for leaf, value in event.after
            if values[leaf.path] and told(leaf.sort, seen[leaf.path]) not in values[leaf.path]
        }
        told_stuck = Stuck(Origin(str(self.log.path), event.line, event.text), self.steps.possible(states), otherwise)
        return Verdict(outcome, self.spec.name, stuck.line, self.met, self.widest, stuck=(told_stuck,), reason=reason)
