"""An engine that is a machine's own TPM, behind the TIS: told by a text such as `devmem,tpmlocality=2,tpmirq=0`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from vtpm_impl.engines import EngineError
from vtpm_impl.tis import registers
from vtpm_impl.tis.devmem import DevMem
from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.errors import TisError
from vtpm_impl.tis.options import OptionError, Options, parse
from vtpm_impl.tis.port import Interrupts, Port
from vtpm_impl.tis.qtest import QTest
from vtpm_impl.tis.registers import Interface
from vtpm_impl.tpm import requests

USAGE = "devmem or qtest:SOCKET, and options of Xen's manager after commas"


def tis_engine(text: str, *, through: Callable[[Port], Port] = lambda port: port) -> Driver:
    """A driver that is ready to be used. `through`: what is put around its port.

    Raises OptionError for a text that names none, and EngineError where there is no TPM.
    """
    port, interrupts, options = registers_at(text)
    return _opened(through(port), interrupts, options)


def registers_at(text: str) -> tuple[Port, Interrupts | None, Options]:
    """The registers that a text names, who tells of their interrupts, and what else it says; raises the same."""
    carrier, *words = text.split(",")
    kind, _, where = carrier.partition(":")
    if not (carrier == "devmem" or (kind == "qtest" and where)):
        raise OptionError(f"{carrier!r} is no way to the TPM's registers: {USAGE} are meant")
    options = parse(words)
    if options.tpmdriver != "tpm_tis":
        raise OptionError(f"'tpmdriver={options.tpmdriver}' is no driver of hardware; here it is tpm_tis")
    if kind == "devmem":
        return DevMem(options.tpmiomem), None, options
    machine = QTest.at(Path(where), base=options.tpmiomem)
    return machine, machine, options


def _opened(port: Port, interrupts: Interrupts | None, options: Options) -> Driver:
    driver = Driver(port, locality=options.tpmlocality)
    try:
        driver.identify()
        if options.tpmirq != 0:
            use_interrupt(driver, interrupts, options.tpmirq)
    except TisError:
        driver.close()
        raise
    return driver


def learn_limits(driver: Driver) -> None:
    """Let the driver wait as long as its TPM tells, where it does: a TPM 1.2 that has been started. EngineError."""
    if registers.interface(driver.identify().capability) != Interface.TPM_2_0:
        with contextlib.suppress(requests.Refused):
            driver.wait_as_told(*requests.limits(driver.transmit))


def use_interrupt(driver: Driver, interrupts: Interrupts | None, line: int | None) -> None:
    """Let the driver wait for its interrupt, which is to be found out if it is None. Raises EngineError."""
    if interrupts is None:
        raise EngineError("a program that reads /dev/mem is told of no interrupts: tpmirq=0, which polls, is meant")
    if line is not None:
        driver.use_interrupt(interrupts, line)
    elif driver.probe_interrupt(interrupts, requests.HARMLESS) is None:
        raise EngineError("the TPM raised no interrupt: tpmirq=0, which polls, is meant")
