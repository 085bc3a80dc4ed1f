"""What a command is called, and how long it may take, in TPM 1.2 and 2.0."""

from __future__ import annotations

from vtpm_impl.tpm import header
from vtpm_impl.tpm.command_codes import COMMAND_CODES
from vtpm_impl.tpm.durations import Duration
from vtpm_impl.tpm.family import Family, of_tag
from vtpm_impl.tpm.ordinals import ORDINALS


def name(command: bytes) -> str:
    """Such as TPM_PcrRead or TPM2_PCR_Read; the ordinal in hex where nobody knows it."""
    found, version_2, ordinal = _found(command)
    if found is None:
        return f"ordinal {ordinal:#x}"
    return f"TPM2_{found[0]}" if version_2 else found[0] if found[0].startswith("TSC_") else f"TPM_{found[0]}"


def duration(command: bytes) -> Duration:
    """The class of duration; UNKNOWN also for what is no command."""
    found, _, _ = _found(command)
    return Duration.UNKNOWN if found is None else found[1]


def _found(command: bytes) -> tuple[tuple[str, Duration] | None, bool, int]:
    parsed = header.parse(command)
    if parsed is None:
        return None, False, 0
    version_2 = of_tag(parsed.tag) is Family.TPM_2_0
    return (COMMAND_CODES if version_2 else ORDINALS).get(parsed.code), version_2, parsed.code
