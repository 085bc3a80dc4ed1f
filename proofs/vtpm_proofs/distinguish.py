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
        self.atlas: Atlas = pursue(scout(spec, narrow), system or System(spec))
        self.atlas.bounds = narrow.wider
        spread(self.atlas, states)
        depths = self.atlas.depths()
        self._nearest = sorted(range(len(depths)), key=depths.__getitem__)
        self._expected: dict[str, list[tuple[Move, list[Any]]]] = {}
        self._state_facts = [f for f in (*spec.facts, *spec.lemmas) if f.kind is not Kind.STEP]
        self._step_facts = [f for f in spec.facts if f.kind is Kind.STEP]

    def expected(self, name: str) -> list[tuple[Move, list[Any]]]:
        """For each choice of picks of an action: what the model makes of every state, None where it refuses."""
        found = self._expected.get(name)
        if found is None:
            action = self.spec.action(name)
            found = self._expected[name] = [
                (Move(name, picks), [_after(action, state, picks) for state in self.atlas.states])
                for picks in limits.choices(action, self.atlas.bounds)
            ]
        return found

    def differences(self, changed: Mapping[str, Action[Any]]) -> Iterator[Distinction]:
        """Every difference that changed actions make, those after the shortest runs first."""
        columns = [(changed[name], move, after) for name in changed for move, after in self.expected(name)]
        for number in self._nearest:
            before = self.atlas.states[number]
            for action, move, expected in columns:
                found = _after(action, before, move.picks)
                if found != expected[number]:
                    yield _distinction(number, move, before, expected[number], found)

    def sought(
        self, system: System, goal: Place, changed: Mapping[str, Action[Any]]
    ) -> tuple[Distinction, tuple[Move, ...]] | None:
        """A difference in a place that is looked for, and the run to it; the states of the grounds stay as they are."""
        atlas = self.atlas
        known = len(atlas.states)
        if not find(atlas, system, goal):
            return None
        number = len(atlas.states) - 1
        before = atlas.states[number]
        run = atlas.run_to(number)
        for state in atlas.states[known:]:
            del atlas.index[state]
        for column in (atlas.states, atlas.parents, atlas.via):
            del column[known:]
        name = goal.action.name
        for picks in limits.choices(goal.action, atlas.bounds):
            move = Move(name, picks)
            expected, found = (_after(one, before, picks) for one in (self.spec.action(name), changed[name]))
            if expected != found:
                return _distinction(number, move, before, expected, found), (*run, move)
        return None

    def broken(self, difference: Distinction) -> list[str]:
        """The facts, lemmas and sorts that a mutant breaks by a step, in a state where all of them hold."""
        after = difference.found
        if after is None:
            return []
        action = self.spec.action(difference.move.action)
        step = Step(action.name, action.by, difference.move.picks)
        names = [f.name for f in self._state_facts if not f.holds(after)]
        names += [f.name for f in self._step_facts if not f.holds(difference.before, step, after)]
        if any(term is not TRUE for term in of_sort(self.spec.state, after)):
            names.append("every_value_is_of_its_sort")
        return names

    def broken_by_runs(self, changed: Mapping[str, Action[Any]], states: int = 3_000) -> dict[str, tuple[Move, ...]]:
        """The facts (not lemmas) that runs of the mutant itself break first, each with such a run.

        The runs stay within the bounds, and none is followed beyond the first fact that it breaks.
        """
        actions = tuple(changed.get(a.name, a) for a in self.spec.actions)
        actions += tuple(a for name, a in changed.items() if name not in {known.name for known in self.spec.actions})
        mutant = replace(self.spec, actions=actions, lemmas=())
        names: dict[str, tuple[Move, ...]] = {}
        atlas = scout(mutant, self.atlas.bounds, sound=lambda before, step, after: self._sound(before, step, after))
        spread(atlas, states, sound=lambda before, step, after: self._sound(before, step, after))
        for number, move, after in atlas.refused:
            step = Step(move.action, mutant.action(move.action).by, move.picks)
            for name in self._facts_broken(atlas.states[number], step, after):
                names.setdefault(name, (*atlas.run_to(number), move))
        return names

    def _sound(self, before: Any, step: Step, after: Any) -> bool:
        return not self._facts_broken(before, step, after)

    def _facts_broken(self, before: Any, step: Step, after: Any) -> list[str]:
        facts = [fact for fact in self.spec.facts if not fact.derived_from]
        return [f.name for f in facts if not (f.holds(before, step, after) if f.kind is Kind.STEP else f.holds(after))]

    def run(self, difference: Distinction) -> tuple[Move, ...]:
        """The run that shows a difference, the step in question last."""
        return (*self.atlas.run_to(difference.number), difference.move)


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
