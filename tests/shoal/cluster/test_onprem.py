"""onprem.toml: every fault at once by its name in the file; what is written is read back as the same cluster."""

from __future__ import annotations

import pytest

from shoal.cluster import onprem
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.errors import UsageError
from shoal.paths import repository

GOOD = """
[cluster]
name = "depot"
[ssh]
known_hosts_file = "known_hosts"
[[node]]
name = "office"
roles = ["requester"]
address = "192.0.2.10"
[[node]]
name = "gate"
roles = ["compute"]
address = "gate.example.org"
port = 2222
user = "ops"
arch = "arm64"
labels = { site = "north" }
"""


def load(tmp_path, text):
    path = tmp_path / "onprem.toml"
    path.write_text(text, encoding="utf-8")
    return onprem.load(path)


def test_good_file(tmp_path):
    cluster = load(tmp_path, GOOD)
    assert cluster.substrate == "onprem"
    assert cluster.node("gate").labels == {"site": "north"}
    assert cluster.ssh.known_hosts_file == tmp_path / "known_hosts"


def test_the_example_is_good():
    cluster = onprem.load(repository() / "inventories" / "onprem.example.toml")
    assert [node.name for node in cluster.nodes] == ["office", "gate-1", "gate-2"]


def test_all_faults_at_once(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(
            tmp_path,
            """
            [cluster]
            nmae = "depot"
            engine = "steam"
            [extra]
            [[node]]
            name = "Gate"
            roles = ["compute", "compute"]
            address = "192.0.2.1"
            port = 70000
            """,
        )
    where = [fault.where for fault in caught.value.faults]
    assert {"extra", "cluster.nmae", "cluster.name", "cluster.engine", "node[0].name", "node[0].port"} <= set(where)
    assert {"node[0].roles", "[[node]]"} <= set(where)
    assert not any("nodes" in fault.where for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "[cluster]"),
        ("cluster = 1\nnode = 2\n", "must be a table"),
        ('[cluster]\nname = "a"\n[node]\nname = "b"\n', "double brackets"),
        ("[cluster\n", "is not TOML"),
    ],
)
def test_wrong_shapes(tmp_path, text, words):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="cluster init"):
        onprem.load(tmp_path / "none.toml")


def test_rendered_is_read_back_the_same(tmp_path):
    cluster = Cluster(
        name="depot",
        substrate="onprem",
        engine="ssh",
        ssh=SshAccess(identity_file=tmp_path / 'k"e\\y ä', proxy_command='nc "%h" %p'),
        nodes=(
            Node(name="office", roles=("requester", "compute"), address="2001:db8::1", price_usd_per_hour=0.25),
            Node(name="gate", roles=("compute",), address="g", spot=True, labels={"a": "1"}, cluster_address="h"),
        ),
    )
    assert load(tmp_path, onprem.render(cluster)) == cluster


def test_the_environment_names_another_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_ONPREM", str(tmp_path / "x.toml"))
    assert onprem.default_path() == tmp_path / "x.toml"
