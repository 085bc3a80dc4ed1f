"""Recordings of a TPM's registers: what the kept ones are judged to be, what spoilt ones are, and what is malformed."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import random
from pathlib import Path

import pytest

from vtpm_model.tis_device import STS, is_fifo
from vtpm_traces.files import BadInput
from vtpm_traces.formats import FORMATS
from vtpm_traces.recordings.tis_accesses import Access, Reset, aligned, judge
from vtpm_traces.recordings.tis_script import read_tis_script
from vtpm_traces.recordings.tis_trace import read_tis_trace
from vtpm_traces.recordings.tis_verdict import kept_recordings
from vtpm_traces.schema import data
from vtpm_traces.verdict import Outcome

FOLDER = data("recorded", "tis")
TRACE = FOLDER / "seabios+linux6.1-tis-mmio-trace.txt.gz"
SCRIPT = FOLDER / "qemu-reaction-tpm12.json.gz"
PLAIN, VARIANT = "tis.device", "tis.device+qemu"


def test_the_kept_files_are_what_their_provenance_says() -> None:
    told = json.loads((FOLDER / "provenance.json").read_text())["files"]
    kept = {path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes()) for path in FOLDER.glob("*.gz")}
    assert told == {name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in kept.items()}
    assert set(kept) == set(kept_recordings())


def test_the_trace_has_7213_accesses() -> None:
    accesses = [access for access in read_tis_trace(TRACE) if isinstance(access, Access)]
    assert len(accesses) == 7213
    assert sum(is_fifo(access.offset) and not access.writes for access in accesses) == 3003


@pytest.mark.parametrize(
    ("scenario", "accepted_by"),
    [
        ("B3 several pending: who wins", (PLAIN, VARIANT)),
        ("C17 32-bit FIFO writes, tail over-run", (PLAIN, VARIANT)),
        ("B20 locality 1 active with data of locality 0 in shared buffer", (VARIANT,)),
        ("C22 length=0x10004 (len kept in uint16?)", (VARIANT,)),
    ],
)
def test_scenarios_of_which_it_is_known_who_shows_them(scenario: str, accepted_by: tuple[str, ...]) -> None:
    assert judge(scenario, read_tis_script(SCRIPT)[scenario]).accepted_by == accepted_by


# ------------------------------------------------------------------------------------------------------------ teeth


def spoilt(access: Access, chance: random.Random) -> Access:
    """The access with one bit of what was read the other way; of a burst count, a bit that the width shows."""
    assert access.value is not None
    bits = range(8 * access.width) if access.offset != STS else range(24)
    return dataclasses.replace(access, value=access.value ^ 1 << chance.choice(bits))


@pytest.mark.parametrize("seed", range(24))
def test_a_spoilt_register_is_refused(seed: int) -> None:
    """Every bit of ACCESS, STS, of interrupts and of capabilities is predicted."""
    chance = random.Random(seed)
    accesses: list[Access | Reset] = list(read_tis_trace(TRACE))[:700]
    readings = [
        at
        for at, access in enumerate(accesses)
        if isinstance(access, Access) and not access.writes and not is_fifo(access.offset) and at < 600
    ]
    at = chance.choice(readings)
    access = accesses[at]
    assert isinstance(access, Access)
    accesses[at] = spoilt(access, chance)
    found = judge("spoilt", accesses)
    assert VARIANT not in found.accepted_by
    assert found.verdicts[VARIANT].outcome is Outcome.REFUSED


@pytest.mark.parametrize("seed", range(6))
def test_a_byte_too_few_is_refused(seed: int) -> None:
    """The burst counts that follow tell how many bytes there were, in a command as in a response."""
    chance = random.Random(seed)
    accesses: list[Access | Reset] = list(read_tis_trace(TRACE))[:700]
    moved = [at for at, access in enumerate(accesses) if isinstance(access, Access) and is_fifo(access.offset)]
    at = chance.choice([at for at in moved if at < 600])
    del accesses[at]
    assert VARIANT not in judge("spoilt", accesses).accepted_by


def test_a_response_that_is_read_again_is_the_same() -> None:
    name = "C10 Completion: full read, over-read, retry, re-read"
    accesses = read_tis_script(SCRIPT)[name]
    again = max(at for at, one in enumerate(accesses) if isinstance(one, Access) and is_fifo(one.offset))
    last = accesses[again]
    assert isinstance(last, Access)
    assert not last.writes
    assert last.value is not None
    assert VARIANT in judge(name, accesses).accepted_by
    accesses[again] = dataclasses.replace(last, value=last.value ^ 0x5A)
    assert VARIANT not in judge(name, accesses).accepted_by


# ------------------------------------------------------------------------------------------------------------ hostile


@pytest.mark.parametrize(
    "line",
    [
        "tpm_tis_mmio_read  read.4(0x00005018) = 0x00100040",
        "tpm_tis_mmio_read  write.4(0x00000018) = 0x00100040",
        "tpm_tis_mmio_write write.0(0x00000024) = 0x00000000",
        "tpm_tis_mmio_read  read.3(0x00000018) = 0x00100040",
        "tpm_tis_mmio_read  read.4(0x18) = 0x00100040",
        "something else",
    ],
)
def test_a_line_that_is_none_of_a_trace(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(f"tpm_tis_new_active_locality Active locality is now 0\n{line}\n")
    with pytest.raises(BadInput, match=r"trace\.txt:2: "):
        FORMATS["tis-trace"](path)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        [{"name": "x"}],
        [{"name": "x", "steps": [["STS0->"]]}],
        [{"name": "x", "steps": [["STS0->", "12"]]}],
        [{"name": "x", "steps": [["STS5->", "00000000"]]}],
        [{"name": "x", "steps": [["ACCESS0<-02", "81 81"]]}],
        [{"name": "x", "steps": [["FIFO0-> x3", "0011 00000000"]]}],
        [{"name": "x", "steps": [["FIFO0<-00..(9999)", "00000000"]]}],
        [{"name": "x", "steps": [["write8 loc0+0x24", None]]}],
        [{"name": "x", "steps": [["read32 loc0+0xfff", "00000000"]]}],
        [{"name": "x", "steps": []}, {"name": "x", "steps": []}],
    ],
)
def test_a_document_that_is_no_script(tmp_path: Path, document: object) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"script\.json"):
        FORMATS["tis-script"](path)


@pytest.mark.parametrize(
    ("access", "parts"),
    [
        ((0x24, 4), [(0x24, 4)]),
        ((0x19, 2), [(0x19, 1), (0x1A, 1)]),
        ((0x19, 4), [(0x19, 1), (0x1A, 2), (0x1C, 1)]),
        ((0x1B, 1), [(0x1B, 1)]),
    ],
)
def test_a_bus_splits_what_is_not_aligned(access: tuple[int, int], parts: list[tuple[int, int]]) -> None:
    assert list(aligned(*access)) == parts
