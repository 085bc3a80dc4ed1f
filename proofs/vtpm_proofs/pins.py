"""Traces that pin the model: for each mistake that a run can show, one that the model passes and the mutant fails.

A trace to be accepted ends in a step that the mutant refuses, or takes elsewhere; one to be rejected ends in a step
that only the mutant takes. A trace tells many mutants from the model; it names them, by what is wrong on which line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtpm_model.core import Action, Disabled, Spec
from vtpm_proofs.campaign import plan
from vtpm_proofs.distinguish import Difference, Distinction, Grounds
from vtpm_proofs.mutations import Mutation
from vtpm_proofs.overlay import actions_using, replaced
from vtpm_traces import itf
from vtpm_traces.itf import INIT, Expect, Moment, Trace
from vtpm_traces.replay import replay

FOLDERS = {Expect.ACCEPT: "accept", Expect.REJECT: "reject"}

SUFFIX = ".itf.json"


@dataclass
class Pins:
    """The traces that were made, and the mutants that none of them tells from the model."""

    traces: list[Trace] = field(default_factory=list)
    unpinned: list[str] = field(default_factory=list)


def pin_of(system: str, mutation: Mutation) -> str:
    """How a trace names a mutant: `system/module.function: mistake [line of the model]`."""
    return f"{system}/{mutation.name} [{mutation.pinned}]"


def make(systems: Mapping[str, Spec[Any]], say: Callable[[str], None] = lambda line: None) -> Pins:
    """Find the traces for all mutants of the systems, the mutants that need long runs first."""
    pins = Pins()
    left: list[tuple[str, Mutation]] = plan(systems)
    for name, spec in systems.items():
        here = [item for item in left if item[0] == name or actions_using(spec, item[1].function)]
        if not here:
            continue
        left = [item for item in left if item not in here]
        grounds = Grounds(spec)
        traces, missed = _of_system(spec, here, grounds)
        later = list(systems.values())[list(systems).index(name) + 1 :]
        for item in missed:
            if any(actions_using(other, item[1].function) for other in later):
                left.append(item)
            else:
                pins.unpinned.append(pin_of(*item))
        pins.traces += traces
        say(f"{name}: {len(here)} mutants, {len(traces)} traces, {len(missed)} not told apart")
    return pins


def _of_system(
    spec: Spec[Any], mutants: list[tuple[str, Mutation]], grounds: Grounds
) -> tuple[list[Trace], list[tuple[str, Mutation]]]:
    found: list[tuple[Distinction, str, dict[str, Action[Any]]]] = []
    missed: list[tuple[str, Mutation]] = []
    for system, mutation in mutants:
        changed = replaced(spec, mutation.function, mutation.build())
        difference = next(grounds.differences(changed), None)
        if difference is None:
            missed.append((system, mutation))
        else:
            found.append((difference, pin_of(system, mutation), changed))
    found.sort(key=lambda one: (-len(grounds.run(one[0])), one[1]))
    traces: list[Trace] = []
    for difference, pin, changed in found:
        for index, trace in enumerate(traces):
            if tells_apart(spec, trace, changed):
                traces[index] = replace(trace, pins=(*trace.pins, pin))
                break
        else:
            traces.append(_trace(spec, grounds, difference, pin))
    return traces, missed


def _trace(spec: Spec[Any], grounds: Grounds, difference: Distinction, pin: str) -> Trace:
    moments = [Moment(INIT, {}, spec.init())]
    run = grounds.run(difference)
    for move in run[:-1]:
        after = spec.action(move.action).run(moments[-1].state, **move.picks)
        moments.append(Moment(move.action, move.picks, after))
    reject = difference.kind is Difference.ALLOWS_MORE
    last = difference.found if reject else difference.expected
    moments.append(Moment(run[-1].action, run[-1].picks, last))
    told = "cannot happen" if reject else "happens just so"
    return Trace(
        specification=spec.name,
        title=f"After {len(run) - 1} steps {run[-1].action} {told}",
        expect=Expect.REJECT if reject else Expect.ACCEPT,
        moments=tuple(moments),
        pins=(pin,),
        provenance={"made_by": "vtpmspec trace pin"},
    )


def tells_apart(spec: Spec[Any], trace: Trace, changed: Mapping[str, Action[Any]]) -> bool:
    """Whether a specification with these actions changed does not do what the trace expects; the model does."""
    if spec.name != trace.specification:
        return False
    last = len(trace.moments) - 1
    for number in range(1, last + 1):
        moment = trace.moments[number]
        action = changed.get(moment.action)
        if action is None:
            continue
        try:
            same = action.run(trace.moments[number - 1].state, **moment.picks) == moment.state
        except (Disabled, AttributeError, TypeError, ValueError):  # a mutant may make no sense at all
            same = False
        should = trace.expect is Expect.ACCEPT or number < last
        if same != should:
            return True
    return False


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
        path.parent.mkdir(exist_ok=True)
        itf.write(path, trace, spec)
    for path in stale:
        path.unlink()
    return len(wanted), len(stale)


def read(folder: Path, systems: Mapping[str, Spec[Any]]) -> Iterator[tuple[Path, Trace, Spec[Any]]]:
    """The traces that are kept below a folder. Raises BadInput."""
    for name in FOLDERS.values():
        for path in sorted((folder / name).glob(f"*{SUFFIX}")):
            file = itf.read_file(path)
            spec = systems[file.specification or ""]
            yield path, itf.to_trace(file, spec), spec


def problems(folder: Path, systems: Mapping[str, Spec[Any]], explained: Iterable[str] = ()) -> Iterator[str]:
    """What is wrong with the kept traces: one that does not hold, a pin that does not, a mutant without one.

    `explained` are the mutants, by `system/module.function: mistake`, that need none.
    """
    mutants = {pin_of(system, mutation): mutation for system, mutation in plan(systems)}
    missing = {pin for pin in mutants if pin.rpartition(" [")[0] not in set(explained)}
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
