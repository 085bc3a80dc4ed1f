"""Known defects, reproduced: of each, the shortest run is kept as a trace, and checked against variant and system.

A trace is kept for each defect (a run of the variant that breaks the expected fact) and for each situation (a run of
the system itself). `find` hunts for the runs anew; `check` takes the kept ones.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtpm_model.catalog import SYSTEMS
from vtpm_model.core import Disabled, Eventually, Spec, Step, fields
from vtpm_model.defects import DEFECTS, SITUATIONS, Defect, Situation
from vtpm_model.handshake import CLOSED, INITIALISED, INVALID, UNKNOWN
from vtpm_model.ring import CANCEL, IDLE, SUBMIT
from vtpm_proofs.bounds import Bounds, bounds_of
from vtpm_proofs.explore import Move, replay
from vtpm_proofs.hunt import Hunt, broken_by, claim_of, goes_on, possible_at_all, shortest
from vtpm_traces import itf, schema
from vtpm_traces.files import BadInput
from vtpm_traces.itf import INIT, Expect, Moment, Trace
from vtpm_traces.replay import replay as retrace

SUFFIX = ".itf.json"

_PACKET: dict[str, tuple[Any, ...]] = {"length": (22,), "extra": (0,), "header": (30,), "reply": (30,)}


def _tis(**picks: tuple[Any, ...]) -> Bounds:
    """One call, of a command of ten bytes if nothing else is picked."""
    usual: dict[str, tuple[Any, ...]] = {
        "named": (10,),
        "given": (10,),
        "first": (255,),
        "burst": (10,),
        "count": (10,),
        "size": (20,),
        "answer": (20,),
        "told": (2_000_001,),
        "found": (0,),
    }
    return Bounds(fields={"call": 1, "waited": 2}, picks={**usual, **picks}, states=400_000)


SEARCHED: dict[str, Bounds] = {
    "page": Bounds(
        picks={
            "length": (22, 4089, 0xFFFF_FFFF),
            "extra": (0, 255),
            "byte": (8,),
            "engine_answers.length": (30, 4088, 4094),
        },
        states=100_000,
    ),
    "ring": Bounds(fields={"request": 2, "epoch": 2}, picks=_PACKET, states=1_000_000),
    "device": Bounds(fields={"request": 1, "epoch": 1}, picks=_PACKET, states=2_000_000),
    "device.linux": Bounds(fields={"request": 1, "epoch": 2}, picks=_PACKET, states=2_000_000),
    "device.hostile": Bounds(
        fields={"request": 1, "epoch": 1},
        picks={
            **_PACKET,
            "keys": (1,),
            "v2": (True,),
            "frontend_writes_its_state.state": (UNKNOWN, INITIALISED, CLOSED, INVALID),
            "state": (IDLE, SUBMIT, CANCEL),
        },
        states=2_000_000,
    ),
    "isolation": Bounds(
        fields={"clock": 6, "x.epoch": 2, "y.epoch": 2}, picks={"address": (0, 1), "others": (0,)}, states=1_000_000
    ),
    "tis": _tis(),
    "tis+m1": _tis(burst=(0, 10)),
    "tis+m2": _tis(burst=(4095,), count=(10, 4095), size=(9,)),
    "tis+m3": _tis(burst=(0, 10)),
    "tis+m4": _tis(named=(300,), given=(300,), burst=(0, 256), count=(300,)),
    "tis+m5": _tis(burst=(9,), count=(1, 9)),
    "tis+m11": _tis(burst=(9,), count=(1, 9)),
    "tis+m14": _tis(named=(20,)),
    "watch": Bounds(fields={"child": 60}, picks={"name": (1, 40), "value": (1, 6), "left_over": (6,)}),
}
"""How far a hunt goes in each system or variant; in one that is not named, as far as the explicit-state search."""


def searched(variant: Spec[Any]) -> Bounds:
    """The bounds of a hunt in a variant."""
    return SEARCHED.get(variant.name) or SEARCHED.get(base_of(variant)) or bounds_of(variant)


def base_of(variant: Spec[Any]) -> str:
    """The name of the system that a variant varies."""
    return variant.name.partition("+")[0]


# ---------------------------------------------------------------------------------------------------------- keeping


def directory() -> Path:
    """Where the traces are kept."""
    return schema.data("defects")


def find(defect: Defect) -> Hunt:
    """Hunt for the shortest run of a defect."""
    return shortest(defect.variant, defect.fails, searched(defect.variant), shown=defect.shown)


def kept_as_trace(defect: Defect, found: Hunt) -> Trace:
    """The trace to keep of a hunt. Raises ValueError if it found nothing."""
    if found.run is None:
        raise ValueError(f"{defect.id}: no run breaks {defect.fails} among {found.states} states")
    trace = _trace(defect.variant, defect.sentence, found.run)
    origin = {"defect": defect.id, "search": "breadth first", "states": found.states}
    return Trace(trace.specification, trace.title, Expect.ACCEPT, trace.moments, (defect.fails,), origin, _loop(trace))


def situation_as_trace(situation: Situation) -> Trace:
    """The trace to keep of a situation."""
    run = tuple(Move(action, picks) for action, picks in situation.run)
    trace = _trace(situation.system, situation.sentence, run)
    return Trace(trace.specification, trace.title, Expect.ACCEPT, trace.moments, (), {"situation": situation.id})


def _trace(spec: Spec[Any], title: str, run: tuple[Move, ...]) -> Trace:
    first, *states = replay(spec, run)
    moments = [Moment(m.action, m.picks, state) for m, state in zip(run, states, strict=True)]
    return Trace(spec.name, title, Expect.ACCEPT, (Moment(INIT, {}, first), *moments))


def _loop(trace: Trace) -> int | None:
    """Where the last step of a run leads back to, if it changes nothing."""
    last = len(trace.moments) - 1
    return last - 1 if trace.moments[last].state == trace.moments[last - 1].state else None


def keep(where: Path, ids: Iterable[str]) -> None:
    """Find the runs of these defects and situations anew, and write their traces."""
    where.mkdir(parents=True, exist_ok=True)
    for row in ids:
        path = where / f"{row}{SUFFIX}"
        if row in DEFECTS:
            itf.write(path, kept_as_trace(DEFECTS[row], find(DEFECTS[row])), DEFECTS[row].variant)
        else:
            itf.write(path, situation_as_trace(SITUATIONS[row]), SITUATIONS[row].system)


# --------------------------------------------------------------------------------------------------------- checking


@dataclass(frozen=True)
class Shown:
    """What the trace of one row shows.

    `steps` is its length. `true_model` says what the system that is not varied makes of the same steps.
    """

    row: str
    specification: str
    sentence: str
    fails: str
    steps: int
    true_model: str
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the defect is reproduced, or the situation ends as it should."""
        return not self.problems


@dataclass(frozen=True)
class Reproduced:
    """Every known defect and situation."""

    rows: tuple[Shown, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether each row holds."""
        return all(row.holds for row in self.rows)


def check_defects(where: Path | None = None, only: Collection[str] | None = None) -> Reproduced:
    """Check the kept trace of every defect and every situation, and that no other trace is kept there.

    `only` narrows it to some rows.
    """
    begun = time.perf_counter()
    folder = where or directory()
    rows = [check_defect(one, folder) for row, one in DEFECTS.items() if only is None or row in only]
    rows += [check_situation(one, folder) for row, one in SITUATIONS.items() if only is None or row in only]
    strangers = {path.name.removesuffix(SUFFIX) for path in folder.glob("*")} - DEFECTS.keys() - SITUATIONS.keys()
    rows += [Shown(row, "", "", "", 0, "", ("a trace is kept of what is no row",)) for row in sorted(strangers)]
    return Reproduced(tuple(rows), time.perf_counter() - begun)


def check_defect(defect: Defect, folder: Path) -> Shown:
    """The kept trace is a run of the variant, breaks just what it should, and the system itself goes another way."""

    def shown(steps: int, true_model: str, *problems: str) -> Shown:
        return Shown(defect.id, defect.variant.name, defect.sentence, defect.fails, steps, true_model, problems)

    trace, problem = _kept(defect.id, defect.variant, folder)
    if trace is None:
        return shown(0, "", problem)
    steps = len(trace.moments) - 1
    system = SYSTEMS[base_of(defect.variant)]
    true_model, agrees = _on_the_system(system, trace)
    if agrees and (group := _does_not_end_there(system, defect.fails, trace)):
        true_model, agrees = f"goes on: {group}", False
    problems = [problem] if problem else _misses(defect, trace)
    if agrees:
        problems.append(f"{base_of(defect.variant)} takes the same steps and breaks no fact on the way")
    return shown(steps, true_model, *problems)


def _misses(defect: Defect, trace: Trace) -> list[str]:
    """What a run of the variant fails to show."""
    spec = defect.variant
    last = len(trace.moments) - 1
    broken: list[set[str]] = [
        set(broken_by(spec, before.state, _step(spec, moment), moment.state))
        for before, moment in zip(trace.moments, trace.moments[1:], strict=False)
    ]
    found = set().union(*broken)
    claim = claim_of(spec, defect.fails)
    if isinstance(claim, Eventually):
        ends = _ends_in_vain(spec, claim, trace)
        expected = set(defect.along)
    else:
        ends = _broken_at_the_end(defect.fails, claim.holds, trace, broken)
        expected = {defect.fails, *defect.along}
    problems = []
    if not ends:
        problems.append(f"its last step does not break {defect.fails}")
    if found != expected:
        problems.append(f"it breaks {', '.join(sorted(found)) or 'nothing'}; expected {', '.join(sorted(expected))}")
    if not defect.shown(trace.moments[last].state):
        problems.append(f"its last state is not as `{defect.shown.__name__}` says")
    return problems


def _broken_at_the_end(name: str, holds: Any, trace: Trace, broken: list[set[str]]) -> bool:
    """The last step breaks the fact, or an earlier one did and its last state still does."""
    return name in broken[-1] or (any(name in step for step in broken) and not holds(trace.moments[-1].state))


def _ends_in_vain(spec: Spec[Any], claim: Eventually, trace: Trace) -> bool:
    """What is pending at the end of the run may stay so for ever."""
    before, last = trace.moments[-2:]
    step = _step(spec, last)
    return claim.pending(last.state) and goes_on(
        spec, before.state, step, last.state, lambda state, name: possible_at_all(spec, state, name)
    )


def _does_not_end_there(system: Spec[Any], name: str, trace: Trace) -> str:
    """The fair group that helps the system on where a run of the variant rests; empty for a claim of another kind."""
    claim = claim_of(system, name)
    state = trace.moments[-1].state
    if not isinstance(claim, Eventually) or not claim.pending(state):
        return ""
    group = claim.helpful(state)
    return group if any(possible_at_all(system, state, action) for action in system.fair[group]) else ""


def check_situation(situation: Situation, folder: Path) -> Shown:
    """The kept trace is a run of the system itself, breaks no fact, and ends as it should."""
    spec = situation.system
    trace, problem = _kept(situation.id, spec, folder)
    if trace is None:
        return Shown(situation.id, spec.name, situation.sentence, "", 0, "", (problem,))
    problems = [problem] if problem else []
    _, agrees = _on_the_system(spec, trace)
    if not agrees:
        problems.append("it breaks a fact")
    if not situation.shown(trace.moments[-1].state):
        problems.append(f"its last state is not as `{situation.shown.__name__}` says")
    return Shown(
        situation.id, spec.name, situation.sentence, "", len(trace.moments) - 1, "takes every step", tuple(problems)
    )


def _kept(row: str, spec: Spec[Any], folder: Path) -> tuple[Trace | None, str]:
    """The trace that is kept of a row, and why it is no run of the specification, if it is none."""
    path = folder / f"{row}{SUFFIX}"
    if not path.exists():
        return None, f"no trace is kept in {path.name}"
    try:
        trace = itf.to_trace(itf.read_file(path), spec)
    except BadInput as error:
        return None, str(error)
    gone = retrace(spec, trace)
    return trace, "" if gone.holds else gone.sentence


def _on_the_system(spec: Spec[Any], trace: Trace) -> tuple[str, bool]:
    """What the system that is not varied makes of a run, and whether it takes every step and breaks no fact."""
    state = spec.init()
    names = {action.name: action for action in spec.actions}
    for number, moment in enumerate(trace.moments[1:], start=1):
        action = names.get(moment.action)
        if action is None or action.picks.keys() != moment.picks.keys():
            return f"has no step {number}, {moment.action}", False
        try:
            after = action(state, **moment.picks)
        except Disabled:
            return f"refuses step {number}, {moment.action}", False
        broken = sorted(broken_by(spec, state, _step(spec, moment), after))
        if broken:
            return f"breaks {broken[0]} at step {number}", False
        if after != _seen_by(spec, moment.state):
            return f"goes elsewhere at step {number}, {moment.action}", False
        state = after
    return "takes every step", True


def _seen_by(spec: Spec[Any], state: Any) -> Any:
    """The state without the fields that the system does not have."""
    return spec.state(**{name: getattr(state, name) for name in fields(spec.state)})


def _step(spec: Spec[Any], moment: Moment) -> Step:
    return Step(moment.action, spec.action(moment.action).by, moment.picks)


def untouched(systems: Mapping[str, Spec[Any]]) -> dict[str, list[str]]:
    """The facts and liveness claims that no known defect breaks, each in the first system that has it."""
    known = {name for defect in DEFECTS.values() for name in (defect.fails, *defect.along)}
    found: dict[str, list[str]] = {}
    for system, spec in systems.items():
        names = [fact.name for fact in spec.facts] + [claim.name for claim in spec.liveness]
        found[system] = [name for name in names if name not in known]
        known.update(names)
    return found
