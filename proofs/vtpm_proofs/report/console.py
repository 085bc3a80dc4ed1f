"""Evidence for a person: one table, then every failure as a step, then what was found besides."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from vtpm_proofs.bounded import Run, Search
from vtpm_proofs.cores import Map, own_facts
from vtpm_proofs.evidence import Evidence, Proof
from vtpm_proofs.obligation import HOLDS, Result
from vtpm_proofs.report.text import changed, plain, step_lines

SHOWN = 12
"""So many failures are shown in full; the rest are named."""


def console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough for a log."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 120
    return Console(width=width, highlight=False, soft_wrap=True)


def summary(evidence: Evidence) -> Table:
    """A row a system: how many obligations, how each came to be shown, the dearest."""
    names = evidence.request.solvers
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("system")
    for title in ("facts", "lemmas", "obligations", "run", "rewritten", *names, "cached", "dearest", "seconds"):
        table.add_column(title, justify="right")
    table.add_column("")
    for proof in evidence.proofs:
        table.add_row(*_row(proof, names))
    return table


def _row(proof: Proof, names: Iterable[str]) -> list[str]:
    spec, results = proof.spec, proof.results
    answers = [answer for result in results for answer in result.answers]
    asked = [sum(a.solver == name and a.how in ("query", "again") for a in answers) for name in names]
    first = next(iter(names))
    dearest = max((a.cost for a in answers if a.solver == first), default=0)
    failed = len(proof.failed)
    return [
        spec.name,
        str(len(spec.facts) + len(spec.liveness)),
        str(len(spec.lemmas)),
        str(len(results)),
        str(sum(result.obligation.method == "init" for result in results)),
        str(sum(result.trivial for result in results)),
        *map(str, asked),
        str(sum(any(a.how == "cache" for a in result.answers) for result in results)),
        str(dearest),
        f"{proof.seconds:.2f}",
        "[green]holds[/]" if not failed else f"[red]{failed} fall short[/]",
    ]


def obligations(results: Iterable[Result]) -> Table:
    """A row an obligation: its name, verdict, and each solver's way to it and cost."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("obligation", overflow="fold")
    table.add_column("verdict")
    table.add_column("shown by")
    for result in results:
        ways = ", ".join(f"{a.solver} {a.cost}" if a.cost else f"{a.solver} ({a.how})" for a in result.answers)
        colour = "green" if result.verdict == HOLDS else "red"
        table.add_row(result.obligation.name, f"[{colour}]{result.verdict}[/]", ways)
    return table


def failures(failed: list[Result]) -> list[str]:
    """Each failing fact on the first path of each action that breaks it; beyond `SHOWN`, names only."""
    first: dict[tuple[str, str, str], Result] = {}
    for result in failed:
        one = result.obligation
        first.setdefault((one.system, one.fact, one.action), result)
    lines: list[str] = []
    for at, result in enumerate(first.values()):
        if at < SHOWN:
            lines += [*step_lines(result), ""]
        else:
            lines.append(f"also {result.verdict}: {result.obligation.name}")
    return lines


def run_lines(fact: str, search: Search) -> list[str]:
    """A real run that breaks a fact, or how far the search for one went."""
    if search.run is None and search.loops:
        return [
            f"{fact}: no run of up to {search.depth} steps comes back to a state so that it may stay pending for ever"
        ]
    if search.run is None:
        return [
            f"{fact}: no run of up to {search.depth} steps breaks it; if the state before cannot be reached,"
            " a lemma that says so is missing"
        ]
    steps = len(search.run.steps)
    if search.run.loop is None:
        return [f"{fact}: a run of {steps} steps from the initial state breaks it", *_steps(search.run)]
    round_ = steps - search.run.loop
    told = f"{fact}: a run of {steps} steps, the last {round_} of which repeat for ever, fairly, and it stays pending"
    return [told, *_steps(search.run)]


def _steps(run: Run) -> list[str]:
    lines = []
    before = run.start
    for at, (step, after) in enumerate(run.steps, 1):
        picks = ", ".join(f"{name}={plain(value)}" for name, value in step.picks.items())
        lines.append(f"  {at:>2} {step.name}({picks})")
        lines += [f"       {name:<30} {old} -> {new}" for name, old, new in changed(before, after)]
        before = after
    return lines


def map_lines(found: Map) -> list[str]:
    """What carries each fact, what is idle, and which proofs are missing."""
    lines = [f"{found.spec.name}: what carries each fact"]
    for name in (*own_facts(found.spec), *(one.name for one in found.spec.lemmas)):
        carried = found.facts.get(name)
        if carried is not None:
            rests = ", ".join(sorted(carried.lemmas)) or "nothing but its own step"
            lines.append(f"  {name}  <-  {rests}")
            lines += [f"      {guard}" for guard in sorted(carried.guards)]
    lines += [f"  guard that no proof needs: {guard}" for guard in found.idle_guards]
    lines += [f"  LEMMA THAT NO FACT RESTS ON: {name}" for name in found.idle_lemmas]
    lines += [f"  does not hold, so nothing carries it: {name}" for name in found.undecided]
    return lines
