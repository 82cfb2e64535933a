"""`shoal cluster`: make, check and show a cluster document."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shoal.cli.console import out, print_json, say
from shoal.cluster import document as cluster
from shoal.cluster import load, login, onprem, which
from shoal.errors import Exit, UsageError
from shoal.files import write_atomic
from shoal.paths import expanded
from shoal.ssh import host_keys
from shoal.ssh.host_keys import HostKey, KeyState

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


def document(
    name: str, requester: str, compute: list[str], engine: str, arch: str, *, ssh: dict[str, str] | None = None
) -> dict[str, Any]:
    """The raw document of these machines, not yet checked. A requester named again as compute plays both roles."""
    first = parse_machine(requester)
    nodes = [{"name": "requester", "arch": arch} | first | {"roles": ["requester"]}]
    for number, text in enumerate(compute, start=1):
        node = {"name": f"compute-{number}", "arch": arch} | parse_machine(text) | {"roles": ["compute"]}
        if all(node.get(key) == nodes[0].get(key) for key in ("address", "port", "user")):
            nodes[0]["roles"] = ["requester", "compute"]
        else:
            nodes.append(node)
    return {"name": name, "substrate": "onprem", "engine": engine, "nodes": nodes, **({"ssh": ssh} if ssh else {})}


@app.command()
def init(
    *,
    name: Annotated[str | None, typer.Option(help="Name of the cluster.")] = None,
    requester: Annotated[str | None, typer.Option(help="[NAME=][USER@]ADDRESS[:PORT] of the control node.")] = None,
    compute: Annotated[list[str] | None, typer.Option(help="The same of a compute node; repeat it.")] = None,
    engine: Annotated[str, typer.Option(help="auto, bacalhau or ssh.")] = "auto",
    arch: Annotated[str, typer.Option(help="amd64 or arm64, of all machines named here.")] = "amd64",
    identity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key to log in with; else what your ssh uses.")
    ] = None,
    known_hosts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of the machines' host keys, made by `host-keys`; else what your ssh uses."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Where to write it.")] = Path("onprem.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write the list of gateways that exist, from flags or from questions, and say what comes next.

    Example: shoal cluster init --name plant --requester ops@10.0.0.2 --compute gate-1=ops@10.0.0.3
    """
    if output.is_dir():
        raise UsageError(f"{output} is a folder", hint="name a file in it with --output")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already", hint="edit it, name another --output, or give --force")
    if not (name and requester and compute):
        if not sys.stdin.isatty():
            raise UsageError("--name, --requester and at least one --compute are needed without a terminal to ask on")
        name = name or typer.prompt("Name of the cluster", default="site")
        requester = requester or typer.prompt("Control node ([user@]address[:port])")
        compute = compute or _ask_for_compute()
    access = _access(identity, known_hosts)
    given = document(name or "", requester or "", compute or [], engine, arch, ssh=access)
    made = login.filled(cluster.parse(given, source="what was given"))
    write_atomic(output, onprem.render(made))
    say(f"wrote {output}: {len(made.nodes)} machine(s)")
    say("next:")
    for number, (command, what) in enumerate(next_steps(output), start=1):
        say(f"  {number}. {command}\n     {what}")


def next_steps(document: Path) -> list[tuple[str, str]]:
    """The commands from a fresh document to a report, in their order, and what each is for."""
    path = shlex.quote(str(document))
    return [
        (f"./just shoal cluster host-keys {path}", "compare the machines' keys with their consoles, and record them"),
        (f"./just shoal site prepare --cluster {path}", "which clips go where; --no-videos where the footage is there"),
        (f"./just shoal site check --cluster {path}", "what a deploy would meet and touch; changes nothing"),
        (f"./just shoal site deploy --cluster {path}", "begins with the same check"),
        (f"./just shoal run --cluster {path}", "the job on every compute node, results home"),
        ("./just shoal report --latest", "what was found"),
    ]


def _access(identity: Path | None, known_hosts: Path | None) -> dict[str, str]:
    """The document's `ssh`. Raises UsageError where the key is none; the file of known hosts may be yet to be made."""
    given = {"identity_file": identity, "known_hosts_file": known_hosts}
    access = {key: expanded(path).absolute() for key, path in given.items() if path is not None}
    if (key := access.get("identity_file")) and not key.is_file():
        raise UsageError(f"--identity: there is no file {key}")
    if key and key.suffix == ".pub":
        raise UsageError(f"--identity: {key} is a public key", hint=f"name the private one: {key.with_suffix('')}")
    if (known := access.get("known_hosts_file")) and known.is_dir():
        raise UsageError(f"--known-hosts: {known} is a folder", hint="name a file in it")
    return {field: str(path) for field, path in access.items()}


@app.command("host-keys")
def host_keys_(
    path: DocumentPath,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(
            "--fingerprint", metavar="NODE=SHA256:...", help="Record this machine's key if it is this one. Repeatable."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Record all new keys unseen: trusts the network this once.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The keys as JSON on stdout; nothing is recorded.")] = False,
) -> None:
    """Fetch the machines' host keys, show their fingerprints to be compared, and record them where you agree.

    Compare each with what the machine's own console says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. A key that
    is not the recorded one is never replaced. Ends with 3 where a key is still not recorded.

    Examples: `shoal cluster host-keys onprem.toml`; `shoal cluster host-keys onprem.toml --fingerprint gate-1=SHA256:x`
    """
    # The first addresses: that is where a person meets the machines.
    loaded = load.load_first(path)
    wanted = _fingerprints(fingerprint or [])
    keys = host_keys.fetch(loaded)
    if as_json:
        print_json({"keys": [_key_document(key) for key in keys]})
        _end_with(keys, recorded=())
        return
    _show_keys(keys)
    file = host_keys.known_hosts_file(loaded)
    host_keys.refuse_others(keys, wanted)
    new = [key for key in keys if key.state is KeyState.NEW]
    chosen = [key for key in new if yes or key.node in wanted]
    left = [key for key in new if key not in chosen]
    if left and not wanted and sys.stdin.isatty():
        names = ", ".join(key.node for key in left)
        if typer.confirm(f"Are these the fingerprints that the machines' consoles show? Record {names} in {file}"):
            chosen, left = [*chosen, *left], []
    if chosen:
        host_keys.record(chosen, file)
        say(f"recorded in {file}: {', '.join(key.node for key in chosen)}")
    if left:
        say(f"not recorded: {', '.join(key.node for key in left)} (--fingerprint NODE=SHA256:... records one)")
    _end_with(keys, recorded=[key.node for key in chosen])


def _fingerprints(given: list[str]) -> dict[str, str]:
    wanted = dict(text.partition("=")[::2] for text in given)
    if wrong := [text for text in given if not re.fullmatch(r"[^=]+=SHA256:[A-Za-z0-9+/]{43}", text)]:
        raise UsageError(f"--fingerprint {', '.join(wrong)}: must be NODE=SHA256: and 43 characters")
    return wanted


def _key_document(key: HostKey) -> dict[str, str | None]:
    return {
        "node": key.node,
        "state": key.state.value,
        "type": key.kind or None,
        "fingerprint": key.fingerprint or None,
        "why": key.why or None,
    }


def _show_keys(keys: list[HostKey]) -> None:
    # Lines and no table: a fingerprint that is broken over two lines is neither compared nor copied well.
    width = max(len(key.node) for key in keys)
    for key in keys:
        row = f"{key.node:{width}}  {key.state.value:9}  {key.kind} {key.fingerprint}".rstrip()
        out.print(f"{row} {key.why}".rstrip(), markup=False, highlight=False, soft_wrap=True)
    for key in keys:
        if key.state is KeyState.CHANGED:
            say(
                f"{key.node}: its key is not the recorded one; if the machine was made anew, remove the old one "
                f"(ssh-keygen -R {shlex.quote(key.line.split()[0])}), else somebody else answers: do not go on"
            )


def _end_with(keys: list[HostKey], recorded: Collection[str]) -> None:
    if any(key.state is not KeyState.KNOWN and key.node not in recorded for key in keys):
        raise typer.Exit(Exit.INCOMPLETE)


def _ask_for_compute() -> list[str]:
    found: list[str] = []
    while answer := typer.prompt(f"Compute node {len(found) + 1} (empty to end)", default="", show_default=False):
        found.append(answer)
    return found


@app.command()
def validate(path: DocumentPath, as_json: AsJson = False) -> None:
    """Check a document; all faults are listed at once, with their paths.

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
    say(which.first_line(choice, which.opened(choice)))
    typer.echo(str(choice.path))
