"""The explicit-state search: what it counts, what it finds, what it keeps on record."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.proofs.toy_mistakes import KEEPS_ITS_JOB, TELLS_NOBODY
from tests.proofs.toy_ring import TOY, Byte, Toy

from vtpm_model.catalog import SYSTEMS, VARIANTS
from vtpm_model.core import Actor, Disabled, Nat, Spec, action, record, replace, require
from vtpm_model.ring import RING
from vtpm_proofs import explore
from vtpm_proofs.bounds import BOUNDS, Bounds, bounds_of, check, choices, narrowed
from vtpm_proofs.explore import Move, replay, scout, search, spread
from vtpm_proofs.leaves import flatten, leaves, unflattener

SMALL = Bounds(fields={"request": 3, "epoch": 2})
LARGE = Bounds(fields={"request": 8, "epoch": 4}, states=100_000)
QUIET: Spec[Any] = TOY.variant("quiet", doc="No spurious events.", dropped=("event_comes_unasked",))


@pytest.mark.parametrize(
    ("spec", "bounds", "states"), [(QUIET, SMALL, 908), (QUIET, LARGE, 15_512), (TOY, SMALL, 1_693)]
)
def test_the_numbers_of_states_are_those_of_another_model_checker(spec: Spec[Any], bounds: Bounds, states: int) -> None:
    """908 and 15 512: a model of the same small ring, written in Promela by hand, has as many under Spin."""
    atlas = search(spec, bounds)
    assert len(atlas.states) == states
    assert atlas.exhausted
    assert not atlas.violations


def test_a_run_leads_to_its_state_by_steps_of_the_model() -> None:
    atlas = search(TOY, SMALL)
    for number in (1, 100, len(atlas.states) - 1):
        assert list(replay(TOY, atlas.run_to(number)))[-1] == atlas.states[number]


def test_runs_are_shortest() -> None:
    atlas = search(TOY, SMALL)
    depths = atlas.depths()
    assert depths == sorted(depths)
    assert max(depths) == atlas.depth


def test_a_broken_step_fact_is_found_with_a_run_to_it() -> None:
    atlas = search(KEEPS_ITS_JOB, SMALL)
    (first, *_) = atlas.violations
    assert first.fact == "a_job_is_of_the_mapping"
    assert first.run[-1].action == "backend_disconnects"
    assert list(replay(KEEPS_ITS_JOB, first.run))[-1] == first.state


def test_a_broken_state_fact_is_found() -> None:
    assert {violation.fact for violation in search(TELLS_NOBODY, SMALL).violations} == {"no_wakeup_is_lost"}


def test_a_search_that_is_cut_short_says_so() -> None:
    atlas = search(TOY, Bounds(fields={"request": 3, "epoch": 2}, states=100))
    assert not atlas.exhausted
    assert 100 < len(atlas.states) < 1_693


def test_a_replay_of_an_impossible_step_is_refused() -> None:
    with pytest.raises(Disabled):
        list(replay(TOY, (Move("backend_finishes"),)))


def test_bounds_must_name_fields_of_the_system() -> None:
    with pytest.raises(ValueError, match=r"toy has no field pages to bound; it has .*page\.answer"):
        check(TOY, Bounds(fields={"pages": 1}))


@pytest.mark.parametrize("name", BOUNDS)
def test_bounded_picks_are_picks_of_the_system_or_of_a_variant(name: str) -> None:
    specs = [spec for spec in (*SYSTEMS.values(), *VARIANTS.values()) if bounds_of(spec) is BOUNDS[name]]
    picks = [(action.name, pick) for spec in specs for action in spec.actions for pick in action.picks]
    assert BOUNDS[name].wider.picks.keys() <= {pick for _, pick in picks} | {".".join(both) for both in picks}


def test_the_picks_that_are_not_all_tried_are_told_with_those_that_are() -> None:
    assert narrowed(RING, bounds_of(RING)) == {"length": (10,), "extra": (0,), "header": (10,), "reply": (10,)}
    assert narrowed(RING, Bounds(picks={"extra": tuple(range(256))})).keys() == {"length", "header", "reply"}


def test_a_variant_is_bounded_as_its_system_is() -> None:
    assert bounds_of(QUIET) == bounds_of(TOY)
    assert bounds_of(TOY).fields["request"] == 2


@record
class Counter:
    count: Nat


@action(by=Actor.XEN)
def counts(s: Counter, byte: Byte, by: Nat, twice: bool) -> Counter:
    """Counts."""
    require(by != 1)
    return replace(s, count=s.count + by)


def test_picks_are_all_values_of_a_small_sort_and_two_of_a_large_one() -> None:
    rows = choices(counts, Bounds())
    assert len(rows) == 4 * 2 * 2
    assert {row["by"] for row in rows} == {0, 1}
    assert {row["by"] for row in choices(counts, Bounds(picks={"by": (7,)}))} == {7}
    assert {row["by"] for row in choices(counts, Bounds(picks={"by": (7,), "counts.by": (8, 9)}))} == {8, 9}


def test_flattening_a_state_is_undone() -> None:
    state = search(TOY, SMALL).states[-1]
    flat = flatten(state)
    assert len(flat) == len(leaves(Toy))
    assert all(type(value) is int for value in flat)
    assert unflattener(Toy)(flat) == state


def test_a_scout_goes_as_deep_as_the_search_with_fewer_states() -> None:
    whole, thin = search(TOY, SMALL), scout(TOY, SMALL)
    assert len(thin.states) < len(whole.states) / 2
    assert set(thin.states) <= set(whole.states)
    assert {s.page.state for s in thin.states} == set(Byte)
    assert set(spread(thin, 10_000).states) == set(whole.states)


# --------------------------------------------------------------------------------------------------------- the record


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "states.json"
    monkeypatch.setattr(explore, "MANIFEST", path)
    return path


def test_counts_are_kept_and_a_changed_one_is_told_with_the_way_to_record_it(manifest: Path) -> None:
    count = search(TOY, SMALL).count()
    assert "no count is on record" in str(explore.compare("toy", count))
    explore.record({"other": {"states": 1}})
    explore.record({"toy": count})
    assert explore.compare("toy", count) is None
    said = explore.compare("toy", count | {"states": 7})
    assert said == (
        "toy: not what is on record: states 1693 -> 7; if the model was meant to change: vtpmspec record toy"
    )
    assert set(json.loads(manifest.read_text())["systems"]) == {"other", "toy"}
