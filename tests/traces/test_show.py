"""Runs for people: the rows of a table, Mermaid text, and SVG that stands alone."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from tests.traces.box import BOX
from tests.traces.test_itf import a_trace

from vtpm_model.core import Actor
from vtpm_model.device import DEVICE
from vtpm_model.tis import TIS
from vtpm_traces import show
from vtpm_traces.itf import INIT, Expect, Moment, Trace
from vtpm_traces.observe import Origin
from vtpm_traces.verdict import Taken

SVG = "{http://www.w3.org/2000/svg}"


def attach() -> Trace:
    """A toolstack creates a device and the backend finds it."""
    moments = [Moment(INIT, {}, DEVICE.init())]
    for name, picks in (("toolstack_creates", {"complete": True}), ("backend_tracks", {})):
        moments.append(Moment(name, picks, DEVICE.action(name).run(moments[-1].state, **picks)))
    return Trace("device", "A device is found", Expect.ACCEPT, tuple(moments))


def test_rows_tell_who_did_what_and_what_changed() -> None:
    first, second = show.of_trace(BOX, a_trace())
    assert (first.number, first.by, first.action) == (1, "frontend", "sender_puts(colour=BLUE, weight=7)")
    assert [str(change) for change in first.changes] == [
        "letter.number: 0 → 1", "letter.colour: RED → BLUE", "full: false → true", "sent: 0 → 1", "weight: 0 → 7",
    ]  # fmt: skip
    assert [change.path for change in second.changes] == ["full", "taken"]


def test_the_refused_step_of_a_reject_trace_is_marked() -> None:
    rows = show.of_trace(BOX, a_trace(expect=Expect.REJECT))
    assert [row.refused for row in rows] == [False, True]
    assert "(refused)" in show.mermaid(rows, "t")
    assert "refused" in show.svg(rows, "t")


def test_hidden_steps_of_a_run_are_told_from_those_that_were_seen() -> None:
    rung = BOX.action("bell_rings").run(BOX.init())
    run = [
        Taken("bell_rings", Actor.XEN, {}, rung),
        Taken("taker_hears", Actor.BACKEND, {}, BOX.init(), (Origin("a.log", 3, "x"),)),
    ]
    assert [(row.hidden, len(row.seen)) for row in show.of_run(BOX, run)] == [(True, 0), (False, 1)]


def test_an_arrow_leads_to_what_another_end_will_see() -> None:
    text = show.mermaid(show.of_trace(DEVICE, attach()), "A device is found")
    assert text.splitlines()[:4] == ["---", 'title: "A device is found"', "---", "sequenceDiagram"]
    assert "    participant xenstore" in text
    created = "    toolstack->>xenstore: toolstack_creates(complete=true): fe_state=INITIALISING"
    assert any(line.startswith(created) for line in text.splitlines())


def test_everybody_who_acts_has_a_lane() -> None:
    assert {actor.value for actor in Actor} <= set(show.LANES)
    assert set(show.PLACES.values()) <= set(show.LANES)


def test_the_registers_that_a_driver_changes_are_the_devices() -> None:
    state = TIS.init()
    run = []
    for name, picks in (("caller_sends", {"named": 10, "given": 10}), ("driver_requests_the_locality", {})):
        action = TIS.action(name)
        state = action.run(state, **picks)
        run.append(Taken(name, action.by, picks, state))
    rows = show.of_run(TIS, run)
    assert "    driver-->>device: driver_requests_the_locality: owner=DRIVER" in show.mermaid(rows, "t").splitlines()
    assert ElementTree.fromstring(show.svg(rows, "t")).tag == f"{SVG}svg"


def test_a_diagram_says_that_it_leaves_changes_out() -> None:
    changes = tuple(show.Change(f"field{number}", "0", "1") for number in range(show.TOLD + 1))
    row = show.Row(1, "backend", "backend_fetches", changes[: show.TOLD])
    assert "…" not in show.svg([row], "t")
    assert "field3=1, …<" in show.svg([replace(row, changes=changes)], "t")


def test_nothing_in_a_message_ends_it() -> None:
    row = replace(show.of_trace(BOX, a_trace())[0], action="a;b\nc#d")
    (line,) = [line for line in show.mermaid([row], "t").splitlines() if "->>" in line]
    assert ";" not in line
    assert "#" not in line


def test_the_svg_is_well_formed_and_shows_every_step_once() -> None:
    rows = show.of_trace(DEVICE, attach())
    title = 'A <b> & "c" \x3cscript>'
    root = ElementTree.fromstring(show.svg(rows, title))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert title in texts
    for row in rows:
        assert texts.count(row.action) == 1
    assert not list(root.iter(f"{SVG}script"))


def test_the_svg_is_wide_enough_for_its_texts() -> None:
    root = ElementTree.fromstring(show.svg(show.of_trace(DEVICE, attach()), "x" * 200))
    width = float(root.get("width", "0"))
    for element in root.iter(f"{SVG}text"):
        anchor = element.get("text-anchor", "start")
        length = len(element.text or "") * 6
        assert float(element.get("x", "0")) + (length if anchor == "start" else length / 2) <= width
