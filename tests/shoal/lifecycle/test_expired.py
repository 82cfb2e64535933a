"""Labs past their expiry, found by their labels, and what they go on costing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shoal.cloud import gcloud
from shoal.cost import prices as cost
from shoal.lifecycle import expired

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
ZONES = "https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a"


def labels(lab: str, expires: str) -> dict[str, str]:
    return {"managed-by": "shoal", "shoal-cluster": lab, "shoal-expires": expires}


def machine(lab: str, expires: str, status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {
        "name": f"{lab}-{status.lower()}",
        "status": status,
        "machineType": f"{ZONES}/machineTypes/e2-standard-8",
        "scheduling": {"provisioningModel": "SPOT"},
        "labels": labels(lab, expires),
        **more,
    }


def disk(lab: str, expires: str, size: int) -> dict[str, Any]:
    kind = f"{ZONES}/diskTypes/pd-balanced"
    return {"name": f"{lab}-d", "sizeGb": str(size), "type": kind, "labels": labels(lab, expires)}


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    there: dict[str, list[dict[str, Any]]] = {"instances": [], "disks": [], "buckets": []}

    def document(*arguments: str) -> list[dict[str, Any]]:
        assert arguments[3:] == ("--project=my-project-1", "--filter=labels.managed-by=shoal")
        return there[arguments[1]]

    monkeypatch.setattr(gcloud, "document", document)
    return there


def test_only_labs_past_their_label_are_listed_with_what_goes_on_costing(
    project: dict[str, list[dict[str, Any]]],
) -> None:
    past, future = "20261130-1200z", "20261202-1200z"
    project["instances"] = [
        machine("old", past, "TERMINATED"),
        machine("old", past),
        machine("young", future),
    ]
    project["disks"] = [disk("old", past, 100), disk("old", past, 400), disk("young", future, 100)]
    project["buckets"] = [{"name": "p-shoal-old", "labels": labels("old", past)}]
    (found,) = expired.find("my-project-1", cost.load_prices(), NOW)
    assert (found.name, found.running, found.stopped, found.disk_gib) == (
        "old",
        ["old-running"],
        ["old-terminated"],
        500,
    )
    # 500 GiB at 0.10 a month, the address, and one spot machine that runs.
    disks, address = 500 * 0.10 / 730 * 24, 0.005 * 24
    spot = (8 * 0.00872 + 32 * 0.001169 + 0.0014) * 24
    assert found.usd_per_day == pytest.approx(disks + address + spot)
    line = found.line()
    assert "old: expired at 2026-11-30 12:00 UTC; 1 machine(s) running, 1 stopped, 500 GiB of disk, 1 bucket(s)" in line


def test_a_lab_that_is_all_stopped_still_costs(project: dict[str, list[dict[str, Any]]]) -> None:
    project["instances"] = [machine("old", "20261130-1200z", "TERMINATED")]
    project["disks"] = [disk("old", "20261130-1200z", 500)]
    (found,) = expired.find("my-project-1", cost.load_prices(), NOW)
    assert found.usd_per_day == pytest.approx(500 * 0.10 / 730 * 24 + 0.12)


def test_the_latest_label_counts_and_one_that_cannot_be_read_is_told(project: dict[str, list[dict[str, Any]]]) -> None:
    # A label moved by a later `up`, on all but one thing: the lab is meant to live.
    project["instances"] = [machine("moved", "20261202-1200z")]
    project["disks"] = [disk("moved", "20261130-1200z", 10), disk("odd", "soon", 10)]
    found = expired.find("my-project-1", cost.load_prices(), NOW)
    assert [lab.name for lab in found] == ["odd"]
    assert "has no readable expiry" in found[0].line()


def test_a_price_that_is_not_known_is_not_reckoned_as_nothing(project: dict[str, list[dict[str, Any]]]) -> None:
    project["instances"] = [machine("old", "20261130-1200z", machineType=f"{ZONES}/machineTypes/c4a-standard-8")]
    (found,) = expired.find("my-project-1", cost.load_prices(), NOW)
    assert found.usd_per_day is None
    assert "at an unknown price" in found.line()


def test_nothing_late_is_said_in_a_line(project: dict[str, list[dict[str, Any]]]) -> None:
    assert expired.lines(expired.find("my-project-1", cost.load_prices(), NOW)) == [
        "no lab of this project is past its expiry"
    ]
