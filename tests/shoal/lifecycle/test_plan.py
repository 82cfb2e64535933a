"""What a plan may not do, from the engine's own steps and words; and what failed of an update, from pulumi's lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shoal.cloud import pulumi
from shoal.cloud.pulumi import Shown, Stack
from shoal.errors import Exit, ShoalError, UsageError
from shoal.lifecycle import partly, plan, receipt, run_limit

STACK = Stack("gcp", "gcp", Path("/nowhere"), "pulumi")
URN = "urn:pulumi:gcp::shoal-gcp::shoal:gcp:Lab$shoal:gcp:ComputePool${kind}::{name}"


def urn(kind: str, name: str) -> str:
    return URN.format(kind=kind, name=name)


def looked(monkeypatch: pytest.MonkeyPatch, code: int, **found: Any) -> plan.Plan:
    monkeypatch.setattr(pulumi, "plan", lambda stack: (code, found))
    return plan.look(STACK)


def test_a_protected_disk_is_refused_with_its_reason_and_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = urn(plan.DISK, "gcp-compute-1-data")
    told = f'error: unable to replace resource "{disk}"\nas it is currently marked for protection.'
    found = looked(
        monkeypatch,
        1,
        steps=[{"op": "replace", "urn": disk, "replaceReasons": ["size"]}],
        diagnostics=[{"severity": "error", "message": told}],
    )
    with pytest.raises(UsageError) as refused:
        plan.refuse(STACK, found)
    assert "gcp-compute-1-data: would be made anew (size) with all that it holds" in str(refused.value)
    assert "`--give-up gcp-compute-1`" in str(refused.value)
    plan.refuse(STACK, found, ["gcp-compute-1"])


def test_what_is_only_in_the_engines_words_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine stops before it has told the step."""
    network = urn("gcp:compute/network:Network", "network")
    told = f'error: unable to replace resource "{network}"\nas it is currently marked for protection.'
    found = looked(monkeypatch, 1, steps=[], diagnostics=[{"severity": "error", "message": told}])
    (fault,) = plan.faults(found, "gcp")
    assert "the network that every machine is in would be made anew" in fault.what
    # It cannot be given up by anybody's name.
    assert list(plan.faults(found, "gcp", ["network"])) == [fault]


def test_a_plan_that_fails_for_another_reason_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShoalError, match=r"compute\.count"):
        looked(monkeypatch, 1, diagnostics=[{"severity": "error", "message": "compute.count: at least 1"}])


def test_a_machine_made_anew_is_harmless_and_the_requester_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [
        {"op": operation, "urn": urn(plan.INSTANCE, name), "diffReasons": ["scheduling"]}
        for name in ("gcp-compute-1", "gcp-requester")
        for operation in ("create-replacement", "replace", "delete-replaced")
    ]
    found = looked(monkeypatch, 0, steps=steps)
    assert [fault.where for fault in plan.faults(found, "gcp")] == ["gcp-requester"]
    assert [step.name for step in found.anew] == ["gcp-compute-1", "gcp-requester"]


STOCKOUT = (
    " +  gcp:compute:Instance gcp-compute-2 **creating failed** error: Error 503: The zone"
    " 'projects/p/zones/us-central1-b' does not have enough resources available, ZONE_RESOURCE_POOL_EXHAUSTED"
)
QUOTA = (
    " +  gcp:compute:Disk gcp-compute-3-data **creating failed** error: Error waiting: Quota 'SSD_TOTAL_GB' exceeded."
)


def test_what_failed_is_named_with_the_way_on() -> None:
    error = partly.failure(STACK, Shown(1, (STOCKOUT, QUOTA)), ["gcp-requester", "gcp-compute-2"], None)
    text = str(error)
    assert "gcp-compute-2: zone us-central1-b has no machines left of this type" in text
    assert "gcp-compute-3-data: quota SSD_TOTAL_GB is used up" in text
    assert "gcp-requester: was not made" in text
    assert "--zone" in text
    assert error.exit_code is Exit.FAILED


def test_what_refused_to_be_destroyed_is_in_the_receipt() -> None:
    line = " -  gcp:storage:Bucket bucket **deleting failed** error: Error trying to delete bucket containing objects"
    assert receipt.refusals(Shown(255, (line, "error: update failed"))) == [line.strip()]
    assert receipt.refusals(Shown(1, ("nothing said",))) == ["`pulumi destroy` ended with exit code 1"]
    assert receipt.refusals(Shown(0, (line,))) == []


def test_a_search_that_fails_is_not_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    from shoal.cloud import gcloud

    def document(*arguments: str) -> list[dict[str, Any]]:
        if "disks" in arguments:
            raise ShoalError("no network")
        return []

    monkeypatch.setattr(gcloud, "document", document)
    found = receipt.search("p", "lab")
    assert found.leftovers == []
    assert found.refusals == ["looking for disk: no network"]
    assert not found.clean


def test_the_longest_run_follows_the_settings() -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert run_limit.wanted_s({"expiresAt": "2026-12-01T08:00:00Z"}, now) == 8 * 3600
    assert run_limit.wanted_s({"expiresAt": "2026-11-01T08:00:00Z"}, now) == 3600
    assert run_limit.wanted_s({"expiresAt": "2026-12-01T08:00:00Z", "maxRunHours": 3}, now) == 3 * 3600
    machine = {
        "name": "gcp-requester",
        "zone": "z/us-central1-a",
        "status": "RUNNING",
        "lastStartTimestamp": (now - timedelta(hours=2)).isoformat(),
        "scheduling": {"maxRunDuration": {"seconds": str(4 * 3600)}},
    }
    (line,) = run_limit.early([machine], 8 * 3600, now=now, fixed=False)
    assert "ends itself at 2026-12-01 02:00 UTC" in line
    assert list(run_limit.early([machine], 2 * 3600, now=now, fixed=False)) == []
    assert list(run_limit.early([machine], 4 * 3600, now=now, fixed=True)) == []
