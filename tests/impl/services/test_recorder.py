"""A recorded backend: each line is what happened, and the reader of recordings understands them all."""

from __future__ import annotations

import json
import threading

import pytest
from tests.impl.host.guests import store
from tests.impl.xenbus.ends import BACKEND, answer, command, detach, frontend

from vtpm_impl.engines.echo import Echo
from vtpm_impl.services.recorder import Recorder
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xenbus.backend import Backend
from vtpm_impl.xenbus.nodes import Device
from vtpm_traces.files import BadInput
from vtpm_traces.recordings.xen_events import Commanded, Commit, Mapped, Sampled
from vtpm_traces.recordings.xen_log import read_log
from vtpm_traces.schema import RECORDING, check


@pytest.fixture(name="lines", scope="module")
def a_recorded_run() -> list[str]:
    lines: list[str] = []
    with store() as run, HostDomain(run, BACKEND) as domain:
        recorder = Recorder(domain.platform(), Echo(), lines.append)
        backend = Backend(recorder.platform, recorder.engine, removal=0, report=recorder.report)
        thread = threading.Thread(target=backend.serve)
        thread.start()
        try:
            with frontend(run, 1) as end:
                for size in (10, 4088):
                    assert end.transmit(command(size)) == answer(size)
                detach(run, Device(1, 0))
        finally:
            backend.stop()
            thread.join(5)
    return lines


def test_lines_tell_what_happened_in_its_order(lines: list[str]) -> None:
    told = [json.loads(line) for line in lines]
    assert told[0]["domid"] == BACKEND
    times = [line["t"] for line in told]
    assert times == sorted(times)
    states = [line["value"] for line in told if line["ev"] == "write" and line["path"].endswith("/state")]
    assert states[:3] == ["2", "4", "6"]
    commands = [line for line in told if line["ev"] == "command"]
    assert [(line["n"], line["cmd"], line["rsp"]) for line in commands] == [
        (number, command(size).hex(), answer(size).hex()) for number, size in ((1, 10), (2, 4088))
    ]
    kinds = [line["ev"] for line in told]
    assert kinds.index("frontend-state") < kinds.index("connected") < kinds.index("event") < kinds.index("command")
    requests = [line for line in told if line["ev"] == "event" and line["state"] == 1]
    assert [line["length"] for line in requests] == [10, 4088]


def test_the_reader_of_recordings_understands_them(lines: list[str]) -> None:
    log = read_log("\n".join(lines).encode(), "backend.jsonl")
    assert not log.remarks
    (events,) = log.backend.values()
    kinds = [type(event) for event in events]
    assert kinds.count(Mapped) == 1
    assert kinds.count(Commanded) == 2
    assert kinds.count(Sampled) >= 2
    assert Commit in kinds


def test_lines_about_pages_name_their_device(lines: list[str]) -> None:
    about = [json.loads(line) for line in lines if json.loads(line)["ev"] in ("connected", "event", "command")]
    assert {line["device"] for line in about} == {"1/0"}


def test_each_line_is_as_the_published_schema_says(lines: list[str]) -> None:
    kinds = set()
    for number, line in enumerate(lines, 1):
        document = json.loads(line)
        check(document, RECORDING, f"line {number}", part="line")
        kinds.add(document["ev"])
    assert kinds == {"start", "watch", "write", "frontend-state", "connected", "event", "command"}


@pytest.mark.parametrize("schema", ["vtpm-recording/2", "vtpm-event-log/1", "", None, 1, ["vtpm-recording/1"]])
def test_a_recorder_of_an_unknown_schema_is_refused_by_its_name(lines: list[str], schema: object) -> None:
    other = json.dumps(json.loads(lines[0]) | {"schema": schema})
    with pytest.raises(BadInput, match=r"backend\.jsonl:1: schema .* is not known here; this reads vtpm-recording/1"):
        read_log("\n".join([other, *lines[1:]]).encode(), "backend.jsonl")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("start", "domid", -1), ("start", "domid", "9"), ("watch", "path", None), ("watch", "value", True),
        ("write", "value", ["2"]), ("frontend-state", "keys", ["state"]), ("connected", "ring_ref", 1 << 32),
        ("connected", "remote_port", "x"), ("connected", "page", "00"), ("event", "why", "timer"),
        ("event", "length", -1), ("event", "state", 256), ("event", "nr_extra_pages", 1.5), ("command", "n", "1"),
        ("command", "cmd", "0"), ("command", "rsp", "zz"), ("command", "locality", None), ("command", "device", "1"),
    ],
)  # fmt: skip
def test_what_the_schema_does_not_allow_the_reader_does_not_use(
    lines: list[str], kind: str, field: str, value: object
) -> None:
    documents = [json.loads(line) for line in lines]
    at = next(number for number, document in enumerate(documents) if document["ev"] == kind)
    documents[at][field] = value
    with pytest.raises(BadInput):
        check(documents[at], RECORDING, "it", part=kind)
    log = read_log("\n".join(map(json.dumps, documents)).encode(), "backend.jsonl")
    assert [remark.origin.line for remark in log.remarks][:1] == [at + 1]


@pytest.mark.parametrize("device", ["1", "1/", "1/0/0", "-1/0", "x"])
def test_a_device_that_is_none_is_remarked(lines: list[str], device: str) -> None:
    spoilt = [line.replace('"device": "1/0"', f'"device": "{device}"') for line in lines]
    log = read_log("\n".join(spoilt).encode(), "backend.jsonl")
    assert any("expected a domain and a handle such as 1/0" in str(remark) for remark in log.remarks)
