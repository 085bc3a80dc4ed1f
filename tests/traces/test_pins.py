"""The traces that pin the model: each does what it says on the model, and on no mutant that it names."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from vtpm_model.catalog import SYSTEMS
from vtpm_model.core import Spec
from vtpm_proofs import pins
from vtpm_proofs.campaign import plan, reasons, unseen
from vtpm_proofs.distinguish import tells_apart
from vtpm_proofs.mutations import Mutation
from vtpm_proofs.overlay import replaced
from vtpm_traces import itf
from vtpm_traces.itf import Expect, Trace
from vtpm_traces.replay import replay
from vtpm_traces.schema import data

UNPINNED = "no trace pins "


@functools.cache
def kept() -> list[tuple[Path, Trace, Spec[Any]]]:
    return list(pins.read(data(), SYSTEMS))


@functools.cache
def planned() -> list[tuple[str, Mutation]]:
    return plan(SYSTEMS)


def a_reject() -> tuple[Path, Trace, Spec[Any]]:
    return next(item for item in kept() if item[1].expect is Expect.REJECT)


def test_the_kept_traces_hold_and_tell_all_mutants_from_the_model_that_a_run_can_show() -> None:
    wrong = list(pins.problems(data(), SYSTEMS, {*reasons(), *unseen()}))
    assert not wrong, "make them anew: vtpmspec record --only pins"


@pytest.mark.parametrize("name", ["ring", "device", "device.linux", "device.hostile", "tis"])
def test_every_action_is_pinned(name: str) -> None:
    pinned = {pin.partition(": ")[0].rpartition(".")[2] for _, trace, _ in kept() for pin in trace.pins}
    own = {mutation.function.__name__ for system, mutation in planned() if system == name}
    assert {action.name for action in SYSTEMS[name].actions} & own <= pinned


def test_a_trace_that_pins_nothing_or_something_else_is_found(tmp_path: Path) -> None:
    path, trace, spec = a_reject()
    folder = tmp_path / "reject"
    folder.mkdir()
    document = json.loads(path.read_text())
    document["#meta"]["pins"].append("ring/ring.nobody: does nothing [pass]")
    (folder / path.name).write_text(json.dumps(document))
    found = list(pins.problems(tmp_path, SYSTEMS))
    assert f"{path.name} pins ring/ring.nobody: does nothing [pass], which is no line of the model now" in found
    assert len([problem for problem in found if problem.startswith(UNPINNED)]) > 100
    assert replay(spec, trace).holds

    (tmp_path / "accept").mkdir()
    (folder / path.name).rename(tmp_path / "accept" / path.name)
    found = list(pins.problems(tmp_path, SYSTEMS))
    assert f"{path.name} lies in accept, and says reject" in found


def test_a_trace_tells_its_mutant_from_the_model_by_its_last_step_only_where_it_must() -> None:
    mutants = {pins.pin_of(system, mutation): mutation for system, mutation in planned()}
    _, trace, spec = a_reject()
    mutation = mutants[trace.pins[0]]
    changed = replaced(spec, mutation.function, mutation.build())
    assert tells_apart(spec, trace, changed)
    assert not tells_apart(spec, trace, {})
    assert not tells_apart(SYSTEMS["order"], trace, changed)


def test_files_are_named_by_what_they_hold() -> None:
    for path, trace, spec in kept():
        assert path.name == pins.file_name(trace, spec)
        assert itf.named(trace, spec).startswith(spec.name)
