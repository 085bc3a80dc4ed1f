"""What a TPM tells of its time-outs makes waits longer, within bounds, and never shorter, whatever it tells."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.impl.tis.packets import PACKETS
from tests.peers import tpm_machine

from vtpm_impl.engines.tis import learn_limits
from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.qemu import Machine
from vtpm_impl.tis.timeouts import DURATIONS, LONGEST, LONGEST_DURATION, Timeouts, told_durations, told_timeouts
from vtpm_impl.tpm import requests
from vtpm_impl.tpm.durations import Duration
from vtpm_impl.tpm.family import Family

WORD = st.integers(0, 2**32 - 1)


@given(st.lists(WORD, min_size=4, max_size=4))
def test_time_outs_are_bounded_whatever_is_told(words: list[int]) -> None:
    for usual, told in zip(astuple(Timeouts()), astuple(told_timeouts(words)), strict=True):
        assert usual <= told <= LONGEST


@given(st.lists(WORD, min_size=3, max_size=3))
def test_durations_are_bounded_whatever_is_told(words: list[int]) -> None:
    told = told_durations(words)
    assert told.keys() == DURATIONS.keys()
    assert all(DURATIONS[one] <= seconds <= LONGEST_DURATION for one, seconds in told.items())


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ((0, 0, 0, 0), (0.75, 2.0, 0.75, 0.75)),
        ((1_000_000, 1_000_000, 1_000_000, 1_000_000), (1.0, 2.0, 1.0, 1.0)),  # as libtpms
        ((750, 4000, 750, 1500), (0.75, 4.0, 0.75, 1.5)),  # in milliseconds
        ((2**32 - 1, 1, 2, 3), (60.0, 2.0, 0.75, 0.75)),
    ],
)
def test_time_outs_that_are_told(words: tuple[int, ...], seconds: tuple[float, ...]) -> None:
    assert astuple(told_timeouts(words)) == seconds


def test_durations_that_are_told() -> None:
    told = told_durations((50_000_000, 100_000_000, 300_000_000))  # as libtpms
    assert [told[one] for one in Duration] == [50.0, 100.0, 300.0, 300.0, 120.0]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 61.0, float("nan")])
def test_no_time_out_is_without_bounds(seconds: float) -> None:
    with pytest.raises(ValueError, match="it is more than 0 and at most 60"):
        Timeouts(c=seconds)


def test_a_driver_waits_as_its_tpm_tells() -> None:
    tpm_machine.required()
    with Machine(Family.TPM_1_2) as machine:
        driver = Driver(machine)
        learn_limits(driver)  # not started yet: it tells nothing
        assert driver.transmit(PACKETS[Family.TPM_1_2].startup)[6:] == bytes(4)
        assert requests.limits(driver.transmit) == ((1_000_000,) * 4, (50_000_000, 100_000_000, 300_000_000))
        learn_limits(driver)
        assert driver.transmit(PACKETS[Family.TPM_1_2].pcr_read)[6:10] == bytes(4)
        with pytest.raises(Exception, match=r"did not grant locality 4 in 1 s \(A\)"):
            driver.transmit(PACKETS[Family.TPM_1_2].pcr_read, locality=4)
