"""Two stores are told the same story, and what each of the three domains hears is compared, message by message.

Order: what one connection receives is compared in order, events and replies mixed as they come. Nothing is said of
the order between different connections, which nobody can observe. One exception: the events of a RELEASE are taken as
if they came before its reply, because xenstored puts the release off until after the reply if the connection to be
released happens to be the next one in its list.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from tests.impl.xenstore.sequences import DOMAINS, GUESTS, Ask, Dies, Reborn, Reconnects, ShutsDown, Step, clean
from tests.peers.xenstored.debian import Channel, SocketChannel, Xenstored

from vtpm_impl.xen.xenstore.quotas import Quotas
from vtpm_impl.xen.xenstore.server import Server, socket_path
from vtpm_impl.xen.xenstore.store import Connection, DomainState, Store
from vtpm_impl.xen.xenstore.wire import Message, MessageType


class Heard(NamedTuple):
    """One message that a domain received; whether it answers a request, and not to which, for ids are its own."""

    kind: int
    reply: bool
    transaction: int
    payload: bytes

    def __str__(self) -> str:
        name = Message(self.kind, 0, 0, b"").name
        return f"{name} {self.payload!r}" + (f" in transaction {self.transaction}" if self.transaction else "")


class Side(Protocol):
    """A store with the three domains that speak to it."""

    def ask(self, ask: Ask) -> dict[int, list[Heard]]:
        """Send a request and give what each domain receives until the store is at rest again."""

    def add(self, domid: int) -> None:
        """Let a guest exist that did not."""

    def drop(self, domid: int) -> dict[int, list[Heard]]:
        """Let a guest exist no longer; its connection ends."""

    def shut_down(self, domid: int) -> dict[int, list[Heard]]:
        """Let a guest have shut down."""

    def leave(self, domid: int) -> None:
        """End a connection."""

    def join(self, domid: int) -> None:
        """Open the connection of a domain that is introduced."""

    def close(self) -> None:
        """End all connections that are open."""


class Ours:
    """Our store, called directly."""

    def __init__(self, quotas: Quotas) -> None:
        self._states: dict[int, DomainState] = {}
        self._store = Store(lambda domid: self._states.get(domid, DomainState.GONE), quotas)
        self._clients: dict[int, Connection] = {}

    def ask(self, ask: Ask) -> dict[int, list[Heard]]:
        request = Message(ask.kind, 1, ask.transaction, ask.payload)
        return self._heard(self._store.handle(self._clients[ask.domid], request))

    def add(self, domid: int) -> None:
        self._states[domid] = DomainState.RUNNING

    def drop(self, domid: int) -> dict[int, list[Heard]]:
        self._states[domid] = DomainState.GONE
        return self._heard(self._store.check_domains())

    def shut_down(self, domid: int) -> dict[int, list[Heard]]:
        self._states[domid] = DomainState.SHUT_DOWN
        return self._heard(self._store.check_domains())

    def leave(self, domid: int) -> None:
        self._store.disconnect(self._clients.pop(domid))

    def join(self, domid: int) -> None:
        self._clients[domid] = self._store.connect(domid)

    def close(self) -> None:
        for domid in list(self._clients):
            self.leave(domid)

    def _heard(self, deliveries: list[tuple[Connection, Message | None]]) -> dict[int, list[Heard]]:
        heard = defaultdict(list)
        for client, message in deliveries:
            if message is not None:
                kind, request, transaction, payload = message
                heard[client.domid].append(Heard(kind, request != 0, transaction, payload))
        return dict(heard)


class Spoken:
    """A store that is spoken to over connections; that nothing more comes is found by a further request's answer."""

    _BARRIER: Final = (MessageType.GET_DOMAIN_PATH, b"0\0")
    _MORE_AFTER_THE_REPLY: Final = (MessageType.WATCH, MessageType.RELEASE)

    def __init__(self) -> None:
        self._clients: dict[int, Channel] = {}
        self._watching: set[int] = set()

    def ask(self, ask: Ask) -> dict[int, list[Heard]]:
        if ask.kind == MessageType.WATCH:
            self._watching.add(ask.domid)
        client = self._clients[ask.domid]
        request = client.send(ask.kind, ask.payload, ask.transaction)
        if ask.kind in self._MORE_AFTER_THE_REPLY:
            heard = self._until_quiet(ask.domid, request)
        else:
            heard = self._until(client, request)
        return {ask.domid: heard} | self._events(ask.domid)

    def leave(self, domid: int) -> None:
        self._clients.pop(domid).close()
        self._watching.discard(domid)

    def close(self) -> None:
        for domid in list(self._clients):
            self.leave(domid)

    def _events(self, asker: int | None = None) -> dict[int, list[Heard]]:
        return {
            domid: self._until_quiet(domid)
            for domid in sorted(self._clients)
            if domid != asker and domid in self._watching
        }

    def _until_quiet(self, domid: int, request: int | None = None) -> list[Heard]:
        """Give all that has been sent to a domain, found by a further request that is known to be answered last."""
        client = self._clients[domid]
        return self._until(client, client.send(*self._BARRIER), request)[:-1]

    @staticmethod
    def _until(client: Channel, last: int, before: int | None = None) -> list[Heard]:
        """Give all messages up to the answer to a request; of others, only that to one before may come."""
        heard: list[Heard] = []
        while True:
            kind, number, transaction, payload = client.receive()
            heard.append(Heard(kind, number != 0, transaction, payload))
            if number == last:
                return heard
            assert number in (0, before), f"an answer to request {number}, which nobody has sent"


class Theirs(Spoken):
    """Debian's xenstored: the control domain at its socket, guests at their rings."""

    def __init__(self, peer: Xenstored) -> None:
        super().__init__()
        self._peer = peer

    def add(self, domid: int) -> None:
        self._peer.add_domain(domid)

    def drop(self, domid: int) -> dict[int, list[Heard]]:
        self.leave(domid)
        self._peer.drop_domain(domid)
        return self._events()

    def shut_down(self, domid: int) -> dict[int, list[Heard]]:
        self._peer.shut_down(domid)
        return self._events()

    def join(self, domid: int) -> None:
        self._clients[domid] = self._peer.connect(domid)


class OursServed(Spoken):
    """Our store behind its server, which a thread runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._states: dict[int, DomainState] = {}
        self._server = Server(folder, state_of=lambda domid: self._states.get(domid, DomainState.GONE))
        self._thread = threading.Thread(target=self._server.serve)
        self._thread.start()

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path) -> Iterator[OursServed]:
        served = cls(folder)
        try:
            yield served
        finally:
            served._server.stop()
            served._thread.join()

    def add(self, domid: int) -> None:
        self._states[domid] = DomainState.RUNNING
        socket_path(self._folder, domid).parent.mkdir(exist_ok=True)

    def drop(self, domid: int) -> dict[int, list[Heard]]:
        self.leave(domid)
        self._states[domid] = DomainState.GONE
        return self._look()

    def shut_down(self, domid: int) -> dict[int, list[Heard]]:
        self._states[domid] = DomainState.SHUT_DOWN
        return self._look()

    def join(self, domid: int) -> None:
        self._clients[domid] = SocketChannel(socket_path(self._folder, domid))

    def _look(self) -> dict[int, list[Heard]]:
        self._server.look()
        # a first answer may be given just before the look that is due, a second one cannot be
        heard = self._until_quiet(0) + self._until_quiet(0)
        return {0: heard} | self._events(0)


class Generations:
    """Gives each generation the place in the order of their first appearance: the numbers themselves mean nothing."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def plain(self, heard: Heard) -> Heard:
        """Give a message with any generation in it replaced by its place."""
        if heard.kind != MessageType.DIRECTORY_PART:
            return heard
        number, _, rest = heard.payload.partition(b"\0")
        place = self._seen.setdefault(number, len(self._seen))
        return heard._replace(payload=b"%d\0%s" % (place, rest))


class Difference(NamedTuple):
    """At the last step of a story two stores differ."""

    story: list[Step]
    domid: int
    ours: list[Heard]
    theirs: list[Heard]

    def __str__(self) -> str:
        said = [f"{number}. {step}" for number, step in enumerate(self.story, 1)]
        for who, heard in (("ours", self.ours), ("xenstored", self.theirs)):
            said.append(f"   domain {self.domid} of {who}: {', '.join(map(str, heard)) or 'nothing'}")
        return "\n".join(said)


class Comparison:
    """Tells stories to two stores that live through all of them."""

    def __init__(self, ours: Side, theirs: Side) -> None:
        self.ours = ours
        self.theirs = theirs
        self.requests = 0
        self.messages = 0
        self._told: list[Step] = []
        self._names = Generations(), Generations()
        for side in (ours, theirs):
            side.join(0)
        for guest in GUESTS:
            self._arrive(guest)

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.theirs.close()

    def compare(self, story: Sequence[Step]) -> Difference | None:
        """Tell one story, then clean up after it; give the first difference, if there is one."""
        self._told = []
        self._names = Generations(), Generations()
        for step in story:
            found = self._step(step)
            if found is not None:
                self._tidy()
                return found
        return self._tidy()

    def _step(self, step: Step) -> Difference | None:
        self._told.append(step)
        match step:
            case Ask():
                self.requests += 1
                return self._check(self.ours.ask(step), self.theirs.ask(step))
            case Reborn(domid):
                for side in (self.ours, self.theirs):
                    side.leave(domid)
                release = Ask(0, MessageType.RELEASE, b"%d\0" % domid)
                ours, theirs = _events_first(self.ours.ask(release)), _events_first(self.theirs.ask(release))
                return _first(self._check(ours, theirs), self._arrive(domid))
            case Dies(domid):
                return _first(self._check(self.ours.drop(domid), self.theirs.drop(domid)), self._arrive(domid))
            case ShutsDown(domid):
                return self._check(self.ours.shut_down(domid), self.theirs.shut_down(domid))
            case Reconnects():
                for side in (self.ours, self.theirs):
                    side.leave(0)
                    side.join(0)
                return None

    def _ask(self, kind: int, payload: bytes) -> Difference | None:
        ask = Ask(0, kind, payload)
        self.requests += 1
        return self._check(self.ours.ask(ask), self.theirs.ask(ask))

    def _arrive(self, domid: int) -> Difference | None:
        for side in (self.ours, self.theirs):
            side.add(domid)
        found = self._ask(MessageType.INTRODUCE, b"%d\x001\x005\0" % domid)
        for side in (self.ours, self.theirs):
            side.join(domid)
        return found

    def _tidy(self) -> Difference | None:
        """Leave nothing behind, whatever has been found so far."""
        steps: list[Step] = [Reconnects(), *map(Dies, GUESTS), *clean()]
        return _first(*[self._step(step) for step in steps])

    def _check(self, ours: dict[int, list[Heard]], theirs: dict[int, list[Heard]]) -> Difference | None:
        for domid in DOMAINS:
            one = [self._names[0].plain(each) for each in ours.get(domid, [])]
            other = [self._names[1].plain(each) for each in theirs.get(domid, [])]
            self.messages += len(one)
            if one != other:
                return Difference(self._told[:], domid, one, other)
        return None


def _events_first(heard: dict[int, list[Heard]]) -> dict[int, list[Heard]]:
    return {domid: sorted(messages, key=lambda each: each.reply) for domid, messages in heard.items()}


def _first(*found: Difference | None) -> Difference | None:
    return next((each for each in found if each is not None), None)


def shrunk(fresh: Callable[[], contextlib.AbstractContextManager[Comparison]], found: Difference) -> Difference:
    """Leave out of a story whatever it differs without; each attempt has stores that nothing has happened to."""
    at = 0
    while at < len(found.story):
        with fresh() as comparison:
            fewer = comparison.compare(found.story[:at] + found.story[at + 1 :])
        if fewer is None or len(fewer.story) >= len(found.story):
            at += 1
        else:
            found = fewer
    return found
