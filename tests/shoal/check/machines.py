"""Machines as the look would find them: a good one, and what differs from it."""

from __future__ import annotations

import dataclasses
from typing import Any

from shoal.check.facts import Docker, Facts, Listener, Login, Place, Videos
from shoal.check.plan import NodePlan, plans
from shoal.cluster.document import Cluster, Node
from shoal.site.document import SiteDocument

REQUESTER = Node(name="office", roles=("requester",), address="10.0.0.2", user="ops")
GATE = Node(name="gate-1", roles=("compute",), address="10.0.0.3", user="ops")
CLUSTER = Cluster(name="plant", substrate="onprem", nodes=(REQUESTER, GATE))

LOGIN = Login(
    user="ops", uid=1000, shell="/bin/bash", umask="0022", proxy={}, noise="", sudo="", sudo_allows="", is_root=True
)
FOLDERS = ("/usr", "/etc", "/var/lib/docker", "/var/lib/shoal", "/var/cache/apt", "/videos")


def places(**changes: Any) -> tuple[Place, ...]:
    """One file system with plenty of room."""
    room = {"device": "1", "free_bytes": 50_000_000_000, "free_inodes": 3_000_000, "file_system": "ext2/ext3"}
    return tuple(Place(folder=it, there="/", writable=True, **{**room, **changes}) for it in FOLDERS)  # type: ignore[arg-type]


GOOD = Facts(
    login=LOGIN,
    clock_offset_s=0.1,
    clock_doubt_s=0.2,
    release={"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"},
    machine="x86_64",
    dpkg_arch="amd64",
    init="systemd",
    systemd="running",
    root_umask="0022",
    machine_id="a" * 32,
    hostname="gate",
    macs=frozenset({"02:00:00:00:00:01"}),
    addresses=frozenset({"127.0.0.1", "10.0.0.3"}),
    places=places(),
    kernel={"overlay": "module", "bridge": "module", "veth": "module"},
    kernel_modules=True,
    kernel_modular=True,
    memory_cgroup=True,
    synchronised=True,
    time_units={"systemd-timesyncd.service": "active"},
    journal_bytes=10_000_000,
    docker=Docker(),
    videos=Videos(kind="folder", mount="/", file_system="ext4", options=frozenset({"rw"}), files=3, size_bytes=9),
)


def machine(base: Facts = GOOD, **changes: Any) -> Facts:
    """The good machine with something else about it."""
    return dataclasses.replace(base, **changes)


def login(**changes: Any) -> Facts:
    """A machine whose login is another."""
    return machine(login=dataclasses.replace(LOGIN, **changes))


def plan(node: str = "gate-1", *, bacalhau: bool = False, clips: int = 0, **knobs: Any) -> NodePlan:
    """What a deploy does on one machine of the plant."""
    entry = {"path": "/x/a.mp4", "sha256": "a" * 64, "size_bytes": 1000}
    videos = {"gate-1": [{**entry, "name": f"clip-{number}.mp4"} for number in range(clips)]}
    site = SiteDocument.model_validate({"cluster": "plant", "videos": videos})
    return plans(CLUSTER, [node], site, bacalhau=bacalhau, knobs={"all": knobs})[node]


def listener(port: int, address: str = "*", process: str = "nvr", unit: str = "nvr.service") -> Listener:
    """Somebody's socket."""
    return Listener(address, port, process, unit)
