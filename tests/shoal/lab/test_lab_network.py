"""The lab's range of addresses, and the host facts it is chosen by."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from docker.errors import APIError

from shoal.errors import UsageError
from shoal.lab import host, network

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""


def test_kernel_routes_are_read() -> None:
    assert host.parse_routes(ROUTES) == [
        host.Route("eth0", IPv4Network("0.0.0.0/0")),
        host.Route("eth0", IPv4Network("192.0.2.0/24")),
        host.Route("tun0", IPv4Network("10.0.0.0/8")),
    ]


def test_nameservers_that_only_this_machine_reaches_are_left_out() -> None:
    text = (
        "search example\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver 10.1.1.1\nnameserver 10.1.1.1\n#x\n"
    )
    assert host.parse_nameservers(text) == ["10.1.1.1"]
    assert host.parse_nameservers("nameserver 127.0.0.1\nnameserver nonsense\nnameserver\n") == []


def test_the_first_candidate_is_taken_where_nothing_is() -> None:
    assert network.choose(None, []) == network.CANDIDATES[0]


def test_a_site_that_uses_all_of_one_private_range_gets_another() -> None:
    taken = [("this machine's route by tun0", IPv4Network("10.0.0.0/8"))]
    assert network.choose(None, taken) == "172.30.213.0/24"


def test_a_wanted_range_in_use_is_refused_with_what_uses_it() -> None:
    taken = [("the engine's network 'other'", IPv4Network("10.5.0.0/16"))]
    with pytest.raises(UsageError) as refused:
        network.choose("10.5.1.0/24", taken)
    assert "address range is in use" in refused.value.message
    assert "the engine's network 'other' (10.5.0.0/16)" in str(refused.value)
    assert "--subnet" in str(refused.value)


class _BusyEngine:
    """Refuses the ranges that another lab took since they were looked at, as the engine does."""

    def __init__(self, *taken: str) -> None:
        self.taken = [IPv4Network(one) for one in taken]
        self.made: list[str] = []
        self.client = self.networks = self

    def list(self) -> list[object]:
        return []

    def create(self, name: str, *, ipam: dict[str, Any], **_: object) -> None:
        subnet = ipam["Config"][0]["Subnet"]
        if any(IPv4Network(subnet).overlaps(one) for one in self.taken):
            raise APIError("403", explanation="Pool overlaps with other one on this address space")
        self.made.append(subnet)


def test_a_range_that_was_taken_since_the_plan_is_given_up_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "routes", list)
    first, second, third = network.CANDIDATES[:3]
    engine: Any = _BusyEngine(first, second)
    assert network.create_free(engine, "x", first, 1500, fixed=False) == third
    assert engine.made == [third]


def test_a_range_that_was_asked_for_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "routes", list)
    engine: Any = _BusyEngine("10.99.0.0/16")
    with pytest.raises(UsageError, match=r"10\.99\.1\.0/24 is in use by another network"):
        network.create_free(engine, "x", "10.99.1.0/24", 1500, fixed=True)
    engine = _BusyEngine("0.0.0.0/0")
    with pytest.raises(UsageError, match="no address range is free"):
        network.create_free(engine, "x", network.CANDIDATES[0], 1500, fixed=False)
    assert engine.made == []


def test_all_candidates_in_use_is_refused_with_each() -> None:
    taken = [("this machine's route by vpn0", IPv4Network("0.0.0.0/1")), ("b", IPv4Network("128.0.0.0/1"))]
    with pytest.raises(UsageError) as refused:
        network.choose(None, taken)
    assert len(refused.value.faults) == len(network.CANDIDATES)


def test_the_gateway_is_the_first_address() -> None:
    assert network.gateway_of("10.213.0.0/24") == "10.213.0.1"
