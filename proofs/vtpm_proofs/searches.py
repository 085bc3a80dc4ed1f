"""Searches systems side by side: interpreted and by generated code, each against the other and against the record."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Spec
from vtpm_proofs import bounds as limits
from vtpm_proofs import explore
from vtpm_proofs.bounds import Bounds
from vtpm_proofs.explore import Violation
from vtpm_proofs.generated import Broken, Disagreement, comparison, translate


@dataclass(frozen=True)
class Searched:
    """What the searches of one system found. Rates are of the interpreted search with the comparison, and of the
    generated one alone, in states and in edges a second."""

    system: str
    count: Mapping[str, Any]
    seconds: float
    generated_seconds: float
    fallbacks: Mapping[str, str]
    violations: tuple[Violation, ...]
    complaints: tuple[str, ...]
    bounds: Bounds
    narrowed: Mapping[str, tuple[Any, ...]]  # picks of which it tries not all values

    @property
    def holds(self) -> bool:
        """Whether every claim held, both searches agreed, and the count is the one on record."""
        return not self.complaints and not self.violations

    @property
    def generated_rate(self) -> float:
        """States a second by generated code."""
        return float(self.count["states"]) / max(self.generated_seconds, 1e-9)

    @property
    def edge_rate(self) -> float:
        """Edges a second, interpreted and compared."""
        return float(self.count["edges"]) / max(self.seconds, 1e-9)


def searched(spec: Spec[Any], *, compare: bool = True) -> Searched:
    """Search one system both ways; `compare` its counts with those on record."""
    translation = translate(spec)
    within = translation.bounds, limits.narrowed(spec, translation.bounds)
    complaints: list[str] = []
    try:
        found, generated_seconds = translation.count()
    except Broken as broken:
        found, generated_seconds = {}, 0.0
        complaints.append(f"{spec.name}: the generated search breaks {', '.join(broken.names)}")
    watch = None if complaints else comparison(translation)
    try:
        atlas = explore.search(spec, watch=watch)
    except Disagreement as problem:
        return Searched(spec.name, found, 0.0, generated_seconds, translation.fallbacks, (), (str(problem),), *within)
    count = atlas.count()
    if found and not atlas.violations and found != count:
        complaints.append(f"{spec.name}: generated code counts {found}, the interpreted search {count}")
    said = explore.compare(spec.name, count) if compare and not atlas.violations else None
    complaints += [said] if said else []
    return Searched(
        spec.name, count, atlas.seconds, generated_seconds, translation.fallbacks, tuple(atlas.violations),
        tuple(complaints), *within,
    )  # fmt: skip


_specs: dict[str, Spec[Any]] = {}


def _searched(question: tuple[str, bool]) -> Searched:
    name, compare = question
    return searched(_specs[name], compare=compare)


def side_by_side(specs: Iterable[Spec[Any]], jobs: int, *, compare: bool = True) -> Iterator[Searched]:
    """Search systems in so many processes, results in the order given."""
    _specs.clear()
    _specs.update({spec.name: spec for spec in specs})
    questions = [(name, compare) for name in _specs]
    yield from in_processes(_searched, questions, jobs)


def in_processes(function: Callable[[Any], Any], arguments: list[Any], jobs: int) -> Iterator[Any]:
    """The function of each argument, in order; in processes forked from this one where there is more than one job."""
    if jobs <= 1 or len(arguments) <= 1:
        yield from map(function, arguments)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        yield from pool.map(function, arguments)
