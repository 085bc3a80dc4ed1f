"""ITF traces: written and read back, refused where they break the schema, and run on the specification."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.traces.box import BOX, Colour, bell_rings, sender_puts, taker_takes

from vtpm_traces import itf
from vtpm_traces.files import BadInput
from vtpm_traces.itf import Expect, Moment, Trace
from vtpm_traces.replay import replay


def a_trace(**changes: Any) -> Trace:
    s0 = BOX.init()
    put = {"colour": Colour.BLUE, "weight": 7}
    s1 = sender_puts(s0, **put)
    s2 = taker_takes(s1, gently=True)
    moments = (Moment("init", {}, s0), Moment("sender_puts", put, s1), Moment("taker_takes", {"gently": True}, s2))
    return replace(
        Trace("box", "A letter goes through", Expect.ACCEPT, moments, ("a line",), {"by": "test"}), **changes
    )


def read_back(path: Path) -> Trace:
    return itf.to_trace(itf.read_file(path), BOX)


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    document = itf.to_document(a_trace(), BOX)
    change(document)
    path = tmp_path / "changed.itf.json"
    path.write_text(json.dumps(document))
    return path


def test_a_trace_comes_back_as_it_was_written(tmp_path: Path) -> None:
    for trace in (a_trace(), a_trace(expect=Expect.REJECT), a_trace(loop=0)):
        itf.write(tmp_path / "a.itf.json", trace, BOX)
        assert read_back(tmp_path / "a.itf.json") == trace
        document = json.loads((tmp_path / "a.itf.json").read_text())
        assert document == itf.to_document(trace, BOX)


def test_the_file_is_what_other_tools_of_the_format_read() -> None:
    document = itf.to_document(a_trace(), BOX)
    assert document["vars"][-2:] == ["mbt::actionTaken", "mbt::nondetPicks"]
    first, second, _ = document["states"]
    assert first["mbt::actionTaken"] == "init"
    assert second["letter"] == {"number": {"#bigint": "1"}, "colour": "BLUE"}
    assert second["mbt::nondetPicks"]["weight"] == {"tag": "Some", "value": {"#bigint": "7"}}
    assert "loop" not in document


def test_the_id_depends_on_what_the_trace_says_and_on_nothing_else() -> None:
    name = itf.named(a_trace(), BOX)
    assert name == itf.named(a_trace(title="another", pins=(), provenance={}), BOX)
    assert name != itf.named(a_trace(expect=Expect.REJECT), BOX)
    assert name != itf.named(a_trace(moments=a_trace().moments[:2]), BOX)


def test_an_unknown_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda d: d["#meta"].update(schema="vtpm-trace/2"))
    with pytest.raises(BadInput, match="schema vtpm-trace/2 is not known here; this reads vtpm-trace/1"):
        itf.read_file(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["states"][1].update(full=False), "id: box-[0-9a-f]{16} does not fit the content"),
        (lambda d: d["#meta"].pop("title"), "'title' is a required property"),
        (lambda d: d["#meta"].update(expect="maybe"), "maybe"),
        (lambda d: d["states"].clear(), "states"),
        (lambda d: d["states"][1].pop("mbt::actionTaken"), "mbt::actionTaken"),
        (lambda d: d["states"][1].pop("weight"), "states.1 lacks weight"),
        (lambda d: d["states"][1].update(weight=-1), "weight: -1 is not an integer from 0"),
        (lambda d: d["states"][1].update(weight={"#set": []}), "weight"),
        (lambda d: d["states"][1].update({"mbt::actionTaken": "init"}), "init is not one of sender_puts"),
        (lambda d: d["states"][0].update({"mbt::actionTaken": "bell_rings"}), "bell_rings is not one of init"),
        (lambda d: d["states"][1]["mbt::nondetPicks"].pop("weight"), "sender_puts also needs weight"),
        (lambda d: d["states"][1]["mbt::nondetPicks"].update(x={"tag": "Some", "value": 1}), "has no pick x"),
        (lambda d: d["vars"].remove("weight"), "vars: box has"),
        (lambda d: d.update(loop=3), "loop: 3 is no index"),
    ],
)
def test_a_spoilt_trace_is_refused_with_the_place(tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_back(changed(tmp_path, change))


def test_a_trace_of_another_tool_is_read_without_our_metadata(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda d: d.update({"#meta": {"format": "ITF", "description": "by somebody else"}}))
    file = itf.read_file(path)
    assert not file.ours
    assert itf.to_trace(file, BOX).moments == a_trace().moments


@pytest.mark.parametrize("text", ["[]", "{}", '{"states": 1}', '{"states": [], "#meta": 1}'])
def test_what_is_no_trace_at_all_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.itf.json").write_text(text)
    with pytest.raises(BadInput):
        read_back(tmp_path / "a.itf.json")


def test_a_possible_run_is_accepted_and_its_reject_falls_short() -> None:
    assert replay(BOX, a_trace()).holds
    result = replay(BOX, a_trace(expect=Expect.REJECT))
    assert not result.holds
    assert result.sentence == "its last step should be refused, and is possible"


def test_a_step_that_is_not_possible_is_told_with_what_is() -> None:
    moments = (*a_trace().moments, Moment("taker_takes", {"gently": True}, a_trace().moments[-1].state))
    result = replay(BOX, a_trace(moments=moments))
    assert not result.holds
    assert "step 3 should be possible: taker_takes(gently=true) is not possible; possible is" in result.sentence
    assert "bell_rings" in result.sentence
    assert replay(BOX, a_trace(moments=moments, expect=Expect.REJECT)).holds


def test_a_step_to_another_state_is_told_by_field() -> None:
    start, put, taken = a_trace().moments
    other = replace(taken, state=taken.state._replace(taken=9))
    result = replay(BOX, a_trace(moments=(start, put, other)))
    assert "taker_takes(gently=true) ends otherwise; taken is 1, the trace has 9" in result.sentence
    assert replay(BOX, a_trace(moments=(start, put, other), expect=Expect.REJECT)).holds


def test_a_reject_trace_must_not_stop_before_its_last_step() -> None:
    start, put, taken = a_trace().moments
    wrong = replace(put, state=put.state._replace(sent=5))
    assert not replay(BOX, a_trace(moments=(start, wrong, taken), expect=Expect.REJECT)).holds


def test_a_trace_must_begin_in_the_initial_state() -> None:
    start, *rest = a_trace().moments
    elsewhere = replace(start, state=bell_rings(start.state))
    result = replay(BOX, a_trace(moments=(elsewhere, *rest)))
    assert not result.holds
    assert "bell is false, the trace has true" in result.sentence


def test_a_loop_must_lead_back() -> None:
    s0 = BOX.init()
    s1 = bell_rings(s0)
    moments = (Moment("init", {}, s0), Moment("bell_rings", {}, s1), Moment("taker_hears", {}, s0))
    assert replay(BOX, a_trace(moments=moments, loop=0)).holds
    assert not replay(BOX, a_trace(moments=moments, loop=1)).holds
