"""`vtpm tpm`: ask a TPM, be it the machine's own, one behind a socket or a device, or one made for it."""

from __future__ import annotations

import contextlib
import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from vtpm_impl.commands.xenstore import FALLS_SHORT, WRONG_USE
from vtpm_impl.engines import Engine, EngineError
from vtpm_impl.tis import registers
from vtpm_impl.tis.driver import Driver
from vtpm_impl.tis.fifo import BUFFER
from vtpm_impl.tis.registers import LOCALITIES, Access, Interface
from vtpm_impl.tis.traced import Traced
from vtpm_impl.tpm import commands, header, requests, return_codes
from vtpm_impl.tpm.family import Family, of_tag

app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Ask a TPM: this machine's own, one behind a socket or a device, or one that is made for it (--demo).",
)

Tis = Annotated[
    str | None,
    typer.Option(
        "--tis",
        metavar="WHERE",
        help="A TPM behind the TIS: devmem, or qtest:SOCKET of a QEMU; then options of Xen's manager after commas,"
        " such as devmem,tpmlocality=2,tpmirq=0.",
    ),
]
Socket = Annotated[
    str | None, typer.Option("--socket", metavar="SOCKET[,CONTROL]", help="A TPM behind a Unix socket, such as swtpm.")
]
Device = Annotated[Path | None, typer.Option("--device", metavar="FILE", help="A TPM device, such as /dev/tpm0.")]
Demo = Annotated[bool, typer.Option("--demo", help="A TPM made by QEMU and swtpm for this once, and started.")]
Of = Annotated[Family | None, typer.Option("--family", help="What --demo makes; else a TPM 1.2.")]
Locality = Annotated[
    int | None,
    typer.Option("--locality", min=0, max=LOCALITIES.stop - 1, help="Speak at this one; 4 is the processor's."),
]
Start = Annotated[bool, typer.Option("--startup", help="Send TPM_Startup first, which a TPM waits for after a reset.")]
Trace = Annotated[
    Path | None, typer.Option("--trace", metavar="FILE", help="Write each register access down, as QEMU traces them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

INTERFACES = {Interface.TIS_1_21: "TIS 1.21 or older", Interface.TIS_1_3: "TIS 1.3", Interface.TPM_2_0: "TPM 2.0 FIFO"}


@dataclass
class Reached:
    """A TPM that can be asked."""

    engine: Engine
    locality: int
    traced: Traced | None

    def transmit(self, command: bytes) -> bytes:
        """Its response. Raises EngineError."""
        return self.engine.transmit(command, locality=self.locality)


@app.callback()
def tpm(context: typer.Context, *, demo: Demo = False, family: Of = None) -> None:
    """Ask a TPM: this machine's own, one behind a socket or a device, or one that is made for it.

    Example: vtpm tpm --demo --family 2.0
    """
    if context.invoked_subcommand is not None and not demo and family is None:
        return
    if context.invoked_subcommand is not None or not demo:
        _wrong_use("--demo and --family stand after the sub-command, or --demo without one")
    with _reached(None, None, None, _made(family, demo=True), None, None, startup=True) as reached:
        rows = _told(reached)
        found = requests.family_of(reached.transmit)
        rows["PCR 0"] = requests.pcr_read(reached.transmit, found, 0, _bank(found)).hex()
        rows["random"] = requests.random(reached.transmit, found, 16).hex()
        _print(rows, as_json=False)


@app.command()
def info(
    *,
    tis: Tis = None,
    socket: Socket = None,
    device: Device = None,
    demo: Demo = False,
    family: Of = None,
    locality: Locality = None,
    startup: Start = False,
    trace: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Tell what the TPM says of itself, and what its registers say where it has any.

    Example: vtpm tpm info --demo --family 2.0
    """
    with _reached(tis, socket, device, _made(family, demo=demo), locality, trace, startup=startup) as reached:
        _print(_told(reached), as_json=as_json)


@app.command(name="pcr-read")
def pcr_read(
    index: Annotated[
        int | None, typer.Argument(metavar="[PCR]", min=0, max=requests.PCRS.stop - 1, help="Which; else all.")
    ] = None,
    *,
    bank: Annotated[
        str | None, typer.Option("--bank", help=f"One of {', '.join(requests.BANKS)}; sha256 in TPM 2.0, sha1 in 1.2.")
    ] = None,
    tis: Tis = None,
    socket: Socket = None,
    device: Device = None,
    demo: Demo = False,
    family: Of = None,
    locality: Locality = None,
    startup: Start = False,
    trace: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of a PCR, or of all.

    Example: vtpm tpm pcr-read 0 --tis devmem
    """
    if bank is not None and bank not in requests.BANKS:
        _wrong_use(f"{bank!r} is no bank: {', '.join(requests.BANKS)} are known")
    with _reached(tis, socket, device, _made(family, demo=demo), locality, trace, startup=startup) as reached:
        found = requests.family_of(reached.transmit)
        chosen = bank or _bank(found)
        wanted = requests.PCRS if index is None else [index]
        values = {str(pcr): requests.pcr_read(reached.transmit, found, pcr, chosen).hex() for pcr in wanted}
        _print(values, as_json=as_json)


@app.command()
def random(
    size: Annotated[int, typer.Argument(metavar="BYTES", min=1, max=1 << 20, help="How many.")] = 16,
    *,
    tis: Tis = None,
    socket: Socket = None,
    device: Device = None,
    demo: Demo = False,
    family: Of = None,
    locality: Locality = None,
    startup: Start = False,
    trace: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Print random bytes, in hexadecimal.

    Example: vtpm tpm random 32 --socket /run/swtpm.sock
    """
    with _reached(tis, socket, device, _made(family, demo=demo), locality, trace, startup=startup) as reached:
        found = requests.random(reached.transmit, requests.family_of(reached.transmit), size).hex()
        typer.echo(json.dumps({"random": found}) if as_json else found)


@app.command()
def send(
    packet: Annotated[str, typer.Argument(metavar="HEX", help="A whole command, with its header.")],
    *,
    tis: Tis = None,
    socket: Socket = None,
    device: Device = None,
    demo: Demo = False,
    family: Of = None,
    locality: Locality = None,
    startup: Start = False,
    trace: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Send a command, print the response and what it means. Exit code 1 if the TPM answers with an error.

    Example: vtpm tpm send 00c10000000e0000001500000000 --tis devmem
    """
    command = _command(packet)
    with _reached(tis, socket, device, _made(family, demo=demo), locality, trace, startup=startup) as reached:
        response = reached.transmit(command)
        parsed = header.parse(response)
        assert parsed is not None
        rows: dict[str, Any] = {
            "command": commands.name(command),
            "family": of_tag(parsed.tag).value,
            "code": return_codes.name(parsed),
            "response": response.hex(),
        }
        if reached.traced is not None:
            rows["register accesses"] = reached.traced.accesses
        _print(rows, as_json=as_json)
    if parsed.code:
        raise typer.Exit(FALLS_SHORT)


def _command(packet: str) -> bytes:
    digits = "".join(packet.split())
    if len(digits) % 2 or not set(digits) <= set(string.hexdigits):
        _wrong_use(f"{packet!r} is no command: an even number of hexadecimal digits is meant")
    command = bytes.fromhex(digits)
    if not header.is_whole(command) or len(command) > BUFFER:
        says = int.from_bytes(command[2:6], "big")
        _wrong_use(
            f"a command of {len(command)} bytes whose header says {says}: both are the same, {header.SIZE} to {BUFFER}"
        )
    return command


def _made(family: Family | None, *, demo: bool) -> Family | None:
    """What is made for the occasion, if anything."""
    if family is not None and not demo:
        _wrong_use(f"--family {family.value} is what --demo makes; another TPM says itself what it is")
    return (family or Family.TPM_1_2) if demo else None


def _bank(family: Family) -> str:
    """The bank that is meant where none is named."""
    return "sha256" if family is Family.TPM_2_0 else "sha1"


@contextlib.contextmanager
def _reached(
    tis: str | None,
    socket: str | None,
    device: Path | None,
    demo: Family | None,
    locality: int | None,
    trace: Path | None,
    *,
    startup: bool,
) -> Iterator[Reached]:
    """The one TPM that is meant; what goes wrong there is told in a sentence."""
    from vtpm_impl.tis.options import OptionError
    from vtpm_impl.tis.qemu import MachineError

    if sum(where is not None for where in (tis, socket, device, demo)) != 1:
        _wrong_use("which TPM? One of --tis, --socket, --device and --demo is meant")
    if trace is not None and tis is None and demo is None:
        _wrong_use("--trace writes register accesses down: it goes with --tis or --demo")
    with contextlib.ExitStack() as stack:
        try:
            to = None if trace is None else stack.enter_context(trace.open("w", encoding="utf-8"))
            traced: list[Traced] = []

            def through(port: Any) -> Traced:
                traced.append(Traced(port, to))
                return traced[-1]

            engine = _engine(tis, socket, device, demo, through)
            stack.callback(engine.close)
            default = engine.locality if isinstance(engine, Driver) else 0
            reached = Reached(engine, default if locality is None else locality, traced[-1] if traced else None)
            if startup or demo is not None:
                requests.startup(reached.transmit, requests.family_of(reached.transmit))
            if reached.traced is not None:
                reached.traced.accesses = 0
            yield reached
        except OptionError as error:
            _wrong_use(str(error))
        except (EngineError, MachineError, requests.Refused) as error:
            remedy = " (--startup sends it)" if isinstance(error, requests.NotStarted) else ""
            typer.echo(f"vtpm: {error}{remedy}", err=True)
            raise typer.Exit(FALLS_SHORT) from None
        except OSError as error:
            typer.echo(f"vtpm: {error.filename or ''}: {error.strerror}", err=True)
            raise typer.Exit(FALLS_SHORT) from None


def _engine(tis: str | None, socket: str | None, device: Path | None, demo: Family | None, through: Any) -> Engine:
    if tis is not None:
        from vtpm_impl.engines.tis import tis_engine

        return tis_engine(tis, through=through)
    if socket is not None:
        from vtpm_impl.engines.socket import SocketTpm

        path, _, control = socket.partition(",")
        return SocketTpm(Path(path), control=Path(control) if control else None)
    if device is not None:
        from vtpm_impl.engines.device import DeviceTpm

        return DeviceTpm(device)
    from vtpm_impl.tis.qemu import Machine

    assert demo is not None
    machine = Machine(demo)
    try:
        machine.start()
    except BaseException:
        machine.close()
        raise
    return Driver(through(machine))


def _told(reached: Reached) -> dict[str, Any]:
    """What a TPM says of itself."""
    facts = requests.facts(reached.transmit, requests.family_of(reached.transmit))
    rows: dict[str, Any] = facts._asdict() | {"family": facts.family.value}
    if isinstance(reached.engine, Driver):
        reached.engine.release()
        rows |= _registers(reached.engine)
    return rows


def _registers(driver: Driver) -> dict[str, Any]:
    identity = driver.identify()
    interface = registers.interface(identity.capability)
    return {
        "vendor and device": f"{identity.vendor:04x} {identity.device:04x}, revision {identity.revision:02x}",
        "interface": INTERFACES.get(interface, f"version {interface}"),  # type: ignore[call-overload]
        "fifo": "words" if registers.takes_words(identity.capability) else "bytes",
        "localities": {str(locality): _access(driver.access(locality)) for locality in LOCALITIES},
    }


def _access(value: int) -> str:
    if not value & Access.VALID:
        return f"not valid ({value:#04x})"
    told = [name for bit, name in _ACCESS_NAMES.items() if value & bit]
    return " and ".join(told) or "free"


_ACCESS_NAMES = {
    Access.ACTIVE_LOCALITY: "active",
    Access.REQUEST_USE: "waiting",
    Access.BEEN_SEIZED: "has been seized",
    Access.PENDING_REQUEST: "wanted by another",
}


def _print(rows: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({name.replace(" ", "_"): value for name, value in rows.items()}, indent=1))
        return
    width = max(map(len, rows))
    for name, value in rows.items():
        told = ", ".join(f"{key}: {each}" for key, each in value.items()) if isinstance(value, dict) else value
        if told != "":
            typer.echo(f"{name:<{width}}  {told}")


def _wrong_use(why: str) -> NoReturn:
    typer.echo(f"vtpm: {why}", err=True)
    raise typer.Exit(WRONG_USE)
