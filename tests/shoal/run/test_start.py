"""Runs on stand-in nodes: what is refused, what becomes of each node, and how a run is taken up again."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_nodes import IMAGE, FakeNodes, deadline, outcomes

from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau.release import Binary
from shoal.engines.choice import Choice
from shoal.engines.protocol import Execution, Handle, Running, State
from shoal.engines.ssh import SshRunner
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.jobs.spec import JobSpec
from shoal.results import fetch as results
from shoal.results import record as runs
from shoal.results.record import Outcome
from shoal.run import follow
from shoal.run import reattempt as healing
from shoal.run import start as running
from shoal.run.carry_out import exit_code
from shoal.run.home import fetch_home
from shoal.run.resume import resume
from shoal.run.work import Happening


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    return FakeNodes.make(tmp_path, monkeypatch)


def wait_for(condition, what: str, limit_s: float = 15) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def home(node: str) -> Path:
    return runs.run_dir("r1") / node


def test_a_run_ends_whole_with_every_file_home(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c1", 'it\'s "ä"\n b.mp4')
    nodes.video("c2", "c.mp4", "slow")
    record = running.start(nodes.order(knobs={"conf": 0.4, "classes": "car,traffic light"}), nodes.tell)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.FINISHED}
    assert exit_code(record) is Exit.OK
    assert record.complete
    assert runs.load("r1") == record
    manifest = json.loads((home("c1") / "manifest.json").read_text())
    for entry in manifest["files"]:
        content = (home("c1") / entry["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert any("\n" in entry["path"] and "ä" in entry["path"] for entry in manifest["files"])
    assert record.nodes["c1"].fetched is not None
    assert record.nodes["c1"].fetched.files == len(manifest["files"]) == 4
    assert nodes.containers("c1") == nodes.containers("c2") == []
    assert record.image.reference == IMAGE
    assert "classes" in json.dumps(record.job)
    assert not (home("c1") / ".arriving").exists()


def test_weights_are_placed_where_they_are_missing(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    order = nodes.order()
    running.start(order, nodes.tell)
    for name in ("c1", "c2"):
        placed = nodes.path(name, "/var/lib/shoal/weights")
        assert [path.name for path in placed.iterdir()] == [f"{order.weights.sha256}.onnx"]
        assert (placed / f"{order.weights.sha256}.onnx").read_bytes() == b"model"
        assert (placed / f"{order.weights.sha256}.onnx").stat().st_mode & 0o777 == 0o644


def test_a_faulty_video_does_not_stop_the_others_and_is_an_incomplete_run(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "faulty")
    nodes.video("c1", "b.mp4")
    nodes.video("c2", "c.mp4")
    record = running.start(nodes.order(), nodes.tell)
    assert outcomes(record) == {"c1": Outcome.FAULTY_VIDEOS, "c2": Outcome.FINISHED}
    assert exit_code(record) is Exit.INCOMPLETE
    assert (home("c1") / "manifest.json").exists()
    again = resume("r1", nodes.cluster, nodes.tell)
    assert outcomes(again) == outcomes(record)
    assert "nothing is left to do" in nodes.told()


@pytest.mark.parametrize(
    ("how", "outcome", "words"),
    [
        ("oom", Outcome.OUT_OF_MEMORY, "ran out of memory (exit code 137)"),
        ("oom-unseen", Outcome.OUT_OF_MEMORY, "ran out of memory (exit code 137)"),
        ("docker-kill", Outcome.STOPPED, "somebody on the node ended the container"),
        ("kill", Outcome.FAILED, "killed (exit code 137): most often out of memory"),
        ("exit 5", Outcome.FAILED, "cannot use the weights (exit code 5)"),
    ],
)
def test_one_node_fails_the_other_finishes_and_resume_completes(
    nodes: FakeNodes, how: str, outcome: Outcome, words: str
) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c1", "b.mp4", how)
    nodes.video("c2", "c.mp4", "slow")
    record = running.start(nodes.order(), nodes.tell)
    assert outcomes(record) == {"c1": outcome, "c2": Outcome.FINISHED}
    assert words in record.nodes["c1"].attempts[0].message
    assert exit_code(record) is Exit.INCOMPLETE
    assert not home("c1").exists()
    record = resume("r1", nodes.cluster, nodes.tell)
    assert record.complete
    assert [attempt.number for attempt in record.nodes["c1"].attempts] == [1, 2]
    assert [attempt.number for attempt in record.nodes["c2"].attempts] == [1]
    assert record.job["Constraints"] == [{"Key": "name", "Operator": "in", "Values": ["c1", "c1_node"]}]
    assert record.job["Name"] == "shoal-r1-a2"


def test_a_second_automatic_attempt_heals(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "ATTEMPT_PAUSE_S", 0.1)
    nodes.video("c1", "a.mp4", "oom")
    nodes.video("c2", "b.mp4", "exit 5")
    record = running.start(nodes.order(attempts=2), nodes.tell)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.FAILED}
    assert len(record.nodes["c2"].attempts) == 1  # the same weights would be refused again


def test_a_node_that_is_down_is_named_and_completed_later(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4")
    nodes.down("c2")
    record = running.start(nodes.order(), nodes.tell)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.UNREACHABLE}
    assert "refused" in record.nodes["c2"].attempts[0].message
    told = [event for event in nodes.events if event.kind in (Happening.ENDED, Happening.LINE)]
    assert (told[0].node, told[0].outcome) == ("c2", Outcome.UNREACHABLE)  # said before anything started
    nodes.up("c2")
    assert resume("r1", nodes.cluster, nodes.tell, weights_path=nodes.weights()).complete


def test_unfit_nodes_do_not_hold_the_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch, compute=5)
    for number in (1, 2, 3):
        nodes.video(f"c{number}", "a.mp4")
    nodes.docker("c2", images={"other": "amd64"})
    nodes.docker("c3", down="Cannot connect to the Docker daemon")
    nodes.path("c5", "/videos").rmdir()
    record = running.start(nodes.order(), nodes.tell)
    assert outcomes(record) == {
        "c1": Outcome.FINISHED,
        "c2": Outcome.NOT_RUN,
        "c3": Outcome.NOT_RUN,
        "c4": Outcome.NO_VIDEOS,
        "c5": Outcome.NOT_RUN,
    }
    assert "is not on the node" in record.nodes["c2"].attempts[0].message
    assert "Cannot connect" in record.nodes["c3"].attempts[0].message
    assert "no folder /videos" in record.nodes["c5"].attempts[0].message


def test_without_a_single_fit_node_nothing_is_left_behind(nodes: FakeNodes) -> None:
    nodes.down("c2", "No ED25519 host key is known for 10.0.0.12 and you have requested strict checking.\n")
    with pytest.raises(ShoalError) as raised:
        running.start(nodes.order(), nodes.tell)
    assert {fault.where: fault.what for fault in raised.value.faults}["c1"] == "there is no file under /videos"
    assert "host key is not known" in str(raised.value)
    assert raised.value.exit_code is Exit.FAILED
    assert not runs.runs_dir().exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [({"cpu": "5"}, "c1: the job asks for 5 CPUs, the node has 4"), ({"memory": "9GB"}, "asks for 9GB of memory")],
)
def test_more_than_a_node_has_is_refused_with_the_figure(nodes: FakeNodes, given: dict[str, str], words: str) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    with pytest.raises(UsageError, match="asks for more than a node has") as raised:
        running.start(nodes.order(**given), nodes.tell)
    assert words in str(raised.value)
    assert len(raised.value.faults) == 2
    assert not runs.runs_dir().exists()


def test_the_limits_of_the_smallest_node_hold_unless_told(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    nodes.docker("c2", cpus=1, memory=1_000_000_000)
    record = running.start(nodes.order(), nodes.tell)
    assert (record.options["cpu"], record.options["memory"]) == ("0.8", "800MB")


def test_nodes_with_different_images_are_refused(nodes: FakeNodes) -> None:
    note = {"reference": "10.0.0.10:5000/shoal/detector:2", "digest": "sha256:" + "e" * 64}
    nodes.path("c2", "/var/lib/shoal/image.json").write_text(json.dumps(note))
    with pytest.raises(UsageError, match="do not have the same inference image") as raised:
        running.start(nodes.order(), nodes.tell)
    assert [fault.where for fault in raised.value.faults] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nodes": ("nobody",)}, "no node called 'nobody'"),
        ({"nodes": ("requester",)}, "has not the role 'compute'"),
        ({"targets": {"site": "moon"}}, "no compute node of cluster 'test' matches"),
        ({"run": "Run 1"}, "is not a run id"),
        ({"template": "no-such"}, "there is no job template"),
        ({"image": "--privileged"}, "is not a job that shoal can run"),
    ],
)
def test_bad_input_is_refused_before_anything(nodes: FakeNodes, given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        running.start(nodes.order(**given), nodes.tell)
    assert not runs.runs_dir().exists()


def test_only_nodes_with_the_label_are_expected(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    record = running.start(nodes.order(targets={"site": "harbour"}), nodes.tell)
    assert list(record.nodes) == ["c1"]
    assert record.complete


def test_the_time_limit_stops_the_container_and_resume_goes_on(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    waits = nodes.video("c1", "b.mp4", "wait")
    nodes.video("c2", "c.mp4")
    record = running.start(nodes.order(timeout_s=2), nodes.tell)
    assert outcomes(record) == {"c1": Outcome.TIMED_OUT, "c2": Outcome.FINISHED}
    assert record.nodes["c1"].attempts[0].message == "not done after 2 s, and stopped"
    waits.with_suffix(".go").touch()
    record = resume("r1", nodes.cluster, nodes.tell, timeout_s=60)
    assert record.complete
    assert "1 done already" in nodes.told()


def test_a_broken_connection_is_taken_up_again(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "slow")
    waits = nodes.video("c1", "b.mp4", "wait")
    other = nodes.video("c2", "c.mp4", "wait")  # ends after c1 is down, whichever node is the faster

    def tell(event) -> None:
        nodes.tell(event)
        if "done: 2 frames" in event.text and event.node == "c1" and not waits.with_suffix(".go").exists():
            nodes.down("c1", "Connection to 10.0.0.11 closed by remote host.\n")
            waits.with_suffix(".go").touch()
            other.with_suffix(".go").touch()
        if event.kind is Happening.FETCHED and event.node == "c2":
            nodes.up("c1")

    record = running.start(nodes.order(), tell)
    assert record.complete
    lines = [event.text for event in nodes.events if event.node == "c1" and event.kind is Happening.LINE]
    assert len(lines) == len(set(lines))


def test_a_node_that_stays_away_is_lost_and_its_work_is_found_later(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shoal.engines import ssh as ssh_runner

    monkeypatch.setattr(ssh_runner, "WATCH_S", 1)
    monkeypatch.setattr(ssh_runner, "RETRY_S", 0.2)
    waits = nodes.video("c1", "a.mp4", "wait")
    nodes.video("c2", "b.mp4")

    def tell(event) -> None:
        nodes.tell(event)
        if event.kind is Happening.LINE and event.node == "c1" and not (nodes.node_root("c1") / "down").exists():
            nodes.down("c1")

    record = running.start(nodes.order(), tell, runner=ssh_runner.SshRunner(nodes.cluster, patience_s=2))
    assert outcomes(record) == {"c1": Outcome.UNREACHABLE, "c2": Outcome.FINISHED}
    assert "the container may go on" in record.nodes["c1"].attempts[0].message
    nodes.up("c1")
    waits.with_suffix(".go").touch()
    record = resume("r1", nodes.cluster, nodes.tell)
    assert record.complete
    assert len(record.nodes["c1"].attempts) == 1  # the container was adopted, none was started beside it
    assert nodes.containers("c1") == []


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), UsageError("there is no file /key"), ValueError("not an answer")]
)
def test_a_fault_here_never_leaves_a_run_waiting(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, error: Exception, lasting: bool
) -> None:
    from shoal.engines import ssh as ssh_runner

    monkeypatch.setattr(ssh_runner, "RETRY_S", 0.05)
    lost = lasting or isinstance(error, ValueError)
    waits = nodes.video("c1", "a.mp4", "wait" if lost else "slow")
    nodes.video("c2", "b.mp4")
    inspect, raised = SshRunner._inspect, []

    def failing(self: SshRunner, name: str, container: str, *, wait_s: float) -> Any:
        # What ends the watch is raised at each call: whichever thread asks first, the one that watches gets it, too.
        if name == "c1" and (lost or not raised):
            raised.append(error)
            raise error
        return inspect(self, name, container, wait_s=wait_s)

    monkeypatch.setattr(SshRunner, "_inspect", failing)
    monkeypatch.setattr("shoal.run.follow.results.PATIENCE_S", 0.0)
    runner = SshRunner(nodes.cluster, patience_s=0.3)
    with deadline(30, "the run waited for a thread that is gone"):
        record = running.start(nodes.order(), nodes.tell, runner=runner)
    assert record.nodes["c2"].outcome is Outcome.FINISHED
    waits.with_suffix(".go").touch()
    assert record.nodes["c1"].outcome is (Outcome.UNREACHABLE if lost else Outcome.FINISHED)
    if lost:
        assert str(error).rpartition("] ")[2] in record.nodes["c1"].attempts[0].message


START = """
import sys
sys.path[:0] = [{tests!r}, {top!r}]
from pathlib import Path
from fake_nodes import FakeNodes
from shoal.run import reattempt as healing, start as running
import pytest
with pytest.MonkeyPatch.context() as patch:
    nodes = FakeNodes(Path({root!r}), FakeNodes.make(Path({root!r}) / "unused", patch).cluster)
    patch.setenv("FAKE_NODES", {root!r})
    patch.setenv("SHOAL_RUNS", {root!r} + "/home")
    try:
        running.start(nodes.order(), lambda event: print(event.kind, event.node, event.text, flush=True))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def in_another_process(nodes: FakeNodes) -> subprocess.Popen[str]:
    here = Path(__file__).parents[1]
    script = START.format(tests=str(here), top=str(here.parent.parent), root=str(nodes.root))
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said")


def test_the_control_process_killed_in_mid_run_loses_nothing(nodes: FakeNodes) -> None:
    waits = {name: nodes.video(name, "a.mp4", "wait") for name in ("c1", "c2")}
    process = in_another_process(nodes)
    read_until(process, "frames/s")
    wait_for(lambda: all(nodes.containers(name) for name in waits), "containers")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert set(outcomes(runs.load("r1")).values()) == {Outcome.PENDING}
    waits["c1"].with_suffix(".go").touch()  # one ends while nobody watches
    manifest = nodes.path("c1", "/var/lib/shoal/runs/r1/manifest.json")
    wait_for(manifest.exists, "the container goes on without the control process")
    pids = [json.loads(path.read_text())["pid"] for path in nodes.root.glob("*/containers/*/container.json")]

    def tell(event) -> None:
        nodes.tell(event)
        if "adopted" in event.text and event.node == "c2":
            waits["c2"].with_suffix(".go").touch()

    record = resume("r1", nodes.cluster, tell)
    assert record.complete
    assert [len(node.attempts) for node in record.nodes.values()] == [1, 1]
    assert len(pids) == 2
    assert nodes.containers("c1") == nodes.containers("c2") == []


def test_interrupted_while_containers_are_started_it_says_what_to_do(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4")

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(SshRunner, "submit", interrupted)
        running.start(nodes.order(), nodes.tell)
    assert "interrupted; `shoal resume r1` goes on, and adopts what still runs" in nodes.told()
    assert outcomes(runs.load("r1")) == {"c1": Outcome.PENDING, "c2": Outcome.PENDING}
    assert resume("r1", nodes.cluster, nodes.tell).complete


GOES_ON = "`shoal resume r1` goes on, and adopts what still runs"


@pytest.mark.parametrize("error", [ShoalError("nobody answers"), RuntimeError("a fault")])
def test_whatever_ends_a_run_says_how_it_goes_on(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4")

    def failing(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patched, pytest.raises(type(error), match=str(error)):
        patched.setattr(SshRunner, "submit", failing)
        running.start(nodes.order(), nodes.tell)
    assert f"ended before it was whole; {GOES_ON}" in nodes.told()
    assert resume("r1", nodes.cluster, nodes.tell).complete


def test_a_full_disk_here_names_the_run_to_go_on_with(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4")
    save = runs.save

    def full(record: runs.RunRecord) -> None:
        if any(attempt.ended_at for node in record.nodes.values() for attempt in node.attempts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(runs.record_path(record.run)))
        save(record)

    with monkeypatch.context() as patched, pytest.raises(ShoalError, match="No space left on device") as ended:
        patched.setattr(runs, "save", full)
        running.start(nodes.order(), nodes.tell)
    assert GOES_ON in str(ended.value.hint)
    assert "type the command again" not in str(ended.value)
    assert ended.value.exit_code is Exit.FAILED
    assert resume("r1", nodes.cluster, nodes.tell).complete


def test_what_a_failed_run_left_behind_takes_nothing_away(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of a node outlives the run that ended with a fault: the container stays for whoever resumes it."""
    nodes.video("c1", "a.mp4")
    waiting = nodes.video("c2", "b.mp4", "wait")
    threads: list[threading.Thread] = []
    attempt = follow._Part._attempt

    def noted(part: follow._Part, handle: Handle) -> Outcome | None:
        if part.node == "c2":
            threads.append(threading.current_thread())
        return attempt(part, handle)

    def full(record: runs.RunRecord) -> None:
        if any(attempt.ended_at for node in record.nodes.values() for attempt in node.attempts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(runs.record_path(record.run)))
        save(record)

    save = runs.save
    monkeypatch.setattr(follow._Part, "_attempt", noted)
    with monkeypatch.context() as patched, pytest.raises(ShoalError, match="No space left on device"):
        patched.setattr(runs, "save", full)
        running.start(nodes.order(), nodes.tell)
    there = nodes.containers("c2")
    assert there
    waiting.with_suffix(".go").touch()
    threads[0].join(timeout=15)
    assert not threads[0].is_alive()
    assert nodes.containers("c2") == there
    assert resume("r1", nodes.cluster, nodes.tell).complete


def test_a_node_whose_results_cannot_be_written_here_hinders_no_other(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4", "slow")
    fetch_node = results.fetch_node

    def full(cluster: Cluster, node: Node, *rest: Any, **more: Any) -> runs.Fetched:
        if node.name == "c1":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/names")
        return fetch_node(cluster, node, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(results, "fetch_node", full)
        record = running.start(nodes.order(), nodes.tell)
        faults = fetch_home(record, nodes.cluster, lambda _: None)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.FINISHED}
    assert exit_code(record) is Exit.INCOMPLETE
    assert record.nodes["c2"].fetched
    assert not record.nodes["c1"].fetched
    assert "c1: note: results not brought home: /tmp/names: No space left on device" in nodes.told()
    assert faults == [Fault("c1", "/tmp/names: No space left on device")]
    assert resume("r1", nodes.cluster, nodes.tell).complete


class Believing(SshRunner):
    """Takes its own request for the end, as an engine does that cannot reach the node any more."""

    def __init__(self, nodes: FakeNodes, said: State) -> None:
        super().__init__(nodes.cluster)
        self.nodes, self.said = nodes, said
        self.asked = False

    def stop(self, handle: Handle) -> list[str]:
        self.nodes.down("c1")
        self.asked = True
        return []

    def executions(self, handle: Handle) -> list[Execution]:
        words = {State.STOPPED: "stopped as asked", State.LOST: "the engine gave the node up"}
        found = super().executions(handle)
        if not self.asked:
            return found
        return [replace(one, state=self.said, message=words[self.said]) if not one.over else one for one in found]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (State.STOPPED, "connection was refused: ssh: connect to host x port 22: Connection refused"),
        (State.LOST, "Connection refused; the engine gave the node up"),
    ],
)
def test_a_container_that_nobody_saw_end_may_go_on(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, said: State, words: str
) -> None:
    monkeypatch.setattr("shoal.run.follow.results.PATIENCE_S", 0.0)
    waits = nodes.video("c1", "a.mp4", "wait")
    nodes.video("c2", "b.mp4")

    def tell(event) -> None:
        nodes.tell(event)
        if event.kind is Happening.FETCHED and event.node == "c2":
            os.kill(os.getpid(), signal.SIGINT)

    with deadline(30, "it did not end"), pytest.raises(KeyboardInterrupt):
        running.start(nodes.order(), tell, runner=Believing(nodes, said))
    waits.with_suffix(".go").touch()
    assert runs.load("r1").nodes["c1"].attempts[0].message.endswith(words)
    assert "stopped as asked" not in nodes.told()
    assert "may go on running on: c1" in nodes.told()


def test_interrupted_stops_the_containers_and_says_so(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "wait")
    nodes.video("c2", "b.mp4")
    process = in_another_process(nodes)
    read_until(process, "frames/s")
    read_until(process, "fetched c2")
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopping the containers" in out
    assert "`shoal resume r1` goes on" in out
    record = runs.load("r1")
    assert outcomes(record) == {"c1": Outcome.STOPPED, "c2": Outcome.FINISHED}
    assert record.nodes["c1"].attempts[0].message == "stopped on request"
    assert nodes.containers("c1") == []


def test_two_processes_do_not_work_on_one_run(nodes: FakeNodes) -> None:
    waits = nodes.video("c1", "a.mp4", "wait")
    nodes.video("c2", "b.mp4")
    process = in_another_process(nodes)
    read_until(process, "frames/s")
    with pytest.raises(ShoalError, match=f"another shoal process works on run r1 .*{process.pid}"):
        resume("r1", nodes.cluster, nodes.tell)
    waits.with_suffix(".go").touch()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert runs.load("r1").complete


def test_a_run_id_is_not_used_twice(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    running.start(nodes.order(), nodes.tell)
    with pytest.raises(UsageError, match="there is a run 'r1' already"):
        running.start(nodes.order(), nodes.tell)


def test_a_run_that_another_process_began_and_ended_meanwhile_is_not_overwritten(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    unfit = running.admission.unfit

    def slowly(*arguments: Any) -> Any:
        # After the first look and before the lock: the other one's whole run.
        with monkeypatch.context() as undone:
            undone.setattr(running.admission, "unfit", unfit)
            running.start(nodes.order(), nodes.tell)
        return unfit(*arguments)

    monkeypatch.setattr(running.admission, "unfit", slowly)
    with pytest.raises(UsageError, match="there is a run 'r1' already"):
        running.start(nodes.order(), nodes.tell)
    assert runs.load("r1").complete


def test_a_run_id_that_a_node_knows_already_is_refused(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.path("c2", "/var/lib/shoal/runs/r1").mkdir(parents=True)
    with pytest.raises(UsageError, match="was begun on nodes already") as raised:
        running.start(nodes.order(), nodes.tell)
    assert [fault.where for fault in raised.value.faults] == ["c2"]
    assert not runs.runs_dir().exists()


def test_resume_wants_the_runs_own_cluster(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    running.start(nodes.order(), nodes.tell)
    other = nodes.cluster.model_copy(update={"name": "other"})
    with pytest.raises(UsageError, match="belongs to cluster 'test'"):
        resume("r1", other, nodes.tell)


def test_results_that_stay_on_the_nodes_are_fetched_later(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    record = running.start(nodes.order(fetch=False), nodes.tell)
    assert not record.complete
    assert exit_code(record, fetch=False) is Exit.OK
    assert not home("c1").exists()
    assert fetch_home(record, nodes.cluster, lambda text: None) == []
    assert runs.load("r1").complete


def test_a_user_who_is_not_root_goes_through_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch, user="shoal")
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    assert running.start(nodes.order(), nodes.tell).complete
    assert all("sudo -n -H -- " in command for command in nodes.commands())


class OnBacalhau(SshRunner):
    """Tells of programs as the engine's runner does."""

    def __init__(self, cluster: Cluster, machines: dict[str, str]) -> None:
        super().__init__(cluster)
        self.machines = machines

    def programs(self, nodes: Sequence[str]) -> list[Running]:
        return [Running(name, "1.9.2", "amd64", sha256) for name, sha256 in self.machines.items()]


def binary(sha256: str) -> Binary:
    return Binary(
        version="1.9.3", arch="amd64", sha256=sha256, size_bytes=1, origin="given", added_at=datetime.now(UTC)
    )


def test_the_record_has_the_programs_that_the_machines_run(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4", "exit 1")
    order = nodes.order(engine=Choice("bacalhau", "test", (binary("a" * 64),)), attempts=1)
    runner = OnBacalhau(nodes.cluster, {"requester": "a" * 64, "c1": "a" * 64, "c2": "b" * 64})
    record = running.start(order, nodes.tell, runner=runner)
    found = {one.sha256[0]: (one.version, one.origin, one.runs_on) for one in record.engine_programs}
    # The second is none that this machine knows: an older deploy's, or somebody's own.
    assert found == {"a": ("1.9.3", "given", ["requester", "c1"]), "b": ("1.9.2", "unknown", ["c2"])}
    upgraded = OnBacalhau(nodes.cluster, {"c2": "c" * 64})
    record = resume("r1", nodes.cluster, nodes.tell, runner=upgraded)
    assert record.complete
    assert [(one.sha256[0], one.runs_on) for one in record.engine_programs][-1] == ("c", ["c2"])
    assert runs.load("r1") == record


def test_where_no_machine_tells_the_cache_speaks(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    order = nodes.order(engine=Choice("bacalhau", "test", (binary("a" * 64),)), attempts=1)
    record = running.start(order, nodes.tell, runner=OnBacalhau(nodes.cluster, {}))
    assert [(one.sha256, one.runs_on) for one in record.engine_programs] == [("a" * 64, [])]


def test_a_program_given_by_hand_has_to_be_the_one_that_runs(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    order = nodes.order(engine=Choice("bacalhau", "test", (binary("a" * 64),)), attempts=1, program=binary("a" * 64))
    other = OnBacalhau(nodes.cluster, {"requester": "a" * 64, "c1": "b" * 64})
    with pytest.raises(UsageError, match=f"1.9.3, sha256 {'a' * 64}\\) is not the one that runs here") as refused:
        running.start(order, nodes.tell, runner=other)
    assert refused.value.faults == (Fault("c1", f"runs Bacalhau 1.9.2, sha256 {'b' * 64}"),)
    assert "`shoal site deploy`" in str(refused.value.hint)
    assert not runs.runs_dir().exists()
    assert not list(nodes.path("c1", "/var/lib/shoal/weights").iterdir())
    # One that does not tell is no reason to refuse; it is said.
    record = running.start(order, nodes.tell, runner=OnBacalhau(nodes.cluster, {"requester": "a" * 64, "c1": "a" * 64}))
    assert record.complete
    assert [event.node for event in nodes.events if "does not tell which program" in event.text] == ["c2"]


def test_a_program_that_no_machine_can_run_is_refused(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "a.mp4")
    for_arm = binary("a" * 64).model_copy(update={"arch": "arm64"})
    order = nodes.order(engine=Choice("bacalhau", "test", (binary("b" * 64),)), program=for_arm)
    with pytest.raises(UsageError) as refused:
        running.start(order, nodes.tell, runner=OnBacalhau(nodes.cluster, {}))
    assert refused.value.faults[0] == Fault("requester", "is amd64, the program is for arm64")


class Strict(SshRunner):
    """Gives out less than the machine has, as the engine does."""

    def admit(self, job: JobSpec, nodes: Sequence[str]) -> None:
        if job.task.resources.memory == "7GB" and "c1" in nodes:
            raise UsageError("the job asks for more than these nodes have", faults=(Fault("c1", "6400 MB"),))


def test_resume_asks_for_no_more_than_the_engine_gives_out(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "oom")
    nodes.video("c2", "a.mp4")
    running.start(nodes.order(), nodes.tell)
    with pytest.raises(UsageError, match="more than these nodes have") as refused:
        resume("r1", nodes.cluster, nodes.tell, memory="7GB", runner=Strict(nodes.cluster))
    assert refused.value.faults[0].where == "c1"
    assert len(runs.load("r1").nodes["c1"].attempts) == 1
    assert resume("r1", nodes.cluster, nodes.tell, memory="6GB", runner=Strict(nodes.cluster)).complete
