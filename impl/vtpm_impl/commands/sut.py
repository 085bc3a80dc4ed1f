"""`vtpm sut`: be a system under test, whose machine is the harness at the other end of standard input and output."""

from __future__ import annotations

import os
import queue
import sys
import traceback
from collections import deque
from typing import Annotated, Any, NoReturn

import typer

from vtpm_impl.commands.tis_sut import TIS_ENDS, tis_sut
from vtpm_impl.commands.xenstore import FALLS_SHORT, WRONG_USE
from vtpm_impl.engines import EngineError
from vtpm_impl.ring.frontend import RingError
from vtpm_impl.tpm.family import Family
from vtpm_impl.xen.platform import PlatformError
from vtpm_impl.xen.sut.link import PROTOCOL, Link, LinkLost
from vtpm_impl.xen.sut.platform import SutPlatform
from vtpm_impl.xenbus.backend import Backend
from vtpm_impl.xenbus.frontend import Frontend, FrontendError
from vtpm_impl.xenbus.nodes import Device

ENDS = ("frontend", "backend")

_AGAIN = 3
"""The exit code of a conversation that another one follows."""


class _Over(Exception):
    """The harness ends the conversation; `again` if another one follows."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.again = again


def sut(
    end: Annotated[str, typer.Argument(metavar="END", help="frontend, backend, tis-driver or tis-device.")],
    *,
    tis: Annotated[
        str | None, typer.Option("--tis", metavar="WHERE", help="The device's registers; else QEMU makes one.")
    ] = None,
    family: Annotated[
        Family | None, typer.Option("--family", help="The device that QEMU makes; else a TPM 1.2.")
    ] = None,
) -> None:
    """Be a frontend or a backend that a harness tests, speaking the protocol vtpm-sut/1.

    It is meant to be run by the harness: vtpmspec conform -- vtpm sut backend. A driver of the hardware TPM, or a TPM
    behind its registers, speaks the protocol vtpm-tis/1.

    Example: vtpm sut frontend

    Example: vtpm sut tis-device --family 2.0

    Example: vtpm sut tis-device --tis qtest:/run/qtest.sock
    """
    if end not in (*ENDS, *TIS_ENDS):
        _wrong_use(f"{end!r} is no end of a device: {', '.join((*ENDS, *TIS_ENDS))} are meant")
    if end != "tis-device" and not (tis is None and family is None):
        _wrong_use(f"--tis and --family are for tis-device, and not for a {end}")
    if tis is not None and family is not None:
        _wrong_use("--family is for a device that QEMU makes, and --tis names one that there is")
    if end in TIS_ENDS:
        tis_sut(end, tis, family or Family.TPM_1_2)
        return
    while True:
        # each conversation in a process of its own, which is all that there is to forget
        child = os.fork()
        if child == 0:
            os._exit(_converse(end))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != _AGAIN:
            raise typer.Exit(code if code >= 0 else FALLS_SHORT)


def _wrong_use(why: str) -> NoReturn:
    typer.echo(f"vtpm: {why}", err=True)
    raise typer.Exit(WRONG_USE)


def _converse(end: str) -> int:
    """One conversation; the exit code that says how it ended."""
    link = Link(sys.stdin.buffer, sys.stdout.buffer)
    try:
        domid = link.ask("hello", protocol=PROTOCOL, end=end, name="xen-vtpm", again=True)["domain"]
        subject = _BackendSubject(link, domid) if end == "backend" else _FrontendSubject(link, domid)
        subject.converse()
    except _Over as over:
        return _AGAIN if over.again else 0
    except (LinkLost, PlatformError) as error:
        typer.echo(f"vtpm: {error}", err=True)
    except BaseException:
        traceback.print_exc()
    return FALLS_SHORT


# ------------------------------------------------------------------------------------------------------- the backend


class _HarnessEngine:
    """A TPM that the harness plays: it answers when the harness wants it to."""

    prompt = False

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[tuple[bytes, int]] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def transmit(self, command: bytes, *, locality: int) -> bytes:
        """What the harness answers. Raises EngineError once there is no answer to be had."""
        self.asked.put((command, locality))
        answer = self.answers.get()
        if answer is None:
            raise EngineError("the conversation is over")
        return answer

    def close(self) -> None:
        """Let go of a command that was not answered."""
        self.answers.put(None)


class _BackendSubject:
    """Our backend, one event of the harness at a time."""

    def __init__(self, link: Link, domid: int) -> None:
        self._link = link
        self._platform = SutPlatform(link, domid, self._obey)
        self._engine = _HarnessEngine()
        self._backend: Backend | None = None
        self._opening: Device | None = None
        self._held = False  # the harness was given a command
        self._answered = False

    def converse(self) -> NoReturn:
        """Obey until it is over, which raises _Over."""
        while True:
            self._platform.take(self._link.wait())
            if self._backend is not None:
                self._step(self._backend)

    def _obey(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "start":
                self._backend = Backend(self._platform, self._engine, report=self._report)
            case "answer" if self._held:
                self._held, self._answered = False, True
                self._engine.answers.put(bytes.fromhex(event["data"]))
            case "stop" if self._backend is not None:
                self._engine.close()
                self._backend.close()
                self._backend = None
            case "reset" | "end" as last:
                raise _Over(again=last == "reset")

    def _step(self, backend: Backend) -> None:
        # only an answered command makes the engine's thread ring, which is waited for
        backend.step(None if self._answered else 0)
        self._answered = False
        device = backend.serving
        if device is not None and not self._held:
            self._held = True
            command, locality = self._engine.asked.get()
            self._link.ask(
                "command", domain=device.domid, handle=device.handle, locality=locality, data=command.hex()
            )  # fmt: skip

    def _report(self, device: Device, step: str) -> None:
        if self._opening is not None:
            opened, self._opening = self._opening, None
            self._link.ask("opened", domain=opened.domid, handle=opened.handle)
        if step == "backend_tracks":
            self._opening = device
        elif step == "backend_releases_device":
            self._link.ask("closed", domain=device.domid, handle=device.handle)


# ------------------------------------------------------------------------------------------------------ the frontend


class _FrontendSubject:
    """Our frontend and an application that wants what the harness says."""

    def __init__(self, link: Link, domid: int) -> None:
        self._link = link
        self._platform = SutPlatform(link, domid, self._obey)
        self._wishes: deque[dict[str, Any]] = deque()
        self._frontend: Frontend | None = None

    def converse(self) -> NoReturn:
        """Obey until it is over, which raises _Over."""
        while True:
            while self._wishes:
                self._fulfil(self._wishes.popleft())
            self._platform.take(self._link.wait())
            if self._frontend is not None:
                self._frontend.attend()

    def _obey(self, event: dict[str, Any]) -> None:
        if event["event"] in ("reset", "end"):
            raise _Over(again=event["event"] == "reset")
        self._wishes.append(event)

    def _fulfil(self, wish: dict[str, Any]) -> None:
        what = wish["event"]
        data = None
        try:
            match what:
                case "open":
                    self._open(wish["handle"])
                case "command":
                    data = self._transmit(bytes.fromhex(wish["data"]), wish["locality"]).hex()
                case "close" if self._frontend is not None:
                    self._frontend.close()
        except (FrontendError, RingError, PlatformError) as error:
            self._link.ask("say", text=str(error)[:1000])
            self._link.ask("result", of=what, ok=False)
        else:
            self._link.ask("result", of=what, ok=True, data=data)

    def _open(self, handle: int) -> None:
        if self._frontend is None:
            self._frontend = Frontend(self._platform, handle)
        self._frontend.open()

    def _transmit(self, command: bytes, locality: int) -> bytes:
        if self._frontend is None:
            raise FrontendError("no device is open")
        return self._frontend.transmit(command, locality=locality)
