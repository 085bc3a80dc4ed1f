"""The driver on devices that the model is: the registers of `tis.device`, and the one that also serves locality 4."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.errors import LocalityDenied, Seized
from vtpm_impl.tis.registers import PAGE, Access
from vtpm_model.tis_device import ACCESS, TIS_DEVICE
from vtpm_traces.conform.tis_device import BUS, Clock, Device, Nature
from vtpm_traces.conform.tis_driver import NATURES, answer, command
from vtpm_traces.conform.tis_model import ModelDevice, inside
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.tis_accesses import Access as Made
from vtpm_traces.recordings.tis_accesses import judge

COMMANDS = 60
SIZES = (10, 11, 12, 13, 14, 20, 300)


class Timed:
    """A port in simulated time, which writes down what was done; `at` is what happens before so many accesses more."""

    def __init__(self, device: ModelDevice) -> None:
        self.clock = Clock()
        self.made: list[Made] = []
        self.at: tuple[int, Callable[[], None]] | None = None
        self._device = device

    def read(self, offset: int, width: int) -> int:
        self._pass()
        value = self._device.read(offset, width)
        self._note(offset, width, value, writes=False)
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        self._pass()
        self._device.write(offset, width, value)
        self._note(offset, width, value, writes=True)

    def close(self) -> None:
        self._device.close()

    def _pass(self) -> None:
        self.clock.time += BUS
        if self.at is not None:
            left, happens = self.at
            self.at = (left - 1, happens) if left else None
            if not left:
                happens()

    def _note(self, offset: int, width: int, value: int, *, writes: bool) -> None:
        origin = Origin("driver", len(self.made) + 1, f"{'write' if writes else 'read'} {offset:#x}")
        self.made.append(Made(origin, writes, offset // PAGE, offset % PAGE, width // 8, value))


@pytest.mark.parametrize("family_2", [False, True], ids=["TPM 1.2", "TPM 2.0"])
@pytest.mark.parametrize("seed", [None, 1, 2], ids=["prompt", "seed 1", "seed 2"])
def test_a_session_through_localities_0_to_3(seed: int | None, family_2: bool) -> None:
    """Each command is answered as itself, and what was done is what the specification of the registers allows."""
    answers = inside(family_2=family_2)
    port = Timed(ModelDevice(answers, family_2=family_2, seed=seed))
    driver = Driver(port, clock=port.clock)
    chooser = random.Random(seed)
    for mark in range(COMMANDS):
        asked = command(chooser.choice(SIZES), mark)
        assert driver.transmit(asked, locality=chooser.randrange(4)) == answers(asked)
    found = judge("session", port.made[:1000])
    assert found.accepted_by[0] == TIS_DEVICE.name


@pytest.mark.parametrize("seed", [None, 3], ids=["prompt", "seed 3"])
def test_locality_4_is_refused_and_the_others_go_on(seed: int | None) -> None:
    port = Timed(ModelDevice(seed=seed))
    driver = Driver(port, clock=port.clock)
    with pytest.raises(LocalityDenied, match=r"did not grant locality 4 in 0.75 s \(A\): ACCESS reads 0x81"):
        driver.transmit(command(20, 0), locality=4)
    assert driver.transmit(command(20, 1)) == answer(command(20, 1))


@pytest.mark.parametrize("turn", range(0, 18, 2))
def test_a_seizure_in_mid_command_is_told_and_the_next_command_works(turn: int) -> None:
    device = ModelDevice()
    port = Timed(device)
    driver = Driver(port, clock=port.clock)
    driver.transmit(command(20, 0), locality=1)
    port.at = turn, lambda: device.write(3 * PAGE + ACCESS, 8, Access.SEIZE)
    with pytest.raises(Seized):
        driver.transmit(command(20, 1), locality=1)
    device.write(3 * PAGE + ACCESS, 8, Access.ACTIVE_LOCALITY)
    assert driver.transmit(command(20, 2), locality=1) == answer(command(20, 2))


# ------------------------------------------------------------------------------- a device that serves locality 4, too


@pytest.mark.parametrize("nature", NATURES.values(), ids=NATURES)
def test_locality_4_is_served_where_the_device_lets_software_have_it(nature: Nature) -> None:
    device = Device(answer, nature, seed=1)
    driver = Driver(device, clock=device.clock)
    for mark, locality in enumerate((4, 0, 4, 3, 2, 4, 1, 4)):
        asked = command(20 + mark, mark)
        assert driver.transmit(asked, locality=locality) == answer(asked)
        assert device.owner == locality
        assert device.executed[-1] == asked
    driver.release()
    assert device.owner is None
    assert device.wrong == []


@pytest.mark.parametrize("locality", range(4))
def test_locality_4_seizes_from_any_other_and_none_from_it(locality: int) -> None:
    device = Device(answer, NATURES["quick"], seed=1)
    lower, highest = Driver(device, locality=locality, clock=device.clock), Driver(device, clock=device.clock)
    lower.transmit(command(20, 0))
    highest.seize(4)
    assert highest.transmit(command(20, 1), locality=4) == answer(command(20, 1))
    with pytest.raises(Seized):
        lower.transmit(command(20, 2))
    with pytest.raises(LocalityDenied):
        lower.seize(locality)
    with pytest.raises(LocalityDenied):
        lower.transmit(command(20, 3))
    highest.release()
    assert lower.transmit(command(20, 4)) == answer(command(20, 4))
    assert device.wrong == []
