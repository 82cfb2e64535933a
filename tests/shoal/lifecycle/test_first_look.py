"""What a project lacks: quotas summed from the plan, services, roles, policies and the quota project, in one list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shoal.cloud import gcloud
from shoal.cost import prices as cost
from shoal.errors import ShoalError, UsageError
from shoal.lifecycle import first_look
from shoal.lifecycle.first_look import Wishes
from shoal.lifecycle.plan import BUCKET, DISK, INSTANCE, Plan, Step
from shoal.paths import repository

PRICES = cost.load_prices()


def machine(kind: str, *, spot: bool, boot: int = 50) -> dict[str, Any]:
    return {
        "machineType": kind,
        "zone": "us-central1-a",
        "scheduling": {"provisioningModel": "SPOT" if spot else "STANDARD"},
        "bootDisk": {"initializeParams": {"size": boot, "type": "pd-balanced"}},
    }


def step(kind: str, name: str, inputs: dict[str, Any], operation: str = "create") -> Step:
    return Step(operation, f"urn:pulumi:s::p::{kind}::{name}", after=inputs)


def default_plan() -> Plan:
    """The walk-through's lab: a requester and three spot nodes with a data disk each."""
    disk = {"size": 100, "type": "pd-balanced", "zone": "us-central1-a"}
    steps = [step(INSTANCE, "gcp-requester", machine("e2-standard-4", spot=False))]
    for number in range(1, 4):
        steps.append(step(INSTANCE, f"gcp-compute-{number}", machine("e2-standard-8", spot=True)))
        steps.append(step(DISK, f"gcp-compute-{number}-data", disk))
    return Plan(tuple(steps), ())


def wanted(**more: Any) -> Wishes:
    found = first_look.wishes(default_plan(), "my-project-1", more, PRICES)
    assert found is not None
    return found


def limits(**values: int) -> dict[str, Any]:
    return {"quotas": [{"metric": key, "limit": value, "usage": 0} for key, value in values.items()]}


def test_the_quotas_of_the_default_lab_are_those_that_the_page_names() -> None:
    needs = wanted().quotas
    assert needs == {
        "INSTANCES": 4,
        "CPUS": 4,
        "CPUS_ALL_REGIONS": 4,
        "PREEMPTIBLE_CPUS": 24,
        "SSD_TOTAL_GB": 500,
    }
    page = (repository() / "docs" / "cloud-lab.md").read_text(encoding="utf-8")
    assert f"{needs['SSD_TOTAL_GB']} GB" in page
    assert f"{needs['PREEMPTIBLE_CPUS']} preemptible" in page
    assert "400 GB" not in page


def too_small(region: dict[str, Any], project: dict[str, Any]) -> list[first_look.Lack]:
    return list(first_look.quotas(wanted(), first_look.quota_uses(wanted(), region, project)))


def test_a_quota_that_is_too_small_is_named_with_what_is_free() -> None:
    region = limits(CPUS=24, PREEMPTIBLE_CPUS=24, SSD_TOTAL_GB=499)
    (found,) = too_small(region, limits(CPUS_ALL_REGIONS=32))
    assert found.what == "quota SSD_TOTAL_GB"
    assert found.why == "500 more are needed in region us-central1, and 499 of 499 are free"
    assert "project=my-project-1" in found.mend
    enough = limits(CPUS=24, PREEMPTIBLE_CPUS=24, SSD_TOTAL_GB=500)
    (found,) = too_small(enough, limits(CPUS_ALL_REGIONS=27))
    assert found.why == "28 more are needed in all regions, and 27 of 27 are free"
    # What is enough is shown as well, beside what there is.
    assert [str(use) for use in first_look.quota_uses(wanted(), enough, limits(CPUS_ALL_REGIONS=32))] == [
        "CPUS 4 of 24 free",
        "CPUS_ALL_REGIONS 28 of 32 free",
        "PREEMPTIBLE_CPUS 24 of 24 free",
        "SSD_TOTAL_GB 500 of 500 free",
    ]


def test_spot_machines_without_a_quota_of_their_own_count_against_the_ordinary_one() -> None:
    region = limits(CPUS=24, PREEMPTIBLE_CPUS=0, SSD_TOTAL_GB=500)
    (found,) = too_small(region, limits())
    assert found.why == "28 more are needed in region us-central1, and 24 of 24 are free"


def test_what_is_there_already_is_not_asked_for_again() -> None:
    same = Plan(tuple(step(it.kind, it.name, dict(it.after or {}), "same") for it in default_plan().steps), ())
    assert first_look.wishes(same, "my-project-1", {}, PRICES) is None
    one = Plan((*same.steps, step(DISK, "gcp-compute-4-data", {"size": 100, "type": "pd-standard"})), ())
    found = first_look.wishes(one, "my-project-1", {}, PRICES)
    assert found is not None
    assert found.quotas == {"DISKS_TOTAL_GB": 100}


def test_other_families_have_quotas_of_their_own() -> None:
    plan = Plan((step(INSTANCE, "x", machine("n2-standard-8", spot=False)),), ())
    found = first_look.wishes(plan, "my-project-1", {}, PRICES)
    assert found is not None
    assert found.quotas["N2_CPUS"] == 8
    assert "CPUS" not in found.quotas


def test_services_that_are_off_come_in_one_command() -> None:
    enabled = [{"config": {"name": f"{name}.googleapis.com"}} for name in ("compute", "iam", "cloudresourcemanager")]
    (found,) = first_look.services(wanted(), enabled)
    assert found.mend == "`gcloud services enable iap.googleapis.com oslogin.googleapis.com --project=my-project-1`"
    bucket = Plan((*default_plan().steps, step(BUCKET, "bucket", {})), ())
    with_bucket = first_look.wishes(bucket, "my-project-1", {}, PRICES)
    assert with_bucket is not None
    (found,) = first_look.services(with_bucket, enabled)
    assert "storage.googleapis.com" in found.mend


def test_roles_are_named_with_the_command_and_may_come_another_way() -> None:
    def lacks(role: str, **more: Any) -> list[str]:
        policy = {"bindings": [{"role": role, "members": ["user:ops@example.com"]}]}
        found = list(first_look.roles(wanted(**more), policy, "ops@example.com"))
        assert not any(lack.certain for lack in found)
        return [lack.why.split()[3] for lack in found]

    assert lacks("roles/owner", sshMembers=["user:x@example.com"]) == []
    assert "roles/iap.admin" not in lacks("roles/compute.admin")
    assert "roles/iap.admin" in lacks("roles/compute.admin", sshMembers=["user:x@example.com"])
    assert "roles/compute.osAdminLogin" not in lacks("roles/compute.admin", login="key")
    (first, *_) = first_look.roles(wanted(), {"bindings": []}, "ops@example.com")
    assert first.mend == (
        "`gcloud projects add-iam-policy-binding my-project-1 --member=user:ops@example.com --role=roles/compute.admin`"
    )


@pytest.mark.parametrize(
    ("name", "policy", "settings", "refused"),
    [
        ("compute.requireOsLogin", {"booleanPolicy": {"enforced": True}}, {"login": "key"}, True),
        ("compute.requireOsLogin", {"booleanPolicy": {"enforced": True}}, {}, None),
        ("compute.disableGuestAttributesAccess", {"booleanPolicy": {"enforced": True}}, {}, True),
        ("compute.disableGuestAttributesAccess", {"booleanPolicy": {}}, {}, None),
        ("iam.disableServiceAccountCreation", {"booleanPolicy": {"enforced": True}}, {}, True),
        ("compute.restrictCloudNATUsage", {"listPolicy": {"allValues": "DENY"}}, {}, True),
        ("compute.restrictCloudNATUsage", {"listPolicy": {"allowedValues": ["under:folders/1"]}}, {}, False),
        ("compute.trustedImageProjects", {"listPolicy": {"allowedValues": ["projects/cos-cloud"]}}, {}, True),
        ("compute.trustedImageProjects", {"listPolicy": {"allowedValues": ["projects/debian-cloud"]}}, {}, None),
        (
            "iam.allowedPolicyMemberDomains",
            {"listPolicy": {"allowedValues": ["C0"]}},
            {"sshMembers": ["user:a@b"]},
            False,
        ),
        ("iam.allowedPolicyMemberDomains", {"listPolicy": {"allowedValues": ["C0"]}}, {}, None),
        ("gcp.resourceLocations", {"listPolicy": {"allowedValues": ["in:eu-locations"]}}, {}, False),
        ("gcp.resourceLocations", {"listPolicy": {"allowedValues": ["in:us-central1-locations"]}}, {}, None),
        ("gcp.resourceLocations", {}, {}, None),
    ],
)
def test_policies_of_the_organisation(
    name: str, policy: dict[str, Any], settings: dict[str, Any], refused: bool | None
) -> None:
    found = list(first_look.policies(wanted(**settings), {name: policy}))
    assert [lack.certain for lack in found] == ([] if refused is None else [refused])


def test_a_persons_credentials_without_a_quota_project_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOOGLE_CREDENTIALS", "GOOGLE_OAUTH_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    named = {"gcp:userProjectOverride": "true", "gcp:billingProject": "my-project-1"}
    file = tmp_path / "adc.json"
    (found,) = first_look.credentials(wanted(**named), file)
    assert "gcloud auth application-default login" in found.mend
    assert not first_look.of_a_person(file)
    # The provider does not take the project that stands in the file, so that one counts for nothing.
    file.write_text(json.dumps({"type": "authorized_user", "quota_project_id": "my-project-1"}))
    for settings in ({}, {"gcp:userProjectOverride": "true"}, {**named, "gcp:userProjectOverride": "false"}):
        (found,) = first_look.credentials(wanted(**settings), file)
        assert found.mend == "`--set gcp:userProjectOverride=true --set gcp:billingProject=my-project-1`"
    assert list(first_look.credentials(wanted(**named), file)) == []
    assert list(first_look.credentials(wanted(**{**named, "gcp:userProjectOverride": True}), file)) == []
    assert first_look.of_a_person(file)
    file.write_text(json.dumps({"type": "service_account"}))
    assert list(first_look.credentials(wanted(), file)) == []
    assert not first_look.of_a_person(file)
    # Whose quota is named has to be open to who names it.
    policy = {"bindings": [{"role": "roles/compute.admin", "members": ["user:ops@example.com"]}]}
    lacks = [str(lack) for lack in first_look.roles(wanted(**named), policy, "ops@example.com")]
    assert any("roles/serviceusage.serviceUsageConsumer" in lack for lack in lacks)
    assert not any("serviceUsage" in str(lack) for lack in first_look.roles(wanted(), policy, "ops@example.com"))


def test_everything_comes_in_one_list_and_what_cannot_be_asked_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def document(*arguments: str) -> Any:
        command = " ".join(word for word in arguments if not word.startswith("--"))
        if command.startswith("services list"):
            return []
        if command.startswith("compute regions"):
            return limits(SSD_TOTAL_GB=100)
        if command.startswith("compute project-info"):
            return limits()
        if command.startswith("projects get-iam-policy"):
            return {"bindings": []}
        if command.endswith("disableGuestAttributesAccess"):
            return {"booleanPolicy": {"enforced": True}}
        raise ShoalError("the API is not enabled")

    monkeypatch.setattr(gcloud, "document", document)
    monkeypatch.setattr(gcloud, "text", lambda *words: "ops@example.com\n")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    said: list[str] = []
    with pytest.raises(UsageError, match="nothing was changed") as refused:
        first_look.look(wanted(), said.append)
    assert {fault.where for fault in refused.value.faults} == {
        "credentials",
        "services",
        "quota SSD_TOTAL_GB",
        "compute.disableGuestAttributesAccess",
    }
    assert sum("perhaps missing, role" in line for line in said) == 6
    assert any("could not look" in line for line in said)
    assert "quotas that the lab takes of us-central1: SSD_TOTAL_GB 500 of 100 free" in said
