"""`vtpmspec mutants`: is every line of the models held in place, and does every fact hold something in place?"""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, chosen, wrong_use

SCHEMA = "vtpmspec/mutants/1"


def mutants(
    target: Annotated[
        str | None, typer.Argument(metavar="[SYSTEM]", help="Whose mutants to judge; every system's if left out.")
    ] = None,
    *,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = os.cpu_count() or 1,
    hints: Annotated[
        bool, typer.Option("--hints/--no-hints", help="Ask first what killed a mutant when it was last recorded.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every mutant, and what killed it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Make small mistakes in the models, one at a time, and see that each is noticed.

    By a proof, by a liveness premise, by a run that tells it from the model, or by a path that no run can take. A
    mistake in what only facts use must make a proof fail, or let a mistake in the model pass. What nothing notices must
    be equivalent, by proof, and explained. Every fact must alone notice some mistake.
    Exit code 0: all that holds; 1: something does not; 2: wrong use.

    Example: vtpmspec mutants ring --verbose
    """
    from vtpm_model.catalog import SYSTEMS, VARIANTS
    from vtpm_proofs import campaign, kills, pins
    from vtpm_traces.schema import data

    specs, fact = chosen(target, None)
    if fact is not None:
        raise wrong_use(f"{target!r} names one fact; mutants are made of whole systems, so name the system")

    def say(line: str) -> None:
        typer.echo(line, err=True)

    found = campaign.run(
        SYSTEMS,
        VARIANTS,
        of=[spec.name for spec in specs],
        kills=kills.read() if hints else None,
        pinned=pins.by_mutant(data(), SYSTEMS) if hints else None,
        jobs=jobs,
        say=say,
    )
    if as_json:
        typer.echo(json.dumps(_document(found), indent=1))
    else:
        _show(found, verbose=verbose)
    if found.complaints:
        raise typer.Exit(FALLS_SHORT)


def _document(found: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "holds": not found.complaints,
        "seconds": round(found.seconds, 3),
        "fates": found.count(),
        "died_again": found.again,
        "seen_in_no_run": found.unseen,
        "mutants": [
            {
                "id": verdict.id,
                "line": verdict.line,
                "pinned": verdict.pinned,
                "fate": verdict.fate,
                "by": verdict.by,
                "differs": verdict.kind,
                "run": [
                    {"action": move.action, "picks": {name: getattr(v, "name", v) for name, v in move.picks.items()}}
                    for move in verdict.run
                ],
            }
            for verdict in found.verdicts
        ],
        "facts": [
            {
                "system": sole.system,
                "fact": sole.fact,
                "kills_alone": sole.mutant,
                "how": sole.how,
                "derived_from": list(sole.derived_from),
            }
            for sole in found.soles
        ],
        "complaints": found.complaints,
    }


def _show(found: Any, *, verbose: bool) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    out = console()
    fates = list(found.count())
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("system")
    for title in ("mutants", *fates):
        table.add_column(title, justify="right")
    for name in dict.fromkeys(verdict.system for verdict in found.verdicts):
        own = [verdict.fate for verdict in found.verdicts if verdict.system == name]
        table.add_row(name, str(len(own)), *[str(own.count(fate)) for fate in fates])
    table.add_row("all", str(len(found.verdicts)), *[str(number) for number in found.count().values()])
    out.print(table)
    if verbose:
        for verdict in found.verdicts:
            out.print(f"{verdict.fate:<12} {verdict.id}  [{verdict.by}]", markup=False)
        for sole in found.soles:
            why = f"alone kills {sole.mutant} ({sole.how})" if sole.mutant else ""
            why = f"derived from {', '.join(sole.derived_from)}" if sole.derived_from else why
            out.print(f"{sole.system}.{sole.fact}: {why or 'nothing'}", markup=False)
    for complaint in found.complaints:
        out.print(complaint, markup=False)
    alone = sum(bool(sole.mutant or sole.derived_from) for sole in found.soles)
    out.print(f"{found.again} died of what had killed them before; of {found.unseen} no run tells, by proof")
    out.print(f"{alone} of {len(found.soles)} facts alone kill a mutant, or are derived; {found.seconds:.0f} s")
