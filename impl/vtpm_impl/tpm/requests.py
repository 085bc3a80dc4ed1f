"""Some commands of both families, packed, and their responses, unpacked (TCG, TPM Main Part 3, TPM 2.0 Library Part 3).

They are what a person asks a TPM, and change nothing but TPM_Startup.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from vtpm_impl.tpm import commands, family, header, return_codes
from vtpm_impl.tpm.family import Family

PCRS: Final = range(24)

BANKS: Final = {"sha1": 0x0004, "sha256": 0x000B, "sha384": 0x000C, "sha512": 0x000D}
"""Bank of PCRs of a TPM 2.0: its algorithm."""

MOST_RANDOM: Final = 2048
"""Bytes of random numbers to be asked for at once; a TPM gives as many as it likes."""

_HEADER: Final = struct.Struct(">HII")
_COMMAND_1_2: Final = 0x00C1
_COMMAND_2_0: Final = 0x8001
_NOT_STARTED: Final = (0x026, 0x100)  # TPM_INVALID_POSTINIT, TPM_RC_INITIALIZE


HARMLESS: Final = bytes.fromhex("8001000000160000017a000000060000010000000001")
"""A command that a TPM of either family answers, started or not, and that changes nothing: TPM2_GetCapability."""

Transmit = Callable[[bytes], bytes]
"""Gives a command to a TPM; its response."""


class Refused(Exception):
    """The TPM does not do what it was asked, or says what makes no sense; the message has its return code by name."""


class NotStarted(Refused):
    """The TPM has had no TPM_Startup since its reset."""


class Facts(NamedTuple):
    """What a TPM says of itself."""

    family: Family
    manufacturer: str  # four letters
    vendor: str  # what the manufacturer calls it; TPM 2.0
    specification: str  # level and revision of TCG's
    firmware: str  # version


def startup(transmit: Transmit, of: Family) -> None:
    """Start the TPM anew after a reset; one that has been started stays as it is. Raises Refused."""
    if of is Family.TPM_1_2:
        response, done = transmit(_packed(_COMMAND_1_2, 0x99, ">H", 1)), (0, 0x26)
    else:
        response, done = transmit(_packed(_COMMAND_2_0, 0x144, ">H", 0)), (0, 0x100)
    if (parsed := _parsed(response)).code not in done:
        raise Refused(f"{'TPM2' if of is Family.TPM_2_0 else 'TPM'}_Startup: {return_codes.name(parsed)}")


def family_of(transmit: Transmit) -> Family:
    """Find out what a TPM is, by a command of TPM 2.0: the other family answers it with a tag of its own."""
    return family.of_tag(_parsed(transmit(HARMLESS)).tag)


def facts(transmit: Transmit, of: Family) -> Facts:
    """What the TPM says of itself. Raises Refused."""
    if of is Family.TPM_1_2:
        body = _asked(transmit, _packed(_COMMAND_1_2, 0x65, ">II", 0x1A, 0))  # TPM_CAP_VERSION_VAL
        if len(body) < 4 + 15:
            raise Refused(f"TPM_GetCapability: a version of {len(body)} bytes, of which there are at least 19")
        major, minor, level, errata, vendor = struct.unpack_from(">4xBBHB4s", body, 4)
        return Facts(of, _text(vendor), "", f"level {level}, errata {errata}", f"{major}.{minor}")
    body = _asked(transmit, _packed(_COMMAND_2_0, 0x17A, ">III", 6, 0x100, 13))  # TPM_CAP_TPM_PROPERTIES
    if len(body) < 9 or len(body) != 9 + 8 * (count := int.from_bytes(body[5:9], "big")):
        raise Refused(f"TPM2_GetCapability: {len(body)} bytes of properties, which make no whole list")
    words = {body[at : at + 4]: body[at + 4 : at + 8] for at in range(9, 9 + 8 * count, 8)}

    def word(number: int) -> bytes:
        return words.get(number.to_bytes(4, "big"), bytes(4))

    level, revision = (int.from_bytes(word(number), "big") for number in (0x101, 0x102))
    name = " ".join("".join(_text(word(number)) for number in range(0x106, 0x10A)).split())
    firmware = struct.unpack(">HHHH", word(0x10B) + word(0x10C))
    return Facts(
        of, _text(word(0x105)), name, f"level {level}, revision {revision / 100:.2f}", ".".join(map(str, firmware))
    )


def limits(transmit: Transmit) -> tuple[Sequence[int], Sequence[int]]:
    """The time-outs and the durations that a TPM 1.2 tells, four and three numbers, in microseconds. Raises Refused."""
    found = []
    for number, count in ((0x115, 4), (0x120, 3)):  # TPM_CAP_PROP_TIS_TIMEOUT, TPM_CAP_PROP_DURATION
        body = _asked(transmit, _packed(_COMMAND_1_2, 0x65, ">III", 5, 4, number))
        if len(body) != 4 + 4 * count or int.from_bytes(body[:4], "big") != 4 * count:
            raise Refused(f"TPM_GetCapability: {len(body)} bytes for property {number:#x}; it has {4 + 4 * count}")
        found.append(struct.unpack_from(f">{count}I", body, 4))
    return found[0], found[1]


def pcr_read(transmit: Transmit, of: Family, index: int, bank: str) -> bytes:
    """The value of a PCR; `bank` is one of BANKS, and only sha1 in TPM 1.2. Raises Refused."""
    if of is Family.TPM_1_2:
        if bank != "sha1":
            raise Refused(f"a TPM 1.2 has no bank {bank}; it has sha1 only")
        value = _asked(transmit, _packed(_COMMAND_1_2, 0x15, ">I", index))
        if len(value) != 20:
            raise Refused(f"TPM_PcrRead: a value of {len(value)} bytes; it has 20")
        return value
    bits = (1 << index).to_bytes(3, "little")
    body = _asked(transmit, _packed(_COMMAND_2_0, 0x17E, ">IHB3s", 1, BANKS[bank], 3, bits))
    if len(body) == 4 + 4 + 6 + 4 and body[-4:] == bytes(4):
        raise Refused(f"the TPM has no PCR {index} in bank {bank}")
    value = body[20:]
    if len(body) < 20 or int.from_bytes(body[18:20], "big") != len(value):
        raise Refused(f"TPM2_PCR_Read: a response with {len(body)} bytes of parameters, which hold no one value")
    return value


def random(transmit: Transmit, of: Family, size: int) -> bytes:
    """So many random bytes, in as many commands as it takes. Raises Refused."""
    found = b""
    while len(found) < size:
        wanted = min(size - len(found), MOST_RANDOM)
        if of is Family.TPM_1_2:
            width, command = 4, _packed(_COMMAND_1_2, 0x46, ">I", wanted)
        else:
            width, command = 2, _packed(_COMMAND_2_0, 0x17B, ">H", wanted)
        body = _asked(transmit, command)
        told = int.from_bytes(body[:width], "big")
        if not 0 < told <= wanted or len(body) != width + told:
            raise Refused(f"{commands.name(command)}: {len(body)} bytes that say they are {told} of {wanted}")
        found += body[width:]
    return found


def _packed(tag: int, ordinal: int, form: str, *values: int | bytes) -> bytes:
    body = struct.pack(form, *values)
    return _HEADER.pack(tag, header.SIZE + len(body), ordinal) + body


def _parsed(response: bytes) -> header.Header:
    parsed = header.parse(response)
    if parsed is None or not header.is_whole(response):
        raise Refused(f"a response of {len(response)} bytes, which is no whole packet: {response.hex()}")
    return parsed


def _asked(transmit: Transmit, command: bytes) -> bytes:
    """What follows the header of a success."""
    response = transmit(command)
    parsed = _parsed(response)
    if parsed.code in _NOT_STARTED:
        raise NotStarted(f"{commands.name(command)}: {return_codes.name(parsed)}: the TPM waits for TPM_Startup")
    if parsed.code:
        raise Refused(f"{commands.name(command)}: {return_codes.name(parsed)}")
    return response[header.SIZE :]


def _text(letters: bytes) -> str:
    """Letters as they are; anything else as a dot."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in letters.rstrip(b"\0"))
