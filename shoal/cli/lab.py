"""`shoal lab`: emulated edge machines on this one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from shoal.cli.console import out, print_json, print_plain, say
from shoal.cli.options import AgreeToEngine, LabName
from shoal.cli.options import lab as chosen
from shoal.cluster import load
from shoal.errors import Exit, ShoalError
from shoal.lab import cut as outages
from shoal.lab import down as downs
from shoal.lab import node as nodes
from shoal.lab import ssh_files, state
from shoal.lab import status as statuses
from shoal.lab.client import plain_errors
from shoal.lab.spec import DEFAULT_COMPUTE, LabSpec, check
from shoal.lab.up import Options
from shoal.lab.up import up as bring_up
from shoal.paths import cluster_document

app = typer.Typer(
    add_completion=False, help="Emulated edge machines on this one: systemd containers with sshd.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON on stdout.")]


@app.command()
def up(
    *,
    name: LabName = None,
    compute: Annotated[
        int | None, typer.Option(help=f"Compute nodes. Default: as the lab has now, else {DEFAULT_COMPUTE}.")
    ] = None,
    cameras: Annotated[
        int | None,
        typer.Option(help="RTSP cameras of each compute node, and a store that speaks S3. Default: as now, else 0."),
    ] = None,
    subnet: Annotated[str | None, typer.Option(help="IPv4 range of the lab's network. Default: a free one.")] = None,
    memory_mib: Annotated[int | None, typer.Option(help="Memory limit of each node in MiB.")] = None,
    cpus: Annotated[float | None, typer.Option(help="Processor limit of each node.")] = None,
    image: Annotated[str | None, typer.Option(help="A node image of your own that the engine has.")] = None,
    boot_timeout_s: Annotated[float, typer.Option(help="How long the nodes may take to boot.")] = 120.0,
    yes: AgreeToEngine = False,
    recreate: Annotated[
        bool, typer.Option("--recreate", help="Make nodes anew whose settings or image differ.")
    ] = False,
    scale_down: Annotated[bool, typer.Option("--scale-down", help="Remove compute nodes above --compute.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build the node image anew.")] = False,
    retain: Annotated[bool, typer.Option("--retain", help="Keep what was made if a node does not boot.")] = False,
) -> None:
    """Bring the lab up: one requester and some compute nodes. Interrupted, it can be typed again.

    Examples:

        shoal lab up

        shoal lab up --compute 4 --memory-mib 2048 --yes

        shoal lab up --cameras 2
    """
    name = chosen(name)
    spec = LabSpec(name, compute, subnet, memory_mib, cpus, image, boot_timeout_s, cameras)
    options = Options(yes, recreate, scale_down, rebuild, retain)
    try:
        bring_up(spec, options, films=_films, say=say)
    except KeyboardInterrupt:
        say("lab: interrupted; type the command again to go on, or `shoal lab down` to remove what there is")
        raise typer.Exit(Exit.INTERRUPTED) from None
    typer.echo(cluster_document(name))


@app.command()
def down(
    name: LabName = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also the images, an engine that the lab brought, and their cache.")
    ] = False,
    keep_cache: Annotated[bool, typer.Option("--keep-cache", help="With --purge: keep the cached images.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the lab, then look again and show that nothing is left. Exit 1 if something is.

    Examples:

        shoal lab down

        shoal lab down --purge
    """
    name = chosen(name)
    tell_down(name, downs.down(name, purge_all=purge, keep_cache=keep_cache, say=say), as_json=as_json)


def tell_down(name: str, result: downs.Down, *, as_json: bool) -> None:
    """Show what was looked for and found. Raises ShoalError where something remains."""
    if as_json:
        print_json({**asdict(result), "clean": result.clean})
    else:
        _print_proof(name, result)
    if not result.clean:
        raise ShoalError("the lab is not all gone", hint="see the table; remove what it names, then type it again")


@app.command()
def status(name: LabName = None, as_json: AsJson = False) -> None:
    """Show the lab's engine, network and nodes. Exit 0 if all of it is up, 3 if not.

    Examples:

        shoal lab status --json
    """
    name = chosen(name)
    found = statuses.status(name, say=say)
    if as_json:
        print_json({**asdict(found), "running": found.running})
    elif not found.exists:
        say(f"there is no lab {name!r}; `shoal lab up` makes one")
    else:
        _print_status(found)
    if not found.running:
        raise typer.Exit(Exit.INCOMPLETE)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def ssh(
    node: Annotated[str, typer.Argument(help="Name of the node, as compute-1.")],
    command: Annotated[list[str] | None, typer.Argument(help="A command to run there, after --.")] = None,
    name: LabName = None,
) -> None:
    """Open a shell on a node, or run a command there.

    Examples:

        shoal lab ssh compute-1

        shoal lab ssh compute-1 -- systemctl status ssh
    """
    name = chosen(name)
    check(LabSpec(name=name))
    config = ssh_files.config_path(name)
    if state.load_facts(name) is None or not config.exists():
        raise ShoalError(f"there is no lab {name!r}", hint="`shoal lab up` makes one", exit_code=Exit.MISSING)
    ssh_files.require_programs()
    if f"\nHost {node} " not in f"\n{config.read_text(encoding='utf-8')}":
        raise ShoalError(f"lab {name!r} has no node {node!r}", hint="see `shoal lab status`", exit_code=Exit.USAGE)
    words = [word for index, word in enumerate(command or []) if index or word != "--"]
    # ssh joins its arguments with spaces and the shell there splits them again: quoted, they arrive as given.
    remote = [words[0] if len(words) == 1 else shlex.join(words)] if words else []
    os.execvp("ssh", ["ssh", "-F", str(config), node, *remote])  # noqa: S606


@app.command()
def logs(
    node: Annotated[str, typer.Argument(help="Name of the node, as compute-1.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option(help="How many of the last lines.", min=0)] = 100,
    name: LabName = None,
) -> None:
    """Show a node's journal, through the engine: works when its network does not.

    Examples:

        shoal lab logs compute-1 -f
    """
    name = chosen(name)
    container = statuses.container_of(name, node)
    past = nodes.journal(container, lines)
    if not past:
        # Not up, or in the middle of being started again and again.
        say(f"{node} has no journal (its container is {container.status}); its console's last lines:")
        print_plain(nodes.console(container, lines))
        raise typer.Exit(Exit.INCOMPLETE)
    if not follow:
        print_plain(past)
        return
    with plain_errors(f"reading the journal of {node}"):
        # exec_run's output is a stream of bytes then; the client's types do not say so.
        command = ["journalctl", "--no-pager", f"--lines={lines}", "--follow"]
        stream: Iterator[bytes] = container.exec_run(command, stream=True).output  # type: ignore[assignment]
        for chunk in stream:
            print_plain(chunk.decode(errors="replace"), end="")


@app.command()
def cut(
    node: Annotated[str, typer.Argument(help="Name of the node, as compute-1.")],
    cut_from: Annotated[
        list[str] | None,
        typer.Option("--from", help="wan, requester or cameras; repeatable. Default: everything, and SSH with it."),
    ] = None,
    name: LabName = None,
) -> None:
    """Make an outage: a node loses the internet, the requester, its cameras or everything, until `mend`.

    It lasts over a power cycle of the node. Another `cut` replaces it.

    Examples:

        shoal lab cut compute-1

        shoal lab cut compute-1 --from requester --from wan
    """
    name = chosen(name)
    container = statuses.container_of(name, node)
    cluster = load.load_path(cluster_document(name))
    outages.cut(container, node, outages.rules(cluster, node, cut_from or ()))
    say(f"{node} is cut from {', '.join(cut_from) if cut_from else 'everything'}; `shoal lab mend {node}` ends it")


@app.command()
def mend(
    node: Annotated[str, typer.Argument(help="Name of the node, as compute-1.")],
    name: LabName = None,
) -> None:
    """End the outages of a node.

    Example: `shoal lab mend compute-1`
    """
    name = chosen(name)
    was_cut = outages.mend(statuses.container_of(name, node), node)
    say(f"{node} is mended" if was_cut else f"{node} was not cut")


def _films() -> list[Path]:
    # The decoder takes a moment to load; a lab without cameras does without.
    from shoal.site import camera_films  # noqa: PLC0415

    return camera_films.films(say=say)


def _print_proof(name: str, result: downs.Down) -> None:
    if not result.existed:
        say(f"there was no lab {name!r}")
    table = Table("looked for", "where", "found")
    for proof in result.proofs:
        table.add_row(proof.what, proof.where, "0" if not proof.left else f"{len(proof.left)}: {', '.join(proof.left)}")
    out.print(table)
    for entry in result.kept:
        out.print(f"kept: {entry}")


def _print_status(found: statuses.LabStatus) -> None:
    answers = "answers" if found.engine_answers else "does not answer"
    out.print(f"lab {found.name}: engine {found.engine} {answers}")
    blocked = "blocked" if found.metadata_blocked else "not blocked"
    out.print(f"network {found.subnet}: {'there' if found.network else 'missing'}; host metadata service {blocked}")
    out.print(f"cluster document: {found.document or 'missing'}")
    table = Table("node", "address", "container", "boot", "ssh")
    for node in found.nodes:
        table.add_row(node.name, node.address, node.container, node.boot, "answers" if node.ssh else "-")
    out.print(table)
    for node in found.nodes:
        if node.services:
            good = [name for name, answering in node.services.items() if answering]
            silent = sorted(set(node.services) - set(good))
            rest = f"; not {', '.join(silent)}" if silent else ""
            out.print(f"{node.name}: {', '.join(good) or 'nothing'} answers{rest}")
