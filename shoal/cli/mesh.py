"""`shoal mesh`: reach a cluster over its tailnet, go back, see how it stands."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from shoal.cli.console import out, print_json, say
from shoal.cli.options import AskSudoPassword, BreakLock, ClusterPath, reach
from shoal.errors import Exit, UsageError
from shoal.mesh import moving
from shoal.mesh import policy as policies
from shoal.mesh.moving import Move

app = typer.Typer(add_completion=False, help="Reach a cluster over its tailnet, and go back.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="The outcome as JSON on stdout.")]
NoDeployOption = Annotated[
    bool, typer.Option("--no-deploy", help="Change nothing on the machines, only how they are reached.")
]


@app.command()
def on(
    *,
    cluster: ClusterPath = None,
    proxy_command: Annotated[
        str | None,
        typer.Option(
            "--proxy-command",
            help="How this machine gets onto the mesh if not directly, with %h and %p: `tailscale nc %h %p`. Kept.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the roles tailscale and firewall, NAME=VALUE. Kept. Repeatable."),
    ] = None,
    plain_services: Annotated[
        bool | None,
        typer.Option(
            "--plain-services/--no-plain-services",
            help="Agree that the registry and the engine stay on the first addresses, open there, where not every "
            "machine can reach them over the mesh (userspace mode). Kept.",
            show_default=False,
        ),
    ] = None,
    no_deploy: NoDeployOption = False,
    break_lock: BreakLock = False,
    ask_sudo_password: AskSudoPassword = False,
    as_json: JsonOption = False,
) -> None:
    """Join every machine to the tailnet, then reach over it those that answer there with the host keys they had.

    The key comes from SHOAL_TAILSCALE_AUTHKEY, a file or a command (docs/mesh.md). A machine that does not answer over
    the mesh keeps its first address. Services move with the next `shoal site deploy`.

    Exit codes: 0 all are on the mesh; 3 some are not, each is named; 2 bad input; 1 a deploy failed.

    Examples:

        shoal mesh on --cluster onprem.toml

        shoal mesh on --set tailscale_login_server=https://headscale.example.org --set tailscale_advertise_tags=false
    """
    move = moving.on(
        reach(cluster, ask_sudo_password=ask_sudo_password),
        proxy_command=proxy_command,
        settings=settings(setting or []),
        plain_services=plain_services,
        deploy=not no_deploy,
        break_lock=break_lock,
        say=say,
    )
    _told(move, as_json=as_json)
    if not move.services:
        say(f"mesh: what the nodes say to each other cannot go over the mesh now: {move.services_note}")
    if not move.whole:
        raise typer.Exit(Exit.INCOMPLETE)
    say("mesh: every machine is reached over the mesh; `shoal site deploy` now moves the services and closes the rest")


@app.command()
def off(
    *,
    cluster: ClusterPath = None,
    force: Annotated[bool, typer.Option("--force", help="Also for machines that do not answer there.")] = False,
    no_deploy: NoDeployOption = False,
    break_lock: BreakLock = False,
    ask_sudo_password: AskSudoPassword = False,
    as_json: JsonOption = False,
) -> None:
    """Go back to the first addresses. A machine that does not answer there is still reached over the mesh.

    The machines stay members of the tailnet; `shoal site teardown` logs them out.

    Example: `shoal mesh off --cluster onprem.toml`
    """
    move = moving.off(
        reach(cluster, ask_sudo_password=ask_sudo_password),
        force=force,
        deploy=not no_deploy,
        break_lock=break_lock,
        say=say,
    )
    _told(move, as_json=as_json)
    if any(node.on_mesh for node in move.nodes):
        raise typer.Exit(Exit.INCOMPLETE)
    say("mesh: every machine is reached at its first address; `shoal site deploy` now moves the services back")


@app.command()
def status(*, cluster: ClusterPath = None, as_json: JsonOption = False) -> None:
    """How each machine stands on the tailnet, and where it is reached. Nothing is changed.

    Example: `shoal mesh status --json`
    """
    _told(moving.status(reach(cluster, claim=False)), as_json=as_json)


@app.command()
def policy(
    owner: Annotated[
        list[str] | None, typer.Option("--owner", help="Who may give the tags. Default: autogroup:admin. Repeatable.")
    ] = None,
) -> None:
    """Print a sample policy for the tailnet: clients to requester, requester to compute, nothing that is not needed.

    Example: `shoal mesh policy --owner group:ops > policy.hujson`
    """
    typer.echo(policies.render(owners=owner or ("autogroup:admin",)), nl=False)


def settings(pairs: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` as data; values are JSON where they are that (true, 22, a list), else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError("--set wants NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _told(move: Move, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "services_over_mesh": move.services,
                "nodes": [
                    {
                        "node": node.node,
                        "first_address": node.first_address,
                        "mesh_address": node.mesh_address,
                        "reached_at": node.address,
                        "on_mesh": node.on_mesh,
                        "note": node.note,
                    }
                    for node in move.nodes
                ],
            }
        )
        return
    table = Table("machine", "first address", "on the tailnet", "reached at", "note")
    for node in move.nodes:
        table.add_row(node.node, node.first_address, node.mesh_address or "-", node.address, node.note)
    out.print(table)
