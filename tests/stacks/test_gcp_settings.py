"""The settings of stacks/gcp: what is refused, all at once, and what no settings can bring about."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cost import prices as cost
from stacks.gcp import families
from stacks.gcp.checks import COMPUTE_BOUNDS, REQUESTER_BOUNDS, checked
from stacks.gcp.config import GcpSettings
from stacks.gcp.program import program
from tests.stacks.recorded import run

PROJECT = "my-project-1"
BASE: dict[str, Any] = {"name": "harbour", "sshUser": "ops_example_com", "expiresAt": "2099-01-02T03:04:05Z"}
PRICES = cost.load_prices()


def faults(**more: Any) -> dict[str, str]:
    _, _, found = checked({**BASE, **more}, PROJECT)
    return {fault.where: fault.what for fault in found}


def test_the_defaults_have_no_fault() -> None:
    assert faults() == {}


@pytest.mark.parametrize(
    ("settings_", "where", "what"),
    [
        ({"requester": {"machineType": "e2-standard-2"}}, "requester.machineType", "2 vCPU is under the minimum of 4"),
        ({"requester": {"machineType": "e2-highcpu-4"}}, "requester.machineType", "4 GiB of memory is under"),
        ({"requester": {"machineType": "e2-standard-8"}}, "requester.machineType", "32 GiB of memory is over 16"),
        ({"requester": {"diskGib": 24}}, "requester.diskGib", "24 GiB of disk is under the minimum of 25"),
        ({"requester": {"diskGib": 101}}, "requester.diskGib", "over 100"),
        ({"compute": {"machineType": "e2-highcpu-4"}}, "compute.machineType", "4 GiB of memory is under"),
        ({"compute": {"machineType": "n2-standard-48"}}, "compute.machineType", "over"),
        (
            {"compute": {"diskGib": 10, "dataDiskGib": 20}},
            "compute.diskGib",
            "30 GiB of disk is under the minimum of 32",
        ),
        ({"compute": {"dataDiskGib": 451}}, "compute.diskGib", "501 GiB of disk is over 500"),
        ({"compute": {"count": 0}}, "compute.count", "greater than or equal to 1"),
        (
            {"compute": {"machineType": "zz-standard-8"}},
            "compute.machineType",
            "the size of zz-standard-8 is not known",
        ),
        ({"compute": {"gpu": {"type": "nvidia-tesla-t4"}}}, "compute.gpu", "no role installs the vendor's driver"),
        ({"compute": {"machineType": "n1-standard-8", "gpu": {"type": "nvidia-tesla-t4"}}}, "compute.gpu", "driver"),
        ({"compute": {"machineType": "g2-standard-8", "spot": False}}, "compute.machineType", "has a GPU (nvidia-l4)"),
        (
            {"compute": {"machineType": "c4a-standard-8"}},
            "compute.diskType",
            "take hyperdisk-balanced, not pd-balanced",
        ),
        (
            {"compute": {"machineType": "c3-standard-8", "diskType": "pd-standard"}},
            "compute.diskType",
            "c3 machines take",
        ),
        ({"compute": {"diskType": "hyperdisk-balanced"}}, "compute.diskType", "e2 machines take pd-standard"),
        ({"compute": {"machineType": "t2a-standard-8"}}, "zones", "no t2a machines in us-central1-c"),
        ({"requester": {"diskType": "hyperdisk-balanced"}}, "requester.diskType", "e2 machines take"),
        (
            {"nodeZones": {"harbour-compute-9": "us-central1-a"}},
            "nodeZones.harbour-compute-9",
            "no machine has this name",
        ),
        (
            {"nodeZones": {"harbour-compute-1": "us-east1-b"}},
            "nodeZones.harbour-compute-1",
            "not in region us-central1",
        ),
        ({"zones": ["europe-west1-b"]}, "zones[0]", "is not in region us-central1"),
        ({"zones": ["us-central1-a", "us-central1-a"]}, "zones[1]", "named twice"),
        ({"subnetCidr": "8.8.8.0/24"}, "subnetCidr", "not a private network"),
        ({"subnetCidr": "10.0.0.0/29", "compute": {"count": 4}}, "subnetCidr", "no room for 5 machines"),
        ({"subnetCidr": "10.0.0.7/24"}, "subnetCidr", "is not an IPv4 network"),
        ({"sshUser": None}, "sshUser", "OS Login name"),
        ({"login": "key"}, "sshPublicKey", "must be set"),
        ({"sshPublicKey": "ssh-ed25519 AAAA"}, "sshPublicKey", "no place"),
        ({"sshMembers": ["allUsers"]}, "sshMembers[0]", "should match"),
        ({"sshMembers": ["allAuthenticatedUsers"]}, "sshMembers[0]", "should match"),
        ({"expiresAt": "tomorrow"}, "expiresAt", ""),
        ({"expiresAt": "2099-01-01T00:00:00"}, "expiresAt", "timezone"),
        ({"name": "a-name-that-is-much-too-long"}, "name", ""),
        ({"costCeilingUsdPerDay": 1}, "costCeilingUsdPerDay", "12.83 USD per day is over the ceiling of 1.00"),
        (
            {
                "costCeilingUsdPerDay": 100,
                "zones": ["us-central1-a"],
                "compute": {"machineType": "t2a-standard-8"},
            },
            "costCeilingUsdPerDay",
            "no price is known for t2a-standard-8 (spot)",
        ),
        (
            {"image": "projects/p/global/images/mine", "compute": {"machineType": "c4a-standard-8"}},
            "image",
            "requester is amd64 (e2-standard-4), compute is arm64 (c4a-standard-8)",
        ),
        ({"image": "projects/debian-cloud/global/images/family/debian-12-arm64"}, "image", "e2-standard-8 is amd64"),
        ({"pricesFile": "/nowhere/prices.toml"}, "pricesFile", "there is no price table"),
        ({"computes": {}}, "computes", "no such field"),
        ({"compute": {"counts": 1}}, "compute.counts", "no such field"),
    ],
)
def test_refusals(settings_: dict[str, Any], where: str, what: str) -> None:
    found = faults(**settings_)
    assert where in found
    assert what in found[where]


def test_c4a_with_the_disks_that_it_takes_has_no_fault() -> None:
    assert faults(compute={"machineType": "c4a-standard-8", "diskType": "hyperdisk-balanced"}) == {}
    assert faults(zones=["us-central1-a", "us-central1-f"], compute={"machineType": "t2a-standard-8"}) == {}


def test_every_family_with_a_price_or_a_size_is_in_the_table_and_each_row_has_a_source() -> None:
    assert set(PRICES.families) == set(families.table())
    for name, family in families.table().items():
        assert family.source, name
        assert family.confirmed or "remembered" in family.source, name
        assert family.arch == PRICES.families[name].arch, name


def test_a_missing_or_wrong_project_is_a_fault_of_its_own() -> None:
    for project in (None, "", "UPPER", "123456"):
        assert [fault.where for fault in checked(BASE, project)[2]] == ["gcp:project"]


def test_upper_bounds_can_be_lifted_and_lower_ones_cannot() -> None:
    assert faults(allowLarger=True, requester={"machineType": "e2-standard-16", "diskGib": 500}) == {}
    assert set(faults(allowLarger=True, requester={"machineType": "e2-standard-2", "diskGib": 20})) == {
        "requester.machineType",
        "requester.diskGib",
    }


def test_all_faults_come_in_one_list_before_any_resource() -> None:
    wrong = {
        "gcp:project": "NO",
        "requester": {"machineType": "e2-standard-2", "diskGib": 11},
        "compute": {"machineType": "e2-highcpu-2", "diskGib": 10, "dataDiskGib": 10},
        "zones": ["mars-north1-a"],
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    with pytest.raises(pulumi.RunError) as refused:
        run(program, "shoal-gcp", wrong)
    told = str(refused.value)
    for where in ("gcp:project", "requester.machineType", "requester.diskGib", "compute.machineType", "zones[0]"):
        assert f"  - {where}: " in told
    assert "  - sshUser: " in told
    assert "nothing was changed" in told


def test_a_refused_run_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr("tests.stacks.recorded.Made", lambda *args: made.append(args[1]))
    with pytest.raises(pulumi.RunError):
        run(program, "shoal-gcp", {"gcp:project": PROJECT, "expiresAt": "2099-01-01T00:00:00Z"})
    assert made == []


machine_types = st.builds(
    "{}-{}-{}".format,
    st.sampled_from(["e2", "n2", "c3", "t2a", "n1"]),
    st.sampled_from(["standard", "highmem", "highcpu"]),
    st.integers(1, 96),
)


@given(machine_type=machine_types, boot=st.integers(10, 700), data=st.integers(10, 700))
def test_compute_sizes_are_refused_exactly_where_the_walk_through_ends(machine_type: str, boot: int, data: int) -> None:
    found = faults(compute={"machineType": machine_type, "diskGib": boot, "dataDiskGib": data})
    shape = cost.shape(machine_type, PRICES)
    low, high = COMPUTE_BOUNDS["GiB of disk"]
    assert ("compute.diskGib" in found) == (not low <= boot + data <= high)
    inside = (
        shape is not None
        and COMPUTE_BOUNDS["vCPU"][0] <= shape.vcpus <= COMPUTE_BOUNDS["vCPU"][1]
        and COMPUTE_BOUNDS["GiB of memory"][0] <= shape.memory_gib <= COMPUTE_BOUNDS["GiB of memory"][1]
    )
    assert ("compute.machineType" in found) == (not inside)


@given(disk=st.integers(10, 200))
def test_requester_disks(disk: int) -> None:
    low, high = REQUESTER_BOUNDS["GiB of disk"]
    assert ("requester.diskGib" in faults(requester={"diskGib": disk})) == (not low <= disk <= high)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known_keys = st.sampled_from(
    [
        "requester",
        "compute",
        "zones",
        "bucket",
        "sshMembers",
        "subnetCidr",
        "region",
        "expiresAt",
        "maxRunHours",
        "name",
    ]
)


@settings(max_examples=200)
@given(st.dictionaries(known_keys | st.text(max_size=8), json_values, max_size=5))
def test_no_settings_whatever_end_in_anything_but_faults(raw: dict[str, Any]) -> None:
    typed, _, found = checked({**BASE, **raw}, PROJECT)
    assert found or typed is not None


@given(count=st.integers(1, 200), zones=st.lists(st.sampled_from("abcdef"), min_size=1, unique=True).map(tuple))
def test_zones_share_evenly_and_do_not_move_nodes(count: int, zones: tuple[str, ...]) -> None:
    named = tuple(f"us-central1-{letter}" for letter in zones)

    def places(of: int) -> list[str]:
        raw = {**BASE, "zones": named, "compute": {"count": of}}
        return list(GcpSettings.model_validate(raw).places.values())[1:]

    chosen = places(count)
    shares = [chosen.count(zone) for zone in named]
    assert max(shares) - min(shares) <= 1
    if count < 200:
        assert places(count + 1)[:count] == chosen
