"""A backend that serves until a signal asks for its end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from vtpm_impl.engines import Engine
from vtpm_impl.engines.echo import Echo
from vtpm_impl.engines.socket import SocketTpm
from vtpm_impl.services.recorder import Recorder
from vtpm_impl.xen.platform import Platform
from vtpm_impl.xenbus.backend import REMOVAL, Backend
from vtpm_impl.xenbus.journal import Journals, silent
from vtpm_impl.xenbus.nodes import Device

STEPS_WORTH_TELLING = {
    "backend_tracks": "a new device",
    "backend_goes_to_connected": "connected",
    "backend_disconnects": "disconnected",
    "backend_refuses_connection": "refused: the frontend's nodes make no sense",
    "backend_releases_device": "closed",
}


class NoSuchEngine(ValueError):
    """A text names no engine; the message shows the text and what is allowed."""


def make_engine(text: str) -> tuple[Engine, range]:
    """The engine that a text names, and the localities that it has. Raises NoSuchEngine, EngineError."""
    kind, _, where = text.partition(":")
    path, _, control = where.partition(",")
    if text == "echo":
        return Echo(), range(5)
    if kind == "swtpm" and path:
        return SocketTpm(Path(path), control=Path(control) if control else None), range(5 if control else 1)
    if kind == "tis":
        from vtpm_impl.engines.tis import learn_limits, tis_engine
        from vtpm_impl.tis.options import OptionError

        try:
            driver = tis_engine(where)
        except OptionError as error:
            raise NoSuchEngine(str(error)) from None
        learn_limits(driver)
        return driver, range(5)
    raise NoSuchEngine(f"{text!r} is no engine: echo, swtpm:SOCKET, swtpm:SOCKET,CONTROL or tis:WHERE is meant")


def serve_backend(
    platform: Platform,
    engine: Engine,
    localities: range,
    told: str,
    say: Callable[[str], None],
    record: Callable[[str], None] | None = None,
    journals: Journals = silent,
) -> None:
    """Serve every vTPM that the toolstack gives this domain, until SIGINT or SIGTERM. Raises PlatformError.

    `told` is how the engine was named; `record` takes the lines of a recorder. A domain other than 0 removes the nodes
    of closed devices itself: nobody else does it there.
    """
    recorder = None if record is None else Recorder(platform, engine, record)

    def tell(device: Device, step: str) -> None:
        if recorder is not None:
            recorder.report(device, step)
        if step in STEPS_WORTH_TELLING:
            say(f"{device}: {STEPS_WORTH_TELLING[step]}")

    serving = Backend(
        platform if recorder is None else recorder.platform,
        engine if recorder is None else recorder.engine,
        permits=lambda device, locality: locality in localities,
        removal=REMOVAL if platform.domid != 0 else None,
        report=tell,
        journals=journals,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: serving.stop())
    say(f"domain {platform.domid} serves vTPMs with {told}")
    serving.serve()
