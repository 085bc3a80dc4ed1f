"""Register accesses of a TPM as observations of `tis.device`, and what is found of a recording of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vtpm_model.core import Spec
from vtpm_model.tis_device import (
    DATA_AVAIL,
    QEMU,
    STS,
    TIS_DEVICE,
    Device,
    device,
    fifo_bytes,
    is_fifo,
    page,
)
from vtpm_model.tis_fifo import COMPLETION
from vtpm_traces.observe import Call, Candidates, Happened, Origin, Recording, Stream
from vtpm_traces.search import explain
from vtpm_traces.verdict import Verdict

SPECIFICATIONS: Mapping[str, tuple[Spec[Any], bool]] = {TIS_DEVICE.name: (TIS_DEVICE, False), QEMU.name: (QEMU, True)}
"""What recordings are held against, the true one first; whether one FIFO serves all localities."""

SHORTEST = 10


@dataclass(frozen=True)
class Access:
    """A register that was read or written: `value` None is a byte whose value the recording leaves out."""

    origin: Origin
    writes: bool
    locality: int
    offset: int
    width: int
    value: int | None


@dataclass(frozen=True)
class Reset:
    """The machine was reset."""

    origin: Origin


@dataclass(frozen=True)
class Found:
    """What was found of one run of a device: its name, its number of accesses, and a verdict by each specification."""

    title: str
    accesses: int
    verdicts: Mapping[str, Verdict]

    @property
    def accepted_by(self) -> tuple[str, ...]:
        """The specifications that show it, the true one first."""
        return tuple(name for name, verdict in self.verdicts.items() if verdict.accepted)


def aligned(offset: int, width: int) -> Iterator[tuple[int, int]]:
    """The accesses, each `(offset, width)`, that a bus makes of one: none crosses a multiple of its own width."""
    end = offset + width
    while offset < end:
        part = 1
        while offset % (2 * part) == 0 and offset + 2 * part <= end:
            part *= 2
        yield offset, part
        offset += part


def judge(title: str, accesses: Sequence[Access | Reset]) -> Found:
    """Hold a run of accesses, which begins after a reset, against each specification."""
    return Found(title, len(accesses), {name: explained_by(name, title, accesses) for name in SPECIFICATIONS})


def explained_by(name: str, title: str, accesses: Sequence[Access | Reset]) -> Verdict:
    """Hold a run of accesses against one specification, as those of a TPM 1.2 or, failing that, of a TPM 2.0."""
    spec, one_fifo = SPECIFICATIONS[name]
    tried = []
    for family_2 in (False, True):
        tried.append(explain(spec, _recording(title, accesses, device(family_2=family_2, one_fifo=one_fifo))))
        if tried[-1].accepted:
            return tried[-1]
    return max(tried, key=_reached)


def _reached(verdict: Verdict) -> int:
    return max((stuck.origin.line for stuck in verdict.stuck), default=0)


def _recording(title: str, accesses: Sequence[Access | Reset], start: Device) -> Recording:
    observations = tuple(_observed(access) for access in accesses)
    return Recording(
        title,
        (Stream("accesses", observations, frozenset({"software_reads", "software_writes", "device_is_reset"})),),
        hidden=frozenset({"device_completes"}),
        candidates={"device_completes.answer": Candidates(_lengths(accesses))},
        start=lambda: start,
        recalls=_recalls,
    )


def _observed(access: Access | Reset) -> Happened:
    if isinstance(access, Reset):
        return Happened(access.origin, (Call("device_is_reset"),))
    values = (access.value,) if access.value is not None else (0x00, 0xFF)
    picks = {"locality": access.locality, "offset": access.offset, "width": access.width}
    name = "software_writes" if access.writes else "software_reads"
    calls = tuple(Call(name, {**picks, "value": value}) for value in values[: 1 if access.writes else 2])
    known = access.value is not None and not access.writes and is_fifo(access.offset)
    return Happened(access.origin, calls, says=_says if known else None)


def _says(before: Device, step: Any, after: Device) -> Mapping[Any, Any]:
    """The bytes of a response are the same whenever they are read."""
    picks = step.picks
    if before.owner != picks["locality"]:
        return {}
    count = min(fifo_bytes(picks["offset"], picks["width"]), after.place - before.place)
    return {(before.responses, before.place + at): picks["value"] >> 8 * at & 0xFF for at in range(count)}


def _recalls(state: Device) -> Iterable[Any]:
    """Bytes of which more may be said: those of the response that is in the FIFO."""
    if any(page(state, locality).phase == COMPLETION for locality in range(5)):
        return ((state.responses, place) for place in range(min(state.size, 4096)))
    return ()


def _lengths(accesses: Sequence[Access | Reset]) -> tuple[int, ...]:
    """Lengths that a response may have had: burst counts that were read with dataAvail, and lengths in headers."""
    found = {SHORTEST}
    read = b""
    for access in accesses:
        if isinstance(access, Reset) or access.value is None:
            continue
        if access.writes:
            read = b""
        elif is_fifo(access.offset):
            read += access.value.to_bytes(4, "little")[: fifo_bytes(access.offset, access.width)]
            if len(read) >= 6:
                found.add(int.from_bytes(read[2:6], "big"))
        elif access.offset & ~3 == STS:
            word = access.value << 8 * (access.offset - STS)
            if word & DATA_AVAIL or access.offset != STS:
                found.add(word >> 8 & 0xFFFF)
    return tuple(sorted(length for length in found if SHORTEST <= length <= 4096))
