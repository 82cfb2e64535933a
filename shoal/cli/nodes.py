"""`shoal nodes`: see a cluster's nodes, add, drain, remove and approve them."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from shoal.cli import findings
from shoal.cli.cluster import parse_machine
from shoal.cli.console import out, print_json, say
from shoal.cli.findings import YesTo
from shoal.cli.options import AskSudoPassword, BreakLock, ClusterPath, cluster_of, reach
from shoal.errors import Exit, UsageError
from shoal.fleet import add as fleet_add
from shoal.fleet import engine_list as approval
from shoal.fleet import nodes
from shoal.fleet import remove as fleet_remove

app = typer.Typer(
    add_completion=False, help="See a cluster's nodes, add, drain, remove and approve them.", no_args_is_help=True
)

DRAIN_TIMEOUT_S = 24 * 3600
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of compute nodes.")]
Timeout = Annotated[int, typer.Option("--timeout", min=1, metavar="SECONDS", help="How long to wait for running work.")]


@app.command("list")
def list_(
    cluster: ClusterPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="A document for scripts on stdout.")] = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Every node: whether it answers, what the engine says of it, what runs there.

    Ends with 3 where a machine does not answer, or a compute node that is not drained is not there for jobs.

    Example: shoal nodes list --json
    """
    found = nodes.look(cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password))
    if as_json:
        print_json({"nodes": [dataclasses.asdict(node) for node in found]})
    else:
        out.print(_table(found))
    engine_here = any(node.version or node.serving for node in found)
    if any(_lacks(node, engine_here=engine_here) for node in found):
        raise typer.Exit(Exit.INCOMPLETE)


@app.command()
def add(
    node: Annotated[str, typer.Argument(metavar="NAME | NAME=[USER@]ADDRESS[:PORT]", help="The node.")],
    *,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Repeatable.")] = None,
    arch: Annotated[str, typer.Option(help="amd64 or arm64, of a new node.")] = "amd64",
    yes_to: YesTo = None,
    cluster: ClusterPath = None,
    break_lock: BreakLock = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Bring a node in: a new machine, or one of the document that was drained. Touches no other node.

    Begins with the look of `shoal site check`: where anything is in the way, nothing is changed, the document neither.

    A new machine is written into the document; an onprem.toml keeps its other lines and comments as they are.

    Examples: shoal nodes add compute-3=ops@10.0.0.7 --label site=harbour; shoal nodes add compute-2
    """
    machine, agreed = None, findings.agreed_names(yes_to)
    if "=" in node:
        labels = dict(text.partition("=")[::2] for text in label or [])
        machine = {"roles": ["compute"], "arch": arch, "labels": labels} | parse_machine(node)
    elif label:
        raise UsageError("labels are given to a new node, NAME=ADDRESS; for another, edit the cluster document")
    there = reach(cluster, ask_sudo_password=ask_sudo_password)
    fleet_add.add(there, node.partition("=")[0], machine, say, yes_to=agreed, break_lock=break_lock)


@app.command()
def drain(
    names: Names,
    timeout: Timeout = DRAIN_TIMEOUT_S,
    cluster: ClusterPath = None,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """No new run for these nodes; waits for what runs there, then stops their engine services.

    Example: shoal nodes drain compute-2 --timeout 3600
    """
    nodes.drain(cluster_of(cluster, ask_sudo_password=ask_sudo_password), names, say, timeout_s=timeout)


@app.command()
def remove(
    names: Names,
    *,
    gone: Annotated[bool, typer.Option("--gone", help="The machines are no more; only forget them.")] = False,
    timeout: Timeout = DRAIN_TIMEOUT_S,
    cluster: ClusterPath = None,
    break_lock: BreakLock = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Drain nodes, take off what the deploy put there, and forget them, in the document too. Results of runs stay.

    Ends with 3 where all is done but an old entry on the orchestrator's list, which the engine cannot tell from others.

    Example: shoal nodes remove compute-2
    """
    there = reach(cluster, ask_sudo_password=ask_sudo_password)
    fleet_remove.remove(there, names, say, timeout_s=timeout, gone=gone, break_lock=break_lock)


@app.command()
def approve(names: Names, cluster: ClusterPath = None) -> None:
    """Let nodes that wait for approval take jobs (where the site has `bacalhau_manual_approval`).

    Example: shoal nodes approve compute-3
    """
    approval.approve(cluster_of(cluster), names, say)


def _lacks(node: nodes.NodeState, *, engine_here: bool) -> bool:
    """Whether a node is not as it should be. Without the engine anywhere, its word on a node is nothing to miss."""
    if not node.roles:
        return node.engine != "disconnected"  # else an old entry, of a machine that was removed
    if node.ssh != "answers":
        return True
    if "compute" not in node.roles or node.drained:
        return False
    return bool(node.docker_fault) or (engine_here and node.engine != "connected")


def _table(found: list[nodes.NodeState]) -> Table:
    table = Table("node", "ssh", "engine", "version", "jobs get", "running", "", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for node in found:
        share = f"{node.cpu:g} CPUs, {node.memory_bytes / 1e9:.1f} GB" if node.cpu else ""
        docker = f"Docker: {node.docker_fault}" if node.docker_fault else ""
        notes = ["drained" if node.drained else "", docker, *map(_kept, node.kept_images.items())]
        note = ", ".join(filter(None, notes))
        table.add_row(node.name, node.ssh, node.engine, node.version, share, str(node.containers or ""), note)
    return table


def _kept(image: tuple[str, int]) -> str:
    run, size_bytes = image
    if not size_bytes:
        return f"the image of unfinished run {run} is gone"
    return f"keeps the image of unfinished run {run} ({size_bytes / 1e9:.1f} GB)"
