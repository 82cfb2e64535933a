"""Mends a stack whose last update was cut off: its lock, and what was being made and is not on record."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from shoal.cloud import pulumi
from shoal.cloud.pulumi import Stack
from shoal.errors import ShoalError
from shoal.telling import Say

# Where the cloud keeps what carries a name of ours: enough to find out whether a cut-off creation was done.
_PLACES = {
    "gcp:compute/instance:Instance": "projects/{project}/zones/{zone}/instances/{name}",
    "gcp:compute/disk:Disk": "projects/{project}/zones/{zone}/disks/{name}",
    "gcp:compute/network:Network": "projects/{project}/global/networks/{name}",
    "gcp:compute/subnetwork:Subnetwork": "projects/{project}/regions/{region}/subnetworks/{name}",
    "gcp:compute/router:Router": "projects/{project}/regions/{region}/routers/{name}",
    "gcp:compute/routerNat:RouterNat": "{project}/{region}/{router}/{name}",
    "gcp:compute/firewall:Firewall": "projects/{project}/global/firewalls/{name}",
    "gcp:serviceaccount/account:Account": (
        "projects/{project}/serviceAccounts/{accountId}@{project}.iam.gserviceaccount.com"
    ),
    "gcp:storage/bucket:Bucket": "{name}",
}


def recover(stack: Stack, project: str | None, say: Say) -> None:
    """Make the state whole again after an update that was killed; does nothing where none was.

    A resource that was being created is taken into the state by the id that its name gives, and the refresh that
    follows drops it again where it was not made after all. So nothing is made twice and nothing is forgotten.
    Raises ShoalError where an update is still at work.
    """
    _unlock(stack, say)
    state = pulumi.state(stack)
    pending = (state.get("deployment") or {}).get("pending_operations") or []
    if not pending:
        return
    say(f"the last update was cut off during {len(pending)} operation(s); looking what became of them")
    deployment = state["deployment"]
    known = {resource["urn"] for resource in deployment.get("resources", [])}
    # Where a destroy went over it since, parent or provider are gone and nothing can hold it: the receipt's to find.
    adopted = [
        found
        for operation in pending
        if (found := _adopted(operation, project))
        and found["urn"] not in known
        and {found.get("parent"), found.get("provider", "").rpartition("::")[0]} <= known
    ]
    deployment["resources"] = [*deployment.get("resources", []), *adopted]
    deployment["pending_operations"] = []
    pulumi.call(stack, "stack", "import", "--stack", stack.name, stdin=json.dumps(state))
    pulumi.call(stack, *pulumi.selected(stack, ["refresh", "--yes", "--skip-preview"]))
    after = {resource["urn"] for resource in pulumi.state(stack)["deployment"].get("resources", [])}
    there = sorted(resource["urn"].rpartition("::")[2] for resource in adopted if resource["urn"] in after)
    say(f"found and taken into the state: {', '.join(there) or 'nothing'}")


def _adopted(operation: Mapping[str, Any], project: str | None) -> dict[str, Any] | None:
    """The resource of a cut-off creation as the state would hold it; None where it has no name of ours.

    Grants are such: making one that is there already changes nothing.
    """
    resource = dict(operation["resource"])
    place = _PLACES.get(resource["type"])
    if operation["type"] != "creating" or place is None:
        return None
    try:
        resource["id"] = place.format_map({"project": project, **resource.get("inputs", {})})
    except KeyError:
        return None
    resource["outputs"] = {}
    return resource


def _unlock(stack: Stack, say: Say) -> None:
    """Take away a lock whose owner is dead. Raises ShoalError where the owner lives or is on another machine."""
    locks = _locks(stack)
    for lock in locks:
        owner = json.loads(lock.read_text(encoding="utf-8"))
        host, pid = str(owner.get("hostname", "")), int(owner.get("pid", 0))
        if host == socket.gethostname() and not _alive(pid):
            continue
        raise ShoalError(
            f"another update of stack {stack.name!r} is at work: process {pid} on {host or 'another machine'}",
            hint="wait for its end; if you know that it is gone, run `pulumi cancel` in " + str(stack.folder),
        )
    if locks:
        say(f"the last update of stack {stack.name!r} was killed; its lock is taken away")
        pulumi.call(stack, "cancel", "--yes", "--stack", stack.name)


def _locks(stack: Stack) -> list[Path]:
    """Lock files of a local backend; other backends are left to Pulumi."""
    parts = urlsplit(pulumi.environment()["PULUMI_BACKEND_URL"])
    if parts.scheme != "file" or not re.match("/", parts.path):
        return []
    folder = Path(unquote(parts.path)) / ".pulumi" / "locks" / "organization" / stack.project / stack.name
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
