"""A driver of the TIS, or a TPM behind it, as a system under test, by the protocol `vtpm-tis/1` (PROTOCOL-TIS.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.errors import TisError
from vtpm_impl.tis.port import Port
from vtpm_impl.xen.sut.link import Link, LinkLost

PROTOCOL: Final = "vtpm-tis/1"

MICROSECOND: Final = 1e-6


class HarnessPort:
    """Registers and time that the harness plays."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._now = 0.0

    def read(self, offset: int, width: int) -> int:
        """What the harness says."""
        answer = self._ask("read", offset=offset, width=width)
        value = answer.get("value")
        if not isinstance(value, int) or not 0 <= value < 1 << width:
            raise LinkLost(f"the harness answers a read of {width} bits with {value!r}")
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Tell the harness."""
        self._ask("write", offset=offset, width=width, value=value)

    def close(self) -> None:
        """The registers stay the harness's."""

    def now(self) -> float:
        """The time that the harness told last, in seconds."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let the harness let time pass."""
        self._ask("sleep", us=max(1, math.ceil(seconds / MICROSECOND)))

    def obey(self) -> dict[str, Any]:
        """What the harness wants next."""
        return self._ask("wait")

    def result(self, **fields: object) -> None:
        """Tell how a command ended."""
        self._ask("result", **fields)

    def _ask(self, do: str, **fields: object) -> dict[str, Any]:
        answer = self._link.ask(do, **fields)
        now = answer.get("now")
        if not isinstance(now, int):
            raise LinkLost(f"the harness says that it is {now!r}; microseconds are meant")
        self._now = now * MICROSECOND
        return answer


def be_driver(link: Link) -> None:
    """Be a driver whose registers and whose time are the harness's, until it has had enough."""
    link.ask("hello", protocol=PROTOCOL, end="tis-driver", name="xen-vtpm")
    port = HarnessPort(link)
    driver = Driver(port, clock=port)
    while True:
        wish = port.obey()
        match wish.get("event"):
            case "command":
                try:
                    response = driver.transmit(bytes.fromhex(wish["data"]), locality=wish["locality"])
                except TisError as error:
                    port.result(ok=False, error=type(error).__name__, text=str(error)[:1000])
                else:
                    port.result(ok=True, data=response.hex())
            case "reset":
                driver = Driver(port, clock=port)
            case "end":
                return
            case other:
                raise LinkLost(f"the harness wants {other!r}, which no driver does")


def be_device(link: Link, port: Port, reset: Callable[[], None] | None) -> None:
    """Be the TPM at a port, until the harness has had enough. `reset`: how it is reset, if it can be."""
    link.ask("hello", protocol=PROTOCOL, end="tis-device", name="xen-vtpm", resets=reset is not None)
    value: int | None = None
    while True:
        wish = link.ask("wait", value=value)
        value = None
        match wish.get("event"):
            case "read":
                value = port.read(*_place(wish))
            case "write":
                port.write(*_place(wish), wish["value"])
            case "reset" if reset is not None:
                reset()
            case "end":
                return
            case other:
                raise LinkLost(f"the harness wants {other!r}, which this device does not do")


def _place(wish: dict[str, Any]) -> tuple[int, int]:
    offset, width = wish.get("offset"), wish.get("width")
    if not isinstance(offset, int) or not 0 <= offset < 0x5000 or width not in (8, 16, 32):
        raise LinkLost(f"the harness wants {width!r} bits at {offset!r}; 8, 16 or 32 below 0x5000 are meant")
    return offset, width
