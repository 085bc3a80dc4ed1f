"""Event logs: what the schema allows is read; what it does not is refused by line, value and what is allowed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.traces.box import BOX, Colour, sender_puts

from vtpm_traces import log, schema
from vtpm_traces.files import BadInput
from vtpm_traces.log import Event, Header, Reader, content_of

HEADER = {"schema": "vtpm-event-log/1", "system": "box"}


def a_log(tmp_path: Path, *lines: Any, header: Any = HEADER) -> log.Log:
    path = tmp_path / "a.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)))
    return log.read(path)


def events(tmp_path: Path, *lines: Any, header: Any = HEADER) -> list[tuple[int, Event]]:
    return list(Reader(BOX, a_log(tmp_path, *lines, header=header)).events())


def test_a_header_is_read_whole(tmp_path: Path) -> None:
    header = Header(
        "box", "odd", ("bell_rings",), {"taker_stamps.value": (1, 2)}, payload=True, provenance={"by": "test", "n": 1}
    )
    read = a_log(tmp_path, header=header.to_document())
    assert read.header == header
    assert read.line == 1


def test_an_unknown_version_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a.ndjson:1: schema vtpm-event-log/2 is not known here; this reads .*log/1"):
        a_log(tmp_path, header={**HEADER, "schema": "vtpm-event-log/2"})


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"system": "box"}, "an event log begins with a header"),
        ({"schema": "vtpm-event-log/1"}, "'system' is a required property"),
        ({**HEADER, "hidden": "bell_rings"}, "hidden"),
        ({**HEADER, "hidden": ["Bell"]}, "Bell"),
        ({**HEADER, "hidden": ["a", "a"]}, "hidden"),
        ({**HEADER, "candidates": {"a.b": []}}, "candidates"),
        ({**HEADER, "candidates": {"a": [1]}}, "candidates"),
        ({**HEADER, "more": 1}, "more"),
    ],
)
def test_a_spoilt_header_is_refused(tmp_path: Path, header: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        a_log(tmp_path, header=header)


def test_an_empty_file_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n\n")
    with pytest.raises(BadInput, match="the first line of an event log is its header"):
        log.read(tmp_path / "a")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({**HEADER, "hidden": ["nobody_does"]}, "box has no action nobody_does"),
        ({**HEADER, "candidates": {"taker_stamps.colour": [1]}}, "box has no pick taker_stamps.colour"),
        ({**HEADER, "candidates": {"taker_stamps.value": [256]}}, "256 is not an integer from 0 to 255"),
    ],
)
def test_a_header_that_does_not_fit_the_system_is_refused(tmp_path: Path, header: Any, says: str) -> None:
    reader = Reader(BOX, a_log(tmp_path, header=header))
    with pytest.raises(BadInput, match=says):
        (reader.hidden(), reader.candidates())


def test_an_event_is_read_with_values_of_the_system(tmp_path: Path) -> None:
    line = {
        "action": "sender_puts",
        "by": "frontend",
        "picks": {"colour": "BLUE", "weight": 5},
        "after": {"letter.colour": "BLUE", "sent": 1, "full": True},
        "time": 1.5,
        "note": "x",
    }
    ((number, event),) = events(tmp_path, line)
    assert number == 2
    assert event.action == "sender_puts"
    assert event.picks == {"colour": Colour.BLUE, "weight": 5}
    assert [(leaf.path, value) for leaf, value in event.after] == [
        ("letter.colour", Colour.BLUE), ("sent", 1), ("full", True),
    ]  # fmt: skip
    assert event.numbers == (1,)
    assert event.text == "sender_puts(colour=BLUE, weight=5), then letter.colour=BLUE, sent=1, full=true"


def test_events_that_differ_in_numbers_only_have_one_key(tmp_path: Path) -> None:
    first, second, third = (
        event
        for _, event in events(
            tmp_path,
            {"action": "bell_rings", "after": {"sent": 1, "bell": True}},
            {"action": "bell_rings", "after": {"sent": 2, "bell": True}},
            {"action": "bell_rings", "after": {"sent": 2, "bell": False}},
        )
    )
    assert first.key == second.key != third.key
    assert first.labelled([7])[1] == ((first.after[0][0], 7), (first.after[1][0], True))


BAD_BY_SCHEMA: list[Any] = [
    {},
    {"action": 1},
    {"action": "bell_rings", "picks": []},
    {"action": "bell_rings", "after": 1},
    {"action": "bell_rings", "more": 1},
    {"action": "bell_rings", "time": "now"},
    {"action": "bell_rings", "note": 1},
    {"action": "bell_rings", "by": "nobody"},
    {"action": "bell_rings", "after": {"bell": None}},
    {"action": "bell_rings", "after": {"bell": [True]}},
    {"action": "bell_rings", "contents": {"letter": {"length": 1, "sha256": "0" * 64}}},
    {"action": "bell_rings", "contents": {"letter:sent": {"length": 1}}},
    {"action": "bell_rings", "contents": {"letter:sent": {"length": -1, "sha256": "0" * 64}}},
    {"action": "bell_rings", "contents": {"letter:sent": {"length": 1, "sha256": "xyz"}}},
    {"action": "bell_rings", "contents": []},
]

BAD_BY_SYSTEM: list[tuple[Any, str]] = [
    ({"action": "bell_breaks"}, "bell_breaks is not an action of box, which has sender_puts, "),
    ({"action": "bell_rings", "by": "backend"}, "bell_rings is done by the xen, not by backend"),
    ({"action": "bell_rings", "picks": {"loud": True}}, "bell_rings has no pick loud; it has none"),
    ({"action": "sender_puts", "picks": {"colour": "GREEN"}}, "colour: GREEN is not one of RED, BLUE"),
    ({"action": "sender_puts", "picks": {"weight": 2**32}}, "weight: 4294967296 is not an integer from 0"),
    ({"action": "bell_rings", "after": {"letter": 1}}, "letter is not a field of box, which has letter.number"),
    ({"action": "bell_rings", "after": {"sent": -1}}, "sent: -1 is not an integer of at least 0"),
    ({"action": "bell_rings", "contents": {"letter:size": content_of(b"x")}}, "size is not a field"),
    (
        {"action": "bell_rings", "contents": {"letter:sent": content_of(b"x", payload=True)}},
        "there is a payload, and the header does not say so",
    ),
]


@pytest.mark.parametrize("line", BAD_BY_SCHEMA)
def test_what_the_schema_forbids_is_refused_without_the_schema_being_asked(tmp_path: Path, line: Any) -> None:
    with pytest.raises(BadInput):
        schema.check(line, schema.EVENT_LOG, "here", part="event")
    with pytest.raises(BadInput, match=":2: "):
        events(tmp_path, line)


@pytest.mark.parametrize(("line", "says"), BAD_BY_SYSTEM)
def test_what_the_system_does_not_have_is_refused_though_the_schema_allows_it(
    tmp_path: Path, line: Any, says: str
) -> None:
    schema.check(line, schema.EVENT_LOG, "here", part="event")
    with pytest.raises(BadInput, match=f":2: .*{says}"):
        events(tmp_path, line)


def test_a_payload_must_have_its_length_and_hash(tmp_path: Path) -> None:
    header = {**HEADER, "payload": True}
    good = content_of(b"bytes", payload=True)
    assert good["payload"] == b"bytes".hex()
    assert "payload" not in content_of(b"bytes")
    line = {"action": "bell_rings", "contents": {"letter:sent": good}}
    assert events(tmp_path, line, header=header)[0][1].contents
    line["contents"] = {"letter:sent": {**good, "payload": "00"}}
    with pytest.raises(BadInput, match="the payload does not have that length and hash"):
        events(tmp_path, line, header=header)


def test_a_written_log_is_read_back_and_fits_the_schema(tmp_path: Path) -> None:
    before = BOX.init()
    picks = {"colour": Colour.BLUE, "weight": 3}
    after = sender_puts(before, **picks)
    text = io.StringIO()
    log.write(text, BOX, Header("box"), [("sender_puts", picks, before, after)])
    header, line = map(json.loads, text.getvalue().splitlines())
    schema.check(header, schema.EVENT_LOG, "header")
    schema.check(line, schema.EVENT_LOG, "line")
    assert line["picks"] == {"colour": "BLUE", "weight": 3}
    assert line["after"] == {"letter.number": 1, "letter.colour": "BLUE", "full": True, "sent": 1, "weight": 3}
    (tmp_path / "b.ndjson").write_text(text.getvalue())
    ((_, event),) = Reader(BOX, log.read(tmp_path / "b.ndjson")).events()
    assert event.picks == picks


def test_hidden_actions_are_not_written_and_chosen_fields_only() -> None:
    before = BOX.init()
    picks = {"colour": Colour.BLUE, "weight": 3}
    after = sender_puts(before, **picks)
    steps = [("sender_puts", picks, before, after)]
    text = io.StringIO()
    log.write(text, BOX, Header("box", hidden=("sender_puts",)), steps)
    assert len(text.getvalue().splitlines()) == 1
    text = io.StringIO()
    log.write(text, BOX, Header("box"), steps, shows={"sender_puts": ["bell"]})
    assert json.loads(text.getvalue().splitlines()[1])["after"] == {"bell": False}
