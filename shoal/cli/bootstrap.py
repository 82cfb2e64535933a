"""`shoal bootstrap`: the machines of a stack become a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.console import say
from shoal.cli.mesh import settings as parse_settings
from shoal.cli.options import AskSudoPassword, BreakLock, sudo_password
from shoal.cli.up import Name, Which, chosen
from shoal.lifecycle import verbs

app = typer.Typer(add_completion=False, help="The machines of a stack become a cluster.")


@app.command("bootstrap")
def bootstrap(
    kind: Which,
    *,
    stack: Name = None,
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of clips to place; else the sample clips, or none where boxes have camera folders."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A YOLOv5 model as ONNX; else YOLOv5s.")] = None,
    mesh_proxy_command: Annotated[
        str | None,
        typer.Option(help="With a mesh: how this machine gets onto it if not directly, `tailscale nc %h %p`. Kept."),
    ] = None,
    mesh_set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="With a mesh: a setting of the roles tailscale and firewall. Kept. Repeatable."
        ),
    ] = None,
    break_lock: BreakLock = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Wait until the machines let us in, place what the site needs, and run the site's deploy over SSH.

    With `mesh: tailscale` the machines join the tailnet first, and those that answer there are reached over it from
    then on, with the same host keys; the others keep their first way in. See `shoal mesh`.

    Examples:

        shoal bootstrap gcp

        shoal bootstrap edge --mesh-proxy-command "tailscale nc %h %p"
    """
    way = verbs.MeshWay(mesh_proxy_command, parse_settings(mesh_set or []))
    made = verbs.bootstrap(
        chosen(kind, stack),
        say,
        videos=videos,
        weights=weights,
        way=way,
        break_lock=break_lock,
        sudo_password=sudo_password() if ask_sudo_password else None,
    )
    say(f"cluster {made.name!r} is ready; next: `./just run {kind}`")
