"""The built wheel alone, without the repository and with only what it declares, runs what the README promises."""

import gzip
import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("vtpm_impl.ring.memory", "vtpm_impl.xen.host.bits")
"""What the build compiles for the machine."""


def declared_closure(wheel: Path) -> Iterator[importlib.metadata.Distribution]:
    """The installed distributions that the wheel declares, and those that they declare, extras left out."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    waiting = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    seen = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name)
        found = importlib.metadata.distribution(requirement.name)
        waiting += found.requires or []
        yield found


def link(distribution: importlib.metadata.Distribution, into: Path) -> None:
    """Let a site folder see an installed distribution, and nothing else of its neighbours."""
    tops = {Path(str(file)).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    assert tops, distribution.name
    for top in tops:
        if not (into / top).exists():
            (into / top).symlink_to(Path(str(distribution.locate_file(top))))


class Installed:
    """A virtual environment that holds the wheel and what it declares."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.wheel = wheel
        self.folder = folder
        self.outside = folder / "outside"
        self.outside.mkdir()
        venv.create(folder / "venv", with_pip=False)
        [site] = (folder / "venv").glob("lib/python3*/site-packages")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(self.command("python"))]
        subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
        for distribution in declared_closure(wheel):
            link(distribution, site)
        (site / "schema").mkdir()  # as a package of that name would: our data is not to be looked for there

    def command(self, name: str) -> Path:
        return self.folder / "venv" / "bin" / name

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, far from the repository and from anything that the user has set."""
        environment = {"PATH": os.defpath, "HOME": str(self.folder), "TERM": "dumb"}
        return subprocess.run(
            [str(self.command(words[0])), *words[1:]],
            cwd=self.outside, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return Installed(wheel, folder)


def test_the_wheel_holds_the_packages_and_the_licence_and_no_tests(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"vtpm_model", "vtpm_impl", "vtpm_proofs", "vtpm_traces"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_packages_come_from_the_wheel(installed: Installed) -> None:
    packages = ("vtpm_model", "vtpm_impl", "vtpm_proofs", "vtpm_traces", *LIBRARIES)
    code = f"import sys, {', '.join(packages)}\nprint(*(sys.modules[name].__file__ for name in {packages}))"
    said = installed.run("python", "-c", code)
    assert said.returncode == 0, said.stderr
    files = said.stdout.split()
    assert len(files) == len(packages)
    for file in files:
        assert Path(file).is_relative_to(installed.folder)


@pytest.mark.parametrize(
    "line",
    [
        "vtpmspec list",
        "vtpmspec explain ring.no_request_is_lost",
        "vtpmspec prove",
        "vtpmspec explore page",
        "vtpmspec cite",
        "vtpmspec defects",
        "vtpmspec verify mini-os cite",
        "vtpm --help",
    ],
)
def test_a_command_runs_from_the_wheel_alone(installed: Installed, line: str) -> None:
    said = installed.run(*line.split())
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_trace_of_anybodys_is_validated_by_the_wheel_alone(installed: Installed) -> None:
    trace = installed.outside / "r8.itf.json"
    shutil.copyfile(ROOT / "traces" / "defects" / "r8.itf.json", trace)
    accepted = installed.run("vtpmspec", "trace", "validate", trace.name)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr


def test_a_recording_without_its_notifications_is_refused_by_the_wheel_alone(installed: Installed) -> None:
    kept = gzip.decompress((ROOT / "traces/recorded/tpmback/normal-connect-request-close.jsonl.gz").read_bytes())
    lines = [line for line in kept.decode().splitlines() if '"notify"' not in line]
    recording = installed.outside / "silent.jsonl"
    recording.write_text("\n".join(lines) + "\n")
    refused = installed.run("vtpmspec", "trace", "validate", "--format", "tpmback-script", recording.name)
    assert refused.returncode == 1, refused.stdout + refused.stderr
