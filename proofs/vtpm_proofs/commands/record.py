"""`vtpmspec record`: everything that is kept about a model, made anew after the model has changed."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import typer

from vtpm_model.core import Spec
from vtpm_proofs.commands.systems import FALLS_SHORT, chosen, wrong_use


class Kept(Enum):
    """What is kept of a system."""

    COSTS = "costs"
    STATES = "states"
    SECOND = "second"
    PINS = "pins"
    KILLS = "kills"


def record(
    target: Annotated[
        str | None, typer.Argument(metavar="[SYSTEM]", help="Of which system; of every one if left out.")
    ] = None,
    *,
    only: Annotated[Kept | None, typer.Option(help="Make nothing else anew.")] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Use neither kept traces nor what killed a mutant before.")
    ] = False,
) -> None:
    """After a change of the model: keep what its proofs cost, how many states it has, which facts Spacer proves again
    at once, the traces that pin it, and what kills its mutants.

    Nothing is kept of proofs or searches that do not hold. What is kept is data, in proofs/vtpm_proofs/data and
    traces/{accept,reject}: read what git says has changed in it before you commit it.
    Exit code 0: all is kept, and holds; 1: something falls short, which is then named; 2: wrong use.

    Example: vtpmspec record ring
    """
    specs, fact = chosen(target, None)
    if fact is not None:
        raise wrong_use(f"{target!r} names one fact; what is kept is of whole systems, so name the system")
    short = False
    for kept, make in MAKERS.items():
        if only in (None, kept):
            _say(f"{kept.value}: at work")
            complaints = make(specs, anew=anew)
            for complaint in complaints:
                typer.echo(complaint)
            _say(f"{kept.value}: {'fall short' if complaints else 'kept'}")
            short = short or bool(complaints)
            if complaints and kept in (Kept.COSTS, Kept.STATES):
                break  # a model that does not hold is to be mended first
    if short:
        raise typer.Exit(FALLS_SHORT)


Specs = tuple[Spec[Any], ...]


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _costs(specs: Specs, *, anew: bool) -> list[str]:
    from vtpm_model.catalog import SYSTEMS
    from vtpm_proofs import limits, solvers
    from vtpm_proofs.evidence import Request, gather

    found = gather(Request(specs, solvers=tuple(solvers.SOLVERS), cache=False, limits=limits.Limits({})))
    if not found.failed:
        limits.record(found.results, {name: str(solvers.version(name)) for name in solvers.SOLVERS}, SYSTEMS)
    return [f"{result.obligation.name} does not hold" for result in found.failed]


def _states(specs: Specs, *, anew: bool) -> list[str]:
    from vtpm_proofs import explore, searches

    found = list(searches.side_by_side(specs, 1, compare=False))
    explore.record({one.system: one.count for one in found if one.holds})
    broken = [f"{one.system}: {violation.fact} is broken" for one in found for violation in one.violations]
    return broken + [complaint for one in found for complaint in one.complaints]


def _second(specs: Specs, *, anew: bool) -> list[str]:
    from vtpm_model.catalog import SYSTEMS
    from vtpm_proofs import spacer

    found = [proof for spec in specs for proof in spacer.prove_again(spec, limit=spacer.AT_ONCE, everything=True)]
    safe = [proof.name for proof in found if proof.verdict == spacer.SAFE]
    spacer.record_quick(safe, [spec.name for spec in specs], SYSTEMS)
    _say(f"{len(safe)} of {len(found)} facts are proved again at once")
    return [f"{proof.name}: {proof.reason}" for proof in found if proof.verdict == spacer.UNSAFE]


def _pins(specs: Specs, *, anew: bool) -> list[str]:
    from vtpm_model.catalog import SYSTEMS
    from vtpm_proofs import pins
    from vtpm_proofs.campaign import reasons, unseen
    from vtpm_traces.schema import data

    kept = [] if anew else list(pins.readable(data(), SYSTEMS))
    made = pins.make(SYSTEMS, kept, {*reasons(), *unseen()}, _say)
    written, removed = pins.write(made, SYSTEMS, data())
    _say(f"{written} traces kept, {removed} removed")
    return [f"no trace pins {pin}" for pin in made.unpinned]


def _kills(specs: Specs, *, anew: bool) -> list[str]:
    from vtpm_model.catalog import SYSTEMS, VARIANTS
    from vtpm_proofs import campaign, kills, pins
    from vtpm_traces.schema import data

    names = [spec.name for spec in specs]
    before = kills.Kills() if anew else kills.read()
    traces = pins.by_mutant(data(), SYSTEMS)
    found = campaign.run(SYSTEMS, VARIANTS, of=names, kills=before, pinned=traces, jobs=1, say=_say)
    kills.record(found.kills(), names, SYSTEMS)
    return found.complaints


MAKERS: dict[Kept, Callable[..., list[str]]] = {
    Kept.COSTS: _costs,
    Kept.STATES: _states,
    Kept.SECOND: _second,
    Kept.PINS: _pins,
    Kept.KILLS: _kills,
}
"""In this order: a mutant that a trace kills is known by the kept traces."""
