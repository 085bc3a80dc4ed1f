"""The scripts: what may stand in them, those that are kept, those that are drawn, and how they are shrunk."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.traces.conform.subjects import command

from vtpm_traces.conform.campaign import SANITY
from vtpm_traces.conform.draw import draw
from vtpm_traces.conform.player import Player
from vtpm_traces.conform.script import Deliver, Notify, Script, parse, parse_line, read
from vtpm_traces.conform.shrink import shrunk
from vtpm_traces.conform.trial import kept_scripts
from vtpm_traces.conform.words import WORDS
from vtpm_traces.files import BadInput
from vtpm_traces.recordings.script import Run, Set
from vtpm_traces.schema import data

ENDS = ("backend", "frontend")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fly", "one of set, rm"),
        ("notify 1", "meant are notify DOM PORT"),
        ("notify 1 x", "x is no number"),
        ("deliver -1", "no number"),
        ("run 3", "meant are"),
        ("attach 1", "meant is attach DOM HANDLE"),
        ("submit 1 8 8 999 00", "meant is submit"),
        ("page 1 8 4096 00", "leave the page"),
        ("page 1 8 0 0x", "hexadecimal"),
        ("set state 1", "starts with /"),
        ("amid x run", "cannot be amid other things"),
        ("amid x kick 1", "x is no number"),
        ("amid 3", "one of set, rm"),
        ("fail everything 1", "failing operation"),
    ],
)
def test_a_line_that_means_nothing_is_refused_with_its_place(line: str, expected: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse("here", ["# something", "run", line])
    assert str(refused.value).startswith("here:3: ")
    assert expected in str(refused.value)


def test_lines_are_read_as_steps() -> None:
    assert [step for _, step in parse_line("notify 1 8")] == [Notify(1, 8)]
    assert [step for _, step in parse_line("deliver 2")] == [Deliver(2)]
    assert [step for _, step in parse_line("run")] == [Run(None)]
    assert [step for _, step in parse_line("state 1 0 4")] == [Set("/local/domain/1/device/vtpm/0/state", "4")]


def test_what_happens_amid_other_things_is_tried_with_every_number() -> None:
    script = parse("here", ["amid ? state 1 0 4", "run"])
    assert script.sweeps
    assert script.at(7).lines == ("amid 7 state 1 0 4", "run")
    assert not script.at(7).sweeps


def test_a_script_that_is_written_is_read_again(tmp_path: Path) -> None:
    script = Script("one", "what it is", ("init", "run"))
    (tmp_path / "one.script").write_text(script.text)
    assert read(tmp_path / "one.script") == script


def test_too_many_lines_are_too_many(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="more than 2000 lines"):
        parse("long", ["run"] * 2001)


@pytest.mark.parametrize("end", ENDS)
def test_every_kept_script_says_what_it_is_and_ends_at_rest(end: str) -> None:
    names = kept_scripts(end)
    assert SANITY in names
    docs = set()
    for name in names:
        script = read(data("scripts", end, f"{name}.script"))
        assert script.doc.endswith("."), name
        assert script.lines[-1] == "run", name
        docs.add(script.doc)
    assert len(docs) == len(names)


def test_every_word_is_used_by_a_kept_script_or_a_drawn_one() -> None:
    scripts = [read(data("scripts", end, f"{name}.script")) for end in ENDS for name in kept_scripts(end)]
    scripts += [draw(end, 0, number) for end in ENDS for number in range(30)]
    used = {line.split()[0] for script in scripts for line in script.lines}
    assert used >= {*WORDS, "set", "rm", "page", "notify", "kick", "init", "shutdown", "close", "cmd", "run", "deliver"}


@pytest.mark.parametrize("end", ENDS)
def test_the_same_seed_and_number_draw_the_same_script(end: str) -> None:
    assert draw(end, 3, 4) == draw(end, 3, 4)
    assert len({draw(end, seed, number).lines for seed in (1, 2) for number in range(20)}) == 40


def test_drawn_scripts_drive_a_frontend_and_a_backend_through_their_work(tmp_path: Path) -> None:
    vtpm = [str(Path(command("")[0]).with_name("vtpm")), "sut"]
    for end, expected in {
        "backend": {"open_callback", "close_callback", "map_grant", "unmap_grant", "request", "page_store", "notify"},
        "frontend": {
            "grant_access",
            "end_access",
            "page_store",
            "notify",
            "tpmfront_cmd_returned",
            "shutdown_returned",
        },
    }.items():
        with Player([*vtpm, end], patience=20) as player:
            logs = [player.play(draw(end, 0, number)).log for number in range(15)]
        assert {kind for kind in expected if any(f'"{kind}"' in line for log in logs for line in log)} == expected


def test_shrinking_leaves_what_is_needed_and_keeps_to_its_budget() -> None:
    tries = []

    def fails(lines: tuple[str, ...]) -> bool:
        tries.append(lines)
        return "7" in lines and "3" in lines

    lines = tuple(map(str, range(40)))
    assert shrunk(lines, fails, 1000) == ("3", "7")
    tries.clear()
    assert set(shrunk(lines, fails, 10)) >= {"3", "7"}
    assert len(tries) == 10
