"""`shoal lab`: emulated edge machines on this one."""

from __future__ import annotations

import typer

from shoal.cli.console import say
from shoal.lab.spec import LabSpec
from shoal.lab.up import Options, up

app = typer.Typer(help="Emulated edge machines on this one: systemd containers with sshd.", no_args_is_help=True)
NAME = typer.Option("lab", "--name", help="Name of the lab.")


@app.command("up")
def up_command(
    name: str = NAME,
    compute: int | None = typer.Option(None, help="Compute nodes."),
    yes: bool = typer.Option(False, "--yes"),
) -> None:
    """Bring the lab up."""
    up(LabSpec(name=name, compute=compute), Options(yes=yes), say=say)
