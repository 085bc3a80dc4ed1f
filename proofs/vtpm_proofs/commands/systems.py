"""Which systems a command line means."""

from __future__ import annotations

from typing import Any

import typer

from vtpm_model.core import Spec
from vtpm_proofs.obligation import SORTS

WRONG_USE = 2
FALLS_SHORT = 1


def wrong_use(sentence: str) -> typer.Exit:
    """Say what is wrong with the command line, and end with code 2."""
    typer.echo(f"vtpmspec: {sentence}", err=True)
    return typer.Exit(WRONG_USE)


def fact_names(spec: Spec[Any]) -> list[str]:
    """Whatever can be proved of a specification, by name."""
    facts = [one.name for one in (*spec.facts, *spec.lemmas)]
    return [*facts, *(claim.name for claim in spec.liveness), SORTS]


def chosen(target: str | None, variant: str | None) -> tuple[tuple[Spec[Any], ...], frozenset[str] | None]:
    """The specifications that SYSTEM[.FACT] and --variant mean, and the fact if one was named."""
    if variant is not None:
        return _of_variant(target, variant)
    from vtpm_model.catalog import SYSTEMS

    if target is None:
        return tuple(SYSTEMS.values()), None
    if target in SYSTEMS:
        return (SYSTEMS[target],), None
    name, _, fact = target.rpartition(".")
    if name not in SYSTEMS:
        raise wrong_use(f"no system is called {target!r}; there are {_listed(SYSTEMS)}, and SYSTEM.FACT names one fact")
    if fact not in fact_names(SYSTEMS[name]):
        raise wrong_use(f"{name} has no fact {fact!r}; it has {_listed(fact_names(SYSTEMS[name]))}")
    return (SYSTEMS[name],), frozenset((fact,))


def _of_variant(target: str | None, variant: str) -> tuple[tuple[Spec[Any], ...], frozenset[str] | None]:
    from vtpm_model import catalog

    try:
        spec = catalog.variant(variant)
    except KeyError as error:
        raise wrong_use(str(error.args[0])) from None
    names = (spec.name.partition("+")[0], spec.name, variant)
    if target is None or target in names:
        return (spec,), None
    for fact in fact_names(spec):
        if target in (fact, *(f"{name}.{fact}" for name in names)):
            return (spec,), frozenset((fact,))
    raise wrong_use(f"{target!r} is neither {names[0]!r}, of which {spec.name!r} is a variant, nor one of its facts")


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
