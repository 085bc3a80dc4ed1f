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
    without: frozenset[str] = frozenset(),
) -> Iterator[tuple[str, Mapping[str, Any], Any, Any]]:
    """Steps `(action, picks, before, after)` from the initial state, each drawn from those that are possible.

    Ends early where nothing is possible. Actions in `without` are not taken.
    """
    source = random.Random(seed)
    taker = Steps(spec, candidates)
    names = [action.name for action in spec.actions if action.name not in without]
    state = spec.init()
    for _ in range(steps):
        source.shuffle(names)
        for name in names:
            choices = list(taker.take(state, name, {}))
            if choices:
                picks, after = source.choice(choices)
                break
        else:
            return
        yield name, picks, state, after
        state = after
