"""Scripts against Linux' frontend: which lines there are, what is drawn, and that all can be read."""

from __future__ import annotations

from collections import Counter

import pytest

from vtpm_traces.conform import linux_campaign
from vtpm_traces.conform.linux_draw import draw
from vtpm_traces.conform.linux_script import LINES, WORDS, parse
from vtpm_traces.files import BadInput

DRAWN = 60


def test_words_stand_for_their_lines_and_the_first_comment_tells_what_is_played() -> None:
    script = parse("some", ["# what it is", "# more of it", "open", "", "rest", "close"])
    assert script.doc == "what it is"
    assert script.lines == (*WORDS["open"], "rest", *WORDS["close"])


@pytest.mark.parametrize(
    "line",
    [
        "attach state", "back", "back ../x 1", "rm all", "await 10", "await", "serve -1", "call 0", "call size 99999",
        "put 1 2", "put x - -", "poke 8", "times 1", "nonsense", " open", "rest now", "back state " + "x" * 300,
    ],
)  # fmt: skip
def test_what_is_no_line_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(BadInput, match="some:2: "):
        parse("some", ["open", line])


def test_a_script_has_an_end() -> None:
    with pytest.raises(BadInput, match="more than 2000 lines"):
        parse("some", ["open"] * 400)


def test_every_kept_script_can_be_read_and_says_what_it_plays() -> None:
    scripts = linux_campaign.scripts(seed=0, runs=0)
    kinds = Counter(script.name.partition("/")[0] for script in scripts)
    assert set(kinds) == {"accept", "reject", "apart"}
    assert len({script.name for script in scripts}) == len(scripts)
    for script in scripts:
        assert script.doc
        assert script.lines
        assert script.doc.endswith(".")


def test_a_campaign_has_the_runs_that_are_asked_for() -> None:
    names = [script.name for script in linux_campaign.scripts(seed=3, runs=2, only=["random/*", "accept/destroy"])]
    assert names == ["accept/destroy", "random/0", "random/1"]
    assert [one.name for one in linux_campaign.scripts(seed=3, runs=0, only=["random/77"])] == ["random/77"]
    assert linux_campaign.scripts(seed=3, runs=2, only=["nobody"]) == []


def test_the_same_seed_and_number_draw_the_same_script() -> None:
    assert draw(5, 7) == draw(5, 7)
    assert draw(5, 7) != draw(5, 8) != draw(6, 8)


def test_drawn_scripts_are_scripts_that_connect_and_use_devices() -> None:
    used: Counter[str] = Counter()
    for number in range(DRAWN):
        script = draw(0, number)
        for line in script.lines:
            assert any(form.fullmatch(line) for form in LINES), line
        # a device whose first commands nobody answers would hold Linux up for minutes
        for at, line in enumerate(script.lines):
            if line.startswith(("attach", "bind")):
                assert "connect" in script.lines[at : at + 3], script.lines
        used.update(line.split()[0] for line in script.lines)
    assert {"attach", "await", "back", "call", "connect", "put", "result", "unbind", "bind", "rm"} <= used.keys()
