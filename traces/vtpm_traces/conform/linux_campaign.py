"""A campaign against Linux' frontend on real Xen: kept scripts and random ones, and the verdicts on what was seen."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from vtpm_model.driven_linux import DRIVEN_LINUX
from vtpm_traces.conform import linux_script
from vtpm_traces.conform.deviations import Deviation
from vtpm_traces.conform.deviations import read as read_deviations
from vtpm_traces.conform.linux_draw import draw
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.trial import Ended, Verdict, counts, kept_script, kept_scripts, stale, wanted
from vtpm_traces.recordings.json_line import Unusable
from vtpm_traces.recordings.judged import Checked
from vtpm_traces.recordings.linux_runs import LinuxRun, Reading, read_runs
from vtpm_traces.schema import data
from vtpm_traces.search import Bounds, explain
from vtpm_traces.verdict import Outcome

END: Final = "linux"

APART: Final = "apart"
"""The kind of runs in a guest of their own, beside the others: what holds Linux up for minutes, or may break it.

That guest's kernel overwrites what it frees, so that a later use of it shows.
"""
BOUNDS: Final = Bounds(nodes=50_000, each=100)


def scripts(*, seed: int, runs: int, only: Sequence[str] = ()) -> list[Script]:
    """The scripts of a campaign, those of well-behaved peers first. Raises BadInput."""
    return [_script(name, seed) for name in wanted(kept_scripts(END, ("accept", "reject", APART)), runs, only)]


def _script(name: str, seed: int) -> Script:
    kind, _, number = name.partition("/")
    return draw(seed, int(number)) if kind == "random" else kept_script(END, name, linux_script.read)


def judge(run: LinuxRun, deviations: Sequence[Deviation], doc: str = "") -> Ended:
    """The verdict on a run: whether the model with Linux' frontend shows it, or where it breaks off."""
    began = time.monotonic()
    log = tuple(line.origin.text for line in run.lines)

    def ended(verdict: Verdict, sentence: str = "", known: Deviation | None = None) -> Ended:
        seconds = time.monotonic() - began
        return Ended(run.name, verdict, sentence, known, doc, run.script if sentence else (), log, seconds)

    if run.trouble.startswith("harness: "):
        return ended(Verdict.ERROR, run.trouble)
    try:
        verdict = explain(DRIVEN_LINUX, Reading(run).recording(), bounds=BOUNDS)
    except Unusable as why:
        return ended(Verdict.ERROR, f"the log cannot be read: {why}")
    vain = next((str(line.fields["vain"]) for line in run.lines if line.fields.get("vain")), "")
    if verdict.outcome is Outcome.REFUSED:
        stuck = verdict.stuck[0]
        own = [told for told in stuck.possible if told.startswith("frontend")]
        possible = f"; possible was: {', '.join(own)}" if own else ""
        sentence = f"{stuck.origin.text}{possible}"
    elif not verdict.accepted:
        return ended(Verdict.ERROR, f"{verdict.outcome.value}: {verdict.reason}")
    elif run.trouble:
        sentence = run.trouble
    elif vain and not run.name.startswith("random/"):  # what is drawn at random may expect too much
        return ended(Verdict.ERROR, f"the script waits for what need not come: {vain}")
    else:
        return ended(Verdict.SUCCESS)
    known = next((one for one in deviations if one.explains(run.name, sentence)), None)
    return ended(Verdict.SUCCESS if known else Verdict.FAILURE, sentence, known)


# --------------------------------------------------------------------------------------------- the kept recording


def known_deviations() -> tuple[Deviation, ...]:
    """What is known of Linux' frontend."""
    return read_deviations(data("deviations", "linux-xen-tpmfront.json"))


def check_recording() -> Checked:
    """Judge every run of the kept recording anew; each must be one of the model, or deviate as is known."""
    deviations = known_deviations()
    ended = [judge(run, deviations) for run in read_runs(data("recorded", "linux-conform"))]
    shortfalls = [
        f"{one.run}: {one.verdict.value}: {one.sentence}" for one in ended if one.verdict is not Verdict.SUCCESS
    ]
    shortfalls += [f"a known deviation does not show in {' '.join(one.runs)}" for one in stale(deviations, ended)]
    figures = Counter(runs=len(ended))
    for counted in counts(ended).values():
        figures.update(counted)
    return Checked(figures, tuple(shortfalls))
