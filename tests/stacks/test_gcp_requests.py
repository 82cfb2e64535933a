"""Every request that the gcp stack's resources stand for, against the vendor's discovery documents.

The provider turns a resource into a request; what is mapped here is what it does with the fields that the stack sets
(google-beta, `resource_compute_*.go`). Not checked: combinations, defaults, quotas.
"""

from __future__ import annotations

from typing import Any

import pytest

from stacks.gcp.config import LONGEST_RUN_HOURS
from stacks.gcp.program import program
from tests.stacks.discovery import document, faults
from tests.stacks.recorded import Made, Run, run

FULL = {
    "gcp:project": "my-project-1",
    "sshUser": "ops_example_com",
    "expiresAt": "2099-01-02T03:04:05Z",
    "name": "a-lab-of-twenty-char",
    "sshMembers": ["user:ops@example.com"],
    "bucket": {"retentionDays": 7, "storageClass": "NEARLINE"},
    "compute": {"count": 2},
}
EMAIL = "shoal-lab-cmp@my-project-1.iam.gserviceaccount.com"


def instance(it: dict[str, Any]) -> dict[str, Any]:
    params = it["bootDisk"]["initializeParams"]
    boot = {
        "boot": True,
        "autoDelete": it["bootDisk"]["autoDelete"],
        "initializeParams": {
            "sourceImage": params["image"],
            "diskSizeGb": str(params["size"]),
            "diskType": f"zones/{it['zone']}/diskTypes/{params['type']}",
            "labels": params["labels"],
        },
    }
    scheduling = dict(it["scheduling"])
    for name in ("maxRunDuration", "preemptionNoticeDuration"):
        if name in scheduling:
            scheduling[name] = {**scheduling[name], "seconds": str(scheduling[name]["seconds"])}
    rest = {key: it[key] for key in ("name", "labels", "deletionProtection", "shieldedInstanceConfig")}
    return {
        **rest,
        "machineType": f"zones/{it['zone']}/machineTypes/{it['machineType']}",
        "disks": [boot, *it["attachedDisks"]],
        "networkInterfaces": it["networkInterfaces"],
        "serviceAccounts": [it["serviceAccount"]],
        "scheduling": scheduling,
        "metadata": {"items": [{"key": key, "value": value} for key, value in it["metadata"].items()]},
    }


def nat(it: dict[str, Any]) -> dict[str, Any]:
    subnets = [
        {"name": each["name"], "sourceIpRangesToNat": each["sourceIpRangesToNats"]} for each in it["subnetworks"]
    ]
    wanted = {key: it[key] for key in ("name", "natIpAllocateOption", "sourceSubnetworkIpRangesToNat")}
    return {"nats": [{**wanted, "subnetworks": subnets}]}


def firewall(it: dict[str, Any]) -> dict[str, Any]:
    allowed = [{"IPProtocol": each["protocol"], "ports": each["ports"]} for each in it["allows"]]
    return {**{key: value for key, value in it.items() if key != "allows"}, "allowed": allowed}


def rule(it: dict[str, Any]) -> dict[str, Any]:
    """The SDK's names are plural where the API's are not."""
    singular = {"matchesPrefixes": "matchesPrefix", "matchesStorageClasses": "matchesStorageClass"}
    return {**it, "condition": {singular.get(key, key): value for key, value in it["condition"].items()}}


def bucket(it: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: it[key] for key in ("name", "location", "storageClass", "labels")},
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": it["uniformBucketLevelAccess"]},
            "publicAccessPrevention": it["publicAccessPrevention"],
        },
        "lifecycle": {"rule": [rule(each) for each in it["lifecycleRules"]]},
    }


def grant(it: dict[str, Any]) -> dict[str, Any]:
    return {"bindings": [{"role": it["role"], "members": [it["member"]]}]}


def account(it: dict[str, Any]) -> dict[str, Any]:
    return {
        "accountId": it["accountId"],
        "serviceAccount": {"displayName": it["displayName"], "description": it["description"]},
    }


def disk(it: dict[str, Any]) -> dict[str, Any]:
    kind = f"projects/p/zones/{it['zone']}/diskTypes/{it['type']}"
    return {**it, "sizeGb": str(it["size"]), "type": kind} | {"size": None}


def plain(it: dict[str, Any]) -> dict[str, Any]:
    return it


REQUESTS: dict[str, tuple[str, str, str | None, Any]] = {
    "gcp:compute/instance:Instance": ("compute.v1", "Instance", "compute.instances.insert", instance),
    "gcp:compute/disk:Disk": ("compute.v1", "Disk", "compute.disks.insert", disk),
    "gcp:compute/network:Network": ("compute.v1", "Network", "compute.networks.insert", plain),
    "gcp:compute/subnetwork:Subnetwork": ("compute.v1", "Subnetwork", "compute.subnetworks.insert", plain),
    "gcp:compute/router:Router": ("compute.v1", "Router", "compute.routers.insert", plain),
    "gcp:compute/routerNat:RouterNat": ("compute.v1", "Router", None, nat),
    "gcp:compute/firewall:Firewall": ("compute.v1", "Firewall", "compute.firewalls.insert", firewall),
    "gcp:serviceaccount/account:Account": ("iam.v1", "CreateServiceAccountRequest", None, account),
    "gcp:storage/bucket:Bucket": ("storage.v1", "Bucket", "storage.buckets.insert", bucket),
    "gcp:compute/instanceIAMMember:InstanceIAMMember": ("compute.v1", "Policy", None, grant),
    "gcp:iap/tunnelInstanceIAMMember:TunnelInstanceIAMMember": ("iap.v1", "Policy", None, grant),
    "gcp:projects/iAMMember:IAMMember": ("cloudresourcemanager.v1", "Policy", None, grant),
    "gcp:serviceaccount/iAMMember:IAMMember": ("iam.v1", "Policy", None, grant),
    "gcp:storage/bucketIAMMember:BucketIAMMember": ("storage.v1", "Policy", None, grant),
}


@pytest.fixture(scope="module")
def made() -> Run:
    return run(program, "shoal-gcp", FULL)


def whole(value: Any) -> Any:
    """Numbers travel as floats on the mocks; the provider sends whole ones as they are."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole(inner) for key, inner in value.items()}
    return [whole(inner) for inner in value] if isinstance(value, list) else value


def request(each: Made) -> tuple[str, str, dict[str, Any], str | None]:
    api, schema, method, mapping = REQUESTS[each.type]
    wanted = {key: value for key, value in mapping(whole(each.inputs)).items() if value is not None}
    return api, schema, wanted, method


def test_every_request_has_only_fields_values_and_names_that_the_api_knows(made: Run) -> None:
    found = {
        f"{each.type} {each.name}": wrong for each in made.made if each.custom and (wrong := faults(*request(each)))
    }
    assert found == {}


def test_every_kind_of_resource_that_the_stack_makes_is_checked(made: Run) -> None:
    assert {each.type for each in made.made if each.custom} == set(REQUESTS)


@pytest.mark.parametrize("settings", [{"compute": {"spot": False}}, {"compute": {"terminationAction": "DELETE"}}])
def test_other_kinds_of_machines(settings: dict[str, Any]) -> None:
    for each in run(program, "shoal-gcp", {**FULL, **settings}).of("Instance"):
        assert faults(*request(each)) == []


def test_the_checker_is_not_blind() -> None:
    """What a typing error would bring, of each sort."""
    scheduling = {"provisioningModel": "SPOTTY", "maxRunDuration": {"seconds": 60}, "premptible": True}
    found = faults("compute.v1", "Instance", {"name": "Not_A_Name", "scheduling": scheduling, "disks": {}})
    told = "\n".join(found)
    for part in (
        "Instance.name must match",
        "provisioningModel must be one of",
        "there is no field premptible",
        "seconds must be a string",
        "disks must be a list",
    ):
        assert part in told
    assert "is required by compute.instances.insert" in "\n".join(
        faults("compute.v1", "Instance", {}, "compute.instances.insert")
    )


def test_the_notice_before_preemption_and_the_longest_run_are_fields_of_the_api() -> None:
    scheduling = document("compute.v1")["schemas"]["Scheduling"]["properties"]
    assert scheduling["preemptionNoticeDuration"]["$ref"] == "Duration"
    assert scheduling["maxRunDuration"]["$ref"] == "Duration"
    assert LONGEST_RUN_HOURS == 120 * 24


def test_the_quotas_that_are_looked_at_are_the_apis_own() -> None:
    from shoal.lifecycle import first_look

    metrics = set(document("compute.v1")["schemas"]["Quota"]["properties"]["metric"]["enum"])
    looked_at = {*first_look.DISK_QUOTAS.values(), "CPUS", "PREEMPTIBLE_CPUS", "CPUS_ALL_REGIONS", "INSTANCES"}
    assert looked_at <= metrics
    families = {"N2_CPUS", "N2D_CPUS", "C3_CPUS", "T2A_CPUS"}
    assert families <= metrics
