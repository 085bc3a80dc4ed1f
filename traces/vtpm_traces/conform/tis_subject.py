"""A driver of the TIS in a process of its own, spoken to by the protocol `vtpm-tis/1` (PROTOCOL-TIS.md)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from vtpm_traces.conform.subject import Garbage, Subject
from vtpm_traces.conform.tis_device import Clock, TooLong
from vtpm_traces.conform.tis_driver import Failed, Port
from vtpm_traces.files import shown
from vtpm_traces.recordings.tis_trace import line_of, text_of

PROTOCOL: Final = "vtpm-tis/1"
END: Final = "tis-driver"

KEPT: Final = 2000
"""Accesses of a run that are kept, the last ones."""

PAUSES: Final = 20_000
"""Pauses that no driver needs for one command."""

WIDTHS: Final = (8, 16, 32)
EXTENT: Final = 5 * 4096


class DriverProcess:
    """The process, which makes one driver after the other; after a Fault it is started anew."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        """`patience`: seconds to wait for each of its lines."""
        self._command = command
        self._patience = patience
        self._subject: Subject | None = None
        self._last: DriverSubject | None = None
        self.log: deque[str] = deque(maxlen=KEPT)
        """The accesses that were made, as `vtpmspec trace` reads them; who wants those of one run clears it before."""
        self.name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def meet(self) -> Subject:
        """The process, started if need be. Raises CannotStart, and Fault if it is no such driver."""
        if self._subject is None:
            self._subject = Subject(self._command, self._patience)
            hello = self._subject.hear()
            said = {name: hello.get(name) for name in ("do", "protocol", "end")}
            if said != {"do": "hello", "protocol": PROTOCOL, "end": END}:
                raise Garbage(f"it says {shown(said)}; hello, {PROTOCOL} and {END} are meant")
            self.name = str(hello.get("name", ""))[:100]
            self._subject.say({"ok": True})
            _wait_of(self._subject)
        return self._subject

    def driver(self, port: Port, clock: Clock) -> DriverSubject:
        """A new driver; in a new process if the last one is still busy with a command. Raises Fault."""
        if self._last is not None and self._last.busy:
            self.stop()
        self._last = DriverSubject(self.meet(), port, clock, self.log)
        return self._last

    def stop(self) -> None:
        """End the process."""
        if self._subject is not None:
            self._subject.end(0.0)
            self._subject = None
            self._last = None


class DriverSubject:
    """One driver, whose registers and whose time are here."""

    def __init__(self, subject: Subject, port: Port, clock: Clock, log: deque[str]) -> None:
        self._subject, self._port, self._clock, self._log = subject, port, clock, log
        self.busy = False
        self._tell(event="reset")
        _wait_of(subject)

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """Its response. Raises Failed, TooLong, and Fault if it breaks the protocol."""
        self.busy = True
        self._tell(event="command", data=command.hex(), locality=locality)
        sleeps = 0
        while (asked := self._subject.hear()).get("do") != "result":
            match asked:
                case {"do": "read", "offset": int(offset), "width": int(width)} if _is_place(offset, width):
                    value = self._port.read(offset, width)
                    self._note(writes=False, width=width, offset=offset, value=value)
                    self._tell(value=value)
                case {"do": "write", "offset": int(offset), "width": int(width), "value": int(value)} if (
                    _is_place(offset, width) and 0 <= value < 1 << width
                ):
                    self._note(writes=True, width=width, offset=offset, value=value)
                    self._port.write(offset, width, value)
                    self._tell()
                case {"do": "sleep", "us": int(us)} if 1 <= us < 1 << 32:
                    sleeps += 1
                    if sleeps > PAUSES:
                        raise TooLong(f"{sleeps} pauses")
                    self._clock.sleep(us * 1e-6)
                    self._tell()
                case _:
                    raise Garbage(f"it says {shown(asked)} within a command")
        self._tell()
        _wait_of(self._subject)
        self.busy = False
        match asked:
            case {"ok": True, "data": str(data)}:
                try:
                    return bytes.fromhex(data)
                except ValueError:
                    raise Garbage(f"its response is {shown(data)}, which is no row of bytes") from None
            case {"ok": False, "error": str(kind), "text": str(text)}:
                raise Failed(kind, text)
        raise Garbage(f"it says {shown(asked)} at the end of a command")

    def _note(self, *, writes: bool, width: int, offset: int, value: int) -> None:
        self._log.append(line_of(text_of(writes=writes, width=width // 8, offset=offset, value=value)))

    def _tell(self, **answer: Any) -> None:
        self._subject.say({"ok": True, "now": round(self._clock.now() * 1e6), **answer})


def _is_place(offset: int, width: int) -> bool:
    return width in WIDTHS and 0 <= offset <= EXTENT - width // 8


def _wait_of(subject: Subject) -> None:
    if (said := subject.hear()) != {"do": "wait"}:
        raise Garbage(f"it says {shown(said)}; wait is meant")
