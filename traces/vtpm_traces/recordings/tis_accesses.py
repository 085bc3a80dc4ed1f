"""Register accesses of a TPM as observations of `tis.device`, and what is found of a recording of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vtpm_model.core import Spec, replace
from vtpm_model.tis_device import (
    BUFFER,
    DATA_AVAIL,
    QEMU,
    SIZE_IS_KNOWN,
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

BEGINNINGS = 8
"""Writes to STS of which each may have been the last one before a response, or before it was asked for again."""


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


class Identity(NamedTuple):
    """The registers of a device that are its own: INT_VECTOR, DID_VID, RID and INTF_CAPABILITY."""

    vector: int
    identity: int
    revision: int
    capability: int


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


def judge(title: str, accesses: Sequence[Access | Reset], identity: Identity | None = None) -> Found:
    """Hold a run of accesses, which begins after a reset, against each specification. `identity`: else it is QEMU's."""
    verdicts = {name: explained_by(name, title, accesses, identity) for name in SPECIFICATIONS}
    return Found(title, len(accesses), verdicts)


def explained_by(
    name: str, title: str, accesses: Sequence[Access | Reset], identity: Identity | None = None
) -> Verdict:
    """Hold a run of accesses against one specification, as those of a TPM 1.2 or, failing that, of a TPM 2.0."""
    spec, one_fifo = SPECIFICATIONS[name]
    tried = []
    for family_2 in (False, True):
        start = device(family_2=family_2, one_fifo=one_fifo)
        if identity is not None:
            start = replace(start, **identity._asdict())
        tried.append(explain(spec, _recording(title, accesses, start)))
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
        candidates={"device_completes.answer": Candidates(_lengths(accesses, exact=start.one_fifo))},
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


def _lengths(accesses: Sequence[Access | Reset], *, exact: bool) -> tuple[int, ...]:
    """Lengths that a response may have had: by headers, whole or in part, the longest that begin so.

    `exact`: a burst count is all that is left of a response; else no burst count is too small for the longest one.
    Where a write to STS began a response anew it is not asked whether it did: what was read since each of the last
    few writes is taken for the beginning of one. Before the first byte of a response, ones are read.
    """
    found = {SHORTEST, BUFFER}
    begun: dict[int, list[bytes]] = {}  # by locality
    for access in accesses:
        if isinstance(access, Reset) or access.value is None:
            continue
        since = begun.setdefault(access.locality, [b""])
        if access.writes and access.offset & ~3 == STS:
            begun[access.locality] = [*since[-BEGINNINGS:], b""]
        elif not access.writes and is_fifo(access.offset):
            read = access.value.to_bytes(4, "little")[: fifo_bytes(access.offset, access.width)]
            begun[access.locality] = [each + read if len(each) < SIZE_IS_KNOWN else each for each in since]
            begun[access.locality] = since = [each.lstrip(b"\xff") for each in begun[access.locality]]
            found |= {int.from_bytes(each[2:SIZE_IS_KNOWN].ljust(4, b"\xff"), "big") for each in since if len(each) > 2}
        elif exact and not access.writes and access.offset & ~3 == STS:
            word = access.value << 8 * (access.offset - STS)
            if word & DATA_AVAIL or access.offset != STS:
                found.add(word >> 8 & 0xFFFF)
    return tuple(sorted({min(length, BUFFER) for length in found if length >= SHORTEST}))
