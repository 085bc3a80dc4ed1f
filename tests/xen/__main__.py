"""Runs the scenarios on real Xen in QEMU: `python -m tests.xen [SCENARIO...]`, or `make xen-test` for all of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.xen import images, summary
from tests.xen.command import carried_out, of_this_host, options, parsed
from tests.xen.machine import Machine, MachineError
from tests.xen.recordings import Part, cut, judge
from tests.xen.rig import Failed, Rig, Step, tell
from tests.xen.scenarios.boot import boot
from tests.xen.scenarios.common import BOOT_LIMIT
from tests.xen.scenarios.latency import latency
from tests.xen.scenarios.leaving import leaving
from tests.xen.scenarios.migration import migration
from tests.xen.scenarios.neighbours import neighbours
from tests.xen.scenarios.ours import ours
from tests.xen.scenarios.service import service
from tests.xen.scenarios.tis import tis

SCENARIOS: dict[str, Callable[[Rig], None]] = {
    scenario.__name__: scenario for scenario in (boot, leaving, migration, neighbours, ours, service, tis, latency)
}


def main() -> int:
    """Run them. 0: all hold; 1: one falls short; 2: wrong use, or something is missing; 130: interrupted."""
    parser = options("tests.xen", __doc__, "the logs of all domains")
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=f"any of {', '.join(SCENARIOS)}; without, all")
    parser.add_argument("--within", type=float, default=60.0, metavar="MINUTES", help="for all scenarios together")
    asked = parsed(parser)
    if not asked.within > 0:
        parser.error(f"a run within {asked.within:g} minutes is none; a number above 0 is meant, such as 30")
    if unknown := [name for name in asked.scenario if name not in SCENARIOS]:
        parser.error(f"{unknown[0]!r} is no scenario; there are {', '.join(SCENARIOS)}")
    started = time.monotonic()

    def work(built: images.Images, folder: Path) -> int:
        wrong = _run(built, folder, asked.scenario or list(SCENARIOS), asked.patience, asked.within)
        verdict = f"falls short: {', '.join(wrong)}" if wrong else "everything holds"
        tell(f"{verdict}, {time.monotonic() - started:.0f} s")
        return 1 if wrong else 0

    return carried_out(asked.keep, work)


def _run(built: images.Images, folder: Path, names: list[str], patience: float, minutes: float) -> list[str]:
    """The scenarios that fell short."""
    wrong = []
    parts: list[Part] = []
    with Machine(built, folder) as machine:
        rig = Rig(machine, patience, minutes * 60)
        try:
            rig.scenario = "machine"
            with rig.step("Xen and domain 0 are up", BOOT_LIMIT):
                machine.await_dom0(rig.left())
            provenance = rig.versions() | of_this_host()
            booted = ends = rig.sizes()
            for name in names:
                rig.scenario = name
                what = f"{SCENARIOS[name].__doc__}"
                tell(f"{name}: {what}")
                rig.frontends = {}
                try:
                    SCENARIOS[name](rig)
                except Failed:
                    wrong.append(name)
                    _clean(rig)
                begins, ends = ends, rig.sizes()
                parts.append(Part(name, what, booted, begins, ends, rig.frontends))
            logs = rig.collect()
        except Failed:
            return ["machine"]
        except MachineError as error:
            tell(f"the logs are lost: {error}")
            return [*wrong, "machine"]
    tell("recordings: what was recorded in each scenario is a run of the specification")
    started = time.monotonic()
    judged: list[Step] = []
    for part in parts:
        target = folder / "recordings" / part.scenario
        command = {"command": f"make xen-test XEN_TEST={part.scenario}"}
        cut(logs, part, target, provenance | command)
        judged += judge(target, part, started)
    if any(step.wrong for step in judged):
        wrong.append("recordings")
    steps = (*rig.steps, *judged)
    told = {
        "steps": [vars(step) for step in steps], "figures": rig.figures,
        "memory": {name: vars(found) for name, found in rig.memory.items()},
    }  # fmt: skip
    (folder / "steps.json").write_text(json.dumps(told, indent=1))
    tell(f"\n{summary.scenarios(steps)}\n")
    if rig.memory:
        tell(f"{summary.domains(rig.memory, built)}\n")
    return wrong


def _clean(rig: Rig) -> None:
    """Destroy what a scenario has left behind."""
    try:
        with rig.step("what is left is destroyed", 120):
            for line in reversed(rig.run("xl", "list").splitlines()[2:]):  # guests before their backends
                rig.run("xl", "destroy", line.split()[0], code=None)
            rig.dom0("stop_all")
    except Failed:
        pass


if __name__ == "__main__":
    sys.exit(main())
