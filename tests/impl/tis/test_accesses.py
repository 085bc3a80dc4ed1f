"""The driver needs fewer register accesses than SeaBIOS' and Linux', and three more than the least."""

from __future__ import annotations

import gzip
import hashlib
import json

from tests.benchmarks.tis import BY_SEABIOS, FIFO, GO, RECORDING, STS, Access, count, least, measured, recorded
from tests.peers import tpm_machine


def test_the_recording_is_what_its_provenance_says() -> None:
    told = json.loads((RECORDING.parent / "provenance.json").read_text())["files"][RECORDING.name[:-3]]
    content = gzip.decompress(RECORDING.read_bytes())
    assert (len(content), hashlib.sha256(content).hexdigest()) == (told["bytes"], told["sha256"])


def test_the_recording_has_the_commands_of_two_drivers() -> None:
    counts = recorded()
    assert len(counts) == 103
    assert counts[0].command.hex() == "00c10000000c000000990001"  # TPM_Startup, by SeaBIOS
    assert counts[BY_SEABIOS].command[:2].hex() == "8001"  # Linux asks first whether it is a TPM 2.0


def test_polls_are_told_apart() -> None:
    accesses = [
        Access(write=True, offset=0, value=2),
        Access(write=False, offset=STS, value=0x40),
        Access(write=True, offset=FIFO, value=0x12),
        Access(write=True, offset=STS, value=GO),
        Access(write=False, offset=STS, value=0x80),
        Access(write=False, offset=STS, value=0x80),
        Access(write=False, offset=STS, value=0x90),
        Access(write=False, offset=FIFO, value=0x34),
        Access(write=False, offset=STS, value=0x80),
    ]
    counted = count(accesses)
    assert (counted.command, counted.accesses, counted.polls, counted.needed) == (b"\x12", 9, 2, 7)
    assert least(bytes(14), bytes(30)) == (3 + 1) + (7 + 1) + 4


def test_ours_are_the_fewest() -> None:
    tpm_machine.required()
    rows = measured()
    assert {name for row in rows for name in row.others} == {"linux", "seabios"}
    for row in rows:
        assert row.ours_are_the_fewest, row
        assert row.ours <= row.least + 3, row
