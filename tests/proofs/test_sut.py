"""The command `vtpmspec sut`: what it says to a harness, and what becomes of it without one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from vtpm_proofs.cli import app


def sut(*arguments: str, said: str = "") -> Any:
    """A subject to whom a harness says all this."""
    return CliRunner().invoke(app, ["sut", *arguments], input=said)


def lines(*answers: dict[str, Any]) -> str:
    return "".join(json.dumps({"ok": True, **answer}) + "\n" for answer in answers)


@pytest.mark.parametrize(("family", "capability"), [("1.2", 0x20000697), ("2.0", 0x30000697)])
def test_it_says_who_it_is_answers_and_ends_when_told(family: str, capability: int) -> None:
    said = lines(
        {}, {"event": "read", "offset": 0x14, "width": 32},
        {"event": "write", "offset": 0x1000, "width": 8, "value": 2},
        {"event": "read", "offset": 0x1000, "width": 8}, {"event": "reset"},
        {"event": "read", "offset": 0x1000, "width": 8}, {"event": "end"},
    )  # fmt: skip
    ended = sut("tis-device", "--family", family, said=said)
    assert ended.exit_code == 0, ended.output
    hello, *waits = map(json.loads, ended.stdout.splitlines())
    assert hello["end"] == "tis-device"
    assert [wait.get("value") for wait in waits] == [None, capability, None, 0xA1, None, 0x81]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "the harness answers b''"),
        ("hello\n", "the harness answers b'hello"),
        ('{"ok":false,"error":"EINVAL"}\n', "EINVAL"),
        (lines({}, {"event": "dance"}), "which this device does not do"),
        (lines({}, {"event": "read", "offset": 0x5000, "width": 8}), "which this device does not do"),
        (lines({}, {"event": "read", "offset": 0xFFF, "width": 32}), "which this device does not do"),
        (lines({}, {"event": "write", "offset": 0, "width": 8, "value": 256}), "which this device does not do"),
    ],
)
def test_without_a_harness_that_speaks_the_protocol_it_ends_with_a_sentence(said: str, told: str) -> None:
    ended = sut("tis-device", said=said)
    assert ended.exit_code == 1
    assert told in ended.stderr


@pytest.mark.parametrize("wrong", [["frontend"], ["tis-device", "--family", "3"], ["tis-device", "--seed", "-1"]])
def test_wrong_use_is_told(wrong: list[str]) -> None:
    assert sut(*wrong).exit_code == 2


def test_help_has_an_example() -> None:
    assert "Example: vtpmspec conform --end tis-device -- vtpmspec sut tis-device" in sut("--help").stdout
