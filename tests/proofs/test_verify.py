"""The command `vtpmspec verify`: what it asks, what it says, and how it ends."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from vtpm_proofs.cli import SUB_COMMANDS, app
from vtpm_proofs.commands import verify
from vtpm_proofs.commands.verify import Command
from vtpm_proofs.parts import Outcome, Part, Report


def holds(_: Report) -> Outcome:
    return Outcome({"facts": 3})


def falls_short(_: Report) -> Outcome:
    return Outcome({"facts": 1}, ("the second fact fails",))


def number_of_systems(document: Any) -> Mapping[str, int]:
    return {"systems": len(document["systems"])}


def asked_of(words: str) -> Outcome:
    return Command(tuple(words.split()), number_of_systems)(lambda _: None)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    parts = (Part("good", "does it hold?", holds), Part("bad", "does it hold?", falls_short))
    monkeypatch.setattr(verify, "PARTS", parts)
    return CliRunner().invoke(app, ["verify", *words])


def test_all_parts_are_asked_and_one_that_falls_short_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch)
    assert ended.exit_code == 1
    assert "1 of 2 parts fall short: bad" in ended.stdout
    assert "bad: the second fact fails" in ended.stderr


def test_a_named_part_is_asked_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "good")
    assert ended.exit_code == 0
    assert "everything that was asked holds" in ended.stdout
    assert "bad" not in ended.stdout + ended.stderr


def test_json_says_the_same_as_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "--json")
    document = json.loads(ended.stdout)
    assert ended.exit_code == 1
    assert document["schema"] == "vtpmspec/verify/1"
    assert document["holds"] is False
    good, bad = document["parts"]
    assert (good["name"], good["holds"], good["figures"]) == ("good", True, {"facts": 3})
    assert (bad["holds"], bad["shortfalls"]) == (False, ["the second fact fails"])


def test_an_unknown_part_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "nonesuch")
    assert ended.exit_code == 2
    assert "'nonesuch'" in ended.stderr
    assert "good, bad" in ended.stderr


def test_a_command_that_holds_is_counted() -> None:
    assert asked_of("prove page") == Outcome({"systems": 1})


def test_a_command_used_wrongly_falls_short_with_its_words() -> None:
    outcome = asked_of("prove nonesuch")
    assert not outcome.holds
    assert "`vtpmspec prove nonesuch` ended with code 2" in outcome.shortfalls[0]
    assert "no system is called 'nonesuch'" in outcome.shortfalls[0]


def test_a_command_that_prints_something_else_falls_short() -> None:
    outcome = asked_of("list page")
    assert not outcome.holds
    assert "JSON of another shape" in outcome.shortfalls[0]


def test_parts_have_names_of_their_own_and_ask_commands_that_exist() -> None:
    assert len({part.name for part in verify.PARTS}) == len(verify.PARTS)
    for part in verify.PARTS:
        if isinstance(part.ask, Command):
            assert part.ask.words[0] in SUB_COMMANDS, part.name
