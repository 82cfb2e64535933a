"""False secrets everywhere, every way to run a deploy, and not one of them in what comes out.

The same on real machines, with processes, journals and containers, is in tests/lab/mesh/test_mesh_canaries.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from canaries import ENVIRONMENT, MARKS, MESH_FILE_KEY, files_below, leaks, plant
from role_harness import CLUSTER

from shoal.cluster import document as clusters
from shoal.paths import repository

INVENTORY = """
import json as _json, os as _os
from contextlib import nullcontext as _null

import pyinfra.api.inventory as _inventory
from pyinfra.connectors.fake import FakeConnector as _Fake
from shoal.deploys import lock as _lock
from shoal.deploys.inventory import hosts as _hosts

_real = _inventory.get_execution_connectors
_inventory.get_execution_connectors = lambda: {**_real(), "openssh": _Fake}
# Nor is there anything to lock.
_lock.held = lambda *_, **__: _null(_lock.Lock({}))
requester, compute = _hosts("onprem")
for _name, _data in [*requester, *compute]:
    _data.update(fake_delay=0, fake_delay_jitter=0, fake_responses=_json.loads(_os.environ["FAKE_ANSWERS"]),
                 **_json.loads(_os.environ["FAKE_DATA"]))
"""
STATES = Path(__file__).parent / "tailscale_states"


def answers(state: str | None) -> dict[str, list[str]]:
    """What the fake machines say of their tailnet; keys in it are masked there already (see test_role_tailscale)."""
    if state is None:
        return {}
    document = json.loads((STATES / f"{state}.json").read_text())
    return {
        "cat /run/shoal-tailscale-up.said": ["backend error: invalid key (key)", "exit code 1"],
        "tailscale status": [json.dumps(document), "---prefs", "{}"],
    }


@pytest.fixture
def world(tmp_path):
    state = tmp_path / "state"
    plant(state, "depot")
    binaries = tmp_path / "binaries"
    binaries.mkdir()
    for name in ("tailscale", "tailscaled"):
        (binaries / name).write_text(name)
    key_file = tmp_path / "key"
    key_file.touch(mode=0o600)
    key_file.write_text(MESH_FILE_KEY)
    clusters.save(CLUSTER.model_copy(update={"mesh": "tailscale"}), tmp_path / "cluster.json")
    (tmp_path / "site.json").write_text(json.dumps({"cluster": "depot"}))
    (tmp_path / "fake.py").write_text(INVENTORY)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_TAILSCALE")}
    environment |= {
        **ENVIRONMENT,
        "SHOAL_CLUSTER": str(tmp_path / "cluster.json"),
        "SHOAL_SITE": str(tmp_path / "site.json"),
        "SHOAL_STATE": str(state),
        "HOME": str(tmp_path / "home"),
    }

    def run(*command: str, tailnet: str | None = None, source: str = "environment"):
        data: dict[str, object] = {
            "tailscale_source": "binaries", "tailscale_binaries": str(binaries), "tailscale_join_timeout_s": 1
        }  # fmt: skip
        own = dict(environment)
        if source != "environment":
            own = {name: value for name, value in own.items() if not name.startswith("SHOAL_TAILSCALE")}
            script = f"printf 'tskey-auth-%sARYmesh03-f00dfeedf00dfeed' CAN; echo {MARKS[0][:3]} >&2"
            data |= (
                {"tailscale_authkey_file": str(key_file)}
                if source == "file"
                else {"tailscale_authkey_command": ["sh", "-c", script]}
            )
        own |= {"FAKE_ANSWERS": json.dumps(answers(tailnet)), "FAKE_DATA": json.dumps(data)}
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=repository(), env=own, capture_output=True, text=True, check=False,
            timeout=100,
        )  # fmt: skip
        kept = (key_file, state / "secrets" / "depot.json")
        found = leaks({"stdout": done.stdout, "stderr": done.stderr, **files_below(tmp_path, allowed=kept)})
        assert found == {}
        return done

    run.inventory = str(tmp_path / "fake.py")
    run.document = str(tmp_path / "cluster.json")
    return run


WAYS = {
    "plain": ("-y",),
    "dry": ("--dry",),
    "dry, JSON": ("--dry", "--json"),
    "JSON": ("-y", "--json"),
    "verbose": ("-y", "-vvv"),
    "debug": ("-y", "-vvv", "--debug"),
    "diff": ("-y", "--diff", "-vvv"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", ["environment", "file", "command"])
def test_a_deploy_that_joins_and_fails_shows_no_secret(world, way, source):
    done = world(
        "shoal.deploys.process", world.inventory, "deploy/mesh.py", *WAYS[way], tailnet="after-logout", source=source
    )
    # It did come as far as the key: the deploy fails, for the fake machines never join.
    assert "Join the tailnet" in done.stdout + done.stderr
    if "--dry" not in WAYS[way]:
        assert done.returncode != 0


@pytest.mark.parametrize(
    "tailnet", ["fresh-wrong-key", "running-bad-key-tried", "needs-machine-auth", "mini-running-edge"]
)
def test_no_state_of_the_tailnet_shows_a_secret(world, tailnet):
    world("shoal.deploys.process", world.inventory, "deploy/mesh.py", "-y", "-vvv", tailnet=tailnet)


@pytest.mark.parametrize("deploy", ["site", "teardown", "mesh_off"])
def test_the_other_deploys_show_no_secret(world, deploy):
    for way in ("dry, JSON", "debug"):
        world("shoal.deploys.process", world.inventory, f"deploy/{deploy}.py", *WAYS[way])


def test_the_inventory_shows_no_secret(world):
    done = world("shoal.deploys.process", world.inventory, "debug-inventory", "--json")
    assert "gate-1" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("cluster", "show", "DOCUMENT", "--json"),
        ("mesh", "on", "--cluster", "DOCUMENT", "--no-deploy"),
        ("mesh", "on", "--cluster", "DOCUMENT", "--set", "tailscale_hostname=x", "--set", "tailscale_nonsense=1"),
        ("mesh", "status", "--cluster", "DOCUMENT", "--json"),
        ("mesh", "off", "--cluster", "DOCUMENT", "--no-deploy"),
        ("run", "--cluster", "DOCUMENT", "--engine", "ssh", "--weights", "none.onnx"),
        ("site", "prepare", "--cluster", "DOCUMENT", "--videos", "none"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_the_command_shows_no_secret_whether_it_ends_well_or_not(world, words, tmp_path):
    # No machine answers: the failure paths are what is looked at.
    document = json.loads(Path(world.document).read_text())
    for node in document["nodes"]:
        node["address"] = "127.0.0.1"
        node["port"] = {"office": 1, "gate-1": 2, "gate-2": 3}[node["name"]]
    Path(world.document).write_text(json.dumps(document))
    done = world("shoal", *(world.document if word == "DOCUMENT" else word for word in words))
    assert "Traceback" not in done.stderr


def test_a_key_given_as_a_setting_is_refused_and_not_repeated(world):
    from canaries import MESH_KEY

    done = world("shoal", "mesh", "on", "--cluster", world.document, "--set", f"tailscale_hostname={MESH_KEY}")
    assert done.returncode == 2
    assert "holds a key" in done.stderr


def test_the_search_finds_what_it_looks_for(tmp_path):
    (tmp_path / "log").write_text(f"joined with {MESH_FILE_KEY}")
    assert leaks(files_below(tmp_path))
    assert leaks({"base64": "auth: Q0FOQVJZcmVnaXN0cnkxMA=="})
    assert leaks({"nothing": "tskey-auth-other"}) == {}
