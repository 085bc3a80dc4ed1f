"""A scripted session with QEMU's TPM of either family through our driver, at each locality; every answer is checked.

    python -m tests.impl.tis.session

Then locality 4, which QEMU refuses, a seizure before each access of a command in turn, and a command that is aborted.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.impl.tis.packets import PACKETS, code
from tests.impl.tis.soak import PCR, extend

from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.errors import Dropped, LocalityDenied, Seized
from vtpm_impl.tis.qemu import Machine, MachineError
from vtpm_impl.tis.traced import Traced
from vtpm_impl.tpm import commands
from vtpm_impl.tpm.family import Family

Transmit = Callable[[bytes], bytes]

LOCALITIES = (0, 1, 2, 3, 2, 1, 0)
DATA = bytes(range(256)) * 4
"""1 024 bytes to be hashed."""

HIGHER = 3
"""The locality that seizes the TPM."""

EXECUTES = 0.02
"""Seconds after which a slow command is being executed."""


def packet(tag: int, ordinal: int, parameters: bytes = b"") -> bytes:
    """A command."""
    return tag.to_bytes(2, "big") + (10 + len(parameters)).to_bytes(4, "big") + ordinal.to_bytes(4, "big") + parameters


def of_1_2(transmit: Transmit) -> None:
    """A session with a TPM 1.2. Raises AssertionError for an answer that is not right."""

    def ask(ordinal: int, parameters: str | bytes = b"", *, expected: int = 0) -> bytes:
        raw = bytes.fromhex(parameters) if isinstance(parameters, str) else parameters
        response = transmit(packet(0x00C1, ordinal, raw))
        assert code(response) == expected, (hex(ordinal), response.hex())
        return response[10:]

    ask(0x53)  # ContinueSelfTest
    ask(0x50)  # SelfTestFull
    ask(0x54)  # GetTestResult
    assert ask(0x65, "00000005 00000004 00000103") == bytes.fromhex("00000004") + b"IBM\0"
    assert len(ask(0x65, "00000005 00000004 00000115")) == 4 + 4 * 4  # time-outs
    ask(0x65, "0000001a 00000000")  # version
    values = [ask(0x15, index.to_bytes(4, "big")) for index in range(24)]
    digest = hashlib.sha1(DATA).digest()
    assert ask(0x14, PCR.to_bytes(4, "big") + digest) == hashlib.sha1(values[PCR] + digest).digest()
    for size in (1, 16, 64, 1000):
        assert ask(0x46, size.to_bytes(4, "big"))[:4] == size.to_bytes(4, "big")
    ask(0x47, (64).to_bytes(4, "big") + DATA[:64])  # StirRandom
    ask(0xA0)  # SHA1Start
    ask(0xA1, len(DATA).to_bytes(4, "big") + DATA)  # SHA1Update
    assert ask(0xA2, (5).to_bytes(4, "big") + b"hello") == hashlib.sha1(DATA + b"hello").digest()
    handle = ask(0x0A)[:4]  # OIAP
    ask(0xBA, handle + bytes.fromhex("00000002"))  # FlushSpecific
    ask(0xF1)  # GetTicks
    ask(0x7C, bytes(20), expected=0x23)  # ReadPubek: there is no endorsement key
    ask(0xFFFF, expected=0x0A)  # no such ordinal


def of_2_0(transmit: Transmit) -> None:
    """A session with a TPM 2.0. Raises AssertionError for an answer that is not right."""

    def ask(ordinal: int, parameters: str | bytes = b"", *, tag: int = 0x8001, expected: int = 0) -> bytes:
        raw = bytes.fromhex(parameters) if isinstance(parameters, str) else parameters
        response = transmit(packet(tag, ordinal, raw))
        assert code(response) == expected, (hex(ordinal), response.hex())
        return response[10:]

    password = bytes.fromhex("00000009 40000009 0000 00 0000")
    size = len(DATA).to_bytes(2, "big")
    ask(0x143, "01")  # SelfTest
    ask(0x17C)  # GetTestResult
    assert b"IBM\0" in ask(0x17A, "00000006 00000105 00000001")
    ask(0x17A, "00000006 00000100 0000007f")  # all properties
    values = [ask(0x17E, "00000001 000b 03" + (1 << index).to_bytes(3, "little").hex())[-32:] for index in range(24)]
    digest = hashlib.sha256(DATA).digest()
    assert code(transmit(extend(Family.TPM_2_0, digest))) == 0
    selected = "00000001 000b 03" + (1 << PCR).to_bytes(3, "little").hex()
    assert ask(0x17E, selected)[-32:] == hashlib.sha256(values[PCR] + digest).digest()
    for count in (1, 16, 64):
        assert ask(0x17B, count.to_bytes(2, "big"))[:2] == min(count, 64).to_bytes(2, "big")
    ask(0x146, (64).to_bytes(2, "big") + DATA[:64])  # StirRandom
    assert ask(0x17D, size + DATA + bytes.fromhex("000b 40000007"))[2:34] == digest  # Hash
    handle = ask(0x186, "0000 000b")[:4]  # HashSequenceStart
    ask(0x15C, handle + password + size + DATA, tag=0x8002)  # SequenceUpdate
    done = ask(0x13E, handle + password + b"\0\5hello" + bytes.fromhex("40000007"), tag=0x8002)  # SequenceComplete
    assert done[6:38] == hashlib.sha256(DATA + b"hello").digest()
    nonce = (16).to_bytes(2, "big") + DATA[:16]
    session = ask(0x176, bytes.fromhex("40000007 40000007") + nonce + bytes.fromhex("0000 00 0010 000b"))[:4]
    ask(0x165, session)  # FlushContext
    ask(0x181)  # ReadClock
    key = transmit(PACKETS[Family.TPM_2_0].slow)  # CreatePrimary
    assert code(key) == 0
    ask(0x173, key[10:14])  # ReadPublic
    ask(0x165, key[10:14])
    ask(0x173, key[10:14], expected=0x910)  # it is gone
    ask(0x1FF, expected=0x143)  # no such command


SESSIONS = {Family.TPM_1_2: of_1_2, Family.TPM_2_0: of_2_0}


@dataclass
class Sent:
    """What was sent through a driver: how many commands, and of how many kinds."""

    driver: Driver
    locality: int = 0
    commands: int = 0

    def __post_init__(self) -> None:
        self.kinds: set[str] = set()

    def __call__(self, command: bytes) -> bytes:
        """Send it."""
        response = self.driver.transmit(command, locality=self.locality)
        self.commands += 1
        self.kinds.add(commands.name(command))
        return response


def session(driver: Driver, family: Family) -> Sent:
    """The session at each locality in turn. Raises AssertionError and TisError."""
    sent = Sent(driver)
    for sent.locality in LOCALITIES:
        SESSIONS[family](sent)
    return sent


def seizures(machine: Machine, family: Family) -> Iterator[bool]:
    """Before each access of a command in turn the TPM is seized; whether that was told, or the response was right."""
    packets = PACKETS[family]
    turn = 0
    while True:
        turn += 1
        machine.reset()
        port = Interrupted(machine)
        driver = Driver(port)
        assert code(driver.transmit(packets.startup)) == 0
        expected = driver.transmit(packets.pcr_read, locality=1)
        higher = Driver(machine)
        port.left, port.happens = turn, lambda higher=higher: higher.seize(HIGHER)  # type: ignore[misc]
        try:
            assert driver.transmit(packets.pcr_read, locality=1) == expected
            told = False
        except Seized:
            told = True
        if port.left > 0:
            return  # the command was over before
        yield told


class Interrupted:
    """A port at which something happens before an access."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.left = 0
        self.happens: Callable[[], object] = lambda: None

    def read(self, offset: int, width: int) -> int:
        self._pass()
        return self._machine.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        self._pass()
        self._machine.write(offset, width, value)

    def close(self) -> None:
        """The machine goes on."""

    def _pass(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.happens()


def aborted(driver: Driver, family: Family) -> str:
    """Abort a slow command while it is executed; how it ended. The next command works."""
    ended: list[str] = []

    def ask() -> None:
        try:
            ended.append(f"ended with code {code(driver.transmit(PACKETS[family].slow)):#x} before")
        except Dropped:
            ended.append("was dropped")

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(EXECUTES)
    driver.abort()
    thread.join()
    assert code(driver.transmit(PACKETS[family].pcr_read)) == 0
    return ended[0]


def main() -> int:
    """Run it all with a TPM of each family, and tell what happened."""
    for family in Family:
        with Machine(family) as machine:
            traced = Traced(machine)
            driver = Driver(traced)
            assert code(driver.transmit(PACKETS[family].startup)) == 0
            sent = session(driver, family)
            say = f"TPM {family.value}: {sent.commands} commands of {len(sent.kinds)} kinds at the localities 0 to 3, "
            sys.stdout.write(f"{say}{traced.accesses} register accesses, every answer right\n")
            try:
                driver.transmit(PACKETS[family].pcr_read, locality=4)
            except LocalityDenied as error:
                sys.stdout.write(f"TPM {family.value}: locality 4: LocalityDenied: {error}\n")
            else:
                raise AssertionError("QEMU grants locality 4")
            sys.stdout.write(f"TPM {family.value}: a command that is aborted {aborted(driver, family)}\n")
            told = list(seizures(machine, family))
            say = f"TPM {family.value}: {len(told)} seizures in mid-command, {sum(told)} told as Seized, "
            sys.stdout.write(f"{say}{len(told) - told.count(True)} after the whole response\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MachineError as error:
        sys.stderr.write(f"session: {error}\n")
        sys.exit(1)
