"""Runs model and implementation side by side for as long as is wanted: `python -m tests.differential.soak [SECONDS]`.

It ends with 0 if no difference was found, and with 1 and the shortest way to the first difference if one was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.differential.devices import Devices, beside
from tests.differential.rings import Rings
from tests.quality.hunt import command

from vtpm_traces.conform.player import Player

SECONDS = 600
"""For the rings, for the devices of a backend and for those of a frontend together."""

EXAMPLES = 50
"""Runs with one seed."""

PATIENCE = 60.0
"""Seconds that a subject may take for a line."""

WANTED = settings(
    max_examples=EXAMPLES,
    stateful_step_count=60,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def soaked(name: str, machine: type[Rings] | type[Devices], seconds: float) -> bool:
    """Seed after seed for so long; whether no difference was found."""
    began, processor = time.monotonic(), time.process_time()
    number = 0
    while time.monotonic() - began < seconds:
        try:
            run_state_machine_as_test(seed(number)(machine), settings=WANTED)
        except AssertionError as difference:
            notes = "\n".join(getattr(difference, "__notes__", ()))
            sys.stdout.write(f"{name}, seed {number}: {difference}\n{notes}\n")
            return False
        number += 1
    took, used = time.monotonic() - began, time.process_time() - processor
    sys.stdout.write(
        f"{name}: {machine.steps} steps of both in {number * EXAMPLES} runs, no difference, {took:.0f} s: "
        f"{machine.steps / used:.0f} steps a second of processor time\n"
    )
    return True


def main(arguments: Sequence[str]) -> int:
    """The rings, then either end of whole devices."""
    if len(arguments) > 1 or not all(one.isdecimal() for one in arguments):
        sys.stderr.write("usage: python -m tests.differential.soak [SECONDS]\n")
        return 2
    seconds = (int(arguments[0]) if arguments else SECONDS) / 3
    sound = soaked("rings", Rings, seconds)
    for end in ("backend", "frontend"):
        with Player(command(end), patience=PATIENCE) as player:
            sound = soaked(f"devices of a {end}", beside(player), seconds) and sound
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
