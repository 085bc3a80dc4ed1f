"""Random runs of a specification, the same for the same seed: input for tests and benchmarks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from vtpm_model.core import Spec
from vtpm_traces.observe import Candidates
from vtpm_traces.steps import Steps


def walk(
    spec: Spec[Any],
    steps: int,
    seed: int,
    candidates: Mapping[str, Candidates],
    weights: Mapping[str, float] | None = None,
) -> Iterator[tuple[str, Mapping[str, Any], Any, Any]]:
    """Steps `(action, picks, before, after)` from the initial state, each drawn from those that are possible.

    An action is drawn in proportion to its weight (without one, 1); with weight 0 it is never taken. Ends early where
    nothing is possible.
    """
    source = random.Random(seed)
    taker = Steps(spec, candidates)
    unknown = sorted((weights or {}).keys() - {action.name for action in spec.actions})
    if unknown:
        raise ValueError(f"{spec.name} has no action {', '.join(unknown)}")
    weight = {action.name: 1.0 for action in spec.actions} | dict(weights or {})
    names = [name for name, of in weight.items() if of > 0]
    state = spec.init()
    for _ in range(steps):
        # The first of independent exponential clocks to ring belongs to each action in proportion to its weight.
        for name in sorted(names, key=lambda one: source.expovariate(weight[one])):
            choices = list(taker.take(state, name, {}))
            if choices:
                picks, after = source.choice(choices)
                break
        else:
            return
        yield name, picks, state, after
        state = after
