"""What a run comes to, as two tables: its scenarios with their times, and the domains with their sizes and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.xen.images import Images
from tests.xen.rig import Memory, Step


def scenarios(steps: Iterable[Step]) -> str:
    """A row for each scenario: how many steps it took, how long, of that on a processor, and its longest step."""
    rows = [("scenario", "steps", "seconds", "processor", "longest step", "")]
    by_scenario: dict[str, list[Step]] = {}
    for step in steps:
        by_scenario.setdefault(step.scenario, []).append(step)
    for scenario, taken in by_scenario.items():
        longest = max(taken, key=lambda step: step.seconds)
        wrong = [step for step in taken if step.wrong]
        verdict = f"falls short: {wrong[0].title}" if wrong else "holds"
        seconds = f"{sum(step.seconds for step in taken):.0f}"
        processor = f"{sum(step.processor for step in taken):.0f}"
        told = f"{longest.title} ({longest.seconds:.0f} s)"
        rows.append((scenario, f"{len(taken)}", seconds, processor, told, verdict))
    return _table(rows)


def domains(memory: Mapping[str, Memory], built: Images) -> str:
    """A row for each domain that was measured: MiB that it was given, can use and has left; its first file system."""
    rows = [("domain", "MiB", "usable", "left", "first file system")]
    for name, found in memory.items():
        image = built.dom0 if name == "Domain-0" else built.domain
        size = f"{image.name}, {image.stat().st_size / 2**20:.1f} MiB"
        rows.append((name, f"{found.given}", f"{found.total // 1024}", f"{found.available // 1024}", size))
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 2**20:.1f} MiB" for file in (built.xen, built.kernel))
    return f"{_table(rows)}\n{sizes}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = {at for at, cell in enumerate(rows[-1]) if cell.isdecimal()}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
