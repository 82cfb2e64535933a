"""Where a cluster is no longer what was asked for: machines against the stack, insides against the roles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import SecretStr

from shoal.cloud import gcloud, pulumi
from shoal.cloud.pulumi import Stack
from shoal.cluster import reach as reaches
from shoal.cluster.reach import Reach
from shoal.deploys import run as deploys
from shoal.errors import ShoalError
from shoal.lifecycle import kept_files as known
from shoal.lifecycle import overrides
from shoal.paths import cluster_document
from shoal.telling import Say

Half = Literal["machines", "insides", "overrides"]
DRIFTED = 2
"""Exit code of `shoal drift` where anything drifted; 0 is clean, 1 an error."""
_STEADY = frozenset({"same", "read", "refresh"})


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as asked for."""

    half: Half
    where: str
    what: str

    def plain(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def machines(stack: Stack) -> list[Drift]:
    """What the stack would make, change or remove now, seen against the cloud as it is. Changes nothing.

    Machines that merely stopped are asked for at the cloud itself: not every provider lets the engine see them.
    """
    code, plan = pulumi.plan(stack)
    if code != 0:
        raise pulumi.plan_failure(code, plan)
    found = list(_steps(plan))
    if stack.kind == "gcp":
        seen = {drift.where for drift in found}
        found += [drift for drift in _stopped(stack) if drift.where not in seen]
    return found


def insides(cluster: Reach, say: Say) -> list[Drift]:
    """What the site's deploy would change now, by a dry run, and what it cannot see: the owner's systemd drop-ins.

    Raises ShoalError where a machine is not reached.
    """
    result = deploys.run_deploy(cluster, "site", dry=True, say=say)
    changes = [
        Drift("insides", host, operation.name)
        for operation in result.operations
        for host in operation.changed
        # What hangs on another operation is reported by that one.
        if host not in operation.conditional
    ]
    return [*changes, *(Drift("overrides", found.node, str(found)) for found in overrides.look(cluster.now))]


def of_lab(cluster: Reach, say: Say) -> list[Drift]:
    """Drift of a lab, which has no stack: only the insides."""
    say("asking the machines")
    return insides(cluster, say)


def of_stack(stack: Stack, say: Say, sudo_password: SecretStr | None = None) -> list[Drift]:
    """Both halves."""
    say("asking the stack")
    found = machines(stack)
    say("asking the machines")
    cluster = reaches.load(cluster_document(known.cluster_name(stack))).with_sudo_password(sudo_password)
    return [*found, *insides(cluster, say)]


def _steps(plan: dict[str, Any]) -> Iterator[Drift]:
    for step in plan.get("steps", []):
        operation, urn = str(step["op"]), str(step["urn"])
        kind, name = urn.split("::")[2].rpartition("$")[2], urn.rpartition("::")[2]
        if operation in _STEADY or kind == "pulumi:pulumi:Stack":
            continue
        changed = ", ".join(sorted(step.get("detailedDiff") or step.get("diffReasons") or []))
        yield Drift("machines", name, f"{kind.rpartition(':')[2]}: {operation}{f' ({changed})' if changed else ''}")


def _stopped(stack: Stack) -> Iterator[Drift]:
    project, lab = pulumi.settings(stack).get("gcp:project"), known.cluster_name(stack)
    if not project:
        raise ShoalError(f"gcp:project is not set for stack {stack.name!r}")
    for name, state in sorted(gcloud.machine_states(str(project), lab).items()):
        if state != "RUNNING":
            yield Drift("machines", name, f"Instance: is {state}")
