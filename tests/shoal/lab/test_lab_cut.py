"""Outages of a lab's node: which rules are made, and what they do to a network namespace of this machine's kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from shoal.cluster import document
from shoal.errors import UsageError
from shoal.lab import cut

CLUSTER = document.parse(
    {
        "name": "lab",
        "substrate": "lab",
        "nodes": [
            {"name": "requester", "roles": ["requester"], "address": "10.99.0.10"},
            {
                "name": "compute-1",
                "roles": ["compute"],
                "address": "10.99.0.11",
                "cameras": [
                    {"name": "north", "source": "rtsp://10.99.0.1:18554/north"},
                    {"name": "south", "source": "rtsp://10.99.0.1:18554/south"},
                    {"name": "gate", "source": "http://10.99.0.1/gate"},
                    {"name": "dock", "source": "/dev/video0"},
                ],
            },
            {"name": "compute-2", "roles": ["compute"], "address": "10.99.0.12"},
        ],
    },
    source="the test",
)
NAMESPACE = shutil.which("unshare") is not None and (
    subprocess.run(["unshare", "-rn", "ip", "link"], capture_output=True, check=False).returncode == 0
    if shutil.which("ip")
    else False
)


def reached(script: str, *destinations: str) -> list[bool]:
    """In a namespace with the lab's network and a default route: whether there is a way to each destination."""
    gets = "".join(f"ip route get {one} >/dev/null 2>&1 && echo yes || echo no\n" for one in destinations)
    text = (
        "ip link set lo up\n"
        "ip link add d0 type veth peer name d1; ip link set d1 up\n"
        "ip addr add 10.99.0.11/24 dev d0; ip link set d0 up\n"
        f"ip route add default via 10.99.0.1\n(\n{script})\n{gets}"
    )
    done = subprocess.run(["unshare", "-rn", "sh", "-c", text], capture_output=True, text=True, check=True)
    return [line == "yes" for line in done.stdout.split()]


CAMERA, OTHER_PORT = "10.99.0.1 ipproto tcp dport 18554", "10.99.0.1 ipproto tcp dport 22"
WAYS = ("10.99.0.10", "10.99.0.12", "8.8.8.8", CAMERA, OTHER_PORT, "127.0.0.1")


@pytest.mark.skipif(not NAMESPACE, reason="no network namespace can be made here")
@pytest.mark.parametrize(
    ("cut_from", "open_ways"),
    [
        ((), [False, False, False, False, False, True]),
        (("requester",), [False, True, True, True, True, True]),
        (("cameras",), [True, True, True, False, True, True]),
        (("wan",), [True, True, False, True, True, True]),
        (("wan", "requester", "cameras"), [False, True, False, False, True, True]),
    ],
)
def test_a_node_loses_what_was_named_and_nothing_else(cut_from: tuple[str, ...], open_ways: list[bool]) -> None:
    assert reached(":\n", *WAYS) == [True] * len(WAYS)
    assert reached(cut.script(cut.rules(CLUSTER, "compute-1", cut_from)), *WAYS) == open_ways


@pytest.mark.skipif(not NAMESPACE, reason="no network namespace can be made here")
def test_another_cut_replaces_the_first() -> None:
    first = cut.script(cut.rules(CLUSTER, "compute-1", ()))
    second = cut.script(cut.rules(CLUSTER, "compute-1", ("requester",)))
    assert reached(f"(\n{first})\n{second}", *WAYS) == [False, True, True, True, True, True]


@pytest.mark.skipif(not NAMESPACE, reason="no network namespace can be made here")
def test_the_labs_store_stands_beyond_the_line() -> None:
    store = document.EventsStore(to="s3:events", endpoint="http://10.99.0.5:9000", credential_file=Path("/k"))
    cluster = CLUSTER.model_copy(update={"events_store": store})
    ways = ("10.99.0.5", "10.99.0.12", "8.8.8.8")
    assert reached(cut.script(cut.rules(cluster, "compute-1", ("wan",))), *ways) == [False, True, False]
    assert reached(cut.script(cut.rules(cluster, "compute-1", ("requester",))), *ways) == [True, True, True]


def test_cameras_behind_one_port_make_one_rule() -> None:
    found = cut.rules(CLUSTER, "compute-1", ("cameras",))
    assert {rule[3] for rule in found} == {"6"}  # TCP: names of protocols are not known on a bare machine
    assert [rule[5] for rule in found] == ["18554", "80"]


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(UsageError, match="no cameras"):
        cut.rules(CLUSTER, "compute-2", ("cameras",))
    with pytest.raises(UsageError, match="the requester itself"):
        cut.rules(CLUSTER, "requester", ("requester",))
    with pytest.raises(UsageError, match="one of wan, requester, cameras"):
        cut.rules(CLUSTER, "compute-1", ("moon",))
    with pytest.raises(UsageError, match="no node called"):
        cut.rules(CLUSTER, "compute-9", ())
