"""What QEMU boots: Xen, Debian's kernel, and the first file systems of domain 0 and of every other domain.

They are built from Debian packages and this project, and kept by the content of all that went into them. A file system
holds no more than is used: the Python modules that are imported, the libraries that the loader names, some modules of
the kernel.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.xen.cpio import Archive
from tests.xen.packages import Packages

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent.parent
CACHE: Final = PROJECT / ".cache" / "xen"

PACKAGES: Final = (
    "busybox-static", "kmod", "libpython3.11-stdlib", "linux-image-amd64", "python3-minimal", "swtpm",
    "xen-hypervisor-4.17-amd64", "xen-utils-4.17", "xenstore-utils",
)  # fmt: skip

PYTHON: Final = "/usr/bin/python3.11"
LIBRARY: Final = "/usr/lib/vtpm"
"""Where the project lies in a domain."""

TOOLS: Final = tuple(f"/usr/lib/xen-4.17/bin/{name}" for name in ("xl", "xenstored", "xenconsoled", "xen-init-dom0"))
LIBXL_HELPERS: Final = ("/usr/lib/xen-4.17/bin/libxl-save-helper",)

DOMAIN_MODULES: Final = ("xen-tpmfront", "xen-evtchn", "xen-gntdev", "xen-gntalloc")
DOM0_MODULES: Final = (
    "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs", "virtio_pci", "virtio_console", "9pnet_virtio",
    "9p",
)  # fmt: skip

MODULES: Final = (
    "inside.dom0", "inside.domain", "inside.caller", "vtpm_impl.domain", "vtpm_impl.engines.tis",
    "encodings.ascii", "encodings.latin_1", "encodings.utf_8", "encodings.unicode_escape",
)  # fmt: skip
"""What is run in domains, and what that looks for by name, late."""


@dataclass(frozen=True)
class Images:
    """Files that are ready to boot, and how large each is."""

    folder: Path

    @property
    def xen(self) -> Path:
        """The hypervisor, as QEMU's multiboot loader wants it."""
        return self.folder / "xen.elf"

    @property
    def kernel(self) -> Path:
        """Debian's kernel, unpacked: Xen and xl take it as it is, and much sooner than the packed one."""
        return self.folder / "vmlinux"

    @property
    def dom0(self) -> Path:
        """The first file system of domain 0."""
        return self.folder / "dom0.cpio"

    @property
    def domain(self) -> Path:
        """The first file system of every other domain."""
        return self.folder / "domain.cpio"


def build(say: Callable[[str], None], cache: Path = CACHE) -> Images:
    """The images of this very tree; each part is made again only if something in it has changed."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(say, cache)


def _build(say: Callable[[str], None], cache: Path) -> Images:
    packages = Packages(PACKAGES, cache)
    say(f"{len(packages.files)} Debian packages, {sum(int(size) for _, _, size, _ in packages.files) / 1e6:.0f} MB")
    key = packages.key.copy()
    for path in _sources():
        key.update(f"{path.relative_to(PROJECT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    images = Images(cache / f"images-{key.hexdigest()[:16]}")
    if not images.folder.is_dir():
        root = packages.unpack()
        say("packages are unpacked")
        partial = cache / f"images-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _Builder(root, Images(partial)).build(say)
        partial.rename(images.folder)
    for old in cache.iterdir():  # of earlier trees and packages, and what was given up half-way
        if old.is_dir() and old not in (images.folder, packages.root):
            shutil.rmtree(old, ignore_errors=True)
    return images


def _sources() -> list[Path]:
    """All of this project that is in an image, or makes one."""
    inside = [*(PROJECT / "impl").rglob("*.py"), *HERE.rglob("*.py"), *(HERE / "inside").glob("*-init")]
    return sorted(path for path in inside if path.is_file())


class _Builder:
    """Makes images from an unpacked root."""

    def __init__(self, root: Path, images: Images) -> None:
        self._root = root
        self._images = images
        (self._boot,) = (root / "boot").glob("vmlinuz-*")
        self._release = self._boot.name.removeprefix("vmlinuz-")

    def build(self, say: Callable[[str], None]) -> None:
        (packed,) = (self._root / "boot").glob("xen-4.17-amd64.gz")
        self._images.xen.write_bytes(gzip.decompress(packed.read_bytes()))
        self._images.kernel.write_bytes(_unpacked_kernel(self._boot.read_bytes()))
        say("Xen and the kernel are unpacked")
        self._depends = self._module_dependencies()
        python = self._python()
        say(f"{len(python)} Python modules are compiled")
        for image, init, modules, programs in (
            (self._images.dom0, "dom0-init", DOM0_MODULES, (*TOOLS, *LIBXL_HELPERS, "/usr/bin/swtpm")),
            (self._images.domain, "domain-init", DOMAIN_MODULES, ("/usr/bin/swtpm",)),
        ):
            archive = Archive()
            self._fill(archive, init, modules, programs, python)
            image.write_bytes(archive.pack())
            say(f"{image.name}: {image.stat().st_size / 1e6:.1f} MB")

    def _fill(
        self, archive: Archive, init: str, modules: Iterable[str], programs: Iterable[str], python: dict[str, bytes]
    ) -> None:
        for folder in ("proc", "sys", "dev", "run/xen", "run/xenstored", "run/lock", "tmp", "etc", "root", "share",
                       "var/lib/xen", "var/lib/xenstored", "var/log/xen/console", "lib/modules"):  # fmt: skip
            archive.folder(folder)
        archive.link("var/run", "/run")
        archive.link("var/lock", "/run/lock")
        archive.copy("init", HERE / "inside" / init)
        archive.copy("bin/busybox", self._root / "bin/busybox")
        for path, content in python.items():
            archive.file(path, content, executable=path.endswith(".so"))
        elves = [PYTHON, *programs, *(path for path in python if path.endswith(".so"))]
        for program in (PYTHON, *programs):
            archive.copy(program, self._root / program.lstrip("/"))
        for library in (*self._libraries(elves), "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"):  # glibc opens it itself
            archive.copy(f"lib/x86_64-linux-gnu/{Path(library).name}", self._root / library.lstrip("/"))
        archive.copy("lib64/ld-linux-x86-64.so.2", self._root / "lib64/ld-linux-x86-64.so.2")
        archive.file("etc/xen/xl.conf", b"")
        archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        archive.file("etc/modules", " ".join(self._insertions(modules)).encode())
        for path in self._insertions(modules):
            archive.copy(path, self._root / path.lstrip("/"))

    # -------------------------------------------------------------------------------------------------- the kernel's

    def _module_dependencies(self) -> dict[str, list[str]]:
        """Each module of the kernel, by its name, with the files to insert: what it needs first, itself last."""
        folder = self._root / "lib/modules" / self._release
        self._run("/usr/bin/kmod", "-b", str(self._root), self._release, name="depmod")
        depends = {}
        for line in (folder / "modules.dep").read_text().splitlines():
            module, _, needed = line.partition(":")
            files = [*reversed(needed.split()), module]
            depends[Path(module).stem.replace("_", "-")] = [f"/lib/modules/{self._release}/{name}" for name in files]
        return depends

    def _insertions(self, modules: Iterable[str]) -> list[str]:
        built_in = (self._root / "lib/modules" / self._release / "modules.builtin").read_text()
        names = [name.replace("_", "-") for name in modules if f"/{name}.ko" not in built_in]
        return list(dict.fromkeys(path for name in names for path in self._depends[name]))

    # ------------------------------------------------------------------------------------------------------ Python's

    def _python(self) -> dict[str, bytes]:
        """Every Python module that a domain imports, compiled, by its path there; extensions as they are."""
        scratch = self._images.folder / "python"
        tree = scratch / LIBRARY.lstrip("/")
        without = shutil.ignore_patterns("__pycache__", "*.so")  # which are of this host's Python
        shutil.copytree(PROJECT / "impl" / "vtpm_impl", tree / "vtpm_impl", ignore=without)
        shutil.copytree(HERE / "inside", tree / "inside", ignore=without)
        listed = self._run(PYTHON, "-S", str(HERE / "freeze.py"), str(scratch / "compiled"), str(tree), *MODULES)
        found: dict[str, bytes] = {}
        for source, compiled in json.loads(listed).items():
            path = Path(source)
            if path.is_relative_to(tree):
                place = f"{LIBRARY}/{path.relative_to(tree)}"
            else:
                place = f"/{path.relative_to(self._root)}"
            if compiled is None:
                found[place] = path.read_bytes()
            else:
                found[place.removesuffix(".py") + ".pyc"] = Path(compiled).read_bytes()
        shutil.rmtree(scratch)
        return found

    # --------------------------------------------------------------------------------------------------- the loader's

    def _libraries(self, elves: Iterable[str]) -> list[str]:
        """The shared libraries that programs of the root need, by their paths there."""
        found: dict[str, None] = {}
        for elf in elves:
            for line in self._loader("--list", f"{self._root}{elf}").splitlines():
                if "=>" in line:
                    path = Path(line.split("=>")[1].split()[0])
                    if not path.is_relative_to(self._root):
                        raise RuntimeError(f"{elf} needs {line.strip()}, which is in no package")
                    found[f"/{path.relative_to(self._root)}"] = None
        return list(found)

    def _run(self, program: str, *arguments: str, name: str | None = None) -> str:
        """Run a program of the root with the root's own libraries."""
        named = ["--argv0", name] if name else []
        return self._loader(*named, f"{self._root}{program}", *arguments)

    def _loader(self, *arguments: str) -> str:
        folder = f"{self._root}/usr/lib/x86_64-linux-gnu"
        done = subprocess.run(
            [f"{folder}/ld-linux-x86-64.so.2", "--inhibit-cache", "--library-path", f"{folder}:{folder}/swtpm",
             *arguments],
            env={"PYTHONHOME": f"{self._root}/usr", "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr}")
        return done.stdout


def _unpacked_kernel(packed: bytes) -> bytes:
    """The kernel proper, which lies in its file behind a loader, packed by xz."""
    for found in re.finditer(re.escape(b"\xfd7zXZ\0"), packed):
        try:
            kernel = lzma.LZMADecompressor().decompress(packed[found.start() :])
        except lzma.LZMAError:
            continue
        if kernel.startswith(b"\x7fELF"):
            return kernel
    raise RuntimeError("there is no kernel packed by xz in Debian's file")
