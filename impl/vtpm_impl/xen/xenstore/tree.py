"""The nodes, and the two ways to change them: at once, or privately in a transaction until it commits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from vtpm_impl.xen.xenstore.permissions import Permission, Permissions

_HEADER: Final = 24
_ENTRY: Final = 8


class Node(NamedTuple):
    """One node; never changed, only replaced."""

    value: bytes
    children: bytes  # the names of its children in order of creation, each ended by a nul
    permissions: Permissions
    generation: int  # a number that no other state of any node has had

    def names(self) -> list[str]:
        """Give the names of the children, in order of creation."""
        return self.children.decode("latin-1").split("\0")[:-1]

    def with_child(self, name: str) -> Node:
        """Give this node with one more child, as the last."""
        return self._replace(children=self.children + name.encode("latin-1") + b"\0")

    def without_child(self, name: str) -> Node:
        """Give this node without the child of that name."""
        names = b"\0" + self.children
        return self._replace(children=names.replace(b"\0" + name.encode("latin-1") + b"\0", b"\0", 1)[1:])


def size(node: Node) -> int:
    """Give the bytes that a node counts for: a header, its permissions, its value, and the names of its children."""
    return _HEADER + _ENTRY * len(node.permissions) + len(node.value) + len(node.children)


class View(Protocol):
    """The nodes as one request sees them."""

    def get(self, path: str) -> Node | None:
        """Give the node at an absolute path."""

    def put(self, path: str, node: Node) -> None:
        """Create or replace a node; it gets a new generation. Its parent is the caller's business."""

    def delete(self, path: str) -> None:
        """Take a node away that is there."""

    def count(self, domid: int, change: int) -> None:
        """Note that a domain owns so many nodes more."""


class Ages:
    """The generation that was last given away, and the one at which the store came to know each domain."""

    def __init__(self) -> None:
        self.last = 0
        self.known: dict[int, int] = {}

    def next(self) -> int:
        """Give a generation that nothing has had."""
        self.last += 1
        return self.last

    def refresh(self, node: Node) -> Node:
        """Give the node as it counts today: entries for a domain that is younger than the node are ignored.

        A domid that is used again must not inherit what was granted to the domain before it.
        """
        if len(node.permissions) == 1:
            return node
        fresh = tuple(self._entry(entry, node.generation) for entry in node.permissions[1:])
        return node._replace(permissions=(node.permissions[0], *fresh))

    def _entry(self, entry: Permission, generation: int) -> Permission:
        if entry.ignored or self.known.get(entry.domid, generation + 1) <= generation:
            return entry
        return entry._replace(ignored=True)


class Tree:
    """All nodes, by path; a request outside any transaction sees and changes them here."""

    def __init__(self, ages: Ages) -> None:
        self.nodes: dict[str, Node] = {}
        self.entries: dict[int, int] = {}
        self._ages = ages

    def get(self, path: str) -> Node | None:
        """See `View`."""
        node = self.nodes.get(path)
        return node if node is None or len(node.permissions) == 1 else self._ages.refresh(node)

    def put(self, path: str, node: Node) -> None:
        """See `View`."""
        self.nodes[path] = node._replace(generation=self._ages.next())

    def delete(self, path: str) -> None:
        """See `View`."""
        del self.nodes[path]

    def count(self, domid: int, change: int) -> None:
        """See `View`."""
        self.entries[domid] = self.entries.get(domid, 0) + change


class TooManyNodes(Exception):
    """A transaction of an unprivileged domain wants to touch more nodes than it may."""


class Touched:
    """What a transaction knows of one path that it has read or written."""

    __slots__ = ("event", "modified", "node", "original")

    def __init__(self, original: Node | None) -> None:
        self.original = original
        self.node = original
        self.modified = False
        self.event: bool | None = None  # None: no watch fires; else whether only a watch on the very path does


class Transaction:
    """A private view: what it has touched stays as it was first seen, until the commit.

    It conflicts with every other change of a node that it has read, and whatever it writes it has read before.
    """

    def __init__(self, number: int, tree: Tree, ages: Ages, limit: int | None) -> None:
        ages.next()
        self.number = number
        self.touched: dict[str, Touched] = {}
        self.entries: dict[int, int] = {}
        self.created = False
        self.failed = False  # it cannot commit any more
        self._tree = tree
        self._ages = ages
        self._limit = limit

    def get(self, path: str) -> Node | None:
        """See `View`."""
        touched = self.touched.get(path)
        if touched is None:
            if self._limit is not None and len(self.touched) >= self._limit:
                self.failed = True
                raise TooManyNodes(path)
            touched = self.touched[path] = Touched(self._tree.get(path))
        node = touched.node
        return node if node is None or len(node.permissions) == 1 else self._ages.refresh(node)

    def put(self, path: str, node: Node) -> None:
        """See `View`."""
        touched = self.touched[path]
        touched.node = node._replace(generation=self._ages.next())
        touched.modified = True

    def delete(self, path: str) -> None:
        """See `View`."""
        touched = self.touched[path]
        touched.node = None
        touched.modified = True

    def count(self, domid: int, change: int) -> None:
        """See `View`."""
        self.entries[domid] = self.entries.get(domid, 0) + change

    def fire_later(self, path: str, *, exact: bool) -> None:
        """Note that the commit fires watches for a path; an event for what lies above it outdoes an exact one."""
        touched = self.touched[path]
        touched.event = exact if touched.event is None else touched.event and exact

    def conflicts(self) -> bool:
        """Whether something that it has seen is no longer so."""
        nodes = self._tree.nodes
        for path, touched in self.touched.items():
            seen, now = touched.original, nodes.get(path)
            if (seen.generation if seen else None) != (now.generation if now else None):
                return True
        return False

    def apply(self) -> Iterator[tuple[str, Touched]]:
        """Make its changes, one node after the other in the order in which it first touched them.

        After each change the path and what is known of it are given, for the caller to fire watches: who may see an
        event is decided by the nodes as they are at that moment.
        """
        for path, touched in self.touched.items():
            if not touched.modified:
                continue
            if touched.node is not None:
                self._tree.put(path, touched.node)
            elif touched.original is not None:
                self._tree.delete(path)
            yield path, touched
