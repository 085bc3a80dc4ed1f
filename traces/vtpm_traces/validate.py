"""Is an event log a behaviour of a specification: the states that the log allows, line by line.

Where everything is logged there is one state, and each line is one step. Else a line is followed quickly at first,
after as few hidden steps as it needs. Whatever is accepted that way is accepted. Where no line can follow, some states
were passed over: the last lines are followed once more with more care, at last all lines with all care, hidden actions
closed to a fixpoint before each. Only that refuses.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vtpm_model.core import Disabled, Spec
from vtpm_traces.belief import Beliefs, Care, Move, Numbers, Place
from vtpm_traces.files import BadInput
from vtpm_traces.identities import UNASKED, known
from vtpm_traces.log import Event, Log, Reader
from vtpm_traces.observe import Origin
from vtpm_traces.steps import Steps
from vtpm_traces.values import told
from vtpm_traces.verdict import Outcome, Stuck, Taken, Verdict

REMEMBERED = 300_000
"""States that the table of beliefs may come to hold before it is begun anew."""

QUICK = Care(0, 400)
MORE_CARE = (
    (1, Care(1, 400)),
    (2, Care(2, 400)),
    (4, Care(2, 1_000)),
    (0, Care(0, 4_000)),
    (8, Care(3, 2_000)),
    (16, Care(4, 4_000)),
    (64, Care(6, 8_000)),
)
"""How many lines before the one that is not possible are followed again, with which care."""


@dataclass(frozen=True)
class Bounds:
    """How many states hidden steps may lead to before one line, until the verdict is *undecided*."""

    closure: int = 20_000


def validate(spec: Spec[Any], log: Log, *, bounds: Bounds | None = None, keep_run: bool = False) -> Verdict:
    """The verdict of a specification on an event log; with `keep_run` an accepted one has its completed run."""
    try:
        return _Validation(spec, log, bounds or Bounds(), keep_run=keep_run).verdict()
    except BadInput as error:
        return Verdict(Outcome.MALFORMED, spec.name, 0, reason=str(error))


class _ShowsNumbers(Exception):
    """A line shows a number, and numbers were not kept."""


@dataclass(slots=True)
class _At:
    """Where the specification can be after some lines, and how the last of them led there.

    The move ends at `end`; where the place is another one, each of its states is one of `sources`, in the same order:
    states at the end or, without a move, where the table of beliefs was begun anew, of the place before.
    """

    beliefs: Beliefs
    place: Place
    numbers: Numbers
    lines: int
    number: int = 0
    event: Event | None = None
    move: Move | None = None
    end: Place | None = None
    sources: tuple[int, ...] = ()


class _Validation:
    def __init__(self, spec: Spec[Any], log: Log, bounds: Bounds, *, keep_run: bool) -> None:
        self.spec, self.log, self.keep_run = spec, log, keep_run
        self.all_care = Care(None, bounds.closure)
        self.more_care = [(back, replace(care, bound=min(care.bound, bounds.closure))) for back, care in MORE_CARE]
        self.reader = Reader(spec, log)
        self.hidden = self.reader.hidden()
        self.steps = Steps(spec, self.reader.candidates())
        self.said: dict[tuple[str, Any], tuple[Hashable, int]] = {}  # what was said of a number, after how many lines
        self.narrowed = 0  # the line that gave a content for a number that it may have had several of
        self.lines = 0
        self.met = 1
        self.widest = 1

    def verdict(self) -> Verdict:
        state = self.spec.init()
        run: list[Taken] = []
        if not self.hidden:
            state, more = self._while_one_state(state, run)
            if not more:
                return self._done(Outcome.ACCEPTED, run=tuple(run))
        try:
            if not self._counts_only():
                raise _ShowsNumbers
            return self._through_places(state, run, numbered=False)
        except _ShowsNumbers:
            return self._through_places(state, run, numbered=True)

    def _counts_only(self) -> bool:
        """Whether it is known that the actions only compare numbers and count on, and nobody picks one."""
        picks = (sort for action in self.spec.actions for sort in self.steps.sorts(action.name).values())
        return known(self.spec.state) and not any(sort.number for sort in picks)

    def _needs_numbers(self, event: Event) -> bool:
        """Whether a line shows what is not told apart otherwise."""
        return bool(event.numbers or event.contents) or any(leaf.path in UNASKED for leaf, _ in event.after)

    def _while_one_state(self, state: Any, taken: list[Taken]) -> tuple[Any, bool]:
        """The state before the first line that is not, with all its picks, one possible step; and if there is one."""
        runs = {action.name: (action.run, len(action.picks), action.by) for action in self.spec.actions}
        keep_run, done, more = self.keep_run, 0, False
        for number, event in self.reader.events():
            run, picks, by = runs[event.action]
            if len(event.picks) != picks or event.contents:
                more = True
                break
            try:
                after = run(state, **event.picks)
            except Disabled:
                more = True
                break
            for leaf, value in event.after:
                if leaf.get(after) != value:
                    more = True
                    break
            if more:
                break
            state = after
            done += 1
            if keep_run:
                taken.append(Taken(event.action, by, event.picks, after, (self._origin(number, event),)))
        self.lines = self.met = done
        return state, more

    def _through_places(self, state: Any, run: list[Taken], *, numbered: bool) -> Verdict:
        beliefs = Beliefs(self.spec, self.steps, self.hidden, numbered=numbered)
        before = self.lines if not run else len(run)
        start = _At(beliefs, *beliefs.at([state]), before)
        longest = None if self.keep_run else MORE_CARE[-1][0] + 1
        history = deque([start], longest)
        for number, event in itertools.islice(self.reader.events(), before, None):
            if not numbered and self._needs_numbers(event):
                raise _ShowsNumbers
            if len(history[-1].beliefs.states) > REMEMBERED:
                history.append(self._begun_anew(history[-1]))
            after = self._follow(history[-1], number, event, QUICK)
            if after is not None:
                history.append(after)
            elif not self._with_more_care(history, number, event):
                stuck = self._with_all_care(start, history, number)
                if stuck is not None:
                    return self._refused(stuck, number, event)
            self.widest = max(self.widest, history[-1].beliefs.widest)
        self.lines = history[-1].lines
        self.met += len(history[-1].beliefs.states)
        completed = self._completed(state, history) if self.keep_run else ()
        return self._done(Outcome.ACCEPTED, run=(*run, *completed))

    def _follow(self, here: _At, number: int, event: Event, care: Care) -> _At | None:
        result = here.beliefs.follow(here.place, here.numbers, event, care)
        if result is None:
            return None
        place, numbers, move = result
        after = _At(here.beliefs, place, numbers, here.lines + 1, number, event, move, place)
        return self._agreeing(after, event) if event.contents else after

    def _with_more_care(self, history: deque[_At], number: int, event: Event) -> bool:
        """Whether the line was found possible by following the last lines again; the history then ends with it."""
        for back, care in self.more_care:
            first = max(0, len(history) - 1 - back)
            again = list(itertools.islice(history, first + 1, None))
            found: list[_At] = []
            here: _At | None = history[first]
            self._forget_after(history[first].lines)
            for one, said in (*((at.number, at.event) for at in again), (number, event)):
                if here is not None:
                    here = self._begun_anew(here) if said is None else self._follow(here, one, said, care)
                if here is None:
                    break
                found.append(here)
            if here is not None:
                for _ in again:
                    history.pop()
                history.extend(found)
                return True
        return False

    def _with_all_care(self, start: _At, history: deque[_At], until: int) -> _At | None:
        """Follow all lines again until this one, with all care; where no line can follow, if so."""
        history.clear()
        history.append(start)
        self._forget_after(start.lines)
        for number, event in itertools.islice(self.reader.events(), start.lines, None):
            if len(history[-1].beliefs.states) > REMEMBERED:
                history.append(self._begun_anew(history[-1]))
            after = self._follow(history[-1], number, event, self.all_care)
            if after is None:
                return history[-1]
            history.append(after)
            if number == until:
                break
        return None

    def _begun_anew(self, here: _At) -> _At:
        """The same states in an empty table."""
        states = [here.beliefs.real(here.place, here.numbers, index) for index in here.place.states]
        self.met += len(here.beliefs.states)
        beliefs = Beliefs(self.spec, self.steps, self.hidden, numbered=here.beliefs.numbered)
        return _At(beliefs, *beliefs.at(states), here.lines, sources=here.place.states)

    def _agreeing(self, after: _At, event: Event) -> _At | None:
        """The states in which what the line says of numbered things agrees with what was said before; it is noted."""
        states = {index: after.beliefs.real(after.place, after.numbers, index) for index in after.place.states}
        for kind, leaf, content in event.contents:
            agreeing = {
                index: state
                for index, state in states.items()
                if self.said.get((kind, leaf.get(state)), (content, 0))[0] == content
            }
            if not agreeing:
                return None
            number = leaf.get(next(iter(agreeing.values())))
            states = {index: state for index, state in agreeing.items() if leaf.get(state) == number}
            if len(states) < len(agreeing) and not self.narrowed:
                self.narrowed = after.number
            self.said.setdefault((kind, number), (content, after.lines))
        if len(states) == len(after.place.states):
            return after
        place, numbers = after.beliefs.at(list(states.values()))
        return replace(after, place=place, numbers=numbers, sources=tuple(states))

    def _forget_after(self, lines: int) -> None:
        if self.said:
            self.said = {subject: known for subject, known in self.said.items() if known[1] <= lines}

    # ------------------------------------------------------------------------------------------------- the verdict

    def _completed(self, state: Any, history: Iterable[_At]) -> Iterator[Taken]:
        """The run from the first state that leads to one of the last ones, hidden steps included."""
        entries = list(history)
        path: list[tuple[str, Mapping[str, Any], tuple[Origin, ...]]] = []
        wanted = entries[-1].place.states[0]
        for before, at in zip(entries[-2::-1], entries[:0:-1], strict=True):
            if at.sources:
                wanted = at.sources[at.place.states.index(wanted)]
            if at.move is None or at.event is None or at.end is None:
                continue
            landing = at.beliefs.landing(at.move, at.end, wanted)
            path.append((at.event.action, {**landing.picks, **at.event.picks}, (self._origin(at.number, at.event),)))
            wanted = landing.before
            while (hidden := before.place.reached[wanted]) is not None:
                path.append((hidden.action, hidden.picks, ()))
                wanted = hidden.before
        for name, picks, seen in reversed(path):
            action = self.spec.action(name)
            state = action.run(state, **picks)
            yield Taken(name, action.by, picks, state, seen)

    def _origin(self, number: int, event: Event) -> Origin:
        return Origin(str(self.log.path), number, event.text)

    def _done(self, outcome: Outcome, **more: Any) -> Verdict:
        return Verdict(outcome, self.spec.name, self.lines, self.met, self.widest, **more)

    def _refused(self, at: _At, number: int, event: Event) -> Verdict:
        self.lines = at.lines
        self.met += len(at.beliefs.states)
        self.widest = max(self.widest, at.beliefs.widest)
        reached = [index for here in at.beliefs.reach(at.place, self.all_care.bound) for index in here]
        states = [at.beliefs.real(at.place, at.numbers, index) for index in reached]
        outcome, reason = Outcome.REFUSED, ""
        if at.beliefs.cut:
            outcome = Outcome.UNDECIDED
            reason = f"hidden steps lead to more than {self.all_care.bound} states before some line"
        elif self.narrowed:
            outcome, reason = Outcome.UNDECIDED, f"no line determines what line {self.narrowed} gives the content of"
        elif self.steps.untried:
            outcome = Outcome.UNDECIDED
            reason = f"not all values were tried of {', '.join(sorted(self.steps.untried))}; log or give candidates"
        stuck = Stuck(self._origin(number, event), self.steps.possible(states), self._otherwise(event, states))
        return self._done(outcome, stuck=(stuck,), reason=reason)

    def _otherwise(self, event: Event, states: Iterable[Any]) -> dict[str, tuple[str, ...]]:
        """For each field that no step of the action leaves as it was observed, the values that it could have."""
        found: dict[str, set[str]] = {leaf.path: set() for leaf, _ in event.after}
        for state in states:
            for _, after in self.steps.take(state, event.action, event.picks):
                for leaf, _ in event.after:
                    found[leaf.path].add(told(leaf.sort, leaf.get(after)))
        return {
            leaf.path: tuple(sorted(found[leaf.path]))
            for leaf, value in event.after
            if found[leaf.path] and told(leaf.sort, value) not in found[leaf.path]
        }
