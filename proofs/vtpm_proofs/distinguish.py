"""Tells a mutant from the true model by a run: the shortest known one after which they differ about one step.

Both are run in the same states, which the true model reaches. The difference is one of three kinds: the mutant allows
a step that the model refuses, refuses one that the model allows, or takes it to another state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from vtpm_model.core import Action, Disabled, Kind, Spec, Step
from vtpm_proofs import bounds as limits
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.explore import Atlas, Move, scout, spread
from vtpm_proofs.pursue import Place, find, pursue
from vtpm_proofs.symbolic import of_sort
from vtpm_proofs.system import System
from vtpm_proofs.terms import TRUE
from vtpm_traces.itf import Expect, Trace

STATES = 12_000
"""How many states of a system a mutant is tried in."""


class Difference(Enum):
    """How a mutant differs from the model about one step."""

    ALLOWS_MORE = "allows more"
    ALLOWS_LESS = "allows less"
    DOES_OTHER = "does other"


@dataclass(frozen=True)
class Distinction:
    """A run of the true model up to a state, a step there, and how a mutant differs about it."""

    kind: Difference
    number: int  # of the state, in the atlas
    move: Move
    before: Any
    expected: Any  # the model's next state, None where it refuses
    found: Any  # the mutant's


class Grounds:
    """States of the true model, with what each action makes of them, to try mutants in."""

    def __init__(
        self, spec: Spec[Any], bounds: Bounds | None = None, states: int = STATES, system: System | None = None
    ) -> None:
        self.spec = spec
        narrow = bounds or limits.bounds_of(spec)
        self.atlas: Atlas = scout(spec, narrow)
        self.atlas.bounds = narrow.wider
        spread(self.atlas, states)
        pursue(self.atlas, system or System(spec))
        self._nearest = self._by_depth()
        self._expected: dict[str, list[tuple[Move, list[Any]]]] = {}

    def _by_depth(self) -> list[int]:
        depths = self.atlas.depths()
        return sorted(range(len(depths)), key=depths.__getitem__)

    def follow(self, trace: Trace) -> None:
        """Add the states of a run that is known otherwise."""
        kept = trace.moments if trace.expect is Expect.ACCEPT else trace.moments[:-1]
        self.atlas.follow((Move(moment.action, moment.picks), moment.state) for moment in kept[1:])
        self._nearest = self._by_depth()

    def expected(self, name: str) -> list[tuple[Move, list[Any]]]:
        """For each choice of picks of an action: what the model makes of every state, None where it refuses."""
        action = self.spec.action(name)
        if name not in self._expected:
            self._expected[name] = [(Move(name, picks), []) for picks in limits.choices(action, self.atlas.bounds)]
        for move, column in self._expected[name]:
            column += [_after(action, state, move.picks) for state in self.atlas.states[len(column) :]]
        return self._expected[name]

    def differences(self, changed: Mapping[str, Action[Any]]) -> Iterator[Distinction]:
        """Every difference that changed actions make, those after the shortest runs first."""
        columns = [(changed[name], move, after) for name in changed for move, after in self.expected(name)]
        for number in self._nearest:
            before = self.atlas.states[number]
            for action, move, expected in columns:
                found = _after(action, before, move.picks)
                if found != expected[number] and self._is_state(found):
                    yield _distinction(number, move, before, expected[number], found)

    def sought(self, system: System, goal: Place, changed: Mapping[str, Action[Any]]) -> Distinction | None:
        """A difference in a place that is looked for; the run to it is put into the atlas."""
        found = find(self.atlas, system, goal)
        if found is None:
            return None
        number, move = found
        before = self.atlas.states[number]
        expected, other = (
            _after(action, before, move.picks) for action in (self.spec.action(move.action), changed[move.action])
        )
        if expected == other or not self._is_state(other):
            return None
        return _distinction(number, move, before, expected, other)

    def _is_state(self, found: Any) -> bool:
        """Whether a trace can show what a mutant makes of a state: it refuses, or every field is within its range."""
        return found is None or all(term is TRUE for term in of_sort(self.spec.state, found))

    def run(self, difference: Distinction) -> tuple[Move, ...]:
        """The run that shows a difference, the step in question last."""
        return (*self.atlas.run_to(difference.number), difference.move)


def broken_by_runs(spec: Spec[Any], changed: Mapping[str, Action[Any]], states: int = 3_000) -> set[str]:
    """The facts (not lemmas) that runs of a mutant itself break first.

    The runs go deep within the bounds of the system, and a little way beyond them; none is followed beyond the first
    fact that it breaks.
    """
    facts = [fact for fact in spec.facts if not fact.derived_from]

    def broken(before: Any, step: Step, after: Any) -> list[str]:
        return [f.name for f in facts if not (f.holds(before, step, after) if f.kind is Kind.STEP else f.holds(after))]

    def sound(before: Any, step: Step, after: Any) -> bool:
        return not broken(before, step, after)

    actions = tuple(changed.get(a.name, a) for a in spec.actions)
    actions += tuple(a for name, a in changed.items() if name not in {known.name for known in spec.actions})
    mutant = replace(spec, actions=actions, lemmas=())
    narrow = limits.bounds_of(spec)
    atlas = scout(mutant, narrow, sound=sound)
    atlas.bounds = narrow.wider
    spread(atlas, states, sound=sound)
    found: set[str] = set()
    for number, move, after in atlas.refused:
        step = Step(move.action, mutant.action(move.action).by, move.picks)
        found.update(broken(atlas.states[number], step, after))
    return found


def tells_apart(spec: Spec[Any], trace: Trace, changed: Mapping[str, Action[Any]]) -> bool:
    """Whether a specification with these actions changed does not do what the trace expects; the model does."""
    if spec.name != trace.specification:
        return False
    last = len(trace.moments) - 1
    for number in range(1, last + 1):
        moment = trace.moments[number]
        action = changed.get(moment.action)
        if action is not None:
            same = _after(action, trace.moments[number - 1].state, moment.picks) == moment.state
            if same != (trace.expect is Expect.ACCEPT or number < last):
                return True
    return False


def _after(action: Action[Any], state: Any, picks: Mapping[str, Any]) -> Any:
    """What the action makes of the state; None where it refuses, or is a mutant that makes no sense there."""
    try:
        return action.run(state, **picks)
    except (Disabled, ValueError, TypeError, AttributeError):
        return None


def _distinction(number: int, move: Move, before: Any, expected: Any, found: Any) -> Distinction:
    if expected is None:
        kind = Difference.ALLOWS_MORE
    elif found is None:
        kind = Difference.ALLOWS_LESS
    else:
        kind = Difference.DOES_OTHER
    return Distinction(kind, number, move, before, expected, found)
