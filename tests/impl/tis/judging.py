"""Our driver, or a copy of it, judged in this process by the runs of the harness."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.errors import TisError
from vtpm_traces.conform.tis_device import Clock, TooLong
from vtpm_traces.conform.tis_driver import Failed, Port, Transmitter, plays, runs
from vtpm_traces.conform.tis_nonsense import draw

Make = Callable[[Port, Clock], Driver]


class InProcess:
    """A driver here; whatever it raises is told to the harness."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        try:
            return self._driver.transmit(command, locality=locality)
        except TooLong:
            raise
        except TisError as error:
            raise Failed(type(error).__name__, str(error)) from error
        except Exception as error:
            raise Failed(f"a crash: {error!r}", "it crashed") from error


def judge(make: Make, *, seeds: int = 2) -> Iterator[str]:
    """What is wrong with the driver, sentence by sentence."""

    def transmitter(port: Port, clock: Clock) -> Transmitter:
        return InProcess(make(port, clock))

    for number in range(40 * seeds):
        script = draw(0, number)
        yield from (f"{script.name}: {wrong}" for wrong in plays(transmitter, lines=script.lines))
    for run in runs(seeds):
        yield from (f"{run.name}: {wrong}" for wrong in run.play(transmitter))
