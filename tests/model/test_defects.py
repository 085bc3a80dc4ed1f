"""The table of known defects: every row is there, and each variant is its system but for what it replaces."""

from __future__ import annotations

import pytest

from vtpm_model.catalog import SYSTEMS, VARIANTS
from vtpm_model.defects import DEFECT_VARIANTS, DEFECTS, SITUATIONS, Defect, Situation

ROWS = {
    *(f"r{n}" for n in (5, 8, 10, 11, 12, 13, 15)),
    *(f"i{n}" for n in (1, 2, 3, 4, 5, 6, 7, 10, 12, 13, 14, 15, 16)),
    *(f"q{n}" for n in range(2, 9)),
    *(f"m{n}" for n in (1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 14, 15)),
}


def test_every_row_has_its_defect() -> None:
    assert DEFECTS.keys() == ROWS
    assert {row: defect.id for row, defect in DEFECTS.items()} == {row: row for row in ROWS}


def test_every_row_of_a_sound_system_has_its_situation() -> None:
    assert SITUATIONS.keys() == {"i8", "i9", "i11", "r14"}


def test_every_variant_is_in_the_catalogue_under_its_own_name() -> None:
    assert len(DEFECT_VARIANTS) == len(DEFECTS)
    assert all(VARIANTS[name] is spec and spec.name == name for name, spec in DEFECT_VARIANTS.items())


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_a_defect_breaks_a_fact_of_the_system_that_it_varies(defect: Defect) -> None:
    system = SYSTEMS[defect.variant.name.partition("+")[0]]
    claims = {fact.name for fact in system.facts} | {claim.name for claim in system.liveness}
    assert {defect.fails, *defect.along} <= claims
    assert [fact.name for fact in defect.variant.facts] == [fact.name for fact in system.facts]
    assert [claim.name for claim in defect.variant.liveness] == [claim.name for claim in system.liveness]


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_a_defect_differs_from_its_system_in_some_actions_only(defect: Defect) -> None:
    system = SYSTEMS[defect.variant.name.partition("+")[0]]
    own = {action.name: action.run for action in system.actions}
    varied = {action.name: action.run for action in defect.variant.actions}
    changed = {name for name in own.keys() | varied.keys() if own.get(name) is not varied.get(name)}
    assert 1 <= len(changed) <= 5
    assert own.keys() & varied.keys() - changed  # most stay as they are


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_a_defect_says_what_goes_wrong_and_where_it_was_read(defect: Defect) -> None:
    assert defect.sentence.endswith(".")
    assert len(defect.sentence) <= 120
    assert defect.cites
    assert all(action.cites for action in defect.variant.actions)


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_a_situation_is_a_run_of_a_system(situation: Situation) -> None:
    assert situation.system is SYSTEMS[situation.system.name]
    state = situation.system.init()
    for name, picks in situation.run:
        assert not situation.shown(state)  # only the whole run shows it
        state = situation.system.action(name)(state, **picks)
    assert situation.shown(state)
