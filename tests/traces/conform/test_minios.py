"""A subject that behaves as mini-os does is what its variant of the model says, and deviates as is known."""

import re
import sys
from pathlib import Path

import pytest

from vtpm_model.minios import MINIOS
from vtpm_traces.conform.campaign import Campaign
from vtpm_traces.conform.deviations import read
from vtpm_traces.conform.judge import READERS
from vtpm_traces.conform.player import Player
from vtpm_traces.conform.trial import Verdict, kept_scripts
from vtpm_traces.recordings.script import entries_of
from vtpm_traces.search import explain

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"[abilmqr]\d+|[A-FN]\d+")

ENDS = pytest.mark.parametrize("end", ["backend", "frontend"])


def command(end: str) -> tuple[str, ...]:
    return sys.executable, "-m", "tests.peers.minios", end


@ENDS
def test_it_deviates_exactly_as_is_known(end: str) -> None:
    known = read(ROOT / "traces" / "deviations" / f"mini-os-{end}.json")
    campaign = Campaign(command(end), runs=0, deviations=known, shrink=False)
    ended = list(campaign.play())
    assert [one.sentence for one in ended if one.verdict is not Verdict.SUCCESS] == []
    assert campaign.stale(ended) == []
    assert all(ROW.fullmatch(row) for deviation in known for row in deviation.rows)


@ENDS
def test_it_does_what_its_variant_of_the_model_does(end: str) -> None:
    campaign = Campaign(command(end))
    campaign.end = end
    told = 0
    with Player(campaign.command) as player:
        for run in kept_scripts(end):
            script = campaign.script(run)
            conversation = player.play(script)
            # when its domain dies nothing is left to be told; of time and of failing watches the variant knows nothing
            if conversation.fault or {"pass", "fail watch 1"} & {*script.lines}:
                continue
            # as mini-os was recorded: without its stores
            lines = [
                (number, line)
                for number, line in enumerate(conversation.log, 1)
                if '"ev":"page_store"' not in line and '"ev":"stores_follow"' not in line
            ]
            for recording in READERS[end](entries_of(lines, run), run, run).values():
                verdict = explain(MINIOS, recording)
                assert verdict.accepted, (recording.title, verdict.stuck)
                told += 1
    assert told > len(kept_scripts(end)) // 2
