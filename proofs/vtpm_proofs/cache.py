"""What was shown before: questions known by their content, and whole systems known by their sources.

A cache only ever remembers that a question was answered `unsat`, and what that cost. A question is known by a digest of
its text, the solver and the solver's version; a failure is always computed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vtpm_proofs.terms import Term, text

FORMAT = 1


def digest(parts: Iterable[str]) -> str:
    """One name for a sequence of texts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode())
        total.update(b"\0")
    return total.hexdigest()[:32]


def question(prefix: str, terms: Iterable[Term], goal: Term) -> str:
    """The name of the question whether `terms` entail `goal`; `prefix` names the solver and the hypotheses."""
    return digest((prefix, *[text(term) for term in terms], "|-", text(goal)))


class Settled:
    """Questions that were answered `unsat`: those known from before, and those that this run adds."""

    def __init__(self, before: Mapping[str, int] | None = None) -> None:
        self.before = dict(before or {})
        self.used: dict[str, int] = {}
        self.fresh: dict[str, int] = {}

    def cost(self, key: str) -> int | None:
        """What the question cost when it was answered; None if it was not."""
        found = self.before.get(key)
        if found is None:
            return self.fresh.get(key)
        self.used[key] = found
        return found

    def keep(self, key: str, cost: int) -> None:
        """The question was answered `unsat`."""
        self.fresh[key] = cost


def folder() -> Path:
    """Where caches lie: below XDG_CACHE_HOME, or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or ""
    # The XDG rules say that a relative path is to be ignored.
    base = Path(root) if root.startswith("/") else Path.home() / ".cache"
    return base / "xen-vtpm"


def read(name: str) -> dict[str, Any]:
    """What is kept under a name; nothing, if nothing is kept or it cannot be read."""
    try:
        found = json.loads(_file(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}


def write(name: str, content: Mapping[str, Any]) -> None:
    """Keep something under a name. A cache that cannot be written is no reason to fail."""
    target = _file(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as file:
            json.dump({"format": FORMAT, **content}, file, separators=(",", ":"))
        Path(file.name).replace(target)
    except OSError:
        return


def _file(name: str) -> Path:
    return folder() / f"{name}.json"


def sources(files: Iterable[Path]) -> str:
    """A digest of the files' contents, in the order of their paths."""
    return digest(part for file in sorted(set(files)) for part in (file.name, file.read_text(encoding="utf-8")))
