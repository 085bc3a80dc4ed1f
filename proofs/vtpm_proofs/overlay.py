"""Puts another function in the place of one that a specification uses, wherever it is used and in whichever module.

Nothing is patched: functions that depend on the replaced one, through any number of calls, are cloned with globals of
their own, so a specification and its mutants live side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from types import CellType, CodeType, FunctionType
from typing import Any

from vtpm_model import core
from vtpm_model.core import Action, Eventually, Fact, Spec


def function_of(thing: Any) -> FunctionType | None:
    """The Python function of an action, a fact, a liveness claim or a function; None for anything else."""
    if isinstance(thing, Action):
        thing = thing.run
    elif isinstance(thing, Fact):
        thing = thing.holds
    elif isinstance(thing, Eventually):
        thing = thing.pending
    return thing if isinstance(thing, FunctionType) else None


def _names(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


@cache
def callees(function: FunctionType) -> frozenset[FunctionType]:
    """The model functions that a function names: directly, as `module.name`, or in what it closes over."""
    found: set[FunctionType] = set()
    names = _names(function.__code__)
    things = [function.__globals__.get(name) for name in names]
    things += [cell.cell_contents for cell in function.__closure__ or ()]
    for thing in things:
        if isinstance(thing, type(core)) and thing.__name__.partition(".")[0] == _package(function):
            things += [vars(thing).get(name) for name in names]
        other = function_of(thing)
        if other is not None and _is_model(other, function):
            found.add(other)
    return frozenset(found)


def _package(function: FunctionType) -> str:
    return function.__module__.partition(".")[0]


def _is_model(function: FunctionType, beside: FunctionType) -> bool:
    """A function of the same package as the one beside it, the core apart: the core is nobody's model."""
    return function.__globals__ is not vars(core) and _package(function) == _package(beside)


def reached(functions: Iterable[FunctionType]) -> list[FunctionType]:
    """The functions and everything that they use, in a stable order."""
    found: dict[FunctionType, None] = {}
    rest = list(functions)
    while rest:
        function = rest.pop()
        if function not in found:
            found[function] = None
            rest += callees(function)
    return sorted(found, key=lambda f: (f.__code__.co_filename, f.__code__.co_firstlineno, f.__qualname__))


@cache
def uses(function: FunctionType) -> frozenset[FunctionType]:
    """A function and everything that it uses."""
    return frozenset(reached([function]))


def actions_using(spec: Spec[Any], function: FunctionType) -> list[Action[Any]]:
    """The actions of a specification that a change of the function can change."""
    return [a for a in spec.actions if (f := function_of(a)) is not None and function in uses(f)]


def replaced(spec: Spec[Any], old: FunctionType, new: FunctionType) -> dict[str, Action[Any]]:
    """The actions that use `old`, by name, with `new` in its place. Facts keep the functions that they have."""
    actions = actions_using(spec, old)
    runs = clones({old: new}, [f for a in actions if (f := function_of(a)) is not None])
    return {a.name: dataclasses.replace(a, run=runs[f]) for a in actions if (f := function_of(a)) is not None}


def claims_using(spec: Spec[Any], function: FunctionType) -> list[Fact | Eventually]:
    """The facts, lemmas and liveness claims that say something else if the function does."""
    claims: list[Fact | Eventually] = [*spec.facts, *spec.lemmas, *spec.liveness]
    return [claim for claim in claims if (f := function_of(claim)) is not None and function in uses(f)]


def reclaimed(spec: Spec[Any], old: FunctionType, new: FunctionType) -> Spec[Any]:
    """The specification with `new` in the place of `old` in whatever it claims. Actions and ranks stay as they are."""
    claims = claims_using(spec, old)
    runs = clones({old: new}, [f for claim in claims if (f := function_of(claim)) is not None])

    def changed(fact: Fact) -> Fact:
        return dataclasses.replace(fact, holds=runs.get(fact.holds, fact.holds))  # type: ignore[call-overload]

    return dataclasses.replace(
        spec,
        facts=tuple(changed(fact) for fact in spec.facts),
        lemmas=tuple(changed(fact) for fact in spec.lemmas),
        liveness=tuple(
            dataclasses.replace(claim, pending=runs.get(claim.pending, claim.pending))  # type: ignore[call-overload]
            for claim in spec.liveness
        ),
    )


def clones(
    changes: Mapping[FunctionType, FunctionType], wanted: Iterable[FunctionType]
) -> dict[FunctionType, FunctionType]:
    """The wanted functions, and all that lie between them and the changed ones, cloned to see the changes."""
    affected = [f for f in reached(wanted) if not uses(f).isdisjoint(changes)]
    spaces: dict[int, dict[str, Any]] = {}
    made: dict[FunctionType, FunctionType] = {}
    for function in affected:
        source = changes.get(function, function)
        space = spaces.setdefault(id(function.__globals__), dict(function.__globals__))
        made[function] = _with_globals(source, space)
    for function in affected:
        space = spaces[id(function.__globals__)]
        for name in _names(function.__code__):
            thing = space.get(name)
            if isinstance(thing, type(core)):
                space[name] = _module_view(thing, made)
            elif (other := function_of(thing)) in made and other is not None:
                space[name] = _like(thing, made[other])
    for clone in made.values():
        for cell in clone.__closure__ or ():
            other = function_of(cell.cell_contents)
            if other in made and other is not None:
                cell.cell_contents = _like(cell.cell_contents, made[other])
    return made


def _with_globals(function: FunctionType, space: dict[str, Any]) -> FunctionType:
    closure = tuple(CellType(cell.cell_contents) for cell in function.__closure__ or ()) or None
    clone = FunctionType(function.__code__, space, function.__name__, function.__defaults__, closure)
    clone.__kwdefaults__ = function.__kwdefaults__
    clone.__doc__, clone.__annotations__ = function.__doc__, function.__annotations__
    clone.__qualname__, clone.__module__ = function.__qualname__, function.__module__
    return clone


def _like(thing: Any, function: FunctionType) -> Any:
    """An action or a claim with another function, or the function itself."""
    if isinstance(thing, Action):
        return dataclasses.replace(thing, run=function)
    if isinstance(thing, Fact):
        return dataclasses.replace(thing, holds=function)
    if isinstance(thing, Eventually):
        return dataclasses.replace(thing, pending=function)
    return function


class _View:
    """A module as its clones see it."""

    def __init__(self, module: Any, names: Mapping[str, Any]) -> None:
        self.__dict__.update(vars(module))
        self.__dict__.update(names)


def _module_view(module: Any, made: Mapping[FunctionType, FunctionType]) -> Any:
    changed = {
        name: _like(thing, made[other])
        for name, thing in vars(module).items()
        if (other := function_of(thing)) is not None and other in made
    }
    return _View(module, changed) if changed else module
