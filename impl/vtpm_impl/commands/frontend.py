"""`vtpm frontend`: use a domain's vTPM, and let programs use it through a local socket."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from vtpm_impl.commands.platforms import PlatformOption, platforms
from vtpm_impl.commands.xenstore import FALLS_SHORT, RUN_DIRECTORY, RunDirectory
from vtpm_impl.ring.frontend import RingError
from vtpm_impl.tpm import header
from vtpm_impl.tpm.header import Fault
from vtpm_impl.xen.platform import PlatformError

GIVE_UP = 120.0
"""Seconds for one command."""


class _Stopped(Exception):
    """A signal asked for the end."""


def frontend(
    *,
    listen: Annotated[Path, typer.Option("--listen", metavar="SOCKET", help="The Unix socket to make.")],
    platform: PlatformOption = None,
    domain: Annotated[
        int, typer.Option("--domain", min=0, max=0x7FEF, help="The domain to be, on the host platform.")
    ] = 1,
    handle: Annotated[int, typer.Option("--handle", min=0, help="The number of its device.")] = 0,
    locality: Annotated[int, typer.Option("--locality", min=0, max=255, help="That of every command.")] = 0,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.0, help="Seconds to wait for a device; for ever without.")
    ] = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
) -> None:
    """Be a domain that has a vTPM, and serve it to programs at a socket, until interrupted or the device is lost.

    Example: vtpm frontend --listen /run/tpm.sock

    Example: vtpm frontend --platform host --domain 1 --listen /run/tpm1.sock
    """
    from vtpm_impl.tpm.server import ServerError, TpmServer
    from vtpm_impl.xenbus.frontend import DeviceLost, Frontend, FrontendError, await_device

    def stop(*_: Any) -> None:
        raise _Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    lost = threading.Event()
    try:
        with platforms(platform, run_dir, domain) as make_platform:
            here = make_platform()
            typer.echo(f"domain {here.domid} waits for its vTPM {handle}")
            await_device(here, handle, timeout)
            device = Frontend(here, handle)
            device.open()

            def answer(command: bytes) -> bytes:
                try:
                    return device.transmit(command, locality=locality, timeout=GIVE_UP)
                except DeviceLost as error:
                    typer.echo(f"vtpm: {error}", err=True)
                    lost.set()
                    server.stop()
                except (FrontendError, RingError) as error:
                    typer.echo(f"vtpm: {error}", err=True)
                return header.error(Fault.NO_ANSWER, command)

            server = TpmServer(listen, answer)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: server.stop())
            typer.echo(f"the vTPM of domain {here.domid} is at {listen}")
            server.serve()
            device.shutdown()
    except _Stopped:
        return
    except (FrontendError, PlatformError, ServerError) as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    if lost.is_set():
        raise typer.Exit(FALLS_SHORT)
