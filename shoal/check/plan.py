"""What a deploy is going to do on each machine, as far as a look has to know: ports, space, clips, settings."""

from __future__ import annotations

import runpy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau import API_PORT
from shoal.errors import UsageError
from shoal.paths import NODE_STATE, NODE_VIDEOS, repository
from shoal.site.document import SiteDocument

MB = 1_000_000
PACKAGES_BYTES = 450 * MB
"""The distribution's engine, the registry, curl and python3 as installed (on Debian 12: 345 MB), with the
archives that apt keeps."""
BUILD_BYTES = 2_500 * MB
"""The requester's engine while it makes the image: base, stages, the image itself. An estimate, on the safe side."""
IMAGE_BYTES = 1_200 * MB
"""The image in a compute node's engine, and its layers while they are unpacked. An estimate, on the safe side."""
STATE_BYTES = 700 * MB
"""On the requester, under /var/lib/shoal: the registry's storage and the build's folder."""
STATE_ON_COMPUTE_BYTES = 300 * MB
"""A run's results, and what arrives."""
LEAST_INODES = 50_000
"""An engine's image and packages have some 40000 files."""

REGISTRY_PORT = 5000
WRITE_PORT = 5001
NATS_PORT = 4222
COMPUTE_API_PORT = 1235


@dataclass(frozen=True, slots=True)
class Port:
    """A port that something of ours is going to listen on."""

    port: int
    address: str
    what: str
    knob: str
    for_nodes: bool
    """Whether the other machines have to reach it."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A deploy of one machine."""

    node: Node
    others: tuple[str, ...] = ()
    """Names of the other machines of the cluster."""
    owned: bool = True
    """Whether the machines have an owner beside us, and were not made by a lab or a stack."""
    firewall: bool = False
    """Whether the site's packet filter comes with the deploy: then nothing but SSH and the site's machines gets in."""
    requester: str = ""
    """The requester's address as the others know it."""
    ports: tuple[Port, ...] = ()
    requester_ports: tuple[Port, ...] = ()
    """Those of the cluster's requester, on every machine's plan."""
    needs_bytes: Mapping[str, int] = field(default_factory=dict)
    """Space by folder, on a machine that nothing was put on yet."""
    clips: Mapping[str, int] = field(default_factory=dict)
    """Clips to place: name under the videos folder, size in bytes."""
    beside_clips: tuple[str, ...] = ()
    """What else of ours comes to lie in the videos folder, in words."""
    knobs: Mapping[str, Any] = field(default_factory=dict)

    def knob(self, name: str, default: Any) -> Any:
        """A setting of a role, where the inventories' group data name one."""
        return self.knobs.get(name, default)

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages that the roles install on any machine of this kind."""
        base = tuple(self.knob("base_packages", ("ca-certificates", "curl", "python3")))
        return (*base, *(("docker-registry",) if self.node.has_role("requester") else ()))

    @property
    def engine_packages(self) -> tuple[str, ...]:
        """Those of the engine, where the distribution's is installed; the vendor's come from elsewhere."""
        if self.knob("docker_source", "distribution") != "distribution":
            return ()
        return tuple(self.knob("docker_packages", ("docker.io", "iptables")))

    @property
    def registry(self) -> str:
        """`address:port` of the site's registry, as nodes name it."""
        port = self.knob("registry_port", REGISTRY_PORT)
        return f"[{self.requester}]:{port}" if ":" in self.requester else f"{self.requester}:{port}"

    @property
    def videos_folder(self) -> str:
        """Where the clips go."""
        return str(self.knob("videos_folder", str(NODE_VIDEOS)))


def plans(
    cluster: Cluster, names: Collection[str], site: SiteDocument | None, *, bacalhau: bool, knobs: Mapping[str, Any]
) -> dict[str, NodePlan]:
    """What is to be done on each machine of `names`; `knobs` by group, as `group_data` reads them."""
    theirs = _of(cluster.requester, cluster, knobs)
    return {
        node.name: _plan(
            cluster, node, site, bacalhau=bacalhau, knobs=_of(node, cluster, knobs), knobs_of_requester=theirs
        )
        for node in cluster.nodes
        if node.name in names
    }


def group_data(substrate: str, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """The settings in inventories/group_data by group. Raises UsageError where a file of it cannot be read."""
    found: dict[str, dict[str, Any]] = {}
    for group in ("all", substrate, "requester", "compute"):
        path = (folder or repository() / "inventories" / "group_data") / f"{group}.py"
        if not path.is_file():
            continue
        try:
            values = runpy.run_path(str(path))
        except Exception as error:  # noqa: BLE001  # a person's own file may fail in any way, as it would in pyinfra
            raise UsageError(f"the settings {path} cannot be read: {type(error).__name__}: {error}") from None
        found[group] = {key: value for key, value in values.items() if not key.startswith("_")}
    return found


def _of(node: Node, cluster: Cluster, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One machine's settings: those of its roles go before those of the inventory, and these before those of all."""
    merged: dict[str, Any] = {}
    for group in ("all", cluster.substrate, *node.roles):
        merged |= groups.get(group, {})
    return merged


def _requester_ports(node: Node, knobs: Mapping[str, Any], *, bacalhau: bool) -> tuple[Port, ...]:
    address = knobs.get("registry_bind") or node.peer_address
    three = "registry_port, docker_site_registry_port and yolov5_registry_port"
    registry = Port(knobs.get("registry_port", REGISTRY_PORT), address, "the site's registry", three, for_nodes=True)
    two = "registry_write_port and yolov5_registry_write_port"
    write = Port(knobs.get("registry_write_port", WRITE_PORT), "127.0.0.1", "the site's registry", two, for_nodes=False)
    if not bacalhau:
        return (registry, write)
    nats, bind = knobs.get("bacalhau_nats_port", NATS_PORT), knobs.get("bacalhau_nats_bind") or node.peer_address
    return (
        registry,
        write,
        Port(nats, bind, "the engine's orchestrator", "bacalhau_nats_port", for_nodes=True),
        Port(API_PORT, "127.0.0.1", "the engine's API", "", for_nodes=False),
    )


def _beside_clips(node: Node, site: SiteDocument | None) -> Iterator[str]:
    if node.privacy is not None:
        yield "the privacy policy"
    if site is not None and site.events is not None:
        yield "the event rules"
    if node.cameras:
        yield "the recordings of its cameras"


def _plan(
    cluster: Cluster,
    node: Node,
    site: SiteDocument | None,
    *,
    bacalhau: bool,
    knobs: Mapping[str, Any],
    knobs_of_requester: Mapping[str, Any],
) -> NodePlan:
    compute, requester = node.has_role("compute"), node.has_role("requester")
    clips = {clip.name: clip.size_bytes for clip in site.videos.get(node.name, ())} if site and compute else {}
    needs = {"/usr": PACKAGES_BYTES, "/var/lib/docker": BUILD_BYTES if requester else IMAGE_BYTES}
    models = sum(model.path.stat().st_size for model in site.weights if model.path.is_file()) if site else 0
    needs[str(NODE_STATE)] = STATE_BYTES if requester else STATE_ON_COMPUTE_BYTES + models
    if clips:
        needs[str(knobs.get("videos_folder", str(NODE_VIDEOS)))] = sum(clips.values())
    theirs = _requester_ports(cluster.requester, knobs_of_requester, bacalhau=bacalhau)
    ports = list(theirs) if requester else []
    if bacalhau and compute:
        port = knobs.get("bacalhau_compute_api_port", COMPUTE_API_PORT)
        ports.append(
            Port(port, "127.0.0.1", "the engine's compute service", "bacalhau_compute_api_port", for_nodes=False)
        )
    return NodePlan(
        node=node,
        others=tuple(other.name for other in cluster.nodes if other.name != node.name),
        owned=cluster.substrate in {"onprem", "edge"},
        firewall=cluster.firewall == "on" and cluster.mesh != "tailscale",
        requester=cluster.requester.peer_address,
        ports=tuple(ports),
        requester_ports=theirs,
        needs_bytes=needs,
        clips=clips,
        beside_clips=tuple(_beside_clips(node, site)) if compute else (),
        knobs=knobs,
    )
