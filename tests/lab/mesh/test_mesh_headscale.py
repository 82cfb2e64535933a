"""The same life on a headscale that is given: joining, a run, faults of keys, joining again, nothing left behind.

`SHOAL_HEADSCALE_BINARY` names its program (0.29 was tried); without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import Mesh
from headscale import OWNER, VARIABLE, Headscale
from mesh_commands import KNOCK, shoal
from tailnet import Client, Control, started, wait_for

from shoal.cluster import overlay
from shoal.errors import ShoalError
from shoal.mesh import policy
from shoal.site import document as site

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"no headscale: {VARIABLE} is not set"),
]

TAGS = {"requester": "tag:shoal-requester", "compute-1": "tag:shoal-compute", "compute-2": "tag:shoal-compute"}


def give(mesh: Mesh, **wanted: Any) -> None:
    """A key for each node, with the node's tag on it: headscale refuses tags that a machine asks for."""
    for node, tag in TAGS.items():
        give_text(mesh, node, headscale(mesh).key(**{"Tags": [tag], **wanted}))


def give_text(mesh: Mesh, node: str, key: str) -> None:
    path = Path(str(mesh.key_file).replace("{node}", node))
    path.touch(mode=0o600)
    path.write_text(key)


def headscale(mesh: Mesh) -> Headscale:
    return cast(Headscale, mesh.control)


@pytest.fixture(scope="module")
def hs(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The lab's machines, on no tailnet any more, a headscale, and the control machine on that."""
    folder = tmp_path_factory.mktemp("hs")
    note = overlay.path(mesh.first.name)
    before = note.read_text() if note.exists() else None
    note.unlink(missing_ok=True)
    mesh.forget_all()
    with (
        started(Control(mesh.gateway, folder)) as relay,
        started(Headscale(mesh.gateway, folder, relay)) as server,
        started(Client(folder, server)) as client,
    ):
        yield replace(
            mesh, control=server, client=client, key_file=folder / "{node}.key",
            settings={"tailscale_advertise_tags": False},
        )  # fmt: skip
    note.unlink(missing_ok=True)
    if before is not None:
        note.write_text(before)


def test_the_sample_policy_needs_an_owner_that_headscale_knows(hs: Mesh) -> None:
    """The vendor's `autogroup:admin` is none; docs/mesh.md says so."""
    server = headscale(hs)
    path = server.folder / "other.hujson"
    path.write_text(policy.render(owners=[OWNER]))
    server.run("policy", "check", "--file", str(path))
    path.write_text(policy.render())
    with pytest.raises(AssertionError, match="autogroup:admin"):
        server.run("policy", "check", "--file", str(path))


def test_three_nodes_join_with_the_tags_of_their_keys(hs: Mesh) -> None:
    give(hs)
    move = hs.on()
    assert move.whole, move
    for node in hs.cluster.nodes:
        device = headscale(hs).node(node.address)
        assert device["tags"] == [TAGS[node.name]]
        assert node.peer_address == node.address
    for node in TAGS:
        give_text(hs, node, "hskey-auth-not-asked-for-any-more")
    assert hs.deploy("mesh").changed == 0


def test_a_site_and_a_run_over_it_and_the_server_may_go_away(hs: Mesh, tmp_path: Path) -> None:
    site.prepare(hs.cluster)
    done = shoal("site", "deploy", "--cluster", str(hs.document), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    again = shoal("site", "deploy", "--cluster", str(hs.document), "--json")
    assert [entry["name"] for entry in json.loads(again.stdout)["operations"] if entry["changed"]] == []
    # The sample policy is in force here, in headscale's own eyes.
    requester, two = (hs.cluster.node(name).peer_address for name in ("requester", "compute-2"))
    assert hs.sh("compute-1", KNOCK.format(two, 22)) == "closed"
    assert hs.sh("compute-1", KNOCK.format(requester, 22)) == "closed"
    assert hs.sh("compute-1", KNOCK.format(requester, 5000)) == "open"
    server = headscale(hs)
    gone = threading.Timer(3, server.stop)
    gone.start()
    try:
        ran = shoal("run", "--cluster", str(hs.document), "--stride", "10", "--json", cwd=tmp_path)
        gone.join()
        assert ran.returncode == 0, ran.stderr[-3000:]
        assert hs.deploy("mesh").changed == 0
    finally:
        gone.join()
        server.start()
    wait_for("the nodes to be back", lambda: all(node.get("online") for node in server.nodes()), timeout_s=180)


def test_a_node_whose_state_was_wiped_joins_again(hs: Mesh) -> None:
    give(hs)
    hs.forget("compute-2")
    assert hs.sh("compute-2", "hostname", first=True) == "compute-2"
    assert hs.on().whole
    assert hs.sh("compute-2", "hostname") == "compute-2"


@pytest.mark.parametrize(
    ("kind", "word"),
    [("used", "key used"), ("expired", "key expired"), ("unknown", "key invalid"), ("tags", "tag denied")],
)
def test_each_reason_has_its_own_error(hs: Mesh, kind: str, word: str) -> None:
    hs.by_first_addresses()
    hs.forget("compute-2")
    server = headscale(hs)
    knobs: dict[str, Any] = {"tailscale_join_timeout_s": 10}
    if kind == "used":
        key = server.key(Tags=["tag:shoal-compute"], Reusable=False)
        give_text(hs, "compute-2", key)
        hs.deploy("mesh", limit=("compute-2",))
        hs.forget("compute-2")
    elif kind == "expired":
        give_text(hs, "compute-2", server.key(Tags=["tag:shoal-compute"], ExpiresS=1))
        wait_for("the key's end", lambda: _over(server), timeout_s=20)
    elif kind == "unknown":
        give_text(hs, "compute-2", "hskey-auth-nobody-knows-me-at-all")
    else:
        give_text(hs, "compute-2", server.key(Tags=["tag:shoal-compute"]))
        knobs["tailscale_advertise_tags"] = True
    with pytest.raises(ShoalError) as caught:
        hs.deploy("mesh", limit=("compute-2",), **knobs)
    assert f"({word})" in str(caught.value)
    assert "What to do" in str(caught.value)
    assert "hskey" not in str(caught.value)


def _over(server: Headscale) -> bool:
    key = json.loads(server.run("preauthkeys", "list", "-o", "json"))[-1]
    return datetime.now(UTC).timestamp() > float(key["expiration"]["seconds"]) + 0.5


def test_an_expired_tagged_node_is_told_from_a_bad_key_and_healed_as_told(hs: Mesh) -> None:
    give(hs)
    assert hs.on().whole
    server = headscale(hs)
    device = server.node(hs.cluster.node("compute-2").address)
    server.run("nodes", "expire", "--identifier", str(device["id"]))
    wait_for("the expiry", lambda: "NeedsLogin" in hs.sh("compute-2", "tailscale status --json", first=True))
    hs.by_first_addresses()
    with pytest.raises(ShoalError) as caught:
        hs.deploy("mesh", limit=("compute-2",), tailscale_join_timeout_s=10)
    assert "(node expired)" in str(caught.value)
    assert "nodes delete" in str(caught.value)
    server.run("nodes", "delete", "--identifier", str(device["id"]), "--force")
    hs.sh("compute-2", "tailscale logout; true", first=True)
    assert hs.on().whole


def test_teardown_leaves_no_device_behind(hs: Mesh) -> None:
    done = shoal("site", "teardown", "--cluster", str(hs.document))
    assert done.returncode == 0, done.stderr
    wait_for(
        "the devices to go",
        lambda: not any(node["name"] in TAGS or node["given_name"] in TAGS for node in headscale(hs).nodes()),
        timeout_s=150,
    )
