"""Model and implementation of the ring side by side; `python -m tests.differential.soak` goes on for longer."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.differential.rings import Rings

from vtpm_impl.ring.backend import BackendRing
from vtpm_impl.ring.frontend import FrontendRing

ANY_TIME = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

TestRings = Rings.TestCase
TestRings.settings = settings(ANY_TIME, phases=(Phase.generate, Phase.shrink))


@pytest.mark.parametrize(
    ("end", "method", "wrong"),
    [
        (BackendRing, "_acknowledge", lambda ring: None),
        (BackendRing, "_answer", lambda ring, extra, response: ring._at.write_state(ring._page, 2)),
        (FrontendRing, "look", lambda ring: b"\x00\xc1" + bytes(8)),
    ],
)
def test_a_difference_is_noticed(
    monkeypatch: pytest.MonkeyPatch, end: type[Any], method: str, wrong: Callable[..., Any]
) -> None:
    monkeypatch.setattr(end, method, wrong)
    with pytest.raises(AssertionError, match="looks like"):
        run_state_machine_as_test(Rings, settings=settings(ANY_TIME, phases=(Phase.generate,)))
