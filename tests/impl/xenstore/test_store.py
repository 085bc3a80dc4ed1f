"""The store alone: what it owes without xenstored at hand, and that nothing in it is left to chance."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from tests.impl.xenstore.bench import xenstore_rate
from tests.impl.xenstore.comparing import Comparison, Ours
from tests.impl.xenstore.sequences import Storyteller
from tests.peers.xenstored import debian

from vtpm_impl.xen.xenstore.quotas import Quotas
from vtpm_impl.xen.xenstore.store import Connection, DomainState, Store
from vtpm_impl.xen.xenstore.wire import PAYLOAD_MAX, Message
from vtpm_impl.xen.xenstore.wire import MessageType as M


def store_with(*guests: int, quotas: Quotas | None = None) -> tuple[Store, list[Connection]]:
    """A store, with the connections of the control domain and of guests that own their part of it."""
    store = Store(lambda _: DomainState.RUNNING, quotas)
    control = store.connect(0)
    for guest in guests:
        said(store, control, M.MKDIR, b"/local/domain/%d\0" % guest)
        said(store, control, M.SET_PERMS, b"/local/domain/%d\0n%d\0" % (guest, guest))
        said(store, control, M.INTRODUCE, b"%d\x001\x001\0" % guest)
    return store, [control, *(store.connect(guest) for guest in guests)]


def said(store: Store, client: Connection, kind: int, payload: bytes, transaction: int = 0) -> bytes:
    """The payload that a request is answered by, be it an error."""
    deliveries = store.handle(client, Message(kind, 1, transaction, payload))
    [answer] = [message for to, message in deliveries if to is client and message and message.request == 1]
    return answer.payload


def test_the_same_story_ends_in_the_same_messages() -> None:
    with Comparison(Ours(Quotas()), Ours(Quotas())) as comparison:
        for seed in range(200):
            assert comparison.compare(Storyteller(seed).story(30)) is None


def test_a_client_of_a_domain_that_is_not_introduced_is_a_mistake() -> None:
    store, _ = store_with(1)
    with pytest.raises(KeyError, match="domain 2 is not introduced"):
        store.connect(2)


def test_any_bytes_are_answered_once() -> None:
    """A stranger's requests: whatever they are, there is one answer with their number, and it has room in a message."""
    chance = random.Random(3)
    store, clients = store_with(1, 2, quotas=Quotas(entries=20))
    kinds = [*M, 20, 23, 99, 0xFFFFFFFF]
    words = [
        b"/",
        b"/local/domain/1",
        b"a",
        b"/a/b",
        b"@releaseDomain",
        b"n1",
        b"r2",
        b"T",
        b"F",
        b"0",
        b"1",
        b"-9",
        b"\xff",
    ]
    for number in range(1, 20_001):
        client = chance.choice(clients)
        payload = b"\0".join(chance.choices(words, k=chance.randrange(4))) + chance.choice((b"", b"\0", b"\0\0"))
        kind = chance.choice(kinds)
        if kind == M.RELEASE:
            continue  # the guests are still needed
        deliveries = store.handle(client, Message(kind, number, chance.choice((0, 0, 1, 2, 77)), payload))
        answers = [message for to, message in deliveries if to is client and message and message.request == number]
        assert len(answers) == 1
        assert answers[0].type in (kind, M.ERROR)
        assert all(message is None or len(message.payload) <= PAYLOAD_MAX for _, message in deliveries)


def test_a_guest_at_its_quotas_takes_bounded_memory() -> None:
    """The worst that a guest may do: all nodes as large as can be, all in as many transactions as it may open."""
    store, [_, guest] = store_with(1)
    tracemalloc.start()
    for number in range(2000):
        said(store, guest, M.WRITE, b"n%d\0" % number + b"v" * 2000)
    for number in range(1, 15):
        said(store, guest, M.TRANSACTION_START, b"\0")
        for node in range(1100):
            said(store, guest, M.WRITE, b"n%d\0" % node + bytes([number]) * 2000, number)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 10 << 20 < taken < 48 << 20
    assert said(store, guest, M.WRITE, b"another\0") == b"ENOSPC\0"


def test_a_released_guest_leaves_nothing() -> None:
    store, [control, guest] = store_with(1)
    before = len(store._tree.nodes)
    said(store, guest, M.WATCH, b"a\0t\0")
    said(store, guest, M.WRITE, b"a/b/c\0")
    said(store, guest, M.TRANSACTION_START, b"\0")
    said(store, control, M.WRITE, b"/local/domain/1/by-control\0")
    assert len(store._tree.nodes) == before + 4
    assert said(store, control, M.RELEASE, b"1\0") == b"OK\0"
    assert sorted(store._tree.nodes) == ["/", "/local", "/local/domain", "/tool", "/tool/xenstored"]
    assert store._watches._at == {}
    assert store.introduced() == {0}
    assert not guest.open


def test_a_deep_tree_is_removed_without_deep_calls() -> None:
    store, [control] = store_with()
    assert said(store, control, M.WRITE, b"/d" * 1000 + b"\0") == b"OK\0"
    assert said(store, control, M.RM, b"/d\0") == b"OK\0"
    assert said(store, control, M.DIRECTORY, b"/\0") == b"tool\0"


def test_of_a_thousand_watching_guests_only_the_one_concerned_is_told() -> None:
    store, [_, *guests] = store_with(*range(1, 1001))
    for guest in guests:
        said(store, guest, M.WATCH, b"device\0t\0")
    for guest in guests[::100]:
        [event, answer] = store.handle(guest, Message(M.WRITE, 1, 0, b"device/state\x001"))
        assert event == (guest, Message(M.WATCH_EVENT, 0, 0, b"device/state\0t\0"))
        assert answer == (guest, Message(M.WRITE, 1, 0, b"OK\0"))


def test_the_served_store_keeps_up_with_xenstored() -> None:
    debian.required()
    rate = xenstore_rate()
    assert rate.ours > 500
    assert rate.ratio > 0.1, rate
