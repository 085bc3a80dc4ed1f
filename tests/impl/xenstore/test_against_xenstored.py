"""Our store gives the answers and events that Debian's xenstored gives, on random stories of three domains.

`XENSTORE_STORIES` says how many stories are told with each set of quotas, `XENSTORE_SEED` where the seeds begin.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.impl.xenstore.comparing import Comparison, Difference, Ours, OursServed, Theirs, shrunk
from tests.impl.xenstore.deviations import KNOWN, Deviation
from tests.impl.xenstore.sequences import Ask, Dies, Reborn, ShutsDown, Step, Storyteller
from tests.peers.xenstored import debian

from vtpm_impl.xen.xenstore import paths
from vtpm_impl.xen.xenstore.quotas import Quotas
from vtpm_impl.xen.xenstore.store import Connection, Refused, Store
from vtpm_impl.xen.xenstore.tree import Node, View
from vtpm_impl.xen.xenstore.wire import MessageType as M

STORIES = int(os.environ.get("XENSTORE_STORIES", "2500"))
SEED = int(os.environ.get("XENSTORE_SEED", "0"))
STEPS = 16

TIGHT = Quotas(entries=8, watches=2, node_size=200, transactions=1, permissions=2, transaction_nodes=9, path=60)
OPTIONS = {
    "default": (Quotas(), []),
    "tight": (
        TIGHT,
        ["-E", "8", "-W", "2", "-S", "200", "-t", "1", "-A", "2", "-M", "60", "-Q", "transaction-nodes=9"],
    ),
}


@contextlib.contextmanager
def both(quotas: str = "default") -> Iterator[Comparison]:
    """Our store and xenstored, to which nothing has happened yet."""
    limits, options = OPTIONS[quotas]
    # not tmp_path: a socket's path has to be short
    with (
        tempfile.TemporaryDirectory(prefix="xs") as folder,
        debian.running(Path(folder), options) as peer,
        Comparison(Ours(limits), Theirs(peer)) as comparison,
    ):
        yield comparison


@pytest.mark.timeout(0 if "XENSTORE_STORIES" in os.environ else 110)
@pytest.mark.parametrize("quotas", OPTIONS)
def test_random_stories_are_heard_alike(quotas: str) -> None:
    debian.required()
    with both(quotas) as comparison:
        for seed in range(SEED, SEED + STORIES):
            found = comparison.compare(Storyteller(seed).story(STEPS))
            if found is not None:
                pytest.fail(f"seed {seed}:\n{shrunk(lambda: both(quotas), found)}")
        # a comparison of silence would be none
        assert comparison.messages > comparison.requests > STORIES * STEPS


def test_the_served_store_says_what_the_store_says() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="xs") as folder,
        OursServed.running(Path(folder)) as served,
        Comparison(Ours(Quotas()), served) as comparison,
    ):
        for seed in range(SEED, SEED + 150):
            found = comparison.compare(Storyteller(seed).story(STEPS))
            assert found is None, f"seed {seed}:\n{found}"


def tell_everybody(store: Store, connection: Connection, view: View, path: str, needed: int) -> Node:
    """`Store._get` without its care for what an error gives away."""
    if not paths.is_valid(path):
        raise Refused("EINVAL")
    node = view.get(path)
    if node is None:
        raise Refused("ENOENT")
    if connection.may(node.permissions) & needed != needed:
        raise Refused("EACCES")
    return node


GIVEN: dict[str, list[Step]] = {
    "a guest that owns a special watch gives it away": [
        Ask(0, M.SET_PERMS, b"@releaseDomain\0n1\0"),
        Ask(1, M.WATCH, b"@releaseDomain\0t\0"),
        Ask(2, M.WATCH, b"@releaseDomain\0t\0"),
        Dies(2),
        Ask(1, M.SET_PERMS, b"@releaseDomain\0r0\0"),
        Ask(2, M.WATCH, b"@releaseDomain\0t\0"),
        ShutsDown(1),
        ShutsDown(1),
        Ask(0, M.RESUME, b"1\0"),
        ShutsDown(1),
        Reborn(1),
    ],
    "a guest acts in another's place": [
        Ask(0, M.WRITE, b"/local/domain/2/a\x001"),
        Ask(0, M.SET_PERMS, b"/local/domain/2/a\0n2\0"),
        Ask(1, M.READ, b"/local/domain/2/a\0"),
        Ask(0, M.SET_TARGET, b"1\x002\0"),
        Ask(1, M.READ, b"/local/domain/2/a\0"),
        Ask(1, M.WATCH, b"/local/domain/2\0t\0"),
        Ask(0, M.WRITE, b"/local/domain/2/a\x002"),
        Ask(0, M.SET_TARGET, b"1\x009\0"),
        Ask(0, M.SET_TARGET, b"1\0"),
        Ask(2, M.SET_TARGET, b"1\x002\0"),
        Dies(1),
    ],
    "a directory that does not fit into one answer": [
        *(Ask(0, M.MKDIR, b"/t/%s%d\0" % (b"n" * 400, number)) for number in range(12)),
        Ask(0, M.DIRECTORY, b"/t\0"),
        Ask(0, M.DIRECTORY_PART, b"/t\x000\0"),
        Ask(0, M.DIRECTORY_PART, b"/t\x003618\0"),
        Ask(0, M.DIRECTORY_PART, b"/t\x003620\0"),
        Ask(0, M.DIRECTORY_PART, b"/t\x00100\0"),
        Ask(0, M.DIRECTORY_PART, b"/t\x0099999\0"),
        Ask(0, M.DIRECTORY_PART, b"/t\0"),
    ],
    "values and events at the limit of a payload": [
        Ask(0, M.WRITE, b"/t\0" + b"v" * 4093),
        Ask(0, M.READ, b"/t\0"),
        Ask(0, M.WATCH, b"/t\0" + b"k" * 4092 + b"\0"),
        Ask(0, M.WATCH, b"/\0" + b"k" * 4093 + b"\0"),
        Ask(0, M.WRITE, b"/t\0"),
        Ask(0, M.WRITE, b"/t/a\0"),
    ],
    "more nodes in a transaction than a guest may touch": [
        Ask(0, M.MKDIR, b"/local/domain/1\0"),
        Ask(0, M.SET_PERMS, b"/local/domain/1\0n1\0"),
        Ask(1, M.TRANSACTION_START, b"\0"),
        *(Ask(1, M.READ, b"n%d\0" % number, 1) for number in range(1026)),
        Ask(1, M.WRITE, b"n1\0x", 1),
        Ask(1, M.TRANSACTION_END, b"T\0", 1),
        Ask(1, M.READ, b"n1\0"),
    ],
    "a child that came after the transaction missed it": [
        Ask(0, M.MKDIR, b"/t/a\0"),
        Ask(0, M.TRANSACTION_START, b"\0"),
        Ask(0, M.READ, b"/t/a/b\0", 1),
        Ask(0, M.WRITE, b"/t/a/b\0x"),
        Ask(0, M.RM, b"/t/a\0", 1),
        Ask(0, M.DIRECTORY, b"/t\0", 1),
        Ask(0, M.TRANSACTION_END, b"T\0", 1),
        Ask(0, M.READ, b"/t/a/b\0"),
    ],
    "a child that went after the transaction saw its directory": [
        Ask(0, M.WRITE, b"/t/a/b\0x"),
        Ask(0, M.TRANSACTION_START, b"\0"),
        Ask(0, M.DIRECTORY, b"/t/a\0", 1),
        Ask(0, M.RM, b"/t/a\0"),
        Ask(0, M.RM, b"/t/a\0", 1),
        Ask(0, M.TRANSACTION_END, b"T\0", 1),
        Ask(0, M.DIRECTORY, b"/t\0"),
    ],
    "a node whose parent went after the transaction saw the node": [
        Ask(0, M.WRITE, b"/t/a/b\0x"),
        Ask(0, M.TRANSACTION_START, b"\0"),
        Ask(0, M.READ, b"/t/a/b\0", 1),
        Ask(0, M.RM, b"/t/a\0"),
        Ask(0, M.RM, b"/t/a/b\0", 1),
        Ask(0, M.READ, b"/t/a/b\0", 1),
        Ask(0, M.TRANSACTION_END, b"T\0", 1),
        Ask(0, M.DIRECTORY, b"/t\0"),
    ],
    "long paths": [
        Ask(0, M.WRITE, b"/" + b"p" * 2047 + b"\0"),
        Ask(0, M.WRITE, b"/" + b"p" * 2048 + b"\0"),
        Ask(1, M.READ, b"p" * 2048 + b"\0"),
        Ask(1, M.READ, b"p" * 2049 + b"\0"),
        Ask(0, M.WATCH, b"@" + b"p" * 2047 + b"\0t\0"),
        Ask(0, M.WATCH, b"@" + b"p" * 2048 + b"\0t\0"),
        Ask(0, M.RM, b"/" + b"p" * 2047 + b"\0"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_a_given_story_is_heard_alike(name: str) -> None:
    debian.required()
    with both() as comparison:
        found = comparison.compare(GIVEN[name])
        assert found is None, f"\n{found}"


@pytest.mark.parametrize("deviation", KNOWN, ids=lambda known: known.name)
def test_a_known_deviation_still_shows(deviation: Deviation) -> None:
    debian.required()
    with both() as comparison:
        for ask in deviation.story[:-1]:
            ours, theirs = comparison.ours.ask(ask), comparison.theirs.ask(ask)
            assert ours[ask.domid] == theirs[ask.domid]
        last = deviation.story[-1]
        [said] = comparison.ours.ask(last)[last.domid]
        [they_said] = comparison.theirs.ask(last)[last.domid]
        assert said.payload == deviation.ours != they_said.payload
        assert they_said.payload.startswith(deviation.theirs)


RULES = {
    "a transaction conflicts": ("store.Transaction.conflicts", lambda _: False),
    "what a guest may not read it hears nothing of": ("store.Store._may_know", lambda *_: True),
    "a guest that is gone leaves no node behind": ("store.Store._remove_owned", lambda *_: None),
    "permissions do not outlive a guest": ("tree.Ages.refresh", lambda _, node: node),
    "who may not see a node is not told whether it is there": ("store.Store._get", tell_everybody),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_store_without_one_rule_is_found_out(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself is tested."""
    debian.required()
    what, instead = RULES[rule]
    monkeypatch.setattr(f"vtpm_impl.xen.xenstore.{what}", instead)
    found: Difference | None = None
    with both() as comparison:
        for seed in range(1000):
            found = comparison.compare(Storyteller(seed).story(STEPS))
            if found is not None:
                break
    assert found is not None, "no story of 1000 is different without it"
    assert len(shrunk(both, found).story) <= 9


@pytest.mark.parametrize(("ci", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_a_missing_xenstored_fails_continuous_integration_and_nobody_else(
    ci: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(debian, "XENSTORED", Path("/no/xenstored"))
    with pytest.raises(BaseException, match="/no/xenstored is not installed") as said:  # neither is an Exception
        debian.required()
    assert type(said.value).__name__ == outcome
