"""How long a cloud machine may run before it ends itself: set anew while it is stopped, reported while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shoal.cloud import gcloud
from shoal.telling import Say

SHORTEST_RUN_S, LONGEST_RUN_S = 3600, 2880 * 3600
"""The same as for a machine that is made: an hour for a lab past its expiry; the vendor's longest, 120 days."""
SLACK_S = 60
"""Differences below this come from the time that things take."""


def wanted_s(settings: Mapping[str, Any], now: datetime) -> int | None:
    """Seconds that a machine started now may run by the stack's settings (keys without the project's name)."""
    hours, expires = settings.get("maxRunHours"), settings.get("expiresAt")
    if hours is not None:
        return int(hours) * 3600
    if expires is None:
        return None
    end = _moment(str(expires))
    return min(max(int((end - now).total_seconds()), SHORTEST_RUN_S), LONGEST_RUN_S) if end else None


def settle(project: str, lab: str, settings: Mapping[str, Any], say: Say, *, now: datetime | None = None) -> None:
    """Give each machine that is stopped the time that it may run from its next start, and tell about those that run
    and will end before the lab is meant to.

    The cloud takes a new limit for a stopped machine only (`gcloud compute instances set-scheduling --help`).
    """
    now = now or datetime.now(UTC)
    wanted = wanted_s(settings, now)
    if wanted is None:
        return
    for machine in gcloud.machines(project, lab):
        if machine["status"] == "TERMINATED" and abs(_limit_s(machine) - wanted) > SLACK_S:
            set_limit(project, machine, wanted)
            say(f"{machine['name']}: ends itself {wanted / 3600:.1f} h after its start")
    for line in early(gcloud.machines(project, lab), wanted, now=now, fixed=settings.get("maxRunHours") is not None):
        say(line)


def set_limit(project: str, machine: Mapping[str, Any], seconds: int) -> None:
    """Let a stopped machine run for `seconds` from its next start."""
    zone = str(machine["zone"]).rpartition("/")[2]
    where = (f"--zone={zone}", f"--project={project}")
    gcloud.text(
        "compute", "instances", "set-scheduling", str(machine["name"]), f"--max-run-duration={seconds}s", *where
    )


def early(machines: list[dict[str, Any]], wanted: int, *, now: datetime, fixed: bool) -> Iterator[str]:
    """A line for each machine that runs and ends itself before it should: `wanted` seconds after its start where the
    time is `fixed`, else `wanted` seconds from now, at the lab's expiry.
    """
    for machine in machines:
        begun = _moment(str(machine.get("lastStartTimestamp") or machine.get("creationTimestamp") or ""))
        if machine["status"] != "RUNNING" or begun is None or not (limit := _limit_s(machine)):
            continue
        own = begun + timedelta(seconds=limit)
        end = (begun if fixed else now) + timedelta(seconds=wanted)
        if own < end - timedelta(seconds=SLACK_S):
            zone = str(machine["zone"]).rpartition("/")[2]
            yield (
                f"{machine['name']} ends itself at {own:%Y-%m-%d %H:%M} UTC, earlier than the settings want; a machine"
                f" that runs keeps its limit. For more, between runs: `gcloud compute instances stop {machine['name']}"
                f" --zone={zone}`, then `shoal up gcp`, which starts it with the new one"
            )


def _limit_s(machine: Mapping[str, Any]) -> int:
    duration = (machine.get("scheduling") or {}).get("maxRunDuration") or {}
    return int(duration.get("seconds") or 0)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
