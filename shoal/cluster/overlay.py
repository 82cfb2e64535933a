"""Which nodes of a cluster are reached over the mesh: a note beside the cluster document, laid over it when it is read.

The document itself belongs to whoever made the machines and is written anew by them; a machine that was made anew, with
another first address, is thereby reached at that again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal.cluster.document import Address, Cluster, Name, Node
from shoal.cluster.kept import read_kept
from shoal.errors import UsageError
from shoal.files import write_atomic
from shoal.paths import state_dir

USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
SSH_PORT = 22


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Moved(_Document):
    """One node on the mesh."""

    first_address: Address
    address: Address = Field(description="Where the control machine reaches it: its name, or its address.")
    port: int = SSH_PORT
    peer_address: Address = Field(description="Its address on the tailnet.")
    host_keys: tuple[str, ...] = Field((), description="Its public host keys (type and key), as known before the move.")


class Overlay(_Document):
    """All of a cluster that is on the mesh."""

    version: Literal[1] = 1
    cluster: Name
    wanted: bool = Field(True, description="False after `shoal mesh off`: a deploy does not move it on again.")
    services: bool = Field(False, description="Whether the nodes reach each other over the mesh, too.")
    plain_services: bool = Field(False, description="Agreed: services off the mesh where they cannot go over it.")
    proxy_command: str | None = Field(None, description="How the control machine gets onto the mesh, if not directly.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Knobs of the roles tailscale and firewall.")
    nodes: dict[Name, Moved] = Field(default_factory=dict)


def path(cluster: str) -> Path:
    """Where the note of a cluster lies."""
    return state_dir() / "mesh" / f"{cluster}.json"


def load(cluster: str) -> Overlay | None:
    """The note of a cluster; None where it never was on a mesh. Raises UsageError where it is damaged."""
    file = path(cluster)
    hint = f"remove {file}: every node is then reached at its first address; `shoal mesh on` writes it again"
    overlay = read_kept(file, Overlay, source=str(file), valid="valid", hint=hint)
    if overlay is not None and overlay.cluster != cluster:
        raise UsageError(f"{file} belongs to cluster {overlay.cluster!r}", hint=hint)
    return overlay


def save(overlay: Overlay) -> None:
    """Write the note atomically."""
    write_atomic(path(overlay.cluster), overlay.model_dump_json(indent=2, exclude_none=True) + "\n")


def forget(cluster: str, nodes: Collection[str]) -> None:
    """Drop nodes that are no more; one of the same name and address that comes later has yet to join."""
    overlay = load(cluster)
    if overlay and not overlay.nodes.keys().isdisjoint(nodes):
        kept = {name: entry for name, entry in overlay.nodes.items() if name not in nodes}
        save(overlay.model_copy(update={"nodes": kept}))


def applied(cluster: Cluster) -> Cluster:
    """The cluster as it is reached now. Raises UsageError where the note is damaged."""
    overlay = load(cluster.name) if cluster.mesh == "tailscale" else None
    return laid_over(cluster, overlay) if overlay else cluster


def laid_over(cluster: Cluster, overlay: Overlay) -> Cluster:
    """The cluster with the addresses of `overlay`; host keys of the mesh's addresses go into a file beside the note."""
    moved = {node.name: entry for node in cluster.nodes if (entry := _entry(node, overlay)) is not None}
    if not moved:
        return cluster
    nodes = tuple(
        _on_mesh(node, moved[node.name], services=overlay.services) if node.name in moved else node
        for node in cluster.nodes
    )
    access = {"known_hosts_file": _known_hosts(cluster, moved), "mesh_proxy_command": overlay.proxy_command}
    return cluster.model_copy(update={"nodes": nodes, "ssh": cluster.ssh.model_copy(update=access)})


def first(cluster: Cluster) -> Cluster:
    """The cluster by its first addresses alone, whatever was laid over it."""
    return cluster.model_copy(
        update={
            "nodes": tuple(
                node
                if node.first_address is None
                else node.model_copy(update={"address": node.first_address, "first_address": None})
                for node in cluster.nodes
            )
        }
    )


def known_hosts_files(cluster: Cluster) -> list[Path]:
    """The files that hold host keys for the cluster, as far as they are there."""
    named = cluster.ssh.known_hosts_file
    files = [named] if named else [Path(name) for name in USER_KNOWN_HOSTS]
    return [file for each in files if (file := each.expanduser()).is_file()]


def _entry(node: Node, overlay: Overlay) -> Moved | None:
    entry = overlay.nodes.get(node.name)
    return entry if entry and node.first_address is None and entry.first_address == node.address else None


def _on_mesh(node: Node, entry: Moved, *, services: bool) -> Node:
    return node.model_copy(
        update={
            "address": entry.address,
            "port": entry.port,
            "first_address": node.address,
            "cluster_address": entry.peer_address if services else node.peer_address,
        }
    )


def _known_hosts(cluster: Cluster, moved: dict[str, Moved]) -> Path:
    """The cluster's own host keys and, under the names of the mesh, the same keys again."""
    lines = [file.read_text(encoding="utf-8", errors="replace").rstrip("\n") for file in known_hosts_files(cluster)]
    for entry in moved.values():
        names = {entry.address, entry.peer_address}
        shown = ",".join(sorted(name if entry.port == SSH_PORT else f"[{name}]:{entry.port}" for name in names))
        lines += [f"{shown} {key}" for key in entry.host_keys]
    text = "\n".join(lines) + "\n"
    file = path(cluster.name).with_suffix(".known_hosts")
    if not file.exists() or file.read_text(encoding="utf-8", errors="replace") != text:
        write_atomic(file, text, mode=0o600)
    return file
