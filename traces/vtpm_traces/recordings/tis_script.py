"""Reads scripts of register accesses and a device's answers: scenarios of `[operation, result]`, each from a reset.

Operations: `REGl<-vv[..]` writes a register of locality l (its result is read back: five ACCESS bytes, or STS),
`REGl->` reads, `readW locl+0xOFF NAME` and `writeW locl+0xOFF=VV NAME` access W bits, `FIFOl<-HEX` writes bytes (then
STS is read), `FIFOl-> xN` reads N bytes and STS, `poll STSl until &MM==VV` reads STS until it is so; whole commands are
`TPM_Startup via locl, relinquished` and `COMMAND at locality l`; anything whose result is `{access, sts}` reads all of
both. Long data may be shortened to `00c1...78..(54)`: its first bytes, and how many there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtpm_model.tis_device import ACCESS, ACTIVE, COMMAND_READY, DATA_FIFO, GO, INT_STATUS, REQUEST, STS
from vtpm_traces.files import BadInput, Limits, read_json, shown
from vtpm_traces.observe import Origin
from vtpm_traces.recordings.tis_accesses import Access, Reset, aligned

LIMITS = Limits(unpacked=64 << 20, line=64 << 20, depth=8)

_REGISTERS = {"ACCESS": ACCESS, "STS": STS, "INT_STATUS": INT_STATUS, "INT_ENABLE": 0x08}
_LONGEST = 8192

_WRITE = re.compile(r"(ACCESS|STS|INT_STATUS|INT_ENABLE)([0-4])<-([0-9a-f]{1,8})(?![0-9a-f]).*")
_READ = re.compile(r"(ACCESS|STS|INT_STATUS|INT_ENABLE)([0-4])(?:->)?")
_RAW = re.compile(r"(read|write)(8|16|32) loc([0-4])\+0x([0-9a-f]{1,3})(?:=([0-9a-f]{1,8}))?(?: .*)?")
_FIFO_WRITE = re.compile(r"FIFO([0-4])<-((?:[0-9a-f]{2})+)(?:\.\.\((\d{1,4})\))?")
_FIFO_READ = re.compile(r"FIFO([0-4])-> x(\d{1,4})")
_POLL = re.compile(r"poll STS([0-4]) until &[0-9a-f]+==[0-9a-f]+")
_WHOLE = re.compile(r"\S.* via loc([0-4]), relinquished|\S.* at locality ([0-4])")
_STS = re.compile(r"(?:(?:ok|TIMEOUT) )?([0-9a-f]{8})(?:\[.*\])?(?: after .*)?")
_BYTES = re.compile(r"((?:[0-9a-f]{2})+)(?:\.\.\((\d{1,4})\))?(?: ([0-9a-f]{8})(?:\[.*\])?)?")

_STARTUP = {
    b"\x00\xc4": bytes.fromhex("00c10000000c000000990001"),
    b"\x80\x01": bytes.fromhex("80010000000c000001440000"),
}
_SOMETHING = bytes.fromhex("00c10000000a00000000")


def read_tis_script(path: Path) -> Mapping[str, list[Access | Reset]]:
    """The accesses of each scenario, by its name. Raises BadInput."""
    document = read_json(path, LIMITS)
    if not isinstance(document, list) or not document:
        raise BadInput(f"{path}: a list of scenarios is expected")
    found: dict[str, list[Access | Reset]] = {}
    line = 0
    for scenario in document:
        if not isinstance(scenario, dict) or not isinstance(scenario.get("steps"), list):
            raise BadInput(f"{path}: {shown(scenario)} is no scenario {{name, steps}}")
        name = str(scenario.get("name"))
        if name in found:
            raise BadInput(f"{path}: two scenarios are called {shown(name)}")
        accesses = found[name] = []
        for step in scenario["steps"]:
            line += 1
            if not isinstance(step, list) or len(step) != 2 or not isinstance(step[0], str):
                raise BadInput(f"{path}: {shown(name)}: {shown(step)} is no step [operation, result]")
            origin = Origin(str(path), line, f"{name}: {step[0]} => {shown(step[1])}")
            try:
                accesses += _Step(origin).accesses(step[0].strip(), step[1])
            except ValueError as error:
                raise BadInput(f"{path}: {shown(name)}: {shown(step)}: {error}") from None
    return found


class _Step:
    """Tells the accesses of one step; each has the step's place as its origin. Raises ValueError."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def read(self, locality: int, offset: int, width: int, value: int | None) -> Access:
        return Access(self.origin, writes=False, locality=locality, offset=offset, width=width, value=value)

    def write(self, locality: int, offset: int, width: int, value: int | None) -> Access:
        return Access(self.origin, writes=True, locality=locality, offset=offset, width=width, value=value)

    def accesses(self, operation: str, result: Any) -> Iterator[Access | Reset]:
        if isinstance(result, dict):
            yield from self.all(operation, result)
        elif operation == "irq_intercept_in ioapic":
            return
        elif match := _WRITE.fullmatch(operation):
            yield from self.written(match[1], int(match[2]), match[3], result)
        elif match := _READ.fullmatch(operation):
            register, locality = match.groups()
            value = _sts(result) if register == "STS" else _word(result)
            yield self.read(int(locality), _REGISTERS[register], 1 if register == "ACCESS" else 4, value)
        elif match := _RAW.fullmatch(operation):
            yield from self.raw(match, result)
        elif match := _FIFO_WRITE.fullmatch(operation):
            locality = int(match[1])
            yield from self.bytes(locality, match[2], match[3], writes=True)
            yield self.read(locality, STS, 4, _sts(result))
        elif match := _FIFO_READ.fullmatch(operation):
            yield from self.fifo_read(int(match[1]), int(match[2]), result)
        elif match := _POLL.fullmatch(operation):
            yield self.read(int(match[1]), STS, 4, _sts(result))
        elif match := _WHOLE.fullmatch(operation):
            yield from self.whole(int(match[1] or match[2]), result, gives_back=match[1] is not None)
        else:
            raise ValueError("no operation is written so")

    def all(self, operation: str, result: dict[str, Any]) -> Iterator[Access | Reset]:
        if operation == "reset":
            yield Reset(self.origin)
        access, sts = str(result.get("access", "")).split(), str(result.get("sts", "")).split()
        if len(access) != 5 or len(sts) != 5:
            raise ValueError("five values of `access` and of `sts` are expected")
        for locality in range(5):
            yield self.read(locality, ACCESS, 1, _word(access[locality]))
        for locality in range(5):
            yield self.read(locality, STS, 4, _word(sts[locality]))

    def written(self, register: str, locality: int, digits: str, result: Any) -> Iterator[Access]:
        yield self.write(locality, _REGISTERS[register], 1 if len(digits) <= 2 else 4, int(digits, 16))
        if register == "ACCESS":
            values = str(result).split()
            if len(values) != 5:
                raise ValueError("five values of ACCESS are expected")
            for other, value in enumerate(values):
                yield self.read(other, ACCESS, 1, _word(value))
        elif result is not None and not str(result).startswith("QEMU"):  # it may have frozen
            yield self.read(locality, STS, 4, _sts(result))

    def raw(self, match: re.Match[str], result: Any) -> Iterator[Access]:
        """An access of any alignment; the bus makes several of one that is not aligned."""
        kind, written, first = match[1], match[5], int(match[4], 16)
        if (kind == "write") != (written is not None):
            raise ValueError("what is written is expected after `=`, and nothing there for a reading")
        value = _word(result) if written is None else int(written, 16)
        for at, width in aligned(first, int(match[2]) // 8):
            part = value >> 8 * (at - first) & (1 << 8 * width) - 1
            if at > 0xFFF:
                raise ValueError("an access within the page is expected")
            yield Access(self.origin, kind == "write", int(match[3]), at, width, part)

    def bytes(self, locality: int, digits: str, total: str | None, *, writes: bool) -> Iterator[Access]:
        data = bytes.fromhex(digits)
        count = int(total) if total else len(data)
        if not len(data) <= count <= _LONGEST:
            raise ValueError(f"{count} bytes of which {len(data)} are shown; at most {_LONGEST} are expected")
        for value in (*data, *[None] * (count - len(data))):
            yield Access(self.origin, writes, locality, DATA_FIFO, 1, value)

    def fifo_read(self, locality: int, count: int, result: Any) -> Iterator[Access]:
        match = _BYTES.fullmatch(str(result))
        if not match:
            raise ValueError("the bytes and STS are expected")
        total = match[2] or str(len(match[1]) // 2)
        if int(total) != count:
            raise ValueError(f"{count} bytes are expected")
        yield from self.bytes(locality, match[1], total, writes=False)
        if match[3]:
            yield self.read(locality, STS, 4, int(match[3], 16))

    def whole(self, locality: int, result: Any, *, gives_back: bool) -> Iterator[Access]:
        """A whole command: the locality is requested, the device made ready, and so again after the response."""
        match = _BYTES.fullmatch(str(result))
        if not match or match[3]:
            raise ValueError("the response is expected")
        command = _STARTUP.get(bytes.fromhex(match[1][:4]), _SOMETHING) if gives_back else _SOMETHING
        yield self.write(locality, ACCESS, 1, REQUEST)
        yield self.write(locality, STS, 1, COMMAND_READY)
        yield from self.bytes(locality, command.hex(), None, writes=True)
        yield self.write(locality, STS, 1, GO)
        yield from self.bytes(locality, match[1], match[2], writes=False)
        yield self.write(locality, STS, 1, COMMAND_READY)
        if gives_back:
            yield self.write(locality, ACCESS, 1, ACTIVE)


def _word(value: Any) -> int:
    digits = str(value).split(" ")[0]
    if not re.fullmatch(r"[0-9a-f]{2,8}", digits):
        raise ValueError("two to eight hexadecimal digits are expected")
    return int(digits, 16)


def _sts(value: Any) -> int:
    match = _STS.fullmatch(str(value))
    if not match:
        raise ValueError("STS is expected, as eight hexadecimal digits")
    return int(match[1], 16)
