"""The readers of driven programs: bad lines are told by their number, and no line that matters can be lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.traces.driven_script import ANSWER, Back, Front

from vtpm_traces.files import BadInput
from vtpm_traces.recordings.judged import MINI_OS, READERS, judge, kept_recordings
from vtpm_traces.recordings.script import Malformed, read_script

STEP = '{"n":0,"ev":"step","cmd":"run"}'
END = '{"n":1,"ev":"end"}'


def file_of(folder: Path, *lines: str) -> Path:
    path = folder / "lines.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "is not JSON"),
        ("[1]", "no JSON object with an `ev`"),
        ('{"ev":"step"}', "it says `cmd` only"),
        ('{"ev":"step","cmd":5}', "a text is expected"),
        ('{"ev":"step","cmd":"jump 3"}', '"jump"'),
        ('{"ev":"step","cmd":"kick"}', "`kick` has 0 words after it; it takes 1"),
        ('{"ev":"step","cmd":"kick -1"}', '"-1"'),
        ('{"ev":"step","cmd":"kick 99999999999999999999"}', "a number from 0"),
        ('{"ev":"step","cmd":"run x"}', "the rounds"),
        ('{"ev":"step","cmd":"set a 5"}', "starts with /"),
        ('{"ev":"step","cmd":"page 7 451 4095 0102"}', "leave the page"),
        ('{"ev":"step","cmd":"page 7 451 0 0g"}', "hexadecimal"),
        ('{"ev":"step","cmd":"page 70000 451 0 00"}', "the domain"),
        ('{"ev":"step","cmd":"fill 7 451 1 4096"}', "leave the page"),
        ('{"ev":"step","cmd":"resp 0"}', "hexadecimal"),
        ('{"ev":"step","cmd":"fail dance 1"}', "one of read, write"),
        ('{"ev":"step","cmd":"run","more":1}', "it says `cmd` only"),
        ('{"ev":"explode"}', '"explode"'),
        ('{"ev":["a"]}', "the event is"),
        ('{"ev":"notify","local_port":1,"remote_domid":2}', "does not say its remote_port"),
        ('{"ev":"notify","local_port":"1","remote_domid":2,"remote_port":3}', "int is expected"),
        ('{"ev":"notify","local_port":true,"remote_domid":2,"remote_port":3}', "int is expected"),
        ('{"ev":"req_any_null","why":1}', "it may say nothing"),
        ('{"ev":"xs_read","path":"/a"}', "either its value or its error"),
        ('{"ev":"num_frontends"}', "counts"),
        ('{"ev":"num_frontends","n":-1}', "counts"),
        ('{"n":"x","ev":"end"}', "a number is expected"),
        ('{"ev":"log","text":NaN}', "NaN"),
        ('{"ev":"log","text":[[["a"]]]}', "deeper"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(Malformed) as told:
        read_script(file_of(tmp_path, STEP, line, END))
    assert told.value.line == 2
    assert sentence in told.value.sentence


def test_a_recording_that_breaks_off_is_told(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r":2: the recording breaks off"):
        read_script(file_of(tmp_path, STEP))


def test_a_recording_that_goes_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r":3: the recording goes on after its end"):
        read_script(file_of(tmp_path, STEP, END, STEP))


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r":1: the recording breaks off"):
        read_script(file_of(tmp_path))


def test_a_line_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r":1: longer than"):
        read_script(file_of(tmp_path, STEP + " " * (64 << 10), END))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress((STEP + "\n").encode() * 3_000_000))
    with pytest.raises(BadInput, match=r"lines|unpacks"):
        read_script(path)


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("tpmback", '{"ev":"step","cmd":"cmd 00"}'),
        ("tpmback", '{"ev":"grant_access","domid":1,"ref":2,"readonly":0}'),
        ("tpmback", '{"ev":"open_callback","domid":-1,"handle":0,"uuid":""}'),
        ("tpmfront", '{"ev":"step","cmd":"resp 00"}'),
        ("tpmfront", '{"ev":"request","domid":1,"handle":0,"locality":0,"len":0,"data":""}'),
        ("tpmfront", '{"ev":"free_page"}'),
    ],
)
def test_what_the_other_program_does_is_told(tmp_path: Path, form: str, line: str) -> None:
    judged = judge(file_of(tmp_path, STEP, line, END), form)
    assert judged.malformed.startswith("line 2: ")


def test_a_recording_without_a_device_is_accepted_as_empty(tmp_path: Path) -> None:
    judged = judge(file_of(tmp_path, STEP, END), "tpmback")
    assert (judged.devices, judged.accepted_by) == (0, ("true model", "mini-os"))


def test_more_devices_than_are_looked_at_are_told(tmp_path: Path) -> None:
    nodes = [f'{{"ev":"step","cmd":"set /local/domain/9/backend/vtpm/{d}/0"}}' for d in range(300)]
    assert "devices" in judge(file_of(tmp_path, *nodes, END), "tpmback").malformed


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("set /a/b{n} 1", "nodes"),
        ("set /" + "a/" * 40 + "b 1", "levels"),
        ("page 7 {n} 0 00", "pages"),
    ],
)
def test_a_store_without_end_is_told(tmp_path: Path, command: str, what: str) -> None:
    steps = [json.dumps({"ev": "step", "cmd": command.replace("{n}", str(n))}) for n in range(6000)]
    assert what in judge(file_of(tmp_path, *steps, END), "tpmback").malformed


WORDS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 1 << 40), st.text(max_size=8), st.lists(st.integers(), max_size=2)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_line_makes_a_reader_stumble(tmp_path: Path, data: st.DataObject) -> None:
    """One line of a recording says something else: it is judged or refused as malformed, whatever it says."""
    script: Back | Front
    if data.draw(st.booleans()):
        script = Back()
        script.start()
        script.create()
        script.connect()
        script.serve()
        script.do(f"resp {ANSWER}", "run")
        script.notifies()
    else:
        script = Front()
        script.create()
        script.open()
        script.backend_connects()
        script.command()
    line = data.draw(st.sampled_from(script.lines))
    key = data.draw(st.sampled_from(sorted(line)))
    line[key] = data.draw(WORDS)
    judge(script.write(tmp_path), "tpmback" if isinstance(script, Back) else "tpmfront")


# ------------------------------------------------------------------------------------------ nothing can be lost

WHAT_IS_DONE = (
    "close_callback", "end_access", "evtchn_alloc_unbound", "evtchn_bind", "evtchn_unbind", "grant_access", "notify",
    "open_callback", "request", "tpmfront_cmd_returned", "unmap_grant",
)  # fmt: skip

SHORT = {
    "tpmback/normal-connect-request-close",
    "tpmback/frontend-removed-while-a-request-is-pending",
    "tpmback/close-and-reconnect",
    "tpmback/two-handles-of-one-domain",
    "tpmfront/backend-closes-to-initwait",
    "tpmfront/spurious-kick-and-cancelled",
}


def lines_of(name: str) -> tuple[list[dict[str, Any]], str]:
    path, form = kept_recordings()[name]
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()], form


def is_accepted(folder: Path, lines: list[dict[str, Any]], form: str) -> bool:
    path = file_of(folder, *(json.dumps(line) for line in lines))
    return MINI_OS in judge(path, form).accepted_by


def state_writes(line: dict[str, Any]) -> bool:
    return bool(line["ev"] == "xs_write" and line["path"].endswith("/state"))


@pytest.mark.parametrize("name", sorted(SHORT))
def test_nothing_that_was_done_can_be_lost_or_done_twice(tmp_path: Path, name: str) -> None:
    lines, form = lines_of(name)
    for index, line in enumerate(lines):
        if line["ev"] in WHAT_IS_DONE:
            assert not is_accepted(tmp_path, lines[:index] + lines[index + 1 :], form), line
            assert not is_accepted(tmp_path, [*lines[:index], line, *lines[index:]], form), line
        if state_writes(line):
            assert not is_accepted(tmp_path, lines[:index] + lines[index + 1 :], form), line


@pytest.mark.parametrize("name", sorted(SHORT))
def test_no_state_length_or_byte_can_be_another(tmp_path: Path, name: str) -> None:
    lines, form = lines_of(name)
    for index, line in enumerate(lines):
        changed: list[tuple[str, Any]] = []
        if state_writes(line):
            changed += [("value", str(state)) for state in range(1, 8) if str(state) != line["value"]]
        if line["ev"] == "request":
            changed += [("len", line["len"] + 1), ("locality", 1 - line["locality"]), ("data", "ff" + line["data"][2:])]
        if line["ev"] == "page":
            changed += [("length", line["length"] + 1), ("state", (line["state"] + 1) % 4), ("locality", 7)]
            changed += [("data", "ff" + line["data"][2:])]
        if line["ev"] == "tpmfront_cmd_returned":
            changed += [("rc", -1), ("resplen", line["resplen"] + 1)]
        for key, value in changed:
            other = [*lines[:index], {**line, key: value}, *lines[index + 1 :]]
            assert not is_accepted(tmp_path, other, form), (line, key, value)


def test_both_forms_are_read() -> None:
    assert set(READERS) == {"tpmback", "tpmfront"}
