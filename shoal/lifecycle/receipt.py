"""The receipt of a destroy: where leftovers were looked for, and what was found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from shoal.cloud import gcloud
from shoal.cloud.pulumi import Kind, Shown
from shoal.errors import ShoalError
from shoal.files import write_atomic
from shoal.fleet.leave import Parting, Step
from shoal.paths import state_dir

GRANT = "grant in the project"
_REFUSED = re.compile(r"\berror: ")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Leftover(_Part):
    """Something that should be gone and is there."""

    kind: str
    name: str
    place: str


class NotDone(_Part):
    """Something that should have been done with a machine before it went."""

    step: Step
    node: str
    why: str


class Receipt(_Part):
    """What a destroy leaves behind for the books."""

    schema_version: int = 3
    kind: Kind
    cluster: str
    project: str | None = None
    finished_at: datetime
    drained: tuple[str, ...] = ()
    """Machines on which nothing ran any more when they went."""
    off_engine: tuple[str, ...] = ()
    """Machines that the engine was made to forget."""
    off_tailnet: tuple[str, ...] = ()
    """Machines that were logged out of the tailnet; it may go on listing one that was not ephemeral, as expired."""
    not_done: tuple[NotDone, ...] = ()
    searched: tuple[str, ...]
    leftovers: tuple[Leftover, ...]
    refusals: tuple[str, ...] = ()
    """What refused to go, and searches that failed, each with the reason that was given."""

    @property
    def clean(self) -> bool:
        """Nothing is left, as far as was looked, and nothing refused."""
        return not self.leftovers and not self.refusals


@dataclass(slots=True)
class Found:
    """Where was looked, what was found there, and what refused or could not be asked."""

    searched: list[str] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing was found, and everything answered."""
        return not self.leftovers and not self.refusals

    def add(self, other: Found) -> None:
        """Take over what another search found."""
        self.searched += other.searched
        self.leftovers += other.leftovers
        self.refusals += other.refusals


def refusals(shown: Shown) -> list[str]:
    """What the engine said could not be destroyed, and why; empty where it ended well."""
    if shown.code == 0:
        return []
    refused = [line.strip() for line in shown.lines if _REFUSED.search(line) and "update failed" not in line]
    return list(dict.fromkeys(refused)) or [f"`pulumi destroy` ended with exit code {shown.code}"]


def search(project: str, lab: str) -> Found:
    """Look for everything of the lab in the cloud itself, by label and, where there are no labels, by name.

    A search that fails stops no other and is reported as a refusal: what was not looked for is not proved to be gone.
    """
    found = Found()
    for kind, arguments in searches(project, lab).items():
        found.searched.append("gcloud " + " ".join(arguments))
        try:
            entries = gcloud.document(*arguments)
        except ShoalError as error:
            found.refusals.append(f"looking for {kind}: {error.message}")
            continue
        for entry in entries:
            found.leftovers.append(_leftover(kind, entry))
    return found


def _leftover(kind: str, entry: Mapping[str, Any]) -> Leftover:
    if kind == GRANT:
        binding = entry["bindings"]
        return Leftover(kind=kind, name=f"{binding['role']} of {binding['members']}", place="project")
    name = str(entry.get("email") or entry.get("name"))
    place = str(entry.get("zone") or entry.get("region") or entry.get("location") or "global")
    return Leftover(kind=kind, name=name, place=place.rpartition("/")[2])


def searches(project: str, lab: str) -> dict[str, tuple[str, ...]]:
    """The searches, by kind. Names are whole: a lab called `a` must not find those of one called `a-b`."""
    label = f"--filter=labels.shoal-cluster={lab}"
    names = f"--filter=name=({' '.join(f'shoal-{lab}{end}' for end in ('', '-ssh-iap', '-cluster'))})"
    accounts = " ".join(f"shoal-{lab}-{role}@{project}.iam.gserviceaccount.com" for role in ("req", "cmp"))
    of = f"--project={project}"
    return {
        "instance": ("compute", "instances", "list", of, label),
        "disk": ("compute", "disks", "list", of, label),
        "snapshot": ("compute", "snapshots", "list", of, label),
        "bucket": ("storage", "buckets", "list", of, label),
        "network": ("compute", "networks", "list", of, names),
        "subnetwork": ("compute", "networks", "subnets", "list", of, names),
        "router": ("compute", "routers", "list", of, names),
        "firewall": ("compute", "firewall-rules", "list", of, names),
        GRANT: (
            "projects",
            "get-iam-policy",
            project,
            "--flatten=bindings[].members",
            f"--filter=bindings.members~serviceAccount:shoal-{lab}-(req|cmp)@{project}[.]",
        ),
        "service account": ("iam", "service-accounts", "list", of, f"--filter=email=({accounts})"),
    }


def write(
    kind: Kind,
    cluster: str,
    *,
    project: str | None,
    parting: Parting,
    found: Found,
) -> tuple[Receipt, Path]:
    """Make the receipt and keep it in the state folder."""
    receipt = Receipt(
        kind=kind,
        cluster=cluster,
        project=project,
        finished_at=datetime.now(UTC),
        drained=tuple(parting.drained),
        off_engine=tuple(parting.off_engine),
        off_tailnet=tuple(parting.off_tailnet),
        not_done=tuple(NotDone(step=it.step, node=it.node, why=it.why) for it in parting.undone),
        searched=tuple(found.searched),
        leftovers=tuple(found.leftovers),
        refusals=tuple(found.refusals),
    )
    path = state_dir() / "receipts" / f"{cluster}-{receipt.finished_at:%Y%m%dT%H%M%S}.json"
    write_atomic(path, json.dumps(json.loads(receipt.model_dump_json()), indent=2) + "\n")
    return receipt, path
