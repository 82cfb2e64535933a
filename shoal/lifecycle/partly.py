"""An update that was carried out in part: what is there is kept, what is missing is named with the way on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from shoal.cloud.pulumi import Shown, Stack
from shoal.cluster.document import Cluster
from shoal.errors import Exit, Fault, ShoalError

# The cloud's own words, in the lines that pulumi prints for a machine that could not be made.
_FAILED = re.compile(r"gcp:compute:\w+\W+(?P<name>[a-z][a-z0-9-]*)\b.*?error: (?P<why>.*)")
_NO_MACHINES = re.compile(r"zones/(?P<zone>[a-z0-9-]+)'? does not have enough resources|ZONE_RESOURCE_POOL_EXHAUSTED")
_QUOTA = re.compile(r"Quota '?(?P<quota>[A-Z0-9_]+)'? exceeded", re.IGNORECASE)


def failure(stack: Stack, shown: Shown, wanted: Collection[str], made: Cluster | None) -> ShoalError:
    """The error of an `up` of which only a part was done; `wanted` are the machines that should be there."""
    reasons = dict(_reasons(shown.lines))
    there = {node.name for node in made.nodes} if made else set()
    missing = [name for name in wanted if name not in there]
    faults = tuple(Fault(name, reasons.get(name, "was not made; pulumi's lines above say why")) for name in missing)
    faults += tuple(Fault(name, why) for name, why in reasons.items() if name not in missing)
    emptied = any("no machines left" in fault.what for fault in faults)
    another = f", or with another zone: `shoal up {stack.kind} --zone {missing[0]}=ZONE`" if missing and emptied else ""
    kept = f"; the {len(there)} machine(s) that are there can be used" if made else ""
    return ShoalError(
        f"stack {stack.name!r} is only partly made: `pulumi up` ended with exit code {shown.code}{kept}",
        faults=faults,
        hint=f"mend what is named and type the command again, nothing is made twice{another}",
        exit_code=Exit.INCOMPLETE if made else Exit.FAILED,
    )


def _reasons(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        if (match := _FAILED.search(line)) is None:
            continue
        why = match["why"].strip()
        if place := _NO_MACHINES.search(why):
            why = f"zone {place['zone'] or 'of this machine'} has no machines left of this type"
        elif quota := _QUOTA.search(why):
            why = f"quota {quota['quota']} is used up: raise it, https://cloud.google.com/docs/quotas/view-manage"
        yield match["name"], why[:300]
