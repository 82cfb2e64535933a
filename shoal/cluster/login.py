"""The user that the ssh configuration names for a machine, where the cluster document names none: as `ssh HOST` has it.

The document's own default is the last resort, not a choice that overrides the person's configuration.
"""

from __future__ import annotations

import subprocess
import tempfile
from typing import Any

from shoal.cluster.document import USER, Cluster, Node, SshAccess
from shoal.errors import UsageError
from shoal.paths import expanded
from shoal.terminal import printable

TIMEOUT_S = 20
"""A configuration may run commands (`Match exec`)."""
_USERS_OWN = ("~/.ssh/config", "/etc/ssh/ssh_config")


def filled(cluster: Cluster) -> Cluster:
    """The cluster in which each node without a user has the one that the ssh configuration names for its address.

    Raises UsageError where that is a name that a cluster document cannot have.
    """
    users = {
        node.name: user
        for node in cluster.nodes
        if "user" not in node.model_fields_set and (user := _named(cluster.ssh, node.address))
    }
    if not users:
        return cluster
    nodes = tuple(
        node.model_copy(update={"user": users[node.name]}) if node.name in users else node for node in cluster.nodes
    )
    return cluster.model_copy(update={"nodes": nodes})


def filled_entry(access: SshAccess, machine: dict[str, Any]) -> dict[str, Any]:
    """The same for one machine's entry that is about to come into a document."""
    user = None if "user" in machine else _named(access, machine["address"])
    return {**machine, "user": user} if user else machine


def _named(access: SshAccess, address: str) -> str | None:
    """What ssh itself takes for the user there; None where that is nothing but its default.

    `ssh -G` does not say where a value comes from. So it reads a file that includes the configuration and names our
    own default after it: the first value counts (ssh_config(5)).
    """
    included = [str(expanded(access.config_file))] if access.config_file else list(_USERS_OWN)
    default = str(Node.model_fields["user"].default)
    lines = [f'Include "{path}"' for path in included] + ["Match all", f"  User {default}"]
    with tempfile.NamedTemporaryFile("w", suffix=".ssh_config", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        try:
            done = subprocess.run(
                ["ssh", "-T", "-F", file.name, "-G", "--", address],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return None  # the first login says it, with what to do
    user = next((line.removeprefix("user ") for line in done.stdout.splitlines() if line.startswith("user ")), default)
    if user == default:
        return None
    if not USER.fullmatch(user):
        raise UsageError(
            f"the ssh configuration names user {printable(user)!r} for {address}, which shoal does not take",
            hint="write `user` for that machine in the cluster document",
        )
    return user
