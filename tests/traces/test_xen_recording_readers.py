"""The readers of recordings from real Xen systems: what they find in the kept ones, and what they make of bad ones."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from pathlib import Path

import pytest

from vtpm_traces.files import BadInput
from vtpm_traces.recordings.xen import SourceKind, read_folder
from vtpm_traces.recordings.xen_events import (
    Change,
    Commanded,
    Commit,
    Device,
    Mapped,
    Party,
    Read,
    Sampled,
    Side,
    place_of,
)
from vtpm_traces.recordings.xen_log import read_log
from vtpm_traces.recordings.xen_store import StoreTrace, read_store_trace

RECORDED = Path(__file__).parents[2] / "traces" / "recorded" / "linux-frontend"


def test_the_kept_files_are_what_their_provenance_says() -> None:
    told = json.loads((RECORDED / "provenance.json").read_text())["files"]
    kept = {str(path.relative_to(RECORDED))[:-3]: path for path in RECORDED.rglob("*.gz")}
    assert kept.keys() == told.keys()
    for name, path in kept.items():
        content = gzip.decompress(path.read_bytes())
        assert (len(content), hashlib.sha256(content).hexdigest()) == (told[name]["bytes"], told[name]["sha256"])


@pytest.mark.parametrize(
    ("folder", "devices"),
    [
        (
            "canned-attach-detach-tpm2-errors",
            ["backend-canned.jsonl.gz 1/0", "backend-tpm2.jsonl.gz 2/0", "xenstored.trace.gz 3/0"],
        ),
        ("h1-fast", ["backend-canned.jsonl.gz 1/0"]),
        (
            "h2-virtioserial-reload",
            ["backend-port.jsonl.gz 1/0", "backend-port.jsonl.gz 2/0", "backend-port.jsonl.gz 3/0"],
        ),
        ("pv-python-front-and-tis", ["backend.jsonl.gz 1/0"]),
        ("pv-tpm12-swtpm", ["backend.jsonl.gz 1/0"]),
        ("three-domain-tis-chain", ["console/guest-mgr.log.gz 2/0", "console/guest-vtpm1.log.gz 3/0"]),
    ],
)
def test_each_recorder_domain_and_device_is_found(folder: str, devices: list[str]) -> None:
    recording = read_folder(RECORDED / folder)
    assert [f"{each.recorder} {each.device}" for each in recording.devices] == devices
    assert recording.remarks == []


def test_a_folder_reads_the_same_packed_and_unpacked(tmp_path: Path) -> None:
    packed = read_folder(RECORDED / "pv-tpm12-swtpm")
    for path in (RECORDED / "pv-tpm12-swtpm").iterdir():
        (tmp_path / path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
    plain = read_folder(tmp_path)
    assert [len(s.events) for s in plain.devices[0].sources] == [len(s.events) for s in packed.devices[0].sources]
    assert plain.devices[0].recorder == "backend.jsonl"


def test_every_command_of_a_log_is_read_with_the_event_before_it() -> None:
    (device,) = read_folder(RECORDED / "pv-python-front-and-tis").devices
    events = device.sources[0].events
    commands = [event for event in events if isinstance(event, Commanded)]
    assert [command.number for command in commands] == list(range(1, 407))
    for before, after in itertools.pairwise(events):
        if isinstance(after, Commanded):
            assert isinstance(before, Sampled)
            assert (before.header.state, before.header.length) == (1, len(after.request))
    (mapped,) = [event for event in events if isinstance(event, Mapped)]
    assert (mapped.ring_ref, mapped.port, mapped.header.length, mapped.header.state) == (8, 8, 22, 1)
    assert mapped.data == commands[0].request[:8]


# ------------------------------------------------------------------------------------------------ the store's trace


def trace(*lines: str) -> StoreTrace:
    return read_store_trace("\n".join((*lines, "")).encode(), "trace")


GUEST = ("CREATE connection 0xa0", "IN 0xa0 20200101 00:00:00 INTRODUCE (7 1 1 )", "CREATE connection 0xb0")
FRONTEND, BACKEND = "/local/domain/7/device/vtpm/3", "/local/domain/0/backend/vtpm/7/3"
SEVEN = Device(7, 3)


def asks(connection: str, what: str, answer: str | None = None) -> tuple[str, str]:
    kind = what.split(" ")[0]
    at = f"{connection} 20200101 00:00:00"
    return f"IN {at} {what}", f"OUT {at} {answer or f'{kind} (OK )'}"


def commits(read: StoreTrace, device: Device = SEVEN) -> list[tuple[Party, list[tuple[str, str | None]]]]:
    return [
        (event.party, [(change.node, change.value) for change in event.changes])
        for event in read.events.get(device, [])
        if isinstance(event, Commit)
    ]


def test_a_transaction_is_one_change_from_its_end_on() -> None:
    read = trace(
        *GUEST,
        *asks("0xb0", "TRANSACTION_START ( )", "TRANSACTION_START (1 )"),
        *asks("0xb0", "WRITE (device/vtpm/3/ring-ref 8)"),
        *asks("0xa0", f"WRITE ({BACKEND}/state 2)"),
        *asks("0xb0", "WRITE (device/vtpm/3/event-channel 9)"),
        *asks("0xb0", "TRANSACTION_END (T )"),
    )
    assert commits(read) == [
        (Party.LOCAL, [("", ""), ("state", "2")]),
        (Party.FRONTEND, [("", ""), ("ring-ref", "8"), ("event-channel", "9")]),
    ]


@pytest.mark.parametrize(
    ("end", "answer"), [("TRANSACTION_END (T )", "ERROR (EAGAIN )"), ("TRANSACTION_END (F )", "TRANSACTION_END (OK )")]
)
def test_a_transaction_that_fails_or_is_given_up_changes_nothing(end: str, answer: str) -> None:
    read = trace(
        *GUEST,
        *asks("0xb0", "TRANSACTION_START ( )", "TRANSACTION_START (1 )"),
        *asks("0xb0", "WRITE (device/vtpm/3/ring-ref 8)"),
        *asks("0xb0", end, answer),
    )
    assert commits(read) == []


def test_a_change_that_fired_a_watch_at_once_was_not_part_of_the_open_transaction() -> None:
    read = trace(
        *GUEST,
        *asks("0xa0", "TRANSACTION_START ( )", "TRANSACTION_START (1 )"),
        *asks("0xa0", f"WRITE ({BACKEND}/state 4)"),
        f"OUT 0xb0 20200101 00:00:00 WATCH_EVENT ({BACKEND}/state token )",
        *asks("0xa0", "TRANSACTION_END (T )", "ERROR (EAGAIN )"),
    )
    assert commits(read) == [(Party.LOCAL, [("", ""), ("state", "4")])]


def test_a_request_that_failed_changes_nothing() -> None:
    assert commits(trace(*GUEST, *asks("0xb0", f"WRITE ({BACKEND}/state 4)", "ERROR (EACCES )"))) == []


def test_removing_a_directory_above_removes_the_device() -> None:
    read = trace(
        *GUEST,
        *asks("0xb0", "WRITE (device/vtpm/3/state 3)"),
        *asks("0xa0", "RM (/local/domain/7 )"),
        *asks("0xa0", f"RM ({FRONTEND} )", "ERROR (ENOENT )"),
    )
    assert commits(read)[1:] == [(Party.TOOLSTACK, [("", None)])]


def test_connections_are_told_apart_after_their_address_was_used_again() -> None:
    read = trace(
        *GUEST,
        "DESTROY connection 0xb0",
        "IN 0xa0 20200101 00:00:00 INTRODUCE (8 1 1 )",
        "CREATE connection 0xb0",
        *asks("0xb0", "WRITE (device/vtpm/0/state 3)"),
    )
    assert commits(read, Device(8, 0)) == [(Party.FRONTEND, [("", ""), ("state", "3")])]


def test_a_domain_is_found_out_where_the_connection_is_older_than_the_trace() -> None:
    read = trace(
        *asks("0xb0", "READ (device/vtpm/3/backend )", f"READ ({BACKEND})"),
        *asks("0xb0", "WRITE (device/vtpm/3/state 3)"),
    )
    assert commits(read) == [(Party.FRONTEND, [("", ""), ("state", "3")])]
    assert not read.from_start


def test_a_relative_path_of_an_unknown_domain_is_told() -> None:
    read = trace(*asks("0xb0", "WRITE (device/vtpm/3/state 3)"))
    assert read.events == {}
    assert [str(remark) for remark in read.remarks] == ["trace:1: nothing tells the domain of connection 0xb0"]


def test_a_value_of_several_lines_is_read_by_its_length() -> None:
    value = "3\nIN 0xa0 20200101 00:00:00 RM (/local/domain/7 )\n"
    payload = f"device/vtpm/3/state {value}"
    read = trace(
        *GUEST,
        f"Got message WRITE len {len(payload)} from 0xb0",
        f"IN 0xb0 20200101 00:00:00 WRITE ({payload})",
        "OUT 0xb0 20200101 00:00:00 WRITE (OK )",
    )
    assert commits(read) == [(Party.FRONTEND, [("", ""), ("state", value)])]


def test_a_read_in_a_transaction_counts_unless_the_transaction_has_touched_the_node() -> None:
    read = trace(
        *GUEST,
        *asks("0xb0", "WRITE (device/vtpm/3/state 3)"),
        *asks("0xb0", "TRANSACTION_START ( )", "TRANSACTION_START (1 )"),
        *asks("0xb0", "READ (device/vtpm/3/state )", "READ (3)"),
        *asks("0xb0", "WRITE (device/vtpm/3/state 4)"),
        *asks("0xb0", "READ (device/vtpm/3/state )", "READ (4)"),
        *asks("0xb0", "TRANSACTION_END (T )", "ERROR (EAGAIN )"),
    )
    reads = [event for event in read.events[SEVEN] if isinstance(event, Read)]
    assert [(event.party, event.value, event.exact) for event in reads] == [(Party.FRONTEND, "3", True)]


def test_lines_that_are_cut_off_or_foreign_are_told_and_the_rest_is_used() -> None:
    read = read_store_trace(
        b"\xff\xfe\nIN 0xb0 20200101 00:00:00 WRITE (dev\nIN 0xa0 20200101 00:00:00 WRITE (/local/domain/0/backend/"
        b"vtpm/7/3/state 2)\nOUT 0xa0 20200101 00:00:00 WRITE (OK )\nOUT 0xa0 20200101 00:00:00 WRITE (OK )",
        "trace",
    )
    assert commits(read) == [(Party.LOCAL, [("", ""), ("state", "2")])]
    assert [remark.origin.line for remark in read.remarks] == [1, 2, 5]


# ------------------------------------------------------------------------------------------------------- the logs


def test_a_level_read_is_told_from_an_exact_one() -> None:
    line = {"t": 1, "ev": "watch", "path": f"{BACKEND}/state", "token": "be", "value": "2"}
    log = read_log(json.dumps(line).encode(), "log")
    (read,) = log.backend[SEVEN]
    assert isinstance(read, Read)
    assert (read.side, read.node, read.value, read.exact) == (Side.BACKEND, "state", "2", False)


def test_what_a_listing_does_not_name_is_absent() -> None:
    line = {"ev": "frontend-state", "path": f"{FRONTEND}/state", "value": "1", "name": "x", "keys": {"state": "1"}}
    log = read_log(json.dumps(line).encode(), "log")
    reads = {(event.node, event.value) for event in log.backend[SEVEN] if isinstance(event, Read)}
    assert reads == {("state", "1"), ("ring-ref", None), ("event-channel", None), ("feature-protocol-v2", None)}


def test_a_directory_above_that_is_gone_takes_its_devices_along() -> None:
    lines = [
        {"n": 1, "t": 0, "path": f"{FRONTEND}/state", "value": "1"},
        {"n": 2, "t": 0, "path": f"{BACKEND}/state", "value": "1"},
        {"n": 3, "t": 0, "path": "/local/domain/0/backend/vtpm/7", "value": None},
        {"n": 4, "t": 0, "path": "/local/domain/7", "value": None},
        {"n": 5, "t": 0, "path": "/local/domain/70", "value": None},
    ]
    log = read_log("\n".join(map(json.dumps, lines)).encode(), "log")
    gone = [(e.origin.line, e.side) for e in log.watcher[SEVEN] if isinstance(e, Read) and e.value is None]
    assert gone == [(3, Side.BACKEND), (4, Side.FRONTEND)]


def connect(domain: int) -> list[dict[str, object]]:
    path = f"/local/domain/{domain}/device/vtpm/0/state"
    keys = {"state": "3", "ring-ref": "8", "event-channel": "8", "feature-protocol-v2": "1"}
    return [
        {"ev": "frontend-state", "path": path, "value": "3", "name": "", "keys": keys},
        {"ev": "connected", "ring_ref": 8, "remote_port": 8, "local_port": 1, "fe_v2": "1", "page": "00" * 16},
    ]


def command(number: int) -> list[dict[str, object]]:
    header = {"length": 10, "state": 1, "locality": 0, "pad": 0, "nr_extra_pages": 0}
    return [
        {"ev": "event", "why": "evtchn", **header},
        {"ev": "command", "n": number, "cmd": "00" * 10, "rsp": "00" * 10, "locality": 0},
    ]


def commands_of(lines: list[dict[str, object]], device: Device) -> list[Commanded]:
    log = read_log("\n".join(map(json.dumps, lines)).encode(), "log")
    return [event for event in log.backend[device] if isinstance(event, Commanded)]


def test_a_log_from_its_backends_start_shows_the_first_command_of_each_connection() -> None:
    start: list[dict[str, object]] = [{"ev": "start", "domid": 0}]
    later = [*command(2), *command(3)]
    assert [each.follows for each in commands_of([*start, *connect(5), *command(1), *later], Device(5, 0))] == [
        True, True, True,
    ]  # fmt: skip
    assert [each.follows for each in commands_of([*start, *connect(5), *later], Device(5, 0))] == [False, True]
    # one that begins later may have missed some
    assert [each.follows for each in commands_of([*connect(5), *later], Device(5, 0))] == [True, True]


def test_two_devices_of_one_backend_are_told_apart_by_the_number_of_their_commands() -> None:
    lines = [*connect(5), *command(1), *command(2), *connect(6), *command(1), *command(3)]
    log = read_log("\n".join(map(json.dumps, lines)).encode(), "log")
    numbers = {
        device.domain: [event.number for event in events if isinstance(event, Commanded)]
        for device, events in log.backend.items()
    }
    assert numbers == {5: [1, 2, 3], 6: [1]}
    assert log.remarks == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"ev": "watch", "path": "/lo', "is not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"ev": "suspend"}', "an event that is not known: suspend"),
        (b'{"ev": "write", "path": "/local/domain/0/name", "value": 1}', "expected a node of a vTPM device"),
        (b'{"ev": "event", "why": "evtchn", "length": -1, "state": 1}', "length is -1, expected a number from 0"),
        (b'{"ev": "command", "n": 1, "cmd": "0g", "rsp": "", "locality": 0}', "no event before it tells the device"),
        (b'{"ev": "start", "domid": "x"}', "domid is x, expected a number from 0 to 65535"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "a line of 600001 bytes; at most 65536 are read"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested deeper than"),
        (b'{"ev": "\xff"}', "an event that is not known"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_by_its_number(line: bytes, why: str) -> None:
    log = read_log(b"\n" + line + b"\n", "log")
    assert [remark.origin.line for remark in log.remarks] == [2]
    assert why in str(log.remarks[0])
    assert not log.backend


@pytest.mark.parametrize("before", [b"", b"MemTotal: 112456 kB "])  # whoever writes a line may be in the middle of it
def test_on_a_console_other_text_is_passed_over(before: bytes) -> None:
    line = before + b'{"ev": "write", "path": "' + BACKEND.encode() + b'/state", "value": 2}\r\n'
    log = read_log(b"[    0.0] Linux\nPCR-00: 00\n" + line, "console", console=True)
    assert log.remarks == []
    (commit,) = log.backend[SEVEN]
    assert isinstance(commit, Commit)
    assert [(c.node, c.value) for c in commit.changes] == [("state", "2")]
    assert isinstance(commit.changes[0], Change)


def test_on_a_console_a_line_that_is_cut_is_told() -> None:
    log = read_log(b'PCR-00: {"ev": "write", "pa[    0.0] Linux\n', "console", console=True)
    assert [remark.origin.line for remark in log.remarks] == [1]


# ------------------------------------------------------------------------------------------------------ the folder


def test_a_folder_without_a_device_has_none(tmp_path: Path) -> None:
    (tmp_path / "backend.jsonl").write_bytes(gzip.decompress((RECORDED / "h1-fast/backend-port.jsonl.gz").read_bytes()))
    recording = read_folder(tmp_path)
    assert (recording.devices, recording.files, recording.remarks) == ([], ["backend.jsonl"], [])


def test_a_folder_that_holds_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a1.cfg").write_text("")
    with pytest.raises(BadInput, match="holds no recording"):
        read_folder(tmp_path)
    with pytest.raises(BadInput, match="is not a directory"):
        read_folder(tmp_path / "a1.cfg")


def test_a_packed_source_that_was_cut_off_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = (RECORDED / "canned-attach-detach-tpm2-errors/xenstored.trace.gz").read_bytes()
    (tmp_path / "xenstored.trace.gz").write_bytes(whole[: len(whole) // 2])
    recording = read_folder(tmp_path)
    assert [str(each.device) for each in recording.devices][:1] == ["1/0"]
    assert any("does not unpack" in remark.why for remark in recording.remarks)


def test_two_recorders_of_one_device_each_get_all_that_was_seen(tmp_path: Path) -> None:
    line = json.dumps({"ev": "write", "path": f"{BACKEND}/state", "value": 2})
    (tmp_path / "backend-a.jsonl").write_text(line)
    (tmp_path / "backend-b.jsonl").write_text(line)
    first, second = read_folder(tmp_path).devices
    assert (first.recorder, second.recorder) == ("backend-a.jsonl", "backend-b.jsonl")
    assert {source.file for source in first.sources} == {source.file for source in second.sources}
    assert all(source.kind is SourceKind.BACKEND for source in first.sources)


def test_paths_that_only_look_like_a_device_are_none() -> None:
    assert place_of("/local/domain/1/device/vtpm/0/state/x") is not None
    for path in ("/local/domain/1/device/vtpm", "/local/domain/1/device/vtpm/a/state", "/local/domain/1/device/vbd/0"):
        assert place_of(path) is None
