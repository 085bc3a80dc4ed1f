"""The commands that a person asks a TPM, against answers that make no sense: each is refused by a sentence."""

from __future__ import annotations

import pytest

from vtpm_impl.tpm import requests
from vtpm_impl.tpm.family import Family
from vtpm_impl.tpm.requests import NotStarted, Refused, Transmit

OLD, NEW = Family.TPM_1_2, Family.TPM_2_0


def answers(tag: int, code: int = 0, body: bytes = b"") -> Transmit:
    packet = tag.to_bytes(2, "big") + (10 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body
    return lambda command: packet


@pytest.mark.parametrize("packet", [b"", b"\x00" * 9, bytes.fromhex("00c40000000b00000000")])
def test_what_is_no_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(Refused, match=f"a response of {len(packet)} bytes, which is no whole packet"):
        requests.pcr_read(lambda command: packet, OLD, 0, "sha1")


def test_a_tpm_that_is_not_started_says_so() -> None:
    with pytest.raises(NotStarted, match="TPM_PcrRead: TPM_INVALID_POSTINIT: the TPM waits for TPM_Startup"):
        requests.pcr_read(answers(0xC4, 0x26), OLD, 0, "sha1")
    with pytest.raises(NotStarted, match="TPM2_GetRandom: TPM_RC_INITIALIZE"):
        requests.random(answers(0x8001, 0x100), NEW, 1)


def test_a_startup_that_fails_is_refused_and_a_second_one_is_not() -> None:
    requests.startup(answers(0xC4, 0x26), OLD)
    requests.startup(answers(0x8001, 0x100), NEW)
    with pytest.raises(Refused, match="TPM_Startup: TPM_FAIL"):
        requests.startup(answers(0xC4, 9), OLD)
    with pytest.raises(Refused, match="TPM2_Startup: TPM_RC_FAILURE"):
        requests.startup(answers(0x8001, 0x101), NEW)


@pytest.mark.parametrize(
    ("family", "bank", "body", "error"),
    [
        (OLD, "sha256", bytes(20), "a TPM 1.2 has no bank sha256"),
        (OLD, "sha1", bytes(19), "a value of 19 bytes; it has 20"),
        (NEW, "sha1", bytes(18), "the TPM has no PCR 3 in bank sha1"),
        (NEW, "sha1", bytes(19), "a response with 19 bytes"),
        (NEW, "sha1", bytes(18) + b"\x00\x14" + bytes(19), "a response with 39 bytes"),
    ],
)
def test_a_value_that_is_none_is_refused(family: Family, bank: str, body: bytes, error: str) -> None:
    with pytest.raises(Refused, match=error):
        requests.pcr_read(answers(0xC4 if family is OLD else 0x8001, 0, body), family, 3, bank)


@pytest.mark.parametrize(
    ("family", "body", "error"),
    [
        (OLD, bytes(4), "GetRandom: 4 bytes that say they are 0 of 16"),
        (OLD, b"\x00\x00\x00\x11" + bytes(17), "say they are 17 of 16"),
        (NEW, b"\x00\x04" + bytes(3), "GetRandom: 5 bytes that say they are 4 of 16"),
        (NEW, b"", "GetRandom: 0 bytes"),
    ],
)
def test_random_bytes_that_are_none_are_refused(family: Family, body: bytes, error: str) -> None:
    with pytest.raises(Refused, match=error):
        requests.random(answers(0xC4 if family is OLD else 0x8001, 0, body), family, 16)


def test_random_bytes_are_asked_for_until_there_are_enough() -> None:
    assert requests.random(answers(0x8001, 0, b"\x00\x03abc"), NEW, 9) == b"abcabcabc"


@pytest.mark.parametrize(
    ("family", "body", "error"),
    [
        (OLD, bytes(18), "a version of 18 bytes"),
        (NEW, bytes(8), "8 bytes of properties, which make no whole list"),
        (NEW, bytes(8) + b"\x02" + bytes(8), "17 bytes of properties"),
    ],
)
def test_facts_that_are_none_are_refused(family: Family, body: bytes, error: str) -> None:
    with pytest.raises(Refused, match=error):
        requests.facts(answers(0xC4 if family is OLD else 0x8001, 0, body), family)


def test_facts_are_read() -> None:
    version = bytes.fromhex("00000013" + "0030" + "0102" + "129e" + "0002" + "03" + "49424d00" + "0000")
    told = requests.facts(answers(0xC4, 0, version), OLD)
    assert told[1:] == ("IBM", "", "level 2, errata 3", "18.158")
    listed = bytes.fromhex("00" + "00000006" + "00000002" + "00000105" + "585858ff" + "00000106" + "00410000")
    told = requests.facts(answers(0x8001, 0, listed), NEW)
    assert (told.manufacturer, told.vendor) == ("XXX.", ".A")
