"""Moving onto the mesh: the note laid over the document, the proofs before a move, and what is never lost."""

from __future__ import annotations

import json
import re

import pytest

from shoal.cli.mesh import settings
from shoal.cluster import document as clusters
from shoal.cluster import load, overlay
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.cluster.overlay import Moved, Overlay
from shoal.deploys import inventory
from shoal.errors import ShoalError, UsageError
from shoal.mesh import membership as members
from shoal.mesh import moving, policy
from shoal.mesh.membership import Membership
from shoal.ssh import client as ssh

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJU136SYwf17CU3UkTaTRtG6SuU++OVecVOm8mt3U3Tj"
MESH = {"office": "100.64.0.1", "gate-1": "100.64.0.2", "gate-2": "100.64.0.3"}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    known = tmp_path / "known_hosts"
    addresses = ("192.0.2.10", "192.0.2.21", "192.0.2.22")
    known.write_text("".join(f"{address} {KEY}\n" for address in addresses))
    return Cluster(
        name="depot",
        substrate="onprem",
        mesh="tailscale",
        ssh=SshAccess(known_hosts_file=known),
        nodes=tuple(
            Node(name=name, roles=("requester",) if name == "office" else ("compute",), address=address, user="ops")
            for name, address in zip(MESH, addresses, strict=True)
        ),
    )


@pytest.fixture
def document(cluster, tmp_path):
    path = tmp_path / "cluster.json"
    clusters.save(cluster, path)
    return path


def full(cluster, **more):
    nodes = {
        node.name: Moved(
            first_address=node.address, address=MESH[node.name], peer_address=MESH[node.name], host_keys=(KEY,)
        )
        for node in cluster.nodes
    }
    return Overlay(**{"cluster": cluster.name, "services": True, "nodes": nodes, **more})


def test_without_a_note_nothing_is_laid_over(cluster):
    assert overlay.applied(cluster) == cluster


def test_moved_nodes_have_their_mesh_addresses_and_keep_the_first_in_mind(cluster):
    overlay.save(full(cluster))
    now = overlay.applied(cluster)
    assert [node.address for node in now.nodes] == list(MESH.values())
    assert [node.peer_address for node in now.nodes] == list(MESH.values())
    assert now.nodes[0].first_address == "192.0.2.10"
    assert overlay.applied(now).nodes == now.nodes
    assert overlay.first(now).nodes[0].address == "192.0.2.10"
    known = now.ssh.known_hosts_file.read_text()
    assert f"100.64.0.2 {KEY}" in known
    assert f"192.0.2.21 {KEY}" in known


def test_what_the_nodes_say_to_each_other_moves_only_as_a_whole(cluster):
    overlay.save(full(cluster, services=False))
    assert [node.peer_address for node in overlay.applied(cluster).nodes] == ["192.0.2.10", "192.0.2.21", "192.0.2.22"]


def test_a_machine_made_anew_is_reached_at_its_new_first_address(cluster):
    overlay.save(full(cluster))
    anew = cluster.nodes[2].model_copy(update={"address": "192.0.2.99"})
    now = overlay.applied(cluster.model_copy(update={"nodes": (*cluster.nodes[:2], anew)}))
    assert now.nodes[2].address == "192.0.2.99"
    assert now.nodes[1].address == MESH["gate-1"]


def test_a_document_without_a_mesh_is_never_changed(cluster):
    overlay.save(full(cluster))
    without = cluster.model_copy(update={"mesh": "none"})
    assert overlay.applied(without) == without


def test_each_node_is_reached_by_the_way_that_leads_to_its_address(cluster):
    access = cluster.ssh.model_copy(update={"proxy_command": "iap %h %p"})
    behind = cluster.model_copy(update={"ssh": access})

    def ways(candidate):
        now = overlay.laid_over(behind, candidate)
        return {node.name: node.proxy(now.ssh) for node in now.nodes}

    assert ways(full(cluster)) == dict.fromkeys(MESH)
    part = full(cluster, nodes={"gate-1": full(cluster).nodes["gate-1"]})
    assert ways(part) == {"office": "iap %h %p", "gate-1": None, "gate-2": "iap %h %p"}
    part = part.model_copy(update={"proxy_command": "ts nc %h %p"})
    assert ways(part) == {"office": "iap %h %p", "gate-1": "ts nc %h %p", "gate-2": "iap %h %p"}


def test_a_deploy_and_every_other_command_go_the_same_way(cluster):
    access = cluster.ssh.model_copy(update={"proxy_command": "iap %h %p"})
    part = full(cluster, proxy_command="ts nc %h %p", nodes={"gate-1": full(cluster).nodes["gate-1"]})
    now = overlay.laid_over(cluster.model_copy(update={"ssh": access}), part)
    (requester,), compute = inventory.groups(now)
    for name, data in (requester, *compute):
        assert data["ssh_proxy_command"] == ("ts nc %h %p" if name == "gate-1" else "iap %h %p")
        assert f"ProxyCommand={data['ssh_proxy_command']}" in ssh.ssh_command(now, now.node(name), "true")


def test_a_damaged_note_is_told(cluster):
    overlay.path("depot").parent.mkdir(parents=True)
    overlay.path("depot").write_text('{"cluster": "depot", "nodes": {"a": {}}}')
    with pytest.raises(UsageError) as caught:
        overlay.applied(cluster)
    assert "shoal mesh on" in str(caught.value)
    overlay.path("depot").write_text("{")
    with pytest.raises(UsageError):
        overlay.applied(cluster)
    overlay.path("depot").write_text('{"cluster": "other"}')
    with pytest.raises(UsageError):
        overlay.applied(cluster)


def test_inventories_read_the_note(cluster, document):
    overlay.save(full(cluster, settings={"tailscale_port": 41642}))
    loaded = load.load_path(document)
    (requester,), compute = inventory.groups(loaded)
    assert requester[1]["ssh_hostname"] == MESH["office"]
    assert requester[1]["shoal_mesh_services"] is True
    assert compute[0][1]["tailscale_port"] == 41642
    assert load.load_first(document).nodes[0].address == "192.0.2.10"


@pytest.fixture
def world(monkeypatch, cluster):
    """Who answers where, and who has joined; no machine is asked."""

    class World:
        joined = dict(MESH)  # noqa: RUF012
        answers = {*MESH.values(), *(node.address for node in cluster.nodes)}  # noqa: RUF012
        pings = True
        deploys: list[str] = []  # noqa: RUF012
        tun = True

    def probe(cluster, nodes):
        return {node.name: None if node.address in World.answers else "no answer" for node in nodes}

    def membership(cluster):
        return {
            node.name: Membership("Running", True, f"{node.name}.mesh.test", World.joined[node.name], World.tun)
            if node.name in World.joined
            else Membership("NeedsLogin")
            for node in cluster.nodes
        }

    class Done:
        exit_code = 0

    monkeypatch.setattr(moving, "probe", probe)
    monkeypatch.setattr(moving, "membership", membership)
    monkeypatch.setattr(moving, "_resolves", lambda name, address: False)
    monkeypatch.setattr(moving.ssh, "close", lambda cluster: None)

    def run_deploy(reach, name, *, limit=(), **more):
        World.deploys.append(" ".join([name, *limit]))

    monkeypatch.setattr(moving, "run_deploy", run_deploy)

    def run(*arguments, **options):
        Done.exit_code = 0 if World.pings else 1
        return Done

    monkeypatch.setattr(moving.ssh, "run", run)
    return World


def test_all_move(world, document, cluster):
    move = moving.on(reaches.load(document), settings={"tailscale_port": 41642})
    assert move.whole
    assert world.deploys == ["mesh"]
    saved = overlay.load("depot")
    assert saved.settings == {"tailscale_port": 41642}
    assert saved.nodes["gate-1"].host_keys == (KEY,)
    assert overlay.applied(cluster).requester.address == MESH["office"]


def test_one_that_does_not_answer_over_the_mesh_keeps_its_first_address(world, document, cluster):
    world.answers = world.answers - {MESH["gate-2"]}
    move = moving.on(reaches.load(document), deploy=False)
    assert not move.whole
    assert not move.services
    assert "gate-2" in move.services_note
    now = overlay.applied(cluster)
    assert now.node("gate-2").address == "192.0.2.22"
    assert now.node("gate-1").address == MESH["gate-1"]
    assert now.requester.peer_address == "192.0.2.10"


def test_one_that_has_not_joined_keeps_its_first_address(world, document, cluster):
    world.joined = {name: address for name, address in MESH.items() if name != "gate-1"}
    move = moving.on(reaches.load(document), deploy=False)
    assert [node.on_mesh for node in move.nodes] == [True, False, True]
    assert "NeedsLogin" in move.nodes[1].note


def test_services_stay_where_the_nodes_do_not_hear_each_other(world, document):
    world.pings = False
    move = moving.on(reaches.load(document), deploy=False)
    assert all(node.on_mesh for node in move.nodes)
    assert not move.services
    assert "requester" in move.services_note


def test_what_has_moved_stays_on_the_mesh_while_a_node_is_away(world, document, cluster):
    """Nobody but `mesh off` opens the others to the plain network again."""
    moving.on(reaches.load(document), deploy=False)
    world.answers = world.answers - {MESH["gate-2"]}
    move = moving.on(reaches.load(document), deploy=False)
    assert not move.services
    assert "gate-2" in move.services_note
    now = overlay.applied(cluster)
    assert now.node("gate-2").address == "192.0.2.22"
    assert now.requester.peer_address == MESH["office"]
    assert inventory.groups(load.load_path(document))[0][0][1]["shoal_mesh_services"] is True


def test_a_site_is_not_deployed_in_the_open_unless_that_was_agreed(world, document, cluster):
    world.tun = False
    with pytest.raises(ShoalError) as caught:
        moving.on_before_site(reaches.load(document))
    assert "without a network device of the mesh: office, gate-1, gate-2" in str(caught.value)
    assert "--plain-services" in str(caught.value)
    moving.on(reaches.load(document), deploy=False, plain_services=True)
    said = []
    moving.on_before_site(reaches.load(document), said.append)
    assert any("off the mesh" in line and "as agreed" in line for line in said)
    assert overlay.applied(cluster).requester.peer_address == "192.0.2.10"
    # It was agreed for later, too, until it is taken back.
    moving.on(reaches.load(document), deploy=False, plain_services=False)
    with pytest.raises(ShoalError):
        moving.on_before_site(reaches.load(document))


def test_a_site_goes_onto_the_mesh_by_itself_unless_it_was_taken_off(world, document, cluster):
    moving.on_before_site(reaches.load(document))
    assert world.deploys == ["mesh"]
    assert overlay.applied(cluster).requester.address == MESH["office"]
    moving.off(reaches.load(document), deploy=False)
    moving.on_before_site(reaches.load(document))
    assert world.deploys == ["mesh"]
    clusters.save(cluster.model_copy(update={"mesh": "none"}), document)
    moving.on_before_site(reaches.load(document))
    assert world.deploys == ["mesh"]


def test_a_part_is_taken_off_and_the_rest_stays_as_it_is(world, document, cluster):
    moving.on(reaches.load(document), deploy=False)
    moving.off(reaches.load(document), only=["gate-2"], deploy=False)
    now = overlay.applied(cluster)
    assert now.node("gate-2").address == "192.0.2.22"
    assert now.node("gate-1").address == MESH["gate-1"]
    note = overlay.load("depot")
    assert note.wanted
    assert note.services
    moving.on(reaches.load(document), only=["gate-2"])
    assert world.deploys == ["mesh gate-2"]
    assert overlay.applied(cluster).node("gate-2").address == MESH["gate-2"]


def test_after_a_teardown_the_next_deploy_goes_onto_the_mesh_again(world, document, cluster):
    moving.on(reaches.load(document), deploy=False)
    moving.off(reaches.load(document), deploy=False, wanted=True)
    note = overlay.load("depot")
    assert note.wanted
    assert not note.services
    assert note.nodes == {}


def test_nodes_that_are_no_more_are_forgotten(cluster):
    overlay.forget("depot", ["gate-1"])
    assert overlay.load("depot") is None
    overlay.save(full(cluster))
    overlay.forget("depot", ["gate-1"])
    assert set(overlay.load("depot").nodes) == {"office", "gate-2"}


def test_a_move_that_would_lose_a_node_is_not_made(world, document, cluster, monkeypatch):
    world.joined = {"gate-1": MESH["gate-1"], "office": MESH["office"]}
    real = moving.probe

    def cut_off_by_the_move(cluster, nodes):
        # Once others are on the mesh, the one that is left does not answer any more.
        lost = any(node.first_address for node in cluster.nodes)
        return {
            name: "no way" if lost and not cluster.node(name).address.startswith("100.") else why
            for name, why in real(cluster, nodes).items()
        }

    monkeypatch.setattr(moving, "probe", cut_off_by_the_move)
    before = overlay.applied(cluster).nodes
    with pytest.raises(ShoalError) as caught:
        moving.on(reaches.load(document), deploy=False)
    assert "gate-2" in str(caught.value)
    assert overlay.applied(cluster).nodes == before


def test_back_again(world, document, cluster):
    moving.on(reaches.load(document), deploy=False)
    move = moving.off(reaches.load(document))
    assert world.deploys == ["mesh_off"]
    assert not any(node.on_mesh for node in move.nodes)
    assert overlay.applied(cluster).nodes == cluster.nodes
    assert overlay.load("depot").wanted is False


def test_who_does_not_answer_at_the_first_address_stays_on_the_mesh_unless_forced(world, document, cluster):
    moving.on(reaches.load(document), deploy=False)
    world.answers = world.answers - {"192.0.2.21"}
    move = moving.off(reaches.load(document), deploy=False)
    assert [node.on_mesh for node in move.nodes] == [False, True, False]
    assert overlay.applied(cluster).node("gate-1").address == MESH["gate-1"]
    moving.off(reaches.load(document), force=True, deploy=False)
    assert overlay.applied(cluster).nodes == cluster.nodes


def test_a_cluster_without_a_mesh_is_refused(cluster, tmp_path):
    path = tmp_path / "none.json"
    clusters.save(cluster.model_copy(update={"mesh": "none"}), path)
    with pytest.raises(UsageError):
        moving.on(reaches.load(path))


def test_settings_hold_no_key_and_nothing_of_other_roles():
    assert settings(["tailscale_port=41642", 'tailscale_tags=["tag:a"]', "tailscale_hostname=a=b"]) == {
        "tailscale_port": 41642,
        "tailscale_tags": ["tag:a"],
        "tailscale_hostname": "a=b",
    }
    with pytest.raises(UsageError):
        settings(["tailscale_port"])
    with pytest.raises(UsageError) as caught:
        moving.checked_settings({"docker_mtu": 1, "tailscale_environment": {"A": "tskey-auth-SECRET"}})
    assert len(caught.value.faults) == 2
    assert "SECRET" not in str(caught.value)


def test_a_membership_is_read_from_the_daemons_words():
    text = json.dumps({"BackendState": "Running", "TUN": True, "Self": {"Online": True, "DNSName": "a.mesh.test.",
                       "TailscaleIPs": ["100.64.0.9", "fd7a::9"]}})  # fmt: skip
    assert members._read(text) == Membership("Running", True, "a.mesh.test", "100.64.0.9", True)
    assert not members._read("").joined


def policy_document(text):
    lines = [line for line in text.splitlines() if not line.strip().startswith("//")]
    return json.loads(re.sub(r",(\s*[}\]])", r"\1", "\n".join(lines)))


def test_the_sample_policy_lets_through_what_is_needed_and_nothing_else():
    document = policy_document(policy.render(owners=["group:ops"]))
    assert set(document["tagOwners"]) == {"tag:shoal-client", "tag:shoal-requester", "tag:shoal-compute"}
    assert document["tagOwners"]["tag:shoal-compute"] == ["group:ops"]
    allowed = {(rule["src"][0], rule["dst"][0]) for rule in document["acls"]}
    assert allowed == {
        ("tag:shoal-client", "tag:shoal-requester:22"),
        ("tag:shoal-client", "tag:shoal-compute:22"),
        ("tag:shoal-requester", "tag:shoal-compute:22,6001"),
        ("tag:shoal-compute", "tag:shoal-requester:4222,5000"),
    }
    assert {rule["action"] for rule in document["acls"]} == {"accept"}
