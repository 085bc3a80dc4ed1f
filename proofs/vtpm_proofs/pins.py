"""Traces that pin the model: for each mistake that a run can show, one that the model passes and the mutant fails.

A trace to be accepted ends in a step that the mutant refuses, or takes elsewhere; one to be rejected ends in a step
that only the mutant takes. A trace tells many mutants from the model; it names those for which it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Action, Spec
from vtpm_proofs.campaign import plan
from vtpm_proofs.distinguish import Difference, tells_apart
from vtpm_proofs.mutants import Mutated, Verdict
from vtpm_proofs.mutations import Mutation
from vtpm_proofs.overlay import actions_using, replaced
from vtpm_traces import itf
from vtpm_traces.files import BadInput, shown
from vtpm_traces.itf import INIT, Expect, Moment, Trace
from vtpm_traces.replay import replay

FOLDERS = {Expect.ACCEPT: "accept", Expect.REJECT: "reject"}

SUFFIX = ".itf.json"

Told = tuple[Trace, frozenset[str]]
"""A trace and all the mutants that it tells from the model."""


@dataclass
class Pins:
    """The traces that are to be kept, and the mutants that none of them tells from the model."""

    traces: list[Trace] = field(default_factory=list)
    unpinned: list[str] = field(default_factory=list)


def pin_of(system: str, mutation: Mutation) -> str:
    """How a trace names a mutant: `system/module.function: mistake [line of the model]`."""
    return f"{system}/{mutation.name} [{mutation.pinned}]"


def id_of(pin: str) -> str:
    """`system/module.function: mistake`, of a pin."""
    return pin.rpartition(" [")[0]


def make(
    systems: Mapping[str, Spec[Any]],
    kept: Iterable[Trace] = (),
    excused: Collection[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Pins:
    """As few traces as tell all mutants of the systems from the model: kept ones, and new ones where these do not do.

    `excused` are the mutants, by `system/module.function: mistake`, for which none is looked for.
    """
    every = _Mutants(systems, excused)
    told = [
        (trace, every.told_by(trace))
        for trace in kept
        if trace.specification in systems and replay(systems[trace.specification], trace).holds
    ]
    left = every.mutants.keys() - {pin for _, pins in told for pin in pins}
    say(f"{len(told)} kept traces tell all but {len(left)} of {len(every.mutants)} mutants from the model")
    for name, spec in systems.items():
        here = [pin for pin, mutation in every.mutants.items() if pin in left and every.changes(name, pin)]
        if here:
            mutated = Mutated(spec)
            for trace in [trace for trace, _ in told if trace.specification == name]:
                mutated.grounds.follow(trace)
            for pin in here:
                verdict = mutated.told(every.mutants[pin]) if pin in left else None
                if verdict is not None and verdict.run:
                    trace = _trace(spec, every.changes(name, pin), verdict)
                    mutated.grounds.follow(trace)
                    told.append((trace, every.told_by(trace)))
                    left -= told[-1][1]
            say(f"{name}: {len(here)} of them looked at, {len(left)} left")
    return Pins(_fewest(told), sorted(left))


class _Mutants:
    """The mutants of some systems, by their pins, and what each changes."""

    def __init__(self, systems: Mapping[str, Spec[Any]], excused: Collection[str]) -> None:
        self.systems = systems
        pins = {pin_of(system, mutation): mutation for system, mutation in plan(systems)}
        self.mutants = {pin: mutation for pin, mutation in pins.items() if id_of(pin) not in excused}
        self._changes: dict[tuple[str, str], dict[str, Action[Any]]] = {}

    def changes(self, system: str, pin: str) -> dict[str, Action[Any]]:
        """The actions of a system that a mutant changes, by name, changed."""
        found = self._changes.get((system, pin))
        if found is None:
            mutation, spec = self.mutants[pin], self.systems[system]
            used = actions_using(spec, mutation.function)
            found = replaced(spec, mutation.function, mutation.build()) if used else {}
            self._changes[system, pin] = found
        return found

    def told_by(self, trace: Trace) -> frozenset[str]:
        """The mutants that a trace tells from the model."""
        system = trace.specification
        return frozenset(
            pin for pin in self.mutants if tells_apart(self.systems[system], trace, self.changes(system, pin))
        )


def _fewest(told: Iterable[Told]) -> list[Trace]:
    """Of the traces, few that tell as much: whatever tells most of the rest comes first, of two the shorter one."""
    rest = sorted(told, key=lambda one: (len(one[0].moments), one[0].title))
    left = {pin for _, pins in rest for pin in pins}
    chosen = []
    while left:
        trace, pins = max(rest, key=lambda one: len(one[1] & left))
        chosen.append(replace(trace, pins=tuple(sorted(pins & left))))
        left -= pins
    return chosen


def _trace(spec: Spec[Any], changed: Mapping[str, Action[Any]], verdict: Verdict) -> Trace:
    """The run that tells a mutant from the model, its last step as the model takes it, or as only the mutant does."""
    moments = [Moment(INIT, {}, spec.init())]
    *way, last = verdict.run
    for move in way:
        moments.append(Moment(move.action, move.picks, spec.action(move.action).run(moments[-1].state, **move.picks)))
    reject = verdict.kind == Difference.ALLOWS_MORE.value
    action = changed[last.action] if reject else spec.action(last.action)
    moments.append(Moment(last.action, last.picks, action.run(moments[-1].state, **last.picks)))
    told = "cannot happen" if reject else "happens just so"
    return Trace(
        specification=spec.name,
        title=f"After {len(way)} steps {last.action} {told}",
        expect=Expect.REJECT if reject else Expect.ACCEPT,
        moments=tuple(moments),
        provenance={"made_by": "vtpmspec record"},
    )


def file_name(trace: Trace, spec: Spec[Any]) -> str:
    """Where a trace is kept: its system, the action of its last step, and part of its id."""
    return f"{spec.name}.{trace.moments[-1].action}.{itf.named(trace, spec)[-8:]}{SUFFIX}"


def write(pins: Pins, systems: Mapping[str, Spec[Any]], folder: Path) -> tuple[int, int]:
    """Write the traces below a folder, and remove those there that are no longer needed: how many, and how many."""
    wanted: dict[Path, tuple[Trace, Spec[Any]]] = {}
    for trace in pins.traces:
        spec = systems[trace.specification]
        wanted[folder / FOLDERS[trace.expect] / file_name(trace, spec)] = trace, spec
    stale = [path for name in FOLDERS.values() for path in (folder / name).glob(f"*{SUFFIX}") if path not in wanted]
    for path, (trace, spec) in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        itf.write(path, trace, spec)
    for path in stale:
        path.unlink()
    return len(wanted), len(stale)


def read(folder: Path, systems: Mapping[str, Spec[Any]]) -> Iterator[tuple[Path, Trace, Spec[Any]]]:
    """The traces that are kept below a folder. Raises BadInput."""
    for name in FOLDERS.values():
        for path in sorted((folder / name).glob(f"*{SUFFIX}")):
            file = itf.read_file(path)
            spec = systems.get(file.specification or "")
            if spec is None:
                raise BadInput(f"{path.name} is of {shown(file.specification)}; there are {', '.join(systems)}")
            yield path, itf.to_trace(file, spec), spec


def readable(folder: Path, systems: Mapping[str, Spec[Any]]) -> Iterator[Trace]:
    """Of the traces that are kept below a folder those that fit the systems as they are now."""
    for name in FOLDERS.values():
        for path in sorted((folder / name).glob(f"*{SUFFIX}")):
            try:
                file = itf.read_file(path)
                yield itf.to_trace(file, systems[file.specification or ""])
            except (BadInput, KeyError):
                continue


def by_mutant(folder: Path, systems: Mapping[str, Spec[Any]]) -> dict[str, list[Trace]]:
    """The kept traces that name each mutant, by `system/module.function: mistake`. Raises BadInput."""
    found: dict[str, list[Trace]] = {}
    for _, trace, _ in read(folder, systems):
        for pin in trace.pins:
            found.setdefault(id_of(pin), []).append(trace)
    return found


def problems(folder: Path, systems: Mapping[str, Spec[Any]], explained: Iterable[str] = ()) -> Iterator[str]:
    """What is wrong with the kept traces: one that does not hold, a pin that does not, a mutant without one.

    `explained` are the mutants, by `system/module.function: mistake`, that need none.
    """
    mutants = {pin_of(system, mutation): mutation for system, mutation in plan(systems)}
    excused = set(explained)
    missing = {pin for pin in mutants if id_of(pin) not in excused}
    count = 0
    for path, trace, spec in read(folder, systems):
        count += 1
        result = replay(spec, trace)
        if not result.holds:
            yield f"{path.name}: {result.sentence}"
        if path.parent.name != FOLDERS[trace.expect]:
            yield f"{path.name} lies in {path.parent.name}, and says {trace.expect.value}"
        for pin in trace.pins:
            mutation = mutants.get(pin)
            if mutation is None:
                yield f"{path.name} pins {pin}, which is no line of the model now"
            elif not tells_apart(spec, trace, replaced(spec, mutation.function, mutation.build())):
                yield f"{path.name} does not tell the model from {pin}"
            missing.discard(pin)
    for pin in sorted(missing):
        yield f"no trace pins {pin}"
    if not count:
        yield f"no traces are kept in {folder}"
