"""Commands and return codes by name: spot checks against TCG's tables, and what is in no table."""

from __future__ import annotations

import pytest

from vtpm_impl.tpm import commands, return_codes
from vtpm_impl.tpm.command_codes import COMMAND_CODES
from vtpm_impl.tpm.durations import Duration
from vtpm_impl.tpm.family import Family, of_tag
from vtpm_impl.tpm.header import Header
from vtpm_impl.tpm.ordinals import ORDINALS


def command(tag: int, ordinal: int) -> bytes:
    return tag.to_bytes(2, "big") + bytes([0, 0, 0, 10]) + ordinal.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("tag", "ordinal", "name", "duration"),
    [
        (0x00C1, 0x0A, "TPM_OIAP", Duration.SHORT),
        (0x00C2, 0x0D, "TPM_TakeOwnership", Duration.LONG),
        (0x00C3, 0x18, "TPM_Unseal", Duration.MEDIUM),
        (0x00C1, 0x65, "TPM_GetCapability", Duration.SHORT),
        (0x00C1, 0x78, "TPM_CreateEndorsementKeyPair", Duration.LONG),
        (0x00C1, 0x99, "TPM_Startup", Duration.SHORT),
        (0x00C1, 0x4000000B, "TSC_ResetEstablishmentBit", Duration.SHORT),
        (0x00C1, 0x20000016, "ordinal 0x20000016", Duration.UNKNOWN),
        (0x8001, 0x144, "TPM2_Startup", Duration.MEDIUM),
        (0x8002, 0x131, "TPM2_CreatePrimary", Duration.KEY),
        (0x8001, 0x17E, "TPM2_PCR_Read", Duration.UNKNOWN),
        (0x8001, 0x99, "ordinal 0x99", Duration.UNKNOWN),
    ],
)
def test_a_command_has_a_name_and_a_duration(tag: int, ordinal: int, name: str, duration: Duration) -> None:
    assert commands.name(command(tag, ordinal)) == name
    assert commands.duration(command(tag, ordinal)) is duration


def test_what_is_no_command_takes_as_long_as_the_unknown() -> None:
    assert commands.duration(b"\x00\xc1") is Duration.UNKNOWN


@pytest.mark.parametrize(
    ("tag", "code", "name"),
    [
        (0x00C4, 0x000, "success"),
        (0x00C4, 0x002, "TPM_BADINDEX"),
        (0x00C4, 0x019, "TPM_BAD_PARAM_SIZE"),
        (0x00C4, 0x026, "TPM_INVALID_POSTINIT"),
        (0x00C4, 0x03D, "TPM_BAD_LOCALITY"),
        (0x00C4, 0x802, "TPM_DOING_SELFTEST"),
        (0x00C4, 0x7FF, "0x7ff"),
        (0x8001, 0x000, "success"),
        (0x8001, 0x100, "TPM_RC_INITIALIZE"),
        (0x8001, 0x143, "TPM_RC_COMMAND_CODE"),
        (0x8001, 0x907, "TPM_RC_LOCALITY"),
        (0x8001, 0x922, "TPM_RC_RETRY"),
        (0x8001, 0x1C4, "TPM_RC_VALUE of parameter 1"),
        (0x8001, 0x98E, "TPM_RC_AUTH_FAIL of session 1"),
        (0x8001, 0x28B, "TPM_RC_HANDLE of handle 2"),
        (0x8001, 0xFC4, "TPM_RC_VALUE of parameter 15"),
        (0x8001, 0x9F, "TPM_RC_INTEGRITY of handle 0"),
        (0x8001, 0x1084, "0x1084"),
        (0x8001, 0x7F, "0x7f"),
    ],
)
def test_a_return_code_has_a_name(tag: int, code: int, name: str) -> None:
    assert return_codes.name(Header(tag, 10, code)) == name


def test_a_tag_tells_the_family() -> None:
    assert [of_tag(tag) for tag in (0x00C1, 0x00C6, 0x8001, 0x8002)] == [Family.TPM_1_2] * 2 + [Family.TPM_2_0] * 2


def test_no_name_stands_twice() -> None:
    for table in (ORDINALS, COMMAND_CODES):
        names = [name for name, _ in table.values()]
        assert len(set(names)) == len(names) > 100
    for codes in (return_codes.CODES_1_2, return_codes.CODES_2_0):
        assert len(set(codes.values())) == len(codes) > 90
