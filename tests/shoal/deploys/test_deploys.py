"""Running a deploy from the control side: what is refused first, how the log is read, how failures are told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster, Node
from shoal.deploys import run as deploys
from shoal.deploys.log import Log
from shoal.errors import Exit, ShoalError, UsageError

LOG = """\
--> Connecting to hosts...
    [gate-1] Connected
    [gate-2]  Connected
--> Beginning operation run...
--> Starting operation: docker | Install the engine
    [gate-1] Success
    [gate-2]  Error response from daemon: no
    [gate-2]  second line
    [gate-2]  Error: executed 0 commands

--> Starting run once operation: videos | Place the clips (x=1)
    [gate-1] No changes
--> Results:
    Operation    Hosts
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("SHOAL_SITE", raising=False)


@pytest.fixture
def document(tmp_path) -> Path:
    """A cluster where nobody listens."""
    nodes = (
        Node(name="office", roles=("requester",), address="127.0.0.1", port=1, cluster_address="10.0.0.1"),
        Node(name="gate-1", roles=("compute",), address="127.0.0.1", port=2),
    )
    path = tmp_path / "cluster.json"
    clusters.save(Cluster(name="depot", substrate="onprem", nodes=nodes), path)
    return path


def fed(text: str) -> tuple[Log, list[str]]:
    said: list[str] = []
    log = Log(said.append)
    for line in text.splitlines():
        log.feed(line)
    return log, said


def test_log_is_condensed():
    log, said = fed(LOG)
    assert list(log.durations_s) == ["docker | Install the engine", "videos | Place the clips"]
    assert [line.partition(" (")[0] for line in said] == [
        "  gate-1: docker | Install the engine: changed",
        "  gate-2: docker | Install the engine: FAILED",
    ]


def test_failed_host_has_its_operation_and_last_words():
    log, _ = fed(LOG)
    assert list(log.errors) == ["gate-2"]
    assert log.errors["gate-2"].splitlines()[0] == "docker | Install the engine"
    assert "second line" in log.errors["gate-2"]


def test_host_that_cannot_be_reached():
    log, _ = fed("--> Connecting to hosts...\n    [gate-1] Connected\n    [gate-2] Could not connect (timed out)\n")
    assert log.errors == {"gate-2": "Could not connect (timed out)"}


def test_refusal_is_told_without_the_place_in_our_code():
    log, _ = fed(
        "--> pyinfra error in /a b/roles/x.py line 20: not begun (2 faults)\n      - gate-1: a: b\n      - c: d\n"
    )
    assert log.refusal == "not begun (2 faults)\n      - gate-1: a: b\n      - c: d"


def test_json_is_read_defensively():
    assert deploys.read_operations("", dry=False) == ()
    assert deploys.read_operations("No hosts remaining!", dry=False) == ()
    assert deploys.failed_hosts('{"plan": [], "results": null}') == set()
    entry = {"name": "a | b", "success": ["x"], "error": [], "no_change": ["y", "z"]}
    output = json.dumps({"plan": [], "results": {"operations": [entry], "failed_hosts": ["q"]}})
    (operation,) = deploys.read_operations(output, dry=False, durations_s={"a | b": 1.5})
    assert (operation.changed, operation.unchanged, operation.duration_s) == (("x",), ("y", "z"), 1.5)
    assert deploys.failed_hosts(output) == {"q"}


def test_dry_runs_are_read_from_the_plan():
    entry = {"name": "a", "hosts_with_change": ["x"], "hosts_with_conditional_change": ["y"]}
    (operation,) = deploys.read_operations(json.dumps({"plan": [entry], "results": None}), dry=True)
    assert operation.changed == ("x", "y")


def test_values_are_handed_over_as_json():
    command = deploys.command_line(
        "lab", Path("deploy/site.py"), limit=("gate-*",), data={"version": "1.10", "on": True, "list": ["a"]}, dry=False
    )
    assert command[command.index("--limit") + 1] == "gate-*"
    assert {'version="1.10"', "on=true", 'list=["a"]'} <= set(command)


def test_a_limit_that_matches_nothing_starts_nothing(document):
    with pytest.raises(UsageError, match="matches no host"):
        deploys.run_deploy(reaches.load(document), "site", limit=("nosuch",))


def test_an_unknown_deploy_names_those_there_are(document):
    with pytest.raises(UsageError, match="teardown"):
        deploys.run_deploy(reaches.load(document), "nosuch")


def test_all_hosts_out_of_reach(document):
    said: list[str] = []
    with pytest.raises(ShoalError, match="failed on all hosts") as caught:
        deploys.run_deploy(reaches.load(document), "teardown", say=said.append, timeout_s=120)
    assert {fault.where for fault in caught.value.faults} == {"office", "gate-1"}
    assert all("connect" in fault.what.lower() for fault in caught.value.faults)


def test_a_deploy_that_does_not_end_is_ended(tmp_path):
    log = Log(lambda line: None)
    marker = tmp_path / "alive"
    script = f"import time, pathlib; pathlib.Path({str(marker)!r}).touch(); time.sleep(600)"
    started = time.monotonic()
    with deploys._alone("depot", log.say, started + 5) as lock:
        code, _ = deploys._run(
            [sys.executable, "-c", script],
            {},
            log,
            inherit=(lock,),
            deadline=time.monotonic() + 3,
            stop=threading.Event(),
        )
    assert code is None
    assert marker.exists()
    assert time.monotonic() - started < 60


def test_two_deploys_of_a_cluster_do_not_run_at_once():
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with deploys._alone("depot", said.append, time.monotonic() + 60):
            order.append("second")

    with deploys._alone("depot", said.append, time.monotonic() + 60):
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 30
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
    assert "waiting" in said[0]


def test_refusals_have_the_exit_code_of_bad_usage():
    log, _ = fed("--> pyinfra error in x.py line 2: no\n")
    assert deploys.failure("deploy 'site'", 1, log, set(), {"a"}).exit_code is Exit.USAGE
    silent = deploys.failure("deploy 'site'", 7, fed("something odd\n")[0], set(), {"a"})
    assert "exit code 7" in str(silent)
    assert "something odd" in str(silent)


def test_the_control_side_never_loads_pyinfras_command():
    # It patches the whole process for its event loop.
    loaded = "[name for name in sys.modules if name.startswith(('pyinfra', 'gevent'))]"
    script = f"import sys, shoal.deploys, shoal.cli.site; print({loaded})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
