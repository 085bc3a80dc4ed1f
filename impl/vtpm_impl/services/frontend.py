"""A frontend that lets programs use a domain's vTPM at a socket, until a signal asks for its end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vtpm_impl.ring.frontend import RingError
from vtpm_impl.tpm import header
from vtpm_impl.tpm.header import Fault
from vtpm_impl.tpm.server import TpmServer
from vtpm_impl.xen.platform import Platform
from vtpm_impl.xenbus.frontend import DeviceLost, Frontend, FrontendError, await_device
from vtpm_impl.xenbus.journal import Journals, silent

GIVE_UP = 120.0
"""Seconds for one command."""


class _Stopped(Exception):
    """A signal asked for the end."""


def serve_frontend(
    platform: Platform,
    handle: int,
    listen: Path,
    *,
    locality: int,
    timeout: float | None,
    say: Callable[[str], None],
    complain: Callable[[str], None],
    journals: Journals = silent,
) -> bool:
    """Serve a device at the socket `listen` until SIGINT, SIGTERM, or the device is lost; False if it was lost.

    `timeout`: seconds to wait for a device, for ever without. Raises FrontendError, PlatformError, ServerError.
    """

    def stop(*_: Any) -> None:
        raise _Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    lost = threading.Event()
    try:
        say(f"domain {platform.domid} waits for its vTPM {handle}")
        await_device(platform, handle, timeout)
        device = Frontend(platform, handle, journals=journals)
        device.open()

        def answer(command: bytes) -> bytes:
            try:
                return device.transmit(command, locality=locality, timeout=GIVE_UP)
            except DeviceLost as error:
                complain(str(error))
                lost.set()
                server.stop()
            except (FrontendError, RingError) as error:
                complain(str(error))
            return header.error(Fault.NO_ANSWER, command)

        def take_news() -> None:
            if not device.attend() and not lost.is_set():
                complain(f"the backend of vTPM {handle} is gone")
                lost.set()
                server.stop()

        server = TpmServer(listen, answer, (platform.store.fileno(), take_news))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: server.stop())
        say(f"the vTPM of domain {platform.domid} is at {listen}")
        server.serve()
        device.shutdown()
    except _Stopped:
        return True
    return not lost.is_set()
