"""`shoal events`: what happened, at home and in the store, with clips."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from rich import box
from rich.table import Table

from shoal.cli.console import out, print_json, say
from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of
from shoal.errors import Exit, ShoalError
from shoal.outbox import events as listing
from shoal.outbox import nodes as outboxes
from shoal.ssh.failures import brief

app = typer.Typer(add_completion=False)


@app.command()
def events(
    *,
    since: Annotated[
        str | None, typer.Option("--since", help="A day, a time (UTC), or 90m, 12h, 7d ago. Default: all.")
    ] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Only this camera's.")] = None,
    severity: Annotated[Literal["alert", "record"] | None, typer.Option(help="Only these.")] = None,
    home: Annotated[bool, typer.Option("--home", help="Only what is on this machine; no node is asked.")] = False,
    cluster: ClusterPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="The events as JSON on stdout.")] = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """List events, the newest first: where each one and its clip are, at home and in the store.

    Examples: `shoal events --since 24h`; `shoal events --camera yard --json`
    """
    moment = listing.since_of(since) if since else None
    loaded = cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password)
    here, faults = listing.at_home(loaded.name)
    answers = {} if home else outboxes.events(loaded, loaded.compute)
    shipped = {name: one for name, one in answers.items() if not isinstance(one, ShoalError)}
    listing.note_shipped(loaded.name, shipped, datetime.now(UTC))
    silent = {
        name: one
        for name, one in answers.items()
        if isinstance(one, ShoalError) and not isinstance(one, outboxes.NoOutboxError)
    }
    found = [*listing.chosen(listing.joined(here, shipped), since=moment, camera=camera, severity=severity)]
    if as_json:
        print_json([asdict(event) for event in found])
    elif found:
        _table(found)
    else:
        say("no events")
    for fault in faults:
        say(str(fault))
    for name, error in silent.items():
        say(f"{name}: {brief(error)}")
    if faults or silent:
        raise typer.Exit(Exit.INCOMPLETE)


def _table(found: list[listing.ListedEvent]) -> None:
    table = Table(
        *("when", "camera", "", "node", "seconds", "store", "clip", "at home"), box=box.SIMPLE, padding=(0, 1, 0, 0)
    )
    for event in found:
        when = (event.start_utc or f"{event.start_s:.1f} s").replace("T", " ").removesuffix("Z")
        clip = event.clip_stored or (f"none: {event.no_clip}" if event.no_clip else "")
        here = event.clip_home or event.home or ""
        table.add_row(
            when,
            event.camera,
            event.severity,
            event.node,
            f"{event.end_s - event.start_s:.1f}",
            event.stored,
            clip,
            here,
        )
    out.print(table)
