"""`vtpm sut tis-driver` and `vtpm sut tis-device`: let a harness test our driver, or a TPM that our carriers reach."""

from __future__ import annotations

import sys
from typing import Final

import typer

from vtpm_impl.commands.xenstore import FALLS_SHORT, WRONG_USE
from vtpm_impl.engines import EngineError
from vtpm_impl.tpm.family import Family
from vtpm_impl.xen.sut.link import Link, LinkLost, RefusedByHarness

TIS_ENDS: Final = ("tis-driver", "tis-device")


def tis_sut(end: str, where: str | None, family: Family) -> None:
    """Be one of them until the harness has had enough.

    `where`: the device's registers, as `--tis` takes them; without it QEMU makes a device of this family.
    """
    from vtpm_impl.engines.tis import registers_at
    from vtpm_impl.tis.options import OptionError
    from vtpm_impl.tis.qemu import Machine, MachineError
    from vtpm_impl.tis.sut import be_device, be_driver

    link = Link(sys.stdin.buffer, sys.stdout.buffer)
    try:
        if end == "tis-driver":
            be_driver(link)
        elif where is not None:
            port, _, _ = registers_at(where)
            be_device(link, port, None)
            port.close()
        else:
            with Machine(family) as machine:
                be_device(link, machine, machine.reset)
    except OptionError as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(WRONG_USE) from None
    except (EngineError, MachineError, LinkLost, RefusedByHarness) as error:
        typer.echo(f"vtpm: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
