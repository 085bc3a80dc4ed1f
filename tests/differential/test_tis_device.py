"""QEMU's TPM against the model of its device, by random programs of register accesses."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from tests.differential.tis_programs import KEPT, LENGTH, RESET, Program, difference, main
from tests.impl.tis.packets import PACKETS
from tests.peers import tpm_machine

from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.errors import CarrierError
from vtpm_impl.tis.qemu import Machine
from vtpm_impl.tpm.family import Family
from vtpm_model.tis_device import ACCESS, ACTIVE, COMMAND_READY, DATA_FIFO, GO, QEMU, REQUEST, STS
from vtpm_traces.recordings.tis_accesses import explained_by

PROGRAMS = {(Family.TPM_1_2, RESET): 20, (Family.TPM_1_2, KEPT): 150, (Family.TPM_2_0, RESET): 150}
"""`make soak` runs 10 000 of each. A TPM 1.2 takes its time after a reset."""


@pytest.mark.parametrize(
    ("family", "tpm"),
    PROGRAMS,
    ids=[f"TPM {family.value}, {'kept' if tpm == KEPT else 'reset'}" for family, tpm in PROGRAMS],
)
def test_programs_are_explained(family: Family, tpm: tuple[str, ...]) -> None:
    tpm_machine.required()
    with Machine(family, tpm=tpm) as machine:
        for seed in range(PROGRAMS[family, tpm]):
            verdict = difference(machine, family, seed)
            assert verdict is None, verdict.stuck[0]


def test_what_was_not_read_is_a_difference() -> None:
    """Another locality is active, or none, in one of the readings of ACCESS of a program: each is noticed."""
    tpm_machine.required()
    with Machine(Family.TPM_2_0) as machine:
        for seed in range(5):
            machine.reset()
            program = Program(machine, Family.TPM_2_0, random.Random(seed))
            program.run()
            assert explained_by(QEMU.name, "program", program.accesses).accepted
            for place, access in enumerate(program.accesses):
                if not access.writes and access.offset == ACCESS and access.value is not None:
                    spoilt = list(program.accesses)
                    spoilt[place] = replace(access, value=access.value ^ ACTIVE)
                    verdict = explained_by(QEMU.name, "spoilt", spoilt)
                    assert verdict.stuck[0].origin.line == access.origin.line


@pytest.mark.parametrize(("tpm", "codes"), [(RESET, [0, 0]), (KEPT, [0, 0x26])], ids=["reset", "kept"])
def test_a_reset_reaches_the_registers_and_a_tpm_that_is_not_kept(tpm: tuple[str, ...], codes: list[int]) -> None:
    """TPM_Startup succeeds once after a reset of the TPM; else it comes at a wrong time, TPM_INVALID_POSTINIT."""
    tpm_machine.required()
    with Machine(Family.TPM_1_2, tpm=tpm) as machine:
        found = []
        for _ in codes:
            response = Driver(machine).transmit(PACKETS[Family.TPM_1_2].startup)
            found.append(int.from_bytes(response[6:10], "big"))
            assert machine.read(ACCESS, 8) == 0xA1
            machine.reset()
            assert machine.read(ACCESS, 8) == 0x81
        assert found == codes


def test_the_programs_are_run_on_several_machines_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    tpm_machine.required()
    assert main(["3", "--first", "7", "--family", "2.0", "--machines", "2"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("TPM 2.0: programs 7 to 9 of 50 accesses, 0 differences, ")
    assert told.err.startswith("TPM 2.0: 3 of 3 programs, ")


@pytest.mark.parametrize(
    "wrong", [["0"], ["-1"], ["--machines", "0"], ["--first", "x"], ["--family", "1.3"]], ids=" ".join
)
def test_wrong_use_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2


def test_a_program_is_the_same_again_and_has_50_accesses() -> None:
    """Of accesses that a machine answers alike: the seed alone decides."""
    made = []
    for _ in range(2):
        program = Program(_Zeroes(), Family.TPM_1_2, random.Random(7))  # type: ignore[arg-type]
        program.run()
        made.append(program.accesses)
    assert made[0] == made[1]
    assert len({access.origin.line for access in made[0]}) >= LENGTH


class _Zeroes:
    """A machine all of whose registers read 0."""

    def read(self, _offset: int, _width: int) -> int:
        return 0

    def write(self, _offset: int, _width: int, _value: int) -> None:
        return None


def test_what_the_programs_avoid_freezes_qemu() -> None:
    """TpmGo for a command of less than ten bytes, and then commandReady."""
    tpm_machine.required()
    with Machine(Family.TPM_1_2, patience=2.0) as machine:
        machine.write(ACCESS, 8, REQUEST)
        machine.write(STS, 8, COMMAND_READY)
        for byte in bytes.fromhex("00c100000006"):
            machine.write(DATA_FIFO, 8, byte)
        machine.write(STS, 8, GO)
        with pytest.raises(CarrierError, match="did not answer"):
            _abort(machine)


def _abort(machine: Machine) -> None:
    """Write commandReady until it matters, which is as soon as the command has reached the TPM; 5 s at most."""
    for _ in range(50):
        machine.write(STS, 8, COMMAND_READY)
        time.sleep(0.1)
