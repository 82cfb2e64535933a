"""What this machine knows of a stack's cluster: its documents, keys and notes; found, and forgotten as a whole."""

from __future__ import annotations

from pathlib import Path

from shoal.cloud import pulumi
from shoal.cloud.pulumi import Stack
from shoal.cluster import document as clusters
from shoal.cluster import local_files, overlay
from shoal.cluster.document import Cluster, save
from shoal.paths import cluster_document, ssh_config_path, state_dir
from shoal.site import document as site


def cluster_name(stack: Stack) -> str:
    """The name of the stack's cluster: its setting, else the stack's own."""
    return str(pulumi.settings(stack).get(f"{stack.project}:name") or stack.name)


def key_path(stack: str) -> Path:
    """This machine's private key for a cloud stack's machines."""
    return state_dir() / "keys" / stack


def known_hosts_path(cluster: str) -> Path:
    """Host keys of a stack's machines, as the cloud or the stack's settings give them."""
    return cluster_document(cluster).with_suffix(".known_hosts")


def keep(cluster: Cluster) -> None:
    """Save the document under the cluster's name, and as the one that the substrate's inventory reads."""
    for path in dict.fromkeys((cluster_document(cluster.name), cluster_document(cluster.substrate))):
        save(cluster, path)


def find(stack: Stack) -> Cluster | None:
    """The document as this machine keeps it, with its way in; None where it has none."""
    return next(iter(_documents(stack).values()), None)


def forget(stack: Stack) -> None:
    """Unregister here: the stack with its backups, documents, host keys, tokens, and this machine's key for it."""
    name = cluster_name(stack)
    # The settings stay: they are the person's own, and a list of boxes is not made again by itself.
    pulumi.call(stack, "stack", "rm", stack.name, "--yes", "--preserve-config")
    local = state_dir() / "pulumi" / ".pulumi"
    for left in local.glob(f"*/{stack.project}/{stack.name}.*"):
        left.unlink()
    for left in sorted((local / "backups").glob(f"**/{stack.project}/{stack.name}*/**/*"), reverse=True):
        left.rmdir() if left.is_dir() else left.unlink()
    note = overlay.path(name)
    key = key_path(stack.name)
    files = [*_documents(stack), known_hosts_path(name), note, note.with_suffix(".known_hosts")]
    files += [ssh_config_path(name), key, key.with_name(f"{key.name}.pub"), site.document_path(name)]
    for path in files:
        path.unlink(missing_ok=True)
    local_files.forget(name)


def _documents(stack: Stack) -> dict[Path, Cluster]:
    """Where the cluster's document lies, and what it says. The substrate's own may be of another stack of that kind."""
    name = cluster_name(stack)
    found = {}
    for path in dict.fromkeys((cluster_document(name), cluster_document(stack.kind))):
        if path.exists() and (cluster := clusters.load(path)).substrate == stack.kind and cluster.name == name:
            found[path] = cluster
    return found
