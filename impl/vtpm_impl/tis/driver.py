"""The driver of a TPM behind the TIS: it takes a locality, writes a command, waits, and reads the response.

It believes nothing that it has not read: bursts are never exceeded, each wait has an end, a response is read only as
far as its own header says and the buffer goes. After an error the device has been told to drop the command, the
locality has been given back, and the next command begins anew.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vtpm_impl.tis import registers
from vtpm_impl.tis.errors import Absent, BadCommand, CarrierError, Dropped, LocalityLost, Seized, TimedOut
from vtpm_impl.tis.fifo import BUFFER, Fifo, has_response
from vtpm_impl.tis.interrupt import Line
from vtpm_impl.tis.page import Page
from vtpm_impl.tis.port import Clock, Interrupts, MachineClock, Port
from vtpm_impl.tis.registers import DID_VID, INTF_CAPABILITY, LOCALITIES, RID, Access, Sts, burst_count
from vtpm_impl.tis.timeouts import (
    DURATIONS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_TRUST,
    Timeouts,
    told_durations,
    told_timeouts,
)
from vtpm_impl.tpm import header
from vtpm_impl.tpm.commands import duration

_NOBODY = (0, 0xFFFFFFFF)  # DID_VID where there is no TPM

_COMMAND_READY = int(Sts.COMMAND_READY)


class Identity(NamedTuple):
    """What a device says of itself: its numbers, and INTF_CAPABILITY."""

    vendor: int
    device: int
    revision: int
    capability: int


class Driver:
    """One TPM, and an engine. Between commands its locality is held, unless another locality asks for the TPM."""

    prompt = False

    def __init__(
        self, port: Port, *, locality: int = 0, timeouts: Timeouts | None = None, clock: Clock | None = None
    ) -> None:
        """Polls, and touches nothing yet. `locality`: of commands that name none. Raises ValueError for it."""
        timeouts = timeouts or Timeouts()
        self._durations = DURATIONS
        self._clock = clock or MachineClock()
        self._port = port
        self._pages = [Page(port, number, timeouts, self._clock) for number in LOCALITIES]
        self._default = self._page(locality)
        self._held: Page | None = None
        self._identity: Identity | None = None
        self._line: Line | None = None
        self._drop = threading.Event()
        self._lock = threading.Lock()

    def transmit(self, command: bytes, *, locality: int | None = None, timeout: float | None = None) -> bytes:
        """The TPM's response. `timeout`: seconds for the execution, in place of what the command's ordinal may take.

        Raises TisError, and ValueError for a locality that there is not.
        """
        page = self._default if locality is None else self._page(locality)
        if not header.is_whole(command) or len(command) > BUFFER:
            says = int.from_bytes(command[2:6], "big")
            allowed = f"both are the same, {header.SIZE} to {BUFFER}"
            raise BadCommand(f"a command of {len(command)} bytes whose header says {says}; {allowed}")
        with self._session(page) as (fifo, status):
            fifo.send(command, status)
            page.command(Sts.GO)
            response = fifo.receive(
                self._await_response(page, self._durations[duration(command)] if timeout is None else timeout)
            )
            page.command(_COMMAND_READY)
            if page.is_wanted_by_others():
                self._give_back()
        return response

    @property
    def locality(self) -> int:
        """The locality of commands that name none."""
        return self._default.locality

    def abort(self) -> None:
        """Let the command that another thread waits for be dropped: it raises Dropped there."""
        self._drop.set()

    def seize(self, locality: int) -> None:
        """Take the TPM from a lower locality. Raises TisError, LocalityDenied where none is lower."""
        with self._session(self._page(locality), by=Access.SEIZE):
            pass

    def release(self) -> None:
        """Give the locality back, if one is held. Raises CarrierError."""
        with self._lock:
            self._give_back()

    def close(self) -> None:
        """Drop the command that is being executed, and give back the locality and the registers."""
        self.abort()
        with contextlib.suppress(CarrierError):
            self.release()
        self._port.close()

    def identify(self) -> Identity:
        """What the device says of itself, to every locality. Raises Absent or CarrierError."""
        identity = self._identity
        if identity is None:
            page = self._default
            number = page.read(DID_VID)
            if number in _NOBODY:
                raise Absent(f"there is no TPM: DID_VID reads {number:#010x}")
            identity = Identity(number & 0xFFFF, number >> 16, page.read(RID), page.read(INTF_CAPABILITY))
            self._identity = identity
        return identity

    def access(self, locality: int) -> int:
        """What ACCESS of a locality reads; see `registers.Access`. Raises CarrierError."""
        return self._page(locality).read(registers.ACCESS)

    def wait_as_told(self, timeouts: Sequence[int], durations: Sequence[int]) -> None:
        """Wait as long as a TPM tells, in microseconds: time-outs A to D; short, medium and long durations."""
        told = told_timeouts(timeouts)
        with self._lock:
            self._durations = told_durations(durations)
            for page in self._pages:
                page.timeouts = told

    def use_interrupt(self, interrupts: Interrupts, line: int) -> None:
        """Wait for this interrupt from now on, and look at the device without one only rarely. Raises CarrierError."""
        with self._lock:
            self._give_back()
            self._line = Line(interrupts, line)

    def probe_interrupt(self, interrupts: Interrupts, command: bytes) -> int | None:
        """Find the interrupt by a command that changes nothing, and use it; without one, poll. Raises TisError."""
        any_line = Line(interrupts, None)
        while any_line.wait(0.0) is not None:
            pass  # raised before
        self.transmit(command)
        with self._session(self._default):
            any_line.enable(self._default)
        self.transmit(command)
        found = any_line.wait(LONGEST_TRUST)
        with self._session(self._default):
            any_line.acknowledge(self._default)
            any_line.disable(self._default)
        if found is not None:
            self.use_interrupt(interrupts, found)
        return found

    @contextlib.contextmanager
    def _session(self, page: Page, by: Access = Access.REQUEST_USE) -> Iterator[tuple[Fifo, int]]:
        """Have the locality, and its FIFO with a status that is ready for a command.

        After an error the command is dropped, and the locality is given back.
        """
        with self._lock:
            self._drop.clear()
            try:
                yield self._begin(page, by)
            except BaseException as error:
                held, self._held = self._held, None
                if held is not None:
                    with contextlib.suppress(CarrierError):
                        _give_up(held, error)
                raise

    def _begin(self, page: Page, by: Access) -> tuple[Fifo, int]:
        if self._held is page:
            fifo = self._fifo(page)
            try:
                return fifo, fifo.make_ready()
            except Seized:
                raise
            except LocalityLost:  # the device was reset, and there was no command to be lost
                self._held = None
        self._give_back()
        self.identify()
        page.take(by)
        self._held = page
        if self._line is not None:
            self._line.enable(page)
        fifo = self._fifo(page)
        return fifo, fifo.make_ready()

    def _give_back(self) -> None:
        page, self._held = self._held, None
        if page is not None:
            if self._line is not None:
                self._line.disable(page)
            page.give_back()

    def _await_response(self, page: Page, seconds: float) -> int:
        """The status that shows a response."""
        deadline = self._clock.now() + seconds
        pause = FIRST_PAUSE
        while True:
            left = deadline - self._clock.now()
            if self._line is None:
                self._clock.sleep(min(pause, max(left, 0.0)))
                pause = min(2 * pause, LONGEST_PAUSE)
            elif self._line.wait(min(LONGEST_TRUST, max(left, 0.0))) is not None:
                self._line.acknowledge(page)
            status = page.status()
            if has_response(status):
                return status
            if status & _COMMAND_READY:
                raise Dropped(f"the TPM has dropped the command: STS reads {status & 0xFF:#04x}")
            if self._drop.is_set():
                raise Dropped("the command was to be dropped")
            if left <= 0:
                told = f"STS reads {status & 0xFF:#04x}, burst count {burst_count(status)}"
                raise TimedOut(f"the TPM did not respond in {seconds:g} s: {told}")

    def _fifo(self, page: Page) -> Fifo:
        words = registers.takes_words(self.identify().capability)
        return Fifo(page, (4, 2, 1) if words else (1,))

    def _page(self, locality: int) -> Page:
        if locality not in LOCALITIES:
            raise ValueError(f"locality {locality}; there are {LOCALITIES.start} to {LOCALITIES.stop - 1}")
        return self._pages[locality]


def _give_up(page: Page, error: BaseException) -> None:
    if isinstance(error, CarrierError | Absent):
        return
    if isinstance(error, Seized):
        page.forget_seizure()
    if isinstance(error, LocalityLost):
        return
    page.command(_COMMAND_READY)
    page.give_back()
