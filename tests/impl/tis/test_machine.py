"""The machine for trying things out: its registers, its reset button, its end, and its TPM's end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.peers import tpm_machine

from vtpm_impl.tis.errors import CarrierError
from vtpm_impl.tis.qemu import Machine, MachineError
from vtpm_impl.tis.registers import ACCESS, INTF_CAPABILITY, Access, Interface, interface
from vtpm_impl.tpm.family import Family

INTERFACES = {Family.TPM_1_2: Interface.TIS_1_3, Family.TPM_2_0: Interface.TPM_2_0}
REQUESTED = Access.VALID | Access.ACTIVE_LOCALITY | Access.ESTABLISHMENT
FREE = Access.VALID | Access.ESTABLISHMENT


@pytest.fixture(name="machine", params=Family, ids=lambda family: family.value)
def a_machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    tpm_machine.required()
    with Machine(request.param) as machine:
        assert interface(machine.read(*INTF_CAPABILITY)) == INTERFACES[request.param]
        yield machine


def request_use(machine: Machine) -> int:
    machine.write(*ACCESS, Access.REQUEST_USE)
    return machine.read(*ACCESS)


def test_the_reset_button_frees_the_tpm(machine: Machine) -> None:
    for _ in range(3):
        assert request_use(machine) == REQUESTED
        machine.reset()
        assert machine.read(*ACCESS) == FREE


def test_a_machine_can_be_switched_off_and_on(machine: Machine) -> None:
    assert request_use(machine) == REQUESTED
    machine.stop()
    machine.start()
    assert machine.read(*ACCESS) == FREE


def test_a_machine_that_is_gone_is_an_error_and_can_be_started_again(machine: Machine) -> None:
    machine.qemu.kill()
    with pytest.raises(CarrierError, match=r"the connection to QEMU is lost|did not answer|closed the connection"):
        machine.read(*ACCESS)
    with pytest.raises(MachineError, match="QEMU"):
        machine.reset()
    machine.stop()
    machine.start()
    assert machine.read(*ACCESS) == FREE


def test_both_programs_end_with_the_machine() -> None:
    tpm_machine.required()
    with Machine() as machine:
        pass
    assert (machine.qemu.poll(), machine.tpm.poll()) == (-9, -9)


def test_a_machine_that_is_off_says_so() -> None:
    tpm_machine.required()
    with Machine() as machine:
        machine.stop()
        with pytest.raises(CarrierError, match="switched off"):
            machine.read(*ACCESS)
        with pytest.raises(MachineError, match="switched off"):
            machine.reset()


def test_what_must_be_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(MachineError, match=r"qemu-system-x86_64 is not installed \(Debian package qemu-system-x86\)"),
        Machine(),
    ):
        pass


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_peer_fails_continuous_integration_only(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="is not installed"):
        tpm_machine.required()


def test_a_program_that_does_not_start_is_told_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tpm_machine.required()
    program = tmp_path / "qemu-system-x86_64"
    program.write_text("#!/bin/sh\necho no accelerator found >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MachineError, match=r"QEMU does not start: .*no accelerator found"), Machine():
        pass
