"""Deploys of the engine: a knob restarts what it concerns, nothing in mid-run without force, an upgrade in order."""

from __future__ import annotations

import base64
import hashlib
import time
from pathlib import Path

import pytest
from engine_site import MID_RUN, Site

from roles.bacalhau.config import PROGRAM
from roles.bacalhau.facts import FILES
from shoal.cluster import reach as reaches
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import secrets
from shoal.errors import ShoalError

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

ONE, TWO = "compute-1", "compute-2"
UNITS = {"requester": "bacalhau-orchestrator", ONE: "bacalhau-compute", TWO: "bacalhau-compute"}


def starts(site: Site) -> dict[str, int]:
    show = "systemctl show -p ExecMainStartTimestampMonotonic --value"
    return {node: int(site.on(node, f"{show} {unit}")) for node, unit in UNITS.items()}


def restarted(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {node for node in UNITS if before[node] != after[node]}


def test_a_knob_restarts_the_services_it_concerns(whole_site: Site) -> None:
    before = starts(whole_site)
    whole_site.deploy(bacalhau_heartbeat_s=14)
    after = starts(whole_site)
    assert restarted(before, after) == {ONE, TWO}
    whole_site.deploy(bacalhau_heartbeat_s=14, bacalhau_web_ui=True)
    assert restarted(after, starts(whole_site)) == {"requester"}


ASK = """python3 - <<'END'
import json, urllib.error, urllib.request
text = open("/etc/bacalhau/compute.yaml").read()
own = json.loads("".join(line for line in text.splitlines(True) if line[0] != "#"))["API"]["Auth"]["Users"][0]["APIKey"]
for key in (own, "no key at all, but long enough", "%s"):
    headers = {"Authorization": "Bearer " + key}
    asked = urllib.request.Request("http://127.0.0.1:1235/api/v1/agent/node", headers=headers)
    try:
        print(urllib.request.urlopen(asked, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
END"""


def test_a_compute_node_holds_no_key_of_the_orchestrators_api(whole_site: Site) -> None:
    tokens = secrets.load(whole_site.lab.name)
    assert tokens is not None
    keys = [key.get_secret_value() for key in (tokens.control_key, tokens.reader_key)]
    for node in (ONE, TWO):
        kept = whole_site.on(node, "cat /etc/bacalhau/*")
        assert tokens.node_token.get_secret_value() in kept
        assert not [key for key in keys if key in kept]
    assert all(key in whole_site.on("requester", "cat /etc/bacalhau/orchestrator.yaml") for key in keys)
    # Its own API is as closed as before.
    assert whole_site.on(ONE, ASK % keys[0]).split() == ["200", "401", "401"]


def test_nothing_is_touched_in_mid_run_without_force(whole_site: Site) -> None:
    # Long enough for two deploys to come to the engine while it goes on, on a busy machine too.
    run = whole_site.run("--stride", "1", "--img", "640", quick=False)
    run.until(rf"{ONE}: .*{MID_RUN}")
    before = starts(whole_site)
    config = whole_site.on(ONE, "sha256sum /etc/bacalhau/compute.yaml")
    with pytest.raises(ShoalError) as refused:
        whole_site.deploy(bacalhau_heartbeat_s=13, bacalhau_force=False)
    assert "has to be restarted" in str(refused.value)
    assert "Nothing was touched" in str(refused.value)
    assert whole_site.on(ONE, "sha256sum /etc/bacalhau/compute.yaml") == config
    with pytest.raises(ShoalError) as refused:
        whole_site.deploy(bacalhau_web_ui=True, bacalhau_force=False)
    assert f"shoal-{run.id}-a1" in str(refused.value)
    assert restarted(before, starts(whole_site)) == set()
    assert run.end() == 0, run.text
    assert run.attempts(ONE) == 1


def test_one_node_in_mid_run_keeps_the_whole_engine_as_it_is(whole_site: Site, tmp_path: Path) -> None:
    """The other node is idle and the orchestrator could be asked: neither gets the new program."""
    (binary,) = engines.choose("bacalhau", whole_site.lab.cluster).binaries
    program = tmp_path / "bacalhau"
    program.write_bytes(binary.path.read_bytes() + b"\0" * 4)
    sha256 = hashlib.sha256(program.read_bytes()).hexdigest()
    other = {binary.arch: {"path": str(program), "sha256": sha256, "version": "1.9.3"}}
    run = whole_site.run("--node", ONE, "--stride", "1", "--img", "640", quick=False)
    run.until(rf"{ONE}: .*{MID_RUN}")
    before = starts(whole_site)
    with pytest.raises(ShoalError) as refused:
        whole_site.deploy(bacalhau_programs=other, bacalhau_force=False)
    assert "Nothing was touched" in str(refused.value)
    # One reason is enough: the orchestrator has the job in hand, and the node its container.
    assert f"{TWO}: " in str(refused.value)
    assert "cannot be changed now" in str(refused.value)
    assert restarted(before, starts(whole_site)) == set()
    for node in UNITS:
        assert whole_site.on(node, "sha256sum /usr/local/lib/shoal/bacalhau").split()[0] == binary.sha256
    assert run.end() == 0, run.text
    assert run.attempts(ONE) == 1


def test_a_mistyped_key_is_found_by_asking_the_engine_itself(whole_site: Site) -> None:
    """The engine starts with such a file and says nothing: what the deploy asks is what finds it."""
    script = base64.b64encode((FILES / "check_config.py").read_bytes()).decode()
    ask = f"printf %s {script} | base64 -d | python3 - {PROGRAM} /root/mistyped.yaml; rm -f /root/mistyped.yaml"
    cases = {
        "c['Compute']['Hearbeat']=c['Compute'].pop('Heartbeat')": "Compute.Hearbeat.Interval",
        "c['Compute']['AllowListedLocalPath']=['/etc:rw']": "Compute.AllowListedLocalPath",
        "pass": "",
    }
    for change, key in cases.items():
        told = f"{key}: the engine knows no such key" if key else ""
        program = (
            "import json;t=open('/etc/bacalhau/compute.yaml').read().splitlines(True);"
            "c=json.loads(''.join(l for l in t if l[0]!='#'));" + change + ";"
            "open('/root/mistyped.yaml','w').write(json.dumps(c))"
        )
        assert whole_site.on(ONE, f'python3 -c "{program}" && {ask}').strip() == told


def test_an_upgrade_begins_with_the_orchestrator(whole_site: Site, tmp_path: Path) -> None:
    """Another program (the same one with bytes behind its end, which it does not mind) on every machine."""
    (binary,) = engines.choose("bacalhau", whole_site.lab.cluster).binaries
    program = tmp_path / "bacalhau"
    program.write_bytes(binary.path.read_bytes() + b"\0" * 8)
    program.chmod(0o755)
    sha256 = hashlib.sha256(program.read_bytes()).hexdigest()
    before = starts(whole_site)
    whole_site.deploy(bacalhau_programs={binary.arch: {"path": str(program), "sha256": sha256, "version": "1.9.3"}})
    after = starts(whole_site)
    assert restarted(before, after) == set(UNITS)
    # One kernel under all machines of the lab, so their clocks compare.
    assert after["requester"] < min(after[ONE], after[TWO])
    for node in UNITS:
        assert whole_site.on(node, "sha256sum < /usr/local/lib/shoal/bacalhau").split()[0] == sha256
    # A run's record has what the machines run, which is not what this machine's cache has.
    run = whole_site.run()
    assert run.end() == 0, run.text
    (program,) = run.record["engine_programs"]
    assert (program["sha256"], program["origin"]) == (sha256, "unknown")
    assert sorted(program["runs_on"]) == sorted(UNITS)
    assert program["version"] == "1.9.3"


def test_data_of_a_newer_release_stop_the_deploy_before_anything(whole_site: Site) -> None:
    path = "/var/lib/bacalhau/compute/system_metadata.yaml"
    whole_site.on(TWO, f"sed -i 's/^RepoVersion:.*/RepoVersion: 6/' {path}")
    try:
        before = starts(whole_site)
        with pytest.raises(ShoalError, match="downgrade is not possible"):
            whole_site.deploy(bacalhau_heartbeat_s=12)
        assert restarted(before, starts(whole_site)) == set()
        assert "12s" not in whole_site.on(ONE, "cat /etc/bacalhau/compute.yaml")
    finally:
        whole_site.on(TWO, f"sed -i 's/^RepoVersion:.*/RepoVersion: 5/' {path}")


ASKS_SELDOM = (
    "journalctl -u bacalhau-compute --since -10min -o cat --no-pager | grep -Ec 'backoff.*=(1m[0-9]|2m)' || true"
)
LOST_WITHIN_S = 500
"""The pauses double from a second or so: the one of a minute and more comes after some three minutes."""


def test_the_first_deploy_after_a_lost_requester(whole_site: Site, seen: list[str]) -> None:
    """Its orchestrator comes back with nothing, while compute services ask for it only every two minutes."""
    whole_site.on("requester", "systemctl stop bacalhau-orchestrator")
    whole_site.on("requester", "find /var/lib/bacalhau/orchestrator -mindepth 1 -delete; rm -f /etc/bacalhau/*")
    deadline = time.monotonic() + LOST_WITHIN_S
    while not all(int(whole_site.on(node, ASKS_SELDOM)) for node in (ONE, TWO)):
        assert time.monotonic() < deadline, whole_site.on(ONE, "journalctl -u bacalhau-compute -n 20 --no-pager")
        time.sleep(2)
    begun = time.monotonic()
    document = str(whole_site.lab.document)
    done = whole_site.shoal("site", "deploy", "--engine", "bacalhau", "--cluster", document)
    assert done.returncode == 0, done.stderr
    seen.append(f"the first deploy ended with 0 after {time.monotonic() - begun:.0f} s")
    run = whole_site.run()
    assert run.end() == 0, run.text


def test_removing_takes_orphans_along(whole_site: Site) -> None:
    """A container whose service was killed belongs to nobody; `remove` finds it by the engine's own label."""
    run = whole_site.run("--attempts", "1")
    run.until(rf"{TWO}: .*{MID_RUN}")
    run.kill()
    whole_site.on(TWO, "systemctl kill --signal=KILL bacalhau-compute; systemctl stop bacalhau-compute")
    orphans = "docker ps --quiet --filter label=bacalhau-executor=bacalhau-compute-2_node"
    assert whole_site.on(TWO, orphans)
    deploys.run_deploy(reaches.load(whole_site.lab.document), "teardown", limit=[TWO], data={"teardown_docker": False})
    assert whole_site.on(TWO, f"{orphans} --all") == ""
    assert whole_site.on(TWO, "ls /etc/bacalhau /var/lib/bacalhau 2>/dev/null; true") == ""
    assert run.id in whole_site.on(TWO, "ls /var/lib/shoal/runs")  # results stay
