"""Deploys on machines with hardened logins, an owner's engine and an owner's registry: nothing of theirs is lost.

Real conditions, each made on a lab node; what a look alone refuses is in test_guests_look.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from plant import Plant, changed, registered, site_document

from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster
from shoal.deploys.run import DeployResult
from shoal.errors import ShoalError
from shoal.ssh import client as ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -y -qq install --no-install-recommends"
ALL = ("requester", "compute-1", "compute-2", "compute-3")
UMASK = """
sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
grep -q pam_umask /etc/pam.d/common-session || echo 'session optional pam_umask.so' >>/etc/pam.d/common-session
"""
TCSH = f"{{ {APT} tcsh; }} >/dev/null 2>&1; usermod -s /bin/tcsh shoal"
GREETING = r"""sed -i '1i echo Welcome; printf "\\033[2Jload 0.1\\n"' /home/shoal/.bashrc"""
NVR = """
docker volume create nvr >/dev/null
echo footage >/var/lib/docker/volumes/nvr/_data/a.mp4
"""
"""As a recorder does it; it needs no image."""
FORMER_RECORD = f"""
{{ {APT} docker.io iptables; }} >/dev/null 2>&1
{NVR}
mkdir -p /var/lib/shoal/roles
echo debootstrap >/var/lib/shoal/roles/docker.packages
"""
"""An engine of the owner's, and a record of ours that is not empty and does not name the engine."""
REGISTRY = f"""
{{ {APT} docker-registry; }} >/dev/null 2>&1
mkdir -p /srv/plant/docker/registry/v2/repositories/plant
chown -R docker-registry: /srv/plant
printf 'version: 0.1\\nstorage:\\n  filesystem:\\n    rootdirectory: /srv/plant\\nhttp:\\n  addr: :5000\\n' \
    >/etc/docker/registry/config.yml
systemctl restart docker-registry
systemctl enable -q docker-registry
timeout 20 sh -c 'until ss -Hltn | grep -q ":5000 "; do sleep 0.1; done'
sha256sum /etc/docker/registry/config.yml >/root/registry.sha
"""
EARLIER = """
umask 022
mkdir -p /var/lib/shoal/roles /etc/shoal /etc/systemd/system/docker-registry.service.d /var/lib/shoal/registry
{ export DEBIAN_FRONTEND=noninteractive; apt-get -qq update
  apt-get -y -qq install --no-install-recommends docker-registry; } >/dev/null 2>&1
echo docker-registry >/var/lib/shoal/roles/registry.packages
chown docker-registry: /var/lib/shoal/registry
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/docker-registry serve /etc/shoal/registry.yml\\n' \
    >/etc/systemd/system/docker-registry.service.d/shoal.conf
cat >/etc/shoal/registry.yml <<END
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/shoal/registry}}
http: {addr: "$ADDRESS:5000"}
END
systemctl daemon-reload
systemctl restart docker-registry
systemctl enable -q docker-registry
timeout 20 sh -c 'until ss -Hltn | grep -q ":5000 "; do sleep 0.1; done'
"""
"""As shoal deployed it before the site's registry had services of its own."""


@pytest.fixture(scope="module")
def plant(gateways_of_cases: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("cases")
    made = registered(gateways_of_cases, "cases", folder, ALL)
    patch = pytest.MonkeyPatch()
    patch.setenv("SHOAL_SITE", str(site_document(made, folder)))
    yield made
    patch.undo()


@pytest.fixture(scope="module")
def deployed(plant: Plant) -> DeployResult:
    """One deploy of a requester that keeps its files to itself, and of a machine with an engine of its owner's."""
    for node, script in (("requester", UMASK), ("compute-3", FORMER_RECORD)):
        plant.on(node, script)
    # A login that is shared would keep its former shell and mask.
    ssh.close(plant.cluster)
    assert plant.holds("requester", "true")
    return plant.deploy()


def test_a_umask_of_077_does_not_keep_a_deploy_from_its_end(plant: Plant, deployed: DeployResult):
    address = plant.cluster.requester.peer_address
    plant.on("requester", f"curl -fsS --noproxy '*' -m 3 http://{address}:5000/v2/ >/dev/null")
    for node in ("compute-1", "compute-2", "compute-3"):
        assert "shoal/detector" in plant.on(node, "docker images")
    assert changed(plant.deploy()) == []


def test_folders_that_an_earlier_deploy_closed_are_opened(plant: Plant, deployed: DeployResult):
    """As a version that did not mind the umask left them: the registry's user cannot read its settings."""
    services = "shoal-registry shoal-registry-read"
    plant.on("requester", f"systemctl stop {services}; chmod 700 /etc/shoal; systemctl start {services}")
    assert plant.holds(
        "requester", "timeout 10 sh -c 'while systemctl is-active -q shoal-registry; do sleep 0.1; done'"
    )
    done = changed(plant.deploy(limit=["requester"]))
    assert done[0] == "base | Open the folders that services read: requester"
    address = plant.cluster.requester.peer_address
    plant.on("requester", f"curl -fsS --noproxy '*' -m 3 http://{address}:5000/v2/ >/dev/null")
    assert changed(plant.deploy(limit=["requester"])) == []


UNIT = "/etc/systemd/system/videos-cameras-srv_cam.mount"
OWNERS_MOUNT = f"""
mkdir -p /srv/cam
echo film >/srv/cam/a.mp4
printf '[Mount]\\nWhat=/srv/cam\\nWhere=/videos/cameras/srv_cam\\nType=none\\nOptions=bind,ro\\n' >{UNIT}
sha256sum {UNIT} >/root/unit.sha
systemctl daemon-reload
"""


def test_an_owners_mount_unit_with_the_name_of_ours_is_neither_replaced_nor_removed(
    plant: Plant, deployed: DeployResult, tmp_path: Path
):
    plant.on("compute-2", OWNERS_MOUNT)
    cluster = plant.cluster.model_dump(mode="json", exclude_none=True)
    for node in cluster["nodes"]:
        node["camera_folders"] = ["/srv/cam"] if node["name"] == "compute-2" else []
    document = tmp_path / "cluster.json"
    clusters.save(Cluster.model_validate(cluster), document)
    filmed = Plant(Cluster.model_validate(cluster), document)
    with pytest.raises(ShoalError, match=f"{UNIT} is a mount unit that is not ours"):
        filmed.deploy(limit=["compute-2"])
    plant.on("compute-2", "sha256sum -c --quiet /root/unit.sha; systemctl start videos-cameras-srv_cam.mount")
    filmed.deploy(limit=["compute-2"])
    assert plant.on("compute-2", "cat /videos/cameras/srv_cam/a.mp4") == "film"
    filmed.deploy("teardown", limit=["compute-2"])
    plant.on("compute-2", "sha256sum -c --quiet /root/unit.sha; cat /videos/cameras/srv_cam/a.mp4 >/dev/null")
    plant.on("compute-2", f"systemctl stop videos-cameras-srv_cam.mount; rm -r {UNIT} /srv/cam /videos")


def test_what_came_into_an_engine_of_ours_keeps_it(plant: Plant, deployed: DeployResult):
    """A volume made after the deploy (compute-1), and an engine that was there before it (compute-3)."""
    plant.on("compute-1", NVR)
    result = plant.deploy("teardown")
    left = dict(result.left)
    assert "volume nvr" in left["compute-1"]
    assert "compute-3" not in left, "its engine is not ours, and nothing of it was in question"
    for node in ("compute-1", "compute-3"):
        assert plant.on(node, "cat /var/lib/docker/volumes/nvr/_data/a.mp4") == "footage"
        assert plant.holds(node, "systemctl is-active -q docker")
        assert "shoal/detector" not in plant.on(node, "docker images")
    assert not plant.holds("compute-2", "command -v docker >/dev/null")
    # Once the owner has taken what was his, the next teardown takes what was ours.
    plant.on("compute-1", "docker volume rm nvr >/dev/null")
    assert plant.deploy("teardown", limit=["compute-1"]).left == ()
    assert not plant.holds("compute-1", "command -v docker >/dev/null")


def test_an_earlier_versions_registry_is_ours(plant: Plant, deployed: DeployResult):
    plant.on("requester", f"ADDRESS={plant.cluster.requester.peer_address}; {EARLIER}")
    plant.deploy(limit=["requester"])
    assert plant.holds("requester", "systemctl is-active -q shoal-registry-read")
    assert not plant.holds("requester", "systemctl is-active -q docker-registry")
    plant.deploy("teardown", limit=["requester"])
    for path in ("/etc/systemd/system/docker-registry.service.d", "/etc/shoal", "/var/lib/shoal/registry"):
        assert not plant.holds("requester", f"[ -e {path} ]"), path
    assert not plant.holds("requester", "command -v docker-registry >/dev/null")


def test_an_owners_registry_keeps_its_port_settings_and_state(plant: Plant, deployed: DeployResult):
    plant.on("requester", REGISTRY)
    pid = plant.on("requester", "systemctl show docker-registry -p MainPID --value")

    def is_as_it_was() -> bool:
        plant.on("requester", "sha256sum -c --quiet /root/registry.sha; systemctl is-enabled -q docker-registry")
        return plant.on("requester", "systemctl show docker-registry -p MainPID --value") == pid

    with pytest.raises(ShoalError, match=r"port 5000 at .*'s, which stays: give the site's registry another one"):
        plant.deploy(limit=["requester"])
    plant.deploy("teardown", limit=["requester"])
    assert is_as_it_was()
    ports = {"registry_port": 5005, "docker_site_registry_port": 5005, "yolov5_registry_port": 5005}
    plant.deploy(limit=["requester", "compute-2"], data=ports)
    assert "5005/shoal/detector" in plant.on("compute-2", "docker images --digests")
    assert is_as_it_was()
    plant.deploy("teardown", limit=["requester", "compute-2"], data=ports)
    assert is_as_it_was()
    assert plant.holds("requester", "curl -fsS --noproxy '*' -m 3 http://127.0.0.1:5000/v2/_catalog >/dev/null")
    purge = "DEBIAN_FRONTEND=noninteractive apt-get -y -qq purge docker-registry >/dev/null 2>&1"
    plant.on("requester", f"{purge}; rm -r /srv/plant")


def test_login_shells_do_not_keep_a_deploy_from_its_end(plant: Plant, deployed: DeployResult):
    plant.on("compute-1", TCSH)
    plant.on("compute-2", GREETING)
    ssh.close(plant.cluster)
    site = ["requester", "compute-1", "compute-2"]
    plant.deploy(limit=site)
    assert changed(plant.deploy(limit=site)) == []


def test_a_restart_that_would_end_an_owners_container_needs_his_agreement(plant: Plant, deployed: DeployResult):
    plant.file("compute-3", "owner_image.sh")
    begun = plant.on("compute-3", "docker inspect -f '{{.State.StartedAt}}' nvr")
    before = plant.on("compute-3", "sha256sum /etc/docker/daemon.json 2>&1; systemctl show docker -p MainPID --value")
    with pytest.raises(ShoalError, match=r"would end nvr .*--yes-to docker-restart"):
        plant.deploy(limit=["compute-3"], data={"docker_mtu": 1400})
    assert plant.on("compute-3", "docker inspect -f '{{.State.StartedAt}}' nvr") == begun
    assert before == plant.on(
        "compute-3", "sha256sum /etc/docker/daemon.json 2>&1; systemctl show docker -p MainPID --value"
    )
    agreed = {"docker_mtu": 1400, "shoal_yes_to": ["docker-restart"]}
    plant.deploy(limit=["compute-3"], data=agreed)
    assert (
        plant.on("compute-3", "docker network inspect -f '{{json .Options}}' bridge | grep -o '\"1400\"'") == '"1400"'
    )
    assert plant.holds("compute-3", "[ $(docker inspect -f '{{.State.Running}}' nvr) = false ]")
    plant.on("compute-3", "docker start nvr >/dev/null")
    assert changed(plant.deploy(limit=["compute-3"], data=agreed)) == []
    result = plant.deploy("teardown", limit=["compute-3"])
    assert "until its next start: a restart would end containers" in dict(result.left)["compute-3"]
    assert plant.holds("compute-3", "[ $(docker inspect -f '{{.State.Running}}' nvr) = true ]")
    assert not plant.holds("compute-3", "grep -qs mtu /etc/docker/daemon.json")
