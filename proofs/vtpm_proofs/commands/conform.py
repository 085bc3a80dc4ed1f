"""`vtpmspec conform`: hold anybody's frontend, backend, TIS driver or TPM behind a TIS against the specification."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use

if TYPE_CHECKING:
    from vtpm_traces.conform.deviations import Deviation
    from vtpm_traces.conform.trial import Ended, Trial

ENDS: Final = ("frontend", "backend")
TIS_ENDS: Final = ("tis-driver", "tis-device")

PATIENCE: Final = 5.0
"""Seconds that a subject may take for a line, if nothing else is said."""

PROGRESS: Final = 5.0
"""Seconds between two words on how far the work is."""


def conform(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="Starts the subject.")],
    *,
    end: Annotated[
        str, typer.Option(metavar="END", help="Insist on a frontend or backend, or mean a tis-driver or tis-device.")
    ] = "",
    runs: Annotated[int, typer.Option(min=0, metavar="N", help="Random runs.")] = 100,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the random runs.")] = 0,
    only: Annotated[list[str] | None, typer.Option(metavar="RUN", help="Only runs like this: reject/*.")] = None,
    script: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Only this script.")] = None,
    deviations: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="What is known of the subject.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="For each line of the subject.")
    ] = PATIENCE,
    shrink: Annotated[bool, typer.Option("--shrink/--no-shrink", help="Make failing scripts shorter.")] = True,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Write what failed: script and log.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JUnit report.")] = None,
    sarif: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a SARIF report.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Play well-behaved, misbehaving and random peers to a subject, and judge all that it does.

    Verdicts are XTF's: success, skip, error (the harness could not tell), failure (the subject's).
    Exit code 0: the subject conforms, or deviates as is known; 1: it does not, or a known deviation no longer
    shows; 2: wrong use.

    Example: vtpmspec conform --runs 500 --seed 7 -- vtpm sut backend

    Example: vtpmspec conform --end tis-driver -- vtpm sut tis-driver

    Example: vtpmspec conform --end tis-device --timeout 60 -- vtpm sut tis-device --family 2.0
    """
    from vtpm_proofs.report import verdicts
    from vtpm_traces.conform.campaign import Campaign
    from vtpm_traces.conform.deviations import read as read_deviations
    from vtpm_traces.conform.script import read as read_script
    from vtpm_traces.conform.subject import CannotStart, Fault
    from vtpm_traces.conform.tis_campaign import DeviceCampaign, DriverCampaign
    from vtpm_traces.conform.trial import Verdict
    from vtpm_traces.files import BadInput

    if end and end not in (*ENDS, *TIS_ENDS):
        raise wrong_use(f"--end {end!r}; {', '.join((*ENDS, *TIS_ENDS))} is meant")
    kinds: dict[str, type[Trial[Any]]] = {"tis-driver": DriverCampaign, "tis-device": DeviceCampaign}
    kind = kinds.get(end, Campaign)
    try:
        campaign = kind(
            command,
            seed=seed,
            runs=runs,
            patience=timeout,
            only=tuple(only or ()),
            deviations=tuple(one for path in deviations or () for one in read_deviations(path)),
            shrink=shrink,
            scripts=tuple(read_script(path, kind.parse_line) for path in script or ()),
        )
        began = time.monotonic()
        ended = _played(campaign, end)
    except (BadInput, CannotStart) as error:
        raise wrong_use(str(error)) from None
    except Fault as fault:
        typer.echo(f"vtpmspec: the subject does not introduce itself: {fault}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    if only and all(one.kind == "sanity" for one in ended):
        raise wrong_use(f"--only {' '.join(only)}: no run is called so; there are {_kinds(campaign)}")
    seconds = time.monotonic() - began
    stale = campaign.stale(ended)
    holds = not stale and all(one.verdict in (Verdict.SUCCESS, Verdict.SKIP) for one in ended)
    holds = holds and any(one.verdict is Verdict.SUCCESS for one in ended)
    try:
        if junit is not None:
            junit.write_text(verdicts.junit(campaign, ended, stale), encoding="utf-8")
        if sarif is not None:
            sarif.write_text(verdicts.sarif(campaign, ended), encoding="utf-8")
        if keep is not None:
            _keep(keep, campaign.suffix, ended)
    except OSError as error:
        raise wrong_use(f"{error.filename}: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps(verdicts.document(campaign, ended, stale, holds=holds, seconds=seconds), indent=1))
    else:
        _show(campaign, ended, stale, seconds)
    if not holds:
        raise typer.Exit(FALLS_SHORT)


def _kinds(campaign: Trial[Any]) -> str:
    kept = dict.fromkeys(run.partition("/")[0] for run in campaign.kept())
    return ", ".join((*(f"{kind}/*" for kind in kept), "random/NUMBER"))


def _played(campaign: Trial[Any], end: str) -> list[Ended]:
    from vtpm_traces.conform.trial import Verdict

    found: list[Ended] = []
    spoke = time.monotonic()
    for one in campaign.play():
        if end and campaign.end != end:
            raise wrong_use(f"--end {end}: the subject is a {campaign.end}")
        found.append(one)
        if one.verdict in (Verdict.FAILURE, Verdict.ERROR):
            typer.echo(f"{one.run}: {one.verdict.value}: {one.sentence}", err=True)
        if time.monotonic() - spoke > PROGRESS:
            spoke = time.monotonic()
            typer.echo(f"{len(found)} runs, now {one.run}", err=True)
    return found


def _keep(folder: Path, suffix: str, ended: Sequence[Ended]) -> None:
    """Write the shrunk script, if any, and the log of each failure, one that `vtpmspec trace validate` reads."""
    for one in ended:
        name = folder / re.sub(r"[^A-Za-z0-9.-]", "-", one.run)
        if one.sentence and one.log:
            folder.mkdir(parents=True, exist_ok=True)
            name.with_name(f"{name.name}{suffix}").write_text("".join(f"{line}\n" for line in one.log), "utf-8")
        if one.sentence and one.lines:
            folder.mkdir(parents=True, exist_ok=True)
            head = (f"# {one.doc}", f"# {one.run}: {ascii(one.sentence)[1:-1]}")
            text = "".join(f"{line}\n" for line in (*head, *one.lines))
            name.with_name(f"{name.name}.script").write_text(text, "utf-8")


def _repeat(campaign: Trial[Any], run: str) -> str:
    """The command that repeats a run."""
    end = ["--end", campaign.end] if campaign.end in TIS_ENDS else []
    words = ["vtpmspec", "conform", *end, "--only", run]
    if run.startswith("random/"):
        words += ["--seed", str(campaign.seed)]
    if campaign.patience != PATIENCE:
        words += ["--timeout", f"{campaign.patience:g}"]
    return shlex.join([*words, "--", *campaign.command])


def _show(campaign: Trial[Any], ended: Sequence[Ended], stale: Sequence[Deviation], seconds: float) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console
    from vtpm_traces.conform.trial import Verdict, counts

    out = console()
    for one in ended:
        if one.verdict not in (Verdict.FAILURE, Verdict.ERROR):
            continue
        typer.echo(f"\n{one.run}: {one.doc}\n{one.verdict.value}: {one.sentence}")
        if one.lines:
            typer.echo("what is left of the script:")
            typer.echo("".join(f"    {line}\n" for line in one.lines), nl=False)
        if not one.run.startswith("sanity/") and not campaign.scripts:
            typer.echo(f"to repeat it: {_repeat(campaign, one.run)}")
    for gone in stale:
        typer.echo(f"\na known deviation no longer shows in {' '.join(gone.runs)}: {gone.why}")
    table = Table(
        title=f"{campaign.name}, a {campaign.end}, seed {campaign.seed}", box=None, header_style="bold",
        pad_edge=False, title_justify="left",
    )  # fmt: skip
    columns = [verdict.value for verdict in Verdict] + ["known deviations"]
    table.add_column("runs")
    for column in columns:
        table.add_column(column, justify="right")
    for kind, found in counts(ended).items():
        table.add_row(kind, *(str(found.get(column, 0)) for column in columns))
    out.print(table)
    out.print(f"{len(ended)} runs, {seconds:.1f} s")
