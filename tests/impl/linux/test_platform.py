"""Real Xen's devices without Xen: what is asked of the kernel, byte by byte, and what becomes of its refusals."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from vtpm_impl.xen.linux import calls
from vtpm_impl.xen.linux.calls import Call, XenDevice
from vtpm_impl.xen.linux.grants import LinuxGrant, LinuxMapping
from vtpm_impl.xen.linux.platform import LinuxPlatform, is_there
from vtpm_impl.xen.linux.ports import LinuxPort
from vtpm_impl.xen.platform import FRAME, PlatformError, Unavailable
from vtpm_impl.xen.store import StoreGone


class Kernel(XenDevice):
    """A device that is two pages of a file, or one end of a channel; it writes down what it is asked."""

    asked: ClassVar[list[tuple[str, int, bytes]]]
    refuse: ClassVar[set[int]]

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "evtchn":
            self._descriptor, self.other = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        else:
            self._descriptor = os.memfd_create(name)
            os.truncate(self._descriptor, 2 * FRAME)

    def call(self, call: Call, *values: int) -> tuple[int, tuple[int, ...]]:
        self.asked.append((self.name, call.code, call.argument.pack(*values)))
        if call.code in self.refuse:
            raise OSError(22, "Invalid argument")
        if call is calls.ALLOCATE_GRANT:
            return 0, (*values[:3], FRAME, 451)
        if call is calls.MAP_GRANT:
            return 0, (*values[:2], FRAME, *values[3:])
        return 17, values


@pytest.fixture(name="kernel")
def a_kernel() -> type[Kernel]:
    class Fresh(Kernel):
        asked: ClassVar[list[tuple[str, int, bytes]]] = []
        refuse: ClassVar[set[int]] = set()

    return Fresh


@pytest.mark.parametrize(
    ("call", "number"),
    [
        # from the macros of the kernel's headers, worked out by hand
        (calls.MAP_GRANT, 0x184700), (calls.UNMAP_GRANT, 0x104701), (calls.ALLOCATE_GRANT, 0x184705),
        (calls.FREE_GRANT, 0x104706), (calls.NOTIFY_AT_UNMAP, 0x104707), (calls.BIND_INTERDOMAIN, 0x084501),
        (calls.BIND_UNBOUND_PORT, 0x044502), (calls.NOTIFY, 0x044504),
    ],
)  # fmt: skip
def test_calls_have_the_numbers_of_the_kernel(call: Call, number: int) -> None:
    assert call.code == number


def test_a_page_is_mapped_tied_to_its_port_and_given_back(kernel: type[Kernel]) -> None:
    held: set[LinuxMapping] = set()
    ports: set[LinuxPort] = set()
    page = LinuxMapping(kernel, 3, 451, held)
    port = LinuxPort.bind(kernel, 3, 9, ports)
    page.tie(port)
    page.memory[4] = 7
    assert page.memory[4] == 7
    assert held == {page}
    page.unmap()
    port.close()
    assert not held | ports
    assert kernel.asked == [
        ("gntdev", 0x184700, struct.pack("=IIQII", 1, 0, 0, 3, 451)),
        ("evtchn", 0x084501, struct.pack("=II", 3, 9)),
        ("gntdev", 0x104707, struct.pack("=QII", FRAME, 2, 17)),
        ("gntdev", 0x104701, struct.pack("=QII", FRAME, 1, 0)),
    ]
    with pytest.raises(ValueError, match="released"):
        page.memory[4]


def test_a_page_is_granted_writable_and_given_back(kernel: type[Kernel]) -> None:
    held: set[LinuxGrant] = set()
    page = LinuxGrant(kernel, 5, held)
    assert (page.ref, bytes(page.memory)) == (451, bytes(FRAME))
    assert page.end()
    assert not held
    assert kernel.asked == [
        ("gntalloc", 0x184705, struct.pack("=HHIQI4x", 5, 1, 1, 0, 0)),
        ("gntalloc", 0x104706, struct.pack("=QI4x", FRAME, 1)),
    ]


def test_a_bit_is_set_at_binding_and_by_events_and_asked_for_again(kernel: type[Kernel]) -> None:
    ports: set[LinuxPort] = set()
    bound, opened = LinuxPort.bind(kernel, 3, 9, ports), LinuxPort.open(kernel, 3, ports)
    assert [bound.take(), bound.take(), opened.take()] == [True, False, False]
    assert (bound.number, opened.number) == (17, 17)
    bound.notify()
    assert kernel.asked[-1] == ("evtchn", 0x044504, struct.pack("=I", 17))
    for port in (bound, opened):
        port.close()
    assert not ports


@pytest.mark.parametrize(
    ("refused", "error", "attempt"),
    [
        (calls.MAP_GRANT, Unavailable, lambda kernel: LinuxMapping(kernel, 3, 451, set())),
        (calls.BIND_INTERDOMAIN, Unavailable, lambda kernel: LinuxPort.bind(kernel, 3, 9, set())),
        (calls.ALLOCATE_GRANT, PlatformError, lambda kernel: LinuxGrant(kernel, 3, set())),
        (calls.BIND_UNBOUND_PORT, PlatformError, lambda kernel: LinuxPort.open(kernel, 3, set())),
    ],
)
def test_what_the_kernel_refuses_is_told(
    kernel: type[Kernel], refused: Call, error: type[Exception], attempt: Callable[[type[Kernel]], object]
) -> None:
    kernel.refuse.add(refused.code)
    with pytest.raises(error, match=r"domain 3.*: Invalid argument"):
        attempt(kernel)


def test_where_there_is_no_xen_it_is_said(tmp_path: Path) -> None:
    assert not is_there(tmp_path)
    with pytest.raises(PlatformError, match=r"gntdev': No such file or directory \(kernel module xen-gntdev\)"):
        XenDevice("gntdev", tmp_path)
    with pytest.raises(StoreGone, match="no store at"):
        LinuxPlatform(devices=tmp_path, xenstored=tmp_path / "socket")
