"""`vtpm backend`: serve the vTPMs of other domains with one engine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vtpm_impl.commands.xenstore import FALLS_SHORT, RUN_DIRECTORY, WRONG_USE, RunDirectory
from vtpm_impl.services.platforms import Kind

PlatformOption = Annotated[
    Kind | None,
    typer.Option("--platform", help="xen: this domain; host: pretend with --domain. Without: xen where there is one."),
]

LogFolder = Annotated[
    Path | None,
    typer.Option("--log", metavar="DIR", help="Keep an event log of each device here, together with all who do."),
]


def backend(
    *,
    engine: Annotated[
        str, typer.Option("--engine", metavar="ENGINE", help="echo, swtpm:SOCKET, swtpm:SOCKET,CONTROL, or tis:devmem.")
    ] = "echo",
    platform: PlatformOption = None,
    domain: Annotated[
        int, typer.Option("--domain", min=0, max=0x7FEF, help="The domain to be, on the host platform.")
    ] = 0,
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="Print all that is read, written and seen, a JSON line each; sentences go to stderr."
        ),
    ] = False,
    log: LogFolder = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
) -> None:
    """Be a domain that serves every vTPM that the toolstack gives it, until interrupted.

    All are served by the one engine. Localities other than 0 need swtpm's control channel, or are those of the
    hardware TPM: tis:devmem, or tis:qtest:SOCKET, with options of Xen's manager such as tis:devmem,tpmirq=0.

    Example: vtpm backend --engine swtpm:/run/tpm.sock

    Example: vtpm backend --platform host --domain 2 --engine swtpm:/run/tpm.sock
    """
    from vtpm_impl.engines import EngineError
    from vtpm_impl.services.backend import NoSuchEngine, make_engine, serve_backend
    from vtpm_impl.services.platforms import platforms
    from vtpm_impl.xen.platform import PlatformError

    try:
        chosen, localities = make_engine(engine)
    except NoSuchEngine as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(WRONG_USE) from None
    except EngineError as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    try:
        with platforms(platform, run_dir, domain, log) as (make_platform, journals):
            say = partial(typer.echo, err=record)
            serve_backend(make_platform(), chosen, localities, engine, say, typer.echo if record else None, journals)
    except PlatformError as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    finally:
        chosen.close()
