"""Frontends and a backend in two processes: traffic, its bounds in time, ways to close, what a crash leaves."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.impl.host.guests import control, store
from tests.impl.xenbus.ends import BACKEND, BackendProcess, FrontendProcess, answer, attach, command, detach, frontend
from tests.impl.xenbus.hardship import kill_at_random, store_nonsense

from vtpm_impl.engines.echo import Echo
from vtpm_impl.engines.vtpm import VtpmEngine
from vtpm_impl.ring.frontend import Busy, Cancelled, TooLong
from vtpm_impl.toolstack.devices import Toolstack
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xenbus.awaiting import AsyncFrontend
from vtpm_impl.xenbus.backend import Backend
from vtpm_impl.xenbus.frontend import DeviceLost, Frontend, NoDevice, Refused, TimedOut, await_device
from vtpm_impl.xenbus.nodes import Device
from vtpm_impl.xenbus.nodes import XenbusState as S


@pytest.fixture(name="run")
def run_directory() -> Iterator[Path]:
    with store() as run:
        yield run


@pytest.fixture(name="backend")
def echo_in_another_process(run: Path) -> Iterator[BackendProcess]:
    with BackendProcess(run) as process:
        yield process


@pytest.fixture(name="end")
def open_frontend_of_domain_1(run: Path, backend: BackendProcess) -> Iterator[Frontend]:
    del backend
    with frontend(run, 1) as end:
        yield end


def took(what: Callable[[], object]) -> float:
    started = time.monotonic()
    what()
    return time.monotonic() - started


def lost_after(end: Frontend) -> float:
    """Seconds of commands until one says that the device is lost."""
    started = time.monotonic()
    while time.monotonic() < started + 5:
        try:
            end.transmit(command(), timeout=5)
        except DeviceLost:
            break
    return time.monotonic() - started


def states(run: Path) -> tuple[S, S]:
    with control(run) as client:
        found = Toolstack(client).get(Device(1, 0))
    return found.frontend_state, found.backend_state


# -------------------------------------------------------------------------------------------------------------- traffic


def test_commands_of_every_size_come_back(end: Frontend, run: Path) -> None:
    assert states(run) == (S.CONNECTED, S.CONNECTED)
    for size in (10, 11, 64, 4087, 4088):
        for fill in (0, 0xFF):
            assert end.transmit(command(size, fill=fill)) == answer(size, fill=fill)
    with pytest.raises(TooLong, match="4089"):
        end.transmit(command(4089))


def test_what_is_not_a_packet_is_answered_all_the_same(end: Frontend) -> None:
    assert end.transmit(b"") == bytes.fromhex("00c40000000a00000019")
    assert end.transmit(command(64)) == answer(64)


def test_threads_take_turns(end: Frontend) -> None:
    def many(fill: int) -> bool:
        return all(end.transmit(command(100, fill=fill)) == answer(100, fill=fill) for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(many, range(4)))


def test_tasks_take_turns_and_may_be_cancelled(run: Path) -> None:
    async def main(end: Frontend) -> None:
        both = AsyncFrontend(end)
        found = await asyncio.gather(*(both.transmit(command(20, code=1, fill=n)) for n in range(5)))
        assert found == [answer(20, fill=n) for n in range(5)]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(both.transmit(command(20, code=300)), 0.1)
        assert await both.transmit(command(21)) == answer(21)
        both.close()

    with BackendProcess(run, "slow"), frontend(run, 1) as end:
        asyncio.run(main(end))


def test_a_command_ends_in_time_although_its_engine_does_not(run: Path) -> None:
    with BackendProcess(run, "slow"), frontend(run, 1) as end:
        assert end.transmit(command(code=1)) == answer()
        with pytest.raises(Cancelled, match="it has been executed"):  # the engine is asked once it has begun
            end.transmit(command(code=200), timeout=0.05)
        assert end.transmit(command(30)) == answer(30)
        threading.Timer(0.05, end.cancel).start()
        with pytest.raises(Cancelled):
            end.transmit(command(code=300), timeout=60)
        assert end.transmit(command(31)) == answer(31)


def test_an_engine_that_hangs_costs_a_command_its_time_and_no_more(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtpm_impl.xenbus.frontend.CANCEL_TIMEOUT", 0.1)
    with BackendProcess(run, "slow"), frontend(run, 1) as end:
        with pytest.raises(TimedOut):
            end.transmit(command(code=700), timeout=0.05)
        with pytest.raises(Busy):
            end.transmit(command(), timeout=1)
        assert took(end.close) < 0.5  # although the engine is still at work
        end.open()
        assert end.transmit(command(33), timeout=5) == answer(33)  # and its late answer is nobody's


# ---------------------------------------------------------------------------------------------------------- open, close


def test_a_frontend_that_closes_may_open_again(end: Frontend, run: Path) -> None:
    for size in range(20, 30):
        end.close()
        assert states(run)[0] is S.CLOSED
        assert states(run)[1] in (S.INIT_WAIT, S.CLOSED)
        with pytest.raises(DeviceLost, match="is not open"):
            end.transmit(command())
        end.open()
        assert end.transmit(command(size)) == answer(size)


def test_another_frontend_takes_over_from_one_that_went_without_a_word(run: Path, backend: BackendProcess) -> None:
    del backend
    with HostDomain(run, 1) as domain:
        attach(run, 1)
        first = Frontend(domain.platform())
        first.open()
        second = Frontend(domain.platform())  # as a kernel that is booted over another one
        second.open()
        assert second.transmit(command(40)) == answer(40)


def test_a_device_is_detached_at_once(end: Frontend, run: Path) -> None:
    assert end.transmit(command()) == answer()
    assert took(lambda: detach(run, Device(1, 0))) < 1.0
    with pytest.raises(DeviceLost):
        end.transmit(command(), timeout=5)
    with control(run) as client:
        assert Toolstack(client).list() == []
        for path in ("/local/domain/1/device/vtpm", f"/local/domain/{BACKEND}/backend/vtpm", "/libxl/1/device/vtpm"):
            assert client.read_or_none(f"{path}/1") is None


def test_a_command_in_service_does_not_hold_up_a_detach(run: Path) -> None:
    with BackendProcess(run, "slow"), frontend(run, 1) as end, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(end.transmit, command(code=1000), timeout=10)
        time.sleep(0.1)
        assert took(lambda: detach(run, Device(1, 0))) < 0.6
        with pytest.raises(DeviceLost):
            waiting.result(1.0)


def test_a_device_may_be_attached_again(run: Path, backend: BackendProcess) -> None:
    del backend
    with HostDomain(run, 1) as domain:
        platform = domain.platform()
        for size in (50, 51, 52):
            attach(run, 1)
            end = Frontend(platform)
            end.open()
            assert end.transmit(command(size)) == answer(size)
            assert detach(run, Device(1, 0))
            with pytest.raises(DeviceLost):
                end.transmit(command())
            end.shutdown()


def test_nodes_that_go_away_end_the_device(end: Frontend, run: Path) -> None:
    with control(run) as client:
        client.rm("/local/domain/1/device/vtpm/0")
        assert lost_after(end) < 1
        with pytest.raises(NoDevice, match="is gone"):
            end.open()
        Toolstack(client).destroy(Device(1, 0))
    attach(run, 1)
    end.open()
    assert end.transmit(command(60)) == answer(60)


def test_a_backends_directories_that_go_away_end_the_device(end: Frontend, run: Path) -> None:
    with control(run) as client:
        client.rm(f"/local/domain/{BACKEND}/backend")
        assert lost_after(end) < 1
        Toolstack(client).detach(Device(1, 0))
    attach(run, 1)
    end.open()
    assert end.transmit(command(61)) == answer(61)


def test_a_frontend_without_a_device_is_told_so(run: Path) -> None:
    with HostDomain(run, 1) as domain:
        with pytest.raises(NoDevice, match="device/vtpm/0 names no backend"):
            Frontend(domain.platform())
        with pytest.raises(TimedOut, match="nobody has made a vtpm 0 for domain 1"):
            await_device(domain.platform(), timeout=0.05)


def test_a_device_may_come_while_it_is_waited_for(run: Path, backend: BackendProcess) -> None:
    del backend
    with HostDomain(run, 1) as domain:
        platform = domain.platform()
        threading.Timer(0.1, attach, (run, 1)).start()
        await_device(platform, timeout=5)
        end = Frontend(platform)
        end.open()
        assert end.transmit(command()) == answer()


@pytest.mark.parametrize(
    ("node", "value"),
    [("feature-protocol-v2", b"0"), ("ring-ref", b"4711"), ("event-channel", b"x"), ("ring-ref", b"-1")],
)
def test_what_a_backend_cannot_serve_it_refuses(
    run: Path, backend: BackendProcess, monkeypatch: pytest.MonkeyPatch, node: str, value: bytes
) -> None:
    del backend
    with HostDomain(run, 1) as domain:
        attach(run, 1)
        end = Frontend(domain.platform())
        publish = end._publish

        def publish_nonsense() -> None:
            publish()
            domain.platform().store.write(f"device/vtpm/0/{node}", value)

        monkeypatch.setattr(end, "_publish", publish_nonsense)
        with pytest.raises(Refused):
            end.open()
        monkeypatch.undo()
        end.open()
        assert end.transmit(command()) == answer()


# -------------------------------------------------------------------------------------------------------------- crashes


def test_a_killed_backend_is_a_lost_device(end: Frontend, run: Path, backend: BackendProcess) -> None:
    assert end.transmit(command()) == answer()
    backend.kill()
    assert lost_after(end) < 3
    with BackendProcess(run):
        with control(run) as client:
            Toolstack(client).detach(Device(1, 0))
        attach(run, 1)
        end.open()
        assert end.transmit(command(70)) == answer(70)


def test_a_backend_that_stops_closes_its_devices(end: Frontend, run: Path, backend: BackendProcess) -> None:
    backend.leave()
    assert lost_after(end) < 1
    del run


def test_a_backend_of_the_control_domain_takes_up_what_a_killed_one_served(run: Path) -> None:
    first = BackendProcess(run, domid=0)
    with frontend(run, 1, 0) as end:
        assert end.transmit(command()) == answer()
        first.kill()
        with BackendProcess(run, domid=0):
            assert end.transmit(command(71), timeout=5) == answer(71)


def test_a_killed_frontend_is_forgotten_and_others_are_served(
    run: Path, backend: BackendProcess, end: Frontend
) -> None:
    del backend
    for _ in range(3):
        with FrontendProcess(run, 2) as other:
            assert other.ask("transmit", 100, 7) == answer(100, fill=7).hex()
            other.kill()
        assert end.transmit(command(72)) == answer(72)


# ----------------------------------------------------------------------------------------------------------------- many


def test_twenty_frontends_are_served_each_with_its_own_answers(run: Path, backend: BackendProcess) -> None:
    del backend
    with ExitStack() as stack:
        ends = [stack.enter_context(frontend(run, domid)) for domid in range(100, 120)]

        def many(number: int) -> bool:
            return all(
                ends[number].transmit(command(size, fill=number)) == answer(size, fill=number) for size in range(20, 40)
            )

        with ThreadPoolExecutor(20) as threads:
            assert all(threads.map(many, range(20)))


def test_a_thousand_frontends_are_served_each_with_its_own_answers(run: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with BackendProcess(run, domid=0) as backend, ExitStack() as stack:  # domain 0 may set as many watches as it likes
        ends = []
        for domid in range(1, 101):
            domain = stack.enter_context(HostDomain(run, domid))
            for handle in range(10):
                attach(run, domid, 0)
                ends.append(Frontend(domain.platform(), handle))
                ends[-1].open()

        def many(share: int) -> bool:
            return all(
                ends[number].transmit(marked(number, turn), timeout=60)[10:] == marked(number, turn)[10:]
                for turn in range(3)
                for number in range(share, len(ends), 20)
            )

        with ThreadPoolExecutor(20) as threads:
            assert all(threads.map(many, range(20)))
        for end in ends[::2]:
            end.close()
        for number, end in enumerate(ends):
            if number % 2:
                assert end.transmit(marked(number, 9), timeout=60)[10:] == marked(number, 9)[10:]
        assert backend.process.poll() is None
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def marked(number: int, turn: int) -> bytes:
    """A command that no other frontend sends."""
    return command(200)[:-100] + f"{number} {turn}".encode().rjust(100)


def test_one_process_may_be_both_ends_of_a_chain(run: Path, backend: BackendProcess) -> None:
    del backend
    with HostDomain(run, 5) as middle:
        attach(run, 5)
        upper = Frontend(middle.platform())
        upper.open()
        serving = Backend(middle.platform(), VtpmEngine(upper), removal=0)
        thread = threading.Thread(target=serving.serve)
        thread.start()
        try:
            with frontend(run, 1, 5) as lower:
                assert lower.transmit(command(80)) == answer(80)
                upper.close()
                assert lower.transmit(command(81)) == bytes.fromhex("00c40000000a00000009")  # TPM_FAIL
                upper.open()
                assert lower.transmit(command(82)) == answer(82)
        finally:
            serving.stop()
            thread.join(5)


@pytest.mark.parametrize("seed", range(2))
def test_a_hostile_frontend_is_its_own_worst_enemy(
    run: Path, backend: BackendProcess, end: Frontend, seed: int
) -> None:
    with FrontendProcess(run, 2) as hostile:
        hostile.tell("vandalize", seed, 1.0)
        served = 0
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert end.transmit(command(90 + served % 50), timeout=2) == answer(90 + served % 50)
            served += 1
        stored, connected = hostile.hear()
    assert served > 50
    assert stored > 100
    assert connected > 0
    assert backend.process.poll() is None


def test_either_side_may_be_killed_at_any_time() -> None:
    found = kill_at_random(6, seed=3)
    assert found["backend killed"] + found["frontend killed"] == 6
    assert found["reconnected"] >= 6


def test_nonsense_without_end_holds_up_nobody_else() -> None:
    found = store_nonsense(4_000, 200)
    assert found["hostile stores"] == 4_000
    assert found["commands that succeeded"] >= 200


def test_echo_engine_says_what_it_was_asked() -> None:
    assert Echo().transmit(command(12), locality=0) == answer(12)
