"""How the cluster document is read at a command's door: the plain one, and the one in force over the mesh."""

from __future__ import annotations

from pathlib import Path

from shoal.cluster import document as clusters
from shoal.cluster import login, overlay
from shoal.cluster.document import Cluster


def load_path(path: Path) -> Cluster:
    """A cluster document, as JSON or as onprem.toml, with the addresses that its nodes have now."""
    return overlay.applied(load_first(path))


def load_first(path: Path) -> Cluster:
    """A cluster document with its first addresses, whether its nodes have moved onto the mesh or not.

    A user that it leaves out is the ssh configuration's to name.
    """
    if path.suffix == ".toml":
        from shoal.cluster import onprem  # noqa: PLC0415 - only here TOML is read

        return login.filled(onprem.load(path))
    return login.filled(clusters.load(path))
