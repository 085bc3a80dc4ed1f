"""Long hardship for both ends: processes killed at random, and a frontend that stores nonsense without end.

    python -m tests.impl.xenbus.hardship [--kills 500] [--stores 1000000] [--seed 0]

`make soak` runs it whole; the tests run a short piece of each.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.impl.host.guests import control, store
from tests.impl.xenbus.ends import BACKEND, BackendProcess, FrontendProcess, answer, attach, command, frontend

from vtpm_impl.toolstack.devices import Toolstack
from vtpm_impl.xenbus.frontend import DeviceLost, Frontend
from vtpm_impl.xenbus.nodes import Device

VICTIM: Final = 1
"""The domain of the frontend that is killed, or is hostile."""

BYSTANDER: Final = 3
"""The domain of the frontend that has to be served all the while."""

AT_ONCE: Final = 1_000_000
"""Commands that the victim is told to send: more than it will get to."""


class Kills:
    """A backend and a victim, each in a process that is killed again and again, and a bystander in this one."""

    def __init__(self, run: Path, seed: int) -> None:
        self.found: Counter[str] = Counter()
        self._run = run
        self._chance = random.Random(seed)
        self._backend = BackendProcess(run)
        self._victim = FrontendProcess(run, VICTIM)

    def go(self, kills: int, bystander: Frontend) -> None:
        """Kill so many times. AssertionError for an answer that is another's, and where anything does not come back."""
        for number in range(kills):
            self._victim.tell("converse", number, AT_ONCE)
            for _ in range(self._chance.randrange(4)):
                self._ask(bystander)
            time.sleep(self._chance.random() * 0.03)
            if self._chance.random() < 0.5:
                self._kill_backend(bystander)
            else:
                self._kill_victim()
            self._ask(bystander)
            assert self._victim.ask("converse", number, 3) == {"answers": 3, "error": None}
            self.found["commands"] += 3
            if sys.stderr.isatty() or number % 50 == 49:
                sys.stderr.write(f"{number + 1} of {kills} kills\n")

    def end(self) -> None:
        """Kill both for good."""
        self._victim.kill()
        self._backend.kill()

    def _kill_backend(self, bystander: Frontend) -> None:
        self._backend.kill()
        self.found["backend killed"] += 1
        said = self._victim.hear()
        assert said["error"] is not None
        self.found[f"last command: {said['error']}"] += 1
        self.found["commands"] += said["answers"] + 1
        try:
            bystander.transmit(command(), timeout=5)
        except DeviceLost:
            pass
        else:
            raise AssertionError("a command was answered although nobody is there to do so")
        self._backend = BackendProcess(self._run)
        for domid in (VICTIM, BYSTANDER):
            with control(self._run) as client:
                Toolstack(client).detach(Device(domid, 0))
            attach(self._run, domid)
        self._victim.ask("reopen")
        bystander.open()
        self.found["reconnected"] += 2

    def _kill_victim(self) -> None:
        self._victim.kill()
        self.found["frontend killed"] += 1
        self._victim = FrontendProcess(self._run, VICTIM)
        self.found["reconnected"] += 1

    def _ask(self, bystander: Frontend) -> None:
        size, fill = self._chance.randrange(12, 4089), self._chance.randrange(256)
        assert bystander.transmit(command(size, fill=fill), timeout=20) == answer(size, fill=fill)
        self.found["commands"] += 1


def kill_at_random(kills: int, seed: int = 0) -> Counter[str]:
    """Kill either side so many times, with commands between; what came of it."""
    with store() as run:
        both = Kills(run, seed)
        try:
            with frontend(run, BYSTANDER) as bystander:
                both.go(kills, bystander)
        finally:
            both.end()
        leftover = sorted(entry.name for entry in (run / "domains").iterdir())
        assert leftover == ["0", str(VICTIM), str(BACKEND)], leftover  # until the next start
        with BackendProcess(run, domid=7):
            assert sorted(entry.name for entry in (run / "domains").iterdir()) == ["0", "7"]
    return both.found


def store_nonsense(stores: int, commands: int, seed: int = 0) -> Counter[str]:
    """Let one frontend store nonsense so often, while another sends so many commands; what came of it."""
    found: Counter[str] = Counter()
    with store() as run, BackendProcess(run) as backend, frontend(run, BYSTANDER) as bystander:
        with FrontendProcess(run, VICTIM) as hostile:
            hostile.tell("vandalize", seed, 0.0, stores)
            started = time.monotonic()
            while found["commands that succeeded"] < commands or not hostile.has_said():
                size = 12 + found["commands that succeeded"] % 4000
                assert bystander.transmit(command(size), timeout=20) == answer(size)
                found["commands that succeeded"] += 1
                if found["commands that succeeded"] % 100_000 == 0:
                    sys.stderr.write(f"{found['commands that succeeded']} commands\n")
            found["hostile stores"], found["times seen connected meanwhile"] = hostile.hear()
        found["seconds"] = round(time.monotonic() - started)
        assert backend.process.poll() is None
    return found


def main() -> None:
    """Run both."""
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=500)
    options.add_argument("--stores", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    for found in (
        kill_at_random(given.kills, given.seed),
        store_nonsense(given.stores, min(10_000, given.stores), given.seed),
    ):
        for what, count in sorted(found.items()):
            sys.stdout.write(f"{count:>12,} {what}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
