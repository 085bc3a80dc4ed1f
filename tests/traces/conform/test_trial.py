"""A trial of any subject: what a failure may cost until its script is as short as it gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vtpm_traces.conform import trial
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.trial import Judged, Played, Trial, Verdict


class Letters(Trial[list[str]]):
    """A subject that fails a script with an x in it; the player is the list of all that was played."""

    @staticmethod
    def parse_line(line: str) -> object:
        return line

    @contextmanager
    def player(self) -> Iterator[list[str]]:
        yield []

    def kept(self) -> list[str]:
        return []

    def script(self, run: str) -> Script:
        return Script(run, "letters", tuple("abcdxefgh"))

    def sanity(self) -> Script:
        return Script("accept/nothing", "nothing", ())

    def judged(self, player: list[str], script: Script) -> Played:
        player.append("".join(script.lines))
        return Played(script, Judged("an x" if "x" in script.lines else "", "x"), ())

    def source(self, run: str) -> str:
        return run


def test_a_failing_script_is_shrunk() -> None:
    before, found, after = Letters([], runs=1).play()
    assert (before.verdict, found.verdict, after.verdict) == (Verdict.SUCCESS, Verdict.FAILURE, Verdict.SUCCESS)
    assert found.lines == ("x",)


def test_after_a_while_no_further_play_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SHRINKING", 0.0)
    _, found, _ = Letters([], runs=1).play()
    assert (found.verdict, found.lines) == (Verdict.FAILURE, tuple("abcdxefgh"))


def test_only_what_is_named_is_played_also_beyond_the_number_of_runs() -> None:
    played = [one.run for one in Letters([], runs=2, only=("random/7", "random/0")).play()]
    assert played == ["sanity/before", "random/0", "random/7", "sanity/after"]
