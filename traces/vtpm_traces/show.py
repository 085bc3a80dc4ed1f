"""A run for people: a table of its steps, and the same as a sequence diagram in Mermaid text and in SVG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from vtpm_model.core import Actor, Spec
from vtpm_traces.itf import Expect, Trace
from vtpm_traces.observe import Origin
from vtpm_traces.steps import Steps
from vtpm_traces.values import leaves, told
from vtpm_traces.verdict import Taken

PAGE, STORE = "page", "xenstore"
FRONTEND, BACKEND, DEVICE = Actor.FRONTEND.value, Actor.BACKEND.value, Actor.DEVICE.value

PLACES = {
    "page.state": PAGE,
    "page.length": PAGE,
    "page.extra": PAGE,
    "page.request": PAGE,
    "page.answer": PAGE,
    "fe_state": STORE,
    "be_state": STORE,
    "keys": STORE,
    "fe_v2": STORE,
    "be_v2": STORE,
    "online": STORE,
    "to_backend": BACKEND,
    "to_frontend": FRONTEND,
    "owner": DEVICE,
    "asking": DEVICE,
    "wanted": DEVICE,
    "fifo.phase": DEVICE,
    "fifo.taken": DEVICE,
    "fifo.given": DEVICE,
    "place": DEVICE,
}
"""Fields that one end changes for another to see, and where: an arrow leads there."""

LANES = (
    Actor.TOOLSTACK.value, STORE, FRONTEND, PAGE, Actor.XEN.value, BACKEND, Actor.ENGINE.value,
    Actor.SOFTWARE.value, Actor.DRIVER.value, Actor.OTHERS.value, DEVICE,
)  # fmt: skip
"""From left to right: everybody who acts, and between two the place that they share."""

TOLD = 4
"""How many changes a diagram tells at one arrow; the table tells all."""


@dataclass(frozen=True)
class Change:
    """A field that a step changed, with its values before and after as people read them."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} → {self.after}"


@dataclass(frozen=True)
class Row:
    """A step of a run: who did what, what changed, and which lines of a recording it explains."""

    number: int
    by: str
    action: str
    changes: tuple[Change, ...]
    seen: tuple[Origin, ...] = ()
    hidden: bool = False
    refused: bool = False


def of_trace(spec: Spec[Any], trace: Trace) -> list[Row]:
    """The rows of a trace; the last step of one that must be refused is marked."""
    steps = Steps(spec)
    rows = []
    before = trace.moments[0].state
    for number, moment in enumerate(trace.moments[1:], 1):
        action = spec.action(moment.action)
        refused = trace.expect is Expect.REJECT and number == len(trace.moments) - 1
        changes = _changes(before, moment.state)
        rows.append(Row(number, action.by.value, steps.told(action.name, moment.picks), changes, refused=refused))
        before = moment.state
    return rows


def of_run(spec: Spec[Any], run: Iterable[Taken]) -> list[Row]:
    """The rows of a completed run."""
    steps = Steps(spec)
    rows = []
    before = spec.init()
    for number, taken in enumerate(run, 1):
        told_action = steps.told(taken.action, taken.picks)
        changes = _changes(before, taken.after)
        rows.append(Row(number, taken.by.value, told_action, changes, taken.seen, hidden=not taken.seen))
        before = taken.after
    return rows


def mermaid(rows: Sequence[Row], title: str) -> str:
    """The run as a Mermaid sequence diagram."""
    lines = ["---", f"title: {json.dumps(title)}", "---", "sequenceDiagram"]
    lines += [f"    participant {lane}" for lane in _lanes(rows)]
    for row in rows:
        refused = " (refused)" if row.refused else ""
        first = True
        for target, changes in _arrows(row):
            said = _label(changes)
            text = f"{row.action}{refused}" + (f": {said}" if said else "") if first else said
            arrow = "--x" if row.refused else "-->>" if row.hidden else "->>"
            lines.append(f"    {row.by}{arrow}{target}: {_plain(text)}")
            first = False
    return "\n".join(lines) + "\n"


WIDTH, STEP, TOP, MARGIN = 200, 42, 56, 46
LETTER = 6.6
"""The width of a letter, about, in the units of the drawing."""


def svg(rows: Sequence[Row], title: str) -> str:
    """The run as a sequence diagram in SVG, on its own: no script, no font, no file besides."""
    lanes = _lanes(rows)
    middle = {lane: MARGIN + WIDTH // 2 + WIDTH * index for index, lane in enumerate(lanes)}
    arrows = [(row, first, *arrow) for row in rows for first, arrow in zip(_firsts(), _arrows(row), strict=False)]
    beside = [middle[row.by] + 20 + _length(row, changes) for row, _, target, changes in arrows if target == row.by]
    lanes_end = 2 * MARGIN + WIDTH * len(lanes)
    width = round(max([lanes_end, MARGIN + len(title) * LETTER * 1.25, *beside]))
    height = TOP + STEP * (len(arrows) + 1) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        "<style>text { paint-order: stroke; stroke: #fff; stroke-width: 3px; }</style>",
        f"<title>{escape(title)}</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#334"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="18" font-size="13" font-weight="bold" fill="#112">{escape(title)}</text>',
    ]
    for lane in lanes:
        x = middle[lane]
        shared = lane in (PAGE, STORE)
        parts.append(
            f'<rect x="{x - 48}" y="30" width="96" height="22" rx="{3 if shared else 11}" '
            f'fill="{"#eef3e6" if shared else "#e6ecf6"}" stroke="#778"/>'
            f'<text x="{x}" y="45" text-anchor="middle" fill="#112">{lane}</text>'
            f'<line x1="{x}" y1="52" x2="{x}" y2="{height - 8}" stroke="#bbc" stroke-dasharray="3 3"/>'
        )
    y = TOP
    for row, first, target, changes in arrows:
        y += STEP
        here, there = middle[row.by], middle[target]
        colour = "#b3261e" if row.refused else "#8890a0" if row.hidden else "#334"
        dashes = ' stroke-dasharray="5 3"' if row.hidden or row.refused else ""
        if here == there:
            parts.append(f'<circle cx="{here}" cy="{y}" r="4" fill="{colour}"/>')
            anchor, at = "start", here + 10
        else:
            parts.append(
                f'<line x1="{here}" y1="{y}" x2="{there}" y2="{y}" stroke="{colour}" stroke-width="1.3"{dashes} '
                'marker-end="url(#head)"/>'
            )
            anchor, at = "middle", (here + there) // 2
        label = _label(changes)
        if first:
            refused = " — refused" if row.refused else ""
            parts.append(f'<text x="8" y="{y + 4}" fill="#99a">{row.number}</text>')
            above = f'<text x="{at}" y="{y - 7}" text-anchor="{anchor}" font-weight="bold" fill="{colour}">'
            parts.append(above + f"{escape(row.action + refused)}</text>")
        if label:
            parts.append(f'<text x="{at}" y="{y + 13}" text-anchor="{anchor}" fill="#556">{escape(label)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _length(row: Row, changes: Sequence[Change]) -> float:
    """How wide the two lines of text at a step are."""
    return LETTER * max(len(row.action) * 1.1 + 12, len(_label(changes)))


def _label(changes: Sequence[Change]) -> str:
    told = [f"{change.path}={change.after}" for change in changes[:TOLD]]
    return ", ".join([*told, "…"] if len(changes) > TOLD else told)


def _firsts() -> Iterable[bool]:
    yield True
    while True:
        yield False


def _changes(before: Any, after: Any) -> tuple[Change, ...]:
    return tuple(
        Change(path, told(leaf.sort, leaf.get(before)), told(leaf.sort, leaf.get(after)))
        for path, leaf in leaves(type(after)).items()
        if leaf.get(before) != leaf.get(after)
    )


def _arrows(row: Row) -> list[tuple[str, list[Change]]]:
    """Where a step leads: to each place whose fields it changed for others to see, else nowhere but its own lane."""
    found: dict[str, list[Change]] = {}
    for change in row.changes:
        place = PLACES.get(change.path)
        if place is not None and place != row.by and not (place in (FRONTEND, BACKEND) and change.after == "false"):
            found.setdefault(place, []).append(change)
    return list(found.items()) or [(row.by, list(row.changes))]


def _lanes(rows: Sequence[Row]) -> list[str]:
    used = {row.by for row in rows} | {target for row in rows for target, _ in _arrows(row)}
    return [lane for lane in LANES if lane in used]


def _plain(text: str) -> str:
    """Text that Mermaid takes for text."""
    return text.replace(";", ",").replace("#", "no. ").replace("\n", " ")
