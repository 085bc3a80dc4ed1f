"""A whole run of the prover: many systems, several processes, a share of the work, and what was shown before."""

from __future__ import annotations

import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vtpm_model.core import Spec
from vtpm_proofs import cache, solvers
from vtpm_proofs.induction import Bench, Task, initial, tasks, tasks_of_claims
from vtpm_proofs.limits import Limits
from vtpm_proofs.obligation import HOLDS, Answer, Obligation, Result
from vtpm_proofs.system import System

INIT, CLAIMS = "init", "claims"

KEPT: Final = 50_000
"""A cache of so many questions of one system holds mostly old ones, and begins anew."""


@dataclass(frozen=True)
class Request:
    """What is to be proved, and how.

    `facts` narrows what is asked, None asks everything. `share` (i, n) takes the i-th of n shares, counted from one.
    """

    specs: tuple[Spec[Any], ...]
    facts: frozenset[str] | None = None
    solvers: tuple[str, ...] = ("z3",)
    jobs: int = 1
    share: tuple[int, int] | None = None
    cache: bool = True
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Proof:
    """What became of one system."""

    spec: Spec[Any]
    results: tuple[Result, ...]
    seconds: float
    known: bool = False  # the whole of it was shown before, from the same sources, by the same solvers

    @property
    def failed(self) -> list[Result]:
        """What does not hold, or is not known to."""
        return [result for result in self.results if result.verdict != HOLDS]


@dataclass(frozen=True)
class Evidence:
    """What became of a request."""

    request: Request
    proofs: tuple[Proof, ...]
    seconds: float

    @property
    def failed(self) -> list[Result]:
        """Whatever does not hold."""
        return [result for proof in self.proofs for result in proof.failed]

    @property
    def results(self) -> list[Result]:
        """Every obligation of every system."""
        return [result for proof in self.proofs for result in proof.results]


def gather(request: Request) -> Evidence:
    """Prove everything that is requested. Raises EngineError, and SymbolicError for a model that cannot be read."""
    begun = time.perf_counter()
    known = {spec.name: found for spec in request.specs if (found := _recall(spec, request)) is not None}
    pending = [spec for spec in request.specs if spec.name not in known]
    proved = {proof.spec.name: proof for proof in _prove(pending, request)}
    proofs = tuple(known.get(spec.name) or proved[spec.name] for spec in request.specs)
    return Evidence(request, proofs, time.perf_counter() - begun)


# -------------------------------------------------------------------------------------------------------------- work


@dataclass(frozen=True)
class _Unit:
    """A part of the work. Each starts its solvers afresh, so that what it costs hardly depends on where it is done."""

    spec: int
    what: str  # INIT, CLAIMS, or "action " and its name


def _units(specs: Sequence[Spec[Any]], share: tuple[int, int] | None) -> list[_Unit]:
    every = [
        _Unit(at, what)
        for at, spec in enumerate(specs)
        for what in (INIT, *(f"action {action.name}" for action in spec.actions), CLAIMS)
    ]
    return every if share is None else every[share[0] - 1 :: share[1]]


def unit_tasks(system: System, what: str, facts: Collection[str] | None) -> Iterator[Task]:
    """The obligations of a unit that take more than running the initial state."""
    if what == CLAIMS:
        return tasks_of_claims(system, facts)
    return tasks(system, what.removeprefix("action "), facts)


class _Workshop:
    """What a process needs to do units: the systems, made once."""

    def __init__(self, specs: Sequence[Spec[Any]], request: Request) -> None:
        self.request = request
        self.systems = [System(spec, _settled(spec) if request.cache else None) for spec in specs]

    def do(self, unit: _Unit) -> tuple[list[Result], float, dict[str, int]]:
        """The unit's results, the seconds it took, and the questions that it settled."""
        begun = time.perf_counter()
        system = self.systems[unit.spec]
        request = self.request
        if unit.what == INIT:
            results = initial(system.spec, request.facts)
        else:
            bench = Bench(system, request.solvers, request.limits)
            results = [bench.discharge(task) for task in unit_tasks(system, unit.what, request.facts)]
        settled = system.settled.used | system.settled.fresh
        return results, time.perf_counter() - begun, settled


_workshop: _Workshop | None = None


def _do(unit: _Unit) -> tuple[list[Result], float, dict[str, int]]:
    assert _workshop is not None
    return _workshop.do(unit)


def _prove(specs: Sequence[Spec[Any]], request: Request) -> Iterator[Proof]:
    global _workshop
    if not specs:
        return
    units = _units(specs, request.share)
    _workshop = _Workshop(specs, request)
    try:
        # Solvers do not survive a fork, so none is started before: children share what was read, and nothing else.
        if request.jobs > 1 and sys.platform != "win32":
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(min(request.jobs, len(units) or 1), mp_context=context) as pool:
                done = list(pool.map(_do, units, chunksize=4))
        else:
            done = [_do(unit) for unit in units]
    finally:
        _workshop = None
    for at, spec in enumerate(specs):
        mine = [found for unit, found in zip(units, done, strict=True) if unit.spec == at]
        results = tuple(result for found, _, _ in mine for result in found)
        settled = {key: cost for _, _, keys in mine for key, cost in keys.items()}
        proof = Proof(spec, results, sum(seconds for _, seconds, _ in mine))
        if request.cache:
            _remember(proof, request, settled)
        yield proof


def export(request: Request, folder: Path) -> int:
    """Write every obligation that takes a proof as an SMT-LIB 2 file named after it; gives their number.

    The files hold the claims as they are, without the rewriting that makes many of them trivial.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for spec in request.specs:
        system = System(spec)
        for unit in _units((spec,), request.share):
            for task in () if unit.what == INIT else unit_tasks(system, unit.what, request.facts):
                if task.claim not in system.assumed and task.claim.op != "const":
                    conditions = () if task.way is None else task.way.asked
                    text = solvers.smtlib(task.obligation.name, (*system.hypotheses, *conditions), task.claim)
                    (folder / f"{task.obligation.name}.smt2").write_text(text, encoding="utf-8")
                    number += 1
    return number


# -------------------------------------------------------------------------------------------------- what was shown


def _file(kind: str, spec: Spec[Any]) -> str:
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.+_-]', '_', spec.name)}"


def _whole(request: Request) -> str:
    return "-".join(("system", *request.solvers))


def _settled(spec: Spec[Any]) -> cache.Settled:
    kept = cache.read(_file("questions", spec)).get("unsat")
    return cache.Settled(kept if isinstance(kept, dict) else {})


def _functions(spec: Spec[Any]) -> Iterator[Callable[..., Any]]:
    yield spec.init
    yield from (action.run for action in spec.actions)
    yield from (fact.holds for fact in (*spec.facts, *spec.lemmas))
    for claim in spec.liveness:
        yield from (claim.pending, claim.helpful, claim.rank)


def _key(spec: Spec[Any], request: Request) -> str | None:
    """A name for everything that a proof of the whole system depends on; None if it is not all in files."""
    files: set[Path] = set(Path(__file__).parent.rglob("*.py"))
    for module in {function.__module__ for function in _functions(spec)}:
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None:
            return None
        package = sys.modules[module].__package__
        files |= set(Path(file).parent.rglob("*.py")) if package else {Path(file)}
    versions = [f"{name} {solvers.version(name)}" for name in request.solvers]
    return cache.digest((spec.name, *versions, cache.sources(files)))


def _recall(spec: Spec[Any], request: Request) -> Proof | None:
    """The proof of the whole system, if it was made before from the same sources by the same solvers."""
    if not request.cache or request.share is not None:
        return None
    begun = time.perf_counter()
    kept = cache.read(_file(_whole(request), spec))
    key = _key(spec, request)
    if key is None or kept.get("key") != key:
        return None
    results = [
        Result(
            Obligation(spec.name, action, path, fact, method, part),
            tuple(
                Answer(solver, HOLDS, how if how in ("run", "rewriting") else "cache", cost)
                for solver, how, cost in answers
            ),
        )
        for action, path, fact, method, part, answers in kept["results"]
        if request.facts is None or fact in request.facts
    ]
    return Proof(spec, tuple(results), time.perf_counter() - begun, known=True)


def _remember(proof: Proof, request: Request, settled: dict[str, int]) -> None:
    before = _settled(proof.spec).before
    cache.write(_file("questions", proof.spec), {"unsat": (before if len(before) < KEPT else {}) | settled})
    key = _key(proof.spec, request)
    if key is None or proof.failed or request.facts is not None or request.share is not None:
        return
    rows = [
        [o.action, o.path, o.fact, o.method, o.part, [[a.solver, _origin(a), a.cost] for a in result.answers]]
        for result in proof.results
        for o in (result.obligation,)
    ]
    cache.write(_file(_whole(request), proof.spec), {"key": key, "results": rows})


def _origin(answer: Answer) -> str:
    return answer.how if answer.how in ("run", "rewriting") else "query"
