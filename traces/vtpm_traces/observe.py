"""What a recording says of a run: streams of observations, each stream in order, nothing said between streams.

An adapter turns raw files into a `Recording`; `search.explain` then looks for a run of a specification that shows
exactly these observations, or says where no run can go on. The meaning:

* A run starts in the initial state and takes one action after another.
* A stream *sees* certain actions. Each step by an action that a stream sees must be the stream's next observation, a
  `Happened` that allows it: this is how something that is missing in a log is noticed. One step may be seen by several
  streams (the backend's own log and the store's trace); each of them then moves on by one observation.
* A step that no stream sees must be by a `hidden` action. There may be any number of them, anywhere.
* `Holds`, `Level` and `Quiescent` speak of a state and take no step.
* A run explains the recording when every stream has come to its end.

Streams are ordered against each other only by steps that they share, by the states that their observations demand, and
by `later_than`. Time stamps decide nothing.

Values that the model does not have (bytes of a command, a grant reference, a port) are tied to those that it has (the
number of a request, an epoch) by `says`: all observations together must say one thing of each subject.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vtpm_model.core import Actor, Step

StateTest: TypeAlias = Callable[[Any], bool]
"""Of a state: whether the observation fits it."""

StepTest: TypeAlias = Callable[[Any, Step, Any], bool]
"""Of a step `(before, step, after)`: whether the observation fits it."""

Sayings: TypeAlias = Mapping[Hashable, Hashable]
"""Subjects and what is said of each: `{("request", 3): "sha256:..."}`."""


@dataclass(frozen=True)
class Origin:
    """Where an observation was read: a file as the user named it, a line counted from 1, and what the line shows."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Point:
    """An observation of another stream: its place in it, counted from 0."""

    stream: str
    index: int


@dataclass(frozen=True)
class Call:
    """An action that may have happened, and those of its picks that are known."""

    action: str
    picks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Happened:
    """Exactly one step happened, and it was one of these calls.

    `fits(before, step, after)` may narrow it further. With `or_nothing` the line may also stand for no step at all: the
    recorder wrote it although the model has no action there.
    """

    origin: Origin
    calls: tuple[Call, ...]
    fits: StepTest | None = None
    says: Callable[[Any, Step, Any], Sayings] | None = None
    or_nothing: bool = False
    later_than: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Holds:
    """At this place of the stream the state fits."""

    origin: Origin
    fits: StateTest
    says: Callable[[Any], Sayings] | None = None
    later_than: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Level:
    """A value was read that held at some moment since the previous `Level` of the same subject in this stream.

    Before the first one, since the start. `subject` names what was read, such as a path in xenstore.
    """

    origin: Origin
    subject: str
    fits: StateTest
    later_than: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Quiescent:
    """The actors had come to rest: none of their owed actions is possible, but for those in `except_for`."""

    origin: Origin
    by: frozenset[Actor]
    except_for: frozenset[str] = frozenset()
    later_than: tuple[Point, ...] = ()


Observation: TypeAlias = Happened | Holds | Level | Quiescent


@dataclass(frozen=True)
class Stream:
    """What one recorder wrote, in its order.

    `sees` names the actions of which it would have written each; `sight(before, step, after)` may narrow that to some
    of their steps (a store's trace sees a step only if it writes). A `Happened` may also name actions outside `sees`.
    A recorder that `starts_late` sees nothing before its first observation; one that `stays` also sees, after its last
    one, that nothing more happens (by default the end of a log says nothing). `clock` may guess when each observation
    was made, in a time that streams share: a search tries first what keeps them abreast.
    """

    name: str
    observations: tuple[Observation, ...]
    sees: frozenset[str] = frozenset()
    sight: StepTest | None = None
    starts_late: bool = False
    stays: bool = False
    clock: tuple[float, ...] = ()


@dataclass(frozen=True)
class Candidates:
    """The values that a pick may have had where no observation gives it.

    With `all_of_them` there can be no others, so that a refusal is a refusal; else a recording that no candidate
    explains is undecided.
    """

    values: tuple[Any, ...] | Callable[[Any], Iterable[Any]]  # a function is given the state
    all_of_them: bool = True


@dataclass(frozen=True)
class Recording:
    """All that was recorded of one device, and what could happen unseen.

    `candidates` maps "action.pick" to values. Picks that are bool, an enumeration or span at most 256 values are tried
    in full without it. `start` replaces the specification's initial state.

    `alike` gives for a state the one that stands for all that go on like it, these observations included. With only
    the order of identities counting (`steps.ranked`), hidden steps that merely count (another connection, another
    request) come to an end, and a refusal can be certain. `recalls` lists the subjects of which something may still be
    said from a state on, in an order that does not depend on how identities are numbered: whoever gives `alike`, and
    lets observations say something, must give it.
    """

    title: str
    streams: tuple[Stream, ...]
    hidden: frozenset[str] = frozenset()
    candidates: Mapping[str, Candidates] = field(default_factory=dict)
    start: Callable[[], Any] | None = None
    alike: Callable[[Any], Any] | None = None
    recalls: Callable[[Any], Iterable[Hashable]] | None = None

    def __post_init__(self) -> None:
        names = [stream.name for stream in self.streams]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"streams of the same name: {', '.join(repeated)}")
        if self.alike is not None and self.recalls is None and self._says_something():
            raise ValueError("states are taken to be alike, and nothing tells of which subjects something may be said")
        lengths = {stream.name: len(stream.observations) for stream in self.streams}
        for stream in self.streams:
            for observation in stream.observations:
                for point in observation.later_than:
                    if not 0 <= point.index < lengths.get(point.stream, 0):
                        raise ValueError(f"{observation.origin}: later than {point}, which is not there")

    def _says_something(self) -> bool:
        observations = (each for stream in self.streams for each in stream.observations)
        return any(isinstance(each, Happened | Holds) and each.says is not None for each in observations)

    @property
    def empty(self) -> bool:
        """Whether nothing was observed, as in a folder without a device."""
        return not any(stream.observations for stream in self.streams)
