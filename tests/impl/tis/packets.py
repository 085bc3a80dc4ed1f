"""The TPM commands that these tests send, of TPM 1.2 and 2.0, packed by hand from TCG's tables."""

from __future__ import annotations

from typing import NamedTuple

from vtpm_impl.tpm.family import Family


class Packets(NamedTuple):
    """One family's commands. Those that change something say so."""

    startup: bytes  # the first command after a reset
    pcr_read: bytes  # PCR 0; of SHA-256 in TPM 2.0
    random: bytes  # 16 bytes
    capability: bytes  # the manufacturer
    reset_pcr_20: bytes  # which locality 0 may not, and 2 may
    refused: int  # the return code for it
    slow: bytes  # generates a key, for 50 ms and more


PACKETS = {
    Family.TPM_1_2: Packets(
        startup=bytes.fromhex("00c10000000c000000990001"),
        pcr_read=bytes.fromhex("00c10000000e0000001500000000"),
        random=bytes.fromhex("00c10000000e0000004600000010"),
        capability=bytes.fromhex("00c100000016000000650000000500000004" + "00000103"),
        reset_pcr_20=bytes.fromhex("00c10000000f000000c8" + "0003000010"),
        refused=0x33,
        slow=bytes.fromhex("00c10000003600000078" + "00" * 20 + "00000001" + "00030001" + "0000000c" + "00000800"
                           + "00000002" + "00000000"),
    ),
    Family.TPM_2_0: Packets(
        startup=bytes.fromhex("80010000000c000001440000"),
        pcr_read=bytes.fromhex("8001000000140000017e00000001000b03010000"),
        random=bytes.fromhex("80010000000c0000017b0010"),
        capability=bytes.fromhex("8001000000160000017a000000060000010500000001"),
        reset_pcr_20=bytes.fromhex("80020000001b0000013d0000001400000009400000090000000000"),
        refused=0x907,
        slow=bytes.fromhex("80020000004300000131" + "40000001" + "00000009" + "40000009" + "0000000000"
                           + "00040000" + "0000" + "001a" + "0001000b00030072000000060080004300100800"
                           + "00000000" + "0000" + "0000" + "00000000"),
    ),
}  # fmt: skip


def code(response: bytes) -> int:
    """The return code."""
    return int.from_bytes(response[6:10], "big")
