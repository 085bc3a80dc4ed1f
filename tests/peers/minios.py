"""mini-os' backend and frontend as subjects, with the defects that its variant of the model has.

    python -m tests.peers.minios backend | frontend

Written from `vtpm_model.minios`, action by action: a chain of what is done for an event goes to its end before the next
event is looked at. `tests/traces/conform/test_minios.py` holds what it does against that variant.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

from vtpm_impl.xen.sut.link import PROTOCOL, Link, RefusedByHarness

PAGE: Final = 4096
IDLE, SUBMIT, FINISH, CANCEL = range(4)
INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED = range(1, 7)

_DEVICE: Final = re.compile(r"backend/vtpm/(\d+)/(\d+)")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Over(Exception):
    """The conversation is over; `again` if another one follows."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.again = again


class Failed(Exception):
    """Something could not be done, and is given up."""


def number(text: str) -> int:
    """What `%d` makes of a text; of one that is no number, what lay in memory, which is 0 here."""
    found = re.match(r"\s*(-?\d+)", text)
    return 0 if found is None else (int(found[1]) + 2**31) % 2**32 - 2**31


def plain(text: str | None) -> int | None:
    """The number that a text is, written as numbers are; what C makes of others the variant does not say."""
    return int(text) if text is not None and re.fullmatch(r"0|[1-9]\d{0,9}", text) and int(text) < 2**32 else None


def die() -> NoReturn:
    """The domain ends by an access outside what is mapped."""
    os.kill(os.getpid(), signal.SIGSEGV)
    raise SystemExit


class Machine:
    """xenstore, pages and ports, as far as they are used."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """The answer; Failed where the machine says no."""
        try:
            return self.link.ask(do, **fields)
        except RefusedByHarness as refused:
            raise Failed(str(refused)) from refused

    def tried(self, do: str, **fields: Any) -> bool:
        """Whether it could be done."""
        try:
            self.ask(do, **fields)
        except Failed:
            return False
        return True

    def read(self, path: str) -> str | None:
        """The value of a node, None if it cannot be read."""
        try:
            return str(self.ask("read", path=path)["value"])
        except Failed:
            return None

    def read_number(self, path: str) -> int:
        """The number in a node; 0 if it cannot be read."""
        return number(self.read(path) or "")

    def load(self, page: int, offset: int, length: int) -> bytes:
        """Bytes of a page."""
        try:
            return bytes.fromhex(self.ask("load", page=page, offset=offset, length=length)["data"])
        except Failed:
            die()

    def store(self, page: int, offset: int, data: bytes) -> None:
        """Store into a page."""
        if not self.tried("store", page=page, offset=offset, data=data.hex()):
            die()


# ------------------------------------------------------------------------------------------------------- the backend


class Tpmif:
    """A frontend as the backend has it. Page and port stay as they were when they are given back."""

    def __init__(self, domain: int, handle: int, front: str) -> None:
        self.domain, self.handle, self.front = domain, handle, front
        self.back = f"backend/vtpm/{domain}/{handle}"
        self.page = self.port = 0
        self.connected = False
        self.ready = False
        self.cache = 0


class Backend:
    """tpmback, and an application that serves whoever is ready and comes first in its list."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._machine = Machine(link)
        self._list: list[Tpmif] = []
        self._up = False
        self._job: tuple[int, int] | None = None  # the device whose command the application has

    def converse(self) -> NoReturn:
        """Obey until it is over, which raises Over."""
        while True:
            self._take(self._link.wait())
            if self._up and self._job is None:
                self._fetch()

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "start":
                self._start()
            case "watch" if self._up:
                self._changed(event["path"], event["token"])
            case "upcall":
                self._handle(event["port"])
            case "answer" if self._job is not None:
                (domain, handle), self._job = self._job, None
                self._respond(domain, handle, bytes.fromhex(event["data"]))
            case "stop":
                for one in list(self._list):
                    self._free(one)
                self._up = False
            case "reset" | "end" as last:
                raise Over(again=last == "reset")

    def _start(self) -> None:
        self._up = True
        self._machine.tried("watch", path="backend/vtpm", token="backend/vtpm")
        for domain in self._names("backend/vtpm"):
            for handle in self._names(f"backend/vtpm/{domain}"):
                self._changed(f"backend/vtpm/{domain}/{handle}", "backend/vtpm")

    def _names(self, path: str) -> list[str]:
        try:
            return list(self._machine.ask("ls", path=path)["names"])
        except Failed:
            return []

    # xenbus

    def _changed(self, path: str, token: str) -> None:
        if token != "backend/vtpm":
            for one in self._list:
                if token == f"{one.front}/state":
                    self._frontend_changed(one)
                    return
            return
        found = _DEVICE.fullmatch(path)
        if found is not None:
            self._new_device(int(found[1]), int(found[2]))

    def _find(self, domain: int, handle: int) -> Tpmif | None:
        return next((one for one in self._list if (one.domain, one.handle) == (domain, handle)), None)

    def _new_device(self, domain: int, handle: int) -> None:
        back = f"backend/vtpm/{domain}/{handle}"
        if self._find(domain, handle) is not None or self._machine.read(back) is None:
            return
        if not _UUID.fullmatch(self._machine.read(f"{back}/uuid") or ""):
            return
        one = Tpmif(domain, handle, "")
        if not self._move(one, INIT_WAIT):
            return
        front = self._machine.read(f"{back}/frontend")
        if not front:
            return
        one.front = front
        if not self._machine.tried("write", path=f"{back}/feature-protocol-v2", value="1"):
            return
        self._list.append(one)
        self._list.sort(key=lambda each: (each.domain, each.handle))
        if not self._machine.tried("watch", path=f"{front}/state", token=f"{front}/state"):
            self._list.remove(one)
            return
        self._machine.ask("opened", domain=domain, handle=handle)

    def _move(self, one: Tpmif, state: int) -> bool:
        """Go to a state, unless it is what was written or read last. False if it cannot be written."""
        node = f"{one.back}/state"
        if one.cache == state:
            return True
        text = self._machine.read(node)
        if text is None:
            return False
        one.cache = number(text)
        if one.cache == state:
            return True
        if not self._machine.tried("write", path=node, value=str(state)):
            return False
        one.cache = state
        return True

    def _frontend_changed(self, one: Tpmif) -> None:
        state = self._machine.read_number(f"{one.front}/state")
        if state <= 0:
            self._free(one)
        elif state in (INITIALISED, CONNECTED):
            if not one.connected and not self._connect(one):
                self._move(one, CLOSED)
        elif state == CLOSING:
            self._move(one, CLOSING)
        elif state == CLOSED:
            if one.connected:
                self._disconnect(one)
            self._move(one, INIT_WAIT)

    def _connect(self, one: Tpmif) -> bool:
        ref = plain(self._machine.read(f"{one.front}/ring-ref"))
        port = plain(self._machine.read(f"{one.front}/event-channel"))
        if ref is None or port is None or self._machine.read(f"{one.front}/feature-protocol-v2") != "1":
            return False
        try:
            page = self._machine.ask("map", domain=one.domain, ref=ref)["page"]
        except Failed:
            return False
        try:
            bound = self._machine.ask("bind", domain=one.domain, port=port)["port"]
        except Failed:
            self._machine.tried("unmap", page=page)
            return False
        one.page, one.port, one.connected = page, bound, True
        self._machine.tried("write", path=f"{one.back}/ready", value="1")
        if self._move(one, CONNECTED):
            return True
        self._disconnect(one)
        return False

    def _disconnect(self, one: Tpmif) -> None:
        """The flag for a request and the place of the page are kept."""
        one.connected = False
        self._machine.tried("unmap", page=one.page)
        self._machine.tried("close_port", port=one.port)

    def _free(self, one: Tpmif) -> None:
        one.ready = False
        self._move(one, CLOSING)
        if one.connected:
            self._disconnect(one)
        self._move(one, CLOSED)
        self._machine.ask("closed", domain=one.domain, handle=one.handle)
        self._list.remove(one)
        self._machine.tried("unwatch", path=f"{one.front}/state", token=f"{one.front}/state")
        self._machine.tried("rm", path=one.back)

    # the ring

    def _handle(self, port: int) -> None:
        one = next((each for each in self._list if each.connected and each.port == port), None)
        if one is None:
            return
        state = self._machine.load(one.page, 4, 1)[0]
        if state == SUBMIT:
            one.ready = True
        elif state == CANCEL and not one.ready:
            self._machine.store(one.page, 4, bytes([IDLE]))
            self._machine.tried("notify", port=one.port)

    def _fetch(self) -> None:
        one = next((each for each in self._list if each.ready), None)
        if one is None:
            return
        header = self._machine.load(one.page, 0, 8)
        length, locality, offset = int.from_bytes(header[:4], "little"), header[5], 8 + 4 * header[7]
        if (offset + length) % 2**32 > PAGE:
            return
        if offset + length > PAGE:
            die()
        command = self._machine.load(one.page, offset, length)
        self._job = one.domain, one.handle
        self._machine.ask(
            "command", domain=one.domain, handle=one.handle, locality=locality, data=command.hex()
        )  # fmt: skip

    def _respond(self, domain: int, handle: int, answer: bytes) -> None:
        one = self._find(domain, handle)
        if one is None or not one.ready:
            return
        self._machine.store(one.page, 0, (len(answer)).to_bytes(4, "little"))
        offset = 8 + 4 * self._machine.load(one.page, 7, 1)[0]
        if offset + len(answer) > PAGE:
            return
        self._machine.store(one.page, offset, answer)
        one.ready = False
        self._machine.store(one.page, 4, bytes([FINISH]))
        self._machine.tried("notify", port=one.port)


# ------------------------------------------------------------------------------------------------------ the frontend


class Frontend:
    """tpmfront, and an application that wants what the harness says."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._machine = Machine(link)
        self._wishes: list[dict[str, Any]] = []
        self._node = self._backend = ""
        self._page = self._port = self._ref = 0
        self._open = False
        self._called = False  # the handler has run since the last look

    def converse(self) -> NoReturn:
        """Obey until it is over, which raises Over."""
        while True:
            self._await(lambda: bool(self._wishes))
            wish = self._wishes.pop(0)
            try:
                data = self._fulfil(wish)
            except Failed:
                self._link.ask("result", of=wish["event"], ok=False)
            else:
                self._link.ask("result", of=wish["event"], ok=True, data=data)

    def _await(self, so: Callable[[], bool]) -> None:
        while not so():
            self._take(self._link.wait())

    def _fulfil(self, wish: dict[str, Any]) -> str | None:
        match wish["event"]:
            case "open" if not self._open:
                self._initialise(f"device/vtpm/{wish['handle']}")
            case "command":
                return self._transmit(bytes.fromhex(wish["data"]), wish["locality"]).hex()
            case "close" if self._open:
                self._shut_down()
        return None

    def _initialise(self, node: str) -> None:
        self._node = node
        domain, backend = plain(self._machine.read(f"{node}/backend-id")), self._machine.read(f"{node}/backend")
        if domain is None or backend is None:
            raise Failed
        self._backend = backend
        self._machine.ask("write", path=f"{node}/feature-protocol-v2", value="1")
        granted = self._machine.ask("grant", domain=domain)
        self._page, self._ref = granted["page"], granted["ref"]
        self._port = self._machine.ask("open_port", domain=domain)["port"]
        try:
            tx = self._machine.ask("begin")["tx"]
            self._machine.ask("write", path=f"{node}/ring-ref", value=str(self._ref), tx=tx)
            self._machine.ask("write", path=f"{node}/event-channel", value=str(self._port), tx=tx)
            self._machine.ask("commit", tx=tx)
        except Failed:
            self._give_back()
            raise
        try:
            self._machine.ask("write", path=f"{node}/state", value=str(CONNECTED))
            self._await_backend(CONNECTED, not_in=(0, CLOSING, CLOSED))
            if self._machine.read(f"{backend}/feature-protocol-v2") != "1":
                raise Failed
        except Failed:
            self._shut_down()
            raise
        self._open = True

    def _await_backend(self, *wanted: int, not_in: tuple[int, ...] = ()) -> None:
        node = f"{self._backend}/state"
        self._machine.tried("watch", path=node, token=node)
        state = plain(self._machine.read(node)) or 0
        while state not in (*wanted, *not_in):
            self._take(self._link.wait())
            state = plain(self._machine.read(node)) or 0
        self._machine.tried("unwatch", path=node, token=node)
        if state in not_in:
            raise Failed

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "reset" | "end" as last:
                raise Over(again=last == "reset")
            case "upcall":
                self._called = True
            case "open" | "command" | "close":
                self._wishes.append(event)

    def _shut_down(self) -> None:
        self._open = False
        self._machine.tried("write", path=f"{self._node}/state", value=str(CLOSING))
        self._machine.tried("rm", path=f"{self._node}/event-channel")
        self._machine.tried("rm", path=f"{self._node}/ring-ref")
        self._machine.tried("write", path=f"{self._node}/state", value=str(CLOSED))
        self._await_backend(0, INIT_WAIT, CLOSED)
        self._machine.tried("write", path=f"{self._node}/state", value=str(INITIALISING))
        self._give_back()

    def _give_back(self) -> None:
        """Whether the backend still has the page mapped is not asked."""
        self._machine.tried("close_port", port=self._port)
        self._machine.tried("end_grant", ref=self._ref)

    def _transmit(self, command: bytes, locality: int) -> bytes:
        if not self._open or len(command) + 8 > PAGE:
            raise Failed
        self._machine.store(self._page, 5, bytes([locality]))
        self._machine.store(self._page, 8, command)
        self._machine.store(self._page, 0, len(command).to_bytes(4, "little"))
        self._machine.store(self._page, 4, bytes([SUBMIT]))
        self._called = False
        self._machine.tried("notify", port=self._port)
        while True:
            self._await(lambda: self._called)
            self._called = False
            state = self._machine.load(self._page, 4, 1)[0]
            if state in (IDLE, FINISH):
                break
        if state != FINISH:
            return b""
        length = int.from_bytes(self._machine.load(self._page, 0, 4), "little")
        if length + 8 > PAGE:
            raise Failed
        return self._machine.load(self._page, 8, length)


def main(end: str) -> None:
    """Have conversations until there are no more."""
    link = Link(sys.stdin.buffer, sys.stdout.buffer)
    again = True
    while again:
        link.ask("hello", protocol=PROTOCOL, end=end, name="mini-os", again=True)
        try:
            (Backend if end == "backend" else Frontend)(link).converse()
        except Over as over:
            again = over.again


if __name__ == "__main__":
    main(sys.argv[1])
