"""`vtpm xenstore`: look into the store, change it, watch it, and serve it on a host without Xen."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vtpm_impl.xen.xenstore.client import XENBUS, Client, Conflict, Disconnected, XenstoreError
from vtpm_impl.xen.xenstore.wire import ProtocolError

WRONG_USE = 2
FALLS_SHORT = 1
LAST_DOMID = 0x7FEF
RUN_DIRECTORY = Path(os.environ.get("XDG_RUNTIME_DIR", "/run")) / "vtpm"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Look into the xenstore, change it, watch it; serve one on a host without Xen.",
)

At = Annotated[
    Path | None,
    typer.Option("--at", metavar="PATH", help="A store's socket or device; else that of --run-dir and --domain."),
]
RunDirectory = Annotated[
    Path, typer.Option("--run-dir", metavar="DIR", envvar="VTPM_RUN_DIR", help="Where the host platform runs.")
]


def _domid(number: int) -> int:
    if not 0 <= number <= LAST_DOMID:
        raise typer.BadParameter(f"{number} is no domain; a domain has a number from 0 to {LAST_DOMID}")
    return number


Domain = Annotated[int, typer.Option("--domain", callback=_domid, help="The number of the domain to speak for.")]
Node = Annotated[str, typer.Argument(metavar="PATH", help="A node; without a slash in front, below the domain's own.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def ls(
    path: Node = "/",
    *,
    permissions: Annotated[bool, typer.Option("--permissions", "-p", help="Show who owns and who may read.")] = False,
    as_json: AsJson = False,
    at: At = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
    domain: Domain = 0,
) -> None:
    """List the nodes right below a node, with their values.

    Example: vtpm xenstore ls /local/domain
    """
    with _store(at, run_dir, domain) as store:
        rows = [_row(store, _below(path, name), name, permissions=permissions) for name in store.directory(path)]
        _print(rows, as_json=as_json)


@app.command()
def tree(
    path: Node = "/",
    *,
    permissions: Annotated[bool, typer.Option("--permissions", "-p", help="Show who owns and who may read.")] = False,
    as_json: AsJson = False,
    at: At = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
    domain: Domain = 0,
) -> None:
    """List all nodes below a node, indented, with their values.

    Example: vtpm xenstore tree /local/domain/1/device/vtpm
    """
    with _store(at, run_dir, domain) as store:
        _print(list(_walk(store, path, permissions=permissions)), as_json=as_json)


@app.command()
def read(
    path: Node, *, as_json: AsJson = False, at: At = None, run_dir: RunDirectory = RUN_DIRECTORY, domain: Domain = 0
) -> None:
    """Print the value of a node.

    Example: vtpm xenstore read /local/domain/1/device/vtpm/0/state
    """
    with _store(at, run_dir, domain) as store:
        value = store.read(path)
        typer.echo(json.dumps({"path": path, "value": _shown(value)}) if as_json else _shown(value))


@app.command()
def write(
    path: Node,
    value: Annotated[str, typer.Argument(help="Its new value; \\xNN means a byte, and \\\\ a backslash.")],
    *,
    at: At = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
    domain: Domain = 0,
) -> None:
    """Set the value of a node, creating it and what is missing above it.

    Example: vtpm xenstore write /local/domain/0/backend/vtpm/1/0/online 0
    """
    try:
        meant = value.encode().decode("unicode_escape").encode("latin-1") if "\\" in value else value.encode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise _wrong_use(rf"{value!r} is no value: after a backslash, \xNN or another backslash is meant") from None
    with _store(at, run_dir, domain) as store:
        store.write(path, meant)


@app.command()
def rm(path: Node, *, at: At = None, run_dir: RunDirectory = RUN_DIRECTORY, domain: Domain = 0) -> None:
    """Remove a node and all below it.

    Example: vtpm xenstore rm /local/domain/1/device/vtpm/0
    """
    with _store(at, run_dir, domain) as store:
        store.rm(path)


@app.command()
def watch(
    path: Node,
    *,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many events.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.0, help="End after so many seconds.")] = None,
    as_json: AsJson = False,
    at: At = None,
    run_dir: RunDirectory = RUN_DIRECTORY,
    domain: Domain = 0,
) -> None:
    """Print each node at or below a path whenever it changes, with its new value; the path itself comes first.

    Example: vtpm xenstore watch /local/domain/1/device/vtpm/0 --count 5
    """
    with _store(at, run_dir, domain) as store:
        store.watch(path, "vtpm")
        seen = 0
        while count is None or seen < count:
            event = store.event(seconds)
            if event is None:
                break
            seen += 1
            value = None if event.path.startswith("@") else _value(store, event.path)
            if as_json:
                typer.echo(json.dumps({"path": event.path, "value": None if value is None else _shown(value)}))
            else:
                typer.echo(event.path if value is None else f"{event.path} = {_quoted(value)}")


@app.command()
def serve(*, run_dir: RunDirectory = RUN_DIRECTORY) -> None:
    """Serve a store to the domains of this host until interrupted; each finds it at DIR/domains/<domid>/xenstore.

    A domain whose process ends, however it ends, is released, with all that it owns in the store.

    Example: vtpm xenstore serve --run-dir /run/vtpm
    """
    from vtpm_impl.xen.host.directory import RunDirectory
    from vtpm_impl.xen.xenstore.server import Server, ServerError

    try:
        server = Server(run_dir, state_of=RunDirectory(run_dir).state_of)
    except ServerError as error:
        raise _wrong_use(str(error)) from None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    typer.echo(f"the store is in {run_dir}")
    server.serve()


@contextlib.contextmanager
def _store(at: Path | None, run_dir: Path, domain: int) -> Iterator[Client]:
    """Connect to the store that the options mean; what goes wrong there is told in a sentence."""
    from vtpm_impl.xen.xenstore.server import socket_path

    where = at or (XENBUS if XENBUS.exists() else socket_path(run_dir, domain))
    try:
        with Client.open(where) if where.is_char_device() else Client.connect(where) as store:
            yield store
    except XenstoreError as refused:
        said = os.strerror(refused.errno).lower()
        typer.echo(f"vtpm: {refused.request.lower()} {refused.path!r}: {said} ({refused.error})", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    except (Disconnected, ProtocolError, Conflict) as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _wrong_use(sentence: str) -> typer.Exit:
    typer.echo(f"vtpm: {sentence}", err=True)
    return typer.Exit(WRONG_USE)


def _below(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"


def _value(store: Client, path: str) -> bytes | None:
    """Give a value, or nothing if the node is not there or not for us to see."""
    try:
        return store.read(path)
    except XenstoreError as refused:
        if refused.errno not in (errno.ENOENT, errno.EACCES):
            raise
        return None


def _row(store: Client, path: str, name: str, *, permissions: bool, depth: int = 0) -> dict[str, Any]:
    value = _value(store, path)
    row: dict[str, Any] = {
        "path": path,
        "name": name,
        "depth": depth,
        "value": None if value is None else _shown(value),
    }
    if permissions:
        try:
            row["permissions"] = store.get_perms(path)
        except XenstoreError as refused:
            if refused.errno not in (errno.ENOENT, errno.EACCES):
                raise
    return row


def _walk(store: Client, path: str, *, permissions: bool) -> Iterator[dict[str, Any]]:
    rest = [(path, name, 0) for name in reversed(store.directory(path))]
    while rest:
        above, name, depth = rest.pop()
        here = _below(above, name)
        yield _row(store, here, name, permissions=permissions, depth=depth)
        with contextlib.suppress(XenstoreError):  # it has gone meanwhile, or is not for us to see
            rest += [(here, child, depth + 1) for child in reversed(store.directory(here))]


def _shown(value: bytes) -> str:
    """Write a value so that any byte can be told, and read back by `write`."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else _escaped(byte) for byte in value)


def _escaped(byte: int) -> str:
    return "\\\\" if byte == 0x5C else f"\\x{byte:02x}"


def _quoted(value: bytes) -> str:
    return f'"{_shown(value)}"'


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        value = "(not for us to see)" if row["value"] is None else f'"{row["value"]}"'
        who = f"  ({','.join(row['permissions'])})" if "permissions" in row else ""
        typer.echo(f"{'  ' * row['depth']}{row['name']} = {value}{who}")
