"""What `up` refuses, all of it at once."""

from __future__ import annotations

import pytest

from shoal.errors import UsageError
from shoal.lab.spec import MAX_COMPUTE, LabSpec, check, machine_names, node_address, node_names


def test_the_default_is_fine() -> None:
    check(LabSpec())


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        check(LabSpec(name="Bad_Name", compute=0, subnet="8.8.8.0/24", memory_mib=1, cpus=-1, boot_timeout_s=0))
    assert [fault.where for fault in refused.value.faults] == [
        "name",
        "compute",
        "subnet",
        "memory",
        "cpus",
        "boot_timeout_s",
    ]


@pytest.mark.parametrize(
    ("subnet", "why"),
    [
        ("nonsense", "does not appear to be"),
        ("10.0.0.1/24", "host bits set"),
        ("fd00::/64", "IPv4"),
        ("169.254.0.0/16", "private range"),
        ("127.0.0.0/8", "private range"),
        ("10.0.0.0/28", "too small for 10 compute nodes"),
    ],
)
def test_a_subnet_that_cannot_be(subnet: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check(LabSpec(compute=10, subnet=subnet))


@pytest.mark.parametrize("name", ["", "-a", "a-", "a" * 21, "a b", "a/b", "a.b", "gcp", "edge", "onprem"])
def test_a_name_that_cannot_be_a_container_s(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        check(LabSpec(name=name))


def test_nodes_have_fixed_names_and_addresses() -> None:
    assert node_names(2) == ["requester", "compute-1", "compute-2"]
    assert [node_address("10.213.0.0/24", name) for name in node_names(2)] == [
        "10.213.0.10",
        "10.213.0.11",
        "10.213.0.12",
    ]


def test_cameras_and_store_are_machines_of_their_own_and_no_nodes() -> None:
    assert machine_names(1, 0) == node_names(1)
    assert machine_names(1, 2) == [*node_names(1), "cameras", "store"]
    addresses = [node_address("10.213.0.0/24", name) for name in machine_names(MAX_COMPUTE, 1)]
    assert len(set(addresses)) == MAX_COMPUTE + 3
    with pytest.raises(UsageError, match="cameras"):
        check(LabSpec(cameras=17))
