"""Runs the scenarios on real Xen in QEMU: `python -m tests.xen [SCENARIO...]`, or `make xen-test` for all of them."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.xen import images, summary
from tests.xen.machine import Machine, MachineError
from tests.xen.packages import PackagesMissing
from tests.xen.recordings import Part, cut, judge
from tests.xen.rig import Failed, Rig, Step, tell
from tests.xen.scenarios.boot import boot
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

NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "swtpm": "swtpm", "apt-get": "apt", "dpkg-deb": "dpkg"}
BOOT_LIMIT = 180.0


def main() -> int:
    """Run them. 0: all hold; 1: one falls short; 2: wrong use, or something is missing; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="tests.xen", description=__doc__)
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=f"any of {', '.join(SCENARIOS)}; without, all")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the logs of all domains in this folder")
    parser.add_argument("--patience", type=float, default=1.0, metavar="TIMES", help="multiply every time limit")
    parser.add_argument("--within", type=float, default=60.0, metavar="MINUTES", help="for all scenarios together")
    asked = parser.parse_args()
    if not asked.patience > 0:
        parser.error(f"a patience of {asked.patience:g} is none; a number above 0 is meant, such as 3")
    if not asked.within > 0:
        parser.error(f"a run within {asked.within:g} minutes is none; a number above 0 is meant, such as 30")
    if unknown := [name for name in asked.scenario if name not in SCENARIOS]:
        parser.error(f"{unknown[0]!r} is no scenario; there are {', '.join(SCENARIOS)}")
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            tell(f"{program} is not installed (Debian package {package}); run sh scripts/debian-packages.sh peers")
            return 2
    if asked.keep and asked.keep.exists() and (not asked.keep.is_dir() or any(asked.keep.iterdir())):
        parser.error(f"{str(asked.keep)!r} is there already; a new or empty folder is meant")
    started = time.monotonic()
    try:
        built = images.build(lambda line: tell(f"  {time.monotonic() - started:6.1f} s  {line}"))
        with tempfile.TemporaryDirectory(prefix="xen-test") as scratch:
            folder = asked.keep.absolute() if asked.keep else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            wrong = _run(built, folder, asked.scenario or list(SCENARIOS), asked.patience, asked.within)
    except PackagesMissing as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        tell("interrupted; nothing is left running")
        return 130
    verdict = f"falls short: {', '.join(wrong)}" if wrong else "everything holds"
    tell(f"{verdict}, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


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


def of_this_host() -> dict[str, str]:
    """What this host has to do with a recording."""
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    version = qemu.splitlines()[0].removeprefix("QEMU emulator version ")
    told = {"qemu": version, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    if shutil.which("git") is None:
        return told
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=images.PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told | ({"commit": commit.stdout.strip()} if commit.returncode == 0 else {})


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
