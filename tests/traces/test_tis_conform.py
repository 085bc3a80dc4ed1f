"""`vtpmspec conform --end tis-driver`: our driver conforms; drivers that break rules, or the protocol, are told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.peers import tpm_machine

from vtpm_model.tis import TIS
from vtpm_traces.conform import tis_device
from vtpm_traces.conform.tis_driver import ERRORS, runs

OURS = [sys.executable, "-m", "vtpm_impl.cli", "sut", "tis-driver"]

SUBJECT = """
import json, sys
def ask(**request):
    print(json.dumps(request), flush=True)
    return json.loads(sys.stdin.readline())
ask(do="hello", protocol="vtpm-tis/1", end="tis-driver", name="odd")
while True:
    wish = ask(do="wait")
    if wish["event"] == "command":
        {does}
"""
"""A driver that does one thing only, whatever the command."""


def conform(*arguments: str, subject: list[str]) -> tuple[int, str]:
    """Run the command to its end; its exit code and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_proofs.cli", "conform", "--end", "tis-driver", *arguments, "--", *subject],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def odd(tmp_path: Path, does: str) -> list[str]:
    script = tmp_path / "odd.py"
    script.write_text(SUBJECT.format(does=does))
    return [sys.executable, str(script)]


def test_our_driver_conforms() -> None:
    code, said = conform(
        "--json", "--only", "accept/[qbt]*", "--only", "reject/*-quick-0", "--only", "reject/bad*", "--only",
        "seized/quick-0", "--runs", "3", "--only", "random/*", subject=OURS,
    )  # fmt: skip
    told = json.loads(said)
    assert (code, told["name"], told["end"]) == (0, "xen-vtpm", "tis-driver")
    assert {run["verdict"] for run in told["runs"]} == {"success"}
    assert len(told["runs"]) == 3 + 19 + 1 + 1 + 3


@pytest.mark.parametrize(
    ("does", "sentence"),
    [
        ('ask(do="result", ok=True, data="00c40000000a00000000")', "bytes: a wrong response"),
        ('ask(do="result", ok=False, error="Absent", text="no")', "Absent"),
        ('ask(do="write", offset=0x24, width=8, value=0)', "FIFO of locality 0 written, which is not active"),
        ('ask(do="read", offset=0x24, width=8)', "FIFO of locality 0 read, which is not active"),
        ('ask(do="write", offset=0, width=8, value=0x22)', "write of 0x22 at 0x0: not one command"),
        ("while True: ask(do='sleep', us=1)", "no end after"),
        ('ask(do="read", offset=0x5000, width=8)', "it says"),
        ('ask(do="sleep", us=0)', "it says"),
        ("sys.exit(3)", "it ended with code 3 although it was not told to end"),
        ("print('?', flush=True)", "it said what is no JSON"),
    ],
)
def test_a_driver_that_does_something_else_does_not(tmp_path: Path, does: str, sentence: str) -> None:
    if does.startswith(('ask(do="write"', 'ask(do="read"')):
        does += '; ask(do="result", ok=False, error="Absent", text="no")'
    code, said = conform("--only", "reject/tiny-quick-0", subject=odd(tmp_path, does))
    assert code == 1, said
    assert "accept/quick-0: failure: " in said
    assert sentence in said, said
    assert "0     1        0" in said  # what comes after the sanity run is skipped


@pytest.mark.parametrize(
    ("arguments", "subject", "code", "error"),
    [
        ([], ["/nothing"], 2, "/nothing does not start"),
        (["--timeout", "0.2"], ["cat"], 1, "the subject does not do what the protocol says: it said nothing for 0.2 s"),
        ([], ["echo", "{}"], 1, "the subject does not do what the protocol says: it says"),
        (["--sarif", "x"], ["cat"], 2, "are for a frontend or a backend"),
    ],
)
def test_what_cannot_be_judged_is_told(arguments: list[str], subject: list[str], code: int, error: str) -> None:
    found, said = conform(*arguments, subject=subject)
    assert found == code
    assert error in said


def test_what_is_written_down_names_facts_of_the_model() -> None:
    facts = {fact.name for fact in TIS.facts}
    named = {getattr(tis_device, name) for name in ("WRITES", "READS", "BURSTS", "GOES", "OWNS", "RETRIES")}
    assert named <= facts


def test_every_fault_is_met() -> None:
    faults = {run.doc.partition(":")[0] for run in runs() if run.name.startswith("reject/")}
    assert {fault.value for fault in ERRORS} <= faults
    assert set(tis_device.Fault) - set(ERRORS) == {tis_device.Fault.NONE, tis_device.Fault.GARBLED_ONCE}
    assert len({run.name for run in runs(2)}) == len(list(runs(2)))


def test_qemus_tpm_conforms() -> None:
    tpm_machine.required()
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_proofs.cli", "conform", "--end", "tis-device", "--runs", "4", "--timeout", "60",
         "--json", "--", sys.executable, "-m", "vtpm_impl.cli", "sut", "tis-device"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (done.returncode, [run["verdict"] for run in told["runs"]]) == (0, ["success"] * 4), done.stderr


DEVICE = """
import json, sys
def ask(**request):
    print(json.dumps(request), flush=True)
    return json.loads(sys.stdin.readline())
ask(do="hello", protocol="vtpm-tis/1", end="tis-device", name="odd", resets=True)
wish = ask(do="wait")
while True:
    wish = ask(do="wait", value={value}) if wish["event"] == "read" else ask(do="wait")
"""
"""A device of which each read is the same."""


@pytest.mark.parametrize(
    ("value", "sentence"),
    [("0", "is not what the specification allows"), ("-1", "a value of"), ("'x'", "a value of")],
)
def test_a_device_that_is_no_tpm_does_not(tmp_path: Path, value: str, sentence: str) -> None:
    script = tmp_path / "device.py"
    script.write_text(DEVICE.format(value=value))
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_proofs.cli", "conform", "--end", "tis-device", "--runs", "3", "--timeout", "60",
         "--", sys.executable, str(script)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert sentence in done.stderr
