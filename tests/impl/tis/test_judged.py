"""The driver on a strict device that is benign, whimsical, broken or seized: nothing is wrong with it."""

from __future__ import annotations

from tests.impl.tis.judging import judge

from vtpm_impl.tis.driver import Driver
from vtpm_traces.conform.tis_device import Clock
from vtpm_traces.conform.tis_driver import Port


def make(port: Port, clock: Clock) -> Driver:
    return Driver(port, clock=clock)


def test_nothing_is_wrong_with_the_driver() -> None:
    assert list(judge(make)) == []
