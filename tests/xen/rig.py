"""The rig: steps with a time limit each, told as they go, on a machine whose domains are made by xl."""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.xen.machine import Machine, MachineError

CONSOLES = "/var/log/xen/console"
TEMPORARY = "/tmp"
TRACE = "/var/log/xenstored.trace"


class Failed(Exception):
    """Something is not as it should be; the message shows what it is."""


@dataclass(frozen=True)
class Step:
    """What was done, how long it took and might have taken, and what was found; `wrong`: why it fell short.

    `processor` are the seconds of a processor that the machine used for it.
    """

    scenario: str
    title: str
    seconds: float
    limit: float
    found: str
    wrong: str = ""
    processor: float = 0.0


@dataclass(frozen=True)
class Memory:
    """Of a domain: the MiB that it was given, the KiB that its kernel can use, and those that are left."""

    given: int
    total: int
    available: int


@dataclass
class Rig:
    """What a scenario has at hand. Whatever it asks for ends with its step's time."""

    machine: Machine
    patience: float = 1.0
    """Each step may take so many times its limit, on a machine that has other things to do."""
    within: float = math.inf
    """Seconds for everything; what is left of them is all that any further step has."""
    scenario: str = ""
    steps: list[Step] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    frontends: dict[int, str | None] = field(default_factory=dict)
    """By the domains of a scenario that have a vTPM, the system that they are held against; None: they keep no rule."""
    _began: float = field(default_factory=time.monotonic)
    _deadline: float = 0.0
    _found: list[str] = field(default_factory=list)

    # ------------------------------------------------------------------------------------------------------- steps

    @contextlib.contextmanager
    def step(self, title: str, seconds: float) -> Iterator[None]:
        """A step; it is told when it ends, and fails the scenario if it does not come out well in its time."""
        started, used = time.monotonic(), self.machine.processor()
        limit = min(seconds * self.patience, max(0.0, self._began + self.within - started))
        self._deadline, self._found = started + limit, []
        wrong = ""
        try:
            yield
        except (Failed, MachineError) as error:
            wrong = str(error)
        taken = time.monotonic() - started
        used = self.machine.processor() - used
        step = Step(self.scenario, title, taken, limit, "; ".join(self._found), wrong, used)
        self.steps.append(step)
        tell(f"  {taken:6.1f} s  {title}" + (f": {step.found}" if step.found else ""))
        if wrong:
            tell(f"           FALLS SHORT: {wrong}")
            raise Failed(wrong)

    def found(self, what: str) -> None:
        """Something worth telling beside the step."""
        self._found.append(what)

    def check(self, holds: bool, what: str) -> None:
        """Fail with a sentence that shows what was found, unless it holds."""
        if not holds:
            raise Failed(what)

    def left(self) -> float:
        """Seconds that this step still has."""
        return max(self._deadline - time.monotonic(), 0.1)

    # ---------------------------------------------------------------------------------------------------- domain 0

    def dom0(self, do: str, **arguments: Any) -> Any:
        """Ask the agent of domain 0; it gives up a little before the step does."""
        return self.machine.ask(do, self.left() + 5, **arguments)

    def run(self, *argv: str, code: int | None = 0) -> str:
        """Run a program in domain 0; what it said. Fails unless it ends with `code`."""
        done = self.dom0("run", argv=list(argv), timeout=self.left())
        if code is not None and done["code"] != code:
            raise Failed(f"{' '.join(argv)} ended with {done['code']}, not {code}: {done['said'][-4000:]}")
        return str(done["said"])

    def timed(self, *argv: str) -> float:
        """Run a program in domain 0 that must end well; how many seconds it took there."""
        return self._seconds(argv, complaining=True)

    def quietly(self, *argv: str) -> float:
        """As `timed`, of a program that must complain of nothing."""
        return self._seconds(argv, complaining=False)

    def _seconds(self, argv: Sequence[str], *, complaining: bool) -> float:
        done = self.dom0("run", argv=list(argv), timeout=self.left())
        if done["code"] != 0 or (not complaining and re.search("error|unable|timed out", done["said"])):
            raise Failed(f"{' '.join(argv)} ended with {done['code']}: {done['said'][-4000:]}")
        return float(done["seconds"])

    def service(self, name: str, *argv: str) -> None:
        """Start a program in domain 0 that goes on."""
        self.dom0("start", name=name, argv=list(argv))

    def said(self, name: str) -> int:
        """How much it has said so far."""
        return int(self.dom0("size", path=f"{TEMPORARY}/{name}.log"))

    def says(self, name: str, pattern: str, beyond: int = 0) -> None:
        """Wait until a program of domain 0 has said something."""
        self.dom0("await_text", path=f"{TEMPORARY}/{name}.log", pattern=pattern, timeout=self.left(), beyond=beyond)

    # ------------------------------------------------------------------------------------------------ other domains

    def create(self, config: str, *settings: str) -> int:
        """Make a domain by its xl file, with further settings; its number."""
        self.run("xl", "create", f"/run/{config}.cfg", *settings)
        name = next((found[1] for one in settings if (found := re.fullmatch(r"name='(.*)'", one))), config)
        return self.await_domain(name)

    def console_says(self, name: str, pattern: str, beyond: int = 0) -> list[str]:
        """Wait until the console of a domain shows something: the groups of the pattern."""
        path = f"{CONSOLES}/guest-{name}.log"
        groups: list[str] = self.dom0("await_text", path=path, pattern=pattern, timeout=self.left(), beyond=beyond)
        return groups

    def console_size(self, name: str) -> int:
        """How much a domain of that name has said so far."""
        return int(self.dom0("size", path=f"{CONSOLES}/guest-{name}.log"))

    def await_domain(self, name: str) -> int:
        """Wait until there is a domain of that name; its number."""
        return int(self.dom0("await_domain", name=name, timeout=self.left()))

    def await_agent(self, domid: int) -> None:
        """Wait until a guest's agent is there."""
        self.await_node(f"/local/domain/{domid}/data/ready", "1")

    def await_node(self, path: str, *values: str | None) -> str | None:
        """Wait until a node of xenstore has one of these values."""
        value: str | None = self.dom0("await_node", path=path, values=list(values), timeout=self.left())
        return value

    def node(self, path: str) -> str | None:
        """A node of xenstore."""
        value: str | None = self.dom0("node", path=path)
        return value

    def guest(self, domid: int, do: str, **arguments: Any) -> Any:
        """Ask the agent of a guest."""
        return self.dom0("ask", domid=domid, request={"do": do, "with": arguments}, timeout=self.left())

    def destroy(self, *names: str) -> None:
        """Destroy domains; xl must find nothing to complain of."""
        for name in names:
            self.quietly("xl", "destroy", name)

    # --------------------------------------------------------------------------------------------------------- logs

    def sizes(self) -> dict[str, int]:
        """How many bytes each log of the machine has by now."""
        self._between_steps()
        sizes: dict[str, int] = self.dom0("sizes", paths=[TRACE, CONSOLES, TEMPORARY])
        return sizes

    def versions(self) -> dict[str, str]:
        """What runs here, as Xen tells it."""
        self._between_steps()
        told = dict(line.split(":", 1) for line in self.run("xl", "info").splitlines() if ":" in line)
        found = {name.strip(): value.strip() for name, value in told.items()}
        return {"xen": found["xen_version"], "linux": found["release"]}

    def collect(self) -> Path:
        """Bring all logs here; the folder that they are in."""
        self._between_steps()
        self.dom0("collect", paths=[CONSOLES, TRACE, TEMPORARY])
        return self.machine.share / "logs"

    def _between_steps(self) -> None:
        """Give what no step asks for a time limit of its own."""
        self._deadline = time.monotonic() + 120 * self.patience


def tell(line: str) -> None:
    """Say something to whoever watches."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
