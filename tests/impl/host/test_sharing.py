"""Grants and event channels between processes: what is shared, what is refused, and what a killed process leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.impl.host.guests import Guest, Refusal, Shared, control, store

from vtpm_impl.xen.host.directory import DomainTaken, RunDirectory
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xen.platform import Unavailable
from vtpm_impl.xen.store import StoreGone


@pytest.fixture(scope="module", name="run")
def run_directory() -> Iterator[Path]:
    with store() as run:
        yield run


@pytest.fixture(name="here")
def this_process_as_domain_1(run: Path) -> Iterator[Shared]:
    shared = Shared(run, 1)
    yield shared
    shared.domain.close()


@pytest.fixture(name="there")
def another_process_as_domain_2(run: Path, here: Shared) -> Iterator[Guest]:
    del here
    with Guest(run, 2) as guest:
        yield guest


def eventually(holds: Callable[[], bool], seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


# --------------------------------------------------------------------------------------------------------------- grants


def test_either_domain_sees_what_the_other_stores(here: Shared, there: Guest) -> None:
    ref = here.grant(2)
    there.ask("map", 1, ref)
    assert there.ask("peek", ref, 4095) == 0
    here.poke(ref, 4095, 7)
    assert there.ask("peek", ref, 4095) == 7
    there.ask("poke", ref, 0, 9)
    assert here.peek(ref, 0) == 9


def test_a_page_is_for_the_domain_that_it_was_granted_to(here: Shared, there: Guest) -> None:
    for ref in (here.grant(3), 4711):
        with pytest.raises(Refusal, match="Unavailable"):
            there.ask("map", 1, ref)


def test_a_page_cannot_be_withdrawn_while_it_is_mapped(here: Shared, there: Guest) -> None:
    ref = here.grant(2)
    there.ask("map", 1, ref)
    assert not here.end(ref)
    here.poke(ref, 1, 5)
    assert there.ask("peek", ref, 1) == 5
    there.ask("unmap", ref)
    assert here.end(ref)
    with pytest.raises(Refusal, match="Unavailable"):
        there.ask("map", 1, ref)


def test_what_was_unmapped_or_withdrawn_cannot_be_touched(here: Shared, there: Guest) -> None:
    ref = here.grant(2)
    there.ask("map", 1, ref)
    there.ask("unmap", ref)
    with pytest.raises(Refusal, match="ValueError"):
        there.ask("poke", ref, 0, 1)
    assert here.end(ref)
    with pytest.raises(ValueError, match="released"):
        here.poke(ref, 0, 1)


def test_a_killed_domain_holds_no_page_of_another(here: Shared, there: Guest) -> None:
    ref = here.grant(2)
    there.ask("map", 1, ref)
    assert not here.end(ref)
    there.kill()
    assert here.end(ref)


def test_the_page_of_a_killed_domain_stays_where_it_is_mapped(here: Shared, there: Guest, run: Path) -> None:
    ref = there.ask("grant", 1)
    page = here.platform.map_grant(2, ref)
    there.kill()
    with pytest.raises(Unavailable):
        here.platform.map_grant(2, ref)
    with Guest(run, 2):  # its start sweeps what the killed one left
        page.memory[0] = 1
        assert page.memory[0] == 1
        page.unmap()


# --------------------------------------------------------------------------------------------------------------- ports


def test_binding_sets_the_binders_bit(here: Shared, there: Guest) -> None:
    number = here.open(2)
    local = there.ask("bind", 1, number)
    assert there.ask("take", local)
    assert not there.ask("take", local)
    assert not here.take(number)


def test_many_sends_are_one_event(here: Shared, there: Guest) -> None:
    number = here.open(2)
    local = there.ask("bind", 1, number)
    there.ask("take", local)
    here.notify(number, 3)
    assert there.ask("wait", local, 2.0)
    assert there.ask("take", local)
    assert not there.ask("take", local)
    there.ask("notify", local, 100_000)  # more than a FIFO holds
    assert here.wait(number, 2.0)
    assert here.take(number)
    assert not here.wait(number, 0)
    assert not here.take(number)


def test_a_send_to_an_unbound_end_is_lost_without_a_word(here: Shared, there: Guest) -> None:
    number = here.open(2)
    here.notify(number)
    local = there.ask("bind", 1, number)
    assert there.ask("take", local)  # that of the bind
    assert not there.ask("take", local)


def test_a_close_leaves_the_other_end_unbound_and_free_to_be_bound_again(here: Shared, there: Guest) -> None:
    number = here.open(2)
    first = there.ask("bind", 1, number)
    there.ask("notify", first)
    assert here.take(number)
    here.notify(number)
    there.ask("close_port", first)
    here.notify(number)
    assert not here.wait(number, 0)  # nothing tells the end that stays
    second = there.ask("bind", 1, number)
    assert there.ask("take", second)
    here.notify(number)
    assert there.ask("take", second)
    there.ask("notify", second)
    assert here.wait(number, 2.0)
    here.close_port(number)
    there.ask("notify", second)
    assert there.ask("take", second) is False
    with pytest.raises(Refusal, match="Unavailable"):
        there.ask("bind", 1, number)


def test_a_port_is_bound_once_and_by_the_domain_that_it_was_opened_for(here: Shared, there: Guest) -> None:
    number = here.open(2)
    there.ask("bind", 1, number)
    for taken in (number, here.open(3), 4711):
        with pytest.raises(Refusal, match="Unavailable"):
            there.ask("bind", 1, taken)


def test_a_killed_binder_leaves_the_port_to_be_bound_again(here: Shared, there: Guest, run: Path) -> None:
    number = here.open(2)
    there.ask("bind", 1, number)
    here.notify(number)
    there.kill()
    here.notify(number)
    assert not here.take(number)
    with Guest(run, 2) as again:
        local = again.ask("bind", 1, number)
        assert again.ask("take", local)
        here.notify(number)
        assert again.ask("take", local)


def test_a_killed_opener_leaves_the_binder_unbound(here: Shared, there: Guest) -> None:
    number = there.ask("open", 1)
    local = here.bind(2, number)
    assert here.take(local)
    there.ask("notify", number)
    assert here.wait(local, 2.0)
    assert here.take(local)
    there.kill()
    here.notify(local)
    assert not here.take(local)
    with pytest.raises(Unavailable):
        here.bind(2, number)


# -------------------------------------------------------------------------------------------------------------- domains


def test_there_is_one_process_for_each_domain(run: Path, here: Shared) -> None:
    del here
    with pytest.raises(DomainTaken, match="domain 1 is running already"):
        HostDomain(run, 1)
    for domid in (-1, 0x7FF0):
        with pytest.raises(ValueError, match="from 0 to 32751"):
            HostDomain(run, domid)


def test_without_a_store_there_is_no_domain(tmp_path: Path) -> None:
    with pytest.raises(StoreGone, match="no store at"):
        HostDomain(tmp_path / "run", 1)
    assert list((tmp_path / "run" / "domains").iterdir()) == []


def test_a_domain_that_ends_leaves_nothing(run: Path, here: Shared, there: Guest) -> None:
    number = here.open(2)
    there.ask("bind", 1, number)
    there.ask("grant", 1)
    there.ask("open", 1)
    with control(run) as client:
        assert client.is_introduced(2)
        assert "2" in client.directory("/local/domain")
        there.leave()
        assert not client.is_introduced(2)
        assert "2" not in client.directory("/local/domain")
    assert not (run / "domains" / "2").exists()


def test_what_a_killed_domain_left_is_gone_after_the_next_start(run: Path, here: Shared, there: Guest) -> None:
    ref = there.ask("grant", 1)
    there.ask("open", 1)
    there.kill()
    assert (run / "domains" / "2" / "grants" / f"{ref}-1").exists()
    assert not RunDirectory(run).is_running(2)
    with Guest(run, 3):
        assert not (run / "domains" / "2").exists()
    with control(run) as client:
        assert eventually(lambda: not client.is_introduced(2))


def test_the_control_domain_is_a_process_too(run: Path) -> None:
    with HostDomain(run, 0) as domain:
        grant = domain.platform().grant(1)
        assert (run / "domains" / "0" / "grants" / f"{grant.ref}-1").exists()
    assert [entry.name for entry in (run / "domains" / "0").iterdir()] == ["xenstore"]


def test_many_pages_and_ports_leave_no_descriptor(here: Shared, there: Guest) -> None:
    before = here.descriptors()
    for _ in range(20):
        ref, number = here.grant(2), here.open(2)
        there.ask("map", 1, ref)
        local = there.ask("bind", 1, number)
        here.notify(number)
        there.ask("close_port", local)
        there.ask("unmap", ref)
        here.close_port(number)
        assert here.end(ref)
    assert here.descriptors() == before
