"""The device behind the TPM Interface Specification as software sees it: five pages of registers, read and written.

Each access has an offset and a width, as the bus has them, and shows a value. Recordings of devices are held against
this system, byte for byte; what the driver of `tis` may rely on is the machine of `tis_fifo`, here with all localities.

One mistake of a known device is a variant: in QEMU's one FIFO serves all localities, and stays as it was when the TPM
changes hands.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from vtpm_model import sources
from vtpm_model.core import U8, U16, U32, Actor, Nat, Range, Spec, action, record, replace, require
from vtpm_model.page import TPM_HEADER
from vtpm_model.tis_fifo import COMPLETION, EXECUTION, IDLE, READY, RECEPTION, Phase

BUFFER = 4096
"""Bytes of the longest command and of the longest response."""

SIZE_IS_KNOWN = 6
"""Bytes of a packet after which its length is known: tag (2), length (4)."""

LOCALITIES = range(5)
NOBODY = 5

Locality = Annotated[int, Range(0, 4)]
Owner = Annotated[int, Range(0, 5)]
Offset = Annotated[int, Range(0, 0xFFF)]

# The registers, by their offsets in the page of a locality.
ACCESS, INT_ENABLE, INT_VECTOR, INT_STATUS, INTF_CAPABILITY, STS = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x18
DATA_FIFO, INTERFACE_ID, XDATA_FIFO, XDATA_FIFO_END, DID_VID, RID = 0x24, 0x30, 0x80, 0xBF, 0xF00, 0xF04

# ACCESS.
VALID, ACTIVE, BEEN_SEIZED, SEIZE, PENDING, REQUEST, NOT_ESTABLISHED = 0x80, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01

# STS; the burst count lies in bits 8 to 23.
STS_VALID, COMMAND_READY, GO, DATA_AVAIL, EXPECT, SELF_TEST_DONE, RETRY = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02
BURST = 0xFFFF00
FAMILY_2 = 0x0400_0000

# INT_ENABLE and INT_STATUS.
INT_ON, INT_POLARITY, INT_READY, INT_LOCALITY, INT_STS, INT_DATA = 0x8000_0000, 0x18, 0x80, 0x04, 0x02, 0x01
INTS = INT_READY | INT_LOCALITY | INT_STS | INT_DATA
INT_LOW_LEVEL = 0x08

ID_LOCK = 0x0008_0000
CONTINUE_SELF_TEST = 0x53
ONES = 0xFFFF_FFFF


@record
class Page:
    """What one locality has of its own."""

    phase: Phase
    flags: U8  # of STS, without selfTestDone
    enabled: U32  # INT_ENABLE
    pending: U8  # INT_STATUS


@record
class Device:
    """All registers, and what lies behind them."""

    family_2: bool  # TPM 2.0
    vector: U8  # INT_VECTOR
    identity: U32  # DID_VID
    revision: U8
    capability: U32
    one_fifo: bool  # it serves all localities, and nothing is dropped when the TPM changes hands
    owner: Owner
    asking: U8  # a bit for each locality: requestUse
    seized: U8  # beenSeized
    seizing: U8  # a seizure that waits for the end of a command
    successor: Owner  # who gets the TPM when the command ends that is to be aborted
    aborting: Owner  # who had it until then
    running: Owner  # whose command is executed
    tested: bool  # selfTestDone
    locked: bool  # INTERFACE_ID
    place: U16  # bytes written into the FIFO, or read from it
    size: U32  # bytes 2 to 5 in it: the length of the command or of the response
    ordinal: U32  # bytes 6 to 9
    responses: Nat  # so far; the number of the one in the FIFO
    page0: Page
    page1: Page
    page2: Page
    page3: Page
    page4: Page


RESET_PAGE = Page(phase=IDLE, flags=0, enabled=INT_LOW_LEVEL, pending=0)


def device(*, family_2: bool = False, one_fifo: bool = False) -> Device:
    """A device that was just reset. Its numbers are those of QEMU's."""
    return Device(
        family_2=family_2, vector=5, identity=0x0001_1014, revision=1,
        capability=0x3000_0697 if family_2 else 0x2000_0697,
        one_fifo=one_fifo, owner=NOBODY, asking=0, seized=0, seizing=0, successor=NOBODY, aborting=NOBODY,
        running=NOBODY, tested=False, locked=False, place=0, size=0, ordinal=0, responses=0,
        page0=RESET_PAGE, page1=RESET_PAGE, page2=RESET_PAGE, page3=RESET_PAGE, page4=RESET_PAGE,
    )  # fmt: skip


def page(d: Device, locality: int) -> Page:
    """The page of a locality."""
    found: Page = getattr(d, f"page{locality}")
    return found


def with_page(d: Device, locality: int, **changes: object) -> Device:
    """The device with something changed in the page of a locality."""
    return replace(d, **{f"page{locality}": replace(page(d, locality), **changes)})


def bit(locality: int) -> int:
    """The bit of a locality; 0 of nobody."""
    return 1 << locality if locality in LOCALITIES else 0


def interrupts(d: Device, locality: int, causes: int) -> Device:
    """After something has happened for which the locality may have enabled an interrupt."""
    if locality not in LOCALITIES:
        return d
    own = page(d, locality)
    if own.enabled & INT_ON and own.enabled & causes:
        return with_page(d, locality, pending=own.pending | causes)
    return d


# -------------------------------------------------------------------------------------------------------- localities


def passes_to(d: Device, owner: int) -> Device:
    """After the TPM has gone to another locality, or to nobody."""
    changed = owner != d.owner
    if changed and d.owner in LOCALITIES:
        if d.seizing & bit(owner):
            d = replace(d, seized=d.seized | bit(d.owner))
        else:
            d = replace(d, asking=d.asking & ~bit(d.owner))
    d = replace(d, owner=owner, asking=d.asking & ~bit(owner), seizing=d.seizing & ~bit(owner))
    if not changed:
        return d
    if not d.one_fifo:
        for locality in LOCALITIES:
            d = with_page(d, locality, phase=IDLE, flags=0)
        d = replace(d, place=0, size=0, running=NOBODY, successor=NOBODY, aborting=NOBODY, seizing=0)
    return interrupts(d, owner, INT_LOCALITY)


def aborts(d: Device) -> Device:
    """After what was going on was dropped: the TPM is ready, or has gone to its next owner."""
    d = replace(d, place=0)
    if d.aborting == d.successor:
        d = with_page(d, d.aborting, phase=READY, flags=COMMAND_READY)
        d = interrupts(d, d.aborting, INT_READY)
    return replace(passes_to(d, d.successor), successor=NOBODY, aborting=NOBODY)


def is_to_abort(d: Device, owner: int, successor: int) -> Device:
    """After somebody wants to drop what is going on; a command that is executed comes to its end before."""
    d = replace(d, aborting=owner, successor=successor)
    if any(page(d, locality).phase == EXECUTION for locality in LOCALITIES):
        return d
    return aborts(d)


def highest(bits: int) -> int:
    """The highest locality of those whose bits are set."""
    return max((locality for locality in LOCALITIES if bits & bit(locality)), default=NOBODY)


def access_read(d: Device, locality: int) -> int:
    """ACCESS. No dynamic launch is ever made here."""
    others = d.asking & ~bit(locality)
    return (
        VALID
        | (ACTIVE if d.owner == locality else 0)
        | (BEEN_SEIZED if d.seized & bit(locality) else 0)
        | (PENDING if others else 0)
        | (REQUEST if d.asking & bit(locality) else 0)
        | NOT_ESTABLISHED
    )


def access_written(d: Device, locality: int, value: int) -> Device:
    """After a write to ACCESS. Seize masks the request and the return that are written with it."""
    if value & SEIZE:
        value &= ~(REQUEST | ACTIVE)
    owner: int | None = d.owner
    if value & ACTIVE:
        if d.owner != locality:
            d = replace(d, asking=d.asking & ~bit(locality))
        elif d.asking:
            owner = None
            d = is_to_abort(d, locality, highest(d.asking))
        else:
            owner = NOBODY
    if value & BEEN_SEIZED:
        d = replace(d, seized=d.seized & ~bit(locality))
    if value & SEIZE and (d.owner == NOBODY or d.owner < locality) and not d.seizing >> locality:
        owner = None
        d = replace(d, seizing=bit(locality))
        d = is_to_abort(d, d.owner, locality)
    if value & REQUEST and d.owner != locality:
        if d.owner in LOCALITIES:
            d = replace(d, asking=d.asking | bit(locality))
        else:
            owner = locality
    return d if owner is None else passes_to(d, owner)


# ---------------------------------------------------------------------------------------------------- STS and the FIFO


def length(d: Device) -> int:
    """The length in the FIFO, as a command's; the device with one FIFO keeps 16 bits of it."""
    return d.size & 0xFFFF if d.one_fifo else d.size


def sts_read(d: Device, locality: int, width: int) -> int:
    """STS. A reading of one byte shows no more than 255 as burst count, lest 256 were taken for 0."""
    if d.owner != locality:
        return ONES
    flags = page(d, locality).flags | (SELF_TEST_DONE if d.tested else 0) | (FAMILY_2 if d.family_2 else 0)
    if flags & DATA_AVAIL:
        return flags | ((min(d.size, BUFFER) - d.place) << 8 & BURST)
    room = BUFFER - d.place
    return flags | (min(room, 0xFF) if width == 1 else room) << 8


def sts_written(d: Device, locality: int, value: int) -> Device:
    """After a write to STS: one command bit at a time has an effect."""
    if d.owner != locality:
        return d
    phase = page(d, locality).phase
    command = value & (COMMAND_READY | GO | RETRY)
    if command == COMMAND_READY:
        if phase in (EXECUTION, RECEPTION):
            return is_to_abort(d, locality, locality)
        if phase != IDLE or not d.one_fifo:
            d = replace(d, place=0)
        if phase == READY:
            return d
        return interrupts(with_page(d, locality, phase=READY, flags=COMMAND_READY), locality, INT_READY)
    if command == GO and phase == RECEPTION and not page(d, locality).flags & EXPECT:
        return replace(with_page(d, locality, phase=EXECUTION), running=locality)
    if command == RETRY and phase == COMPLETION:
        return replace(with_page(d, locality, flags=STS_VALID | DATA_AVAIL), place=0)
    return d


def takes(d: Device, byte: int) -> Device:
    """After a byte was put into the FIFO at its place."""
    if SIZE_IS_KNOWN - 4 <= d.place < SIZE_IS_KNOWN:
        d = replace(d, size=_with_byte(d.size, SIZE_IS_KNOWN - 1 - d.place, byte))
    if SIZE_IS_KNOWN <= d.place < TPM_HEADER:
        d = replace(d, ordinal=_with_byte(d.ordinal, TPM_HEADER - 1 - d.place, byte))
    return replace(d, place=d.place + 1)


def _with_byte(word: int, number: int, byte: int) -> int:
    """A word with one of its bytes changed, the lowest being number 0."""
    return word & ~(0xFF << 8 * number) | byte << 8 * number


def fifo_written(d: Device, locality: int, value: int, count: int) -> Device:
    """After so many bytes were written, the lowest first; one write is taken whole, though it exceed the command."""
    own = page(d, locality)
    if d.owner != locality or own.phase not in (READY, RECEPTION):
        return d
    if own.phase == READY:
        d = with_page(d, locality, phase=RECEPTION, flags=EXPECT | STS_VALID)
    for number in range(count):
        if page(d, locality).flags & EXPECT:
            if d.place < BUFFER:
                d = takes(d, value >> 8 * number & 0xFF)
            else:
                d = with_page(d, locality, flags=STS_VALID)
    if d.place >= SIZE_IS_KNOWN and length(d) <= d.place:
        d = with_page(d, locality, flags=STS_VALID)
    return d


def fifo_read(d: Device, locality: int, value: int, count: int) -> Device:
    """After so many bytes were read as `value`: 0xFF where there is none; the length in a response is its own."""
    for number in range(count):
        byte = value >> 8 * number & 0xFF
        if page(d, locality).phase == COMPLETION and page(d, locality).flags & DATA_AVAIL:
            if SIZE_IS_KNOWN - 4 <= d.place < SIZE_IS_KNOWN:
                require(byte == d.size >> 8 * (SIZE_IS_KNOWN - 1 - d.place) & 0xFF)
            d = replace(d, place=d.place + 1)
            if d.place >= min(length(d), BUFFER):
                d = interrupts(with_page(d, locality, flags=STS_VALID), locality, INT_STS)
        else:
            require(byte == 0xFF)
    require(value >> 8 * count == 0)
    return d


# --------------------------------------------------------------------------------------------------------- registers


def is_fifo(offset: int) -> bool:
    """DATA_FIFO, or its longer alias."""
    return offset & ~3 == DATA_FIFO or XDATA_FIFO <= offset <= XDATA_FIFO_END


def fifo_bytes(offset: int, width: int) -> int:
    """Bytes of the FIFO that an access moves: none beyond the word that it begins in."""
    return min(width, 4 - offset % 4)


def register_read(d: Device, locality: int, offset: int, width: int) -> int:
    """What every register but the FIFO reads, from the offset on; holes read ones."""
    words = {
        ACCESS: access_read(d, locality),
        INT_ENABLE: page(d, locality).enabled,
        INT_VECTOR: d.vector,
        INT_STATUS: page(d, locality).pending,
        INTF_CAPABILITY: d.capability,
        STS: sts_read(d, locality, width),
        INTERFACE_ID: (0x2100 | (ID_LOCK if d.locked else 0)) if d.family_2 else ONES,
        DID_VID: d.identity,
        RID: d.revision,
    }
    return words.get(offset & ~3, ONES) >> 8 * (offset % 4)


def register_written(d: Device, locality: int, offset: int, width: int, value: int) -> Device:
    """After a write to any register. Locality 4 is for the processor alone."""
    if locality == max(LOCALITIES):
        return d
    mask = (1 << 8 * width) - 1 << 8 * (offset % 4) & ONES
    word = value << 8 * (offset % 4) & mask
    if is_fifo(offset):
        return fifo_written(d, locality, value, fifo_bytes(offset, width))
    if offset & ~3 == ACCESS:
        return access_written(d, locality, word)
    if offset & ~3 == STS:
        return sts_written(d, locality, word)
    if offset & ~3 == INTERFACE_ID:
        return replace(d, locked=d.locked or bool(word & ID_LOCK))
    if d.owner != locality:
        return d
    own = page(d, locality)
    if offset & ~3 == INT_ENABLE:
        return with_page(d, locality, enabled=own.enabled & ~mask | word & (INT_ON | INT_POLARITY | INTS))
    if offset & ~3 == INT_STATUS:
        return with_page(d, locality, pending=own.pending & ~word)
    return d


def agrees(d: Device, locality: int, offset: int, width: int, value: int) -> bool:
    """Whether a register may read so. The burst count is any that the device can keep, and stsValid may be late."""
    shown = register_read(d, locality, offset, width)
    if value in (shown, shown & ((1 << 8 * width) - 1)):
        return True
    if d.one_fifo or offset & ~3 != STS or d.owner != locality:
        return False
    known = ONES & ~BURST & ~STS_VALID
    if not value & STS_VALID:
        known &= ~(EXPECT | DATA_AVAIL)
    shift = 8 * (offset % 4)
    told, limit = value << shift & BURST, shown << shift & BURST
    same = (value << shift ^ shown << shift) & known & ((1 << 8 * width) - 1 << shift) == 0
    return same and (told <= limit or not page(d, locality).flags & DATA_AVAIL)


@action(by=Actor.SOFTWARE, cites=(sources.TIS_REGISTERS, sources.PTP_XDATA_FIFO))
def software_reads(d: Device, locality: Locality, offset: Offset, width: U8, value: U32) -> Device:
    """A register of a locality is read: so many bytes from an offset on, and what they are."""
    if is_fifo(offset) and d.owner == locality:
        return fifo_read(d, locality, value, fifo_bytes(offset, width))
    require(agrees(d, locality, offset, width, value))
    return d


@action(by=Actor.SOFTWARE, cites=(sources.TIS_REGISTERS, sources.PTP_XDATA_FIFO))
def software_writes(d: Device, locality: Locality, offset: Offset, width: U8, value: U32) -> Device:
    """A register of a locality is written."""
    return register_written(d, locality, offset, width, value)


@action(by=Actor.DEVICE, cites=(sources.TIS_DATA_AVAIL, sources.TIS_SELF_TEST_DONE))
def device_completes(d: Device, answer: U16, tested: bool) -> Device:
    """A command has come to its end, with so many bytes of response; `tested`: it was the self-test, and went well."""
    require(d.running in LOCALITIES)
    require(page(d, d.running).phase == EXECUTION)
    require(TPM_HEADER <= d.place and TPM_HEADER <= answer <= BUFFER)
    require(not tested or d.ordinal == CONTINUE_SELF_TEST)
    d = with_page(d, d.running, phase=COMPLETION, flags=STS_VALID | DATA_AVAIL)
    d = replace(d, place=0, size=answer, responses=d.responses + 1, tested=d.tested or tested)
    if d.successor in LOCALITIES:
        d = aborts(d)
    return interrupts(d, d.running, INT_DATA | INT_STS)


@action(by=Actor.DEVICE, cites=sources.TIS_REG_VALID)
def device_is_reset(d: Device) -> Device:
    """The machine is reset."""
    return replace(device(family_2=d.family_2, one_fifo=d.one_fifo), responses=d.responses)


TIS_DEVICE = Spec(
    name="tis.device",
    doc="the registers of a TPM, for five localities",
    state=Device,
    init=device,
    actions=(software_reads, software_writes, device_completes, device_is_reset),
    facts=(),
)

QEMU = dataclasses.replace(
    TIS_DEVICE.variant("qemu", doc="one FIFO serves all localities, and nothing is dropped when the TPM changes hands"),
    init=lambda: device(one_fifo=True),
)
