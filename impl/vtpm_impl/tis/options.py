"""The options by which the manager of all vTPMs is told of the hardware TPM, as on its command line in Xen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vtpm_impl.tis.registers import BASE, LOCALITIES, PAGE

LINES = range(16)
"""What the interrupt can be: INT_VECTOR has four bits, of which 0 stands for none."""

DRIVERS = ("tpm_tis", "tpmfront")


class OptionError(ValueError):
    """An option makes no sense; the message shows it, and what is allowed."""


@dataclass(frozen=True)
class Options:
    """What is told, with Xen's defaults."""

    tpmdriver: str = "tpm_tis"  # the hardware; tpmfront is a vTPM of another domain
    tpmiomem: int = BASE  # physical address of locality 0
    tpmirq: int | None = 0  # its interrupt, 0 to poll, None to find it out
    tpmlocality: int = 0  # of every command that names none


def parse(words: Iterable[str]) -> Options:
    """Read `name=value` words; of a name that stands twice the last. Raises OptionError."""
    options = Options()
    for word in words:
        name, _, value = word.partition("=")
        if name == "tpmdriver" and value in DRIVERS:
            options = replace(options, tpmdriver=value)
        elif name == "tpmiomem" and re.fullmatch("0[xX][0-9a-fA-F]{1,16}", value) and int(value, 16) % PAGE == 0:
            options = replace(options, tpmiomem=int(value, 16))
        elif name == "tpmirq" and (value == "probe" or _is_one_of(value, LINES)):
            options = replace(options, tpmirq=None if value == "probe" else int(value))
        elif name == "tpmlocality" and _is_one_of(value, LOCALITIES):
            options = replace(options, tpmlocality=int(value))
        else:
            allowed = _ALLOWED.get(name, f"{', '.join(_ALLOWED)} can be told, each with = and a value")
            raise OptionError(f"{word!r} is no option of the TPM: {allowed}")
    return options


_ALLOWED = {
    "tpmdriver": "tpmdriver is tpm_tis or tpmfront",
    "tpmiomem": f"tpmiomem is a physical address such as {BASE:#x}, a multiple of {PAGE:#x}",
    "tpmirq": f"tpmirq is probe, or a number from 0 (poll) to {LINES.stop - 1}",
    "tpmlocality": f"tpmlocality is a number from 0 to {LOCALITIES.stop - 1}",
}


def _is_one_of(value: str, numbers: range) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 4 and int(value) in numbers
