"""Event logs against a specification: the same verdicts as by trying everything, and what a refusal tells."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.traces.box import BOX, Colour

from vtpm_model.core import Disabled, Spec
from vtpm_model.ring import RING
from vtpm_traces import belief, log, validate
from vtpm_traces.generate import walk
from vtpm_traces.log import Header, Reader, content_of
from vtpm_traces.observe import Candidates
from vtpm_traces.steps import Steps
from vtpm_traces.validate import Bounds
from vtpm_traces.verdict import Outcome, Verdict

STEP = dict[str, Any]
FEW = Bounds(closure=400)
HEADER: Mapping[str, Any] = {"schema": "vtpm-event-log/1", "system": "box"}

PUT: STEP = {"action": "sender_puts", "picks": {"colour": "RED", "weight": 5}}
TAKE: STEP = {"action": "taker_takes", "picks": {"gently": True}}
RING_BELL: STEP = {"action": "bell_rings"}
HEAR: STEP = {"action": "taker_hears"}


def write(path: Path, lines: Iterable[Any], **header: Any) -> log.Log:
    path.write_text("".join(json.dumps(line) + "\n" for line in ({**HEADER, **header}, *lines)))
    return log.read(path)


def verdict_on(tmp_path: Path, *lines: STEP, keep_run: bool = False, **header: Any) -> Verdict:
    return validate.validate(BOX, write(tmp_path / "a.ndjson", lines, **header), bounds=FEW, keep_run=keep_run)


def by_trying_everything(spec: Spec[Any], read: log.Log) -> int | None:
    """The number of the first line that no run can show, found without any of the means of the validator."""
    reader = Reader(spec, read)
    candidates = reader.candidates()

    def calls(name: str, known: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        open_picks = [pick for pick in reader.spec.action(name).picks if pick not in known]
        choices = []
        for pick in open_picks:
            given = candidates.get(f"{name}.{pick}")
            few = Steps(spec).sorts(name)[pick].few
            choices.append(tuple(given.values) if given else few)  # type: ignore[arg-type]
        for values in itertools.product(*choices):  # type: ignore[arg-type]
            yield {**known, **dict(zip(open_picks, values, strict=True))}

    def after(states: set[Any], name: str, known: Mapping[str, Any]) -> set[Any]:
        found = set()
        for state in states:
            for picks in calls(name, known):
                try:
                    found.add(spec.action(name).run(state, **picks))
                except Disabled:
                    continue
        return found

    states = {spec.init()}
    for number, event in reader.events():
        while True:
            more = set().union(states, *(after(states, name, {}) for name in reader.hidden()))
            if more == states:
                break
            states = more
        states = {
            state
            for state in after(states, event.action, event.picks)
            if all(leaf.get(state) == value for leaf, value in event.after)
        }
        if not states:
            return number
    return None


# ------------------------------------------------------------------------------------------------------ small logs


def test_a_log_of_possible_steps_is_accepted(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, PUT, TAKE, RING_BELL, HEAR, keep_run=True)
    assert verdict.accepted
    assert verdict.lines == 4
    assert [taken.action for taken in verdict.run] == ["sender_puts", "taker_takes", "bell_rings", "taker_hears"]
    assert [taken.seen[0].line for taken in verdict.run] == [2, 3, 4, 5]


def test_a_refusal_names_line_event_and_what_was_possible(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, PUT, PUT)
    assert verdict.outcome is Outcome.REFUSED
    (stuck,) = verdict.stuck
    assert stuck.origin.line == 3
    assert stuck.origin.text == "sender_puts(colour=RED, weight=5)"
    assert "bell_rings" in stuck.possible
    assert "taker_takes(gently=false)" in stuck.possible
    assert not any(told.startswith("sender_puts") for told in stuck.possible)


def test_a_refusal_tells_the_values_that_a_field_could_have(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, PUT, {**TAKE, "after": {"taken": 2, "full": False}})
    assert verdict.outcome is Outcome.REFUSED
    assert verdict.stuck[0].values == {"taken": ("1",)}
    assert "there taken could be 1" in str(verdict.stuck[0])


def test_hidden_steps_are_found_and_told(tmp_path: Path) -> None:
    assert verdict_on(tmp_path, HEAR).outcome is Outcome.REFUSED
    verdict = verdict_on(tmp_path, PUT, HEAR, HEAR, keep_run=True, hidden=["bell_rings"])
    assert verdict.accepted
    told = [(taken.action, bool(taken.seen)) for taken in verdict.run]
    assert told == [
        ("sender_puts", True),
        *(("bell_rings", False), ("taker_hears", True)),
        *(("bell_rings", False), ("taker_hears", True)),
    ]


def test_a_pick_that_is_not_logged_is_tried(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, PUT, {"action": "taker_takes"}, keep_run=True)
    assert verdict.accepted
    heavy = {**PUT, "picks": {"colour": "RED", "weight": 100}}
    verdict = verdict_on(tmp_path, heavy, {"action": "taker_takes"}, keep_run=True)
    assert verdict.run[-1].picks == {"gently": False}


def test_a_pick_of_too_many_values_makes_a_refusal_undecided(tmp_path: Path) -> None:
    put = {"action": "sender_puts", "picks": {"colour": "RED"}}
    verdict = verdict_on(tmp_path, put, TAKE)
    assert verdict.outcome is Outcome.UNDECIDED
    assert "sender_puts.weight" in verdict.reason
    assert verdict_on(tmp_path, put, TAKE, candidates={"sender_puts.weight": [5, 200]}).accepted
    verdict = verdict_on(tmp_path, put, TAKE, candidates={"sender_puts.weight": [200]})
    assert verdict.outcome is Outcome.REFUSED


def test_what_is_no_log_of_the_system_is_malformed_whatever_comes_before(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, PUT, {"action": "lid_falls"})
    assert verdict.outcome is Outcome.MALFORMED
    assert ":3: action: lid_falls is not an action of box" in verdict.reason


def test_an_empty_log_is_accepted(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, keep_run=True)
    assert verdict.accepted
    assert verdict.run == ()


def test_numbers_that_lines_show_are_kept_apart(tmp_path: Path) -> None:
    hidden: dict[str, Any] = {"hidden": ["sender_puts", "taker_takes"], "candidates": {"sender_puts.weight": [5]}}
    for taken, sent, possible in ((0, 1, 1), (1, 1, 1), (5, 6, 1), (40, 41, 1), (0, 2, 0), (2, 1, 0)):
        line = {"action": "bell_rings", "after": {"taken": taken, "sent": sent}}
        assert verdict_on(tmp_path, {**PUT, "after": {"sent": 1}}, line, **hidden).accepted == bool(possible)
    backwards = ({**RING_BELL, "after": {"sent": 3}}, {**HEAR, "after": {"sent": 2}})
    assert not verdict_on(tmp_path, *backwards, **hidden).accepted


def test_more_hidden_steps_than_the_bound_are_undecided_and_never_refused(tmp_path: Path) -> None:
    lines = [{"action": "bell_rings", "after": {"sent": 500, "taken": 3}}]
    read = write(tmp_path / "a", lines, hidden=["sender_puts", "taker_takes"], candidates={"sender_puts.weight": [5]})
    verdict = validate.validate(BOX, read, bounds=Bounds(closure=200))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "more than 200 states" in verdict.reason


def test_steps_that_only_count_end_where_no_line_shows_the_count(tmp_path: Path) -> None:
    crash = {"action": "backend_crashes"}
    read = write(tmp_path / "a", [crash, crash], system="ring", hidden=["frontend_connects", "frontend_leaves"])
    assert validate.validate(RING, read).outcome is Outcome.REFUSED
    numbered = {**crash, "after": {"crashed_in": 3}}
    read = write(tmp_path / "b", [numbered, crash], system="ring", hidden=["frontend_connects", "frontend_leaves"])
    verdict = validate.validate(RING, read, bounds=FEW)
    assert (verdict.outcome, verdict.lines) == (Outcome.UNDECIDED, 1)


def test_contents_must_agree(tmp_path: Path) -> None:
    one, other = {"letter:letter.number": content_of(b"one")}, {"letter:taken": content_of(b"other")}
    lines = ({**PUT, "contents": one}, {**TAKE, "contents": {"letter:taken": content_of(b"one")}}, PUT)
    assert verdict_on(tmp_path, *lines).accepted
    another = {"letter:letter.number": content_of(b"another")}
    verdict = verdict_on(tmp_path, {**PUT, "contents": one}, {**TAKE, "contents": other})
    assert verdict.outcome is Outcome.REFUSED
    assert verdict.stuck[0].origin.line == 3
    assert verdict_on(tmp_path, {**PUT, "contents": one}, TAKE, {**PUT, "contents": another}).accepted


def test_contents_decide_between_hidden_steps(tmp_path: Path) -> None:
    hidden: dict[str, Any] = {"hidden": ["sender_puts", "taker_takes"], "candidates": {"sender_puts.weight": [5]}}
    one, other = ({"letter:letter.number": content_of(data)} for data in (b"one", b"other"))
    lines = ({**PUT, "contents": one}, {**RING_BELL, "contents": other}, {**HEAR, "after": {"bell": False}})
    verdict = verdict_on(tmp_path, *lines, keep_run=True, **hidden)
    assert verdict.accepted
    assert [taken.action for taken in verdict.run if not taken.seen] == ["taker_takes", "sender_puts"]
    assert verdict.run[-1].after.letter.number == 2
    same = {**RING_BELL, "contents": other, "after": {"sent": 1}}
    assert verdict_on(tmp_path, {**PUT, "contents": one}, same, hidden=["taker_takes"]).outcome is Outcome.REFUSED
    verdict = verdict_on(tmp_path, {**PUT, "contents": one}, same, **hidden)
    assert verdict.outcome is Outcome.UNDECIDED  # hidden steps go on for ever, and nothing says that numbers only grow


# ------------------------------------------------------------------------------------ against trying everything


def spoilt(lines: list[STEP], source: random.Random) -> list[STEP]:
    """The lines with one dropped, doubled, moved or changed."""
    lines = [json.loads(json.dumps(line)) for line in lines]
    at = source.randrange(len(lines))
    match source.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[source.randrange(len(lines))])
        case 2:
            lines.insert(source.randrange(len(lines)), lines.pop(at))
        case _:
            after = lines[at].get("after", {})
            for path, value in after.items():
                if isinstance(value, bool):
                    after[path] = not value
                    break
                if isinstance(value, int):
                    after[path] = value + 1
                    break
    return lines


RING_VALUES = {
    f"{name}": Candidates(values)
    for name, values in {
        "frontend_submits.length": (22, 5000),
        "frontend_submits.extra": (0,),
        "frontend_looks.header": (10, 22),
        "backend_finishes.reply": (10, 9),
    }.items()
}
FEW_FIELDS = frozenset({"page.state", "ready", "waiting", "to_backend"})

RING_HIDDEN = (
    (),
    ("backend_wakes", "frontend_wakes"),
    ("frontend_notifies", "backend_notifies", "frontend_looks", "backend_fetches", "event_reaches_backend_unasked"),
    ("frontend_times_out", "frontend_cancels", "backend_acknowledges_cancel", "backend_wakes"),
)


def ring_log(path: Path, seed: int, hidden: tuple[str, ...], fields: frozenset[str] | None, *, spoil: bool) -> log.Log:
    source = random.Random(seed)
    steps = list(walk(RING, 60, seed, RING_VALUES))
    header = Header("ring", hidden=hidden, candidates={k: tuple(v.values) for k, v in RING_VALUES.items()})  # type: ignore[arg-type]
    with path.open("w") as file:
        log.write(file, RING, header, steps)
    first, *rest = [json.loads(line) for line in path.read_text().splitlines()]
    for line in rest:
        if fields is not None and "after" in line:
            line["after"] = {name: value for name, value in line["after"].items() if name in fields}
        if source.random() < 0.3:
            line.pop("picks", None)
    if spoil and rest:
        rest = spoilt(rest, source)
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, *rest)))
    return log.read(path)


@pytest.mark.parametrize("hidden", RING_HIDDEN, ids=len)
@pytest.mark.parametrize(
    "fields", [None, frozenset({"page.state", "ready", "waiting", "to_backend"})], ids=["all", "few"]
)
def test_the_verdict_is_that_of_trying_everything(
    tmp_path: Path, hidden: tuple[str, ...], fields: frozenset[str] | None
) -> None:
    outcomes = set()
    for seed in range(25):
        read = ring_log(tmp_path / f"{seed}.ndjson", seed, hidden, fields, spoil=seed % 3 != 0)
        verdict = validate.validate(RING, read, keep_run=True)
        expected = by_trying_everything(RING, read)
        found = verdict.stuck[0].origin.line if verdict.stuck else None
        assert (verdict.outcome, found) == (Outcome.ACCEPTED if expected is None else Outcome.REFUSED, expected), seed
        outcomes.add(verdict.outcome)
        if verdict.accepted:
            check_run(read, verdict)
    assert outcomes == {Outcome.ACCEPTED, Outcome.REFUSED}


def check_run(read: log.Log, verdict: Verdict) -> None:
    """The completed run is a run, and shows exactly the lines of the log."""
    state = RING.init()
    for taken in verdict.run:
        state = RING.action(taken.action).run(state, **taken.picks)
        assert state == taken.after
        assert taken.seen or taken.action in read.header.hidden
    shown = [taken for taken in verdict.run if taken.seen]
    events = list(Reader(RING, read).events())
    assert [(taken.seen[0].line, taken.action) for taken in shown] == [(number, e.action) for number, e in events]
    for taken, (_, event) in zip(shown, events, strict=True):
        assert event.picks.items() <= taken.picks.items()
        assert all(leaf.get(taken.after) == value for leaf, value in event.after)


def test_a_table_that_is_begun_anew_changes_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "REMEMBERED", 30)
    for seed, fields in itertools.product(range(12), (None, frozenset({"page.state"}))):
        read = ring_log(tmp_path / f"{seed}.ndjson", seed, RING_HIDDEN[2], fields, spoil=seed % 2 == 0)
        verdict = validate.validate(RING, read, keep_run=True)
        expected = by_trying_everything(RING, read)
        assert (verdict.stuck[0].origin.line if verdict.stuck else None) == expected
        if verdict.accepted:
            check_run(read, verdict)


def test_little_care_changes_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "QUICK", belief.Care(0, 1))
    monkeypatch.setattr(validate, "MORE_CARE", ((1, belief.Care(0, 2)), (3, belief.Care(1, 3))))
    for seed in range(12):
        read = ring_log(tmp_path / f"{seed}.ndjson", seed, RING_HIDDEN[3], None, spoil=seed % 2 == 0)
        verdict = validate.validate(RING, read)
        expected = by_trying_everything(RING, read)
        assert (verdict.stuck[0].origin.line if verdict.stuck else None) == expected


def test_colours_are_members_and_not_numbers(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, {**PUT, "after": {"letter.colour": "RED"}}, keep_run=True)
    assert verdict.run[0].after.letter.colour is Colour.RED
    assert replace(verdict, run=()).accepted
