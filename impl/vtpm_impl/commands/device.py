"""`vtpm device`: give vTPMs to domains, list them, and take them away."""

from __future__ import annotations

import contextlib
import json
import uuid as uuids
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vtpm_impl.commands.backend import LogFolder
from vtpm_impl.commands.xenstore import FALLS_SHORT, RUN_DIRECTORY, WRONG_USE, RunDirectory
from vtpm_impl.toolstack.devices import TIMEOUT, Attached, Toolstack, ToolstackError
from vtpm_impl.xenbus.nodes import Device

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Give vTPMs to domains, list them, take them away.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.0, help="Seconds for the backend to do its part.")]
Frontend = Annotated[int, typer.Argument(metavar="FRONTEND", min=0, max=0x7FEF, help="The domain that has the vTPM.")]


@app.command()
def create(
    frontend: Frontend,
    backend: Annotated[int, typer.Argument(metavar="BACKEND", min=0, max=0x7FEF, help="The domain that serves it.")],
    *,
    handle: Annotated[int | None, typer.Option("--handle", min=0, help="Its number; else the lowest free.")] = None,
    uuid: Annotated[str | None, typer.Option("--uuid", help="What the vTPM is known by; else a random one.")] = None,
    timeout: Timeout = TIMEOUT,
    log: LogFolder = None,
    as_json: AsJson = False,
    run_dir: RunDirectory = RUN_DIRECTORY,
) -> None:
    """Give a domain a vTPM that another domain serves, and wait until that has taken it up.

    Example: vtpm device create 1 2
    """
    try:
        identity = uuids.UUID(uuid) if uuid is not None else None
    except ValueError:
        typer.echo(f"vtpm: {uuid!r} is no uuid: 32 hexadecimal digits are meant", err=True)
        raise typer.Exit(WRONG_USE) from None
    with _toolstack(run_dir, log) as toolstack:
        _print([toolstack.attach(frontend, backend, handle=handle, uuid=identity, timeout=timeout)], as_json=as_json)


@app.command(name="list")
def list_devices(
    frontend: Annotated[
        int | None, typer.Argument(metavar="[FRONTEND]", min=0, max=0x7FEF, help="Only this domain's.")
    ] = None,
    *,
    as_json: AsJson = False,
    run_dir: RunDirectory = RUN_DIRECTORY,
) -> None:
    """List the vTPMs of all domains with the state of both ends.

    Example: vtpm device list --json
    """
    with _toolstack(run_dir) as toolstack:
        _print(toolstack.list(frontend), as_json=as_json)


@app.command()
def detach(
    frontend: Frontend,
    handle: Annotated[int, typer.Argument(metavar="HANDLE", min=0, help="The number of the vTPM.")],
    *,
    timeout: Timeout = TIMEOUT,
    log: LogFolder = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
) -> None:
    """Take a vTPM away from a domain; if the backend does not close it in time, all the same, but with exit code 1.

    Example: vtpm device detach 1 0
    """
    with _toolstack(run_dir, log) as toolstack:
        if not toolstack.detach(Device(frontend, handle), timeout=timeout):
            raise ToolstackError(
                f"the backend did not close vtpm {handle} in {timeout:g} s; it has been removed by force"
            )


@contextlib.contextmanager
def _toolstack(run_dir: Path, log: Path | None = None) -> Iterator[Toolstack]:
    """Be the control domain; what goes wrong there is told in a sentence."""
    from vtpm_impl.xen.platform import PlatformError
    from vtpm_impl.xen.store import told_by_platform
    from vtpm_impl.xen.xenstore.client import Client
    from vtpm_impl.xen.xenstore.server import socket_path
    from vtpm_impl.xenbus.journal import journals_in

    try:
        with told_by_platform(), Client.connect(socket_path(run_dir, 0)) as client:
            yield Toolstack(client, journals_in(log))
    except (ToolstackError, PlatformError) as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None


def _print(devices: list[Attached], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([_row(device) for device in devices], indent=1))
        return
    for device in devices:
        row = _row(device)
        typer.echo(
            f"vtpm {row['handle']} of domain {row['frontend']} ({row['frontend_state']}), "
            f"served by domain {row['backend']} ({row['backend_state']}), uuid {row['uuid']}"
        )


def _row(attached: Attached) -> dict[str, Any]:
    return {
        "frontend": attached.device.domid,
        "handle": attached.device.handle,
        "backend": attached.backend,
        "uuid": attached.uuid,
        "frontend_state": attached.frontend_state.name,
        "backend_state": attached.backend_state.name,
    }
