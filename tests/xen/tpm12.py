"""The few TPM 1.2 commands that scenarios send, as hexadecimal text, and what their answers say."""

from __future__ import annotations

import hashlib
import re
import struct

_HEADER = struct.Struct(">HII")


def pcr_read(number: int) -> str:
    """TPM_PCRRead."""
    return _command(0x15, struct.pack(">I", number))


def extend(number: int, data: bytes) -> str:
    """TPM_Extend with the SHA-1 of some data."""
    return _command(0x14, struct.pack(">I", number) + hashlib.sha1(data).digest())


def get_random(size: int) -> str:
    """TPM_GetRandom."""
    return _command(0x46, struct.pack(">I", size))


def pcr_reset(number: int) -> str:
    """TPM_PCR_Reset of one PCR, which for some depends on the locality."""
    mask = (1 << number).to_bytes(3, "little")
    return _command(0xC8, struct.pack(">H", 3) + mask)


def make_key() -> str:
    """TPM_CreateEndorsementKeyPair with RSA of 2048 bits: the longest command that needs no session."""
    key = struct.pack(">IHHIIII", 1, 3, 1, 12, 2048, 2, 0)
    return _command(0x78, bytes(20) + key)


def code(answer: str) -> int:
    """The return code of an answer."""
    return int.from_bytes(bytes.fromhex(answer)[6:10], "big")


def value(answer: str) -> str:
    """The digest that an answer carries; the whole answer where it carries none."""
    return answer[20:] if code(answer) == 0 and len(answer) == 60 else answer


def extended(before: str, data: bytes) -> str:
    """What a PCR holds after `extend`."""
    return hashlib.sha1(bytes.fromhex(before) + hashlib.sha1(data).digest()).hexdigest()


def pcrs_of_sysfs(text: str) -> list[str]:
    """The PCRs in the order of their numbers, as `PCR-00: 3A 3F ...` tells them."""
    rows = re.findall(r"PCR-(\d+):((?: [0-9A-F]{2})+)", text)
    return [value.replace(" ", "").lower() for _, value in sorted(rows)]


def _command(ordinal: int, parameters: bytes) -> str:
    return (_HEADER.pack(0x00C1, _HEADER.size + len(parameters), ordinal) + parameters).hex()
