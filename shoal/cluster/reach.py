"""A cluster and how it is reached, read once at a command's door and passed on as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from shoal.cluster import load as loading
from shoal.cluster import overlay as overlays
from shoal.cluster.document import Cluster
from shoal.cluster.overlay import Overlay


@dataclass(frozen=True, slots=True)
class Reach:
    """What the document and the note about the mesh said when they were read, and what follows from both."""

    path: Path
    """Where the document lies, for whoever writes it; it is not read again."""
    first: Cluster
    """With the addresses of the document itself."""
    note: Overlay | None
    """What is kept about the mesh; None where the cluster was never on one."""
    now: Cluster
    """With the addresses at which the nodes are reached now."""

    def noted(self, note: Overlay) -> Reach:
        """The same cluster after a move on the mesh. The note is written, for the commands to come."""
        overlays.save(note)
        return replace(self, note=note, now=_now(self.first, note))

    def with_cluster(self, first: Cluster) -> Reach:
        """The same document with other nodes in it."""
        first = first.with_sudo_password(self.first.sudo_password)
        return replace(self, first=first, now=_now(first, self.note))

    def with_sudo_password(self, password: SecretStr | None) -> Reach:
        """The same, where sudo on the nodes is given `password`."""
        return replace(self, first=self.first.with_sudo_password(password), now=self.now.with_sudo_password(password))


def load(path: Path) -> Reach:
    """Read the document (JSON or onprem.toml) and the note about its mesh. Raises UsageError."""
    return made(path, loading.load_first(path))


def made(path: Path, first: Cluster) -> Reach:
    """The same for a document that was made just now and written to `path`. Raises UsageError."""
    note = overlays.load(first.name) if first.mesh == "tailscale" else None
    return Reach(path, first, note, _now(first, note))


def _now(first: Cluster, note: Overlay | None) -> Cluster:
    return overlays.laid_over(first, note) if note else first
