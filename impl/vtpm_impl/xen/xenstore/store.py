"""The store itself: takes requests, gives answers and events; no input or output, and nothing left to chance.

It behaves as xenstored of Xen 4.17 does, answer by answer, but for what `tests/impl/xenstore/deviations.py` lists.
Source: Xen 4.17, `docs/misc/xenstore.txt`; `tools/xenstore/xenstored_*.c` read for facts; Debian's xenstored observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

from vtpm_impl.xen.xenstore import paths
from vtpm_impl.xen.xenstore.permissions import (
    ALL,
    PRIVATE,
    Access,
    Permission,
    Permissions,
    granted,
    parse,
    text,
    without,
)
from vtpm_impl.xen.xenstore.quotas import Quotas
from vtpm_impl.xen.xenstore.tree import Ages, Node, TooManyNodes, Transaction, Tree, View, size
from vtpm_impl.xen.xenstore.watches import Watch, Watches
from vtpm_impl.xen.xenstore.wire import (
    PAYLOAD_MAX,
    RELATIVE_PATH_MAX,
    REQUESTS,
    Message,
    MessageType,
    leading_number,
    only_string,
    strings,
)

CONTROL_DOMAIN: Final = 0
SELF: Final = 0x7FF0
"""The domid by which a domain calls itself."""


class DomainState(Enum):
    """What the machine says of a domain."""

    GONE = "gone"
    RUNNING = "running"
    SHUT_DOWN = "shut down"


class Connection:
    """One client. Its domid is who it is: whoever makes it answers for that."""

    def __init__(self, domid: int) -> None:
        self.domid = domid
        self.privileged = domid == CONTROL_DOMAIN
        self.base = f"/local/domain/{domid}"
        self.target: int | None = None
        self.open = True
        self.watches: dict[tuple[str, bytes], Watch[Connection]] = {}
        self.transactions: dict[int, Transaction] = {}
        self._last_transaction = 0

    def next_transaction(self) -> int:
        """Give a number that no open transaction of this client has; never 0."""
        while True:
            self._last_transaction = (self._last_transaction + 1) & 0xFFFFFFFF
            if self._last_transaction and self._last_transaction not in self.transactions:
                return self._last_transaction

    def may(self, permissions: Permissions) -> int:
        """Give what this client may do with a node, or know of a special watch, that has these permissions."""
        return ALL if self.privileged else granted(permissions, self.domid, self.target)


class Domain:
    """What the store knows of one domain."""

    def __init__(self, domid: int) -> None:
        self.domid = domid
        self.introduced = False
        self.shut_down = False
        self.target: int | None = None
        self.connections: list[Connection] = []

    @property
    def watches(self) -> int:
        """How many watches its clients have set, all together."""
        return sum(len(connection.watches) for connection in self.connections)

    @property
    def transactions(self) -> int:
        """How many transactions its clients have open, all together."""
        return sum(len(connection.transactions) for connection in self.connections)


class Refused(Exception):
    """A request gets the error of this name."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


Delivery = tuple[Connection, Message | None]
"""What a client is sent; None: its connection ends."""

StateOf = Callable[[int], DomainState]


class Store:
    """The nodes, and everything that clients have asked for."""

    def __init__(self, state_of: StateOf, quotas: Quotas | None = None) -> None:
        """Make a store that holds `/`, `/tool` and `/tool/xenstored`; `state_of` tells of a domid what became of it."""
        self.quotas = quotas or Quotas()
        self._state_of = state_of
        self._ages = Ages()
        self._tree = Tree(self._ages)
        self._watches: Watches[Connection] = Watches()
        self._special: dict[str, Permissions] = dict.fromkeys(paths.SPECIAL, PRIVATE)
        self._domains: dict[int, Domain] = {}
        self._out: list[Delivery] = []
        self._after_reply: list[Delivery] = []
        self._events: set[tuple[Connection, bytes]] = set()
        self._add_domain(CONTROL_DOMAIN).introduced = True
        for path, children in (("/", b"tool\0"), ("/tool", b"xenstored\0"), ("/tool/xenstored", b"")):
            self._tree.put(path, Node(b"", children, PRIVATE, 0))
            self._tree.count(CONTROL_DOMAIN, 1)
        self._handlers: dict[int, Callable[[Connection, View, bytes], bytes]] = {
            MessageType.DIRECTORY: self._directory,
            MessageType.READ: self._read,
            MessageType.GET_PERMS: self._get_permissions,
            MessageType.WATCH: self._watch,
            MessageType.UNWATCH: self._unwatch,
            MessageType.TRANSACTION_START: self._start,
            MessageType.TRANSACTION_END: self._end,
            MessageType.INTRODUCE: self._introduce,
            MessageType.RELEASE: self._release,
            MessageType.GET_DOMAIN_PATH: self._domain_path,
            MessageType.WRITE: self._write,
            MessageType.MKDIR: self._make,
            MessageType.RM: self._remove,
            MessageType.SET_PERMS: self._set_permissions,
            MessageType.IS_DOMAIN_INTRODUCED: self._is_introduced,
            MessageType.RESUME: self._resume,
            MessageType.SET_TARGET: self._set_target,
            MessageType.RESET_WATCHES: self._reset,
            MessageType.DIRECTORY_PART: self._directory_part,
        }

    # ---- clients and domains ----------------------------------------------------------------------------------------

    def connect(self, domid: int) -> Connection:
        """Give a connection of a domain that is introduced; `KeyError` with the domid otherwise."""
        domain = self._domains.get(domid)
        if domain is None or not domain.introduced:
            raise KeyError(f"domain {domid} is not introduced")
        connection = Connection(domid)
        connection.target = domain.target
        domain.connections.append(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """End a connection: its transactions are dropped and its watches taken away."""
        if connection.open:
            connection.open = False
            self._forget(connection)
            self._domains[connection.domid].connections.remove(connection)

    def introduced(self) -> set[int]:
        """Give the domids of all domains that may connect."""
        return {domid for domid, domain in self._domains.items() if domain.introduced}

    def check_domains(self) -> list[Delivery]:
        """Look at what became of all domains: those that are gone are released, those that shut down are told of."""
        told = False
        again = True
        while again:
            again = False
            for domain in reversed(list(self._domains.values())):
                state = DomainState.RUNNING if domain.domid == CONTROL_DOMAIN else self._state_of(domain.domid)
                if state is DomainState.GONE:
                    was_introduced = domain.introduced
                    self._destroy(domain)
                    told = told and not was_introduced  # a release tells of everything at once
                    again = True
                    break
                if domain.introduced and state is DomainState.SHUT_DOWN and not domain.shut_down:
                    domain.shut_down = told = True
        if told:
            self._fire_special("@releaseDomain")
        return self._delivered()

    def handle(self, connection: Connection, request: Message) -> list[Delivery]:
        """Take one request; give what clients are sent on account of it, in order. Events may come before the reply."""
        kind = request.type
        try:
            handler = self._handlers.get(kind)
            if not connection.privileged and kind in REQUESTS and REQUESTS[MessageType(kind)].privileged:
                raise Refused("EACCES")
            if handler is None:
                raise Refused("ENOSYS")
            view: View = self._tree
            if request.transaction and REQUESTS[MessageType(kind)].transaction:
                transaction = connection.transactions.get(request.transaction)
                if transaction is None:
                    raise Refused("ENOENT")
                view = transaction
            payload = handler(connection, view, request.payload)
            if len(payload) > PAYLOAD_MAX:
                raise Refused("E2BIG")
        except Refused as refused:
            kind, payload = MessageType.ERROR, refused.error.encode() + b"\0"
        except TooManyNodes:
            kind, payload = MessageType.ERROR, b"ENOSPC\0"
        self._out.append((connection, Message(kind, request.request, request.transaction, payload)))
        return self._delivered()

    def _delivered(self) -> list[Delivery]:
        out = self._out + self._after_reply
        self._out = []
        self._after_reply = []
        self._events.clear()
        return out

    def _add_domain(self, domid: int) -> Domain:
        domain = self._domains[domid] = Domain(domid)
        self._ages.known[domid] = self._ages.last
        return domain

    def _known(self, domid: int) -> bool:
        """Whether there is such a domain; from now on the store knows it."""
        if domid in self._domains:
            return True
        if self._state_of(domid) is DomainState.GONE:
            return False
        self._add_domain(domid)
        return True

    def _forget(self, connection: Connection) -> None:
        for watch in connection.watches.values():
            self._watches.remove(watch)
        connection.watches.clear()
        connection.transactions.clear()

    def _destroy(self, domain: Domain) -> None:
        for connection in list(domain.connections):
            self.disconnect(connection)
            self._out.append((connection, None))
        self._remove_owned(domain.domid)
        for name, permissions in self._special.items():
            self._special[name] = without(permissions, domain.domid)
        del self._domains[domain.domid]
        del self._ages.known[domain.domid]
        self._tree.entries.pop(domain.domid, None)
        if domain.introduced:
            self._fire_special("@releaseDomain")

    def _remove_owned(self, domid: int) -> None:
        """Remove every node that a domain owns, with all below it."""
        rest = ["/"]
        while rest and self._tree.entries.get(domid, 0) > 0:
            path = rest.pop()
            node = self._tree.nodes[path]
            if node.permissions[0].domid == domid:
                self._remove_subtree(self._tree, path)
            else:
                rest += [paths.child(path, name) for name in reversed(node.names())]

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def _valid(self, path: str) -> bool:
        return paths.is_valid(path, min(self.quotas.path, RELATIVE_PATH_MAX))

    def _path(self, connection: Connection, payload: bytes | None) -> str:
        """Give the absolute path that a client means; it need not be valid."""
        if payload is None:
            raise Refused("EINVAL")
        return paths.absolute(payload.decode("latin-1"), connection.base)

    def _get(self, connection: Connection, view: View, path: str, needed: int) -> Node:
        """Give a node that a client may use as it wants to.

        Whether a node exists is told only to those whom the nearest node above it allows some of what they want.
        """
        if not self._valid(path):
            raise Refused("EINVAL")
        node = view.get(path)
        if node is not None and connection.may(node.permissions) & needed == needed:
            return node
        above = path
        while True:
            above = paths.parent(above)
            ancestor = view.get(above)
            if ancestor is not None:
                break
        if not connection.may(ancestor.permissions) & needed:
            raise Refused("EACCES")
        raise Refused("ENOENT" if node is None else "EACCES")

    def _put(self, connection: Connection, view: View, path: str, node: Node) -> None:
        if not connection.privileged and size(node) >= self.quotas.node_size:
            if isinstance(view, Transaction):
                view.failed = True
            raise Refused("ENOSPC")
        view.put(path, node)

    def _create(self, connection: Connection, view: View, path: str, value: bytes) -> Node:
        """Create a node and those that are missing above it; what an unprivileged domain creates is its own."""
        missing = [path]
        while (above := view.get(paths.parent(missing[-1]))) is None:
            missing.append(paths.parent(missing[-1]))
        permissions = above.permissions
        if not connection.privileged:
            permissions = (Permission(connection.domid, permissions[0].access), *permissions[1:])
        if isinstance(view, Transaction):
            view.created = True
        owner = permissions[0].domid
        created: list[str] = []
        node = Node(value, b"", permissions, 0)
        try:
            for each in missing:
                # what is created in a transaction is counted when that ends
                if not connection.privileged and self._entries(connection.domid) >= self.quotas.entries:
                    raise Refused("ENOSPC")
                self._put(connection, view, each, node)
                view.count(owner, 1)
                created.append(each)
                node = Node(b"", b"", permissions, 0).with_child(paths.name(each))
            self._put(connection, view, paths.parent(missing[-1]), above.with_child(paths.name(missing[-1])))
        except Refused:
            for each in created:
                view.delete(each)
                view.count(owner, -1)
                if isinstance(view, Transaction):
                    view.failed = True
            raise
        return Node(value, b"", permissions, 0)

    def _entries(self, domid: int) -> int:
        return self._tree.entries.get(domid, 0)

    def _remove_subtree(self, view: View, path: str) -> None:
        """Remove a node and all below it, children first; watches below it fire for exactly what they watch."""
        above = paths.parent(path)
        parent = view.get(above)
        if parent is None:  # gone since the transaction saw the node, which dooms it
            raise Refused("EINVAL")
        try:
            order = list(_subtree(view, path))
        except TooManyNodes:
            raise Refused("EIO") from None
        for each, node in _children_first(order):
            view.delete(each)
            self._fire(view, each, node, exact=each != path)
            view.count(node.permissions[0].domid, -1)
        view.put(above, parent.without_child(paths.name(path)))

    # ---- watches ----------------------------------------------------------------------------------------------------

    def _fire(
        self, view: View, path: str, node: Node | None, old: Permissions | None = None, *, exact: bool = False
    ) -> None:
        """Tell of a change, at once or at the end of the transaction, whoever may know.

        A client may know if it may read the node as it is (or was, when it goes), or as it was before the change, or
        if it may read the node above.
        """
        if isinstance(view, Transaction):
            view.fire_later(path, exact=exact)
            return
        watches = self._watches.matching(path, exact=exact)
        if not watches:
            return
        told: dict[Connection, bool] = {}
        for watch in watches:
            client = watch.client
            if client not in told:
                told[client] = self._may_know(client, path, node, old)
            if told[client]:
                self._event(self._out, watch, path)

    def _may_know(self, client: Connection, path: str, node: Node | None, old: Permissions | None) -> bool:
        if old is not None and client.may(old) & Access.READ:
            return True
        if node is None:
            node = self._tree.get(path)
            if node is None:
                return False
        if client.may(node.permissions) & Access.READ:
            return True
        above = self._tree.get(paths.parent(path))
        return above is not None and bool(client.may(above.permissions) & Access.READ)

    def _fire_special(self, name: str) -> None:
        permissions = self._special[name]
        for watch in self._watches.matching(name, exact=True):
            if watch.client.may(permissions) & Access.READ:
                self._event(self._out, watch, name)

    def _event(self, to: list[Delivery], watch: Watch[Connection], path: str) -> None:
        """Send an event, unless it is too long, or the same as one that is being sent already."""
        payload = watch.event(path)
        if len(payload) > PAYLOAD_MAX:
            return
        if not path.startswith("@"):
            if (watch.client, payload) in self._events:
                return
            self._events.add((watch.client, payload))
        to.append((watch.client, Message(MessageType.WATCH_EVENT, 0, 0, payload)))

    # ---- requests: nodes --------------------------------------------------------------------------------------------

    def _read(self, connection: Connection, view: View, payload: bytes) -> bytes:
        return self._get(connection, view, self._path(connection, only_string(payload)), Access.READ).value

    def _directory(self, connection: Connection, view: View, payload: bytes) -> bytes:
        return self._get(connection, view, self._path(connection, only_string(payload)), Access.READ).children

    def _directory_part(self, connection: Connection, view: View, payload: bytes) -> bytes:
        given = strings(payload)
        if len(given) != 2:
            raise Refused("EINVAL")
        node = self._get(connection, view, self._path(connection, given[0]), Access.READ)
        start = leading_number(given[1])
        head = b"%d\0" % node.generation
        if start >= len(node.children):
            return head + b"\0"
        # whole names only, and the empty one that says that there are no more must have room
        room = PAYLOAD_MAX - len(head) - 1
        end = node.children.rfind(b"\0", start, start + room) + 1
        part = node.children[start:end] if end else b""
        return head + part + (b"\0" if start + len(part) == len(node.children) else b"")

    def _get_permissions(self, connection: Connection, view: View, payload: bytes) -> bytes:
        node = self._get(connection, view, self._path(connection, only_string(payload)), Access.READ)
        return b"".join(text(entry).encode() + b"\0" for entry in node.permissions)

    def _write(self, connection: Connection, view: View, payload: bytes) -> bytes:
        end = payload.find(b"\0")
        if end < 0:
            raise Refused("EINVAL")
        path = self._path(connection, payload[:end])
        value = payload[end + 1 :]
        try:
            node = self._get(connection, view, path, Access.WRITE)
        except Refused as refused:
            if refused.error != "ENOENT":
                raise
            node = self._create(connection, view, path, value)
        else:
            node = node._replace(value=value)
            self._put(connection, view, path, node)
        self._fire(view, path, node)
        return b"OK\0"

    def _make(self, connection: Connection, view: View, payload: bytes) -> bytes:
        path = self._path(connection, only_string(payload))
        try:
            self._get(connection, view, path, Access.WRITE)
        except Refused as refused:
            if refused.error != "ENOENT":
                raise
            self._fire(view, path, self._create(connection, view, path, b""))
        return b"OK\0"

    def _remove(self, connection: Connection, view: View, payload: bytes) -> bytes:
        path = self._path(connection, only_string(payload))
        try:
            self._get(connection, view, path, Access.WRITE)
        except Refused as refused:
            if refused.error == "ENOENT" and view.get(paths.parent(path)) is not None:
                return b"OK\0"
            raise
        if path == "/":
            raise Refused("EINVAL")
        self._remove_subtree(view, path)
        return b"OK\0"

    def _set_permissions(self, connection: Connection, view: View, payload: bytes) -> bytes:
        given = strings(payload)
        if len(given) < 2:
            raise Refused("EINVAL")
        if not connection.privileged and len(given) - 1 > self.quotas.permissions:
            raise Refused("ENOSPC")
        entries = []
        for each in given[1:]:
            entry = parse(each.decode("latin-1"))
            if entry is None:
                raise Refused("EINVAL")
            entries.append(entry)
        permissions = tuple(entry._replace(ignored=not self._known(entry.domid)) for entry in entries)
        if permissions[0].ignored:
            raise Refused("ENOENT")
        if given[0].startswith(b"@"):
            return self._set_special(connection, given[0].decode("latin-1"), permissions)
        path = self._path(connection, given[0])
        node = self._get(connection, view, path, Access.WRITE | Access.OWNER)
        old = node.permissions
        if not connection.privileged and permissions[0].domid != old[0].domid:
            raise Refused("EPERM")
        changed = node._replace(permissions=permissions)
        self._put(connection, view, path, changed)
        view.count(old[0].domid, -1)
        view.count(permissions[0].domid, 1)
        self._fire(view, path, changed, old)
        return b"OK\0"

    def _set_special(self, connection: Connection, name: str, permissions: Permissions) -> bytes:
        if name not in self._special:
            raise Refused("EINVAL")
        needed = Access.WRITE | Access.OWNER
        if connection.may(self._special[name]) & needed != needed:
            raise Refused("EACCES")
        self._special[name] = permissions
        return b"OK\0"

    # ---- requests: watches ------------------------------------------------------------------------------------------

    def _watch(self, connection: Connection, _view: View, payload: bytes) -> bytes:
        given = strings(payload)
        if len(given) != 2:
            raise Refused("EINVAL")
        named, token = given[0].decode("latin-1"), given[1]
        path = paths.absolute(named, connection.base)
        valid = len(path) <= RELATIVE_PATH_MAX if path.startswith("@") else self._valid(path)
        if not valid:
            raise Refused("EINVAL")
        if (path, token) in connection.watches:
            raise Refused("EEXIST")
        if not connection.privileged and self._domains[connection.domid].watches > self.quotas.watches:
            raise Refused("E2BIG")
        base = len(connection.base) + 1 if paths.is_relative(named) else 0
        watch = self._watches.add(connection, path, token, base)
        connection.watches[path, token] = watch
        self._event(self._after_reply, watch, path)
        return b"OK\0"

    def _unwatch(self, connection: Connection, _view: View, payload: bytes) -> bytes:
        given = strings(payload)
        if len(given) != 2:
            raise Refused("EINVAL")
        watch = connection.watches.pop((self._path(connection, given[0]), given[1]), None)
        if watch is None:
            raise Refused("ENOENT")
        self._watches.remove(watch)
        return b"OK\0"

    def _reset(self, connection: Connection, _view: View, _payload: bytes) -> bytes:
        self._forget(connection)
        return b"OK\0"

    # ---- requests: transactions -------------------------------------------------------------------------------------

    def _start(self, connection: Connection, view: View, _payload: bytes) -> bytes:
        if isinstance(view, Transaction):
            raise Refused("EBUSY")
        if not connection.privileged and self._domains[connection.domid].transactions > self.quotas.transactions:
            raise Refused("ENOSPC")
        number = connection.next_transaction()
        limit = None if connection.privileged else self.quotas.transaction_nodes
        connection.transactions[number] = Transaction(number, self._tree, self._ages, limit)
        return b"%d\0" % number

    def _end(self, connection: Connection, view: View, payload: bytes) -> bytes:
        verdict = only_string(payload)
        if verdict not in (b"T", b"F"):
            raise Refused("EINVAL")
        if not isinstance(view, Transaction):
            raise Refused("ENOENT")
        del connection.transactions[view.number]
        if verdict == b"T":
            self._commit(connection, view)
        return b"OK\0"

    def _commit(self, connection: Connection, transaction: Transaction) -> None:
        if transaction.failed:
            raise Refused("ENOMEM")
        limited = transaction.created and not connection.privileged
        for domid, change in transaction.entries.items():
            if not self._known(domid):
                raise Refused("ENOMEM")
            if limited and domid != CONTROL_DOMAIN and max(0, self._entries(domid) + change) >= self.quotas.entries:
                raise Refused("ENOSPC")
        if transaction.conflicts():
            raise Refused("EAGAIN")
        for path, touched in transaction.apply():
            if touched.event is not None:
                old = touched.original.permissions if touched.original else None
                self._fire(self._tree, path, None, old, exact=touched.event)
        for domid, change in transaction.entries.items():
            self._tree.count(domid, change)

    # ---- requests: domains ------------------------------------------------------------------------------------------

    def _introduce(self, _connection: Connection, _view: View, payload: bytes) -> bytes:
        given = strings(payload)
        if len(given) < 3:
            raise Refused("EINVAL")
        domid, port = leading_number(given[0]), leading_number(given[2])
        if port == 0 or port >> 31:
            raise Refused("EINVAL")
        domain = self._domains.get(domid)
        if domain is None or not domain.introduced:
            if self._state_of(domid) is DomainState.GONE:
                raise Refused("EINVAL")
            domain = domain or self._add_domain(domid)
            domain.introduced = True
            domain.shut_down = False
            self._fire_special("@introduceDomain")
        if domid != CONTROL_DOMAIN:
            for connection in domain.connections:
                self._forget(connection)
        return b"OK\0"

    def _one_domain(self, payload: bytes) -> Domain:
        """Give the introduced domain, not the control domain, that a request names and nothing else."""
        given = only_string(payload)
        domid = leading_number(given) if given is not None else 0
        if domid == 0:
            raise Refused("EINVAL")
        return self._introduced_domain(domid)

    def _introduced_domain(self, domid: int) -> Domain:
        domain = self._domains.get(domid)
        if domain is None or not domain.introduced:
            raise Refused("ENOENT")
        return domain

    def _release(self, _connection: Connection, _view: View, payload: bytes) -> bytes:
        self._destroy(self._one_domain(payload))
        return b"OK\0"

    def _resume(self, _connection: Connection, _view: View, payload: bytes) -> bytes:
        self._one_domain(payload).shut_down = False
        return b"OK\0"

    def _set_target(self, _connection: Connection, _view: View, payload: bytes) -> bytes:
        given = strings(payload)
        if len(given) < 2:
            raise Refused("EINVAL")
        domain = self._introduced_domain(leading_number(given[0]))
        domain.target = self._introduced_domain(leading_number(given[1])).domid
        for connection in domain.connections:
            connection.target = domain.target
        return b"OK\0"

    @staticmethod
    def _domain_path(_connection: Connection, _view: View, payload: bytes) -> bytes:
        given = only_string(payload)
        if given is None:
            raise Refused("EINVAL")
        return b"/local/domain/%d\0" % leading_number(given)

    def _is_introduced(self, _connection: Connection, _view: View, payload: bytes) -> bytes:
        given = only_string(payload)
        if given is None:
            raise Refused("EINVAL")
        domid = leading_number(given)
        domain = self._domains.get(domid)
        return b"T\0" if domid == SELF or (domain is not None and domain.introduced) else b"F\0"


def _subtree(view: View, path: str) -> Iterator[tuple[str, Node]]:
    """Give a node and all below it, parents first, siblings in order."""
    rest = [path]
    while rest:
        each = rest.pop()
        known = isinstance(view, Transaction) and each in view.touched
        node = view.get(each)
        if node is None:  # a transaction has seen a directory and its child at different times, which dooms it
            if known:
                continue
            raise Refused("EIO")
        yield each, node
        rest += [paths.child(each, name) for name in reversed(node.names())]


def _children_first(order: list[tuple[str, Node]]) -> list[tuple[str, Node]]:
    """Give the nodes of a subtree, listed parents first, so that each comes after all below it, siblings in order."""
    done: list[tuple[str, Node]] = []
    waiting: list[tuple[str, Node]] = []
    for each in order:
        while waiting and waiting[-1][0] != paths.parent(each[0]):
            done.append(waiting.pop())
        waiting.append(each)
    return done + waiting[::-1]
