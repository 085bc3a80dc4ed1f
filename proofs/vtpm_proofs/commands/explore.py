"""`vtpmspec explore`: every state of a bounded instance, counted and checked, and a second proof without lemmas."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, chosen, wrong_use

SCHEMA = "vtpmspec/explore/1"

PATIENCE = 300.0
"""Seconds for a quick second proof, which is cut off by its work and not by the clock."""


def explore(
    target: Annotated[
        str | None, typer.Argument(metavar="[SYSTEM]", help="What to search; every system if left out.")
    ] = None,
    *,
    variant: Annotated[str | None, typer.Option(metavar="NAME", help="Search a named variant instead.")] = None,
    second: Annotated[
        bool, typer.Option("--spacer/--no-spacer", help="Prove each fact again by Spacer, without lemmas.")
    ] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help="Ask Spacer only about the facts that are on record as quick.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Ask Spacer about facts that are known as too hard for it, too.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, metavar="S", help="Time for Spacer, each fact.")] = 30.0,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Search systems state by state, within bounds, by the model's functions and by code generated from them.

    Every fact and lemma is checked on the way, both searches must take the same steps, and the numbers of states,
    edges and levels must be those on record. The bounds of each search are shown with it: what is searched whole has
    no other state within them, what is searched in part was left after so many levels.
    Exit code 0: all that holds; 1: something does not; 2: wrong use.

    Example: vtpmspec explore ring --no-spacer
    """
    from vtpm_proofs import searches, spacer

    specs, fact = chosen(target, variant)
    if fact is not None:
        raise wrong_use(f"{target!r} names one fact; a search checks all facts of a system, so name the system")
    found = list(searches.side_by_side(specs, jobs, compare=variant is None))
    proofs: list[Any] = []
    if second and variant is None:
        for spec in specs:
            if quick:
                facts = [name.removeprefix(f"{spec.name}.") for name in spacer.quick()]
                limit = spacer.ROOM * spacer.AT_ONCE
                proofs += spacer.prove_again(spec, facts, seconds=PATIENCE, limit=limit, everything=True)
            else:
                proofs += spacer.prove_again(spec, seconds=seconds, everything=everything)
    bad = [one for one in proofs if one.verdict in (spacer.UNSAFE, spacer.UNDECIDED)]
    if as_json:
        typer.echo(json.dumps(_document(found, proofs), indent=1))
    else:
        _show(found, proofs)
    if bad or not all(one.holds for one in found):
        raise typer.Exit(FALLS_SHORT)


def _document(found: list[Any], proofs: list[Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "systems": [
            {
                "name": one.system,
                "holds": one.holds,
                **one.count,
                "bounds": {
                    "fields": dict(one.bounds.fields),
                    "picks": {name: [_plain(value) for value in tried] for name, tried in one.narrowed.items()},
                },
                "seconds": round(one.seconds, 3),
                "generated_seconds": round(one.generated_seconds, 3),
                "not_generated": dict(one.fallbacks),
                "violations": [{"fact": v.fact, "run": [_move(move) for move in v.run]} for v in one.violations],
                "complaints": list(one.complaints),
            }
            for one in found
        ],
        "second_proofs": [
            {
                "system": one.system,
                "fact": one.fact,
                "verdict": one.verdict,
                "fields_in_view": one.view,
                "clauses": one.clauses,
                "checks": one.checks,
                "seconds": round(one.seconds, 3),
                "reason": one.reason,
            }
            for one in proofs
        ],
    }


def _move(move: Any) -> dict[str, Any]:
    return {"action": move.action, "picks": {name: getattr(v, "name", v) for name, v in move.picks.items()}}


def _plain(value: Any) -> Any:
    return getattr(value, "name", value)


def _show_bounds(out: Any, found: list[Any]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("bounds of", "fields, up to", "picks, where not all their values are tried"):
        table.add_column(title)
    for one in found:
        fields = ", ".join(f"{path} {most}" for path, most in one.bounds.fields.items())
        picks = "; ".join(f"{name} {_tried(values)}" for name, values in one.narrowed.items())
        table.add_row(one.system, fields or "any", picks or "all")
    out.print()
    out.print(table)


def _tried(values: tuple[Any, ...]) -> str:
    if len(values) > 2 and values == tuple(range(values[0], values[0] + len(values))):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(str(_plain(value)) for value in values)


def _show(found: list[Any], proofs: list[Any]) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    out = console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("system")
    for title in ("states", "edges", "levels", "edges/s", "states/s generated"):
        table.add_column(title, justify="right")
    for title in ("instance", ""):
        table.add_column(title)
    for one in found:
        count = one.count
        table.add_row(
            one.system, str(count.get("states", "")), str(count.get("edges", "")), str(count.get("depth", "")),
            f"{one.edge_rate:.0f}" if count else "", f"{one.generated_rate:.0f}" if count else "",
            "searched whole" if count.get("exhausted") else "searched in part",
            "[green]holds[/]" if one.holds else "[red]falls short[/]",
        )  # fmt: skip
    out.print(table)
    _show_bounds(out, found)
    for one in found:
        for violation in one.violations:
            out.print(f"{one.system}: {violation.fact} is broken by this run", markup=False)
            for at, move in enumerate(violation.run, 1):
                out.print(f"  {at:>2} {move}", markup=False)
        for complaint in one.complaints:
            out.print(complaint, markup=False)
        for name, reason in one.fallbacks.items():
            out.print(f"{one.system}: {name} is not generated but called ({reason})", markup=False)
    if proofs:
        safe = sum(proof.verdict == "safe" for proof in proofs)
        out.print(f"second proof, by Spacer without lemmas: {safe} of {len(proofs)} facts", markup=False)
        for proof in proofs:
            if proof.verdict != "safe":
                out.print(f"  {proof.name}: {proof.verdict} ({proof.reason})", markup=False)
