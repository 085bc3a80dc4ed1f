"""The steps that a specification can take where only part of a step is known: the picks left open are tried."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from vtpm_model.core import Action, Actor, Disabled, Spec, fields
from vtpm_traces.observe import Candidates
from vtpm_traces.values import Sort, leaves, sort_of, told


@dataclass
class Steps:
    """A specification's actions, with the values that are tried for picks that nobody gives.

    `untried` collects the picks, as "action.pick", of which there may have been other values than those tried: with any
    there, a refusal is not certain.
    """

    spec: Spec[Any]
    candidates: Mapping[str, Candidates] = field(default_factory=dict)
    untried: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._actions: dict[str, Action[Any]] = {action.name: action for action in self.spec.actions}
        self._sorts: dict[str, dict[str, Sort]] = {
            action.name: {pick: sort_of(sort) for pick, sort in action.picks.items()} for action in self.spec.actions
        }
        known = {f"{action}.{pick}" for action, picks in self._sorts.items() for pick in picks}
        self._choices = {name: self._fixed(name) for name in self._actions}
        unknown = sorted(self.candidates.keys() - known)
        if unknown:
            raise ValueError(f"{self.spec.name} has no pick {', '.join(unknown)}")

    def action(self, name: str) -> Action[Any] | None:
        """The action of that name, if the specification has it."""
        return self._actions.get(name)

    def sorts(self, name: str) -> Mapping[str, Sort]:
        """The picks of an action with their sorts."""
        return self._sorts[name]

    def take(self, state: Any, name: str, known: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Any]]:
        """The picks and next states of an action from a state, with these picks known."""
        run = self._actions[name].run
        sorts = self._sorts[name]
        if len(known) == len(sorts):
            try:
                after = run(state, **known)
            except Disabled:
                return
            yield known, after
            return
        open_picks = [pick for pick in sorts if pick not in known]
        for values in itertools.product(*(self._values(state, name, pick) for pick in open_picks)):
            picks = {**known, **dict(zip(open_picks, values, strict=True))}
            try:
                after = run(state, **picks)
            except Disabled:
                continue
            yield picks, after

    def take_any(self, state: Any, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        """The same where no pick is known; quicker, for most such steps are not possible."""
        choices = self._choices.get(name)
        if choices is None:
            return list(self.take(state, name, {}))
        run = self._actions[name].run
        found = []
        for picks in choices:
            try:
                found.append((picks, run(state, **picks)))
            except Disabled:
                continue
        return found

    def possible(self, states: Iterable[Any], limit: int = 40) -> tuple[str, ...]:
        """The actions that could happen in any of these states, as people read them."""
        found: dict[str, None] = {}
        for state in states:
            for name in self._actions:
                for picks, _ in self._some(state, name):
                    found[self.told(name, picks)] = None
            if len(found) > limit:
                break
        return tuple(sorted(found)[:limit])

    def told(self, name: str, picks: Mapping[str, Any]) -> str:
        """An action with its picks: backend_finishes(reply=22)."""
        sorts = self._sorts[name]
        inside = ", ".join(f"{pick}={told(sorts[pick], value)}" for pick, value in picks.items())
        return f"{name}({inside})" if inside else name

    def owed(self, state: Any, by: frozenset[Actor], except_for: frozenset[str]) -> str | None:
        """An action that one of the actors owes and could do now."""
        for name, action in self._actions.items():
            if action.owed and action.by in by and name not in except_for:
                for _ in self.take(state, name, {}):
                    return name
        return None

    def _fixed(self, name: str) -> list[Mapping[str, Any]] | None:
        """All choices of picks of an action, if they are the same in each state, and are all that there are."""
        columns = []
        for pick, sort in self._sorts[name].items():
            given = self.candidates.get(f"{name}.{pick}")
            if given is not None and not callable(given.values) and given.all_of_them:
                columns.append(given.values)
            elif given is None and sort.few is not None:
                columns.append(sort.few)
            else:
                return None
        return [dict(zip(self._sorts[name], values, strict=True)) for values in itertools.product(*columns)]

    def _values(self, state: Any, name: str, pick: str) -> Iterable[Any]:
        given = self.candidates.get(f"{name}.{pick}")
        if given is None:
            few = self._sorts[name][pick].few
            if few is None:
                self.untried.add(f"{name}.{pick}")
                return ()
            return few
        if not given.all_of_them:
            self.untried.add(f"{name}.{pick}")
        return given.values(state) if callable(given.values) else given.values

    def _some(self, state: Any, name: str) -> Iterator[tuple[Mapping[str, Any], Any]]:
        """One step of each action, for telling people; without a note of what was not tried."""
        before = set(self.untried)
        yield from itertools.islice(self.take(state, name, {}), 1)
        self.untried = before


def effort(action: Action[Any]) -> int:
    """How long a hidden action is put off: what must be done comes before what may be, and before surprises."""
    return 1 if action.owed else 3 if action.by is Actor.XEN else 2


def ranked(state: type, *groups: tuple[str, ...]) -> Callable[[Any], Any]:
    """A function from a state to the one that stands for all that are told apart only by the numbers of identities.

    Each group names all leaves that hold identities of one kind; they are numbered anew, from 1 and in their order (0
    stays 0 and means none). States with the same result go on alike if the actions do nothing with identities but
    compare them and take the next number.
    """
    unknown = sorted({path for group in groups for path in group} - leaves(state).keys())
    if unknown:
        raise ValueError(f"{state.__name__} has no field {', '.join(unknown)}")
    names = list(fields(state))
    places = [[_place(state, names, path) for path in group] for group in groups]
    getters = [attrgetter(*group) for group in groups]

    def representative(of: Any) -> Any:
        values: list[Any] | None = None
        for get, group in zip(getters, places, strict=True):
            numbers = get(of)
            order = {number: rank for rank, number in enumerate(sorted({0, *numbers}))}
            for number, (index, inner) in zip(numbers, group, strict=True):
                if order[number] != number:
                    values = list(of) if values is None else values
                    rank = order[number]
                    values[index] = rank if inner is None else values[index]._replace(**{inner: rank})
        return of if values is None else of._make(values)

    return representative


def _place(state: type, names: list[str], path: str) -> tuple[int, str | None]:
    """The index of a leaf's field, and its name within the record in that field."""
    outer, _, inner = path.partition(".")
    if "." in inner:
        raise ValueError(f"{state.__name__}.{path} lies too deep")
    return names.index(outer), inner or None
