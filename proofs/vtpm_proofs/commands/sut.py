"""`vtpmspec sut`: be a system under test that is the specification itself, for a harness to be tried on."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Annotated

import typer

from vtpm_proofs.commands.systems import FALLS_SHORT, wrong_use


class Family(Enum):
    """Of a TPM."""

    TPM_1_2 = "1.2"
    TPM_2_0 = "2.0"


def sut(
    end: Annotated[str, typer.Argument(metavar="END", help="tis-device.")],
    *,
    family: Annotated[Family, typer.Option("--family", help="Of the TPM.")] = Family.TPM_1_2,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of what it picks as it likes; else it waits for nothing.")
    ] = None,
) -> None:
    """Be a TPM behind the TIS, as the system tis.device has it, speaking the protocol vtpm-tis/1.

    It is meant to be run by a harness. Where the specification leaves something open, the seed picks: burst counts,
    when stsValid is set, and when a command comes to its end.

    Example: vtpmspec conform --end tis-device -- vtpmspec sut tis-device --family 2.0 --seed 7
    """
    from vtpm_traces.conform.tis_model import ModelDevice, Unwanted, inside, serve
    from vtpm_traces.conform.tis_program import END

    if end != END:
        raise wrong_use(f"{end!r} is no end that the specification can be; {END} is meant")
    family_2 = family is Family.TPM_2_0
    try:
        serve(ModelDevice(inside(family_2=family_2), family_2=family_2, seed=seed), sys.stdin.buffer, sys.stdout.buffer)
    except Unwanted as error:
        typer.echo(f"vtpmspec: {error}", err=True)
        raise typer.Exit(FALLS_SHORT) from None
