"""Mistakes planted in copies of our TIS driver, those of well-known drivers among them: judging finds each in time.

Of mini-os' rows M6, M8, M9, M13, M15 and M17 have no place here: they are about interrupts that a hypervisor binds,
memory that C leaves as it was, and the file interface around the driver.
"""

from __future__ import annotations

import inspect
import time
import types
from itertools import islice
from typing import Any, NamedTuple

import pytest
from tests.impl.tis.judging import Make, judge

from vtpm_impl.tis import driver, fifo, page
from vtpm_impl.tpm import header

BUDGET = 5.0
"""Seconds of processor time until the first sentence that tells of a mistake."""


class Planted(NamedTuple):
    """A place in our driver with its text and the mistake; `like` names a row of mini-os' or another's that has it."""

    sentence: str
    module: types.ModuleType
    old: str
    new: str
    like: str = ""


PLANTED = (
    Planted(
        "a burst count that stays 0 is waited for without an end", fifo,
        "status = page.await_status(_gives_more_or_is_over, times.c + times.d, told)",
        "status = page.await_status(_gives_more_or_is_over, 1e9, told)", "M1",
    ),
    Planted(
        "a burst count that stays 0 within a command is waited for without an end", fifo,
        "status = page.await_status(_takes_more_or_is_complete, times.c + times.d, told)",
        "status = page.await_status(_takes_more_or_is_complete, 1e9, told)", "M1",
    ),
    Planted(
        "a size below that of a header is believed", fifo,
        "if not header.SIZE <= size <= BUFFER:", "if not size <= BUFFER:", "M2",
    ),
    Planted(
        "a size beyond the buffer is believed", fifo,
        "if not header.SIZE <= size <= BUFFER:", "if not header.SIZE <= size:", "M2",
    ),
    Planted(
        "a response that ends early is a response", fifo,
        """raise MalformedResponse(f"a response ends after {len(response)} bytes: {_told(status)}")""", "break", "M3",
    ),
    Planted(
        "of the burst count only the lower half is looked at, and taken for more", fifo,
        "until = min(sent + burst_count(status), len(command))",
        "until = min(sent + (burst_count(status) | 0xFF), len(command))", "M4",
    ),
    Planted(
        "the last byte is written without a burst count", fifo,
        "until = min(sent + burst_count(status), len(command))",
        "until = sent + burst_count(status); until = len(command) if until >= len(command) - 1 else until", "M5",
    ),
    Planted(
        "the interval between two looks does not end", page,
        "            if left <= 0:\n                told =", "            if left <= -9e9:\n                told =",
        "M7",
    ),
    Planted(
        "a command that was dropped is waited for to the end, and longer", driver,
        "if status & _COMMAND_READY:", "if status == 0x40:", "M10",
    ),
    Planted(
        "all ones are a status like any other", page,
        "if status & registers.NOT_OURS:", "if False:", "M11",
    ),
    Planted(
        "a seizure is not told from a reset", page,
        "if access & _BEEN_SEIZED:\n                raise", "if False:\n                raise", "M11",
    ),
    Planted(
        "after an error the locality is kept", driver,
        "    page.command(_COMMAND_READY)\n    page.give_back()\n", "    page.command(_COMMAND_READY)\n", "M12",
    ),
    Planted(
        "after an error the command is not dropped", driver,
        "    page.command(_COMMAND_READY)\n    page.give_back()\n", "    page.give_back()\n", "M12",
    ),
    Planted(
        "the size in the header is not compared with the bytes that are there", driver,
        "if not header.is_whole(command) or len(command) > BUFFER:", "if len(command) > BUFFER:", "M14",
    ),
    Planted(
        "the TPM is kept although another one waits", driver,
        "if page.is_wanted_by_others():", "if page.is_wanted_by_others() and False:", "M16",
    ),
    Planted(
        "Expect is not looked at before go", fifo,
        "        if status & _EXPECT:\n", "        if False:\n", "SeaBIOS",
    ),
    Planted(
        "Expect is believed though the status is not valid", fifo,
        "status = page.await_status(_is_valid, times.c, f\"had no valid status after {sent}",
        "status = page.status()  # ",
        "edk2",
    ),
    Planted(
        "left-over data is dropped without a word", fifo,
        """raise MalformedResponse(f"there is more after the {size} bytes of a response: {_told(status)}")""", "pass",
        "u-boot",
    ),
    Planted(
        "the burst count of a response is exceeded by one", fifo,
        "credit -= size\n", "credit -= size if credit > size else 0\n", "edk2",
    ),
    Planted(
        "a response is awaited for two seconds, whatever the command", driver,
        "self._durations[duration(command)] if timeout is None else timeout", "0.75", "edk2",
    ),
    Planted(
        "words are written to a FIFO that takes bytes", driver,
        "(4, 2, 1) if words else (1,)", "(4, 2, 1)",
    ),
    Planted(
        "words are read with their bytes turned", page,
        """8 * size).to_bytes(size, "little")""", """8 * size).to_bytes(size, "big")""",
    ),
    Planted(
        "a command is begun before the device is ready", fifo,
        """status = self._page.await_status(_is_ready, self._page.timeouts.b, "did not become ready (B)")""",
        "status = self._page.status()",
    ),
    Planted(
        "a command is written without a request for the locality", page,
        "        self.write(ACCESS, by)\n", "        return\n", "SeaBIOS",
    ),
    Planted(
        "dataAvail is believed though the status is not valid", fifo,
        "return status & (_VALID | _DATA_AVAIL) == _VALID | _DATA_AVAIL", "return status & _DATA_AVAIL != 0",
    ),
    Planted(
        "a response that made no sense is not read again", fifo,
        "for _ in range(RETRIES):", "for _ in range(0):",
    ),
    Planted(
        "a response that makes no sense is read again for ever", fifo,
        "for _ in range(RETRIES):", "while True:",
    ),
    Planted(
        "a request that was not granted is left standing", page,
        "            self.write(ACCESS, Access.ACTIVE_LOCALITY)  # takes the request back\n", "",
    ),
    Planted(
        "the last response stays in the device for whoever comes next", driver,
        "            page.command(_COMMAND_READY)\n            if page.is", "            if page.is",
    ),
    Planted(
        "two commands are written to STS at once", driver,
        "page.command(Sts.GO)", "page.command(Sts.GO | Sts.COMMAND_READY)",
    ),
)  # fmt: skip


def with_mistake(planted: Planted) -> Make:
    """What makes a driver that has the mistake: the driver's modules anew, one of them from a changed source."""
    modules: dict[str, Any] = {}
    for module in (page, fifo, driver):
        source = inspect.getsource(module)
        if module is planted.module:
            assert source.count(planted.old) == 1, f"{planted.old!r} stands {source.count(planted.old)} times"
            source = source.replace(planted.old, planted.new)
        copy = types.ModuleType(module.__name__)
        exec(compile(source, module.__name__, "exec", dont_inherit=True), copy.__dict__)
        for name, earlier in modules.items():
            for attribute in vars(copy).keys() & vars(earlier).keys():
                if getattr(vars(earlier)[attribute], "__module__", None) == name:
                    setattr(copy, attribute, vars(earlier)[attribute])
        modules[module.__name__] = copy
    made = modules[driver.__name__].Driver
    return lambda port, clock: made(port, clock=clock)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.sentence.replace(" ", "-"))
def test_a_planted_mistake_is_found_within_the_budget(planted: Planted) -> None:
    began = time.process_time()
    found = list(islice(judge(with_mistake(planted)), 1))
    seconds = time.process_time() - began
    assert found
    assert seconds < BUDGET, f"{seconds:.1f} s of processor time"


def test_the_copies_are_faithful() -> None:
    nothing = Planted("", header, "", "")
    assert not list(islice(judge(with_mistake(nothing), seeds=1), 1))
