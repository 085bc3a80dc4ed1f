"""The command `vtpmspec`: its sub-commands, each in a module that is read only when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any, Final

import typer
from typer.core import TyperGroup

SUB_COMMANDS: Final = {
    "prove": ("prove", "prove"),
    "explore": ("explore", "explore"),
    "mutants": ("mutants", "mutants"),
    "defects": ("defects", "defects"),
    "trace": ("trace", "app"),
    "conform": ("conform", "conform"),
    "sut": ("sut", "sut"),
    "cite": ("cite", "cite"),
    "list": ("catalog", "list_"),
    "explain": ("catalog", "explain"),
    "verify": ("verify", "verify"),
    "record": ("record", "record"),
}
"""Sub-command: its module below `commands`, and the function, or the group of functions, that it is."""


class _SubCommands(TyperGroup):
    """A group whose members are found by name, so that a quick command does not pay for the slow ones' imports."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUB_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in SUB_COMMANDS:
            return None
        module, attribute = SUB_COMMANDS[cmd_name]
        found = getattr(importlib.import_module(f"vtpm_proofs.commands.{module}"), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)


app = typer.Typer(
    name="vtpmspec",
    cls=_SubCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def vtpmspec() -> None:
    """The specification of the Xen vTPM: prove it, search it, hold recordings against it.

    Exit codes: 0 holds, 1 falls short, 2 wrong use.
    """


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
