"""Whatever a subject does wrong is the subject's failure, told in a sentence; nothing hangs, and nothing is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.traces.conform.subjects import IDLE, command

from vtpm_traces.conform.judge import judge
from vtpm_traces.conform.player import Player
from vtpm_traces.conform.script import Script, parse
from vtpm_traces.conform.subject import CannotStart

SCRIPT = Script("some", "a device is made", ("init", "run", "attach 1 0", "run"))

BROKEN = {
    "silent": ("time.sleep(60)", "it said nothing for 0.5 s"),
    "silent later": ("hello(); call('wait'); time.sleep(60)", "it said nothing for 0.5 s"),
    "ends at once": ("sys.exit(3)", "it ended with code 3 although it was not told to end"),
    "ends with 0": ("hello(); call('wait')", "it ended with code 0 although it was not told to end"),
    "killed": ("hello(); os.kill(os.getpid(), 11)", "it ended by signal SIGSEGV"),
    "raises": ("hello(); call('wait'); raise ValueError('oops')", "its last words: ValueError: oops"),
    "closes its output": ("os.close(1); time.sleep(60)", "it closed its output although it was not told to end"),
    "prose": ("print('hello, world', flush=True)", "is not JSON"),
    "an array": ("print('[1, 2]', flush=True)", "a JSON object a line is meant"),
    "bytes": ("os.write(1, bytes((0xff, 0xfe, 10)))", "is not UTF-8 text"),
    "nested": ("print('{\"do\":' + '[' * 40 + ']' * 40 + '}', flush=True)", "nested deeper than 3 levels"),
    "a long line": ("print('x' * 70000, flush=True)", "it said a line of more than 65536 bytes"),
    "an endless line": ("[os.write(1, b'x' * 4096) for _ in range(100)]; time.sleep(60)", "more than 65536 bytes"),
    "another version": ("hello(protocol='vtpm-sut/2')", "it speaks vtpm-sut/2; this harness speaks vtpm-sut/1"),
    "no hello": ("call('wait')", "`hello` is meant"),
    "hello twice": ("hello(); hello()", "it said hello twice"),
    "hello as nobody": ("hello(end='toolstack')", "its request: end"),
    "unknown request": ("hello(); call('fly')", "it asked to do fly, which the protocol does not have"),
    "no request": ("hello(); print('{}', flush=True)", "which the protocol does not have"),
    "a field too many": ("hello(); call('read', path='a', colour='red')", "colour"),
    "a field too few": ("hello(); call('read')", "path"),
    "a field of another sort": ("hello(); call('unmap', page='1')", "page"),
    "a number too large": ("hello(); call('unmap', page=1 << 40)", "page"),
    "a path that is none": ("hello(); call('read', path='a b')", "path"),
    "odd digits": ("hello(); call('store', page=1, offset=0, data='abc')", "data"),
    "asks for ever": ("hello()\nwhile True: call('read', path='a')", "it made 5000 requests and does not wait"),
    "causes events for ever": (
        "hello(); call('watch', path='a', token='t')\n"
        "while True: call('wait'); call('write', path='a', value='1')",
        "it was told 5000 events and still causes more",
    ),
    "does not end": (
        "hello()\nwhile call('wait')['event'] != 'end': pass\ntime.sleep(60)",
        "told to end, it did not",
    ),
    "ends with an error": (
        "hello()\nwhile call('wait')['event'] != 'end': pass\nsys.exit(9)",
        "told to end, it ended with code 9",
    ),
    "another one after reset": (
        "hello(again=True)\nwhile call('wait')['event'] != 'reset': pass\nhello(name='other')\ncall('wait')",
        "after `reset` it says that it is another",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_subject_fails_with_a_sentence(name: str) -> None:
    body, expected = BROKEN[name]
    with Player(command(body), patience=0.5 if "time.sleep" in body else 20) as player:
        found = judge(player.play(SCRIPT), "some")
    assert expected in found.sentence
    assert not found.undecided


def test_a_subject_that_cannot_be_started_is_no_subject() -> None:
    with Player(["/nowhere/to/be/found"]) as player, pytest.raises(CannotStart, match="No such file"):
        player.play(SCRIPT)


def test_a_subject_that_does_nothing_is_told_what_it_owes() -> None:
    with Player(command(IDLE), patience=20) as player:
        found = judge(player.play(SCRIPT), "some")
    assert "at rest" in found.sentence
    assert "backend_tracks" in found.sentence


def test_much_on_standard_error_does_no_harm_and_its_end_is_kept() -> None:
    body = "hello(); sys.stderr.write('x' * 1_000_000 + '\\nthe end\\n'); sys.stderr.flush(); call('wait'); sys.exit(1)"
    with Player(command(body), patience=20) as player:
        assert "its last words: the end" in player.play(SCRIPT).fault


def test_what_a_subject_has_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "child"
    body = f"""
    hello()
    child = os.fork()
    if child == 0:
        time.sleep(60)
    open({str(note)!r}, "w").write(str(child))
    while call("wait")["event"] != "end":
        pass
    """
    with Player(command(body), patience=20) as player:
        player.play(SCRIPT)
    child = int(note.read_text())
    deadline = time.monotonic() + 20
    while _alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_player_that_is_left_leaves_no_subject() -> None:
    with Player(command("hello(); call('wait'); time.sleep(60)"), patience=20) as player:
        player.meet()
        assert player._subject is not None
        process = player._subject._process.pid
    assert not _alive(process)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


READS_TWICE = """
hello(again=True)
while True:
    event = call("wait")
    if event["event"] == "reset":
        hello(again=True)
    elif event["event"] == "end":
        break
    elif event["event"] == "start":
        page = call("map", domain=1, ref=8)["page"]
        if int.from_bytes(bytes.fromhex(call("load", page=page, offset=0, length=4)["data"]), "little") <= 4088:
            length = int.from_bytes(bytes.fromhex(call("load", page=page, offset=0, length=4)["data"]), "little")
            call("load", page=page, offset=8, length=min(length, 4096))
"""
"""Checks a length, and then reads it again and believes it."""


def test_a_length_that_is_read_twice_is_found_out() -> None:
    script = parse("race", ["attach 1 0", "page 1 8 0 0a000000", "amid ? page 1 8 0 ffffffff", "init", "run"])
    with Player(command(READS_TWICE), patience=20) as player:
        logs = [player.play(script.at(number)) for number in range(6)]
    faults = [number for number, one in enumerate(logs) if any('"page_fault"' in line for line in one.log)]
    assert faults == [2]
    assert [one.idle_amid for one in logs] == [False] * 4 + [True] * 2
