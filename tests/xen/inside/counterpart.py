"""Plays the toolstack and the backend of one device of a guest, line by line, and writes down all that it did and saw.

| line                     | meaning                                                                              |
|--------------------------|--------------------------------------------------------------------------------------|
| `attach`                 | the toolstack makes the device's nodes, as libxl does                                 |
| `attach NAME=VALUE...`   | the same, with other values in the backend's nodes; `NAME=` leaves one out            |
| `attach -`               | the frontend's nodes alone                                                            |
| `back NAME VALUE`        | a node of the backend's is written (`""`: no text); without a value it is removed     |
| `front NAME VALUE`       | a node of the frontend's                                                              |
| `rm back`, `rm front`    | a whole directory is removed                                                          |
| `rm both`                | both are, at once                                                                     |
| `detach`                 | the toolstack asks to close: `online` 0 and the backend's state 5, at once             |
| `await STATE...`         | wait for one of these states of the frontend; `-` means that it has none              |
| `await-page S`           | wait for this state byte of the page                                                  |
| `connect`                | map the page and bind the port that the frontend's keys name; without keys, nothing   |
| `disconnect`             | give both back                                                                        |
| `serve N`                | wait until N more commands were answered                                              |
| `call HEX`, `call size N`| the application in the guest sends a command, which waits for `request`               |
| `request`                | wait until the application's command stands in the page                               |
| `any`                    | wait until any command stands in the page, and leave it there                         |
| `answer`                 | answer what stands in the page as a TPM does                                          |
| `answer HEX`             | answer it by these bytes                                                              |
| `put L S X HEX`          | store these bytes, then length, nr_extra_pages and state; `-` leaves one alone        |
| `poke OFFSET HEX`        | store these bytes anywhere in the page                                                |
| `notify`                 | send an event                                                                         |
| `hold`, `free`           | leave all commands unanswered from now on; answer them again                          |
| `times T D`              | the TPM names time-outs and durations of so many milliseconds                         |
| `pass S`                 | let so many seconds go by, in which commands time out                                 |
| `result`                 | wait for what the application got                                                     |
| `unbind`, `bind`         | the driver is taken away from the device, and given it again, by sysfs                |
| `cancel`                 | the application cancels by sysfs                                                      |
| `done`                   | wait until that is done                                                               |
| `rest`                   | wait until nothing has happened for a while: the frontend then owes nothing           |

Between lines, and while one waits, every command but the application's own is answered at once, and every cancel that
is not the script's affair is acknowledged.
"""

from __future__ import annotations

import hashlib
import json
import select
import time
from collections.abc import Callable
from typing import Any

from vtpm_impl.ring import page as layout
from vtpm_impl.xen.platform import GrantMapping, Platform, PlatformError, Port
from vtpm_impl.xen.xenstore.client import Client, XenstoreError

from .canned import USUAL, answer_to, sized
from .serving import packed

LIMIT = 20.0
"""Seconds that a line waits for what it waits for."""

QUIET = 1.0
"""Seconds without an event after which nothing more is expected."""

SUBMIT, FINISH = layout.State.SUBMIT, layout.State.FINISH


class Vain(Exception):
    """A line has waited in vain: the frontend did not do it, or does nothing more."""


class Counterpart:
    """Toolstack and backend of one device, for one run.

    `platform` is the backend's domain, `store` a connection of their own to its xenstore: the trace of a connection
    that others use, too, does not tell whose transaction a request is part of. `patience` multiplies every time.
    """

    def __init__(self, platform: Platform, store: Client, domid: int, handle: int, patience: float) -> None:
        self._device = f"{domid}/{handle}"
        self._handle = handle
        self._front = f"/local/domain/{domid}/device/vtpm/{handle}"
        self._back = f"/local/domain/{platform.domid}/backend/vtpm/{domid}/{handle}"
        self._data = f"/local/domain/{domid}/data"
        self._domid = domid
        self._patience = patience
        self._log: list[str] = []
        self._began = time.monotonic()
        self._store = store
        self._platform = platform
        self._page: GrantMapping | None = None
        self._port: Port | None = None
        self._looks = 0
        self._commands = 0
        self._standing: bytes | None = None  # a command that was left in the page
        self._held = False
        self._wanted: bytes | None = None  # the application's command, which is the script's affair
        self._times = USUAL
        self._asked = 0
        self._awaiting = ""  # what the application was asked for
        self._answers: dict[str, Any] = {}
        self._happened = self._began

    # ------------------------------------------------------------------------------------------------------- a run

    def play(self, lines: list[str]) -> dict[str, Any]:
        """Play the lines, and leave no device behind: the log, seconds, and what is wrong with the guest, if it is."""
        error = ""
        self._note("start", domid=self._platform.domid)
        try:
            self._store.watch(self._front, "front")
            self._store.watch(f"{self._data}/answer", "answer")
            try:
                for line in lines:
                    self._line(line)
            except Vain as vain:
                self._look(asked=True)
                self._note("rested", device=self._device, vain=str(vain))
            played = time.monotonic()
            dirty = self._leave()
        except (PlatformError, XenstoreError, OSError) as wrong:
            error, dirty, played = f"{type(wrong).__name__}: {wrong}", "", time.monotonic()
        finally:
            self._disconnected(tell=False)
        ended = time.monotonic()
        return {
            "log": self._log, "seconds": round(played - self._began, 3), "leaving": round(ended - played, 3),
            "dirty": dirty, "error": error,
        }  # fmt: skip

    def _leave(self) -> str:
        """Take the device away as a sound toolstack and backend would; what the guest kept of it, if anything."""
        self._held, self._wanted = False, None
        self._look(asked=False)
        if self._read(f"{self._back}/state") not in (None, "6"):
            self._transact({f"{self._back}/online": "0", f"{self._back}/state": "5"})
        self._until(lambda: self._state() in (None, "1", "6"), LIMIT)
        self._disconnected(tell=False)
        self._transact({self._front: None, self._back: None})
        gone = self._ask("await_gone", {"handle": self._handle, "timeout": 20.0 * self._patience}, 30.0)
        kernel = self._read(f"{self._data}/kernel")
        if kernel:
            return f"the guest's kernel says: {kernel[:1500]}"
        return "" if gone is True else f"the guest keeps the device: {gone}"

    def _line(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        words = rest.split()
        match name:
            case "attach" if rest == "-":
                self._attach({}, alone=True)
            case "attach":
                self._attach(dict(word.partition("=")[::2] for word in words))
            case "detach":
                self._transact({f"{self._back}/online": "0", f"{self._back}/state": "5"})
            case "back" | "front":
                node, _, value = rest.partition(" ")
                folder = self._back if name == "back" else self._front
                self._write(f"{folder}/{node}", "" if value == '""' else value or None)
            case "rm":
                folders = {"back": (self._back,), "front": (self._front,), "both": (self._front, self._back)}[rest]
                self._transact(dict.fromkeys(folders))
            case "await":
                wanted = [None if word == "-" else word for word in words]
                self._wait(lambda: self._state() in wanted, line)
            case "await-page":
                self._wait(lambda: self._page is not None and self._page.memory[layout.STATE] == int(rest), line)
                self._look(asked=True)
            case "connect":
                self._connect()
            case "disconnect":
                self._disconnected()
            case "serve":
                goal = self._commands + int(rest)
                self._wait(lambda: self._commands >= goal, line)
            case "call":
                self._call(rest)
            case "request":
                self._wait(lambda: self._standing is not None and self._standing == self._wanted, line)
            case "any":
                self._wait(lambda: self._standing is not None, line)
            case "answer":
                self._answer(bytes.fromhex(rest) if rest else None)
            case "put":
                self._put(words)
            case "poke":
                self._poke(int(words[0]), bytes.fromhex(words[1]))
            case "notify":
                if self._port is not None:
                    self._port.notify()
            case "hold":
                self._held = True
            case "free":
                self._held = False
                self._look(asked=False)
            case "times":
                self._times = (int(words[0]) * 1000, int(words[1]) * 1000)
                self._note("short", device=self._device)
            case "pass":
                self._note("passes", device=self._device)
                self._until(lambda: False, float(rest))
            case "result":
                self._result(line)
            case "unbind" | "bind" | "cancel":
                self._note(name, device=self._device)
                if name == "cancel":
                    self._wanted = b""  # what becomes of the page is the script's affair until it stores something
                self._begin(name, {"handle": self._handle})
            case "done":
                self._wait(lambda: self._awaiting in self._answers, line)
            case "rest":
                self._rest()
            case _:
                raise ValueError(f"{line!r} is no line of a script")

    # ------------------------------------------------------------------------------------------------------ the store

    def _attach(self, changed: dict[str, str], *, alone: bool = False) -> None:
        front = {
            "backend": self._back,
            "backend-id": str(self._platform.domid),
            "state": "1",
            "handle": str(self._handle),
        }
        back = {
            "frontend": self._front, "frontend-id": str(self._domid), "online": "1", "state": "1",
            "handle": str(self._handle), "uuid": "12345678-9abc-def0-1234-56789abcdef0", "resume": "False",
        } | changed  # fmt: skip
        directories = {self._front: front} if alone else {self._front: front, self._back: back}
        ours, theirs = self._platform.domid, self._domid
        owners = {self._front: (theirs, ours), self._back: (ours, theirs)}
        for transaction in self._store.transaction():
            with transaction:
                for folder, values in directories.items():
                    owner, reader = owners[folder]
                    transaction.mkdir(folder)
                    transaction.set_perms(folder, [f"n{owner}", f"r{reader}"])
                    for name, value in values.items():
                        if value:
                            transaction.write(f"{folder}/{name}", value.encode("latin-1"))
        made = dict.fromkeys(directories, "")
        for folder, values in directories.items():
            made |= {f"{folder}/{name}": value for name, value in values.items() if value}
        self._note("wrote", device=self._device, nodes=made)

    def _write(self, path: str, value: str | None) -> None:
        if value is None:
            self._transact({path: None})
            return
        self._store.write(path, value.encode("latin-1"))
        self._note("wrote", device=self._device, nodes={path: value})

    def _transact(self, values: dict[str, str | None]) -> None:
        for transaction in self._store.transaction():
            with transaction:
                for path, value in values.items():
                    if value is not None:
                        transaction.write(path, value.encode("latin-1"))
                    elif transaction.read_or_none(path) is not None:
                        transaction.rm(path)
        self._note("wrote", device=self._device, nodes=values)

    def _read(self, path: str) -> str | None:
        value = self._store.read_or_none(path)
        return None if value is None else value.decode("latin-1")

    def _state(self) -> str | None:
        return self._read(f"{self._front}/state")

    # ------------------------------------------------------------------------------------------------------- the page

    def _connect(self) -> None:
        self._disconnected()
        keys = {name: self._read(f"{self._front}/{name}") for name in ("state", "ring-ref", "event-channel")}
        if keys["ring-ref"] is None or keys["event-channel"] is None:
            return
        ref, remote = int(keys["ring-ref"]), int(keys["event-channel"])
        self._page = self._platform.map_grant(self._domid, ref)
        self._port = self._platform.bind_port(self._domid, remote)
        head = bytes(self._page.memory[:16]).hex()
        self._note("mapped", device=self._device, ring_ref=ref, remote_port=remote, page=head)
        self._looks = 0
        self._look(asked=True)

    def _disconnected(self, *, tell: bool = True) -> None:
        if self._page is None or self._port is None:
            return
        self._page.unmap()
        self._port.close()
        self._page = self._port = self._standing = None
        if tell:
            self._note("unmapped", device=self._device)

    def _look(self, *, asked: bool) -> None:
        """Look at the page; answer what stands there, unless that is the script's affair."""
        if self._page is None or self._port is None:
            return
        self._port.take()
        length, state, locality, pad, extra = layout.read_header(self._page.memory)
        data = b""
        if state == SUBMIT and length <= layout.capacity(extra):
            data = layout.read_packet(self._page.memory, extra, length)
        if asked or data != self._standing:
            self._note(
                "looked", device=self._device, length=length, state=state, locality=locality, pad=pad,
                nr_extra_pages=extra, digest=_digest(data), named=int.from_bytes(data[2:6], "big"),
            )  # fmt: skip
        self._standing = data or None
        if data and not self._held and data != self._wanted:
            self._answer(None)
        elif state == layout.State.CANCEL and not self._held and self._wanted is None:
            self._store_into(None, layout.State.IDLE, None, None)
            self._port.notify()

    def _answer(self, given: bytes | None) -> None:
        command = self._standing
        if command is None:
            raise Vain("nothing stands in the page")
        reply = answer_to(command, self._times) if given is None else given
        self._commands += 1
        self._store_into(len(reply), FINISH, None, reply)
        assert self._port is not None
        self._port.notify()
        self._standing = None
        if command == self._wanted:
            self._wanted = None

    def _put(self, words: list[str]) -> None:
        length, state, extra = (None if word == "-" else int(word, 0) for word in words[:3])
        self._store_into(length, state, extra, bytes.fromhex(words[3]) if len(words) > 3 else None)
        if state in (FINISH, layout.State.IDLE):
            self._wanted = self._standing = None

    def _poke(self, offset: int, data: bytes) -> None:
        if self._page is None:
            raise Vain("no page is mapped")
        self._page.memory[offset : offset + len(data)] = data
        self._store_into(None, None, None, None)

    def _store_into(self, length: int | None, state: int | None, extra: int | None, data: bytes | None) -> None:
        """Store what is given, and say what the page holds then."""
        if self._page is None:
            raise Vain("no page is mapped")
        memory = self._page.memory
        if extra is not None:
            memory[7] = extra
        extra = memory[7]
        offset = layout.data_offset(extra)
        if data is not None:
            memory[offset : offset + len(data)] = data
        if length is not None:
            memory[0:4] = length.to_bytes(4, "little")
        packet = bytes(memory[offset : offset + 6]).ljust(6, b"\0")
        named = int.from_bytes(packet[2:6], "big")
        whole = bytes(memory[offset : min(offset + named, layout.FRAME)])
        stored, now, _, _, _ = layout.read_header(memory)
        if state is not None:
            layout.write_state(memory, state)
        self._note(
            "stored", device=self._device, length=stored, state=now if state is None else state, nr_extra_pages=extra,
            named=named, digest=_digest(whole),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------ the application

    def _call(self, what: str) -> None:
        self._wanted = sized(int(what.split()[1])) if what.startswith("size") else bytes.fromhex(what)
        self._note("calls", device=self._device, length=len(self._wanted), digest=_digest(self._wanted))
        self._begin("call", {"handle": self._handle, "command": what})

    def _begin(self, do: str, arguments: dict[str, Any]) -> None:
        self._asked += 1
        self._awaiting = f"{self._handle}.{self._asked}"
        self._store.write(f"{self._data}/ask", packed({"n": self._awaiting, "do": do, "with": arguments}))

    def _ask(self, do: str, arguments: dict[str, Any], limit: float) -> Any:
        self._begin(do, arguments)
        self._until(lambda: self._awaiting in self._answers, limit)
        return self._answers.get(self._awaiting, {}).get("value", "no answer")

    def _result(self, line: str) -> None:
        self._wait(lambda: self._awaiting in self._answers, line)
        self._wanted = None
        self._note("result", device=self._device, **self._answers[self._awaiting].get("value", {"error": "?"}))

    # ----------------------------------------------------------------------------------------------------- waiting

    def _wait(self, done: Callable[[], bool], line: str) -> None:
        if not self._until(done, LIMIT):
            raise Vain(f"{line}: not within {LIMIT * self._patience:g} s")

    def _until(self, done: Callable[[], bool], limit: float) -> bool:
        """Take events until it is done; whether it is within the limit."""
        until = time.monotonic() + limit * self._patience
        while not done():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._take(min(left, 1.0))
        return True

    def _rest(self) -> None:
        until = time.monotonic() + LIMIT * self._patience
        quiet = QUIET * self._patience
        self._happened = time.monotonic()
        while (left := self._happened + quiet - time.monotonic()) > 0:
            if time.monotonic() > until:
                raise Vain("it never comes to rest")
            self._take(left)
        self._look(asked=True)
        self._note("rested", device=self._device)

    def _take(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._store.fileno(), select.POLLIN)
        if self._port is not None:
            poll.register(self._port.fileno(), select.POLLIN)
        if poll.poll(seconds * 1000):
            self._happened = time.monotonic()
        while (event := self._store.event()) is not None:
            if event.token == "answer":
                answered = self._store.read_or_none(f"{self._data}/answer")
                given = json.loads(answered) if answered else {}
                if "n" in given:
                    self._answers[given["n"]] = given
        if self._port is not None and self._port.take():
            self._look(asked=True)

    def _note(self, event: str, **fields: Any) -> None:
        seconds = round(time.monotonic() - self._began, 4)
        self._log.append(json.dumps({"t": seconds, "ev": event, **fields}, separators=(",", ":")))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16] if data else ""
