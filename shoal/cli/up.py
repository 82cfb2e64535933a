"""`shoal up`: make a cloud lab, or register boxes that exist."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.console import print_json, say
from shoal.cloud import pulumi
from shoal.cluster import load, which
from shoal.errors import UsageError
from shoal.lifecycle import expired, kept_files, verbs
from shoal.paths import expanded

app = typer.Typer(add_completion=False, help="Make a cloud lab, or register boxes that exist.")


class Kind(StrEnum):
    """The two stacks."""

    gcp = "gcp"
    edge = "edge"


Which = Annotated[Kind, typer.Argument(help="gcp: a cloud lab. edge: boxes that exist.")]
Name = Annotated[str | None, typer.Option("--stack", metavar="NAME", help="Another stack than the kind's own.")]


def chosen(kind: Kind, name: str | None) -> pulumi.Stack:
    """The stack of a command line, after the line that names the cluster it makes.

    Raises UsageError where SHOAL_CLUSTER names another cluster than the stack's and no --stack decides it.
    """
    stack = pulumi.find("gcp" if kind is Kind.gcp else "edge", name)
    cluster = kept_files.cluster_name(stack)
    if name is None and (path := os.environ.get(which.CLUSTER_VARIABLE)):
        there = load.load_first(expanded(Path(path)))
        if (there.substrate, there.name) != (stack.kind, cluster):
            raise UsageError(
                f"the command is about cluster {cluster!r} of stack {stack.name!r} ({stack.kind}), and "
                f"{which.CLUSTER_VARIABLE} names {there.name!r} ({there.substrate}) in {path}",
                hint=f"unset {which.CLUSTER_VARIABLE}, or name the stack with --stack",
            )
    say(f"cluster {cluster!r} ({stack.kind}): stack {stack.name!r}, from {'--stack' if name else 'the default'}")
    return stack


@app.command("up")
def up(
    kind: Which,
    *,
    stack: Name = None,
    project: Annotated[str | None, typer.Option(help="Google Cloud project; else gcloud's own.")] = None,
    ttl_hours: Annotated[int | None, typer.Option(min=1, help="When the lab is meant to be gone; 24 at first.")] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file of settings to take over.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, its value as YAML; repeatable.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would be done, and its cost.")] = False,
    zone: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE=ZONE", help="gcp: another zone for a node, where its own has no machines left."),
    ] = None,
    give_up: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="Destroy this node's data (or `bucket`) first; repeatable."),
    ] = None,
    list_expired: Annotated[
        bool,
        typer.Option("--list-expired", help="gcp: only list the project's labs past their expiry, and their cost."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The cluster document (or the list) on stdout.")] = False,
) -> None:
    """Make or change the stack and keep its cluster document. Typed again, nothing is made twice.

    What holds data or carries others is never replaced or deleted by a setting; what would be is listed, and
    nothing is changed. Exit code 3: only a part could be made, and the document is of that part.

    Examples:

        shoal up gcp --project my-project --set compute='{count: 3}' --ttl-hours 8

        shoal up edge --settings boxes.yaml --preview

        shoal up gcp --list-expired --project my-project
    """
    if list_expired:
        late = verbs.expired_labs(pulumi.find("gcp", stack), project)
        for line in expired.lines(late):
            say(line)
        if json:
            print_json([lab.plain() for lab in late])
        return
    changes = dict(verbs.parse_change(text) for text in change or [])
    wanted = verbs.Wanted(
        project=project,
        ttl_hours=ttl_hours,
        settings_file=settings,
        changes=changes,
        zones=dict(verbs.parse_place(text) for text in zone or []),
        give_up=tuple(give_up or ()),
    )
    made = verbs.up(chosen(kind, stack), wanted, say, preview_only=preview)
    if made is not None:
        say(f"next: `shoal bootstrap {kind}`")
        if json:
            print_json(made.model_dump(mode="json", exclude_none=True))
