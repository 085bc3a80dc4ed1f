"""`vtpmspec verify`: every question that the other commands ask, in one run that ends in one screen."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use
from vtpm_proofs.parts import Ended, Outcome, Part, Report, run_parts

SCHEMA: Final = "vtpmspec/verify/1"

TAIL: Final = 25
"""Lines of a command's own words that are repeated when it falls short."""


@dataclass(frozen=True)
class Command:
    """Asks a question by running a sub-command of vtpmspec in a process of its own.

    `figures` takes what is worth counting from the JSON that the sub-command prints.
    """

    words: tuple[str, ...]
    figures: Callable[[Any], Mapping[str, int]]

    @property
    def line(self) -> str:
        """What somebody would type to ask the same."""
        return " ".join(("vtpmspec", *self.words))

    def __call__(self, report: Report) -> Outcome:
        """Run it. Whatever is neither `holds` nor `falls short`, or no JSON, is a shortfall, too."""
        complaints = []
        command = [sys.executable, "-m", "vtpm_proofs.cli", *self.words, "--json"]
        with tempfile.TemporaryFile("w+") as printed:
            with subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    complaints.append(line.rstrip())
                    report(complaints[-1])
            printed.seek(0)
            said = printed.read()
        if process.returncode not in (0, FALLS_SHORT):
            return Outcome(shortfalls=(_told(f"`{self.line}` ended with code {process.returncode}", complaints),))
        try:
            figures = dict(self.figures(json.loads(said)))
        except (ValueError, LookupError, TypeError) as error:
            return Outcome(shortfalls=(_told(f"`{self.line}` printed JSON of another shape: {error!r}", complaints),))
        if process.returncode == FALLS_SHORT:
            return Outcome(figures, (_told(f"run `{self.line}` to see what falls short", complaints),))
        return Outcome(figures)


def _told(sentence: str, complaints: list[str]) -> str:
    return "\n".join([sentence, *complaints[-TAIL:]])


# ------------------------------------------------------------------------------------------------ what is counted


def _proved(document: Any) -> dict[str, int]:
    """Facts and lemmas count once for each system that they are proved in; obligations by method and by solver."""
    from vtpm_model.catalog import SYSTEMS

    specs = [SYSTEMS[system["name"]] for system in document["systems"]]
    obligations = [one for system in document["systems"] for one in system["obligations"]]
    methods = Counter(one["method"] for one in obligations)
    queries = Counter(answer["solver"] for one in obligations for answer in one["answers"] if answer["how"] == "query")
    return {
        "systems": len(specs),
        "facts": sum(len(spec.facts) + len(spec.liveness) for spec in specs),
        "lemmas": sum(len(spec.lemmas) for spec in specs),
        "obligations": len(obligations),
        **{f"by {method}": number for method, number in methods.items()},
        **{f"asked of {solver}": number for solver, number in queries.items()},
    }


def _cited(document: Any) -> dict[str, int]:
    return {"citations": len(document["citations"]), "uncited": len(document["uncited"])}


def _reproduced(document: Any) -> dict[str, int]:
    rows = document["rows"]
    return {
        "defects": sum(bool(row["fails"]) for row in rows),
        "situations": sum(not row["fails"] for row in rows),
        "steps of the longest": max(row["steps"] for row in rows),
    }


def _searched(document: Any) -> dict[str, int]:
    systems = document["systems"]
    return {
        "systems": len(systems),
        "states": sum(one["states"] for one in systems),
        "edges": sum(one["edges"] for one in systems),
        "searched whole": sum(one["exhausted"] for one in systems),
        "to a depth": sum(not one["exhausted"] for one in systems),
        "facts proved again by Spacer": sum(one["verdict"] == "safe" for one in document["second_proofs"]),
    }


def _noticed(document: Any) -> dict[str, int]:
    alone = sum(bool(fact["kills_alone"] or fact["derived_from"]) for fact in document["facts"])
    return {
        "mutants": len(document["mutants"]),
        **{f"by {fate}": int(number) for fate, number in document["fates"].items()},
        "of which no run tells": document["seen_in_no_run"],
        "facts that alone kill one or are derived": alone,
        "facts": len(document["facts"]),
    }


def _pinned(document: Any) -> dict[str, int]:
    return {f"in {folder}/": number for folder, number in document["traces"].items()}


def witnesses(report: Report) -> Outcome:
    """Find a run that takes each path of each action."""
    from vtpm_model.catalog import SYSTEMS
    from vtpm_proofs import reach

    found: list[reach.Witness] = []
    for spec in SYSTEMS.values():
        report(spec.name)
        found += reach.witnesses(spec)
    reasons = reach.explained()
    figures = {
        "paths": len(found),
        "witnesses": sum(one.run is not None for one in found),
        "explained": sum(one.run is None and one.id in reasons for one in found),
    }
    return Outcome(figures, tuple(reach.complaints(found)))


def readings(report: Report) -> Outcome:
    """Hold the symbolic reading of every system against plain runs of it."""
    from vtpm_model.catalog import SYSTEMS
    from vtpm_proofs.readings import compare

    figures: Counter[str] = Counter()
    shortfalls: list[str] = []
    for spec in SYSTEMS.values():
        report(spec.name)
        found = compare(spec)
        figures.update({"comparisons": sum(found.counts.values()), "paths": found.paths})
        shortfalls += found.differences
        shortfalls += [f"{spec.name}: no state was found that takes the path {label}" for label in found.unmet]
    return Outcome(figures, tuple(shortfalls))


def mini_os(_: Report) -> Outcome:
    """Judge every kept recording of mini-os' backend and frontend anew, and compare with the kept table."""
    from vtpm_traces.recordings.judged import check_recordings

    checked = check_recordings()
    return Outcome(checked.figures, checked.shortfalls)


def tis(_: Report) -> Outcome:
    """Judge every kept recording of a TPM's registers anew, and compare with the kept table."""
    from vtpm_traces.recordings.tis_verdict import check_recordings

    checked = check_recordings()
    return Outcome(checked.figures, checked.shortfalls)


def linux(_: Report) -> Outcome:
    """Judge every kept recording of Linux on real Xen anew, and compare with the kept table."""
    from vtpm_traces.recordings.xen_verdict import check_recordings

    checked = check_recordings()
    return Outcome(checked.figures, checked.shortfalls)


def xen(_: Report) -> Outcome:
    """Judge every kept recording of our own backend on real Xen anew, and compare with the kept table."""
    from vtpm_traces.recordings.xen_verdict import check_recordings

    checked = check_recordings("xen")
    return Outcome(checked.figures, checked.shortfalls)


def driven_linux(_: Report) -> Outcome:
    """Judge every run in which scripts drove Linux' frontend on real Xen anew."""
    from vtpm_traces.conform.linux_campaign import check_recording

    checked = check_recording()
    return Outcome(checked.figures, checked.shortfalls)


def teeth(_: Report) -> Outcome:
    """Spoil a sample of the lines of real recordings anew, and compare with the kept table of what was noticed."""
    from vtpm_traces.recordings.xen_bites_kept import check_teeth

    checked = check_teeth()
    return Outcome(checked.figures, checked.shortfalls)


RANDOM_RUNS: Final = 30
"""Of each end, in a verification; `make soak` plays more."""


PATIENCE: Final = 20.0
"""Seconds for a line of our own TIS driver, on a machine that does other things, too."""


def conform(report: Report) -> Outcome:
    """Play kept and random runs to our own frontend, backend and TIS driver, as subjects like any other."""
    from vtpm_traces.conform.campaign import Campaign
    from vtpm_traces.conform.tis_campaign import DriverCampaign
    from vtpm_traces.conform.trial import Trial, Verdict

    figures: Counter[str] = Counter()
    shortfalls: list[str] = []
    campaigns: dict[str, Trial[Any]] = {
        "tis-driver": DriverCampaign(["vtpm", "sut", "tis-driver"], runs=RANDOM_RUNS, patience=PATIENCE),
        "backend": Campaign(["vtpm", "sut", "backend"], runs=RANDOM_RUNS),
        "frontend": Campaign(["vtpm", "sut", "frontend"], runs=RANDOM_RUNS),
    }
    for end, campaign in campaigns.items():
        for one in campaign.play():
            report(f"{end}: {one.run}")
            figures.update({f"{end} runs": 1, one.verdict.value: 1})
            if one.verdict is not Verdict.SUCCESS:
                shortfalls.append(f"vtpm sut {end}: {one.run}: {one.verdict.value}: {one.sentence}")
    return Outcome(figures, tuple(shortfalls))


PARTS: Final = (
    Part("mutants", "is every mutant of the model noticed?", Command(("mutants", "--jobs", "1"), _noticed)),
    Part(
        "prove",
        "does every fact hold in every run, by Z3 and by cvc5?",
        Command(("prove", "--solver", "z3,cvc5", "--no-cache", "--map"), _proved),
    ),
    Part(
        "explore",
        "do searches of bounded instances meet the recorded number of states, and no broken fact; and Spacer agree?",
        Command(("explore", "--quick", "--jobs", "1"), _searched),
    ),
    Part("witnesses", "does some run take each path of each action?", witnesses),
    Part("readings", "do the formulas say what the model does?", readings),
    Part("defects", "does each known mistake break the fact that it should?", Command(("defects",), _reproduced)),
    Part("linux", "are the recordings of Linux on Xen judged as the table says, each of them explained?", linux),
    Part("xen", "are the recordings of our own backend on Xen runs of the specification, as the table says?", xen),
    Part("driven-linux", "does Linux' frontend, driven by scripts on Xen, deviate only as is known?", driven_linux),
    Part("teeth", "are spoilt recordings of Linux noticed as the table says?", teeth),
    Part("traces", "do the kept traces tell the model from all its mutants?", Command(("trace", "pin"), _pinned)),
    Part("tis", "are recordings of a TPM's registers judged as the table says, each refusal explained?", tis),
    Part("mini-os", "are mini-os' recordings judged as the table says, each refusal explained?", mini_os),
    Part(
        "conform",
        "do our frontend, backend and TIS driver do what the specification allows, and all that it asks?",
        conform,
    ),
    Part("cite", "does every action and every fact name its source?", Command(("cite",), _cited)),
)
"""The questions, those that take longest first."""


# ------------------------------------------------------------------------------------------------------ the command


def verify(
    parts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PART]...", help="Which parts to ask; all of them if left out."),
    ] = None,
    *,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Parts asked at the same time.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Ask everything: proofs, searches, mutants, traces, recordings, citations.

    How far it is goes to the error output, the table at the end to the output.
    Exit code 0: everything holds; 1: something falls short; 2: wrong use.

    Example: vtpmspec verify prove cite
    """
    known = {part.name: part for part in PARTS}
    unknown = [name for name in parts or () if name not in known]
    if unknown:
        raise wrong_use(f"no part is called {unknown[0]!r}; there are {', '.join(known)}")
    asked = [part for part in PARTS if not parts or part.name in parts]
    began = time.monotonic()

    def report(line: str) -> None:
        typer.echo(f"[{time.monotonic() - began:4.0f} s] {line}", err=True)

    ended = run_parts(asked, jobs, report)
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps(_document(ended, seconds), indent=1))
    else:
        _show(ended, seconds)
    if not all(one.outcome.holds for one in ended):
        raise typer.Exit(FALLS_SHORT)


def _document(ended: Sequence[Ended], seconds: float) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "holds": all(one.outcome.holds for one in ended),
        "seconds": round(seconds, 3),
        "parts": [
            {
                "name": one.part.name,
                "question": one.part.question,
                "holds": one.outcome.holds,
                "figures": dict(one.outcome.figures),
                "shortfalls": list(one.outcome.shortfalls),
                "seconds": round(one.seconds, 3),
                "processor_seconds": round(one.processor_seconds, 3),
            }
            for one in ended
        ],
    }


def _show(ended: Sequence[Ended], seconds: float) -> None:
    from rich.table import Table

    from vtpm_proofs.report.console import console

    whole = sum(one.processor_seconds for one in ended) or 1.0
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("found")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    for one in ended:
        table.add_row(
            one.part.name,
            ", ".join(f"{number} {name}" for name, number in one.outcome.figures.items()),
            f"{one.seconds:.1f}",
            f"{one.processor_seconds / whole:.0%}",
            "holds" if one.outcome.holds else "[bold red]falls short[/]",
        )
    out = console()
    out.print()
    out.print(table)
    short = [one.part.name for one in ended if not one.outcome.holds]
    told = "everything that was asked holds"
    if short:
        told = f"{len(short)} of {len(ended)} parts fall short: {', '.join(short)}"
    out.print(f"{told}, {seconds:.0f} s")
