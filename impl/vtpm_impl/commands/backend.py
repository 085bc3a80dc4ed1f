"""`vtpm backend`: serve the vTPMs of other domains with one engine."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from vtpm_impl.commands.platforms import PlatformOption, platforms
from vtpm_impl.commands.xenstore import FALLS_SHORT, RUN_DIRECTORY, WRONG_USE, RunDirectory
from vtpm_impl.engines import Engine, EngineError
from vtpm_impl.xen.platform import PlatformError
from vtpm_impl.xenbus.nodes import Device

STEPS_WORTH_TELLING = {
    "backend_tracks": "a new device",
    "backend_goes_to_connected": "connected",
    "backend_disconnects": "disconnected",
    "backend_refuses_connection": "refused: the frontend's nodes make no sense",
    "backend_releases_device": "closed",
}


def backend(
    *,
    engine: Annotated[
        str, typer.Option("--engine", metavar="ENGINE", help="echo, swtpm:SOCKET, swtpm:SOCKET,CONTROL, or tis:devmem.")
    ] = "echo",
    platform: PlatformOption = None,
    domain: Annotated[
        int, typer.Option("--domain", min=0, max=0x7FEF, help="The domain to be, on the host platform.")
    ] = 0,
    run_dir: RunDirectory = RUN_DIRECTORY,
) -> None:
    """Be a domain that serves every vTPM that the toolstack gives it, until interrupted.

    All are served by the one engine. Localities other than 0 need swtpm's control channel, or are those of the
    hardware TPM: tis:devmem, or tis:qtest:SOCKET, with options of Xen's manager such as tis:devmem,tpmirq=0.

    Example: vtpm backend --engine swtpm:/run/tpm.sock

    Example: vtpm backend --platform host --domain 2 --engine swtpm:/run/tpm.sock
    """
    from vtpm_impl.xenbus.backend import Backend

    chosen, localities = make_engine(engine)
    try:
        with platforms(platform, run_dir, domain) as make_platform:
            here = make_platform()
            serving = Backend(
                here,
                chosen,
                permits=lambda device, locality: locality in localities,
                removes_nodes=here.domid != 0,
                report=_tell,
            )
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: serving.stop())
            typer.echo(f"domain {here.domid} serves vTPMs with {engine}")
            serving.serve()
    except PlatformError as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    finally:
        chosen.close()


def make_engine(text: str) -> tuple[Engine, range]:
    """The engine that a text names, and the localities that it has; what names none is wrong use."""
    from vtpm_impl.engines.echo import Echo
    from vtpm_impl.engines.socket import SocketTpm

    kind, _, where = text.partition(":")
    path, _, control = where.partition(",")
    if text == "echo":
        return Echo(), range(5)
    if kind == "swtpm" and path:
        return SocketTpm(Path(path), control=Path(control) if control else None), range(5 if control else 1)
    if kind == "tis":
        from vtpm_impl.engines.tis import tis_engine
        from vtpm_impl.tis.options import OptionError

        try:
            return tis_engine(where), range(5)
        except OptionError as error:
            typer.echo(f"vtpm: {error}", err=True)
            raise typer.Exit(WRONG_USE) from None
        except EngineError as error:
            typer.echo(f"vtpm: {error}", err=True)
            raise typer.Exit(FALLS_SHORT) from None
    typer.echo(f"vtpm: {text!r} is no engine: echo, swtpm:SOCKET, swtpm:SOCKET,CONTROL or tis:WHERE is meant", err=True)
    raise typer.Exit(WRONG_USE)


def _tell(device: Device, step: str) -> None:
    if step in STEPS_WORTH_TELLING:
        typer.echo(f"{device}: {STEPS_WORTH_TELLING[step]}")
