"""How a state goes on under what the streams of a recording show next: found once, and kept.

Recordings repeat themselves. Each state is replaced by the one that stands for all that go on like it, and what a
stream shows next by its meaning, without its place: the steps that are possible then, and the streams that may or must
move on with each, are the same whenever both are met again, in this recording or in one that differs in some lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vtpm_model.core import Spec, Step
from vtpm_traces.observe import Call, Happened, Observation, Quiescent, Recording, StateTest, StepTest, Stream
from vtpm_traces.sayings import Memory, Renaming
from vtpm_traces.steps import Steps, effort

_NOBODY = ((),)
"""No stream moves on."""

_Key = tuple[str, frozenset[tuple[str, Any]]]


@dataclass(frozen=True)
class Ahead:
    """What a stream shows next, and what it would have seen: no calls, if it shows no step now."""

    calls: tuple[Call, ...]
    fits: StepTest | None
    sees: frozenset[str]
    sight: StepTest | None


class Going(NamedTuple):
    """A step from a state: `raw` is the state after it, in the numbers of the one before; `after` stands for that.

    `moving` are the choices of streams that move on with it. `renaming` tells how what was said goes on.
    """

    step: Step
    raw: Any
    after: int
    effort: int
    moving: tuple[tuple[int, ...], ...]
    renaming: Renaming | None


class Goings:
    """The states that were met, each with its number, and how they go on; what was said is kept with them."""

    def __init__(self, spec: Spec[Any], recording: Recording) -> None:
        self.steps = Steps(spec, recording.candidates)
        self.memory = Memory()
        self.states: list[Any] = []
        self._hidden = tuple(a.name for a in spec.actions if a.name in recording.hidden)
        self._effort = {a.name: effort(a) for a in spec.actions}
        self._alike, self._recalls = recording.alike, recording.recalls
        self._index: dict[Any, int] = {}
        self._aheads: list[Ahead] = []
        self._ahead_index: dict[Hashable, int] = {}
        self._goings: dict[tuple[int, tuple[int, ...]], tuple[Going, ...]] = {}
        self._renamings: dict[tuple[tuple[Hashable, Hashable], ...], Renaming] = {}
        self._fits: dict[tuple[int, StateTest], bool] = {}

    def known(self, state: Any) -> int:
        """The number of the state that stands for this one."""
        if self._alike is not None:
            state = self._alike(state)
        number = self._index.get(state)
        if number is None:
            number = self._index[state] = len(self.states)
            self.states.append(state)
        return number

    def fits(self, state: int, test: StateTest) -> bool:
        """Whether a state passes a test."""
        key = (state, test)
        found = self._fits.get(key)
        if found is None:
            found = self._fits[key] = test(self.states[state])
        return found

    def rests(self, state: int, observation: Quiescent) -> bool:
        """Whether nobody owes a step whom the observation says to be at rest."""
        return self.steps.owed(self.states[state], observation.by, observation.except_for) is None

    def ahead(self, stream: Stream, observation: Observation | None, *, blind: bool) -> int:
        """The number of what a stream shows next: this observation (None: nothing more), while it is `blind` or not."""
        calls, fits = (observation.calls, observation.fits) if isinstance(observation, Happened) else ((), None)
        sees = frozenset[str]() if blind else stream.sees
        meaning = tuple([(call.action, frozenset(call.picks.items())) for call in calls])
        key = (meaning, fits, sees, stream.sight)
        number = self._ahead_index.get(key)
        if number is None:
            number = self._ahead_index[key] = len(self._aheads)
            self._aheads.append(Ahead(calls, fits, sees, stream.sight))
        return number

    def of(self, state: int, aheads: tuple[int, ...]) -> tuple[Going, ...]:
        """The steps that are possible in a state under what the streams show next, and lead elsewhere or are shown."""
        key = (state, aheads)
        found = self._goings.get(key)
        if found is None:
            found = self._goings[key] = tuple(self._found(state, [self._aheads[number] for number in aheads]))
        return found

    def _found(self, number: int, aheads: list[Ahead]) -> list[Going]:
        state = self.states[number]
        calls: dict[_Key, Mapping[str, Any]] = {}
        for ahead in aheads:
            for call in ahead.calls:
                calls[call.action, frozenset(call.picks.items())] = call.picks
        for name in self._hidden:
            calls[name, frozenset()] = {}
        found: dict[_Key, Going] = {}
        for (name, _), known in calls.items():
            action = self.steps.action(name)
            if action is None:
                continue
            for picks, raw in self.steps.take(state, name, known):
                key = (name, frozenset(picks.items()))
                if key not in found:
                    step = Step(name, action.by, picks)
                    moving = self._moving(aheads, state, step, raw)
                    after = self.known(raw)
                    renaming = self._renaming(raw, after)
                    stays = after == number and moving == _NOBODY and all(old == new for old, new in renaming or ())
                    if moving and not stays:
                        found[key] = Going(step, raw, after, self._effort[name], moving, renaming)
        return list(found.values())

    def _moving(self, aheads: list[Ahead], before: Any, step: Step, after: Any) -> tuple[tuple[int, ...], ...]:
        """Every stream that sees a step must move on, others that could have shown it may; most of them first."""
        must: list[int] = []
        may: list[int] = []
        for number, ahead in enumerate(aheads):
            fits = allows(ahead.calls, ahead.fits, before, step, after)
            if step.name in ahead.sees and (ahead.sight is None or ahead.sight(before, step, after)):
                if not fits:
                    return ()
                must.append(number)
            elif fits:
                may.append(number)
        choices = ((*must, *chosen) for size in range(len(may), -1, -1) for chosen in itertools.combinations(may, size))
        return tuple(moving for moving in choices if moving or step.name in self._hidden)

    def _renaming(self, raw: Any, after: int) -> Renaming | None:
        """How what was said goes on after a step; None: all of it as it was."""
        if self._recalls is None:
            return None
        pairs = tuple(dict(zip(self._recalls(raw), self._recalls(self.states[after]), strict=True)).items())
        return self._renamings.setdefault(pairs, Renaming(pairs))


def allows(calls: tuple[Call, ...], fits: StepTest | None, before: Any, step: Step, after: Any) -> bool:
    """Whether a step is one of these calls, and fits."""
    called = any(
        call.action == step.name and all(step.picks.get(pick) == value for pick, value in call.picks.items())
        for call in calls
    )
    return called and (fits is None or fits(before, step, after))
