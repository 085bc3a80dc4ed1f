"""How many lines of a log are validated a second: 50 000 with all logged, 10 000 with what a Xen recording shows.

The log is a generated one of the device with Linux' frontend: mostly requests, and now and then all else that can
happen. Processor time is measured.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vtpm_model.device import LINUX
from vtpm_model.ring import REQUEST_ACTIONS, SURPRISES
from vtpm_traces import log
from vtpm_traces.generate import walk
from vtpm_traces.log import Header
from vtpm_traces.observe import Candidates
from vtpm_traces.validate import validate
from vtpm_traces.verdict import Outcome, Verdict

LINES = 100_000

CANDIDATES: Mapping[str, tuple[Any, ...]] = {
    "frontend_submits.length": (22, 30),
    "frontend_submits.extra": (0,),
    "frontend_looks.header": (10, 30),
    "backend_finishes.reply": (10, 30),
    "backend_fetches.permitted": (True,),
    "backend_refuses_request.permitted": (True,),
    "toolstack_creates.complete": (True,),
}

NEVER = ("backend_crashes", "backend_retires")
SELDOM = {
    "frontend_polls": 0.1,
    "toolstack_removes": 0.1,
    "backend_removes_node": 0.1,
    "backend_starts_closing": 0.1,
    "frontend_gives_up": 0.05,
    "backend_refuses_connection": 0.05,
    "toolstack_forces": 0.02,
    "backend_refuses_request": 0.01,
    "frontend_times_out": 0.005,
    "event_reaches_backend_unasked": 0.005,
    "event_reaches_frontend_unasked": 0.005,
    "frontend_closes": 0.001,
    "frontend_cancels_at_rest": 0.001,
    "toolstack_destroys_backend": 0.0005,
    "toolstack_detaches": 0.0005,
    "frontend_starts_closing": 0.0005,
    "frontend_resumes": 0.0005,
    "frontend_vanishes": 0.0002,
}

UNSEEN = frozenset(action.name for action in (*REQUEST_ACTIONS, *SURPRISES)) | {
    "frontend_submits",
    "frontend_allocates",
    "frontend_releases_page",
    "backend_looks",
    "backend_fetches",
    "backend_notifies",
    "backend_drops_stale_answer",
    "backend_acknowledges_cancel",
}
"""What neither a backend's log nor a trace of the store shows."""

NODES = ("fe_state", "be_state", "fe_v2", "be_v2", "online")
HEADER = ("page.state", "page.length")
SHOWS = {action.name: NODES for action in LINUX.actions} | {"backend_wakes": HEADER, "backend_finishes": HEADER}


def written(path: Path, hidden: frozenset[str]) -> Path:
    """A log of so many lines, with these actions left out."""
    names = [action.name for action in LINUX.actions]
    weights = {name: weight for name, weight in SELDOM.items() if name in names} | dict.fromkeys(NEVER, 0.0)
    candidates = {pick: Candidates(values) for pick, values in CANDIDATES.items()}
    steps = walk(LINUX, 100 * LINES, 1, candidates, weights)
    count = itertools.count()
    enough = itertools.takewhile(lambda step: step[0] in hidden or next(count) < LINES, steps)
    header = Header(LINUX.name, hidden=tuple(name for name in names if name in hidden), candidates=CANDIDATES)
    with path.open("w", encoding="utf-8") as file:
        log.write(file, LINUX, header, enough, shows=SHOWS if hidden else None)
    return path


def measured(path: Path) -> tuple[Verdict, float]:
    """The verdict, and the lines a second."""
    began = time.process_time()
    verdict = validate(LINUX, log.read(path))
    return verdict, verdict.lines / (time.process_time() - began)


@pytest.mark.parametrize(("hidden", "least"), [(frozenset[str](), 50_000), (UNSEEN, 10_000)], ids=["all", "xen"])
def test_lines_a_second(tmp_path: Path, hidden: frozenset[str], least: int) -> None:
    verdict, speed = measured(written(tmp_path / "a.ndjson", hidden))
    print(f"\n{verdict.lines} lines, at most {verdict.widest} states before one: {speed:.0f} lines/s")  # noqa: T201
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.lines == LINES
    assert speed >= least
