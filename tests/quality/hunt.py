"""Hunts the planted ends as `vtpmspec conform` hunts anybody's: how many runs until each is found, and which found it.

    python -m tests.quality.hunt [NAME...]

It ends with 0 if each is found within the budget and both true ends pass the same runs, with 1 if not.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.quality.ends import PLANTED

from vtpm_traces.conform.campaign import Campaign
from vtpm_traces.conform.trial import Verdict, kept_scripts

RANDOM_RUNS = 100
"""Runs of a campaign that follow the kept scripts; each planted end must be found among them all."""

SEED = 0

SECONDS = 120.0
"""That a campaign may take until it finds its planted end, on a machine that does nothing else."""

PATIENCE = 5.0
"""Seconds that a subject may take for a line."""


class Found(NamedTuple):
    """What a campaign has come to: the runs it took, the one that failed, and in which words; none if none did."""

    name: str
    runs: int
    run: str
    sentence: str
    seconds: float


def command(name: str) -> tuple[str, ...]:
    """What starts a planted end; `backend` and `frontend` are the true ones."""
    if name in PLANTED:
        return sys.executable, "-m", "tests.quality.ends", name
    return sys.executable, "-m", "vtpm_impl.cli", "sut", name


def hunt(name: str) -> Found:
    """Play a campaign until a run fails."""
    campaign = Campaign(command(name), seed=SEED, runs=RANDOM_RUNS, patience=PATIENCE, shrink=False)
    began = time.monotonic()
    runs = 0
    for runs, ended in enumerate(campaign.play(), 1):
        if ended.verdict is not Verdict.SUCCESS:
            return Found(name, runs, ended.run, f"{ended.verdict.value}: {ended.sentence}", time.monotonic() - began)
    return Found(name, runs, "", "", time.monotonic() - began)


def main(arguments: Sequence[str], say: Callable[[str], object] = sys.stdout.write) -> int:
    """The table, a planted end a line."""
    names = arguments or list(PLANTED)
    unknown = [name for name in names if name not in PLANTED]
    if unknown:
        sys.stderr.write(f"no end is planted as {', '.join(unknown)}; there are {', '.join(PLANTED)}\n")
        return 2
    say(f"{len(kept_scripts('backend'))} kept scripts for a backend, {len(kept_scripts('frontend'))} for a frontend; ")
    say(f"{RANDOM_RUNS} random runs after them, seed {SEED}; {SECONDS:g} s\n")
    found = most = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(hunt, names):
            planted = PLANTED[one.name]
            within = one.sentence.startswith("failure") and one.seconds < SECONDS
            found += within
            most = max(most, one.runs if within else 0)
            after = f"run {one.runs:3}, {one.run}" if one.run else f"not found in {one.runs} runs"
            say(f"{planted.row:4} {planted.end:8} {one.name:64} {one.seconds:5.1f} s  {after}\n")
        true = list(pool.map(hunt, ("backend", "frontend")))
    for one in true:
        say(f"true {one.name:8} {one.runs} runs, {one.seconds:.1f} s: {one.sentence or 'nothing found'}\n")
    say(f"found: {found} of {len(names)}, the last after {most} runs\n")
    return 0 if found == len(names) and not any(one.run for one in true) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
