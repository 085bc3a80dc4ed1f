"""`vtpmspec prove`: every fact of every system, unbounded, by one-step induction and by rank."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vtpm_model.core import Spec
from vtpm_proofs import evidence as work
from vtpm_proofs import solvers
from vtpm_proofs.commands.systems import FALLS_SHORT, chosen, wrong_use
from vtpm_proofs.obligation import SORTS, EngineError, Result
from vtpm_proofs.symbolic import SymbolicError


def prove(
    target: Annotated[
        str | None, typer.Argument(metavar="[SYSTEM[.FACT]]", help="What to prove; every system if left out.")
    ] = None,
    *,
    variant: Annotated[str | None, typer.Option(metavar="NAME", help="Prove a named variant instead.")] = None,
    solver: Annotated[
        str, typer.Option(metavar="NAMES", help="Solvers, joined by commas: z3, cvc5. All must agree.")
    ] = "z3",
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = 1,
    share: Annotated[
        str | None, typer.Option("--slice", metavar="I/N", help="The I-th of N shares of the work.")
    ] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Use what was shown before.")] = True,
    map_: Annotated[bool, typer.Option("--map", help="Show what carries each fact; an idle lemma fails.")] = False,
    smtlib: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the obligations as SMT-LIB 2 files.")
    ] = None,
    itf: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write failed steps, and runs to them, as ITF files.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JUnit report.")] = None,
    sarif: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a SARIF report.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    depth: Annotated[
        int, typer.Option(min=0, metavar="N", help="Steps of the search for a run that breaks a fact.")
    ] = 16,
    seconds: Annotated[float, typer.Option(min=0, metavar="S", help="Time for that search, each fact.")] = 20.0,
) -> None:
    """Prove facts of the specification, for runs of any length.

    Without SYSTEM, every system. A failed proof is shown as one step, and a search looks for a real run to it.
    Exit code 0: everything holds; 1: something does not, or with --map a lemma is idle; 2: wrong use.

    Example: vtpmspec prove ring.no_request_is_lost --solver z3,cvc5
    """
    specs, facts = chosen(target, variant)
    request = work.Request(specs, facts, _solvers(solver), jobs, _share(share), cache)
    try:
        _prove(request, map_=map_, smtlib=smtlib, itf=itf, junit=junit, sarif=sarif, as_json=as_json,
               depth=depth, seconds=seconds)  # fmt: skip
    except (EngineError, SymbolicError) as error:
        typer.echo(f"vtpmspec: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    except OSError as error:
        raise wrong_use(f"{error.filename}: {error.strerror}") from None


def _prove(
    request: work.Request, *, map_: bool, smtlib: Path | None, itf: Path | None, junit: Path | None, sarif: Path | None,
    as_json: bool, depth: int, seconds: float,
) -> None:  # fmt: skip
    from vtpm_proofs.report import formats

    found = work.gather(request)
    if smtlib is not None:
        number = work.export(request, smtlib)
        typer.echo(f"{number} SMT-LIB 2 files in {smtlib}", err=True)
    if junit is not None:
        junit.write_text(formats.junit(found), encoding="utf-8")
    if sarif is not None:
        sarif.write_text(formats.sarif(found), encoding="utf-8")
    maps = _maps(request) if map_ else []
    runs = list(_runs(found, depth, seconds))
    if itf is not None:
        _write_itf(itf, found, runs)
    if as_json:
        document = formats.document(found)
        document["runs"] = [_run_document(*one) for one in runs]
        document["maps"] = [_map_document(one) for one in maps]
        typer.echo(json.dumps(document, indent=1))
    else:
        _show(found, maps, runs)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in formats.github(found):
            typer.echo(line, err=as_json)
    if found.failed or any(one.idle_lemmas or one.undecided for one in maps):
        raise typer.Exit(FALLS_SHORT)


def _show(found: work.Evidence, maps: list[Any], runs: list[Any]) -> None:
    from vtpm_proofs.report import console as report

    out = report.console()
    out.print(report.summary(found))
    if found.request.facts is not None:
        out.print()
        out.print(report.obligations(found.results))
    for line in report.failures(found.failed):
        out.print(line, markup=False)
    for _, fact, search in runs:
        out.print("\n".join(report.run_lines(fact, search)), markup=False)
    for one in maps:
        out.print("\n".join(report.map_lines(one)), markup=False)
    for result, cost, known in found.request.limits.drifted(found.results):
        out.print(f"dearer than recorded: {result.obligation.name} cost {cost}, recorded {known}", markup=False)
    number, failed = len(found.results), len(found.failed)
    told = f"{number} obligations hold" if not failed else f"{failed} of {number} obligations do not hold"
    out.print(f"{told}, {found.seconds:.1f} s")


def _solvers(names: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in found if name not in solvers.SOLVERS]
    if unknown or not found:
        raise wrong_use(f"--solver {names!r}: choose from {', '.join(solvers.SOLVERS)}, joined by commas")
    missing = [name for name in found if solvers.version(name) is None]
    if missing:
        package = solvers.SOLVERS[missing[0]][1]
        raise wrong_use(f"--solver {names!r}: {missing[0]} is not installed; install the package {package!r}")
    return found


def _share(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    part, whole = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= whole:
        raise wrong_use(f"--slice {text!r}: write I/N with 1 <= I <= N, such as 1/2")
    return part, whole


def _maps(request: work.Request) -> list[Any]:
    from vtpm_proofs.cores import carry

    return [carry(spec, request.facts) for spec in request.specs]


def _runs(found: work.Evidence, depth: int, seconds: float) -> Iterator[tuple[Spec[Any], str, Any]]:
    """A search for a real run to every fact that failed; for a claim of liveness, into a loop that is fair."""
    if not found.failed or not depth or not seconds:
        return
    from vtpm_proofs.bounded import search
    from vtpm_proofs.lasso import lasso

    for proof in found.proofs:
        claims = {claim.name: claim for claim in proof.spec.liveness}
        for fact in dict.fromkeys(result.obligation.fact for result in proof.failed):
            if fact in claims:
                yield proof.spec, fact, lasso(proof.spec, claims[fact], depth=depth, seconds=seconds)
            else:
                yield proof.spec, fact, search(proof.spec, fact, depth=depth, seconds=seconds)


def _run_document(spec: Spec[Any], fact: str, search: Any) -> dict[str, Any]:
    from vtpm_proofs.report.text import plain

    steps = None
    if search.run is not None:
        steps = [
            {"action": step.name, "picks": {name: plain(value) for name, value in step.picks.items()}}
            for step, _ in search.run.steps
        ]
    loop = None if search.run is None else search.run.loop
    return {"system": spec.name, "fact": fact, "searched": search.depth, "run": steps, "loop": loop}


def _map_document(found: Any) -> dict[str, Any]:
    return {
        "system": found.spec.name,
        "facts": {
            name: {"lemmas": sorted(one.lemmas), "guards": [str(guard) for guard in sorted(one.guards)]}
            for name, one in found.facts.items()
        },
        "idle_lemmas": found.idle_lemmas,
        "idle_guards": [str(guard) for guard in found.idle_guards],
        "undecided": list(found.undecided),
    }


def _write_itf(folder: Path, found: work.Evidence, runs: list[tuple[Spec[Any], str, Any]]) -> None:
    from vtpm_proofs.report.traces import of_run, of_step
    from vtpm_traces import itf

    folder.mkdir(parents=True, exist_ok=True)
    for proof in found.proofs:
        for result in _with_steps(proof.failed):
            text = json.dumps(of_step(proof.spec, result), indent=1)
            (folder / f"{result.obligation.name}.itf.json").write_text(text + "\n", encoding="utf-8")
    for spec, fact, search in runs:
        if search.run is not None:
            itf.write(folder / f"{spec.name}.run.{fact}.itf.json", of_run(spec, fact, search.run), spec)


def _with_steps(results: list[Result]) -> Iterator[Result]:
    for result in results:
        found = result.counterexample
        if found is not None and found.after is not None and result.obligation.fact != SORTS:
            yield result
