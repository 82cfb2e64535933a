"""Labs of a cloud project that are past their expiry, and what they go on costing: nothing else looks at the label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shoal.cloud import gcloud
from shoal.cost import prices as cost

LABEL, EXPIRES, LABEL_FORM = "shoal-cluster", "shoal-expires", "%Y%m%d-%H%Mz"
_OURS = "--filter=labels.managed-by=shoal"


@dataclass(slots=True)
class Lab:
    """What there is of one lab."""

    name: str
    expires_at: datetime | None = None
    running: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    disk_gib: int = 0
    buckets: list[str] = field(default_factory=list)
    usd_per_day: float | None = 0.0
    """By list prices, without buckets and traffic; None where a price is not known."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "lab": self.name,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "running": self.running,
            "stopped": self.stopped,
            "disk_gib": self.disk_gib,
            "buckets": self.buckets,
            "usd_per_day": None if self.usd_per_day is None else round(self.usd_per_day, 2),
        }

    def line(self) -> str:
        """For a person."""
        when = f"expired at {self.expires_at:%Y-%m-%d %H:%M} UTC" if self.expires_at else "has no readable expiry"
        costs = "at an unknown price" if self.usd_per_day is None else f"about {self.usd_per_day:.2f} USD per day"
        buckets = f", {len(self.buckets)} bucket(s)" if self.buckets else ""
        return (
            f"{self.name}: {when}; {len(self.running)} machine(s) running, {len(self.stopped)} stopped, "
            f"{self.disk_gib} GiB of disk{buckets}, {costs}"
        )


def find(project: str, prices: cost.Prices, now: datetime) -> list[Lab]:
    """The labs of the project that are past their expiry or whose expiry cannot be read, the oldest first.

    Raises ShoalError where the project cannot be asked.
    """
    of = f"--project={project}"
    labs: dict[str, Lab] = {}
    for machine in gcloud.document("compute", "instances", "list", of, _OURS):
        lab = _lab(labs, machine)
        up = machine.get("status") != "TERMINATED"
        (lab.running if up else lab.stopped).append(str(machine.get("name")))
        if up:
            _add(lab, _machine_usd(machine, prices))
    for disk in gcloud.document("compute", "disks", "list", of, _OURS):
        lab, size = _lab(labs, disk), int(disk.get("sizeGb") or 0)
        kind = str(disk.get("type", "")).rpartition("/")[2]
        lab.disk_gib += size
        _add(lab, cost.stopped_usd_per_hour([cost.Machines("disk", 1, disks=((kind, size),))], prices))
    for bucket in gcloud.document("storage", "buckets", "list", of, _OURS):
        _lab(labs, bucket).buckets.append(str(bucket.get("name")))
    for lab in labs.values():
        if lab.running or lab.stopped:
            _add(lab, prices.nat.address_usd_per_hour)
    late = [lab for lab in labs.values() if lab.expires_at is None or lab.expires_at <= now]
    return sorted(late, key=lambda lab: (lab.expires_at or datetime.min.replace(tzinfo=UTC), lab.name))


def _lab(labs: dict[str, Lab], entry: Mapping[str, Any]) -> Lab:
    labels = entry.get("labels") or {}
    lab = labs.setdefault(str(labels.get(LABEL, "?")), Lab(str(labels.get(LABEL, "?"))))
    moments = [moment for moment in (lab.expires_at, _moment(str(labels.get(EXPIRES, "")))) if moment]
    lab.expires_at = max(moments) if moments else None
    return lab


def _machine_usd(machine: Mapping[str, Any], prices: cost.Prices) -> float | None:
    kind = str(machine.get("machineType", "")).rpartition("/")[2]
    spot = (machine.get("scheduling") or {}).get("provisioningModel") == "SPOT"
    return cost.machine_usd_per_hour(cost.Machines("machine", 1, kind, nat=True), prices, spot=spot)[0]


def _add(lab: Lab, usd_per_hour: float | None) -> None:
    known = lab.usd_per_day is not None and usd_per_hour is not None
    lab.usd_per_day = (lab.usd_per_day or 0.0) + (usd_per_hour or 0.0) * cost.HOURS_PER_DAY if known else None


def _moment(label: str) -> datetime | None:
    try:
        return datetime.strptime(label, LABEL_FORM).replace(tzinfo=UTC)
    except ValueError:
        return None


def lines(labs: Iterable[Lab]) -> list[str]:
    """One line for each, the dearest question answered last: how they go."""
    lines = [lab.line() for lab in labs]
    hint = "take one down with `shoal destroy gcp --stack NAME` where it was made; nothing takes it down by itself"
    return [*lines, hint] if lines else ["no lab of this project is past its expiry"]
