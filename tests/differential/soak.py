"""Runs model and implementation side by side for as long as is wanted: `python -m tests.differential.soak [SECONDS]`.

It ends with 0 if no difference was found, and with 1 and the shortest way to the first difference if one was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.differential.rings import Rings

SECONDS = 600

EXAMPLES = 200
"""Runs with one seed."""


def main(arguments: Sequence[str]) -> int:
    """Seed after seed."""
    if len(arguments) > 1 or not all(one.isdecimal() for one in arguments):
        sys.stderr.write("usage: python -m tests.differential.soak [SECONDS]\n")
        return 2
    seconds = int(arguments[0]) if arguments else SECONDS
    wanted = settings(
        max_examples=EXAMPLES,
        stateful_step_count=60,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    began, processor = time.monotonic(), time.process_time()
    number = 0
    while time.monotonic() - began < seconds:
        try:
            run_state_machine_as_test(seed(number)(Rings), settings=wanted)
        except AssertionError as difference:
            notes = "\n".join(getattr(difference, "__notes__", ()))
            sys.stdout.write(f"seed {number}: {difference}\n{notes}\n")
            return 1
        number += 1
    took, used = time.monotonic() - began, time.process_time() - processor
    sys.stdout.write(
        f"{Rings.steps} steps of both in {number * EXAMPLES} runs, no difference, {took:.0f} s: "
        f"{Rings.steps / used:.0f} steps a second of processor time\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
