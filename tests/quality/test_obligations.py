"""The table of what our ends owe is complete: each row names runs, defects and tests that exist and belong together."""

import pytest
from tests.quality.obligations import OBLIGATIONS, Obligation, faults

BACKEND, FRONTEND = 11, 6
"""Rows of either end."""

ROW = Obligation(
    "backend", "It shuts the door", ("E4",), ("accept/reconnect",), ("after-a-close-the-backend-stays-closed",)
)


@pytest.mark.parametrize("row", OBLIGATIONS, ids=lambda row: f"{row.end}: {row.owes}")
def test_each_obligation_is_held_by_what_exists(row: Obligation) -> None:
    assert faults(row) == []


def test_no_row_is_missing() -> None:
    assert sum(row.end == "backend" for row in OBLIGATIONS) == BACKEND
    assert sum(row.end == "frontend" for row in OBLIGATIONS) == FRONTEND
    assert len({row.owes for row in OBLIGATIONS}) == len(OBLIGATIONS)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (ROW._replace(runs=("accept/squeaks",), planted=()), "there is no run accept/squeaks for a backend"),
        (ROW._replace(end="frontend", runs=()), "no frontend is planted as after-a-close-the-backend-stays-closed"),
        (ROW._replace(runs=("accept/detach",)), "is found in accept/reconnect, which the row does not name"),
        (ROW._replace(planted=()), "nothing shows that it is met"),
        (ROW._replace(tests=("tests/quality/test_obligations.py::test_a_door",)), "there is no test"),
        (ROW._replace(tests=("tests/quality/nowhere.py::test_a_door",)), "there is no test"),
    ],
    ids=["no-run", "no-defect", "another-run", "nothing", "no-test", "no-file"],
)
def test_a_row_that_names_what_is_not_there_falls_short(row: Obligation, fault: str) -> None:
    assert faults(ROW) == []
    assert any(fault in found for found in faults(row))
