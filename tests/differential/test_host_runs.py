"""Real processes of this host, with faults, against the specification: their event logs are behaviours of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.impl.host.guests import Guest, store
from tests.impl.xenbus.ends import BackendProcess, FrontendProcess, answer, attach, command, detach, frontend

from vtpm_impl.ring.frontend import RingError
from vtpm_impl.xenbus.frontend import Frontend, FrontendError
from vtpm_impl.xenbus.nodes import Device
from vtpm_model.device import DEVICE
from vtpm_traces import log
from vtpm_traces.validate import validate
from vtpm_traces.verdict import Outcome

ENGINE = "slow"
"""It takes as many milliseconds as the command's code says."""


@pytest.fixture(name="logs")
def folder_of_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VTPM_TEST_LOGS", str(tmp_path / "logs"))
    return tmp_path / "logs"


@contextlib.contextmanager
def nobody_takes_a_step(logs: Path) -> Iterator[None]:
    """Hold every log: whoever is killed meanwhile has not left a step without its line."""
    with contextlib.ExitStack() as stack:
        for path in sorted(logs.glob("*.ndjson")):
            fcntl.flock(stack.enter_context(path.open()), fcntl.LOCK_EX)
        yield


def kill(guest: Guest, logs: Path) -> None:
    with nobody_takes_a_step(logs):
        guest.kill()


def refused(logs: Path, domids: tuple[int, ...]) -> list[str]:
    """What is wrong with the logs of these domains' devices."""
    wrong = []
    for domid in domids:
        path = logs / f"{domid}-0.ndjson"
        verdict = validate(DEVICE, log.read(path))
        if verdict.outcome is not Outcome.ACCEPTED:
            wrong.append(f"{path.name}: {'; '.join(map(str, verdict.stuck)) or verdict.reason}")
    return wrong


def actions(logs: Path) -> Counter[str]:
    lines = [line for path in logs.glob("*.ndjson") for line in path.read_text().splitlines()]
    return Counter(line.split('"action": "')[1].split('"')[0] for line in lines if '"action"' in line)


class Play:
    """A backend of the control domain and a frontend, both in processes that are killed, and a frontend in this one."""

    def __init__(self, run: Path, logs: Path, seed: int) -> None:
        self.run, self.logs = run, logs
        self.chance = random.Random(seed)
        self.backend = BackendProcess(run, ENGINE, domid=0)
        self.victim = FrontendProcess(run, 1, 0)

    def go(self, turns: int, here: Frontend) -> None:
        faults: list[Callable[[], None]] = [self.kill_backend, self.kill_victim, self.give_anew, self.spoil]
        quiet: list[Callable[[], None]] = [partial(deed, here) for deed in (self.converse, self.cancel, reopen)]
        for _ in range(turns):
            self.chance.choice([*faults, *quiet])()
            size = self.chance.randrange(12, 4089)
            assert here.transmit(command(size, code=0), timeout=30) == answer(size)
            assert self.victim.ask("converse", 0, 2) == {"answers": 2, "error": None}

    def converse(self, here: Frontend) -> None:
        self.victim.tell("converse", self.chance.randrange(99), 20)
        for _ in range(self.chance.randrange(10)):
            assert here.transmit(command(30, code=1), timeout=30) == answer(30)
        assert self.victim.hear() == {"answers": 20, "error": None}

    def cancel(self, here: Frontend) -> None:
        """One command by its time-out, and one by its caller."""
        with contextlib.suppress(FrontendError, RingError):
            here.transmit(command(code=30), timeout=self.chance.random() * 0.04)
        caller = threading.Timer(self.chance.random() * 0.04, here.cancel)
        caller.start()
        with contextlib.suppress(FrontendError, RingError):
            here.transmit(command(code=30), timeout=30)
        caller.join()

    def kill_backend(self) -> None:
        self.victim.tell("converse", self.chance.randrange(99), 40)
        time.sleep(self.chance.random() * 0.02)
        kill(self.backend, self.logs)
        self.backend = BackendProcess(self.run, ENGINE, domid=0)
        assert self.victim.hear()["error"] in (None, "Malformed")  # what the old one has half written

    def kill_victim(self) -> None:
        self.victim.tell("converse", self.chance.randrange(99), 40)
        time.sleep(self.chance.random() * 0.02)
        kill(self.victim, self.logs)
        self.victim = FrontendProcess(self.run, 1, 0)

    def give_anew(self) -> None:
        """Take the device away in the middle of a command, and give the domain another one."""
        self.victim.tell("converse", self.chance.randrange(99), 100_000)
        time.sleep(self.chance.random() * 0.02)
        detach(self.run, Device(1, 0))
        assert self.victim.hear()["error"] == "DeviceLost"
        attach(self.run, 1, 0)
        self.victim.ask("reopen")

    def spoil(self) -> None:
        """Let a hostile frontend store nonsense meanwhile, whose own log is none of ours to judge."""
        with FrontendProcess(self.run, 2, 0) as hostile:
            hostile.tell("vandalize", self.chance.randrange(99), 0.1)
            self.victim.tell("converse", 1, 20)
            assert self.victim.hear() == {"answers": 20, "error": None}
            hostile.hear()

    def end(self) -> None:
        self.victim.leave()
        self.backend.leave()


def reopen(here: Frontend) -> None:
    here.close()
    here.open()


@pytest.mark.parametrize("seed", range(3))
def test_what_processes_do_on_this_host_is_a_behaviour_of_the_specification(logs: Path, seed: int) -> None:
    with store() as run:
        play = Play(run, logs, seed)
        try:
            with frontend(run, 3, 0) as here:
                play.go(6, here)
            play.end()
        finally:
            play.victim.kill()
            play.backend.kill()
    assert refused(logs, (1, 3)) == []
    seen = actions(logs)
    assert {"frontend_looks", "backend_finishes", "toolstack_creates"} <= seen.keys()
    assert seen["backend_fetches"] > 20


def test_a_log_that_lacks_a_line_is_refused(logs: Path) -> None:
    with store() as run, BackendProcess(run, domid=0) as backend:
        with frontend(run, 3, 0) as here:
            assert here.transmit(command()) == answer()
        backend.leave()
    assert refused(logs, (3,)) == []
    path = logs / "3-0.ndjson"
    lines = path.read_text().splitlines(keepends=True)
    for action in ("frontend_submits", "backend_maps", "backend_finishes", "frontend_publishes", "toolstack_creates"):
        path.write_text("".join(line for line in lines if f'"{action}"' not in line))
        assert refused(logs, (3,)) != [], action


def test_logs_are_written_only_where_they_are_asked_for(tmp_path: Path) -> None:
    assert "VTPM_TEST_LOGS" not in os.environ
    with store() as run, BackendProcess(run, domid=0), frontend(run, 3, 0) as here:
        assert here.transmit(command()) == answer()
    assert list(tmp_path.iterdir()) == []
