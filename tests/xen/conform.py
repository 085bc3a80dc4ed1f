"""Holds Linux' own frontend against the specification: `python -m tests.xen.conform`, or `make xen-conform`.

Real Xen in QEMU, Debian's kernel in a guest, and in domain 0 a harness that plays toolstack and backend: as sound ones
do, as nobody should, and at random. All runs are in one boot, each has a device of its own.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from tests.xen import images
from tests.xen.command import carried_out, of_this_host, options, parsed
from tests.xen.inside.counterpart import LIMIT
from tests.xen.machine import Machine, MachineError
from tests.xen.recordings import packed
from tests.xen.rig import Failed, Rig, tell
from tests.xen.scenarios.common import BOOT_LIMIT, GUEST_LIMIT

from vtpm_proofs.report import verdicts
from vtpm_traces.conform import linux_campaign
from vtpm_traces.conform.campaign import Campaign
from vtpm_traces.conform.deviations import Deviation
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.trial import Ended, Verdict, counts, stale
from vtpm_traces.files import BadInput
from vtpm_traces.recordings.linux_runs import LOG, TRACE, LinuxRun, read_runs

RUN_LIMIT: Final = 20 * LIMIT
"""Seconds after which a run is given up."""

APART: Final = (
    "name='apart'",
    "extra='console=hvc0 loglevel=4 panic=1 mitigations=off slub_debug=FZPU -- caller'",
)
"""Settings of the guest of its own for some runs, whose kernel overwrites memory that it frees."""

TOLD: Final = 20
"""Runs between two words on how far the work is; what is seen by then is not lost if the machine breaks down."""

COLLECTED: Final = 120.0
"""Seconds for bringing a log here."""


def main() -> int:
    """Run it. 0: Linux conforms, or deviates as is known; 1: it does not; 2: wrong use; 130: interrupted."""
    parser = options("tests.xen.conform", __doc__, "the recording and the logs of all domains")
    parser.add_argument("--runs", type=int, default=42, metavar="N", help="random runs")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random runs")
    parser.add_argument("--only", action="append", default=[], metavar="RUN", help="only runs like this: reject/*")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON instead of a table")
    asked = parsed(parser)
    try:
        scripts = linux_campaign.scripts(seed=asked.seed, runs=asked.runs, only=asked.only)
        deviations = linux_campaign.known_deviations()
    except BadInput as error:
        parser.error(str(error))
    if not scripts:
        parser.error(f"--only {' '.join(asked.only)}: no run is called so")

    def work(built: images.Images, folder: Path) -> int:
        booted = time.monotonic()
        try:
            play(built, folder, scripts, patience=asked.patience, command=_command(asked))
        except (Failed, MachineError) as error:
            tell(f"the machine does not do what it should: {error}")
            return 1
        ended = list(judged(folder / "recording", scripts, deviations))
        return report(asked, ended, deviations, time.monotonic() - booted)

    return carried_out(asked.keep, work)


def play(built: images.Images, folder: Path, scripts: Sequence[Script], *, patience: float, command: str) -> None:
    """Boot, play all scripts, and leave the recording in `folder`. Raises Failed and MachineError."""
    said = folder / LOG
    # the machine ends before the threads do: then whatever they wait for ends, too
    with said.open("w") as log, ThreadPoolExecutor() as pool, Machine(built, folder) as machine:
        rig = Rig(machine, patience, scenario="conform")
        with rig.step("Xen and domain 0 are up", BOOT_LIMIT):
            machine.await_dom0(rig.left())
        provenance = rig.versions() | of_this_host() | {"command": command}
        guests: dict[bool, int] = {}
        played: dict[bool, list[Script]] = {}
        for apart in (True, False):
            played[apart] = [one for one in scripts if one.name.startswith(f"{linux_campaign.APART}/") is apart]
            if played[apart]:
                with rig.step("a Linux guest is up" + (", apart" if apart else ""), GUEST_LIMIT):
                    guests[apart] = rig.create("subject", *(APART if apart else ()))
                    rig.await_agent(guests[apart])
        with rig.step(f"runs are played: {len(scripts)}", RUN_LIMIT * len(scripts)):
            tasks = [pool.submit(_play, machine, guests[apart], played[apart], patience, log) for apart in guests]
            for task in tasks:
                task.result()
        trace = rig.collect() / TRACE
    recording = folder / "recording"
    recording.mkdir()
    told = {
        "format": 1,
        "what": "Linux' own frontend on real Xen, whose toolstack and backend a script played; all runs in one boot",
        "provenance": provenance,
        "files": packed(recording, {LOG: said.read_bytes(), TRACE: trace.read_bytes()}),
    }
    (recording / "provenance.json").write_text(json.dumps(told, indent=1) + "\n")


def _play(machine: Machine, guest: int, scripts: Sequence[Script], patience: float, log: TextIO) -> None:
    """Play scripts one after another in a guest, and write a line for each into the log."""
    for handle, script in enumerate(scripts):
        try:
            played = machine.ask(
                "play", RUN_LIMIT * patience, domid=guest, handle=handle, lines=list(script.lines), patience=patience
            )
        except MachineError as error:
            played = {"log": [], "seconds": RUN_LIMIT, "leaving": 0.0, "dirty": "", "error": str(error)}
        seconds = round(played["seconds"] + played["leaving"], 3)
        document = {
            "run": script.name, "device": [guest, handle], "script": list(script.lines), "seconds": seconds,
            "trouble": f"harness: {played['error']}" if played["error"] else played["dirty"],
            "log": [json.loads(line) for line in played["log"]],
        }  # fmt: skip
        log.write(json.dumps(document, separators=(",", ":")) + "\n")
        log.flush()
        if handle % TOLD == TOLD - 1:
            machine.ask("collect", COLLECTED, paths=[f"/var/log/{TRACE}"])
            tell(f"  {seconds:6.1f} s  run {handle + 1} of {len(scripts)}, {script.name}")


def judged(recording: Path, scripts: Sequence[Script], deviations: Sequence[Deviation]) -> Iterator[Ended]:
    """The verdict on each run, in order."""
    docs = {script.name: script.doc for script in scripts}
    runs = read_runs(recording)
    with ProcessPoolExecutor() as pool:
        yield from pool.map(_judged, runs, [tuple(deviations)] * len(runs), [docs.get(run.name, "") for run in runs])


def _judged(run: LinuxRun, deviations: tuple[Deviation, ...], doc: str) -> Ended:
    return linux_campaign.judge(run, deviations, doc)


def _command(asked: argparse.Namespace) -> str:
    """The command that plays these runs."""
    only = [word for pattern in asked.only for word in ("--only", pattern)]
    numbers = ["--runs", str(asked.runs), "--seed", str(asked.seed), "--patience", f"{asked.patience:g}"]
    return shlex.join(["python", "-m", "tests.xen.conform", *numbers, *only])


def report(asked: argparse.Namespace, ended: Sequence[Ended], deviations: Sequence[Deviation], seconds: float) -> int:
    """Tell what came of it; the exit code."""
    gone = stale(deviations, ended)
    holds = not gone and all(one.verdict in (Verdict.SUCCESS, Verdict.SKIP) for one in ended)
    campaign = Campaign(["python", "-m", "tests.xen.conform"], seed=asked.seed, runs=asked.runs)
    campaign.end, campaign.name = linux_campaign.END, "xen-tpmfront"
    if asked.as_json:
        document = verdicts.document(campaign, ended, gone, holds=holds, seconds=seconds)
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return 0 if holds else 1
    for one in ended:
        if one.verdict in (Verdict.FAILURE, Verdict.ERROR):
            tell(f"\n{one.run}: {one.doc}\n{one.verdict.value}: {one.sentence}")
            tell(f"to repeat it: python -m tests.xen.conform --only {one.run} --seed {asked.seed}")
    for known in gone:
        tell(f"\na known deviation no longer shows in {' '.join(known.runs)}: {known.why}")
    columns = [verdict.value for verdict in Verdict] + ["known deviations"]
    table = Table(
        title=f"{campaign.name}, Linux' frontend on Xen, seed {asked.seed}", box=None, header_style="bold",
        pad_edge=False, title_justify="left",
    )  # fmt: skip
    table.add_column("runs")
    for column in columns:
        table.add_column(column, justify="right")
    for kind, found in counts(ended).items():
        table.add_row(kind, *(str(found.get(column, 0)) for column in columns))
    out = Console()
    out.print(table)
    out.print(f"{len(ended)} runs in one boot, {seconds:.0f} s")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
