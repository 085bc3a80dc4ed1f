"""Writes down what a backend reads, writes and looks at, a JSON line each, so that its run can be judged later.

| line           | what has happened                                            | fields                             |
|----------------|--------------------------------------------------------------|------------------------------------|
| start          | the recorder begins                                          | schema, domid                      |
| watch          | a node has been read                                         | path, value (null: it is not there) |
| write          | a node has been written, or removed (null)                   | path, value                        |
| frontend-state | the nodes by which the backend connects, as it has read them | path, value, keys                  |
| connected      | the page is mapped and the port bound                        | ring_ref, remote_port, fe_v2, page |
| event          | the backend has looked at the page, after an event           | device, why, and the page's header |
| command        | a request is answered, and the event sent                    | device, n, cmd, rsp, locality      |

Every line has `t`, seconds since the start. Bytes are hexadecimal; `page` is its first 16. The published form of it is
traces/schema/vtpm-recording-1.schema.json.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from vtpm_impl.engines import Engine
from vtpm_impl.ring import page as layout
from vtpm_impl.xen.platform import Grant, GrantMapping, Memory, Platform, Poller, Port, Store, StoreView
from vtpm_impl.xenbus import nodes
from vtpm_impl.xenbus.nodes import Device

SCHEMA = "vtpm-recording/1"

T = TypeVar("T")

_KEYS = ("state", "ring-ref", "event-channel", "feature-protocol-v2")


class Recorder:
    """Stands between a backend and its platform and engine; `report` is for the backend to call."""

    def __init__(self, platform: Platform, engine: Engine, write: Callable[[str], None]) -> None:
        """`write` takes a line, without its end."""
        self._inner = platform
        self._write = write
        self._started = platform.now()
        self._lock = threading.Lock()
        self._read: dict[str, str | None] = {}
        self._commands: dict[Device, int] = defaultdict(int)
        self._pages: dict[Device, _Page] = {}
        self._mapped: _Page | None = None
        self.platform = _RecordedPlatform(platform, self)
        self.engine = _RecordedEngine(engine)
        self.line("start", schema=SCHEMA, domid=platform.domid)

    def line(self, event: str, **fields: Any) -> None:
        """Write a line."""
        with self._lock:  # the engine's thread looks at pages, too
            seconds = round(self._inner.now() - self._started, 6)
            self._write(json.dumps({"t": seconds, "ev": event, **fields}))

    def read(self, path: str, value: bytes | None) -> None:
        """A node has been read."""
        absolute, text = self._absolute(path), _text(value)
        self._read[absolute] = text
        self.line("watch", path=absolute, value=text)

    def wrote(self, path: str, value: bytes | None) -> None:
        """A node has been written, or removed."""
        self.line("write", path=self._absolute(path), value=_text(value))

    def mapped(self, page: _Page) -> None:
        """A page has been mapped; whose it is will be told."""
        self._mapped = page

    def report(self, device: Device, step: str) -> None:
        """The backend has taken a step."""
        page = self._pages.get(device)
        if step == "backend_tracks":
            self._commands[device] = 0
        elif step == "backend_maps" and self._mapped is not None:
            self._pages[device], self._mapped = self._mapped, None
            self._connected(device, self._pages[device])
        elif step == "backend_wakes" and page is not None:
            length, state, locality, pad, extra = page.last_look()
            why = "evtchn" if page.connected else "connect"
            page.connected = True
            self.line(
                "event", device=str(device), why=why, length=length, state=state, locality=locality, pad=pad,
                nr_extra_pages=extra,
            )  # fmt: skip
        elif step == "backend_finishes":
            self._commands[device] += 1
            command, locality, response = self.engine.last
            self.line(
                "command", device=str(device), n=self._commands[device], cmd=command.hex(), rsp=response.hex(),
                locality=locality,
            )  # fmt: skip

    def _connected(self, device: Device, page: _Page) -> None:
        folder = nodes.frontend_directory(device)
        keys = {name: value for name in _KEYS if (value := self._read.get(f"{folder}/{name}")) is not None}
        self.line("frontend-state", path=f"{folder}/state", value=keys.get("state"), keys=keys)
        self.line(
            "connected", device=str(device), ring_ref=page.ref, remote_port=page.remote_port,
            fe_v2=keys.get("feature-protocol-v2"), page=bytes(page.inner[:16]).hex(),
        )  # fmt: skip

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"/local/domain/{self._inner.domid}/{path}"


class _Page:
    """The bytes of a page, with what the last look at its state saw of the whole header."""

    def __init__(self, inner: Memory, ref: int) -> None:
        self.inner = inner
        self.ref = ref
        self.remote_port = 0
        self.connected = False
        self._look: tuple[int, int, int, int, int] | None = None

    def __getitem__(self, where: Any) -> Any:
        if where == layout.STATE:
            self._look = layout.read_header(self.inner)
            return self._look[1]
        return self.inner[where]

    def __setitem__(self, where: Any, value: Any) -> None:
        self.inner[where] = value

    def last_look(self) -> tuple[int, int, int, int, int]:
        """What the look after an event saw; a backend that had something else to do did not look."""
        look, self._look = self._look, None
        return look or layout.read_header(self.inner)


class _RecordedMapping:
    """A page of another domain."""

    def __init__(self, inner: GrantMapping, page: _Page) -> None:
        self._inner = inner
        self.memory: Memory = page

    def unmap(self) -> None:
        """Take the mapping away."""
        self._inner.unmap()


class _RecordedView:
    """What is read and written in a transaction; told when that has been committed."""

    def __init__(self, inner: StoreView) -> None:
        self._inner = inner
        self.wrote: list[tuple[str, bytes | None]] = []

    def read(self, path: str) -> bytes | None:
        """The value of a node."""
        return self._inner.read(path)

    def directory(self, path: str) -> tuple[str, ...]:
        """The names below a node."""
        return self._inner.directory(path)

    def write(self, path: str, value: bytes) -> None:
        """Write a node."""
        self._inner.write(path, value)
        self.wrote.append((path, value))

    def remove(self, path: str) -> None:
        """Remove a node."""
        self._inner.remove(path)
        self.wrote.append((path, None))


class _RecordedStore:
    """A domain's connection to xenstore."""

    def __init__(self, inner: Store, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder
        self.watch = inner.watch
        self.unwatch = inner.unwatch
        self.fileno = inner.fileno
        self.directory = inner.directory

    def events(self) -> Iterable[tuple[str, str]]:
        """The events that wait."""
        return self._inner.events()

    def read(self, path: str) -> bytes | None:
        """The value of a node."""
        value = self._inner.read(path)
        self._recorder.read(path, value)
        return value

    def write(self, path: str, value: bytes) -> None:
        """Write a node."""
        self._inner.write(path, value)
        self._recorder.wrote(path, value)

    def remove(self, path: str) -> None:
        """Remove a node."""
        self._inner.remove(path)
        self._recorder.wrote(path, None)

    def transact(self, change: Callable[[StoreView], T]) -> T:
        """Run `change` in a transaction; of several attempts the last one counts."""
        view: _RecordedView | None = None

        def run(inner: StoreView) -> T:
            nonlocal view
            view = _RecordedView(inner)
            return change(view)

        result = self._inner.transact(run)
        for path, value in view.wrote if view is not None else ():
            self._recorder.wrote(path, value)
        return result


class _RecordedPlatform:
    """The machine, as the backend's domain sees it."""

    def __init__(self, inner: Platform, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder
        self._page: _Page | None = None
        self._store = _RecordedStore(inner.store, recorder)

    @property
    def domid(self) -> int:
        """The number of this domain."""
        return self._inner.domid

    @property
    def store(self) -> _RecordedStore:
        """This domain's xenstore."""
        return self._store

    def map_grant(self, domid: int, ref: int) -> GrantMapping:
        """Map a page that another domain has granted."""
        mapping = self._inner.map_grant(domid, ref)
        self._page = _Page(mapping.memory, ref)
        return _RecordedMapping(mapping, self._page)

    def bind_port(self, domid: int, port: int) -> Port:
        """Bind a port that another domain has opened: that of the page that was mapped before."""
        bound = self._inner.bind_port(domid, port)
        if self._page is not None:
            self._page.remote_port = port
            self._recorder.mapped(self._page)
            self._page = None
        return bound

    def grant(self, domid: int) -> Grant:
        """A page that another domain may map."""
        return self._inner.grant(domid)

    def open_port(self, domid: int) -> Port:
        """A port that another domain may bind."""
        return self._inner.open_port(domid)

    def now(self) -> float:
        """Seconds."""
        return self._inner.now()

    def poller(self) -> Poller:
        """A new one."""
        return self._inner.poller()

    def close(self) -> None:
        """Give everything back."""
        self._inner.close()


class _RecordedEngine:
    """An engine that remembers its last command and answer; it has one command at a time."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.last = (b"", 0, b"")

    @property
    def prompt(self) -> bool:
        """As the engine is."""
        return self._inner.prompt

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """The engine's answer."""
        self.last = (command, locality, b"")
        response = self._inner.transmit(command, locality=locality)
        self.last = (command, locality, response)
        return response

    def close(self) -> None:
        """Close the engine."""
        self._inner.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
