"""`vtpmspec list` and `vtpmspec explain`: what is specified, and all that is known of one fact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from vtpm_model.core import Action, Citation, Eventually, Fact, Spec
from vtpm_proofs.commands.systems import fact_names, wrong_use
from vtpm_proofs.report.places import place


def list_(
    target: Annotated[
        str | None, typer.Argument(metavar="[SYSTEM]", help="List its facts, lemmas and actions; else the systems.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """List the systems and variants, or what one system consists of.

    Example: vtpmspec list ring
    """
    from vtpm_model.catalog import SYSTEMS, VARIANTS

    known = SYSTEMS | VARIANTS
    if target is None:
        document = {
            "schema": "vtpmspec/list/1",
            "systems": [_system(name, spec) for name, spec in SYSTEMS.items()],
            "variants": [_system(name, spec) for name, spec in VARIANTS.items()],
        }
        tables = [("system", document["systems"]), ("variant", document["variants"])]
    elif target in known:
        spec = known[target]
        document = {
            "schema": "vtpmspec/list/1",
            "facts": [*map(_claim, spec.facts), *map(_claim, spec.liveness)],
            "lemmas": [_claim(fact) for fact in spec.lemmas],
            "actions": [_action(action) for action in spec.actions],
        }
        tables = [("fact", document["facts"]), ("lemma", document["lemmas"]), ("action", document["actions"])]
    else:
        raise wrong_use(f"nothing is called {target!r}; there are {', '.join(known)}")
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        _tables(tables)


def _system(name: str, spec: Spec[Any]) -> dict[str, Any]:
    return {
        "name": name,
        "facts": len(spec.facts) + len(spec.liveness),
        "lemmas": len(spec.lemmas),
        "actions": len(spec.actions),
        "says": spec.doc.strip().splitlines()[0] if spec.doc.strip() else "",
    }


def _claim(fact: Fact | Eventually) -> dict[str, Any]:
    kind = fact.kind.value if isinstance(fact, Fact) else "liveness"
    about = fact.about.value if fact.about else ""
    return {"name": fact.name, "kind": kind, "covers": " ".join(fact.covers), "about": about, "says": fact.sentence}


def _action(action: Action[Any]) -> dict[str, Any]:
    return {"name": action.name, "by": action.by.value, "owed": action.owed, "says": action.sentence}


def _tables(tables: Sequence[tuple[str, Any]]) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    out = console()
    for title, rows in tables:
        if not rows:
            continue
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in rows[0]:
            table.add_column(title if column == "name" else column, no_wrap=column == "name")
        for row in rows:
            table.add_row(
                *(("yes" if value else "") if isinstance(value, bool) else str(value) for value in row.values())
            )
        out.print(table)
        out.print()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)


# ----------------------------------------------------------------------------------------------------------- explain


def explain(
    fact: Annotated[
        str, typer.Argument(metavar="FACT", help="The name of a fact, a claim or a lemma, or SYSTEM.FACT.")
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Tell all about one fact: its sentence, its sources, what its proof rests on, the defects that it catches.

    Example: vtpmspec explain ring.an_answer_stays_in_its_connection
    """
    spec, found, others = _find(fact)
    document = _explained(spec, found, others)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    for line in _lines(document):
        typer.echo(line)


def _find(name: str) -> tuple[Spec[Any], Fact | Eventually, list[str]]:
    """The first system that has the fact, the fact, and the other systems that have it."""
    from vtpm_model.catalog import SYSTEMS

    system, _, short = name.rpartition(".")
    if system and system not in SYSTEMS:
        raise wrong_use(f"no system is called {system!r}; there are {', '.join(SYSTEMS)}")
    having: list[tuple[Spec[Any], Fact | Eventually]] = []
    for spec in [SYSTEMS[system]] if system else SYSTEMS.values():
        having += [(spec, one) for one in (*spec.facts, *spec.lemmas) if one.name == short]
        having += [(spec, claim) for claim in spec.liveness if claim.name == short]
    if not having:
        where = system or "any system"
        raise wrong_use(f"no fact of {where} is called {short!r}; `vtpmspec list SYSTEM` names them")
    spec, found = having[0]
    return spec, found, [other.name for other, _ in having[1:]]


def _explained(spec: Spec[Any], found: Fact | Eventually, others: list[str]) -> dict[str, Any]:
    from vtpm_model.assumptions import READINGS, assumed_by
    from vtpm_proofs.cores import carry

    carried = carry(spec, [found.name])
    mine = carried.facts[found.name]
    file, line = place(found.holds if isinstance(found, Fact) else found.pending)
    return {
        "schema": "vtpmspec/explain/1",
        "system": spec.name,
        "also_in": others,
        **_claim(found),
        "stands_at": f"{file}:{line}",
        "cites": [_cited(one) for one in found.cites],
        "derived_from": list(found.derived_from) if isinstance(found, Fact) else [],
        "lemmas": sorted(mine.lemmas),
        "rests_on": sorted(carried.ground([found.name]) - {found.name} - mine.lemmas),
        "guards": [str(guard) for guard in sorted(mine.guards)],
        "assumptions": [
            {"id": one.id, "says": one.sentence, "why": one.why} for one in assumed_by(found.name, found.covers)
        ],
        "readings": [
            {"row": one.row, "proved": one.proved, "because": one.because}
            for one in READINGS
            if one.row in found.covers
        ],
        "catches": _caught(found.name),
    }


def _cited(citation: Citation) -> dict[str, str]:
    return {"lines": str(citation), "standing": citation.standing.value, "note": citation.note}


def _caught(fact: str) -> list[str]:
    """The variants in which the fact cannot be proved, for the actions that differ."""
    from vtpm_model.catalog import SYSTEMS, VARIANTS
    from vtpm_proofs.induction import prove
    from vtpm_proofs.obligation import HOLDS

    caught = []
    for name, variant in VARIANTS.items():
        if fact not in fact_names(variant):
            continue
        base = SYSTEMS.get(variant.name.partition("+")[0])
        same = set() if base is None or base.init is not variant.init else {id(action) for action in base.actions}
        changed = [action.name for action in variant.actions if id(action) not in same]
        results = prove(variant, actions=changed, facts=[fact], stop_at_first=True)
        if any(result.verdict != HOLDS for result in results):
            caught.append(name)
    return caught


def _lines(document: dict[str, Any]) -> list[str]:
    covers = f", covers {document['covers']}" if document["covers"] else ""
    about = f", the {document['about']}'s duty" if document["about"] else ""
    lines = [
        f"{document['system']}.{document['name']}",
        f"  {document['says']}",
        f"  {document['kind']}{covers}{about}, {document['stands_at']}",
    ]
    if document["also_in"]:
        lines.append(f"  also in: {', '.join(document['also_in'])}")
    lines += _titled("sources", [_source(one) for one in document["cites"]])
    lines += _titled("derived from", document["derived_from"])
    lines += _titled("its proof needs the lemmas and facts", document["lemmas"])
    lines += _titled("which rest on", document["rests_on"])
    lines += _titled("and these guards of the actions", document["guards"])
    lines += _titled("assumptions", [f"{one['id']}: {one['says']} {one['why']}" for one in document["assumptions"]])
    lines += _titled(
        "read as", [f"{one['row']}: {one['proved']} Because: {one['because']}" for one in document["readings"]]
    )
    lines += _titled("defects that it catches (variants in which its proof fails)", document["catches"])
    return lines


def _source(cited: dict[str, str]) -> str:
    standing = "" if cited["standing"] == "stated" else f" [{cited['standing']}]"
    note = f": {cited['note']}" if cited["note"] else ""
    return f"{cited['lines']}{standing}{note}"


def _titled(title: str, items: list[str]) -> list[str]:
    return [f"  {title}:", *(f"    {item}" for item in items)] if items else [f"  {title}: none"]
