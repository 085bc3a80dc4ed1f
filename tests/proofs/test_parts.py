"""Parts of a verification: each is asked, side by side, and none can end unseen."""

import os
import time
from collections.abc import Callable

import pytest

from vtpm_proofs.parts import Outcome, Part, Report, run_parts


def counts(report: Report) -> Outcome:
    report("half way")
    return Outcome({"facts": 3})


def falls_short(_: Report) -> Outcome:
    return Outcome({"facts": 1}, ("the second fact fails",))


def raises(_: Report) -> Outcome:
    raise RuntimeError("a part's own mistake")


def dies(_: Report) -> Outcome:
    os._exit(7)


def takes_a_second(_: Report) -> Outcome:
    time.sleep(1)
    return Outcome()


def test_answers_come_in_the_order_of_the_questions() -> None:
    parts = [Part("slow", "takes a second", takes_a_second), Part("quick", "counts", counts)]
    lines: list[str] = []
    slow, quick = run_parts(parts, 2, lines.append)
    assert (slow.part.name, quick.part.name) == ("slow", "quick")
    assert quick.outcome == Outcome({"facts": 3})
    assert slow.seconds >= 1
    ends = [line for line in lines if "holds after" in line]
    assert [line.split(":")[0] for line in ends] == ["quick", "slow"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [(falls_short, "the second fact fails"), (raises, "a part's own mistake"), (dies, "ended with code 7")],
)
def test_a_part_that_does_not_hold_is_told_and_stops_no_other(ask: Callable[[Report], Outcome], said: str) -> None:
    lines: list[str] = []
    bad, good = run_parts([Part("bad", "?", ask), Part("good", "?", counts)], 1, lines.append)
    assert not bad.outcome.holds
    assert said in bad.outcome.shortfalls[0]
    assert any(line.startswith("bad: FALLS SHORT") for line in lines)
    assert good.outcome.holds


def test_two_processes_work_at_the_same_time() -> None:
    parts = [Part("one", "?", takes_a_second), Part("two", "?", takes_a_second)]
    side_by_side = time.monotonic()
    run_parts(parts, 2, lambda _: None)
    side_by_side = time.monotonic() - side_by_side
    in_turn = time.monotonic()
    run_parts(parts, 1, lambda _: None)
    in_turn = time.monotonic() - in_turn
    assert in_turn > side_by_side


def falls_short_often(_: Report) -> Outcome:
    return Outcome(shortfalls=tuple(f"number {number} fails" for number in range(20)))


def test_many_shortfalls_are_kept_and_some_are_shown() -> None:
    lines: list[str] = []
    [ended] = run_parts([Part("bad", "?", falls_short_often)], 1, lines.append)
    assert len(ended.outcome.shortfalls) == 20
    assert sum(line.endswith("fails") for line in lines) == 12
    assert lines[-1] == "bad: and 8 more, which --json lists"
