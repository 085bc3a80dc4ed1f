"""The command `vtpm sut`: what it says to a harness, and what becomes of it without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

VTPM = str(Path(sys.executable).with_name("vtpm"))


def sut(end: str, said: str) -> subprocess.CompletedProcess[str]:
    """A subject to whom a harness says all this."""
    return subprocess.run([VTPM, "sut", end], input=said, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["toolstack"], "'toolstack' is no end of a device: frontend, backend, tis-driver, tis-device are meant"),
        (["backend", "--tis", "devmem"], "--tis and --family are for tis-device, and not for a backend"),
        (["tis-driver", "--family", "2.0"], "--tis and --family are for tis-device, and not for a tis-driver"),
        (["tis-device", "--family", "2.0", "--tis", "devmem"], "--family is for a device that QEMU makes"),
        (["tis-device", "--tis", "mem"], "'mem' is no way to the TPM's registers"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], told: str) -> None:
    ended = subprocess.run([VTPM, "sut", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"vtpm: {told}")


@pytest.mark.parametrize("end", ["frontend", "backend"])
def test_it_says_who_it_is_and_ends_when_told(end: str) -> None:
    ended = sut(end, '{"ok":true,"domain":5}\n{"ok":true,"now":0,"event":"end"}\n')
    assert ended.returncode == 0, ended.stderr
    hello, wait = map(json.loads, ended.stdout.splitlines())
    assert hello == {"do": "hello", "protocol": "vtpm-sut/1", "end": end, "name": "xen-vtpm", "again": True}
    assert wait == {"do": "wait"}


def test_after_a_reset_it_is_as_new() -> None:
    reset = ['{"ok":true,"domain":5}\n', '{"ok":true,"now":0,"event":"reset"}\n']
    asked = []
    with subprocess.Popen(
        [VTPM, "sut", "backend"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as subject:
        assert subject.stdin is not None
        assert subject.stdout is not None
        for answer in [*reset, *reset, reset[0], reset[1].replace("reset", "end")]:
            asked.append(json.loads(subject.stdout.readline())["do"])
            subject.stdin.write(answer)
            subject.stdin.flush()
    assert subject.returncode == 0
    assert asked == ["hello", "wait"] * 3


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "the harness has closed the line"),
        ("hello\n", "the harness answers b'hello\\n'"),
        ('{"fine":true}\n', "the harness answers"),
        ('{"ok":false,"error":"EINVAL"}\n', "EINVAL"),
        ('{"ok":true,"domain":5}\n{"ok":true', "the harness has closed the line"),
    ],
)
def test_without_a_harness_that_speaks_the_protocol_it_ends_with_a_sentence(said: str, told: str) -> None:
    ended = sut("backend", said)
    assert ended.returncode == 1
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
