"""The driver on QEMU's TPM, of both families: localities, seizure, abort, interrupts, and what can be gone."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import pytest
from tests.impl.tis.packets import PACKETS, Packets, code
from tests.impl.tis.session import LOCALITIES, aborted, seizures, session
from tests.impl.tis.soak import soak
from tests.peers import tpm_machine

from vtpm_impl.tis import registers
from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.errors import Absent, CarrierError, Dropped, LocalityDenied, Seized, TimedOut, TisError
from vtpm_impl.tis.qemu import Machine
from vtpm_impl.tis.registers import BASE, PAGE, STS, Access
from vtpm_impl.tis.timeouts import Timeouts
from vtpm_impl.tpm.family import Family

COMMANDS = 300  # `make soak` sends 10 000
SHORT = Timeouts(a=0.1)  # QEMU grants a locality at once, or never
BEGAN = 0.02  # seconds after which a slow command is in execution


class Rig(NamedTuple):
    """A started machine, its driver, and the commands of its family."""

    machine: Machine
    driver: Driver
    packets: Packets
    family: Family


@pytest.fixture(name="rig", params=Family, ids=lambda family: family.value)
def a_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    tpm_machine.required()
    with Machine(request.param) as machine:
        driver = Driver(machine, timeouts=SHORT)
        packets = PACKETS[request.param]
        assert code(driver.transmit(packets.startup)) == 0
        yield Rig(machine, driver, packets, request.param)


def in_the_background(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Do it in a thread; what it raised is in the list when the thread has ended."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def test_a_session_through_localities_0_to_3(rig: Rig) -> None:
    sent = session(rig.driver, rig.family)
    assert (sent.commands % len(LOCALITIES), len(sent.kinds) > 15) == (0, True)
    assert code(rig.driver.transmit(rig.packets.reset_pcr_20, locality=0)) == rig.packets.refused
    assert code(rig.driver.transmit(rig.packets.reset_pcr_20, locality=2)) == 0
    assert rig.driver.access(2) & Access.ACTIVE_LOCALITY
    assert code(rig.driver.transmit(rig.packets.reset_pcr_20, locality=0)) == rig.packets.refused
    rig.driver.release()
    assert not any(rig.driver.access(locality) & Access.ACTIVE_LOCALITY for locality in range(5))


def test_locality_4_is_refused_and_the_others_go_on(rig: Rig) -> None:
    with pytest.raises(LocalityDenied, match=r"did not grant locality 4 in 0.1 s \(A\): ACCESS reads 0x81"):
        rig.driver.transmit(rig.packets.pcr_read, locality=4)
    assert code(rig.driver.transmit(rig.packets.pcr_read)) == 0


@pytest.mark.parametrize("family", Family, ids=lambda family: family.value)
def test_every_response_is_that_of_its_command(family: Family) -> None:
    tpm_machine.required()
    soak(family, COMMANDS)


def test_whoever_asks_gets_the_tpm_after_a_command(rig: Rig) -> None:
    other = Driver(rig.machine, locality=1, timeouts=SHORT)
    rig.driver.transmit(rig.packets.pcr_read)
    with pytest.raises(LocalityDenied):
        other.transmit(rig.packets.pcr_read)  # held, and nobody uses it
    rig.machine.write(PAGE + registers.ACCESS.offset, 8, Access.REQUEST_USE)
    rig.driver.transmit(rig.packets.pcr_read)
    assert code(other.transmit(rig.packets.pcr_read)) == 0


def test_a_seizure_is_told_and_the_next_command_works(rig: Rig) -> None:
    other = Driver(rig.machine, locality=2)
    rig.driver.transmit(rig.packets.pcr_read)
    other.seize(2)
    with pytest.raises(Seized, match="locality 0 has been seized: STS reads 0xffffffff, ACCESS 0x91"):
        rig.driver.transmit(rig.packets.pcr_read)
    assert not rig.driver.access(0) & Access.BEEN_SEIZED
    assert code(other.transmit(rig.packets.pcr_read)) == 0
    other.release()
    assert code(rig.driver.transmit(rig.packets.pcr_read)) == 0


def test_a_lower_locality_cannot_seize(rig: Rig) -> None:
    rig.driver.transmit(rig.packets.pcr_read, locality=2)
    with pytest.raises(LocalityDenied, match="did not grant locality 1"):
        Driver(rig.machine, timeouts=SHORT).seize(1)
    assert code(rig.driver.transmit(rig.packets.pcr_read, locality=2)) == 0


class Interfering:
    """A port through which something happens before the n-th access to a register."""

    def __init__(self, machine: Machine, offset: int, turn: int, happens: Callable[[], None]) -> None:
        self._machine, self._offset, self._left, self._happens = machine, offset, turn, happens

    def _count(self, offset: int) -> None:
        if offset & (PAGE - 1) == self._offset:
            self._left -= 1
            if self._left == 0:
                self._happens()

    def read(self, offset: int, width: int) -> int:
        self._count(offset)
        return self._machine.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        self._count(offset)
        self._machine.write(offset, width, value)

    def close(self) -> None:
        pass


def test_a_seizure_in_mid_command_is_told() -> None:
    """Before each access of a command: all but the last ones find that the locality is gone."""
    tpm_machine.required()
    with Machine(Family.TPM_2_0) as machine:
        told = list(seizures(machine, Family.TPM_2_0))
    assert len(told) > 20
    assert told.index(False) >= len(told) - 2
    assert not any(told[told.index(False) :])


def test_an_abort_in_mid_command_is_told_and_the_next_command_works(rig: Rig) -> None:
    ended = aborted(rig.driver, rig.family)
    assert ended in ("was dropped", "ended with code 0x0 before")  # QEMU may have been quicker


def test_a_driver_that_is_closed_drops_its_command(rig: Rig) -> None:
    rig.driver.release()
    executes = threading.Event()
    driver = Driver(Interfering(rig.machine, STS.offset, 4, executes.set))  # a port whose end is not the machine's
    rig.machine.tpm.send_signal(signal.SIGSTOP)
    thread, raised = in_the_background(lambda: driver.transmit(rig.packets.pcr_read))
    assert executes.wait(30)
    threading.Timer(0.2, rig.machine.tpm.send_signal, [signal.SIGCONT]).start()  # QEMU waits for it
    driver.close()
    thread.join()
    assert [type(error) for error in raised] == [Dropped]
    assert code(rig.driver.transmit(rig.packets.pcr_read)) == 0


def test_a_command_that_takes_too_long_is_dropped(rig: Rig) -> None:
    with pytest.raises(TimedOut, match=r"did not respond in 0 s: STS reads 0x8"):
        rig.driver.transmit(rig.packets.slow, timeout=0.0)
    assert not rig.driver.access(0) & Access.ACTIVE_LOCALITY
    assert code(rig.driver.transmit(rig.packets.pcr_read)) == 0


def test_the_interrupt_is_found_and_used(rig: Rig) -> None:
    assert rig.driver.probe_interrupt(rig.machine, rig.packets.pcr_read) == 5
    for _ in range(20):
        assert code(rig.driver.transmit(rig.packets.random)) == 0
        assert code(rig.driver.transmit(rig.packets.capability, locality=1)) == 0


class Unreliable:
    """Interrupts that come when they like."""

    def __init__(self, machine: Machine, habit: str) -> None:
        self._machine, self._habit, self._turn = machine, habit, 0

    def wait(self, lines: Collection[int], seconds: float) -> int | None:
        self._turn += 1
        if self._habit == "never":
            time.sleep(min(seconds, 0.01))
            return None
        if self._habit == "twice" and self._turn % 2:
            return next(iter(lines))  # that of the command before, once more
        found = self._machine.wait(lines, seconds)
        if self._habit == "late":
            time.sleep(0.01)
        return found


@pytest.mark.parametrize("habit", ["never", "twice", "late"])
def test_interrupts_that_cannot_be_relied_upon_do_no_harm(rig: Rig, habit: str) -> None:
    first = rig.driver.transmit(rig.packets.capability)
    rig.driver.use_interrupt(Unreliable(rig.machine, habit), 5)
    for _ in range(10):
        assert rig.driver.transmit(rig.packets.capability) == first
        assert code(rig.driver.transmit(rig.packets.pcr_read)) == 0


def test_an_interrupt_that_the_device_does_not_have_is_told(rig: Rig) -> None:
    rig.driver.use_interrupt(rig.machine, 7)
    with pytest.raises(TisError, match="the TPM's interrupt is 5 and cannot be made 7"):
        rig.driver.transmit(rig.packets.random)


def test_at_a_wrong_address_there_is_no_tpm() -> None:
    tpm_machine.required()
    for base in (0xFED50000, 0x100000, BASE + 5 * PAGE):
        with Machine(Family.TPM_2_0, base=base) as machine, pytest.raises(Absent, match="there is no TPM"):
            Driver(machine, timeouts=SHORT).transmit(PACKETS[Family.TPM_2_0].startup)


def test_a_machine_that_ends_in_mid_command_is_told_and_its_next_start_works(rig: Rig) -> None:
    thread, raised = in_the_background(lambda: rig.driver.transmit(rig.packets.slow))
    time.sleep(BEGAN)
    rig.machine.qemu.kill()
    thread.join()
    assert [type(error) for error in raised] in ([CarrierError], [])
    rig.machine.stop()
    with pytest.raises(CarrierError, match="switched off"):
        rig.driver.transmit(rig.packets.startup)
    rig.machine.start()
    assert code(rig.driver.transmit(rig.packets.startup)) == 0


def test_when_the_tpm_ends_in_mid_command_its_machine_answers_and_the_next_start_works(rig: Rig) -> None:
    def kill() -> None:
        rig.machine.tpm.kill()
        rig.machine.tpm.wait()

    driver = Driver(Interfering(rig.machine, STS.offset, 3, kill))  # before it is to execute the command
    rig.driver.release()
    response = driver.transmit(rig.packets.slow, timeout=3.0)
    assert response.hex() == "00c40000000a00000009"  # what QEMU says for a TPM that is gone, of either family
    rig.machine.stop()
    rig.machine.start()
    assert code(driver.transmit(rig.packets.startup)) == 0


@pytest.mark.parametrize("family", Family, ids=lambda family: family.value)
def test_a_tpm_that_stalls_for_ever_is_told_and_its_next_start_works(family: Family) -> None:
    tpm_machine.required()
    packets = PACKETS[family]
    with Machine(family, patience=1.0) as machine:
        driver = Driver(machine)
        assert code(driver.transmit(packets.startup)) == 0
        machine.tpm.send_signal(signal.SIGSTOP)
        with pytest.raises(TimedOut, match=r"did not respond in 0\.1 s"):
            driver.transmit(packets.pcr_read, timeout=0.1)
        with pytest.raises(CarrierError, match="QEMU did not answer"):
            driver.transmit(packets.pcr_read)  # it waits for its TPM
        machine.stop()
        machine.start()
        assert code(driver.transmit(packets.startup)) == 0
