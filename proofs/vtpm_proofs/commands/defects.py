"""`vtpmspec defects`: every known defect reproduced, each with the fact that it breaks and the shortest run to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use

SCHEMA = "vtpmspec/defects/1"


def defects(
    rows: Annotated[
        list[str] | None, typer.Argument(metavar="[ROW]...", help="Which defects; all if left out.")
    ] = None,
    *,
    find: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Find the shortest runs anew and write their traces there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Check that each known defect breaks the fact that it should, and that the sound system goes another way.

    For each defect a shortest run of the variant is kept as a trace; for some situations, a run of the system itself.
    --find searches for them anew, which takes minutes for the composed systems.
    Exit code 0: each is reproduced; 1: one is not; 2: wrong use.

    Example: vtpmspec defects i4 r8
    """
    from vtpm_model.catalog import SYSTEMS
    from vtpm_model.defects import DEFECTS, SITUATIONS
    from vtpm_proofs import defects as work

    known = [*DEFECTS, *SITUATIONS]
    unknown = [row for row in rows or () if row not in known]
    if unknown:
        raise wrong_use(f"no defect is called {unknown[0]!r}; there are {', '.join(known)}")
    if find is not None:
        try:
            work.keep(find, rows or known)
        except (OSError, ValueError) as error:
            raise wrong_use(f"--find {find}: {error}") from None
    found = work.check_defects(find, rows or None)
    untouched = work.untouched(SYSTEMS)
    if as_json:
        typer.echo(json.dumps(_document(found, untouched), indent=1))
    else:
        _show(found, untouched)
    if not found.holds:
        raise typer.Exit(FALLS_SHORT)


def _document(found: Any, untouched: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "holds": found.holds,
        "seconds": round(found.seconds, 3),
        "rows": [
            {
                "row": row.row,
                "specification": row.specification,
                "says": row.sentence,
                "fails": row.fails,
                "steps": row.steps,
                "system": row.true_model,
                "holds": row.holds,
                "problems": list(row.problems),
            }
            for row in found.rows
        ],
        "untouched": untouched,
    }


def _show(found: Any, untouched: dict[str, list[str]]) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("row", no_wrap=True)
    table.add_column("specification", no_wrap=True)
    table.add_column("steps", justify="right")
    table.add_column("breaks", overflow="fold")
    table.add_column("the sound system", overflow="fold")
    for row in found.rows:
        table.add_row(row.row, row.specification, str(row.steps), row.fails or "nothing", row.true_model)
    out = console()
    out.print(table)
    for row in found.rows:
        for problem in row.problems:
            out.print(f"{row.row}: {problem}", markup=False)
    facts = sum(map(len, untouched.values()))
    short = sum(not row.holds for row in found.rows)
    told = f"{short} of {len(found.rows)} rows fall short" if short else f"all {len(found.rows)} rows hold"
    out.print(f"{told}, {found.seconds:.1f} s; {facts} facts are broken by no known defect (--json lists them)")
