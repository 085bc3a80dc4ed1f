"""The way to wait that costs less is taken, and the other one is tried again."""

from __future__ import annotations

import pytest

from vtpm_impl.xenbus.spinning import Spinning


@pytest.mark.parametrize(("spin", "sleep", "most"), [(5e-6, 20e-6, True), (60e-6, 20e-6, False)])
def test_the_quicker_way_is_taken(spin: float, sleep: float, most: bool) -> None:
    spinning = Spinning()
    taken = []
    for _ in range(10_000):
        taken.append(spinning.worthwhile())
        spinning.took(spin if spinning.worthwhile() else sleep)
    assert taken.count(most) > 9_000
    assert 0 < taken.count(not most) < 1_000


def test_it_follows_when_the_other_way_becomes_quicker() -> None:
    spinning = Spinning()
    for spin, sleep in ((5e-6, 20e-6), (100e-6, 20e-6), (5e-6, 20e-6)):
        for _ in range(5_000):
            spinning.took(spin if spinning.worthwhile() else sleep)
        assert spinning.worthwhile() is (spin < sleep)
