"""The receipt of a destroy: where leftovers were looked for, and what was found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shoal.cloud import gcloud
from shoal.cloud.pulumi import Kind
from shoal.files import write_atomic
from shoal.fleet.leave import Parting, Step
from shoal.paths import state_dir


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

    schema_version: int = 2
    kind: Kind
    cluster: str
    project: str | None = None
    finished_at: datetime
    drained: tuple[str, ...] = ()
    """Machines on which nothing ran any more when they went."""
    off_engine: tuple[str, ...] = ()
    """Machines that the engine was told to forget."""
    off_tailnet: tuple[str, ...] = ()
    """Machines that were logged out of the tailnet; it may go on listing one that was not ephemeral, as expired."""
    not_done: tuple[NotDone, ...] = ()
    searched: tuple[str, ...]
    leftovers: tuple[Leftover, ...]

    @property
    def clean(self) -> bool:
        """Nothing is left."""
        return not self.leftovers


def search(project: str, lab: str) -> tuple[list[str], list[Leftover]]:
    """Look for everything of the lab in the cloud itself, by label and, where there are no labels, by name."""
    done, found = list[str](), list[Leftover]()
    for kind, arguments in searches(project, lab).items():
        done.append("gcloud " + " ".join(arguments))
        for entry in gcloud.document(*arguments):
            name = str(entry.get("email") or entry.get("name"))
            place = str(entry.get("zone") or entry.get("region") or entry.get("location") or "global")
            found.append(Leftover(kind=kind, name=name, place=place.rpartition("/")[2]))
    return done, found


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
        "service account": ("iam", "service-accounts", "list", of, f"--filter=email=({accounts})"),
    }


def write(
    kind: Kind,
    cluster: str,
    *,
    project: str | None,
    parting: Parting,
    searched: Sequence[str],
    leftovers: Sequence[Leftover],
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
        searched=tuple(searched),
        leftovers=tuple(leftovers),
    )
    path = state_dir() / "receipts" / f"{cluster}-{receipt.finished_at:%Y%m%dT%H%M%S}.json"
    write_atomic(path, json.dumps(json.loads(receipt.model_dump_json()), indent=2) + "\n")
    return receipt, path
