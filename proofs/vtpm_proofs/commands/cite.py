"""`vtpmspec cite`: which sources the specification cites, and whether they still say what they said."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vtpm_proofs import cite as citations
from vtpm_proofs.cite import Finding, Status, Tree
from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use
from vtpm_traces.files import BadInput

SCHEMA = "vtpmspec/cite/1"

COLOUR = {
    Status.OK: "green",
    Status.MOVED: "yellow",
    Status.CHANGED: "red",
    Status.MISSING: "red",
    Status.UNREAD: "dim",
}


def cite(
    *,
    tree: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR", help="A source tree: xen=DIR, mini-os=DIR, linux=DIR, edk2=DIR, or NAME=DIR@REVISION."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """List the sources that actions and facts cite, and check them against source trees.

    Without --tree, lists every citation and checks that each action and each fact has one. DIR is a checkout, an
    unpacked archive or a bare repository, at any revision. Exit code 0: each citation stands (perhaps on other lines);
    1: lines changed, a file is missing, or something cites nothing; 2: wrong use.

    Example: vtpmspec cite --tree xen=~/src/xen --tree mini-os=~/src/mini-os.git
    """
    from vtpm_model.assumptions import ASSUMPTIONS
    from vtpm_model.catalog import SYSTEMS, VARIANTS
    from vtpm_model.driven import DRIVER

    claims = list(citations.citing([*SYSTEMS.values(), *VARIANTS.values()]))
    used = citations.uses([*claims, *citations.assuming(ASSUMPTIONS)])
    ours = {liberty.name for liberty in DRIVER}  # what the driver of a recording may do is our choice, not a source's
    bare = tuple(user for user, cites in claims if not cites and user.rpartition(".")[2] not in ours)
    try:
        trees = _trees(tree or [], sorted({citation.document.tree for citation in used}))
        found = list(citations.check(used, trees))
    except BadInput as error:
        raise wrong_use(f"--tree: {error}") from None
    if as_json:
        typer.echo(json.dumps(_json(found, bare), indent=2))
    else:
        _print(found, bare)
    if bare or not all(finding.holds for finding in found):
        raise typer.Exit(FALLS_SHORT)


def _trees(given: list[str], known: list[str]) -> dict[str, Tree]:
    trees: dict[str, Tree] = {}
    for text in given:
        name, equals, where = text.partition("=")
        if not equals or name not in known:
            raise BadInput(f"{text!r} names no tree; it should be NAME=DIR, NAME one of {', '.join(known)}")
        if name in trees:
            raise BadInput(f"{text!r} gives the tree {name} a second time")
        trees[name] = citations.open_tree(where)
    return trees


def _json(found: list[Finding], bare: tuple[str, ...]) -> dict[str, Any]:
    named = citations.names()
    return {
        "schema": SCHEMA,
        "holds": all(finding.holds for finding in found) and not bare,
        "citations": [
            {
                "name": named.get(finding.citation, ""),
                "tree": finding.citation.document.tree,
                "path": finding.citation.document.path,
                "revision": finding.citation.document.revision,
                "first": finding.citation.first,
                "last": finding.citation.last,
                "digest": finding.citation.digest,
                "standing": finding.citation.standing.value,
                "note": finding.citation.note,
                "status": finding.status.value,
                "found": [finding.first, finding.last] if finding.first else None,
                "cited_by": list(finding.users),
            }
            for finding in found
        ],
        "uncited": list(bare),
    }


def _print(found: list[Finding], bare: tuple[str, ...]) -> None:
    console = Console()
    named = citations.names()
    table = Table(title="Sources")
    for column in ("status", "source", "place", "standing"):
        table.add_column(column, overflow="fold")
    table.add_column("cited by", justify="right")
    for finding in found:
        citation = finding.citation
        status = finding.status.value
        if finding.status is Status.MOVED:
            status += f" to {finding.first}-{finding.last}"
        table.add_row(
            f"[{COLOUR[finding.status]}]{status}[/]",
            named.get(citation, ""),
            escape(str(citation)),
            citation.standing.value,
            str(len(finding.users)),
        )
    console.print(table)
    counts = Counter(finding.status for finding in found)
    console.print(", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status]) or "none cited")
    for user in bare:
        console.print(f"[red]cites nothing[/] {escape(user)}")
