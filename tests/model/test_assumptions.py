"""Every assumption is tied to facts that exist, and every row of the tables is a fact or read as one."""

from __future__ import annotations

import re

from vtpm_model.assumptions import ASSUMPTIONS, READINGS, ROWS, assumed_by
from vtpm_model.catalog import SYSTEMS

FACTS = [fact for spec in SYSTEMS.values() for fact in spec.facts]
LIVENESS = [claim for spec in SYSTEMS.values() for claim in spec.liveness]
CLAIMS = {fact.name for fact in FACTS} | {claim.name for claim in LIVENESS}
COVERED = {row for fact in FACTS for row in fact.covers} | {row for claim in LIVENESS for row in claim.covers}


def test_ids_are_numbered_without_gaps() -> None:
    assert [assumption.id for assumption in ASSUMPTIONS] == [f"A{number + 1}" for number in range(len(ASSUMPTIONS))]


def test_each_assumption_names_facts_or_rows_that_exist() -> None:
    for assumption in ASSUMPTIONS:
        assert assumption.facts, assumption.id
        unknown = set(assumption.facts) - CLAIMS - set(ROWS)
        assert not unknown, (assumption.id, unknown)


def test_each_says_its_sentence_and_why() -> None:
    for assumption in ASSUMPTIONS:
        assert re.fullmatch(r"[A-Z].*\.", assumption.sentence)
        assert re.fullmatch(r"[A-Z0-9`].*\.", assumption.why)


def test_every_row_has_a_fact() -> None:
    assert set(ROWS) - COVERED == set()


def test_readings_are_of_rows_and_one_each() -> None:
    rows = [reading.row for reading in READINGS]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(ROWS)


def test_a_fact_rests_on_what_names_it_or_its_rows() -> None:
    ids = {one.id for one in assumed_by("a_watch_event_waits", ("E28",))}
    assert "A8" in ids
    assert "A4" not in ids
    assert assumed_by("nobody_knows_this", ()) == ()
