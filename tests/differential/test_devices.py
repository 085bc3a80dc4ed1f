"""Model and either end of whole devices side by side; `python -m tests.differential.soak` goes on for longer."""

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.differential.devices import beside
from tests.quality.hunt import command

from vtpm_traces.conform.player import Player

SOME = settings(
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)

EXAMPLES = {"backend": 12, "frontend": 25}
"""A step of a frontend with its one device costs less than one of a backend with three."""

MOST = 200
"""Runs until a difference must have been noticed; most need a few."""

PATIENCE = 60.0
"""Seconds that a subject may take for a line: longer than any machine is busy."""


@pytest.mark.parametrize("end", ["backend", "frontend"])
def test_what_an_end_does_the_model_can_do(end: str) -> None:
    with Player(command(end), patience=PATIENCE) as player:
        machine = beside(player)
        run_state_machine_as_test(machine, settings=settings(SOME, max_examples=EXAMPLES[end]))
    assert machine.steps > 100


@pytest.mark.parametrize(
    "planted",
    [
        "finish-is-stored-without-an-event",
        "submit-is-stored-without-an-event",
        "any-locality-is-0",
        "an-answer-of-no-bytes-is-an-answer",
    ],
)
def test_a_difference_is_noticed(planted: str) -> None:
    wanted = settings(SOME, derandomize=False, max_examples=MOST)
    with (
        Player(command(planted), patience=PATIENCE) as player,
        pytest.raises(AssertionError, match=r"no run of the model|breaks down"),
    ):
        run_state_machine_as_test(seed(0)(beside(player)), settings=wanted)
