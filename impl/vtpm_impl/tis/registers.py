"""The registers of a TPM behind the TIS: offsets, widths and bits, once, for a reader to hold against TCG's tables."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

BASE: Final = 0xFED40000
"""The physical address of locality 0 on a PC."""

LOCALITIES: Final = range(5)
"""Locality 4 is for the processor's microcode; some devices refuse it to software."""

PAGE: Final = 0x1000
"""Bytes of one locality's registers; locality `l` begins at `l * PAGE`."""

EXTENT: Final = len(LOCALITIES) * PAGE
"""Bytes of all of them."""


class Register(NamedTuple):
    """A register of a locality: its offset in the page, and its width in bits."""

    offset: int
    width: int


ACCESS: Final = Register(0x000, 8)
INT_ENABLE: Final = Register(0x008, 32)
INT_VECTOR: Final = Register(0x00C, 8)
INT_STATUS: Final = Register(0x010, 32)
INTF_CAPABILITY: Final = Register(0x014, 32)
STS: Final = Register(0x018, 32)  # 8 bits of status, 16 of burst count, and 8 more in TPM 2.0
DATA_FIFO: Final = Register(0x024, 32)  # may be accessed in 8 and 16 bits, too
INTERFACE_ID: Final = Register(0x030, 32)  # TPM 2.0
DID_VID: Final = Register(0xF00, 32)
RID: Final = Register(0xF04, 8)


class Access(IntFlag):
    """ACCESS. A write has one bit set."""

    ESTABLISHMENT = 1 << 0  # read: no dynamic launch has happened
    REQUEST_USE = 1 << 1  # read: this locality waits; write: it wants the TPM
    PENDING_REQUEST = 1 << 2  # read: another locality waits
    SEIZE = 1 << 3  # write: take the TPM from a lower locality; reads as 0
    BEEN_SEIZED = 1 << 4  # read: a higher locality took the TPM; write: this has been noticed
    ACTIVE_LOCALITY = 1 << 5  # read: this locality has the TPM; write: it gives the TPM, or its request, back
    VALID = 1 << 7  # read: the other bits mean something


class Sts(IntFlag):
    """STS without its burst count. A write has one bit set."""

    RESPONSE_RETRY = 1 << 1  # write: read the response again from its first byte
    SELF_TEST_DONE = 1 << 2
    EXPECT = 1 << 3  # read: the command is not complete
    DATA_AVAIL = 1 << 4  # read: there is more of the response
    GO = 1 << 5  # write: execute the command
    COMMAND_READY = 1 << 6  # read: a command can be written; write: become so, whatever is going on
    VALID = 1 << 7  # read: EXPECT and DATA_AVAIL mean something
    COMMAND_CANCEL = 1 << 24  # write, TPM 2.0
    RESET_ESTABLISHMENT = 1 << 25  # write, TPM 2.0, localities 3 and 4


NOT_OURS: Final = 0x23
"""Bits of STS that the active locality reads as 0. Every other one reads all ones."""


def burst_count(status: int) -> int:
    """Bytes that the FIFO takes or gives now, out of a 32-bit read of STS."""
    return status >> 8 & 0xFFFF


class Interrupt(IntFlag):
    """INT_ENABLE and INT_STATUS."""

    DATA_AVAIL = 1 << 0
    STS_VALID = 1 << 1
    LOCALITY_CHANGE = 1 << 2
    COMMAND_READY = 1 << 7
    GLOBAL_ENABLE = 1 << 31  # INT_ENABLE only


class Interface(IntEnum):
    """The version of the interface: bits 30 to 28 of INTF_CAPABILITY."""

    TIS_1_21 = 0
    TIS_1_3 = 2
    TPM_2_0 = 3


def interface(capability: int) -> int:
    """The interface version out of INTF_CAPABILITY; see `Interface`."""
    return capability >> 28 & 7


def takes_words(capability: int) -> bool:
    """Whether the FIFO takes more than a byte at once: bits 10 and 9 of INTF_CAPABILITY, 0 for legacy transfers."""
    return capability >> 9 & 3 != 0
