"""The command `vtpmspec trace teeth`: spoils each line of recordings in each way, and tells what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use


def teeth(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR...]", help="Folders recorded on a Xen system; the kept table if left out."),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Run all kept recordings; what is found must be what the kept table says.")
    ] = False,
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="With --all: keep what is found, device by device; run what is not kept of this model."
        ),
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="With --record: run what is kept of this model, too.")] = False,
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

    Without DIR and --all nothing is run: the kept table is shown, a table for each device and one for all together.
    An accepted mutant could have happened; its completed run shows how. Exit code 0: all are decided, and those that
    later lines mostly depend on are refused, or the lines tell why not; with --all as the table says; 1: some are not;
    2: wrong use. A run takes from seconds to half an hour: progress goes to stderr.

    Example: vtpmspec trace teeth recorded/linux-frontend/h1-fast --runs runs
    """
    from vtpm_traces.files import BadInput
    from vtpm_traces.recordings import xen_bites_kept as kept

    def say(line: str) -> None:
        typer.echo(line, err=True)

    if everything and (folders or device or runs or every > 1):
        raise wrong_use("--all takes every line of every kept recording: leave out DIR, --device, --every and --runs")
    if record and not everything:
        raise wrong_use("--record keeps the table of all kept recordings: it goes with --all")
    if anew and not record:
        raise wrong_use("--anew runs what is kept already: it goes with --record")
    if not (everything or folders) and (device or runs or every > 1):
        raise wrong_use("nothing to spoil: give DIR... with --device, --every and --runs")
    unlike: list[str] = []
    try:
        if record:
            documents = list(kept.record(anew=anew, jobs=jobs, say=say))
        elif everything or folders:
            chosen = folders or kept.kept_folders()
            documents = list(_found(chosen, every=every, device=device, jobs=jobs, runs=runs))
            unlike = kept.unlike_the_table(documents) if everything else []
        else:
            documents = kept.kept_table()
    except BadInput as error:
        raise wrong_use(str(error)) from None
    except OSError as error:
        raise wrong_use(f"{error.filename}: {error.strerror}") from None
    if device is not None and not documents:
        raise wrong_use(f"--device {device} is in none of the folders")
    counted, together = kept.total(documents), kept.classes(documents)
    if as_json:
        document = {"schema": kept.SCHEMA, "devices": documents, "classes": together, "total": dict(counted)}
        typer.echo(json.dumps(document, indent=1))
    else:
        for each in documents:
            _print(_title(each), each["classes"])
        _print(f"{len(documents)} devices together", together)
        typer.echo("all: " + ", ".join(f"{count} {outcome}" for outcome, count in counted.items()))
    short = [*unlike, *(sentence for each in documents for sentence in kept.unexplained(each))]
    for sentence in short:
        typer.echo(sentence, err=True)
    if counted["undecided"] or short:
        raise typer.Exit(FALLS_SHORT)


def _found(
    folders: list[Path], *, every: int, device: str | None, jobs: int, runs: Path | None
) -> Iterator[dict[str, Any]]:
    from vtpm_traces.recordings.xen_bites import bitten
    from vtpm_traces.recordings.xen_bites_kept import as_document

    for folder in folders:
        for found in bitten(
            folder, every=every, wanted=lambda seen: device in (None, str(seen.device)), jobs=jobs,
            run=runs is not None, say=lambda line: typer.echo(line, err=True),
        ):  # fmt: skip
            if runs is not None:
                _write_runs(found, runs)
            yield as_document(found)


def _title(document: dict[str, Any]) -> str:
    title = f"{document['folder']} {document['recorder']} device {document['device']}, {document['specification']}"
    if document["every"] > 1:
        title += f", after the 40th command each {document['every']}-th"
    return title


def _print(title: str, classes: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    shown = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    shown.add_column("line")
    shown.add_column("spoilt")
    for outcome in ("refused", "accepted", "undecided"):
        shown.add_column(outcome, justify="right")
    for each in classes:
        numbers = (str(each[outcome]) for outcome in ("refused", "accepted", "undecided"))
        shown.add_row(each["line"], each["spoilt"], *numbers)
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
