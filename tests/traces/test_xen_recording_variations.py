"""Recordings of other runs: real ones renumbered, repeated, cut, mixed and incomplete, and what becomes of them."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from vtpm_traces.recordings.xen import read_contents, read_sources
from vtpm_traces.recordings.xen_verdict import DeviceVerdict, judge_device
from vtpm_traces.verdict import Outcome

RECORDED = Path(__file__).parents[2] / "traces" / "recorded" / "linux-frontend"
ABOVE = re.compile(rb'"path": "/local/domain/0/backend/vtpm(/\d+)?"')


def contents(folder: str) -> dict[str, bytes]:
    return read_contents(RECORDED / folder)[0]


def lines(folder: str, file: str) -> list[bytes]:
    return contents(folder)[file].strip().split(b"\n")


def judged(sources: Mapping[str, bytes]) -> list[DeviceVerdict]:
    return [judge_device(device) for device in read_sources("a folder", sources).devices]


def accepted(log: Iterable[bytes], devices: int = 1) -> None:
    """A backend's log of these lines shows so many devices, each of which is explained by the true model."""
    found = judged({"backend.jsonl": b"\n".join(log) + b"\n"})
    assert [verdict.accepted_by for verdict in found] == ["device.linux"] * devices


def of_domain(line: bytes, domain: int) -> bytes:
    line = re.sub(rb"(/local/domain/)1(/device|\")", rb"\g<1>%d\2" % domain, line)
    line = re.sub(rb"(backend/vtpm/)1([/\"])", rb"\g<1>%d\2" % domain, line)
    return re.sub(rb'(frontend-id"(?:, "token": "be", "value")?: )"1"', rb'\1"%d"' % domain, line)


def of_handle(line: bytes, handle: int) -> bytes:
    line = re.sub(rb"(device/vtpm|backend/vtpm/\d+)/0", rb"\1/%d" % handle, line)
    return re.sub(rb'(handle"(?:, "token": "be", "value")?: )"0"', rb'\1"%d"' % handle, line)


def of_driver_domain(line: bytes, domain: int) -> bytes:
    line = line.replace(b"/local/domain/0/backend", b"/local/domain/%d/backend" % domain)
    return line.replace(b'"domid": 0', b'"domid": %d' % domain)


H1 = ("h1-fast", "backend-canned.jsonl.gz")
H2 = ("h2-virtioserial-reload", "backend-port.jsonl.gz")


@pytest.mark.parametrize(("recording", "devices"), [(H1, 1), (H2, 3)])
def test_domains_and_handles_are_only_names(recording: tuple[str, str], devices: int) -> None:
    real = lines(*recording)
    accepted([of_domain(line, 4711) for line in real], devices)
    accepted([of_handle(line, 51712) for line in real], devices)
    accepted([of_driver_domain(line, 7) for line in real], devices)


def test_a_device_may_be_attached_again_and_again() -> None:
    real = lines(*H1)
    accepted([*real[:2], *real[2:] * 6])


def mixed(streams: Iterable[list[bytes]], seed: int) -> list[bytes]:
    """The lines of several devices in one log. What the backend writes in one go stays together."""
    chance = random.Random(seed)
    queues = []
    for stream in streams:
        groups: list[list[bytes]] = []
        for line in stream:
            kind = json.loads(line)["ev"]
            inside = bool(groups) and (
                kind in ("command", "connected")
                or (kind == "event" and b'"connect"' in line)
                or (kind == "write" and b'"connected"' in groups[-1][-1])
            )
            if inside:
                groups[-1].append(line)
            elif not ABOVE.search(line):  # the directory of all devices stays while there is another
                groups.append([line])
        queues.append(groups)
    found: list[bytes] = []
    while any(queues):
        queue = chance.choices(queues, [len(each) for each in queues])[0]
        found += queue.pop(0)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_guests_and_devices_of_a_guest_may_be_mixed_in_one_log(seed: int) -> None:
    real = lines(*H1)
    start, one = real[:2], real[2:]
    other = [of_domain(line, 9) for line in one]
    third = [of_handle(line, 1) for line in one]
    accepted([*start, *mixed([one, other, third], seed)], 3)


@pytest.mark.parametrize("seed", range(1, 5))
def test_commands_of_two_guests_are_told_apart_by_the_page_and_the_count(seed: int) -> None:
    real = lines(*H2)
    third = next(n for n, line in enumerate(real) if b"vtpm/3/0" in line)
    second = next(n for n, line in enumerate(real) if b"vtpm/2/0" in line)
    accepted([*real[:2], *mixed([real[second:third], real[third:]], seed)], 2)


def test_where_lines_may_be_of_either_of_two_guests_a_refusal_is_none() -> None:
    real = lines(*H1)
    log = [*real[:2], *mixed([real[2:], [of_domain(line, 9) for line in real[2:]]], 0)]
    spoilt = [line for line in log if b'"ev": "connected"' not in line or b'"page": "0000' not in line]
    sources = read_sources("a folder", {"backend.jsonl": b"\n".join(spoilt)})
    for device in sources.devices:
        if any(source.doubtful for source in device.sources):
            assert judge_device(device).outcome is not Outcome.REFUSED


def test_whatever_a_log_ends_with_it_is_no_reason_to_refuse() -> None:
    real = lines(*H1)
    for length in range(4, len(real), 3):
        accepted(real[:length])


def test_the_rest_of_a_log_is_not_decided() -> None:
    real = lines(*H1)
    for first in (1, 4, 8, 20, 30):
        for verdict in judged({"backend.jsonl": b"\n".join(real[first:])}):
            assert verdict.outcome is Outcome.UNDECIDED
            assert "does not begin with its recorder's start" in verdict.verdict.reason


@pytest.mark.parametrize("folder", ["pv-tpm12-swtpm", "canned-attach-detach-tpm2-errors"])
def test_any_of_the_files_tells_the_same_of_less(folder: str) -> None:
    whole = contents(folder)
    for names in itertools.chain.from_iterable(itertools.combinations(whole, n) for n in range(1, len(whole))):
        found = judged({name: whole[name] for name in names})
        assert found
        assert all(verdict.outcome is Outcome.ACCEPTED for verdict in found), names


def test_the_order_of_keys_and_what_is_unknown_in_a_line_say_nothing() -> None:
    def turned(line: bytes) -> bytes:
        fields = {**json.loads(line), "more": {"of": ["this"]}}
        for name in ("keys", "fekeys"):
            if name in fields:
                fields[name] = dict(reversed(fields[name].items()))
        return json.dumps(dict(reversed(fields.items()))).encode()

    accepted([turned(line) for line in lines(*H1)])


@pytest.mark.parametrize("seed", range(4))
def test_binary_garbage_on_a_console_is_somebody_elses(seed: int) -> None:
    chance = random.Random(seed)
    found = []
    for line in lines(*H1):
        found += [b"[ 1.0] " + chance.randbytes(chance.randrange(60)).replace(b"\n", b"{"), line]
    verdicts = judged({"console/guest.log": b"\r\n".join(found)})
    assert [verdict.accepted_by for verdict in verdicts] == ["device.linux"]


def test_no_garbage_is_more_than_a_remark() -> None:
    chance = random.Random(1)
    real = lines(*H1)
    for _ in range(40):
        log = list(real)
        spoilt = bytearray(log[(at := chance.randrange(len(log)))])
        for _ in range(chance.randrange(1, 6)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        log[at] = bytes(spoilt)
        for device in read_sources("a folder", {"backend.jsonl": b"\n".join(log)}).devices:
            assert device.sources
    assert not read_sources("a folder", {"backend.jsonl": b"", "xswatch.jsonl": b"\0" * 100}).devices
