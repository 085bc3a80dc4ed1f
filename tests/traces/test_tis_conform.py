"""`vtpmspec conform` of a TIS driver and of a TPM behind the TIS: ours conform, and what breaks the rules is told."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.peers import tpm_machine

from vtpm_model.tis import TIS
from vtpm_traces.conform import tis_device, tis_nonsense, tis_program
from vtpm_traces.conform.script import parse
from vtpm_traces.conform.tis_device import FIFO, TooLong
from vtpm_traces.conform.tis_driver import ERRORS, runs
from vtpm_traces.conform.trial import kept_scripts
from vtpm_traces.files import BadInput
from vtpm_traces.recordings.tis_accesses import Access
from vtpm_traces.recordings.tis_trace import read_tis_trace
from vtpm_traces.schema import data

OURS = [sys.executable, "-m", "vtpm_impl.cli", "sut", "tis-driver"]
QEMUS = [sys.executable, "-m", "vtpm_impl.cli", "sut", "tis-device"]
MODELS = [sys.executable, "-m", "vtpm_proofs.cli", "sut", "tis-device"]

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


def conform(*arguments: object, subject: list[str], end: str = "tis-driver") -> tuple[int, str]:
    """Run the command to its end; its exit code and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_proofs.cli", "conform", "--end", end, *map(str, arguments), "--", *subject],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def told(*arguments: object, subject: list[str], end: str = "tis-driver") -> tuple[int, Any]:
    """The same, with what it tells as data; it may say more beside it."""
    code, said = conform("--json", *arguments, subject=subject, end=end)
    return code, json.JSONDecoder().raw_decode(said)[0]


def odd(tmp_path: Path, does: str) -> list[str]:
    script = tmp_path / "odd.py"
    script.write_text(SUBJECT.format(does=does))
    return [sys.executable, str(script)]


def test_our_driver_conforms() -> None:
    code, document = told(
        "--only", "accept/[qbt]*", "--only", "reject/*-quick-0", "--only", "reject/bad*", "--only",
        "seized/quick-0", "--runs", "3", "--only", "random/*", subject=OURS,
    )  # fmt: skip
    assert (code, document["holds"]) == (0, True)
    assert document["subject"] == {"name": "xen-vtpm", "end": "tis-driver", "command": OURS}
    assert {run["verdict"] for run in document["runs"]} == {"success"}
    assert document["counts"] == {
        "sanity": {"success": 2}, "accept": {"success": 3}, "reject": {"success": 20},
        "seized": {"success": 1}, "random": {"success": 3},
    }  # fmt: skip


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
    assert "sanity/before: failure: " in said
    assert sentence in said, said
    # what comes after the sanity run is skipped
    assert ["reject", "0", "1", "0", "0", "0"] in [line.split() for line in said.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "subject", "code", "error"),
    [
        ([], ["/nothing"], 2, "/nothing does not start"),
        (["--timeout", "0.2"], ["cat"], 1, "the subject does not introduce itself: it said nothing for 0.2 s"),
        ([], ["echo", "{}"], 1, "the subject does not introduce itself: it says"),
        (["--script", "/nowhere.script"], OURS, 2, "is not a file"),
        (["--only", "accept/nothing"], OURS, 2, "there are reject/*, accept/*, seized/*, random/NUMBER"),
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


def test_qemus_tpm_conforms_or_deviates_as_is_known() -> None:
    tpm_machine.required()
    known = data("deviations", "qemu-tis-device.json")
    code, document = told(
        "--runs", 10, "--timeout", 60, "--deviations", known, subject=[*QEMUS, "--family", "2.0"], end="tis-device"
    )
    assert code == 0, document
    assert document["counts"]["random"] == {"success": 10}
    assert document["counts"]["reject"]["known deviations"] == 2
    assert len(document["runs"]) == 2 + len(kept_scripts("tis-device")) + 10


def test_qemus_tpm_1_2_does_what_a_driver_relies_on() -> None:
    """No more than that: each of its resets takes a while."""
    tpm_machine.required()
    code, document = told("--only", "accept/[cr]*", "--timeout", 60, subject=QEMUS, end="tis-device")
    assert (code, document["counts"]) == (0, {"sanity": {"success": 2}, "accept": {"success": 2}}), document


@pytest.mark.parametrize("options", [[], ["--seed", "3"], ["--family", "2.0", "--seed", "4"]], ids=" ".join)
def test_the_device_that_the_model_is_conforms(options: list[str]) -> None:
    code, document = told("--runs", 20, subject=[*MODELS, *options], end="tis-device")
    assert code == 0, document
    assert document["subject"]["name"] == "tis.device"
    assert {run["verdict"] for run in document["runs"]} == {"success"}
    assert len(document["runs"]) == 2 + len(kept_scripts("tis-device")) + 20


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
    [
        ("0", "is not what the specification allows"),
        ("-1", "a value of"),
        ("'x'", "a value of"),
        ("True", "a value of"),
    ],
)
def test_a_device_that_is_no_tpm_does_not(tmp_path: Path, value: str, sentence: str) -> None:
    script = tmp_path / "device.py"
    script.write_text(DEVICE.format(value=value))
    code, said = conform("--runs", 3, subject=[sys.executable, str(script)], end="tis-device")
    assert code == 1
    assert sentence in said


# -------------------------------------------------------------------------------------------- what is made of a failure

BELIEVES = f"""
import json, subprocess, sys
real = subprocess.Popen({OURS!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def ask(**request):
    print(json.dumps(request), flush=True)
    return json.loads(sys.stdin.readline())
for line in real.stdout:
    wish = ask(**json.loads(line))
    while wish.get("event") == "command" and wish["data"] == {tis_nonsense.COMMANDS[1]!r}:
        read = [ask(do="read", offset=0x1024, width=32)["value"] for _ in range(100)]
        if 0xC400 in read:
            ask(do="result", ok=True, data="00c40000006300000000")
        else:
            ask(do="result", ok=False, error="TimedOut", text="no")
        wish = ask(do="wait")
    real.stdin.write(json.dumps(wish) + "\\n")
    real.stdin.flush()
"""
"""Our driver, but for one command: if the FIFO ever reads a certain value, the response is shorter than it says."""

FORGETS = """
import sys
from vtpm_traces.conform import tis_model
class Forgets(tis_model.ModelDevice):
    def read(self, offset, width):
        value = super().read(offset, width)
        return value & ~0x10 if offset & 0xFFF == 0 and width == 8 else value
tis_model.serve(Forgets(), sys.stdin.buffer, sys.stdout.buffer)
"""
"""A device that never shows that a locality has been seized."""


def subject(tmp_path: Path, text: str) -> list[str]:
    script = tmp_path / "subject.py"
    script.write_text(text)
    return [sys.executable, str(script)]


def left(said: str) -> list[str]:
    """The lines of the script that was left over."""
    return [line.strip() for line in said.splitlines() if line.startswith("    ")]


def repeated(said: str) -> tuple[int, str]:
    """What comes of the command that is said to repeat the failure."""
    words = shlex.split(next(line for line in said.splitlines() if line.startswith("to repeat it: ")))
    assert words[3:5] == ["vtpmspec", "conform"]
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_proofs.cli", *words[4:]], capture_output=True, text=True, timeout=200, check=False
    )
    return done.returncode, done.stdout


def test_a_random_run_that_a_driver_fails_is_shrunk_kept_and_repeated(tmp_path: Path) -> None:
    odd = subject(tmp_path, BELIEVES)
    code, said = conform(
        "--only", "random/2", "--seed", 3, "--keep", tmp_path / "kept", "--junit", tmp_path / "junit.xml",
        "--sarif", tmp_path / "sarif.json", subject=odd,
    )  # fmt: skip
    assert code == 1
    assert "random/2: each read gives anything, drawn with seed 3" in said
    lines = left(said)
    assert lines[0] == f"command 1 {tis_nonsense.COMMANDS[1]}"
    assert [line.split()[:3] for line in lines[1:]] == [["value", "0x24", "0xc400"]]
    assert repeated(said)[0] == 1
    assert ElementTree.parse(tmp_path / "junit.xml").getroot()[0].attrib["failures"] == "1"
    finding = json.loads((tmp_path / "sarif.json").read_text())["runs"][0]["results"][0]
    assert finding["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("/tis_nonsense.py")
    code, said = conform("--script", tmp_path / "kept" / "random-2.script", subject=odd)
    assert (code, "a response of 10 bytes that says it has 99" in said) == (1, True)


def test_of_a_kept_run_that_a_driver_fails_the_accesses_are_kept(tmp_path: Path) -> None:
    """There is no script of it: what is played depends on what the driver does."""
    odd = subject(tmp_path, BELIEVES.replace(repr(tis_nonsense.COMMANDS[1]), "wish['data']"))
    code, _ = conform("--only", "reject/tiny-quick-0", "--keep", tmp_path / "kept", subject=odd)
    assert code == 1
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["sanity-before.trace"]
    kept = read_tis_trace(tmp_path / "kept" / "sanity-before.trace")
    accesses = [access for access in kept if isinstance(access, Access)]
    assert {(access.locality, access.offset) for access in accesses} == {(1, FIFO)}


def test_a_random_run_that_a_device_fails_is_shrunk_kept_and_repeated(tmp_path: Path) -> None:
    odd = subject(tmp_path, FORGETS)
    code, said = conform("--only", "random/*", "--runs", 30, "--keep", tmp_path / "kept", subject=odd, end="tis-device")
    assert code == 1
    assert repeated(said)[0] == 1
    lines = left(said)
    assert len(lines) <= 6
    assert lines[-1].startswith("read ")
    script = next((tmp_path / "kept").glob("*.script"))
    code, said = conform("--script", script, subject=odd, end="tis-device")
    assert (code, "is not what the specification allows" in said) == (1, True)
    trace = script.with_suffix(".trace")
    done = subprocess.run(
        [sys.executable, "-m", "vtpm_proofs.cli", "trace", "validate", "--format", "tis-trace", str(trace)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{trace.name}:" in done.stdout


def test_a_known_deviation_of_a_device_is_a_success_and_a_stale_one_a_failure(tmp_path: Path) -> None:
    known = {"runs": ["accept/seizure"], "shows": "is not what", "rows": ["A6"], "why": "it never shows a seizure"}
    file = tmp_path / "known.json"
    file.write_text(json.dumps({"schema": "vtpm-deviations/1", "subject": "forgets", "deviations": [known]}))
    options = ("--only", "accept/*", "--deviations", file)
    code, document = told(*options, subject=subject(tmp_path, FORGETS), end="tis-device")
    assert (code, document["counts"]["accept"]["known deviations"]) == (0, 1)
    code, document = told(*options, subject=MODELS, end="tis-device")
    assert (code, document["stale_deviations"]) == (1, [known])


@pytest.mark.parametrize(
    ("end", "line", "expected"),
    [
        (tis_program, "read 8", "meant are read BITS OFFSET [TIMES], write"),
        (tis_program, "read 7 0x0", "7: accesses have 8, 16, 32 bits"),
        (tis_program, "read 8 0x5000", "0x5000 is no number"),
        (tis_program, "read 32 0xfff", "leave the page of a locality"),
        (tis_program, "read 8 0x0 1000000", "1000000 is no number"),
        (tis_program, "write 8 0x0", "meant are"),
        (tis_program, "write 8 0x0 256", "256 is no number"),
        (tis_program, "await 8 0x0 -1", "-1 is no number"),
        (tis_program, "drain 8", "drain BITS OFFSET"),
        (tis_nonsense, "command 5 00c1", "5 is no number"),
        (tis_nonsense, "command 0 0", "two hexadecimal digits for each byte are meant"),
        (tis_nonsense, "value 0x1000 0", "0x1000 is no number"),
        (tis_nonsense, "value 0 0x100000000", "is no number"),
        (tis_nonsense, "value 0", "meant are command LOCALITY HEX and value"),
    ],
)
def test_a_line_that_means_nothing_is_refused_with_its_place(end: Any, line: str, expected: str) -> None:
    with pytest.raises(BadInput, match="here:2: ") as refused:
        parse("here", ["# something", line], end.parse_line)
    assert expected in str(refused.value)


def test_a_script_of_reads_is_read_in_its_order_and_its_last_value_stays() -> None:
    device = tis_nonsense.Nonsense(["value 0x18 0x190 2", "command 2 00c1", "value 0x18 0x80", "value 0 0xa1"])
    assert device.commands == [(2, b"\x00\xc1")]
    assert [device.read(0x2018, 32) for _ in range(4)] == [0x190, 0x190, 0x80, 0x80]
    assert [device.read(0x0, 8), device.read(0x1000, 8), device.read(0x24, 32)] == [0xA1, 0xA1, 0xFFFFFFFF]
    device.most = 7
    with pytest.raises(TooLong):
        device.read(0, 8)


def test_a_script_that_asks_nothing_of_a_driver_is_an_error(tmp_path: Path) -> None:
    script = tmp_path / "nothing.script"
    script.write_text("# A register and no command.\nvalue 0x18 0x80\n")
    code, said = conform("--script", script, subject=OURS)
    assert (code, "error: no command is given to the driver" in said) == (1, True)


def test_random_scripts_are_the_same_again_and_can_be_read() -> None:
    for end in (tis_nonsense, tis_program):
        assert end.draw(3, 4) == end.draw(3, 4) != end.draw(4, 4)
        script = end.draw(0, 0)
        assert parse(script.name, script.lines, end.parse_line).lines == script.lines
