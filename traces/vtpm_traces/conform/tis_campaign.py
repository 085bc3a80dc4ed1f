"""Campaigns for a driver of the TIS, which meets devices that the model plays, and for a TPM, which runs programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from vtpm_model.tis_device import TIS_DEVICE
from vtpm_traces.conform import script, tis_driver, tis_nonsense, tis_program, tis_subject
from vtpm_traces.conform.script import Script
from vtpm_traces.conform.subject import Fault
from vtpm_traces.conform.tis_program import DeviceProcess
from vtpm_traces.conform.tis_subject import DriverProcess
from vtpm_traces.conform.trial import Judged, Played, Trial, kept_script, kept_scripts
from vtpm_traces.recordings.tis_accesses import Access, Found, judge
from vtpm_traces.recordings.tis_trace import line_of
from vtpm_traces.verdict import Outcome

DRIVER_SANITY: Final = "accept/quick-0"
DEVICE_SANITY: Final = "accept/ownership"


@dataclass
class DriverCampaign(Trial[DriverProcess]):
    """What is asked of a driver: on devices that keep the rules, break them, are seized, or read anything."""

    suffix = ".trace"
    parse_line = staticmethod(tis_nonsense.parse_line)

    def __post_init__(self) -> None:
        self.end = tis_subject.END
        self._runs = {run.name: run for run in tis_driver.runs()}

    @contextmanager
    def player(self) -> Iterator[DriverProcess]:
        with DriverProcess(self.command, self.patience) as process:
            process.meet()
            self.name = process.name
            yield process

    def kept(self) -> list[str]:
        return list(self._runs)

    def script(self, run: str) -> Script:
        """A kept run has no lines: what is played depends on what the driver does."""
        kept = self._runs.get(run)
        return Script(run, kept.doc, ()) if kept else tis_nonsense.draw(self.seed, int(run.partition("/")[2]))

    def sanity(self) -> Script:
        return self.script(DRIVER_SANITY)

    def judged(self, player: DriverProcess, script: Script) -> Played:
        player.log.clear()
        kept = self._runs.get(script.name)
        if kept is None and not any(line.startswith("command ") for line in script.lines):
            return Played(script, Judged("no command is given to the driver", undecided=True), ())
        try:
            wrong = kept.play(player.driver) if kept else tis_driver.plays(player.driver, lines=script.lines)
            sentence = next(wrong, "")
        except Fault as fault:
            sentence = str(fault)
            player.stop()
        return Played(script, Judged(sentence, re.sub(r"\d+", "0", sentence)), tuple(player.log))

    def source(self, run: str) -> str:
        drawn = run.startswith("random/")
        return f"traces/vtpm_traces/conform/tis_{'nonsense' if drawn else 'driver'}.py"


@dataclass
class DeviceCampaign(Trial[DeviceProcess]):
    """What is asked of a TPM behind the TIS: programs of accesses, after each of which it is reset."""

    suffix = ".trace"
    parse_line = staticmethod(tis_program.parse_line)

    def __post_init__(self) -> None:
        self.end = tis_program.END

    @contextmanager
    def player(self) -> Iterator[DeviceProcess]:
        with DeviceProcess(self.command, self.patience) as process:
            process.meet()
            self.name = process.name
            yield process

    def kept(self) -> list[str]:
        return kept_scripts(self.end)

    def script(self, run: str) -> Script:
        kind, _, name = run.partition("/")
        if kind == "random":
            return tis_program.draw(self.seed, int(name))
        return kept_script(self.end, run, partial(script.read, check=tis_program.parse_line))

    def sanity(self) -> Script:
        return self.script(DEVICE_SANITY)

    def judged(self, player: DeviceProcess, script: Script) -> Played:
        accesses: list[Access] = []
        try:
            identity = player.identity()
            for access in player.play(script):
                accesses.append(access)  # noqa: PERF402 -- what was made before a fault is told, too
        except Fault as fault:
            found = Judged(str(fault), "fault")
        else:
            found = _told(judge(script.name, accesses, identity))
        return Played(script, found, tuple(line_of(access.origin.text) for access in accesses))

    def source(self, run: str) -> str:
        if run.startswith("random/"):
            return "traces/vtpm_traces/conform/tis_program.py"
        return f"traces/scripts/{self.end}/{run}.script"


def _told(found: Found) -> Judged:
    """Which access the true specification does not allow, and whether a variant of it would."""
    verdict = found.verdicts[TIS_DEVICE.name]
    if verdict.accepted:
        return Judged()
    if verdict.outcome is not Outcome.REFUSED:
        return Judged(f"{verdict.outcome.value}: {verdict.reason}", undecided=True)
    origin = verdict.stuck[0].origin
    like = f", but is what {' and '.join(found.accepted_by)} does" if found.accepted_by else ""
    sentence = f"access {origin.line}, {origin.text}, is not what the specification allows{like}"
    return Judged(sentence, origin.text.partition(" ")[0], origin.line)
