"""The machine that the harness plays: what it answers, what it tells, and what it writes down."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from vtpm_traces import schema
from vtpm_traces.conform.script import parse_line
from vtpm_traces.conform.subject import Garbage, line_of
from vtpm_traces.conform.world import World


def ask(world: World, do: str, **fields: Any) -> dict[str, Any]:
    """A request and its answer, which keeps to the schema."""
    answer = world.answer({"do": do, **fields})
    jsonschema.validate(answer, {**schema.document(schema.SUT), "anyOf": [{"$ref": "#/$defs/answer"}]})
    return answer


def play(world: World, *lines: str) -> None:
    for line in lines:
        for words, step in parse_line(line):
            world.take(step, words)  # type: ignore[arg-type]


def events(world: World) -> list[dict[str, Any]]:
    found = []
    while (event := world.next_event()) is not None:
        jsonschema.validate(event, {**schema.document(schema.SUT), "anyOf": [{"$ref": "#/$defs/answer"}]})
        found.append({key: value for key, value in event.items() if key not in ("ok", "now")})
    return found


def test_the_schema_is_one_and_has_all_that_the_world_answers() -> None:
    document = schema.document(schema.SUT)
    jsonschema.Draft202012Validator.check_schema(document)
    asked = {name.removeprefix("do-") for name in document["$defs"] if name.startswith("do-")}
    answered = {name.removeprefix("_do_") for name in dir(World) if name.startswith("_do_")}
    assert asked == answered | {"hello", "wait"}


def test_the_page_speaks_of_every_request_event_and_error() -> None:
    page = schema.data("schema", "PROTOCOL.md").read_text()
    document = schema.document(schema.SUT)
    for name in document["$defs"]:
        kind, _, word = name.partition("-")
        if kind in ("do", "event"):
            assert f"| `{word}`" in page, word
    for error in document["$defs"]["refusal"]["properties"]["error"]["enum"]:
        assert error in page


def test_a_watch_fires_at_once_and_at_every_change_at_or_below() -> None:
    world = World("backend")
    ask(world, "watch", path="backend/vtpm", token="t")
    assert events(world) == [{"event": "watch", "path": "backend/vtpm", "token": "t"}]
    play(world, "set /local/domain/9/backend/vtpm/1/0/state 1", "set /local/domain/9/backendx 1")
    assert events(world) == [{"event": "watch", "path": "backend/vtpm/1/0/state", "token": "t"}]
    play(world, "rm /local/domain/9/backend")
    assert events(world) == [{"event": "watch", "path": "backend/vtpm", "token": "t"}]
    assert ask(world, "watch", path="backend/vtpm", token="t") == {"ok": False, "error": "EEXIST"}
    ask(world, "unwatch", path="backend/vtpm", token="t")
    play(world, "set /local/domain/9/backend/vtpm/1 x")
    assert events(world) == []
    assert ask(world, "unwatch", path="backend/vtpm", token="t") == {"ok": False, "error": "ENOENT"}


def test_a_transaction_counts_as_a_whole_or_not_at_all() -> None:
    world = World("backend")
    ask(world, "watch", path="x", token="t")
    events(world)
    tx = ask(world, "begin")["tx"]
    ask(world, "write", path="x/a", value="1", tx=tx)
    ask(world, "write", path="x/b", value="2", tx=tx)
    assert ask(world, "read", path="x/a") == {"ok": False, "error": "ENOENT"}
    assert ask(world, "read", path="x/a", tx=tx)["value"] == "1"
    assert events(world) == []
    assert ask(world, "commit", tx=tx) == {"ok": True}
    assert [event["path"] for event in events(world)] == ["x/a", "x/b"]
    assert ask(world, "ls", path="x")["names"] == ["a", "b"]
    assert ask(world, "commit", tx=tx) == {"ok": False, "error": "EINVAL"}


def test_a_transaction_that_somebody_overtook_is_to_be_done_again() -> None:
    world = World("backend")
    tx = ask(world, "begin")["tx"]
    ask(world, "write", path="a", value="1", tx=tx)
    play(world, "set /local/domain/1/b 2")
    assert ask(world, "commit", tx=tx) == {"ok": False, "error": "EAGAIN"}
    assert ask(world, "read", path="a") == {"ok": False, "error": "ENOENT"}
    tx = ask(world, "begin")["tx"]
    ask(world, "write", path="a", value="1", tx=tx)
    assert ask(world, "abort", tx=tx) == {"ok": True}
    assert ask(world, "read", path="a") == {"ok": False, "error": "ENOENT"}


def test_nobody_writes_into_anothers_domain() -> None:
    world = World("backend")
    assert ask(world, "write", path="/local/domain/1/device", value="") == {"ok": False, "error": "EACCES"}
    play(world, "set /local/domain/1/device x")
    assert ask(world, "rm", path="/local/domain/1/device") == {"ok": False, "error": "EACCES"}


def test_values_are_bytes_and_lines_are_printable() -> None:
    world = World("backend")
    play(world, 'set /local/domain/1/x a"\\\xff\x01 b')
    answer = ask(world, "read", path="/local/domain/1/x")
    assert line_of(answer) == b'{"ok":true,"value":"a\\u0022\\u005c\\u00ff\\u0001 b"}\n'
    assert json.loads(line_of(answer)) == answer


def test_a_page_is_there_once_it_is_granted_and_only_mapped_pages_are_touched() -> None:
    world = World("backend")
    assert ask(world, "map", domain=1, ref=8) == {"ok": False, "error": "EINVAL"}
    play(world, "page 1 8 4094 abcd")
    page = ask(world, "map", domain=1, ref=8)["page"]
    assert ask(world, "load", page=page, offset=4094, length=2)["data"] == "abcd"
    assert ask(world, "store", page=page, offset=0, data="0102") == {"ok": True}
    assert ask(world, "load", page=page, offset=0, length=3)["data"] == "010200"
    for refused in (
        ask(world, "load", page=page, offset=4095, length=2),
        ask(world, "store", page=page, offset=4096, data="00"),
        ask(world, "load", page=page + 1, offset=0, length=1),
    ):
        assert refused == {"ok": False, "error": "EINVAL"}
    assert sum('"page_fault"' in line for line in world.log) == 3
    ask(world, "unmap", page=page)
    assert ask(world, "load", page=page, offset=0, length=1) == {"ok": False, "error": "EINVAL"}
    assert ask(world, "unmap", page=page) == {"ok": False, "error": "EINVAL"}


def test_a_bound_port_is_pending_and_events_coalesce() -> None:
    world = World("backend")
    play(world, "notify 1 5")
    port = ask(world, "bind", domain=1, port=5)["port"]
    assert ask(world, "bind", domain=1, port=5) == {"ok": False, "error": "EINVAL"}
    assert events(world) == [{"event": "upcall", "port": port}]
    play(world, "notify 1 5", "notify 1 5", "notify 2 5")
    assert events(world) == [{"event": "upcall", "port": port}]
    play(world, "notify 1 5")
    ask(world, "close_port", port=port)
    assert events(world) == []
    assert ask(world, "notify", port=port) == {"ok": False, "error": "EINVAL"}
    assert ask(world, "bind", domain=1, port=5)["port"] != port


@pytest.mark.parametrize("operation", ["read", "write", "ls", "map", "bind", "transaction"])
def test_what_the_script_makes_fail_fails_so_often(operation: str) -> None:
    requests: dict[str, dict[str, Any]] = {
        "read": {"do": "read", "path": "a"}, "write": {"do": "write", "path": "a", "value": ""},
        "ls": {"do": "ls", "path": "a"}, "map": {"do": "map", "domain": 1, "ref": 1},
        "bind": {"do": "bind", "domain": 1, "port": 1}, "transaction": {"do": "begin"},
    }  # fmt: skip
    world = World("backend")
    play(world, f"fail {operation} 2")
    found = [world.answer(dict(requests[operation])).get("error") for _ in range(3)]
    assert found[:2] == ["EIO", "EIO"]
    assert found[2] != "EIO"


def test_an_application_asks_a_frontend_for_one_thing_at_a_time() -> None:
    world = World("frontend")
    play(world, "cmd 00", "close", "init -", "cmd 00")
    assert events(world) == [{"event": "open", "handle": 0}]
    ask(world, "result", of="open", ok=True)
    play(world, "loc 3", "cmd 00c1", "close")
    assert events(world) == [{"event": "command", "data": "00c1", "locality": 3}]


@pytest.mark.parametrize("request_", [{"do": "store"}, {"do": 7}, {}, {"do": "result", "of": "tea", "ok": True}])
def test_what_is_no_request_is_garbage(request_: dict[str, Any]) -> None:
    with pytest.raises(Garbage):
        World("backend").answer(request_)
