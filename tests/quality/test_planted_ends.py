"""Defects planted in copies of our ends are found through the protocol, by a run that was made for each.

`python -m tests.quality.hunt` looks for all of them without knowing which run it will be.
"""

import pytest
from tests.quality.ends import PLANTED, changed
from tests.quality.hunt import command, main

from vtpm_traces.conform.campaign import Campaign
from vtpm_traces.conform.trial import Verdict

SAMPLE = sorted(PLANTED)[::4]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_planted_defect_is_found_in_its_run(name: str) -> None:
    campaign = Campaign(command(name), runs=0, only=(PLANTED[name].run,), shrink=False)
    verdicts = [one.verdict for one in campaign.play()]
    assert Verdict.FAILURE in verdicts
    assert Verdict.ERROR not in verdicts


@pytest.mark.parametrize("end", ["backend", "frontend"])
def test_the_true_ends_pass_the_same_runs(end: str) -> None:
    runs = {planted.run for planted in PLANTED.values() if planted.end == end}
    ended = list(Campaign(command(end), runs=0, only=tuple(runs)).play())
    assert {one.run for one in ended} >= runs
    assert [one.sentence for one in ended if one.verdict is not Verdict.SUCCESS] == []


@pytest.mark.parametrize("name", PLANTED)
def test_each_copy_is_still_one_of_our_ends(name: str) -> None:
    compile(changed(PLANTED[name]), PLANTED[name].module, "exec")


def test_a_defect_that_nobody_planted_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a-door-that-squeaks"]) == 2
    assert "no end is planted as a-door-that-squeaks" in capsys.readouterr().err
