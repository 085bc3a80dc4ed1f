"""Reads QEMU's trace of a TPM's registers: `tpm_tis_mmio_read  read.4(0x00000018) = 0x00100040`, and its own remarks.

The offset counts from the first page; the value is the whole word from that offset on, whatever the width. Of a reading
of the FIFO the width is not told (it is 0): each byte of a response has a remark before it, `tpm_tis_data_read`, and
what is read beyond the response are ones. The other remarks say nothing that the accesses do not show.
"""

from __future__ import annotations

import re
from pathlib import Path

from vtpm_model.tis_device import is_fifo
from vtpm_traces.files import BadInput, Limits, read_lines, shown
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.tis_accesses import Access, Reset

LIMITS = Limits(unpacked=256 << 20, line=4096, lines=1_000_000)

_ACCESS = re.compile(
    r"(?:\S*[:@ ])?\s*tpm_tis_mmio_(read|write)\s+(read|write)\.([0124])\((0x[0-9a-f]{8})\) = (0x[0-9a-f]{8})"
)
_REMARK = re.compile(r"(?:\S*[:@ ])?\s*tpm_[a-z0-9_]+ ")


def read_tis_trace(path: Path) -> list[Access | Reset]:
    """The accesses in the file, in order. Raises BadInput."""
    found: list[Access | Reset] = []
    remarks = 0
    for number, line in read_lines(path, LIMITS):
        access = _ACCESS.fullmatch(line.rstrip())
        if access is None:
            if line.strip() and not (_REMARK.match(line) and "mmio_read" not in line and "= 0x" not in line):
                raise BadInput(f"{path}:{number}: {shown(line)} is no line of a trace of tpm_tis")
            remarks += "tpm_tis_data_read" in line
            continue
        kind, again, told, address, digits = access.groups()
        place, width, value = int(address, 16), int(told), int(digits, 16)
        if kind != again or place >= 0x5000 or (width == 0 and (kind == "write" or not is_fifo(place & 0xFFF))):
            raise BadInput(f"{path}:{number}: {shown(line)}: an access within 0x0 to 0x4fff, of 1, 2 or 4 bytes")
        if width == 0:
            width = max(remarks, (value.bit_length() + 7) // 8, 1)
        remarks = 0
        origin = Origin(str(path), number, line.strip())
        found.append(Access(origin, kind == "write", place >> 12, place & 0xFFF, width, value))
    return found


def text_of(*, writes: bool, width: int, offset: int, value: int) -> str:
    """An access of so many bytes as a trace has it; `offset` counts from the first page."""
    return f"{'write' if writes else 'read'}.{width}({offset:#010x}) = {value:#010x}"


def line_of(text: str) -> str:
    """The line of a trace with such a text."""
    return f"tpm_tis_mmio_{text.partition('.')[0]:5} {text}"
