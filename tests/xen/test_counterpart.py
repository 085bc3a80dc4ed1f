"""Toolstack and backend as a script plays them, without Xen: on this host, against our own frontend."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.impl.host.guests import store
from tests.xen.inside.canned import DURATIONS, HEADER, TIMEOUTS, answer_to, sized
from tests.xen.inside.counterpart import Counterpart
from tests.xen.inside.serving import packed

from vtpm_impl.ring.frontend import RingError
from vtpm_impl.xen.host.platform import HostDomain
from vtpm_impl.xen.xenstore.client import Client
from vtpm_impl.xen.xenstore.server import socket_path
from vtpm_impl.xenbus.frontend import Frontend, FrontendError, await_device
from vtpm_traces.conform.linux_script import PCR_READ, parse

BACKEND, GUEST = 9, 3


@pytest.fixture(name="run")
def run_directory() -> Iterator[Path]:
    with store() as run:
        yield run


class Application(threading.Thread):
    """The guest: our frontend opens its device, and does what is asked for in the guest's nodes."""

    def __init__(self, domain: HostDomain, client: Client) -> None:
        super().__init__(daemon=True)
        self.over = False
        self._last: bytes | None = None
        self._platform = domain.platform()
        self._client = client

    def run(self) -> None:
        await_device(self._platform, timeout=10)
        frontend = Frontend(self._platform)
        frontend.open()
        while not self.over:
            frontend.attend()  # closes where the backend does
            self._answer(frontend)
            time.sleep(0.005)

    def _answer(self, frontend: Frontend) -> None:
        """Do what is asked for, if something is."""
        path = f"/local/domain/{GUEST}/data"
        asked = self._client.read_or_none(f"{path}/ask")
        if asked and asked != self._last:
            self._last = asked
            request = json.loads(asked)
            value = self._do(frontend, request)
            self._client.write(f"{path}/answer", packed({"n": request["n"], "value": value}))

    def _do(self, frontend: Frontend, request: dict[str, Any]) -> Any:
        if request["do"] != "call":
            return True
        what = request["with"]["command"]
        data = sized(int(what.split()[1])) if what.startswith("size") else bytes.fromhex(what)
        try:
            got = frontend.transmit(data, timeout=5)
        except (FrontendError, RingError) as error:
            return {"error": type(error).__name__}
        return {"length": len(got), "digest": hashlib.sha256(got).hexdigest()}


def played(run: Path, *lines: str) -> dict[str, Any]:
    with (
        HostDomain(run, BACKEND) as backend, HostDomain(run, GUEST) as guest,
        Client.connect(socket_path(run, 0)) as client, Client.connect(socket_path(run, 0)) as other,
    ):  # fmt: skip
        application = Application(guest, other)
        application.start()
        script = parse("test", lines)
        result = Counterpart(backend.platform(), client, GUEST, 0, 1.0).play(list(script.lines))
        application.over = True
        application.join(10)
        result["log"] = [json.loads(line) for line in result["log"]]
        return result


def told(result: dict[str, Any], event: str) -> list[dict[str, Any]]:
    return [line for line in result["log"] if line["ev"] == event]


def test_a_device_is_opened_used_and_closed(run: Path) -> None:
    result = played(run, "open", "ask", "call size 4088", "request", "answer", "result", "rest", "close")
    assert (result["error"], result["dirty"]) == ("", "")
    assert [line["length"] for line in told(result, "result")] == [30, 4088]
    requests = [line for line in told(result, "looked") if line["state"] == 1]
    assert [line["length"] for line in requests] == [14, 4088]
    assert [line["digest"] for line in requests] == [line["digest"] for line in told(result, "calls")]
    (mapped,) = told(result, "mapped")
    assert str(mapped["ring_ref"]).isdigit()
    assert len(told(result, "unmapped")) == len(told(result, "rested")) == 1


def test_what_the_script_stores_is_what_is_told_of_the_page(run: Path) -> None:
    reply = answer_to(bytes.fromhex(PCR_READ)).hex()
    stores = (f"put 4095 - 7 {reply}", "put 9 7 0", f"put 30 2 - {reply}")
    result = played(run, "open", f"call {PCR_READ}", "request", *stores, "notify", "result")
    keys = ("length", "state", "nr_extra_pages", "named")
    assert [tuple(line[key] for key in keys) for line in told(result, "stored")] == [
        (4095, 1, 7, 30), (9, 7, 0, 14), (30, 2, 0, 30),
    ]  # fmt: skip
    assert told(result, "result")[0]["digest"] == hashlib.sha256(bytes.fromhex(reply)).hexdigest()


def test_a_line_that_waits_in_vain_ends_the_script_and_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.xen.inside.counterpart.LIMIT", 0.5)
    result = played(run, "open", "await 6", "call size 20")
    (rested,) = told(result, "rested")
    assert rested["vain"].startswith("await 6: not within")
    assert not told(result, "calls")
    assert result["error"] == ""


def test_a_line_that_means_nothing_is_an_error_of_the_harness(run: Path) -> None:
    with HostDomain(run, BACKEND) as backend, Client.connect(socket_path(run, 0)) as client:
        counterpart = Counterpart(backend.platform(), client, GUEST, 0, 1.0)
        with pytest.raises(ValueError, match="is no line of a script"):
            counterpart.play(["nonsense"])


def test_the_canned_tpm_answers_whole_packets_that_say_what_linux_asks_for() -> None:
    def capability(which: int) -> bytes:
        return HEADER.pack(0xC1, 22, 0x65) + bytes((0, 0, 0, 5, 0, 0, 0, 4)) + which.to_bytes(4, "big")

    times = (300_000, 500_000)
    commands = (capability(TIMEOUTS), capability(DURATIONS), bytes.fromhex(PCR_READ), sized(10), sized(4088))
    answers = [answer_to(command, times) for command in commands]
    assert [len(one) for one in answers] == [30, 26, 30, 10, 4088]
    assert all(HEADER.unpack(one[:10]) == (0xC4, len(one), 0) for one in answers)
    assert [int.from_bytes(answers[0][at : at + 4], "big") for at in range(14, 30, 4)] == [times[0]] * 4
    assert [int.from_bytes(answers[1][at : at + 4], "big") for at in range(14, 26, 4)] == [times[1]] * 3
