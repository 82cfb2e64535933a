"""Data that a person gives up by name: the node's machine and disk, or the bucket, go before the next update."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from shoal.cloud import gcloud, pulumi
from shoal.cloud.pulumi import Stack
from shoal.errors import Fault, ShoalError, UsageError
from shoal.lifecycle.plan import BUCKET, DATA_DISK_END, DISK, INSTANCE
from shoal.telling import Say


def resources(stack: Stack, names: Collection[str]) -> dict[str, list[str]]:
    """For each name the URNs of what goes with it. Raises UsageError for a name that holds nothing here."""
    there = [entry for entry in _state(stack) if entry["type"] in (INSTANCE, DISK, BUCKET)]
    found: dict[str, list[str]] = {name: [] for name in names}
    for entry in there:
        name = str(entry["urn"]).rpartition("::")[2]
        owner = "bucket" if entry["type"] == BUCKET else name.removesuffix(DATA_DISK_END)
        if owner in found:
            found[owner].append(entry["urn"])
    if unknown := sorted(name for name, urns in found.items() if not urns):
        known = sorted(str(entry["urn"]).rpartition("::")[2] for entry in there if entry["type"] == INSTANCE)
        raise UsageError(
            "there is nothing to give up",
            faults=tuple(Fault(name, f"is no node of stack {stack.name!r}") for name in unknown),
            hint=f"its nodes: {', '.join(known) or 'none'}; `bucket` is the results' bucket",
        )
    return found


def carry_out(stack: Stack, names: Collection[str], say: Say) -> None:
    """Destroy what was given up; the update that follows makes what the settings still want of it.

    Raises ShoalError where one refuses to go.
    """
    urns = [urn for found in resources(stack, names).values() for urn in found]
    say(f"given up with all data: {', '.join(sorted(names))}")
    pulumi.call(stack, "state", "unprotect", *urns, "--yes", "--stack", stack.name)
    targets = [word for urn in urns for word in ("--target", urn)]
    shown = pulumi.show(stack, *pulumi.selected(stack, [*pulumi.DESTROY, "--target-dependents", *targets]))
    if shown.code != 0:
        raise pulumi.failure("destroy", shown.code, "")


def blank(stack: Stack, nodes: Iterable[str], project: str) -> list[str]:
    """Those of `nodes` whose data disk no machine has ever had: they can move to another zone with nothing lost."""
    state = _state(stack)
    disks = {str(entry["urn"]).rpartition("::")[2]: entry for entry in state if entry["type"] == DISK}
    found = []
    for node in nodes:
        disk = disks.get(f"{node}{DATA_DISK_END}")
        if disk is None:
            continue
        zone = str(disk.get("inputs", {}).get("zone"))
        try:
            there = gcloud.document(
                "compute", "disks", "describe", f"{node}{DATA_DISK_END}", f"--zone={zone}", f"--project={project}"
            )
        except ShoalError:
            continue  # what is not known to be blank is taken for full
        if not there.get("lastAttachTimestamp"):
            found.append(node)
    return found


def _state(stack: Stack) -> list[dict[str, Any]]:
    return list((pulumi.state(stack).get("deployment") or {}).get("resources") or [])
