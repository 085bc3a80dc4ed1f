"""Each planted TPM is found by what `vtpmspec conform` plays to anybody's, within a budget of runs."""

from __future__ import annotations

import sys

import pytest
from tests.quality.tis_devices import PLANTED

from vtpm_traces.conform.tis_campaign import DeviceCampaign
from vtpm_traces.conform.trial import Verdict

RUNS = 20
"""Random ones, after those that are kept; `accept/*` and `reject/*` find most."""


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=[one.sentence.replace(" ", "-") for one in PLANTED])
def test_a_planted_device_is_found(number: int) -> None:
    command = (sys.executable, "-m", "tests.quality.tis_devices", str(number))
    campaign = DeviceCampaign(command, runs=RUNS, patience=60, shrink=False)
    failed = (one for one in campaign.play() if one.verdict is Verdict.FAILURE)
    found = next(failed, None)
    assert found is not None
    assert "is not what the specification allows" in found.sentence
