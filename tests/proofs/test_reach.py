"""Witnesses: a run to every path, a proof where there can be none, and reasons that are still needed."""

import json
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest
from tests.proofs.toy_ring import BACKEND, FINISH, TOY, Toy

from vtpm_model.core import U32, Spec, action, always, implies, negate, replace, require
from vtpm_proofs import reach
from vtpm_proofs.bounded import PATIENCE, run_to
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.explore import replay, scout
from vtpm_proofs.leaves import flatten
from vtpm_proofs.pursue import compiled, pursue
from vtpm_proofs.reach import Witness, complaints, decisions_of, witnesses
from vtpm_proofs.symbolic import flat_terms, symbolic_state
from vtpm_proofs.system import System
from vtpm_proofs.terms import conjunction, evaluate


@pytest.fixture(autouse=True)
def no_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "unreached.json"
    monkeypatch.setattr(reach, "UNREACHED", path)
    return path


def of(spec: Spec[Any], name: str) -> dict[tuple[str, ...], Witness]:
    return {one.decisions: one for one in witnesses(spec) if one.action == name}


def test_every_path_of_the_toy_has_a_run_whose_last_step_takes_it() -> None:
    found = witnesses(TOY)
    system = System(TOY)
    ways = {(w.action.name, decisions_of(w)): w for a in TOY.actions for w in system.ways(a)}
    assert {(one.action, one.decisions) for one in found} == set(ways)
    names = [term.name for term in flat_terms(system.before)]
    for one in found:
        assert one.run is not None
        *_, before = replay(TOY, one.run[:-1])
        way = ways[one.action, one.decisions]
        values = dict(zip(names, flatten(before), strict=True))
        for pick, unknown in way.picks.items():
            values |= {term.name: one.run[-1].picks[pick] for term in flat_terms(unknown)}
        assert all(evaluate(condition, values) for condition in way.conditions)
    assert complaints(found) == []


def test_a_run_is_sought_for_so_many_units_of_work() -> None:
    system = System(TOY)
    *_, way = system.ways(TOY.action("backend_finishes"))
    assert run_to(system, way.action, way.picks, way.conditions, 1) is None
    found = run_to(system, way.action, way.picks, way.conditions, PATIENCE)
    assert found is not None
    run, picks = found
    assert TOY.action("backend_finishes").run(run.states[-1], **picks) is not None


def test_a_path_is_known_by_what_its_lines_say_and_not_by_their_numbers() -> None:
    assert set(of(TOY, "backend_disconnects")) == {()}
    (texts,) = [d for d in of(TOY, "backend_wakes") if len(d) == 3 and d[-1].endswith("no")]
    assert all(text.startswith("if s.page.state ==") for text in texts)


@action(by=BACKEND)
def backend_aborts(s: Toy) -> Toy:
    """A branch that no state takes, since a job is always of the mapping; and one that only a large number takes."""
    require(s.busy)
    if s.job_epoch != s.mapped:
        return replace(s, busy=False)
    return replace(s, busy=False, to_frontend=True, page=replace(s.page, state=FINISH, answer=s.job))


IDLE_BRANCH: Spec[Any] = TOY.variant("idle", doc="A branch that nothing takes.", replaced=(backend_aborts,))


def test_a_path_that_contradicts_the_facts_is_told_as_impossible_until_it_has_a_reason(no_reasons: Path) -> None:
    found = witnesses(IDLE_BRANCH)
    name = "toy+idle.backend_aborts: if s.job_epoch != s.mapped: yes"
    assert [one.id for one in found if one.how == "impossible"] == [name]
    assert complaints(found) == [
        f"{name} has no witness (no state with all facts takes it); remove it, or give a reason in unreached.json"
    ]
    no_reasons.write_text(json.dumps({"paths": {name: "A guard against what cannot be."}}))
    assert complaints(found) == []


def test_a_reason_that_nothing_needs_is_told(no_reasons: Path) -> None:
    no_reasons.write_text(json.dumps({"paths": {"toy.gone: x": "Was of use.", "other.gone: x": "Not asked."}}))
    assert complaints(witnesses(TOY)) == [
        "toy.gone: x needs no reason in unreached.json any more: it is reached, or gone"
    ]


@action(by=BACKEND)
def backend_counts(s: Toy, bytes_read: U32) -> Toy:
    """Takes a number that no search tries."""
    require(s.busy)
    require(bytes_read == 123_456)
    return replace(s, busy=False)


def test_a_pick_that_no_search_tries_is_found_by_the_solver() -> None:
    spec = TOY.variant("numbers", doc="A large pick.", added=(backend_counts,))
    (one,) = of(spec, "backend_counts").values()
    assert one.how == "solver"
    assert one.run is not None
    assert one.run[-1].picks == {"bytes_read": 123_456}
    assert list(replay(spec, one.run))


def test_a_rare_place_is_found_by_unrolling_the_steps() -> None:
    """From the initial state alone: every path that needs no pick is led to, by runs that the model takes."""
    system = System(TOY)
    atlas = scout(TOY, Bounds(fields={"request": 3, "epoch": 3}))
    for column in (atlas.states, atlas.parents, atlas.via):
        del column[1:]
    atlas.index = {atlas.states[0]: 0}
    pursue(atlas, system)
    ways = [way for action in TOY.actions for way in system.ways(action)]
    names = [term.name for term in flat_terms(system.before)]
    for way in ways:
        if not way.picks:
            takes = compiled(conjunction(way.conditions), names)
            assert any(takes(*flatten(state)) for state in atlas.states), way.label
    for number, state in enumerate(atlas.states):
        assert list(replay(TOY, atlas.run_to(number)))[-1] == state


def test_a_formula_as_python_says_what_the_formula_says() -> None:
    @always()
    def odd(s: Toy) -> bool:
        """A little of everything."""
        total = (s.request + 2 * s.epoch - s.mapped) % 5 // 2
        return implies(negate(s.up) & (total >= 1), (s.job <= total) | (s.page.state == FINISH))

    before = symbolic_state(Toy)
    term = System(changed(TOY, facts=(odd,), lemmas=())).invariants["odd"]
    names = [one.name for one in flat_terms(before)]
    function = compiled(term, names)
    for state in scout(TOY).states:
        flat = flatten(state)
        assert bool(function(*flat)) == bool(evaluate(term, dict(zip(names, flat, strict=True)))) == odd.holds(state)
