"""Citations are told apart: standing, moved, changed, in a file that is gone; in folders and in git repositories."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vtpm_model import assumptions, catalog
from vtpm_model.core import Actor, Citation, Document, Fact, Kind, Nat, Spec, Standing, action, record
from vtpm_proofs import cite
from vtpm_proofs.cite import Status
from vtpm_proofs.cli import app
from vtpm_traces.files import BadInput

TEXT = b"one\ntwo\nthree\ntwo\nthree\nfour\n"
HEADER = Document("header", "xen", "include/header.h", "r1")


def cited(first: int, last: int, text: bytes = TEXT, document: Document = HEADER) -> Citation:
    lines = b"".join(line + b"\n" for line in text.split(b"\n")[first - 1 : last])
    return Citation(document, first, last, hashlib.sha256(lines).hexdigest()[:16])


def found(tree: cite.Tree, citation: Citation) -> tuple[Status, int, int]:
    (finding,) = cite.check({citation: ()}, {"xen": tree})
    return finding.status, finding.first, finding.last


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "include").mkdir(parents=True)
    (root / "include" / "header.h").write_bytes(TEXT)
    return root


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(folder: Path) -> Path:
    """Two commits: the text, tagged r1; then a line before it."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    git(folder, "tag", "r1")
    (folder / "include" / "header.h").write_bytes(b"zero\n" + TEXT)
    git(folder, "commit", "-q", "-a", "-m", "second")
    return folder


def test_the_digest_is_of_the_lines_each_ended_by_a_newline() -> None:
    assert cite.digest(b"one\ntwo\n") == hashlib.sha256(b"one\ntwo\n").hexdigest()[:16]


def test_lines_that_stand(folder: Path) -> None:
    assert found(cite.open_tree(str(folder)), cited(2, 3)) == (Status.OK, 2, 3)


def test_lines_at_the_end_of_a_file_without_a_last_newline(folder: Path) -> None:
    (folder / "include" / "header.h").write_bytes(TEXT.rstrip(b"\n"))
    assert found(cite.open_tree(str(folder)), cited(6, 6)) == (Status.OK, 6, 6)


def test_lines_that_moved_are_found_where_they_are_nearest(folder: Path) -> None:
    (folder / "include" / "header.h").write_bytes(b"zero\n" + TEXT)
    tree = cite.open_tree(str(folder))
    assert found(tree, cited(1, 2)) == (Status.MOVED, 2, 3)
    assert found(tree, cited(2, 3)) == (Status.MOVED, 3, 4)


def test_lines_that_changed(folder: Path) -> None:
    (folder / "include" / "header.h").write_bytes(TEXT.replace(b"four", b"for"))
    assert found(cite.open_tree(str(folder)), cited(5, 6)) == (Status.CHANGED, 0, 0)


def test_a_file_that_became_too_short(folder: Path) -> None:
    (folder / "include" / "header.h").write_bytes(b"")
    assert found(cite.open_tree(str(folder)), cited(5, 6)) == (Status.CHANGED, 0, 0)


def test_a_file_that_is_gone(folder: Path) -> None:
    (folder / "include" / "header.h").unlink()
    assert found(cite.open_tree(str(folder)), cited(1, 1)) == (Status.MISSING, 0, 0)


def test_without_a_tree_nothing_is_read() -> None:
    (finding,) = cite.check({cited(1, 1): ()}, {})
    assert (finding.status, finding.holds) == (Status.UNREAD, True)


def test_a_checkout_is_read_as_it_lies_there(repository: Path) -> None:
    assert found(cite.open_tree(str(repository)), cited(1, 1))[0] is Status.MOVED


def test_a_repository_is_read_at_a_revision(repository: Path) -> None:
    assert found(cite.open_tree(f"{repository}@r1"), cited(1, 1)) == (Status.OK, 1, 1)
    assert found(cite.open_tree(f"{repository}@HEAD~1"), cited(1, 1)) == (Status.OK, 1, 1)


def test_a_bare_repository_is_read_at_its_head(repository: Path, tmp_path: Path) -> None:
    git(repository, "clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    tree = cite.open_tree(str(tmp_path / "bare.git"))
    assert found(tree, cited(1, 1)) == (Status.MOVED, 2, 2)
    assert found(tree, cited(1, 1, document=Document("gone", "xen", "gone.h", "r1"))) == (Status.MISSING, 0, 0)


@pytest.mark.parametrize("where", ["nowhere", "{}@", "{}@nosuch", "{}@--help", "{}@a b"])
def test_what_is_no_tree(repository: Path, where: str) -> None:
    with pytest.raises(BadInput):
        cite.open_tree(where.format(repository))


def test_a_file_beyond_the_limit_is_not_read(folder: Path) -> None:
    with (folder / "include" / "header.h").open("wb") as file:
        file.truncate(cite.FILE.stored + 1)
    with pytest.raises(BadInput, match="bytes"):
        found(cite.open_tree(str(folder)), cited(1, 1))


def test_named_sources_are_digests_of_places() -> None:
    named = cite.names()
    assert len(named) > 150
    assert all(1 <= one.first <= one.last and len(one.digest) == 16 for one in named)
    assert all(one.note for one in named if one.standing is not Standing.STATED)


# --------------------------------------------------------------------------------------------------------- command


@record
class State:
    count: Nat


@action(by=Actor.FRONTEND, cites=cited(1, 2))
def counts(s: State) -> State:
    """Count."""
    return s


@action(by=Actor.BACKEND)
def rests(s: State) -> State:
    """Nothing happens."""
    return s


TRUE = Fact("nothing_is_claimed", Kind.STATE, lambda s: True, cites=(cited(6, 6),))


def system(*actions: Any) -> Spec[State]:
    return Spec("toy", "A toy.", State, lambda: State(count=0), actions, (TRUE,))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SYSTEMS", {"toy": system(counts)})
    monkeypatch.setattr(catalog, "VARIANTS", {})
    monkeypatch.setattr(assumptions, "ASSUMPTIONS", ())


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["cite", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("toy")
def test_without_trees_citations_are_listed() -> None:
    code, out, _ = run()
    assert code == 0
    assert "2 not read" in out
    assert "include/header.h:1-2" in out


@pytest.mark.usefixtures("toy")
def test_json_says_what_was_found(folder: Path) -> None:
    (folder / "include" / "header.h").write_bytes(b"zero\n" + TEXT)
    code, out, _ = run("--tree", f"xen={folder}", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "vtpmspec/cite/1"
    assert document["holds"] is True
    first, second = document["citations"]
    assert (first["status"], first["found"], first["cited_by"]) == ("moved", [2, 3], ["toy.counts"])
    assert (second["status"], second["found"], second["cited_by"]) == ("moved", [7, 7], ["toy.nothing_is_claimed"])


@pytest.mark.usefixtures("toy")
def test_a_changed_line_falls_short(folder: Path) -> None:
    (folder / "include" / "header.h").write_bytes(TEXT.replace(b"four", b"for"))
    code, out, _ = run("--tree", f"xen={folder}")
    assert code == 1
    assert "1 ok, 1 changed" in out


def test_an_action_without_a_source_falls_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SYSTEMS", {"toy": system(counts, rests)})
    monkeypatch.setattr(catalog, "VARIANTS", {"again": system(rests)})
    code, out, _ = run("--json")
    assert code == 1
    assert json.loads(out)["uncited"] == ["toy.rests"]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["qemu=."], "'qemu=.' names no tree"),
        (["xen"], "'xen' names no tree"),
        (["xen=/no/such/place"], "'/no/such/place' is not a directory"),
        (["xen=.", "xen=."], "'xen=.' gives the tree xen a second time"),
    ],
)
def test_wrong_use_is_told_with_its_value(given: list[str], shown: str) -> None:
    code, _, told = run(*(word for tree in given for word in ("--tree", tree)))
    assert code == 2
    assert shown in told
