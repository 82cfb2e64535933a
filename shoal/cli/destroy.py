"""`shoal destroy`: take a stack down and prove that nothing is left."""

from __future__ import annotations

import json as json_
from typing import Annotated

import typer

from shoal.cli.console import print_json, say
from shoal.cli.options import AskSudoPassword, sudo_password
from shoal.cli.up import Name, Which, chosen
from shoal.errors import Exit
from shoal.fleet.leave import DRAIN_TIMEOUT_S
from shoal.lifecycle import verbs

app = typer.Typer(add_completion=False, help="Take a stack down and prove that nothing is left.")


@app.command("destroy")
def destroy(
    kind: Which,
    *,
    stack: Name = None,
    drain_timeout: Annotated[
        int, typer.Option("--drain-timeout", min=1, metavar="SECONDS", help="How long to wait for running work.")
    ] = int(DRAIN_TIMEOUT_S),
    force: Annotated[bool, typer.Option("--force", help="Stop what runs; what is done of it is on the disks.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The receipt on stdout.")] = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Drain, unregister, destroy, then look for leftovers by label and write a receipt.

    Work that runs is waited for; what goes on after --drain-timeout ends the command with nothing destroyed. Machines
    leave the engine's list and the tailnet; one that does not answer is named, and stops nothing.

    What refuses to go stops nothing else. Exit codes: 0 nothing is left; 3 something is, or refused, or could not be
    looked for, and the receipt names it; 1 work runs, or the lab is being changed from elsewhere.

    Example: shoal destroy gcp --json
    """
    receipt, path = verbs.destroy(
        chosen(kind, stack),
        say,
        force=force,
        drain_timeout_s=drain_timeout,
        sudo_password=sudo_password() if ask_sudo_password else None,
    )
    for left in receipt.leftovers:
        say(f"  LEFT: {left.kind} {left.name} ({left.place})")
    for refusal in receipt.refusals:
        say(f"  REFUSED: {refusal}")
    if any(left.kind == "bucket" for left in receipt.leftovers):
        say("  a bucket that holds something is not deleted: fetch it, empty it with `gcloud storage rm --recursive`,")
        say("  then destroy again")
    say(f"{'nothing is left' if receipt.clean else 'something is left'}; receipt: {path}")
    if json:
        print_json(json_.loads(receipt.model_dump_json()) | {"clean": receipt.clean})
    if not receipt.clean:
        raise typer.Exit(Exit.INCOMPLETE)
