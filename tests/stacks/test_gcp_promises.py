"""Every promise of stacks/gcp, looked up in what its program asks for (on Pulumi's mocks)."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Any

import pytest

from shoal.cluster import document as cluster
from stacks.gcp.checks import checked
from stacks.gcp.identity import LEAST_ROLES
from stacks.gcp.program import program
from tests.stacks.recorded import Made, Run, run

PROJECT = "shoal-gcp"
BASE: dict[str, Any] = {
    "gcp:project": "my-project-1",
    "sshUser": "ops_example_com",
    "expiresAt": "2099-01-02T03:04:05Z",
}
FULL = {
    **BASE,
    "name": "harbour",
    "sshMembers": ["user:ops@example.com", "group:crew@example.com"],
    "bucket": {"retentionDays": 7},
    "compute": {"count": 5},
}
SNAPSHOT = Path(__file__).parent / "snapshots" / "gcp.json"


def lab(**more: Any) -> Run:
    return run(program, PROJECT, {**BASE, **more})


@pytest.fixture(scope="module")
def full() -> Run:
    return run(program, PROJECT, FULL)


def machines(made: Run) -> tuple[Made, list[Made]]:
    (requester,) = [vm for vm in made.of("Instance") if vm.name.endswith("-requester")]
    return requester, [vm for vm in made.of("Instance") if vm is not requester]


def test_one_requester_and_three_spot_nodes_of_the_walk_throughs_size_by_default() -> None:
    requester, compute = machines(lab())
    assert requester.inputs["machineType"] == "e2-standard-4"
    assert [vm.inputs["machineType"] for vm in compute] == ["e2-standard-8"] * 3
    assert requester.inputs["scheduling"]["provisioningModel"] == "STANDARD"
    for vm in compute:
        scheduling = vm.inputs["scheduling"]
        assert scheduling["provisioningModel"] == "SPOT"
        assert scheduling["preemptible"] is True
        assert scheduling["automaticRestart"] is False
        assert scheduling["onHostMaintenance"] == "TERMINATE"


def test_compute_nodes_can_be_had_on_demand() -> None:
    _, compute = machines(lab(compute={"spot": False}))
    for vm in compute:
        assert vm.inputs["scheduling"]["provisioningModel"] == "STANDARD"
        assert vm.inputs["scheduling"]["preemptible"] is False
        assert vm.inputs["scheduling"]["onHostMaintenance"] == "MIGRATE"


@pytest.mark.parametrize("action", ["STOP", "DELETE"])
def test_every_machine_ends_itself_and_says_how(action: str) -> None:
    requester, compute = machines(lab(maxRunHours=6, compute={"terminationAction": action}))
    for vm in (requester, *compute):
        assert vm.inputs["scheduling"]["maxRunDuration"]["seconds"] == 6 * 3600
    assert requester.inputs["scheduling"]["instanceTerminationAction"] == "STOP"
    assert {vm.inputs["scheduling"]["instanceTerminationAction"] for vm in compute} == {action}


def test_no_machine_has_a_public_address(full: Run) -> None:
    for vm in full.of("Instance"):
        (interface,) = vm.inputs["networkInterfaces"]
        assert set(interface) == {"subnetwork"}
    assert full.of("Address") == full.of("GlobalAddress") == []
    (subnet,) = full.of("Subnetwork")
    assert ipaddress.ip_network(subnet.inputs["ipCidrRange"]).is_private
    assert full.one("RouterNat").inputs["natIpAllocateOption"] == "AUTO_ONLY"
    assert full.one("Network").inputs["autoCreateSubnetworks"] is False


def test_nothing_lets_the_world_in(full: Run) -> None:
    assert "0.0.0.0/0" not in json.dumps([made.inputs for made in full.made])
    rules = full.of("Firewall")
    assert len(rules) == 2
    for rule in rules:
        assert rule.inputs["direction"] == "INGRESS"
        assert rule.inputs["targetServiceAccounts"]
        assert all(allowed["protocol"] == "tcp" and allowed["ports"] for allowed in rule.inputs["allows"])
        for source in rule.inputs.get("sourceRanges", []):
            assert source == "35.235.240.0/20"
        assert rule.inputs.get("sourceRanges") or rule.inputs.get("sourceServiceAccounts")
    (ssh,) = [rule for rule in rules if rule.inputs.get("sourceRanges")]
    assert ssh.inputs["allows"] == [{"protocol": "tcp", "ports": ["22"]}]


def test_each_role_has_an_account_of_its_own_with_the_least_rights(full: Run) -> None:
    requester, compute = machines(full)
    own = requester.inputs["serviceAccount"]["email"]
    theirs = {vm.inputs["serviceAccount"]["email"] for vm in compute}
    assert theirs == {"shoal-harbour-cmp@my-project-1.iam.gserviceaccount.com"}
    assert own == "shoal-harbour-req@my-project-1.iam.gserviceaccount.com"
    granted = [(made.inputs["member"], made.inputs["role"]) for made in full.made if "projects/iAMMember" in made.type]
    assert sorted(granted) == sorted(
        (f"serviceAccount:{email}", role) for email in (own, *theirs) for role in LEAST_ROLES
    )
    assert set(LEAST_ROLES) == {"roles/logging.logWriter", "roles/monitoring.metricWriter"}
    assert {made.inputs["role"] for made in full.of("BucketIAMMember")} == {
        "roles/storage.objectCreator",
        "roles/storage.objectViewer",
    }
    assert {made.inputs["member"] for made in full.of("BucketIAMMember")} == {
        f"serviceAccount:{email}" for email in theirs
    }


def test_people_get_in_by_name_to_each_machine_and_by_nothing_wider(full: Run) -> None:
    people = set(FULL["sshMembers"])
    for kind, role in (
        ("TunnelInstanceIAMMember", "roles/iap.tunnelResourceAccessor"),
        ("InstanceIAMMember", "roles/compute.osAdminLogin"),
    ):
        grants = full.of(kind)
        assert len(grants) == 6 * 2
        assert {made.inputs["role"] for made in grants} == {role}
        assert {made.inputs["member"] for made in grants} == people
    users = [made for made in full.made if "serviceaccount/iAMMember" in made.type]
    assert {made.inputs["role"] for made in users} == {"roles/iam.serviceAccountUser"}
    assert len(users) == 2 * 2


def test_machines_are_shielded_and_take_no_keys_of_the_project(full: Run) -> None:
    for vm in full.of("Instance"):
        assert vm.inputs["shieldedInstanceConfig"] == {
            "enableSecureBoot": True,
            "enableVtpm": True,
            "enableIntegrityMonitoring": True,
        }
        metadata = vm.inputs["metadata"]
        assert metadata["enable-oslogin"] == "TRUE"
        assert metadata["block-project-ssh-keys"] == "TRUE"
        assert metadata["serial-port-enable"] == "FALSE"
        assert metadata["enable-guest-attributes"] == "TRUE"
        assert "ssh-keys" not in metadata


def test_a_key_of_ones_own_in_place_of_os_login() -> None:
    made = lab(login="key", sshUser="shoal", sshPublicKey="ssh-ed25519 AAAAC3Nza lab")
    for vm in made.of("Instance"):
        assert vm.inputs["metadata"]["enable-oslogin"] == "FALSE"
        assert vm.inputs["metadata"]["block-project-ssh-keys"] == "TRUE"
        assert vm.inputs["metadata"]["ssh-keys"] == "shoal:ssh-ed25519 AAAAC3Nza lab"
    assert made.of("InstanceIAMMember") == []


def test_everything_that_can_be_labelled_is_with_the_expiry(full: Run) -> None:
    wanted = {"shoal-cluster": "harbour", "shoal-expires": "20990102-0304z", "managed-by": "shoal"}
    labelled = full.of("Instance") + full.of("Disk") + full.of("Bucket")
    assert len(labelled) == 6 + 5 + 1
    for made in labelled:
        assert made.inputs["labels"] == wanted
    for vm in full.of("Instance"):
        assert vm.inputs["bootDisk"]["initializeParams"]["labels"] == wanted
    # What cannot be labelled is found by its name.
    for made in full.made:
        if made.custom and "labels" not in made.inputs and "role" not in made.inputs:
            name = made.inputs.get("name") or made.inputs["accountId"]
            assert name.startswith("shoal-harbour"), made


def test_each_compute_node_has_a_data_disk_that_outlives_it(full: Run) -> None:
    _, compute = machines(full)
    disks = {disk.name: disk for disk in full.of("Disk")}
    assert len(disks) == len(compute) == 5
    for vm in compute:
        (attached,) = vm.inputs["attachedDisks"]
        disk = disks[f"{vm.name}-data"]
        assert attached == {"source": f"{disk.name}-id", "deviceName": "shoal-data", "mode": "READ_WRITE"}
        assert disk.inputs["zone"] == vm.inputs["zone"]
        assert disk.inputs["size"] == 100
        assert "google-shoal-data" in vm.inputs["metadata"]["startup-script"]


def test_the_pool_is_spread_over_the_zones_and_stays_where_it_is_when_it_grows(full: Run) -> None:
    _, five = machines(full)
    zones = [vm.inputs["zone"] for vm in sorted(five, key=lambda vm: vm.name)]
    assert zones == [f"us-central1-{letter}" for letter in "abcab"]
    _, two = machines(run(program, PROJECT, {**FULL, "compute": {"count": 2}}))
    assert [vm.inputs["zone"] for vm in sorted(two, key=lambda vm: vm.name)] == zones[:2]


def test_the_bucket_is_closed_and_emptied_by_age_and_there_only_when_asked_for(full: Run) -> None:
    bucket = full.one("Bucket").inputs
    assert bucket["uniformBucketLevelAccess"] is True
    assert bucket["publicAccessPrevention"] == "enforced"
    assert bucket["forceDestroy"] is False
    tests = {"action": {"type": "Delete"}, "condition": {"age": 1, "matchesPrefixes": ["tests/"]}}
    assert bucket["lifecycleRules"] == [{"action": {"type": "Delete"}, "condition": {"age": 7}}, tests]
    assert lab().of("Bucket") == []


def test_spot_machines_are_told_two_minutes_before_they_are_taken_away() -> None:
    requester, compute = machines(lab())
    assert {vm.inputs["scheduling"]["preemptionNoticeDuration"]["seconds"] for vm in compute} == {120}
    assert "preemptionNoticeDuration" not in requester.inputs["scheduling"]
    _, on_demand = machines(lab(compute={"spot": False}))
    assert not any("preemptionNoticeDuration" in vm.inputs["scheduling"] for vm in on_demand)


def test_no_machine_has_a_gpu(full: Run) -> None:
    assert not any(vm.inputs.get("guestAccelerators") for vm in full.of("Instance"))


def test_arm64_compute_nodes_under_an_amd64_requester() -> None:
    made = lab(compute={"machineType": "t2a-standard-8"}, zones=["us-central1-a", "us-central1-b", "us-central1-f"])
    requester, compute = machines(made)
    assert not requester.inputs["bootDisk"]["initializeParams"]["image"].endswith("arm64")
    assert {vm.inputs["bootDisk"]["initializeParams"]["image"] for vm in compute} == {
        "projects/debian-cloud/global/images/family/debian-12-arm64"
    }
    document = cluster.parse(made.outputs["cluster"], source="output")
    assert [node.arch for node in document.nodes] == ["amd64", "arm64", "arm64", "arm64"]
    assert document.compute[0].price_usd_per_hour is None
    assert any("t2a-standard-8 (spot)" in line for line in made.said)


def test_the_exported_document_is_the_only_output_and_has_every_node(full: Run) -> None:
    assert set(full.outputs) == {"cluster"}
    document = cluster.parse(full.outputs["cluster"], source="output")
    assert (document.name, document.substrate) == ("harbour", "gcp")
    assert document.requester.name == "harbour-requester"
    assert [node.name for node in document.compute] == [f"harbour-compute-{number}" for number in range(1, 6)]
    assert document.compute[1].address == "harbour-compute-2.us-central1-b.c.my-project-1.internal"
    assert all(node.spot and node.price_usd_per_hour for node in document.compute)
    assert document.ssh.proxy_command is not None
    assert "start-iap-tunnel" in document.ssh.proxy_command


def test_the_cost_line_and_the_advice_are_said() -> None:
    made = lab(compute={"count": 2})
    assert made.said[0].startswith("cost: 0.41 USD per hour, 9.73 per day (on demand ")
    assert "USD per processed hour of video, in 3.0 h" in made.said[0]
    # Disks and the address go on when every machine has ended itself; traffic and the bucket are named.
    assert "with every machine stopped still 0.05 per hour, 1.27 per day" in made.said[0]
    assert "without traffic (USD per GiB: 0.045 through NAT, 0.01 between zones, 0.12 out of the cloud)" in made.said[0]
    assert made.said[1] == "warning: compute.count is 2; at least 3 are recommended"
    expired = lab(expiresAt="2020-01-01T00:00:00Z").said
    assert any(line.startswith("warning: the lab expired at 2020-01-01") for line in expired)


def test_the_whole_stack_is_as_recorded(full: Run) -> None:
    """A change of the snapshot is a change of what people get: look at it, then record it with SHOAL_RECORD=1."""
    found = {
        f"{made.type} {made.name}": made.inputs
        for made in sorted(full.made, key=lambda made: (made.type, made.name))
        if made.custom
    }
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if os.environ.get("SHOAL_RECORD") == "1":
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(text)
    assert json.loads(text) == json.loads(SNAPSHOT.read_text())


def test_the_bucket_is_the_outboxes_target_by_itself(full: Run) -> None:
    document = cluster.parse(full.outputs["cluster"], source="test")
    assert document.events_bucket == full.one("Bucket").inputs["name"] == "my-project-1-shoal-harbour"
    assert cluster.parse(lab().outputs["cluster"], source="test").events_bucket is None


def test_records_go_to_colder_classes_where_they_stay_long_enough() -> None:
    def rules(**wanted: Any) -> list[tuple[str, int]]:
        made = lab(bucket=wanted).one("Bucket").inputs["lifecycleRules"]
        colder = [rule for rule in made if rule["action"]["type"] == "SetStorageClass"]
        assert all(rule["condition"]["matchesPrefixes"] == ["records/"] for rule in colder)
        return [(rule["action"]["storageClass"], rule["condition"]["age"]) for rule in colder]

    assert rules() == [("NEARLINE", 30), ("COLDLINE", 90)]
    assert rules(retentionDays=30) == []
    assert rules(retentionDays=90) == [("NEARLINE", 30)]
    assert rules(retentionDays=365) == [("NEARLINE", 30), ("COLDLINE", 90)]
    assert rules(retentionDays=365, storageClass="NEARLINE") == [("COLDLINE", 90)]


def test_the_cost_line_says_what_the_bucket_costs() -> None:
    def line(**more: Any) -> str:
        _, estimate, faults = checked(
            {"name": "harbour", "sshUser": "ops", "expiresAt": "2099-01-02T03:04:05Z", **more}, "my-project-1"
        )
        assert estimate is not None, faults
        return estimate.line()

    assert "the bucket comes on top: 0.02 USD per GB and month in Standard, unconfirmed, and requests" in line(
        bucket={}
    )
    assert "bucket" not in line()
