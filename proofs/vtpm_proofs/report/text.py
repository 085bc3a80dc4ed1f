"""A failed obligation as lines of text: the fact, the step as a table of changed fields, the whole state before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vtpm_proofs.obligation import Result


def fields_of(state: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf of a state."""
    for name, value in zip(state._fields, state, strict=True):
        if isinstance(value, tuple):
            yield from fields_of(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def plain(value: Any) -> str:
    """A value as a reader knows it: the member's name, or the number."""
    return getattr(value, "name", None) or str(value)


def changed(before: Any, after: Any) -> list[tuple[str, str, str]]:
    """(field, before, after) of every field that a step changes."""
    pairs = zip(fields_of(before), fields_of(after), strict=True)
    return [(name, plain(old), plain(new)) for (name, old), (_, new) in pairs if old != new]


def step_lines(result: Result) -> list[str]:
    """What fails and on which step."""
    obligation, found = result.obligation, result.counterexample
    part = f" ({obligation.part})" if obligation.part else ""
    lines = [f"{result.verdict.upper()}  {obligation.fact}{part}  by {obligation.action}"]
    if found is None:
        return lines
    lines += [f"    {decision}" for decision in found.decisions]
    if found.picks:
        lines.append("    picks " + ", ".join(f"{name}={plain(value)}" for name, value in found.picks.items()))
    if found.after is not None:
        lines += [f"    {name:<32} {old} -> {new}" for name, old, new in changed(found.before, found.after)]
    lines.append("    before: " + " ".join(f"{name}={plain(value)}" for name, value in fields_of(found.before)))
    return lines
