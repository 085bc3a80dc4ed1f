"""Debian packages, unpacked into a folder of their own: what apt would install here, and nothing is installed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_LINE = re.compile(r"'([^']+)' (\S+) (\d+) ?(\S*)")
_LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./var/lib/dpkg")


class PackagesMissing(Exception):
    """apt cannot give the packages; the message says what it said."""


class Packages:
    """The packages that were asked for, with all that they depend on, from the sources that apt knows here."""

    def __init__(self, names: Sequence[str], cache: Path) -> None:
        """Ask apt what they are now; nothing is downloaded yet. Raises PackagesMissing."""
        self._names = list(names)
        self._cache = cache
        self._scratch = cache / f"apt-{os.getpid()}"
        try:
            lines = self._apt("--print-uris")
        except PackagesMissing:
            if os.geteuid() != 0:
                raise
            subprocess.run(["apt-get", "-qq", "update"], check=True, stdout=sys.stderr)
            lines = self._apt("--print-uris")
        self.files = sorted(found.groups() for line in lines.splitlines() if (found := _LINE.fullmatch(line)))
        self.key = hashlib.sha256("\n".join(f"{name} {size} {check}" for _, name, size, check in self.files).encode())

    @property
    def root(self) -> Path:
        """Where they are unpacked; the name follows from every file's name, size and checksum."""
        return self._cache / f"packages-{self.key.hexdigest()[:16]}"

    def unpack(self) -> Path:
        """Download and unpack them, unless that has been done. Raises PackagesMissing."""
        if not self.root.is_dir():
            self._apt("--download-only")
            partial = self._scratch / "root"
            for folder in ("bin", "sbin", "lib", "lib64"):  # as Debian has merged them
                (partial / "usr" / folder).mkdir(parents=True, exist_ok=True)
                (partial / folder).symlink_to(f"usr/{folder}")
            for package in sorted((self._scratch / "archives").glob("*.deb")):
                _extract(package, partial)
            partial.rename(self.root)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return self.root

    def _apt(self, what: str) -> str:
        """Let apt install them into a machine that has nothing yet."""
        for folder in ("archives/partial", "lists"):
            (self._scratch / folder).mkdir(parents=True, exist_ok=True)
        (self._scratch / "status").touch()
        done = subprocess.run(
            ["apt-get", "-qq", "--yes", what, "-o", f"Dir::State::status={self._scratch}/status",
             "-o", f"Dir::Cache::archives={self._scratch}/archives", "-o", "Debug::NoLocking=1",
             "-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=", "install", *self._names],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise PackagesMissing(f"apt-get cannot give {' '.join(self._names)}: {done.stderr.strip()}")
        return done.stdout


def _extract(package: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        without = [f"--exclude={name}" for name in _LEFT_OUT]
        subprocess.run(
            ["tar", "-x", "--no-same-owner", "--keep-directory-symlink", "-C", root, *without],
            stdin=archive.stdout, check=True,
        )  # fmt: skip
    if archive.returncode != 0:
        raise PackagesMissing(f"dpkg-deb cannot read {package.name}")
