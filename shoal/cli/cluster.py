"""`shoal cluster`: make, check and show a cluster document."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shoal.cli.console import out, print_json, say
from shoal.cluster import document as cluster
from shoal.cluster import load, onprem, which
from shoal.errors import UsageError
from shoal.files import write_atomic

app = typer.Typer(add_completion=False, help="Make, check and show a cluster document.", no_args_is_help=True)

DocumentPath = Annotated[Path, typer.Argument(help="A cluster document (.json) or a list of gateways (.toml).")]
AsJson = Annotated[bool, typer.Option("--json", help="The document as JSON on stdout.")]


def read(path: Path) -> cluster.Cluster:
    """The document at `path`: JSON, or the TOML form of on-prem gateways. Raises UsageError with all faults.

    Nodes that have moved onto the mesh have their addresses there.
    """
    return load.load_path(path)


def parse_machine(text: str) -> dict[str, Any]:
    """`[NAME=][USER@]ADDRESS[:PORT]` as fields of a node; what is left out keeps the document's default.

    An IPv6 address with a port is written in brackets. Raises UsageError where the port is none.
    """
    name, _, rest = text.rpartition("=")
    user, _, place = rest.rpartition("@")
    port = ""
    if place.startswith("["):
        address, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    elif place.count(":") == 1:
        address, _, port = place.partition(":")
    else:
        address = place
    if port and not re.fullmatch(r"[0-9]{1,9}", port):
        raise UsageError(f"{text!r}: the port {port!r} is not a number", hint="write NAME=USER@ADDRESS:PORT")
    fields: dict[str, Any] = {"address": address}
    if name:
        fields["name"] = name
    if user:
        fields["user"] = user
    if port:
        fields["port"] = int(port)
    return fields


def document(name: str, requester: str, compute: list[str], engine: str, arch: str) -> dict[str, Any]:
    """The raw document of these machines, not yet checked. A requester named again as compute plays both roles."""
    first = parse_machine(requester)
    nodes = [{"name": "requester", "arch": arch} | first | {"roles": ["requester"]}]
    for number, text in enumerate(compute, start=1):
        node = {"name": f"compute-{number}", "arch": arch} | parse_machine(text) | {"roles": ["compute"]}
        if all(node.get(key) == nodes[0].get(key) for key in ("address", "port", "user")):
            nodes[0]["roles"] = ["requester", "compute"]
        else:
            nodes.append(node)
    return {"name": name, "substrate": "onprem", "engine": engine, "nodes": nodes}


@app.command()
def init(
    *,
    name: Annotated[str | None, typer.Option(help="Name of the cluster.")] = None,
    requester: Annotated[str | None, typer.Option(help="[NAME=][USER@]ADDRESS[:PORT] of the control node.")] = None,
    compute: Annotated[list[str] | None, typer.Option(help="The same of a compute node; repeat it.")] = None,
    engine: Annotated[str, typer.Option(help="auto, bacalhau or ssh.")] = "auto",
    arch: Annotated[str, typer.Option(help="amd64 or arm64, of all machines named here.")] = "amd64",
    output: Annotated[Path, typer.Option(help="Where to write it.")] = Path("onprem.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write the list of gateways that exist, from flags or from questions.

    Example: shoal cluster init --name plant --requester ops@10.0.0.2 --compute gate-1=ops@10.0.0.3
    """
    if output.is_dir():
        raise UsageError(f"{output} is a folder", hint="name a file in it with --output")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already", hint="edit it, name another --output, or give --force")
    if not (name and requester and compute):
        if not sys.stdin.isatty():
            raise UsageError("--name, --requester and at least one --compute are needed where nobody can be asked")
        name = name or typer.prompt("Name of the cluster", default="site")
        requester = requester or typer.prompt("Control node ([user@]address[:port])")
        compute = compute or _ask_for_compute()
    made = cluster.parse(document(name or "", requester or "", compute or [], engine, arch), source="what was given")
    write_atomic(output, onprem.render(made))
    say(f"wrote {output}: {len(made.nodes)} machine(s)")
    say("next: check the host keys are known (ssh to each once), then `pyinfra inventories/onprem.py deploy/site.py`")


def _ask_for_compute() -> list[str]:
    found: list[str] = []
    while answer := typer.prompt(f"Compute node {len(found) + 1} (empty to end)", default="", show_default=False):
        found.append(answer)
    return found


@app.command()
def validate(path: DocumentPath, as_json: AsJson = False) -> None:
    """Check a document; every fault is told at once, with its path.

    Example: shoal cluster validate onprem.toml
    """
    read_one = read(path)
    if as_json:
        print_json({"valid": True, "name": read_one.name, "nodes": len(read_one.nodes)})
    else:
        say(f"{path}: valid, {len(read_one.nodes)} machine(s), {len(read_one.compute)} of them compute")


@app.command()
def show(path: DocumentPath, as_json: AsJson = False) -> None:
    """Show a document as a table.

    Example: shoal cluster show onprem.toml --json
    """
    site = read(path)
    if as_json:
        print_json(json.loads(site.model_dump_json(exclude_none=True)))
        return
    table = Table(title=f"{site.name} ({site.substrate}, engine {site.engine}, mesh {site.mesh})")
    for column in ("node", "roles", "address", "arch", "labels", "spot", "USD per hour"):
        table.add_column(column)
    for node in site.nodes:
        labels = " ".join(f"{key}={value}" for key, value in sorted(node.labels.items()))
        price = "unknown" if node.price_usd_per_hour is None else f"{node.price_usd_per_hour:.4f}"
        where = f"{node.user}@{node.address}:{node.port}"
        table.add_row(node.name, " ".join(node.roles), where, node.arch, labels, "yes" if node.spot else "no", price)
    out.print(table)


@app.command()
def where(
    name: Annotated[
        str | None, typer.Argument(help="A cluster's name, or lab, onprem, gcp or edge; else as for verbs without it.")
    ] = None,
) -> None:
    """Print where the document of a cluster lies; on stderr, which cluster that is and what named it.

    `lab` is the lab that SHOAL_LAB names, `onprem` the cluster of onprem.toml (SHOAL_ONPREM).

    Example: shoal run --cluster "$(shoal cluster where gcp)"
    """
    if substrate := next((kind for kind in which.SUBSTRATES if kind == name), None):
        choice = which.choose(substrate=substrate)
    elif name:
        choice = which.choose(named=(name, "its name"))
    else:
        choice = which.choose()
    say(which.told(choice, which.opened(choice)))
    typer.echo(str(choice.path))
