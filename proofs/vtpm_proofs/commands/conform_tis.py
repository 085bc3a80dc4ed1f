"""`vtpmspec conform --end tis-driver|tis-device`: hold a driver of a hardware TPM, or its registers, against the model.

A driver meets devices that the model plays. A device meets random programs of register accesses, and what it showed is
held against the system `tis.device`, and else against its variant for QEMU's device.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use

if TYPE_CHECKING:
    from vtpm_traces.conform.tis_subject import DriverProcess
    from vtpm_traces.recordings.tis_accesses import Found

DRIVER: Final = "tis-driver"
DEVICE: Final = "tis-device"

SANITY: Final = "accept/quick-0"
"""Without this run no other says anything."""


@dataclass(frozen=True)
class Told:
    """A run, what came of it (success, skip or failure), and the first sentence of what is wrong."""

    run: str
    verdict: str
    doc: str
    sentence: str = ""

    @property
    def kind(self) -> str:
        """The first part of the run's name."""
        return self.run.partition("/")[0]


def conform_tis(
    end: str,
    command: Sequence[str],
    *,
    number: int,
    seed: int,
    only: Sequence[str],
    patience: float,
    as_json: bool,
) -> None:
    """Play them all; exits as `conform` does. `number`: of random programs, or of devices of which each read is any."""
    from vtpm_traces.conform.subject import CannotStart, Fault

    began = time.monotonic()
    try:
        if end == DEVICE:
            name, told = _programs(command, range(seed, seed + number), patience)
        else:
            name, told = played(command, nonsense=number, only=only, patience=patience, report=_complain)
    except CannotStart as error:
        raise wrong_use(str(error)) from None
    except Fault as fault:
        typer.echo(f"vtpmspec: the subject does not do what the protocol says: {fault}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    if end == DRIVER and only and len(told) == 1 and not any(fnmatchcase(SANITY, one) for one in only):
        allowed = "there are accept/*, reject/*, seized/* and random/NUMBER"
        raise wrong_use(f"--only {' '.join(only)}: no run is called so; {allowed}")
    seconds = time.monotonic() - began
    if as_json:
        document = {"version": 1, "name": name, "end": end, "seconds": round(seconds, 3)}
        typer.echo(json.dumps(document | {"runs": [asdict(one) for one in told]}, indent=1))
    else:
        _show(f"{name}, a {end}", told, seconds)
    if any(one.verdict != "success" for one in told):
        raise typer.Exit(FALLS_SHORT)


def played(
    command: Sequence[str], *, nonsense: int, only: Sequence[str], patience: float, report: Callable[[Told], None]
) -> tuple[str, list[Told]]:
    """The name of the subject, and each run, which is reported at once. Raises CannotStart, and Fault at hello."""
    from vtpm_traces.conform.tis_subject import DriverProcess

    with DriverProcess(command, patience) as process:
        process.meet()
        found = []
        for one in _ended(process, nonsense, only):
            report(one)
            found.append(one)
        return process.name, found


def _ended(process: DriverProcess, nonsense: int, only: Sequence[str]) -> Iterator[Told]:
    from vtpm_traces.conform.subject import Fault
    from vtpm_traces.conform.tis_driver import runs

    sane = True
    for run in sorted(runs(1, nonsense), key=lambda run: run.name != SANITY):
        if run.name != SANITY and only and not any(fnmatchcase(run.name, one) for one in only):
            continue
        if not sane:
            yield Told(run.name, "skip", run.doc, "the subject fails the sanity run")
            continue
        try:
            sentence = next(run.play(process.driver), "")
        except Fault as fault:
            sentence = str(fault)
            process.stop()
        sane = run.name != SANITY or not sentence
        yield Told(run.name, "failure" if sentence else "success", run.doc, sentence)


def _programs(command: Sequence[str], seeds: range, patience: float) -> tuple[str, list[Told]]:
    """A program for each seed, until one breaks the protocol. Raises CannotStart, and Fault at hello."""
    from vtpm_traces.conform.subject import Fault
    from vtpm_traces.conform.tis_program import DeviceProcess

    told: list[Told] = []
    broken = ""
    with DeviceProcess(command, patience) as process:
        for seed in seeds:
            outcome, sentence = "skip", broken
            if not broken:
                try:
                    outcome, sentence = _found(process.play(seed))
                except Fault as fault:
                    outcome, sentence = "failure", str(fault)
                    broken = "the subject has broken the protocol"
            told.append(Told(f"random/{seed}", outcome, "a program of register accesses", sentence))
            _complain(told[-1])
        return process.name, told


def _found(found: Found) -> tuple[str, str]:
    """Success or failure, and why, or by which variant of the specification it is a success."""
    from vtpm_model.tis_device import TIS_DEVICE

    verdict = found.verdicts[TIS_DEVICE.name]
    if found.accepted_by:
        return "success", "" if verdict.accepted else f"as {', '.join(found.accepted_by)} has it"
    if verdict.stuck:
        origin = verdict.stuck[0].origin
        return "failure", f"access {origin.line}, {origin.text}, is not what the specification allows"
    return "failure", f"{verdict.outcome.value}: {verdict.reason}"


def _complain(one: Told) -> None:
    if one.verdict == "failure":
        typer.echo(f"{one.run}: failure: {one.sentence}", err=True)


def _show(title: str, told: Sequence[Told], seconds: float) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    table = Table(
        title=title, box=None, header_style="bold", pad_edge=False, title_justify="left",
    )  # fmt: skip
    verdicts = ("success", "skip", "failure")
    table.add_column("runs")
    for verdict in verdicts:
        table.add_column(verdict, justify="right")
    for kind in dict.fromkeys(one.kind for one in told):
        counted = Counter(one.verdict for one in told if one.kind == kind)
        table.add_row(kind, *(str(counted[verdict]) for verdict in verdicts))
    out = console()
    out.print(table)
    out.print(f"{len(told)} runs, {seconds:.1f} s")
