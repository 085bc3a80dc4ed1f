"""What a specification is: states, actions, facts, lemmas, liveness claims, citations and variants.

A system is a record `State` and functions from state to state. The same source text is run (by tests, by explicit-state
search, by trace validation) and proved (with unknowns in place of values), so it keeps to a few habits:

* an action first says when it may happen, one `require` a line, then returns one `replace(state, ...)` a case;
* conditions are joined with `&`, `|` and `implies`, which build one condition, not with `and` and `or`, which branch;
* nothing asks for `is`, `hash()` or `int()` of a value of the state.
"""

from __future__ import annotations

import functools
import inspect
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform, get_type_hints

S = TypeVar("S")


# ---------------------------------------------------------------------------------------------------------- sorts


@dataclass(frozen=True)
class Range:
    """The values that an integer may have, both ends included; `high` None means without bound."""

    low: int
    high: int | None


Nat = Annotated[int, Range(0, None)]
"""A natural number: an identity or a count that only the proof needs, never a machine integer."""

U8 = Annotated[int, Range(0, 0xFF)]
U16 = Annotated[int, Range(0, 0xFFFF)]
U32 = Annotated[int, Range(0, 0xFFFF_FFFF)]


def wrap(value: int, bits: int) -> int:
    """`value` as an unsigned machine integer of that many bits keeps it."""
    return value % (1 << bits)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[S]) -> type[S]:
    """Make a class of annotated fields an immutable record, compared and hashed by value.

    A record is a tuple underneath: a step of a large state then costs a few microseconds. A record may extend
    another one; its fields come after the inherited ones.
    """
    hints = {name: hint for base in cls.__bases__ for name, hint in getattr(base, "__record_hints__", {}).items()}
    hints |= get_type_hints(cls, include_extras=True)
    inherited = [name for base in cls.__bases__ for name in getattr(base, "_fields", ())]
    own = [name for name in inspect.get_annotations(cls) if name not in inherited]
    base = namedtuple(f"_{cls.__name__}", [*inherited, *own])  # type: ignore[misc]  # noqa: PYI024
    body = {key: value for key, value in cls.__dict__.items() if key not in ("__dict__", "__weakref__")}
    body |= {"__slots__": (), "__record_hints__": hints}
    return type(cls.__name__, (base,), body)


def fields(cls: type) -> Mapping[str, Any]:
    """The fields of a record and their sorts (bool, an IntEnum, an annotated int, a record), in order."""
    hints: dict[str, Any] = cls.__record_hints__  # type: ignore[attr-defined]
    return {name: hints[name] for name in cls._fields}  # type: ignore[attr-defined]


def replace(state: S, /, **changes: object) -> S:
    """The same record with some fields changed. Raises ValueError for a field that it does not have."""
    return state._replace(**changes)  # type: ignore[attr-defined,no-any-return]


# ----------------------------------------------------------------------------------------------------- conditions


class Disabled(Exception):
    """An action may not happen in this state; the only error that a model raises."""


def require(condition: bool) -> None:
    """The action may happen only if the condition holds."""
    if not condition:
        raise Disabled


def implies(premise: bool, conclusion: bool) -> bool:
    """Whether the conclusion holds wherever the premise does."""
    return premise <= conclusion  # on booleans, <= is implication


def negate(condition: bool) -> bool:
    """The opposite, as a condition (`not` would branch)."""
    return condition == False  # noqa: E712


def among(value: S, *members: S) -> bool:
    """Whether the value is one of the members, as one condition (`in` would branch for each)."""
    found = False
    for member in members:
        found = found | (value == member)
    return found


# ------------------------------------------------------------------------------------------------------ citations


class Standing(Enum):
    """How sure the source is of what it says."""

    STATED = "stated"
    DISPUTED = "disputed"  # read in one place, contradicted in another
    DERIVED = "derived"  # follows from the source by reasoning


@dataclass(frozen=True)
class Document:
    """A source text: where it is found and which revision was read."""

    id: str
    tree: str  # the source tree that holds it: xen, mini-os, linux
    path: str
    revision: str


@dataclass(frozen=True)
class Citation:
    """Lines of a document, with a digest of their text (the text itself stays where it is)."""

    document: Document
    first: int
    last: int
    digest: str  # the first 16 hexadecimal digits of SHA-256 over the lines, each ended by a newline
    standing: Standing = Standing.STATED
    note: str = ""

    def __str__(self) -> str:
        return f"{self.document.path}:{self.first}-{self.last} ({self.document.tree} {self.document.revision})"


@dataclass(frozen=True)
class Assumption:
    """Something taken for granted: its sentence, why it may be, and the facts that need it."""

    id: str
    sentence: str
    why: str
    facts: tuple[str, ...] = ()
    cites: tuple[Citation, ...] = ()


# -------------------------------------------------------------------------------------------- actions and claims


class Actor(Enum):
    """Who performs an action."""

    FRONTEND = "frontend"
    BACKEND = "backend"
    TOOLSTACK = "toolstack"
    XEN = "xen"
    ENGINE = "engine"
    DRIVER = "driver"
    DEVICE = "device"
    SOFTWARE = "software"
    OTHERS = "others"


@dataclass(frozen=True)
class Action(Generic[S]):
    """Something that somebody may do: `run(state, **picks)` gives the next state or raises Disabled.

    `picks` are the choices that the action leaves open, each with its sort. An action that is `owed` must be done by
    its actor if it stays possible (weak fairness); after a subject has come to rest, none of its owed actions is
    possible.
    """

    name: str
    by: Actor
    run: Callable[..., S]
    cites: tuple[Citation, ...] = ()
    owed: bool = False
    picks: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, state: S, /, **picks: object) -> S:
        return self.run(state, **picks)

    @property
    def sentence(self) -> str:
        """The first line of what its author says of it."""
        return _first_line(self.run)


def action(
    *, by: Actor, cites: tuple[Citation, ...] | Citation = (), owed: bool = False
) -> Callable[[Callable[..., S]], Action[S]]:
    """Declare a function `(state, **picks) -> state` an action."""

    def declare(run: Callable[..., S]) -> Action[S]:
        return Action(run.__name__, by, run, _tuple(cites), owed, _picks(run))

    return declare


@dataclass(frozen=True)
class Step:
    """What happened between two states: the action, who did it, and what was picked."""

    name: str
    by: Actor
    picks: Mapping[str, Any] = field(default_factory=dict)


class Kind(Enum):
    """What a fact speaks of."""

    STATE = "state"  # holds(state): in every reachable state
    STEP = "step"  # holds(before, step, after): of every step between reachable states
    LEMMA = "lemma"  # a state fact that only serves to prove the others


@dataclass(frozen=True)
class Fact:
    """A claim about a system. Its name is its sentence."""

    name: str
    kind: Kind
    holds: Callable[..., bool]
    covers: tuple[str, ...] = ()  # rows of the published tables of invariants: "E4", "N1"
    about: Actor | None = None  # whose duty it is; None: both ends together
    cites: tuple[Citation, ...] = ()
    derived_from: tuple[str, ...] = ()  # facts and lemmas that imply this one, if it adds nothing

    @property
    def sentence(self) -> str:
        """The first line of what its author says of it."""
        return _first_line(self.holds)


def always(
    *,
    covers: tuple[str, ...] | str = (),
    about: Actor | None = None,
    cites: tuple[Citation, ...] | Citation = (),
    derived_from: tuple[str, ...] = (),
) -> Callable[[Callable[..., bool]], Fact]:
    """Declare a function `state -> bool` a fact of every reachable state."""

    def declare(holds: Callable[..., bool]) -> Fact:
        return Fact(holds.__name__, Kind.STATE, holds, _tuple(covers), about, _tuple(cites), derived_from)

    return declare


def every_step(
    *,
    covers: tuple[str, ...] | str = (),
    about: Actor | None = None,
    cites: tuple[Citation, ...] | Citation = (),
    derived_from: tuple[str, ...] = (),
) -> Callable[[Callable[..., bool]], Fact]:
    """Declare a function `(before, step, after) -> bool` a fact of every step."""

    def declare(holds: Callable[..., bool]) -> Fact:
        return Fact(holds.__name__, Kind.STEP, holds, _tuple(covers), about, _tuple(cites), derived_from)

    return declare


def lemma(holds: Callable[..., bool]) -> Fact:
    """Declare a function `state -> bool` a lemma: true of every reachable state, claimed only for the proofs."""
    return Fact(holds.__name__, Kind.LEMMA, holds)


@dataclass(frozen=True)
class Eventually:
    """A liveness claim: from a pending state, weak fairness leads to one that is not.

    In a pending state `helpful(state)` names a fair group of the specification. Proved by three obligations: an action
    of that group is possible; each action of the group ends `pending` or lowers `rank(state)`, a tuple of naturals
    compared in order; no other action raises the rank, or changes the helpful group at an equal rank, without
    ending `pending`.
    """

    name: str
    pending: Callable[..., bool]
    helpful: Callable[..., str]
    rank: Callable[..., tuple[int, ...]]
    covers: tuple[str, ...] = ()
    about: Actor | None = None
    cites: tuple[Citation, ...] = ()

    @property
    def sentence(self) -> str:
        """The first line of what its author says of it."""
        return _first_line(self.pending)


def eventually(
    *,
    helpful: Callable[..., str],
    rank: Callable[..., tuple[int, ...]],
    covers: tuple[str, ...] | str = (),
    about: Actor | None = None,
    cites: tuple[Citation, ...] | Citation = (),
) -> Callable[[Callable[..., bool]], Eventually]:
    """Declare a function `state -> bool` a claim that whatever it describes comes to an end."""

    def declare(pending: Callable[..., bool]) -> Eventually:
        return Eventually(pending.__name__, pending, helpful, rank, _tuple(covers), about, _tuple(cites))

    return declare


# ----------------------------------------------------------------------------------------------- specifications


@dataclass(frozen=True)
class Spec(Generic[S]):
    """A whole specification.

    `fair` groups the owed actions that liveness claims count on.
    """

    name: str
    doc: str
    state: type[S]
    init: Callable[[], S]
    actions: tuple[Action[S], ...]
    facts: tuple[Fact, ...]
    lemmas: tuple[Fact, ...] = ()
    liveness: tuple[Eventually, ...] = ()
    fair: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    assumptions: tuple[Assumption, ...] = ()

    def __post_init__(self) -> None:
        names = [a.name for a in self.actions]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"{self.name}: actions declared twice: {', '.join(sorted(repeated))}")
        unknown = {name for group in self.fair.values() for name in group} - set(names)
        if unknown:
            raise ValueError(f"{self.name}: fair groups name unknown actions: {', '.join(sorted(unknown))}")

    def action(self, name: str) -> Action[S]:
        """The action of that name. Raises KeyError."""
        for candidate in self.actions:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    def variant(
        self,
        name: str,
        *,
        doc: str,
        replaced: tuple[Action[S], ...] = (),
        added: tuple[Action[S], ...] = (),
        dropped: tuple[str, ...] = (),
        init: Callable[[], S] | None = None,
    ) -> Spec[S]:
        """The same specification with some actions replaced (by name), added or dropped; every fact still stands."""
        known = {a.name for a in self.actions}
        unknown = ({a.name for a in replaced} | set(dropped)) - known
        if unknown:
            raise ValueError(f"{self.name} has no action {', '.join(sorted(unknown))} to replace or drop")
        by_name = {a.name: a for a in replaced}
        kept = tuple(by_name.get(a.name, a) for a in self.actions if a.name not in dropped)
        gone = set(dropped)
        fair = {group: tuple(n for n in names if n not in gone) for group, names in self.fair.items()}
        return Spec(
            f"{self.name}+{name}", doc, self.state, init or self.init, kept + added, self.facts, self.lemmas,
            self.liveness, fair, self.assumptions,
        )  # fmt: skip


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n", 1)[0].strip()


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


@functools.cache
def _picks(run: Callable[..., Any]) -> Mapping[str, Any]:
    """The parameters after the state, each with its sort."""
    hints = get_type_hints(run, include_extras=True)
    names = run.__code__.co_varnames[1 : run.__code__.co_argcount + run.__code__.co_kwonlyargcount]
    return {name: hints[name] for name in names}
