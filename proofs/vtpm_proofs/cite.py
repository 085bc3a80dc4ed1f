"""Holds citations against source trees that the reader has: whether the cited lines still say what they said.

A citation keeps the place and a digest of its lines, never the lines. Lines that stand elsewhere in the same file have
moved; lines that are found nowhere in it have changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from vtpm_model import sources
from vtpm_model.core import Action, Assumption, Citation, Eventually, Fact, Spec
from vtpm_traces.files import BadInput, Limits, chunks

FILE = Limits(stored=16 << 20, unpacked=16 << 20)
"""How much of a source file is read: 16 MiB."""

SECONDS = 60
"""How long git may take to hand out one file."""


# ---------------------------------------------------------------------------------------------------- source trees


class Tree(Protocol):
    """Where files are read from."""

    def read(self, path: str) -> bytes | None:
        """The content of a file, None if there is none. Raises BadInput if it cannot be read."""


@dataclass(frozen=True)
class Folder:
    """Files as they lie in a directory: an unpacked archive, or what a repository has checked out."""

    root: Path

    def read(self, path: str) -> bytes | None:
        """The content of a file, None if there is none."""
        file = self.root / path
        return b"".join(chunks(file, FILE)) if file.is_file() else None


@dataclass(frozen=True)
class Repository:
    """Files as a git repository, bare or not, has them at a revision."""

    root: Path
    revision: str

    def read(self, path: str) -> bytes | None:
        """The content of a file, None if the revision has none."""
        name = f"{self.revision}:{path}"
        size = _git(self.root, "cat-file", "-s", name)
        if size is None:
            return None
        if int(size) > FILE.unpacked:
            raise BadInput(f"{path} has {int(size)} bytes at {self.revision}; at most {FILE.unpacked} are read")
        return _git(self.root, "cat-file", "blob", name)


def open_tree(where: str) -> Tree:
    """DIR: a directory, or a bare repository at its HEAD; DIR@REVISION: a repository at a revision.

    Raises BadInput for anything else.
    """
    root = Path(where)
    if root.is_dir():
        bare = (root / "HEAD").is_file() and (root / "objects").is_dir()
        return _repository(root, "HEAD") if bare else Folder(root)
    directory, _, revision = where.rpartition("@")
    if directory and Path(directory).is_dir():
        return _repository(Path(directory), revision)
    raise BadInput(f"{where!r} is not a directory, nor DIR@REVISION of a git repository")


def _repository(root: Path, revision: str) -> Repository:
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._/^~-]*", revision):
        raise BadInput(f"{revision!r} is not the name of a revision")
    if _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise BadInput(f"{root} is no git repository that has the revision {revision!r}")
    return Repository(root, revision)


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git answers, None if it refuses. It neither asks anybody nor fetches anything."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=os.environ | quiet, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BadInput("git is not installed; a directory with the files themselves needs none") from error
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"git took more than {SECONDS} s in {root}") from error
    return done.stdout if done.returncode == 0 else None


# ------------------------------------------------------------------------------------------------------- citations


def names() -> Mapping[Citation, str]:
    """The name of every named source."""
    return {value: name for name, value in vars(sources).items() if isinstance(value, Citation)}


def citing(specs: Iterable[Spec[Any]]) -> Iterator[tuple[str, tuple[Citation, ...]]]:
    """(`SYSTEM.name`, sources) of every action, fact and liveness claim, each under the first system that has it.

    Lemmas claim nothing of the world and cite nothing.
    """
    seen: set[int] = set()
    for spec in specs:
        things: list[Action[Any] | Fact | Eventually] = [*spec.actions, *spec.facts, *spec.liveness]
        for thing in things:
            if id(thing) not in seen:
                seen.add(id(thing))
                yield f"{spec.name}.{thing.name}", thing.cites


def assuming(assumptions: Iterable[Assumption]) -> Iterator[tuple[str, tuple[Citation, ...]]]:
    """(id, sources) of assumptions; one that rests on no source is an assumption all the same."""
    for assumption in assumptions:
        yield f"assumption {assumption.id}", assumption.cites


def uses(cited: Iterable[tuple[str, tuple[Citation, ...]]]) -> Mapping[Citation, tuple[str, ...]]:
    """Every source that is cited, and by whom, in the order of the documents and their lines."""
    found: dict[Citation, list[str]] = {}
    for user, cites in cited:
        for citation in cites:
            found.setdefault(citation, []).append(user)
    order = {document: place for place, document in enumerate(dict.fromkeys(named.document for named in names()))}
    ranked = sorted(found, key=lambda one: (order.get(one.document, len(order)), one.first, one.last))
    return {citation: tuple(found[citation]) for citation in ranked}


# --------------------------------------------------------------------------------------------------------- checking


class Status(Enum):
    """What became of the cited lines."""

    OK = "ok"
    MOVED = "moved"  # they stand elsewhere in the same file
    CHANGED = "changed"  # the file has them nowhere
    MISSING = "missing"  # the tree has no such file
    UNREAD = "not read"  # no tree was given


@dataclass(frozen=True)
class Finding:
    """A citation held against a tree; `first` and `last` say where its lines are now, 0 if nowhere."""

    citation: Citation
    status: Status
    users: tuple[str, ...] = field(default=())
    first: int = 0
    last: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the citation."""
        return self.status in (Status.OK, Status.MOVED, Status.UNREAD)


def digest(lines: bytes) -> str:
    """The digest of a citation whose lines, each ended by a newline, are these."""
    return hashlib.sha256(lines).hexdigest()[:16]


def locate(text: bytes, citation: Citation) -> int:
    """The line where the cited lines begin, the nearest to where they were; 0 if they are nowhere."""
    whole = text if text.endswith(b"\n") else text + b"\n"
    starts = [0, *(match.end() for match in re.finditer(rb"\n", whole))]
    count = citation.last - citation.first + 1
    begins = range(1, len(starts) - count + 1)
    for first in sorted(begins, key=lambda line: abs(line - citation.first)):
        if digest(whole[starts[first - 1] : starts[first - 1 + count]]) == citation.digest:
            return first
    return 0


def check(found: Mapping[Citation, tuple[str, ...]], trees: Mapping[str, Tree]) -> Iterator[Finding]:
    """Every citation against the tree that holds its document. Raises BadInput if a file cannot be read."""
    texts: dict[tuple[str, str], bytes | None] = {}
    for citation, users in found.items():
        document = citation.document
        tree = trees.get(document.tree)
        if tree is None:
            yield Finding(citation, Status.UNREAD, users)
            continue
        key = (document.tree, document.path)
        if key not in texts:
            texts[key] = tree.read(document.path)
        text = texts[key]
        if text is None:
            yield Finding(citation, Status.MISSING, users)
            continue
        first = locate(text, citation)
        status = Status.CHANGED if not first else Status.OK if first == citation.first else Status.MOVED
        yield Finding(citation, status, users, first, first + citation.last - citation.first if first else 0)
