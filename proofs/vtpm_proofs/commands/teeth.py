"""The command `vtpmspec trace teeth`: spoils each line of recordings in each way, and tells what became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use

SCHEMA: Final = "vtpmspec/teeth/1"


def teeth(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR...]", help="Folders recorded on a Xen system.")
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All kept recordings; what is found must be what the kept table says.")
    ] = False,
    record: Annotated[bool, typer.Option("--record", help="With --all: keep what is found as the table.")] = False,
    every: Annotated[
        int, typer.Option(metavar="N", min=1, help="After the 40th command spoil only each N-th one's lines.")
    ] = 1,
    device: Annotated[str | None, typer.Option(metavar="DOMAIN/HANDLE", help="Only this device.")] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes that share the work.")] = 1,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the completed run of each accepted mutant here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Spoil each line of real recordings in each way, and count what the validator refuses, accepts, leaves undecided.

    An accepted one could have happened; its completed run shows how. Exit code 0: all are decided, with --all as the
    table says; 1: some are not; 2: wrong use. This takes from seconds to minutes: progress goes to stderr.

    Example: vtpmspec trace teeth recorded/linux-frontend/h1-fast --runs runs
    """
    from vtpm_traces.files import BadInput
    from vtpm_traces.recordings.xen_bites import (
        as_document,
        bitten,
        kept_folders,
        total,
        unlike_the_table,
        write_table,
    )

    if everything and (folders or device):
        raise wrong_use("--all takes every kept recording: leave out DIR and --device")
    if record and not everything:
        raise wrong_use("--record keeps the table of all kept recordings: it goes with --all")
    if not everything and not folders:
        raise wrong_use("nothing to spoil: give DIR..., or --all for the kept recordings")
    documents: list[dict[str, Any]] = []
    try:
        for folder in folders or kept_folders():
            for found in bitten(
                folder, every=every, device=device, jobs=jobs, run=runs is not None,
                say=lambda line: typer.echo(line, err=True),
            ):  # fmt: skip
                documents.append(as_document(found))
                if runs is not None:
                    _write_runs(found, runs)
    except BadInput as error:
        raise wrong_use(str(error)) from None
    except OSError as error:
        raise wrong_use(f"--runs {runs}: {error.strerror}") from None
    if device is not None and not documents:
        raise wrong_use(f"--device {device} is in none of the folders")
    counted = total(documents)
    if as_json:
        typer.echo(json.dumps({"schema": SCHEMA, "devices": documents, "total": dict(counted)}, indent=1))
    else:
        for document in documents:
            _print(document)
        typer.echo("all: " + ", ".join(f"{count} {outcome}" for outcome, count in counted.items()))
    unlike = [] if record or not everything else unlike_the_table(documents)
    for sentence in unlike:
        typer.echo(sentence, err=True)
    if record:
        write_table(documents)
    if counted["undecided"] or unlike:
        raise typer.Exit(FALLS_SHORT)


def _print(document: dict[str, Any]) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    title = f"{document['folder']} {document['recorder']} device {document['device']}, {document['specification']}"
    if document["every"] > 1:
        title += f", after the 40th command each {document['every']}-th"
    shown = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    shown.add_column("spoilt")
    shown.add_column("line")
    for outcome in ("refused", "accepted", "undecided"):
        shown.add_column(outcome, justify="right")
    for each in document["classes"]:
        numbers = (str(each[outcome]) for outcome in ("refused", "accepted", "undecided"))
        shown.add_row(each["spoilt"], each["line"], *numbers)
    console().print(shown)


def _write_runs(found: Any, runs: Path) -> None:
    from vtpm_model.catalog import SURROUNDINGS, SYSTEMS, VARIANTS
    from vtpm_traces.show import of_run

    spec = (SYSTEMS | SURROUNDINGS | VARIANTS)[found.specification]
    runs.mkdir(parents=True, exist_ok=True)
    for number, bite in enumerate(found.bites, 1):
        if bite.run:
            lines = [f"{bite.mutant.origin.file}:{bite.mutant.origin.line}: {bite.mutant.spoilt.value}"]
            for row in of_run(spec, bite.run):
                changes = ", ".join(map(str, row.changes))
                seen = ", ".join(f"{origin.file}:{origin.line}" for origin in row.seen) or "hidden"
                lines.append(f"{row.number:>5} {row.action}  {changes}  [{seen}]")
            name = f"{found.folder}-{found.device.replace('/', '-')}-{number:05}.txt"
            (runs / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
