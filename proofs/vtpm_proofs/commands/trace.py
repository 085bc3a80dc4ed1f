"""`vtpmspec trace`: logs, traces and recordings held against the specification, shown, and made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use
from vtpm_proofs.commands.teeth import teeth

if TYPE_CHECKING:
    from vtpm_model.core import Spec
    from vtpm_traces.verdict import Verdict

SCHEMA = "vtpmspec/trace/1"

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.command()(teeth)


@app.callback()
def trace() -> None:
    """Hold logs, traces and recordings against the specification; show them; make the traces that pin the model."""


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Variant = Annotated[
    str | None, typer.Option(metavar="NAME", help="Use this variant instead of the specification that a file names.")
]
System = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of which system an ITF file is that does not say so itself.")
]


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Event logs, ITF traces, or recordings.")],
    *,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="The files are xen-recording, linux-runs, tpmback-script, tpmfront-script, tis-script or tis-trace.",
        ),
    ] = None,
    variant: Variant = None,
    system: System = None,
    run: Annotated[bool, typer.Option("--run", help="Print the completed run of what is accepted.")] = False,
    logs: Annotated[
        Path | None,
        typer.Option(
            "--logs",
            metavar="DIR",
            help="Write there, of each accepted device of a xen-recording, what was observed, as an event log.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say of each file whether it is a behaviour of the specification, and if not, where it ends and what was possible.

    Without --format, a file is an event log (NDJSON with a header) or an ITF trace (.itf.json). Exit code 0: all are
    accepted (an ITF trace does what it says that it does); 1: one is refused or undecided; 2: wrong use, or no log at
    all.

    Example: vtpmspec trace validate run.ndjson

    Example: vtpmspec trace validate --format xen-recording recorded/linux-frontend/h1-fast --logs logs
    """
    from vtpm_traces.files import BadInput

    reports = []
    for file in files:
        try:
            if form is not None:
                reports += _recording(file, form, run=run, logs=logs)
            elif _is_itf(file):
                reports.append(_itf(file, variant, system, run=run))
            else:
                reports.append(_log(file, variant, run=run))
        except BadInput as error:
            reports.append(_report(str(file), "malformed", notes=[str(error)]))
    if as_json:
        typer.echo(json.dumps({"schema": SCHEMA, "files": reports}, indent=2))
    else:
        for report in reports:
            _print_report(report)
    if any(report["outcome"] == "malformed" for report in reports):
        raise typer.Exit(2)
    if any(report["outcome"] not in ("accepted", "empty") for report in reports):
        raise typer.Exit(FALLS_SHORT)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ITF trace or an event log.")],
    *,
    variant: Variant = None,
    system: System = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid sequence diagram.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a sequence diagram as SVG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a trace, or the completed run of an event log, as a table of steps with what each changed.

    Exit code 0: shown; 1: the log is not accepted, there is no run to show; 2: wrong use.

    Example: vtpmspec trace show a.itf.json --svg a.svg
    """
    from vtpm_traces import show as showing
    from vtpm_traces.files import BadInput

    try:
        if _is_itf(file):
            from vtpm_traces import itf

            read = itf.read_file(file)
            spec = _spec(read.specification or system, variant)
            loaded = itf.to_trace(read, spec)
            title, rows = loaded.title, showing.of_trace(spec, loaded)
        else:
            spec, verdict = _validated(file, variant, run=True)
            if not verdict.accepted:
                _print_report(_of_verdict(str(file), verdict, []))
                raise typer.Exit(FALLS_SHORT)
            title, rows = file.name, showing.of_run(spec, verdict.run)
    except BadInput as error:
        raise wrong_use(str(error)) from None
    if svg is not None:
        try:
            svg.write_text(showing.svg(rows, title), encoding="utf-8")
        except OSError as error:
            raise wrong_use(f"--svg {svg}: {error.strerror}") from None
    if mermaid:
        typer.echo(showing.mermaid(rows, title), nl=False)
    elif as_json:
        typer.echo(json.dumps({"schema": SCHEMA, "title": title, "steps": [_row(row) for row in rows]}, indent=2))
    elif svg is None:
        _print_rows(rows, title)


@app.command()
def pin(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where accept/ and reject/ are; the repository's own if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the traces that pin the model, line by line.

    Each kept trace must do on the specification what it says, and tell it from every mutant that it names; together
    they must name every mutant that a run can show. Exit code 0: they do; 1: they do not; 2: wrong use.

    Example: vtpmspec trace pin
    """
    from vtpm_model.catalog import SYSTEMS
    from vtpm_proofs import pins
    from vtpm_proofs.campaign import reasons, unseen
    from vtpm_traces.files import BadInput
    from vtpm_traces.schema import data

    where = folder or data()
    if not where.is_dir():
        raise wrong_use(f"--folder {where} is not a directory")
    report: dict[str, Any] = {"schema": SCHEMA, "folder": str(where)}
    try:
        report["problems"] = list(pins.problems(where, SYSTEMS, {*reasons(), *unseen()}))
        report["traces"] = {name: len(list((where / name).glob(f"*{pins.SUFFIX}"))) for name in pins.FOLDERS.values()}
    except BadInput as error:
        raise wrong_use(str(error)) from None
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        for problem in report["problems"]:
            typer.echo(problem)
        kept = ", ".join(f"{count} in {name}/" for name, count in report["traces"].items())
        typer.echo(f"{kept}; {len(report['problems'])} problems")
    if report["problems"]:
        raise typer.Exit(FALLS_SHORT)


def _recording(file: Path, form: str, *, run: bool, logs: Path | None) -> list[dict[str, Any]]:
    from vtpm_traces.formats import FORMATS
    from vtpm_traces.recordings.event_log import write_into
    from vtpm_traces.show import of_run

    if form not in FORMATS:
        raise wrong_use(f"--format {form!r} is not one of {', '.join(FORMATS)}")
    found = FORMATS[form](file)
    if not found:
        return [_report(str(file), "empty", notes=["it shows no vTPM device"])]
    reports = []
    for finding in found:
        report = _report(
            f"{file}: {finding.title}",
            finding.outcome.value,
            accepted_by=list(finding.accepted_by),
            notes=list(finding.notes),
            details=finding.document,
        )
        if run and finding.run:
            spec = _spec(finding.specification, None)
            report["run"] = [_row(row) for row in of_run(spec, finding.run)]
        if logs is not None and finding.run:
            try:
                written = write_into(logs, _spec(finding.specification, None), finding.run, finding.title)
            except OSError as error:
                raise wrong_use(f"--logs {logs}: {error.strerror}") from None
            report["notes"].append(f"what was observed is in {written}")
        reports.append(report)
    return reports


def _itf(file: Path, variant: str | None, system: str | None, *, run: bool) -> dict[str, Any]:
    from vtpm_traces import itf
    from vtpm_traces.replay import replay
    from vtpm_traces.show import of_trace

    read = itf.read_file(file)
    spec = _spec(read.specification or system, variant)
    loaded = itf.to_trace(read, spec)
    replayed = replay(spec, loaded)
    outcome = "accepted" if replayed.holds else "refused"
    report = _report(str(file), outcome, accepted_by=[spec.name], notes=[f"{loaded.title}: {replayed.sentence}"])
    report["accepted_by"] = [spec.name] if replayed.holds else []
    report["expect"] = loaded.expect.value
    if run:
        report["run"] = [_row(row) for row in of_trace(spec, loaded)]
    return report


def _log(file: Path, variant: str | None, *, run: bool) -> dict[str, Any]:
    from vtpm_traces.show import of_run

    spec, verdict = _validated(file, variant, run=run)
    rows = [_row(row) for row in of_run(spec, verdict.run)] if run and verdict.accepted else []
    return _of_verdict(str(file), verdict, rows)


def _validated(file: Path, variant: str | None, *, run: bool) -> tuple[Spec[Any], Verdict]:
    from vtpm_traces import log
    from vtpm_traces.validate import validate as check

    read = log.read(file)
    spec = _spec(read.header.system, variant or read.header.variant)
    return spec, check(spec, read, keep_run=run)


def _is_itf(file: Path) -> bool:
    return file.name.removesuffix(".gz").removesuffix(".xz").endswith(".itf.json")


def _spec(name: str | None, variant: str | None) -> Spec[Any]:
    """The specification of that name, or a variant. Raises BadInput with what there is."""
    from vtpm_model import catalog
    from vtpm_traces.files import BadInput, shown

    if variant is not None:
        try:
            return catalog.variant(variant)
        except KeyError as error:
            raise BadInput(str(error.args[0])) from None
    known = catalog.SYSTEMS | catalog.SURROUNDINGS | catalog.VARIANTS
    if name is None:
        raise BadInput(f"the file does not say of which system it is; --system NAME does: {', '.join(catalog.SYSTEMS)}")
    if name not in known:
        raise BadInput(f"system {shown(name)} is not known; there are {', '.join(known)}")
    return known[name]


def _report(name: str, outcome: str, **more: Any) -> dict[str, Any]:
    return {"file": name, "outcome": outcome, "accepted_by": [], "notes": [], **more}


def _of_verdict(name: str, verdict: Verdict, rows: list[dict[str, Any]]) -> dict[str, Any]:
    notes = [verdict.reason] if verdict.reason else []
    notes += [str(stuck) for stuck in verdict.stuck]
    report = _report(
        name,
        verdict.outcome.value,
        accepted_by=[verdict.specification] if verdict.accepted else [],
        notes=notes,
        lines=verdict.lines,
        states=verdict.states,
    )
    if verdict.stuck:
        first = verdict.stuck[0]
        report["refused_at"] = {
            "line": first.origin.line,
            "event": first.origin.text,
            "possible": list(first.possible),
            "values": {name: list(values) for name, values in first.values.items()},
        }
    if rows:
        report["run"] = rows
    return report


def _row(row: Any) -> dict[str, Any]:
    return {
        "number": row.number,
        "by": row.by,
        "action": row.action,
        "changes": {change.path: [change.before, change.after] for change in row.changes},
        "seen": [f"{origin.file}:{origin.line}" for origin in row.seen],
        "hidden": row.hidden,
        "refused": row.refused,
    }


def _print_report(report: dict[str, Any]) -> None:
    by = f" by {', '.join(report['accepted_by'])}" if report["accepted_by"] else ""
    lines = f", {report['lines']} lines" if "lines" in report else ""
    typer.echo(f"{report['file']}: {report['outcome']}{by}{lines}")
    for note in report["notes"]:
        typer.echo("  " + note.replace("\n", "\n  "))
    for row in report.get("run", ()):
        changes = ", ".join(f"{path}: {before} -> {after}" for path, (before, after) in row["changes"].items())
        seen = f"  [{', '.join(row['seen'])}]" if row["seen"] else "  [hidden]" if row["hidden"] else ""
        typer.echo(f"  {row['number']:>5} {row['action']}{seen}" + (f"  {changes}" if changes else ""))


def _print_rows(rows: list[Any], title: str) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("who", no_wrap=True)
    table.add_column("does", overflow="fold")
    table.add_column("and changes", overflow="fold")
    recorded = any(row.seen for row in rows)
    if recorded:
        table.add_column("seen at", overflow="fold")
    for row in rows:
        marked = f"{row.action} — refused" if row.refused else row.action
        seen = ", ".join(f"{origin.line}" for origin in row.seen) or ("hidden" if row.hidden else "")
        style = "red" if row.refused else "dim" if row.hidden else ""
        cells = (str(row.number), row.by, marked, ", ".join(map(str, row.changes)), *((seen,) if recorded else ()))
        table.add_row(*cells, style=style)
    console().print(table)
