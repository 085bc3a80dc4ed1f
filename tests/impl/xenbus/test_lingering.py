"""Waiting for one frontend is given up where it is in vain, and taken up again where it is not."""

from __future__ import annotations

from vtpm_impl.xenbus.lingering import Lingering


def tries(lingering: Lingering, occasions: int, *, worth: bool) -> int:
    found = 0
    for _ in range(occasions):
        if lingering.worthwhile():
            found += 1
            lingering.was(worth)
    return found


def test_what_is_in_vain_is_done_less_and_less() -> None:
    lingering = Lingering()
    assert tries(lingering, 10_000, worth=False) < 60
    assert tries(lingering, 10_000, worth=True) > 9_000
    assert tries(lingering, 10_000, worth=False) < 60
