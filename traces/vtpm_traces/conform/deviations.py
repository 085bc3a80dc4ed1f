"""Known deviations of a subject, as data: in which runs it fails, by what that is seen, and why it is so."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vtpm_traces import schema
from vtpm_traces.files import Limits, read_json

_LIMITS = Limits(stored=1 << 20, unpacked=1 << 20)


@dataclass(frozen=True)
class Deviation:
    """Runs, by patterns as a shell has them; a part of the sentence that tells of the failure; rows, and the reason."""

    runs: tuple[str, ...]
    shows: str
    rows: tuple[str, ...]
    why: str

    def concerns(self, run: str) -> bool:
        """Whether it is expected in this run."""
        return any(fnmatchcase(run, pattern) for pattern in self.runs)

    def explains(self, run: str, sentence: str) -> bool:
        """Whether it is what this run failed with."""
        return self.concerns(run) and self.shows in sentence


def read(path: Path) -> tuple[Deviation, ...]:
    """The deviations in a file. Raises BadInput."""
    document = read_json(path, _LIMITS)
    schema.check(document, schema.DEVIATIONS, str(path))
    return tuple(
        Deviation(tuple(one["runs"]), one["shows"], tuple(one["rows"]), one["why"]) for one in document["deviations"]
    )
