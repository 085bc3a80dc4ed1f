"""An archive as Linux unpacks it into its first file system: cpio, in the format called newc."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath


class Archive:
    """Files by their paths; the folders above a file come by themselves."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes]] = {}

    def __contains__(self, path: str) -> bool:
        return _name(path) in self._entries

    def folder(self, path: str) -> None:
        """Add a folder."""
        self._add(path, stat.S_IFDIR | 0o755, b"")

    def file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """Add a file."""
        self._add(path, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def copy(self, path: str, source: Path) -> None:
        """Add a file as it lies somewhere, links followed."""
        self.file(path, source.read_bytes(), executable=bool(source.stat().st_mode & 0o100))

    def pack(self) -> bytes:
        """The archive; the same files give the same bytes."""
        entries = [*self._entries.items(), ("TRAILER!!!", (0, b""))]
        return b"".join(_packed(number, name, *entry) for number, (name, entry) in enumerate(entries, 1))

    def _add(self, path: str, mode: int, content: bytes) -> None:
        for above in reversed(PurePosixPath(_name(path)).parents):
            if str(above) != ".":
                self._entries.setdefault(str(above), (stat.S_IFDIR | 0o755, b""))
        self._entries[_name(path)] = (mode, content)


def _name(path: str) -> str:
    return path.strip("/")


def _packed(number: int, name: str, mode: int, content: bytes) -> bytes:
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name.encode()) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
