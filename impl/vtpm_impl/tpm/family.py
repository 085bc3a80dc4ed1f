"""The two families of TPM, which differ in every command but not in the header."""

from __future__ import annotations

from enum import Enum

from vtpm_impl.tpm.header import Tag


class Family(Enum):
    """What a TPM is."""

    TPM_1_2 = "1.2"
    TPM_2_0 = "2.0"


def of_tag(tag: int) -> Family:
    """The family to which a command or a response with this tag belongs."""
    return Family.TPM_2_0 if tag in (Tag.NO_SESSIONS_2_0, Tag.SESSIONS_2_0) else Family.TPM_1_2
