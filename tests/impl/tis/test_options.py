"""The options of Xen's manager: their defaults, what they may be, and the sentence for what they may not."""

from __future__ import annotations

import pytest

from vtpm_impl.tis.options import OptionError, Options, parse


def test_without_options_they_are_those_of_xen() -> None:
    assert parse([]) == Options("tpm_tis", 0xFED40000, 0, 0)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["tpmdriver=tpmfront"], Options(tpmdriver="tpmfront")),
        (["tpmiomem=0xFED50000"], Options(tpmiomem=0xFED50000)),
        (["tpmirq=probe"], Options(tpmirq=None)),
        (["tpmirq=5", "tpmlocality=2"], Options(tpmirq=5, tpmlocality=2)),
        (["tpmlocality=2", "tpmlocality=4"], Options(tpmlocality=4)),
    ],
)
def test_an_option_is_read(words: list[str], options: Options) -> None:
    assert parse(words) == options


@pytest.mark.parametrize(
    ("word", "allowed"),
    [
        ("tpmdriver=tis", "tpmdriver is tpm_tis or tpmfront"),
        ("tpmiomem=fed40000", "tpmiomem is a physical address such as 0xfed40000, a multiple of 0x1000"),
        ("tpmiomem=0xfed40800", "a multiple of 0x1000"),
        ("tpmiomem=0x1fed400001fed4000", "tpmiomem is a physical address"),
        ("tpmirq=", "tpmirq is probe, or a number from 0 .poll. to 15"),
        ("tpmirq=16", "tpmirq is probe"),
        ("tpmirq=-1", "tpmirq is probe"),
        ("tpmlocality=5", "tpmlocality is a number from 0 to 4"),
        ("tpmlocality=\u00b2", "tpmlocality is a number"),
        ("tpmlocality", "tpmlocality is a number"),
        ("srk_handle=1", "tpmdriver, tpmiomem, tpmirq, tpmlocality can be told"),
    ],
)
def test_what_is_no_option_is_told(word: str, allowed: str) -> None:
    with pytest.raises(OptionError, match=f"'{word}' is no option of the TPM: .*{allowed}"):
        parse(["tpmirq=0", word])
