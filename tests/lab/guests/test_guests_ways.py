"""Ways to a machine that plain `ssh` knows: host certificates, aliases with a port of their own.

What plain `ssh` can, the look and the deploy can.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab
from plant import Plant, changed, site_document

from shoal.check.examine import examine
from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.site import document as sites
from shoal.ssh import client as ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

WAYS = {"requester": "office", "compute-1": "gate"}
"""Lab node and the alias by which its owner knows it."""
SSHD = "Port 22\nPort 2222\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n"
UNDO = "rm -f /etc/ssh/sshd_config.d/ways.conf /etc/ssh/ssh_host_ed25519_key-cert.pub; systemctl restart ssh"


@pytest.fixture
def plant(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Two machines by alias alone: their ports and keys are known to ssh's own settings, and to nothing else."""
    authority = tmp_path / "authority"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(authority)], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"@cert-authority * {authority.with_suffix('.pub').read_text()}")
    config = tmp_path / "ssh_config"
    lines, nodes = [], []
    root = Plant(lab.cluster, lab.document)
    for name, alias in WAYS.items():
        node = lab.cluster.node(name)
        key = tmp_path / f"{name}.pub"
        key.write_text(root.on(name, "cat /etc/ssh/ssh_host_ed25519_key.pub") + "\n")
        names = f"{alias},{node.address}"
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", name, "-h", "-n", names, "-V", "+1d", str(key)]
        subprocess.run(sign, check=True)
        certificate = key.with_name(f"{name}-cert.pub").read_text().strip()
        root.on(
            name,
            f"printf '%s\\n' '{certificate}' >/etc/ssh/ssh_host_ed25519_key-cert.pub; "
            f"printf '{SSHD}' >/etc/ssh/sshd_config.d/ways.conf; systemctl restart ssh",
        )
        lines += [f"Host {alias}", f"  HostName {node.address}", "  Port 2222", f"  User {node.user}"]
        lines += [f"  IdentityFile {lab.cluster.ssh.identity_file}", f"  UserKnownHostsFile {known}"]
        # The requester's own address is what the others reach it by; the alias is this machine's alone.
        peer = {"cluster_address": node.peer_address} if name == "requester" else {}
        nodes.append(Node(name=name, roles=node.roles, address=alias, **peer))
    config.write_text("\n".join(lines) + "\n")
    cluster = Cluster(
        name="ways", substrate="onprem", engine="ssh", nodes=tuple(nodes), ssh=SshAccess(config_file=config)
    )
    path = tmp_path / "cluster.json"
    clusters.save(cluster, path)
    made = Plant(cluster, path)
    monkeypatch.setenv("SHOAL_SITE", str(site_document(made, tmp_path)))
    yield made
    ssh.close(cluster)
    for name in WAYS:
        root.on(name, UNDO)


def test_a_host_certificate_and_the_port_of_an_alias(plant: Plant) -> None:
    report = examine(plant.cluster, [*WAYS], sites.SiteDocument(cluster="ways"), bacalhau=False, knobs={})
    assert [entry.what for entry in report.in_the_way] == []
    assert set(report.facts) == {*WAYS}
    assert plant.deploy(dry=True).changed > 0
    plant.deploy()
    assert changed(plant.deploy()) == []
    plant.deploy("teardown")
