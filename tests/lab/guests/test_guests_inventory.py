"""A deploy and a teardown on machines that have an owner: afterwards each is what it was before.

Four are lived in and one is bare; what lives there is in `OWNERS`. One deploy of all, a second one, one teardown.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from plant import CLIP, Plant, changed, registered, site_document

from shoal.cluster.document import Cluster
from shoal.deploys.run import DeployResult
from shoal.errors import ShoalError

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -y -qq install --no-install-recommends"
SETTINGS = (
    '{"log-driver": "local", "log-opts": {"max-size": "50m"}, "live-restore": false, '
    '"insecure-registries": ["10.1.1.1:5000"]}'
)
OWNERS: dict[str, tuple[str, ...]] = {
    # An engine with a container, and a registry of his own: what shoal needs too.
    "requester": (
        f"{APT} docker.io iptables docker-registry >/dev/null 2>&1; mkdir -p /srv/plant; "
        "chown docker-registry: /srv/plant; printf 'version: 0.1\\nstorage:\\n  filesystem:\\n    rootdirectory: "
        "/srv/plant\\nhttp:\\n  addr: 127.0.0.1:5555\\n' >/etc/docker/registry/config.yml; "
        "systemctl restart docker-registry",
        "owner_image.sh",
    ),
    "compute-1": (),
    # The vendor's engine with settings and a container that no restart brings back; the plant's own time server.
    "compute-2": (
        f"mkdir -p /etc/docker; echo '{SETTINGS}' >/etc/docker/daemon.json; chmod 600 /etc/docker/daemon.json",
        "vendor_docker.sh",
        "owner_image.sh",
        f"{APT} chrony >/dev/null 2>&1; echo 'server ntp.plant.example iburst' >/etc/chrony/conf.d/plant.conf",
    ),
    # The distribution's engine, switched off, its settings behind a link; footage, one file of it with the very name
    # and content of a clip of ours, a second name for it, and an empty folder.
    "compute-3": (
        "mkdir -p /etc/plant /etc/docker; echo '{\"debug\": false}' >/etc/plant/docker.json; "
        "ln -s /etc/plant/docker.json /etc/docker/daemon.json",
        f"{APT} docker.io iptables ntpsec >/dev/null 2>&1; systemctl disable -q --now docker.socket docker.service; "
        "apt-mark hold docker.io >/dev/null",
        "groupadd cameras; mkdir -p /videos/sub /srv/nvr; chown root:cameras /videos; chmod 2775 /videos; "
        "head -c 50000 /dev/urandom >/videos/own.mp4",
    ),
    # Volumes of a former engine; containerd by itself; another time daemon; journal files of his.
    "compute-4": (
        "mkdir -p /var/lib/docker/volumes/old/_data; echo footage >/var/lib/docker/volumes/old/_data/a.mp4",
        f"{APT} containerd openntpd >/dev/null 2>&1",
    ),
}


@dataclass
class Story:
    """What was seen at each step."""

    plant: Plant
    before: dict[str, set[str]] = field(default_factory=dict)
    deployed: dict[str, set[str]] = field(default_factory=dict)
    after: dict[str, set[str]] = field(default_factory=dict)
    dry: DeployResult | None = None
    first: DeployResult | None = None
    second: DeployResult | None = None
    teardown: DeployResult | None = None


def inventories(plant: Plant) -> dict[str, set[str]]:
    names = [node.name for node in plant.cluster.nodes]
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(plant.inventory, names), strict=True))


def move_in(plant: Plant, node: str) -> None:
    for step in OWNERS[node]:
        if step.endswith(".sh"):
            plant.file(node, step)
        else:
            plant.on(node, f"set -e; {step}")


@pytest.fixture(scope="module")
def story(gateways: Cluster, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("plant")
    plant = registered(gateways, "plant", folder, tuple(OWNERS))
    patch = pytest.MonkeyPatch()
    patch.setenv("SHOAL_SITE", str(site_document(plant, folder)))
    with ThreadPoolExecutor(len(OWNERS)) as pool:
        list(pool.map(lambda node: move_in(plant, node), OWNERS))
    # The owner has, among his footage, the very clip that we are to bring.
    own = (folder / "compute-3.mp4").read_bytes().decode()
    plant.on("compute-3", f"printf %s '{own}' >/srv/nvr/x.mp4; ln /srv/nvr/x.mp4 /videos/{CLIP}; sleep 1")
    seen = Story(plant)
    seen.before = inventories(plant)
    seen.dry = plant.deploy(dry=True)
    assert plant.inventory("compute-1") == seen.before["compute-1"]
    seen.first = plant.deploy()
    seen.second = plant.deploy()
    seen.deployed = inventories(plant)
    # Life goes on after the deploy: a camera writes over one of our clips.
    plant.on("compute-3", "head -c 70000 /dev/urandom >/videos/sub/b.mp4; sha256sum /videos/sub/b.mp4 >/run/own.sha")
    with pytest.raises(ShoalError, match=r"not from us: 'sub/b\.mp4'"):
        plant.deploy(limit=["compute-3"])
    plant.on("compute-3", "sha256sum -c --quiet /run/own.sha")
    seen.teardown = plant.deploy("teardown")
    seen.after = inventories(plant)
    yield seen
    patch.undo()


@pytest.mark.parametrize("node", OWNERS)
def test_a_machine_is_after_teardown_what_it_was_before(story: Story, node: str):
    gone = story.before[node] - story.after[node]
    new = story.after[node] - story.before[node]
    if node == "compute-3":
        # The camera's own footage over our clip: left, and named.
        new = {line for line in new if not line.startswith("file /videos/sub/b.mp4 ")}
    assert (sorted(gone), sorted(new)) == ([], [])


def test_the_second_deploy_changes_nothing(story: Story):
    assert story.second is not None
    assert changed(story.second) == []


@pytest.mark.parametrize("node", ["requester", "compute-2"])
def test_an_owners_engine_and_his_container_are_never_restarted(story: Story, node: str):
    kept = {
        line for line in story.before[node] if line.startswith(("container ", "volume ", "process ", "volume-file "))
    }
    assert any(line.startswith("container ") and line.endswith(" running") for line in kept)
    assert kept <= story.deployed[node]
    assert kept <= story.after[node]


@pytest.mark.parametrize("node", OWNERS)
def test_no_package_of_an_owners_goes_or_changes(story: Story, node: str):
    packages = {line for line in story.before[node] if line.startswith(("package ", "hold "))}
    assert packages <= story.deployed[node]


@pytest.mark.parametrize("node", [name for name in OWNERS if name != "requester"])
def test_every_gateway_can_run_the_job(story: Story, node: str):
    assert any(line.startswith("image ") and "shoal/detector" in line for line in story.deployed[node])


def test_dry_says_what_it_means_for_each_machine(story: Story):
    assert story.dry is not None
    said = {host: [text for name, text in story.dry.will if name == host] for host in OWNERS}
    assert any("install " in text and "docker.io" in text for text in said["compute-1"])
    assert not any("docker.io" in text for text in said["compute-2"])
    assert any("insecure-registries" in text for text in said["compute-2"])
    assert any("without a restart" in text for text in said["compute-2"])
    assert any(text.startswith("start docker.service") for text in said["compute-3"])
    assert "place 1 clip (sub/b.mp4) in /videos" in said["compute-3"]
    peer = story.plant.cluster.requester.peer_address
    assert any(text.startswith(f"open TCP port {peer}:5000 for the network") for text in said["requester"])
    # The owner's settings on compute-2 are for root alone, those on compute-3 for everybody.
    replaced = {
        host: [text for text in said[host] if text.startswith("replace /etc/docker/daemon.json")] for host in said
    }
    assert all("+" not in text for text in replaced["compute-2"])
    assert any("@@" in text and f'+    "{peer}:5000"' in text for text in replaced["compute-3"])


def test_teardown_names_what_it_left_and_why(story: Story):
    assert story.teardown is not None
    left = dict(story.teardown.left)
    assert "/videos/sub/b.mp4: another file lies there" in left["compute-3"]
    assert "/var/lib/docker" in left["compute-4"]
    assert "compute-2" not in left
