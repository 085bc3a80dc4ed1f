"""`vtpm frontend`: use a domain's vTPM, and let programs use it through a local socket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtpm_impl.commands.backend import LogFolder, PlatformOption
from vtpm_impl.commands.xenstore import FALLS_SHORT, RUN_DIRECTORY, RunDirectory


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
    log: LogFolder = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
) -> None:
    """Be a domain that has a vTPM, and serve it to programs at a socket, until interrupted or the device is lost.

    Example: vtpm frontend --listen /run/tpm.sock

    Example: vtpm frontend --platform host --domain 1 --listen /run/tpm1.sock
    """
    from vtpm_impl.services.frontend import serve_frontend
    from vtpm_impl.services.platforms import platforms
    from vtpm_impl.tpm.server import ServerError
    from vtpm_impl.xen.platform import PlatformError
    from vtpm_impl.xenbus.frontend import FrontendError

    def complain(sentence: str) -> None:
        typer.echo(f"vtpm: {sentence}", err=True)

    try:
        with platforms(platform, run_dir, domain, log) as (make_platform, journals):
            kept = serve_frontend(
                make_platform(), handle, listen, locality=locality, timeout=timeout, say=typer.echo, complain=complain,
                journals=journals,
            )  # fmt: skip
    except (FrontendError, PlatformError, ServerError) as error:
        complain(str(error))
        raise typer.Exit(FALLS_SHORT) from None
    if not kept:
        raise typer.Exit(FALLS_SHORT)
