"""`shoal drift`: where a cluster is no longer what was asked for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from shoal.cli.console import out, print_json, report_error, say
from shoal.cli.options import AskSudoPassword, substrate_reach, sudo_password
from shoal.cli.up import Kind, chosen
from shoal.errors import Exit, ShoalError
from shoal.lifecycle import drift as drifts

app = typer.Typer(add_completion=False, help="Where a cluster is no longer what was asked for.")


class Substrate(StrEnum):
    """What can drift."""

    gcp = "gcp"
    edge = "edge"
    lab = "lab"


@app.command("drift")
def drift(
    substrate: Annotated[Substrate, typer.Argument(help="gcp, edge or lab.")],
    *,
    stack: Annotated[
        str | None,
        typer.Option("--stack", metavar="NAME", help="Another stack than the kind's own, or lab than SHOAL_LAB's."),
    ] = None,
    ask_sudo_password: AskSudoPassword = False,
    json: Annotated[bool, typer.Option("--json", help="The table as JSON on stdout.")] = False,
) -> None:
    """Compare the machines with the stack and their insides with the roles; nothing is changed.

    Exit codes: 0 clean, 2 drift, 1 an error (a machine that is not reached is one).

    Examples:

        shoal drift lab

        shoal drift gcp --json
    """
    try:
        if substrate is Substrate.lab:
            lab = substrate_reach("lab", (stack, "--stack") if stack else None)
            found = drifts.of_lab(lab, say)
        else:
            password = sudo_password() if ask_sudo_password else None
            found = drifts.of_stack(chosen(Kind(substrate.value), stack), say, password)
    except ShoalError as error:
        report_error(error)
        raise typer.Exit(Exit.FAILED) from None
    if json:
        print_json({"schema_version": 1, "clean": not found, "drift": [entry.plain() for entry in found]})
    elif found:
        table = Table(title=f"drift of {substrate}")
        for column in ("half", "where", "what"):
            table.add_column(column)
        for entry in found:
            table.add_row(entry.half, entry.where, entry.what)
        out.print(table)
    say(f"{len(found)} thing(s) drifted" if found else "no drift")
    if found:
        raise typer.Exit(drifts.DRIFTED)
