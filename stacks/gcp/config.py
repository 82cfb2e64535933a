"""What stands in the configuration of the gcp stack: types and defaults. `checks` has what no single field shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from shoal.cluster import document as cluster
from stacks.common.cost_line import CostSettings
from stacks.common.settings import Settings

# The identities' account ids hold it and may have 30 characters.
LabName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$")]
Member = Annotated[str, StringConstraints(pattern=r"^(user|group|serviceAccount):[^\s@:]+@[^\s@:]+$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]+-[a-z]+[0-9]+$")]
Zone = Annotated[str, StringConstraints(pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z]$")]
MachineType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]+-[a-z]+-[0-9]+(-[0-9]+)?(-ext)?$")]
DiskType = Literal["pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"]
Gib = Annotated[int, Field(ge=10, le=65536)]
PublicKey = Annotated[
    str, StringConstraints(pattern=r"^(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa) [A-Za-z0-9+/=]+( \S+)?$")
]

DEBIAN = "projects/debian-cloud/global/images/family/debian-12"
IMAGES: dict[cluster.Arch, str] = {"amd64": DEBIAN, "arm64": f"{DEBIAN}-arm64"}
LONGEST_RUN_HOURS = 2880
"""The vendor's longest run, 120 days (cloud.google.com/compute/docs/instances/limit-vm-runtime)."""
SHORTEST_RUN_S = 3600
"""What a machine gets that is made after the lab's expiry, which `warnings` reports."""
# Regions whose zones are not a, b and c.
_OTHER_ZONES = {"us-east1": "bcd", "europe-west1": "bcd"}


class Requester(Settings):
    """The control node. The walk-through asks for 4-8 vCPU, 8-16 GB of memory and 25-100 GB of disk."""

    machine_type: MachineType = "e2-standard-4"
    disk_gib: Gib = 50
    disk_type: DiskType = "pd-balanced"


class Gpu(Settings):
    """GPUs of every compute node: refused, until a role installs what they need (`families`)."""

    type: Annotated[str, StringConstraints(pattern=r"^nvidia-[a-z0-9-]+$")]
    count: Annotated[int, Field(ge=1, le=16)] = 1


class Compute(Settings):
    """The compute nodes. The walk-through asks for 1-32 vCPU, 8-64 GB of memory and 32-500 GB of disk, three nodes."""

    count: Annotated[int, Field(ge=1, le=200)] = 3
    machine_type: MachineType = "e2-standard-8"
    disk_gib: Gib = 50
    """Boot disk: system, container images. Goes with the machine."""
    data_disk_gib: Gib = 100
    """Data disk: run folders and videos. Outlives the machine."""
    disk_type: DiskType = "pd-balanced"
    spot: bool = True
    termination_action: Literal["STOP", "DELETE"] = "STOP"
    """What becomes of a spot machine that is taken away or has run its time."""
    gpu: Gpu | None = None


class Bucket(Settings):
    """A bucket for events and clips."""

    retention_days: Annotated[int, Field(ge=1, le=3650)] = 180
    """Objects older than this are deleted."""
    storage_class: Literal["STANDARD", "NEARLINE", "COLDLINE"] = "STANDARD"
    records_nearline_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Records older than this go to Nearline, where they would stay for its least time, 30 days."""
    records_coldline_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Records older than this go to Coldline, where they would stay for its least time, 90 days."""

    def colder(self) -> tuple[tuple[str, int], ...]:
        """The colder classes that records go to, each after so many days. What leaves a class before its least time
        is paid for to the end of it (cloud.google.com/storage/pricing, early deletion)."""
        classes = ("STANDARD", "NEARLINE", "COLDLINE")
        steps = (("NEARLINE", self.records_nearline_days, 30), ("COLDLINE", self.records_coldline_days, 90))
        return tuple(
            (colder, days)
            for colder, days, least_days in steps
            if classes.index(colder) > classes.index(self.storage_class) and days + least_days <= self.retention_days
        )


class GcpSettings(CostSettings):
    """The whole configuration of the gcp stack."""

    name: LabName
    """Name of the lab; the stack's name where left out."""
    engine: cluster.Engine = "auto"
    mesh: cluster.Mesh = "none"
    region: Region = "us-central1"
    zones: Annotated[tuple[Zone, ...], Field(min_length=1)] | None = None
    """The compute nodes are spread over these in turn, the requester is in the first."""
    node_zones: dict[str, Zone] = Field(default_factory=dict)
    """Another zone than its turn's for a node, by its name: where that one has no machines left (`shoal up --zone`)."""
    subnet_cidr: str = "10.77.0.0/24"
    image: str | None = None
    """Boot image of all machines; Debian 12 of their architecture where left out."""
    requester: Requester = Field(default_factory=Requester)
    compute: Compute = Field(default_factory=Compute)
    bucket: Bucket | None = None
    login: Literal["os-login", "key"] = "os-login"
    ssh_user: cluster.User | None = None
    """The person's OS Login name, or with `key` the user that is made on the machines (`shoal`)."""
    ssh_public_key: PublicKey | None = None
    """The public key that `login: key` puts on the machines."""
    ssh_members: tuple[Member, ...] = ()
    """Who else may log in, e.g. `user:ops@example.com`; project owners can anyhow."""
    expires_at: AwareDatetime
    """When the lab is meant to be gone; a label on everything (`shoal up` sets it)."""
    max_run_hours: Annotated[int, Field(ge=1, le=LONGEST_RUN_HOURS)] | None = None
    """Machines end themselves after this time of running; at `expires_at` where left out. Counts when one is made."""
    allow_larger: bool = False
    """Lifts the walk-through's upper bounds, not its lower ones."""

    @property
    def zone_list(self) -> tuple[str, ...]:
        """The zones to use."""
        return self.zones or tuple(f"{self.region}-{letter}" for letter in _OTHER_ZONES.get(self.region, "abc"))

    @property
    def places(self) -> dict[str, str]:
        """Zone of each machine by its name, the requester first. It does not depend on how many come after it."""
        zones, requester = self.zone_list, f"{self.name}-requester"
        computes = {
            f"{self.name}-compute-{index + 1}": zones[index % len(zones)] for index in range(self.compute.count)
        }
        return {name: self.node_zones.get(name, zone) for name, zone in {requester: zones[0], **computes}.items()}

    @property
    def expires_label(self) -> str:
        """The expiry as a label's value, in UTC."""
        return self.expires_at.astimezone(UTC).strftime("%Y%m%d-%H%Mz")

    @property
    def expired(self) -> bool:
        """Whether the lab should be gone by now."""
        return self.expires_at <= datetime.now(UTC)

    def longest_run_s(self, now: datetime) -> int:
        """Seconds after which a machine that is made now ends itself: as set, else when the lab expires."""
        if self.max_run_hours is not None:
            return self.max_run_hours * 3600
        left_s = int((self.expires_at - now).total_seconds())
        return min(max(left_s, SHORTEST_RUN_S), LONGEST_RUN_HOURS * 3600)

    @property
    def user(self) -> str:
        """Who logs in over SSH."""
        return self.ssh_user or "shoal"

    def labels(self) -> dict[str, str]:
        """What every resource that can be labelled carries; the search for leftovers goes by the first."""
        return {"shoal-cluster": self.name, "shoal-expires": self.expires_label, "managed-by": "shoal"}
