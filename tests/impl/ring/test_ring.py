"""Both ends of the ring on one page: what they say to each other, and what hostile bytes make of them."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpm_impl.ring import memory
from vtpm_impl.ring import page as layout
from vtpm_impl.ring.backend import BackendRing
from vtpm_impl.ring.frontend import Busy, Cancelled, FrontendRing, Malformed, TooLong
from vtpm_impl.ring.page import FRAME, State

PCR_READ = bytes.fromhex("00c10000000e0000001500000000")
ANSWER = bytes.fromhex("00c40000001e00000000") + bytes(20)


@dataclass
class Wire:
    """A page between two ends, and how often each was notified."""

    memory: bytearray = field(default_factory=lambda: bytearray(FRAME))
    told_backend: int = 0
    told_frontend: int = 0

    @property
    def page(self) -> memoryview:
        return memoryview(self.memory)

    def frontend(self) -> FrontendRing:
        def notify() -> None:
            self.told_backend += 1

        return FrontendRing(self.page, notify)

    def backend(self, *, permitted: frozenset[int] = frozenset(range(5))) -> BackendRing:
        def notify() -> None:
            self.told_frontend += 1

        return BackendRing(self.page, notify, permitted.__contains__)


def served(backend: BackendRing) -> bytes:
    """The command that the backend fetches."""
    backend.on_event()
    request = backend.fetch()
    assert request is not None
    return request.command


@pytest.mark.parametrize("extra", [0, 1, 255])
def test_a_command_and_its_answer_cross_the_page(extra: int) -> None:
    wire = Wire()
    frontend, backend = wire.frontend(), wire.backend()
    frontend.submit(PCR_READ, locality=3, extra=extra)
    backend.on_event()
    request = backend.fetch()
    assert request is not None
    assert (request.command, request.locality, request.extra) == (PCR_READ, 3, extra)
    assert frontend.look() is None
    backend.finish(ANSWER)
    assert frontend.look() == ANSWER
    assert (wire.told_backend, wire.told_frontend) == (1, 1)


def test_the_largest_command_fills_the_page_to_its_last_byte() -> None:
    wire = Wire()
    command = struct.pack(">HII", 0x00C1, 4088, 0x46) + bytes(4077) + b"\xff"
    wire.frontend().submit(command)
    assert wire.memory[-1] == 0xFF
    assert served(wire.backend()) == command
    with pytest.raises(TooLong, match="4089 bytes; at most 4088"):
        Wire().frontend().submit(bytes(4089))


def test_a_second_request_waits_for_the_first() -> None:
    frontend = Wire().frontend()
    frontend.submit(PCR_READ)
    with pytest.raises(Busy, match="state byte is 1"):
        frontend.submit(PCR_READ)


def test_a_cancel_that_nobody_serves_is_acknowledged_once() -> None:
    wire = Wire()
    frontend, backend = wire.frontend(), wire.backend()
    frontend.submit(PCR_READ)
    frontend.cancel()
    backend.on_event()
    backend.on_event()
    with pytest.raises(Cancelled):
        frontend.look()
    assert wire.told_frontend == 1
    assert not backend.ready


def test_a_cancel_between_event_and_fetch_keeps_the_command_from_the_engine() -> None:
    wire = Wire()
    frontend, backend = wire.frontend(), wire.backend()
    frontend.submit(PCR_READ)
    backend.on_event()
    frontend.cancel()
    assert backend.fetch() is None
    assert layout.read_state(wire.page) == State.IDLE


def test_a_locality_that_is_not_permitted_is_answered_without_the_engine() -> None:
    wire = Wire()
    frontend, backend = wire.frontend(), wire.backend(permitted=frozenset({0}))
    frontend.submit(PCR_READ, locality=4)
    backend.on_event()
    assert backend.fetch() is None
    assert frontend.look() == bytes.fromhex("00c40000000a0000003d")


@pytest.mark.parametrize("response", [b"", bytes(9), bytes(4089), bytes(8192)])
def test_an_answer_that_cannot_be_delivered_becomes_an_error(response: bytes) -> None:
    wire = Wire()
    frontend, backend = wire.frontend(), wire.backend()
    frontend.submit(PCR_READ)
    served(backend)
    backend.finish(response)
    assert frontend.look() == bytes.fromhex("00c40000000a00000009")


@pytest.mark.parametrize("length", [4089, 4096, 8000, 0xFFFF_FFFF, 0xFFFF_FFF8])
def test_a_length_that_does_not_fit_is_answered_and_harms_nothing(length: int) -> None:
    wire = Wire()
    struct.pack_into("<IBBBB", wire.memory, 0, length, State.SUBMIT, 0, 0, 0)
    backend = wire.backend()
    backend.on_event()
    assert backend.fetch() is None
    assert layout.read_state(wire.page) == State.FINISH
    wire.frontend().submit(PCR_READ)
    assert served(backend) == PCR_READ


def test_the_answer_goes_where_the_request_was_although_the_header_was_changed() -> None:
    wire = Wire()
    backend = wire.backend()
    wire.frontend().submit(PCR_READ, extra=2)
    served(backend)
    wire.memory[7] = 255
    backend.finish(ANSWER)
    assert bytes(wire.memory[16 : 16 + len(ANSWER)]) == ANSWER


@pytest.mark.parametrize("answer", [bytes(10), ANSWER[:-1], b"", ANSWER + b"\0"])
def test_what_is_not_one_whole_packet_never_reaches_the_caller(answer: bytes) -> None:
    wire = Wire()
    layout.write_packet(wire.page, 0, answer)
    layout.write_state(wire.page, State.FINISH)
    with pytest.raises(Malformed):
        wire.frontend().look()


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8), st.integers(0, 9000))
def test_no_header_makes_the_backend_fail_or_write_behind_its_place(first: bytes, later: bytes, reply: int) -> None:
    wire = Wire()
    wire.memory[:8] = first
    backend = wire.backend()
    backend.on_event()
    if backend.ready:
        wire.memory[:8] = later
        request = backend.fetch()
        if request is not None:
            assert 10 <= len(request.command) <= FRAME - 8 - 4 * request.extra
            before = bytes(wire.memory)
            wire.memory[:8] = first
            backend.finish(b"\x5a" * reply)
            changed = [i for i in range(8, FRAME) if wire.memory[i] != before[i]]
            assert all(i >= 8 + 4 * request.extra for i in changed)
    assert not backend.serving


class Counted:
    """A page that counts how often each byte of its header is read."""

    def __init__(self) -> None:
        self.read: Counter[int] = Counter()
        self._bytes = bytearray(FRAME)

    def __getitem__(self, where: Any) -> Any:
        read = range(FRAME)[where]
        self.read.update(at for at in ([read] if isinstance(read, int) else read) if at < layout.HEADER)
        return self._bytes[where]

    def __setitem__(self, where: Any, value: Any) -> None:
        self._bytes[where] = value


def test_the_header_of_a_request_and_of_an_answer_is_read_once() -> None:
    page = Counted()
    frontend = FrontendRing(page, lambda: None)
    backend = BackendRing(page, lambda: None, lambda locality: locality == 0)
    frontend.submit(PCR_READ)
    backend.on_event()
    page.read.clear()
    assert backend.fetch() is not None
    assert page.read == Counter(range(layout.HEADER))
    page.read.clear()
    backend.finish(ANSWER)
    assert set(page.read) == {layout.STATE}  # whether a cancel, or nonsense, has taken the request's place
    page.read.clear()
    assert frontend.look() == ANSWER
    assert page.read - Counter({layout.STATE: 1}) == Counter(range(layout.HEADER))


def test_the_accesses_in_c_are_those_of_python() -> None:
    assert layout.of(memoryview(bytearray(FRAME))) is memory


@given(
    st.binary(min_size=16, max_size=16), st.integers(-1, 256), st.integers(-1, 256), st.integers(0, 4200),
    st.binary(max_size=64), st.integers(-1, 4200),
)  # fmt: skip
def test_either_language_does_the_same_to_a_page(
    content: bytes, extra: int, locality: int, size: int, piece: bytes, length: int
) -> None:
    packet = ((piece or b"x") * size)[:size]
    accesses: list[Callable[[layout.Accesses, memoryview], object]] = [
        lambda at, page: at.read_state(page),
        lambda at, page: at.read_header(page),
        lambda at, page: at.read_packet(page, extra, length),
        lambda at, page: at.write_packet(page, extra, packet),
        lambda at, page: at.write_request(page, extra, locality, packet),
        lambda at, page: at.write_state(page, locality),
    ]

    def outcome(access: Callable[[layout.Accesses, memoryview], object], at: layout.Accesses) -> tuple[object, bytes]:
        page = memoryview(bytearray(content * (FRAME // 16)))
        try:
            return access(at, page), bytes(page)
        except ValueError:
            return ValueError, bytes(page)

    for access in accesses:
        assert outcome(access, layout) == outcome(access, memory)
