"""The house keeps its rules: who may import whom, first lines, locked versions, nothing of one machine in any file."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"model": "vtpm_model", "impl": "vtpm_impl", "proofs": "vtpm_proofs", "traces": "vtpm_traces"}
MAY_KNOW = {
    "model": {"vtpm_model"},
    "impl": {"vtpm_impl"},
    "traces": {"vtpm_traces", "vtpm_model"},
    "proofs": {"vtpm_proofs", "vtpm_traces", "vtpm_model"},
}


def project_files() -> list[Path]:
    """Every file that is in the repository or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


FILES = project_files()
SOURCES = [path for path in FILES if path.suffix == ".py"]


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def imported(path: Path) -> set[str]:
    """The top-level names that a source file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("folder", PACKAGES)
def test_each_folder_holds_one_typed_package(folder: str) -> None:
    package = ROOT / folder / PACKAGES[folder]
    assert (package / "__init__.py").is_file()
    assert (package / "py.typed").is_file()
    tracked = {path.relative_to(ROOT).parts[1] for path in SOURCES if path.is_relative_to(ROOT / folder)}
    assert tracked == {PACKAGES[folder]}


@pytest.mark.parametrize("folder", PACKAGES)
def test_a_package_imports_only_those_of_ours_that_it_may_know(folder: str) -> None:
    for path in SOURCES:
        if path.is_relative_to(ROOT / folder):
            ours = imported(path) & set(PACKAGES.values())
            assert ours <= MAY_KNOW[folder], path.relative_to(ROOT)


def test_the_model_needs_the_standard_library_only() -> None:
    for path in SOURCES:
        if path.is_relative_to(ROOT / "model"):
            foreign = imported(path) - set(sys.stdlib_module_names) - {"vtpm_model"}
            assert not foreign, path.relative_to(ROOT)


@pytest.mark.parametrize("path", SOURCES, ids=relative(SOURCES))
def test_a_source_file_opens_with_a_sentence(path: Path) -> None:
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
    assert re.fullmatch(r"\S.*[.:?]", first), f"the first line is {first!r}"


def test_scripts_open_with_a_sentence() -> None:
    for path in [ROOT / ".ci" / "run", ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("scripts/*")]:
        lines = path.read_text().splitlines()
        first = lines[1] if lines[0].startswith("#!") else lines[0]
        assert re.fullmatch(r"# \S.*\.", first), f"{path.relative_to(ROOT)} begins with {first!r}"


def test_no_file_names_a_place_that_others_do_not_have() -> None:
    # written in pieces, so that this file passes its own test
    places = ["/" + "work/", "/" + "root/", "/" + "home/", ".." + "/shared", "pypi" + ".org", "python" + "hosted"]
    pattern = re.compile("|".join(re.escape(place) for place in places).encode())
    for path in FILES:
        found = pattern.search(path.read_bytes())
        assert found is None, f"{path.relative_to(ROOT)} names {found and found[0]!r}"


def test_every_declared_dependency_is_locked_at_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "requirements" / "locked.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))
    declared = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in project["project"]["optional-dependencies"].values():
        declared += extra
    assert declared
    for requirement in map(Requirement, declared):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked"
        assert requirement.specifier.contains(version), f"{requirement} excludes the locked {version}"


def test_every_locked_package_has_hashes() -> None:
    lock = (ROOT / "requirements" / "locked.txt").read_text()
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
