"""Thousands of commands through the TIS driver on QEMU's TPM of both families, every response checked.

    python -m tests.impl.tis.soak [COMMANDS]

Localities 0 to 3 take turns, by poll and by interrupt. A PCR is extended and read, and must be what hashing gives.
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Callable

from tests.impl.tis.packets import PACKETS, code

from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.qemu import Machine
from vtpm_impl.tpm import requests
from vtpm_impl.tpm.family import Family

PCR = 16  # for debugging: any locality may extend it
COMMANDS = 10_000


def soak(family: Family, commands: int, seed: int = 0) -> float:
    """Send so many; seconds that it took. Raises AssertionError for a response that is not that of its command."""
    chooser = random.Random(seed)
    packets = PACKETS[family]
    bank, hashed = ("sha1", hashlib.sha1) if family is Family.TPM_1_2 else ("sha256", hashlib.sha256)
    value = bytes(hashed().digest_size)
    met: set[bytes] = set()
    with Machine(family) as machine:
        driver = Driver(machine)
        assert code(driver.transmit(packets.startup)) == 0
        capability = driver.transmit(packets.capability)
        began = time.monotonic()
        for turn in range(commands):
            if turn == commands // 2:
                assert driver.probe_interrupt(machine, packets.capability) == 5
            locality = chooser.randrange(4)

            def transmit(command: bytes, locality: int = locality) -> bytes:
                return driver.transmit(command, locality=locality)

            kind = chooser.randrange(4)
            if kind == 0:
                assert requests.pcr_read(transmit, family, PCR, bank) == value
            elif kind == 1:
                digest = chooser.randbytes(len(value))
                assert code(transmit(extend(family, digest))) == 0
                value = hashed(value + digest).digest()
            elif kind == 2:
                assert transmit(packets.capability) == capability
            else:
                response = transmit(packets.random)
                assert code(response) == 0
                assert response not in met
                met.add(response)
        return time.monotonic() - began


def extend(family: Family, digest: bytes) -> bytes:
    """Extend the PCR."""
    if family is Family.TPM_1_2:
        return bytes.fromhex("00c10000002200000014") + PCR.to_bytes(4, "big") + digest
    return bytes.fromhex("80020000004100000182") + PCR.to_bytes(4, "big") + bytes.fromhex(
        "00000009" + "40000009" + "0000" + "00" + "0000" + "00000001" + "000b"
    ) + digest  # fmt: skip


def main(arguments: list[str], say: Callable[[str], object] = sys.stdout.write) -> int:
    """Soak both families."""
    if len(arguments) > 1 or not all(one.isdecimal() for one in arguments):
        sys.stderr.write("usage: python -m tests.impl.tis.soak [COMMANDS]\n")
        return 2
    commands = int(arguments[0]) if arguments else COMMANDS
    for family in Family:
        seconds = soak(family, commands)
        say(f"TPM {family.value}: {commands} commands without an error, {seconds:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
