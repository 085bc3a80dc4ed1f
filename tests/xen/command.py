"""What the commands of the rig share: their options, what must be installed, and a folder for what is left of a run."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.xen import images
from tests.xen.packages import PackagesMissing
from tests.xen.rig import tell

NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "swtpm": "swtpm", "apt-get": "apt", "dpkg-deb": "dpkg"}


def options(prog: str, doc: str | None, kept: str) -> argparse.ArgumentParser:
    """A parser with the options that all have; `kept`: what `--keep` keeps."""
    parser = argparse.ArgumentParser(prog=prog, description=doc)
    parser.add_argument("--keep", type=Path, metavar="DIR", help=f"keep {kept} in this folder")
    parser.add_argument("--patience", type=float, default=1.0, metavar="TIMES", help="multiply every time limit")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was asked for; ends the program with 2 if that makes no sense."""
    asked = parser.parse_args()
    if not asked.patience > 0:
        parser.error(f"a patience of {asked.patience:g} is none; a number above 0 is meant, such as 3")
    if asked.keep and asked.keep.exists() and (not asked.keep.is_dir() or any(asked.keep.iterdir())):
        parser.error(f"{str(asked.keep)!r} is there already; a new or empty folder is meant")
    return asked


def carried_out(keep: Path | None, work: Callable[[images.Images, Path], int]) -> int:
    """Build the images and do the work in a folder, which goes again without `keep`. Its exit code; 2: something is
    missing; 130: interrupted."""
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            tell(f"{program} is not installed (Debian package {package}); run sh scripts/debian-packages.sh peers")
            return 2
    started = time.monotonic()
    try:
        built = images.build(lambda line: tell(f"  {time.monotonic() - started:6.1f} s  {line}"))
        with tempfile.TemporaryDirectory(prefix="xen-test") as scratch:
            folder = keep.absolute() if keep else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            return work(built, folder)
    except PackagesMissing as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        tell("interrupted; nothing is left running")
        return 130


def of_this_host() -> dict[str, str]:
    """What this host has to do with a recording."""
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    version = qemu.splitlines()[0].removeprefix("QEMU emulator version ")
    told = {"qemu": version, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    if shutil.which("git") is None:
        return told
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=images.PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told | ({"commit": commit.stdout.strip()} if commit.returncode == 0 else {})
