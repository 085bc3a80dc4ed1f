"""The verdicts on the kept recordings of a Linux frontend, and on small ones with a mistake in them."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from vtpm_model.device import LINUX
from vtpm_traces.files import BadInput
from vtpm_traces.recordings.xen import read_contents, read_sources
from vtpm_traces.recordings.xen_verdict import (
    FolderVerdict,
    as_document,
    check_recordings,
    judge_device,
    judge_folder,
)
from vtpm_traces.verdict import Outcome

RECORDED = Path(__file__).parents[2] / "traces" / "recorded" / "linux-frontend"
TRUE, QUICK = "device.linux", "device.linux+recorder-backend"


@pytest.fixture(scope="module")
def canned() -> FolderVerdict:
    return judge_folder(RECORDED / "canned-attach-detach-tpm2-errors")


@pytest.mark.parametrize(
    ("folder", "verdicts"),
    [
        ("h1-fast", [("backend-canned.jsonl.gz", 1, 0)]),
        (
            "h2-virtioserial-reload",
            [("backend-port.jsonl.gz", 1, 0), ("backend-port.jsonl.gz", 2, 0), ("backend-port.jsonl.gz", 3, 0)],
        ),
        ("pv-python-front-and-tis", [("backend.jsonl.gz", 1, 0)]),
        ("pv-tpm12-swtpm", [("backend.jsonl.gz", 1, 0)]),
        ("three-domain-tis-chain", [("console/guest-mgr.log.gz", 2, 0), ("console/guest-vtpm1.log.gz", 3, 0)]),
    ],
)
def test_what_linux_libxl_and_xenstored_did_is_a_run_of_the_true_model(
    folder: str, verdicts: list[tuple[str, int, int]]
) -> None:
    verdict = judge_folder(RECORDED / folder)
    assert [(each.recorder, each.domain, each.handle) for each in verdict.devices] == verdicts
    for device in verdict.devices:
        assert (device.outcome, device.accepted_by, device.forbidden) == (Outcome.ACCEPTED, TRUE, ())
    assert verdict.accepted


def test_the_backends_write_to_a_removed_node_is_told_by_file_line_and_fact(canned: FolderVerdict) -> None:
    first, second, third = canned.devices
    assert (second.accepted_by, third.accepted_by) == (TRUE, TRUE)
    assert (third.recorder, third.domain, third.sources) == ("xenstored.trace.gz", 3, ("xenstored.trace.gz",))
    assert first.accepted_by == QUICK
    assert first.refused is not None
    assert first.refused.outcome is Outcome.REFUSED
    assert [(each.origin.file, each.origin.line, each.fact) for each in first.forbidden] == [
        ("backend-canned.jsonl.gz", 102, "a_removed_node_is_not_written"),
        ("xenstored.trace.gz", 3820, "a_removed_node_is_not_written"),
    ]
    [stuck] = first.refused.stuck
    assert stuck.origin.line == 3820
    assert {told.partition("(")[0] for told in stuck.possible} <= {action.name for action in LINUX.actions}


def test_the_completed_run_explains_every_line_and_shows_no_notes_of_the_reader(canned: FolderVerdict) -> None:
    run = canned.devices[1].run
    assert run[0].action == "toolstack_creates"
    assert sum(taken.action == "backend_finishes" for taken in run) == 6
    assert all(not taken.action.startswith("recorder") for taken in run)


def test_the_json_has_a_place_for_each_finding(canned: FolderVerdict) -> None:
    document = json.loads(json.dumps(as_document(canned)))
    assert document["accepted"] is True
    assert document["devices"][0]["accepted_by"] == QUICK
    assert {(each["file"], each["line"]) for each in document["devices"][0]["forbidden"]} == {
        ("backend-canned.jsonl.gz", 102),
        ("xenstored.trace.gz", 3820),
    }
    assert "00c1" not in json.dumps(document)


def test_a_folder_without_a_device_is_empty_and_accepted(tmp_path: Path) -> None:
    (tmp_path / "backend.jsonl").write_bytes(gzip.decompress((RECORDED / "h1-fast/backend-port.jsonl.gz").read_bytes()))
    verdict = judge_folder(tmp_path)
    assert verdict.empty
    assert verdict.accepted
    assert as_document(verdict)["devices"] == []


def told_of(folder: Path, document: object) -> FolderVerdict:
    (folder / "backend.jsonl").write_bytes(gzip.decompress((RECORDED / "h1-fast/backend-canned.jsonl.gz").read_bytes()))
    (folder / "recording.json").write_text(json.dumps(document))
    return judge_folder(folder)


SAYS = {"schema": "vtpm-recording/1", "what": "a connection"}


@pytest.mark.parametrize("system", ["device", "device.linux"])
def test_a_folder_says_what_a_frontend_is_held_against(tmp_path: Path, system: str) -> None:
    (device,) = told_of(tmp_path, {**SAYS, "frontends": {"1": system}}).devices
    assert (device.outcome, device.accepted_by) == (Outcome.ACCEPTED, system)


def test_what_keeps_no_rule_is_not_judged(tmp_path: Path) -> None:
    assert told_of(tmp_path, {**SAYS, "frontends": {"1": None}}).empty


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({**SAYS, "schema": "vtpm-recording/2", "frontends": {}}, "schema vtpm-recording/2 is not known here"),
        ([], "schema None is not known here"),
        (SAYS, "'frontends' is a required property"),
        ({**SAYS, "frontends": {"1": "ring"}}, "'ring' is not one of"),
        ({**SAYS, "frontends": {"one": "device"}}, "'one' does not match"),
        ({**SAYS, "frontends": {}, "by": "me"}, "'by' was unexpected"),
    ],
)
def test_a_folder_that_says_what_cannot_be_is_refused(tmp_path: Path, document: object, why: str) -> None:
    with pytest.raises(BadInput, match=re.escape(why)):
        told_of(tmp_path, document)


def test_the_kept_table_says_what_is_found() -> None:
    checked = check_recordings()
    assert checked.shortfalls == ()
    assert dict(checked.figures) == {"recordings": 7, "devices": 14, "accepted": 13, "refused": 1}


# ----------------------------------------------------------------------------------------- recordings of other runs

H1 = [
    line for line in gzip.decompress((RECORDED / "h1-fast/backend-canned.jsonl.gz").read_bytes()).split(b"\n") if line
]

OTHER_DEVICE = {
    b"/vtpm/1/0": b"/vtpm/7/3",
    b"domain/1/device/vtpm/0": b"domain/7/device/vtpm/3",
    b'backend/vtpm/1"': b'backend/vtpm/7"',
    b'"frontend-id": "1"': b'"frontend-id": "7"',
    b'"handle": "0"': b'"handle": "3"',
    b'3/frontend-id", "token": "be", "value": "1"': b'3/frontend-id", "token": "be", "value": "7"',
    b'3/handle", "token": "be", "value": "0"': b'3/handle", "token": "be", "value": "3"',
}


def as_other_device(line: bytes) -> bytes:
    for old, new in OTHER_DEVICE.items():
        line = line.replace(old, new)
    return line


def accepted_by(contents: dict[str, bytes]) -> dict[str, str | None]:
    return {f"{d.domain}/{d.handle}": d.accepted_by for d in map(judge_device, read_sources("", contents).devices)}


def test_neither_domain_nor_handle_is_known_beforehand() -> None:
    lines = [as_other_device(line) for line in H1]
    assert accepted_by({"backend.jsonl": b"\n".join(lines)}) == {"7/3": TRUE}


def test_one_backend_may_serve_two_devices_at_a_time() -> None:
    other = [as_other_device(line) for line in H1[2:-1]]
    lines = [*H1[:18], *other[:26], *H1[18:28], *other[26:], *H1[28:]]
    assert accepted_by({"backend.jsonl": b"\n".join(lines)}) == {"1/0": TRUE, "7/3": TRUE}


@pytest.mark.parametrize("length", [4, 10, 20, 23, 30])
def test_a_log_that_was_cut_off_shows_what_it_shows(length: int) -> None:
    assert accepted_by({"backend.jsonl": b"\n".join(H1[:length]) + b'\n{"t": 3, "ev'}) == {"1/0": TRUE}


def test_a_backend_that_starts_again_has_forgotten_what_it_served() -> None:
    assert accepted_by({"backend.jsonl": b"\n".join([*H1[:24], H1[0]])}) == {"1/0": TRUE}
    assert accepted_by({"backend.jsonl": b"\n".join([*H1[:24], H1[0], *H1[29:]])}) == {"1/0": None}


@pytest.mark.parametrize("missing", ["backend.jsonl.gz", "xswatch.jsonl.gz", "xenstored.trace.gz"])
def test_any_of_the_sources_may_be_missing(missing: str) -> None:
    contents, _ = read_contents(RECORDED / "pv-tpm12-swtpm")
    del contents[missing]
    assert accepted_by(contents) == {"1/0": TRUE}


def test_a_node_that_says_another_device_is_refused() -> None:
    lines = [line.replace(b'"frontend-id": "1"', b'"frontend-id": "2"') for line in H1]
    assert accepted_by({"backend.jsonl": b"\n".join(lines)}) == {"1/0": None}
