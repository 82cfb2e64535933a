"""A run followed: silence is reported, what holds a run's lock past its limit is ended, a shutdown is tried again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_nodes import FakeNodes, deadline, outcomes

from shoal.engines import killed, orphans
from shoal.engines.protocol import Execution
from shoal.engines.ssh import SshRunner
from shoal.results import record as runs
from shoal.results.record import Outcome
from shoal.run import follow
from shoal.run import reattempt as healing
from shoal.run import start as running
from shoal.run.work import Event, Happening


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    monkeypatch.setattr(healing, "ATTEMPT_PAUSE_S", 0.05)
    monkeypatch.setattr(healing, "BACK_POLL_S", 0.05)
    fakes = FakeNodes.make(tmp_path, monkeypatch)
    fakes.video("c1", "a.mp4")
    fakes.video("c2", "b.mp4")
    return fakes


def test_a_container_that_says_nothing_is_reported_and_again_when_it_has_doubled(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "SILENCE_S", 0.4)
    waits = nodes.video("c1", "a.mp4", "wait")
    reported: list[str] = []

    def tell(event: Event) -> None:
        nodes.tell(event)
        if event.node == "c1" and "no line for" in event.text:
            reported.append(event.text)
            if len(reported) == 2:
                waits.with_suffix(".go").touch()

    with deadline(60, "the silence was not reported twice"):
        assert running.start(nodes.order(), tell).complete
    assert all("its container runs" in text for text in reported)


class Held:
    """A process that holds the run's lock on c1, as a container does that the engine lost sight of."""

    def __init__(self, nodes: FakeNodes) -> None:
        self.folder = nodes.path("c1", "/var/lib/shoal/runs/r1")
        self.process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        code = (
            "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(flush=True); time.sleep(99)"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(self.folder / "lock")], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.process.stdout.readline()

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture
def holder(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch):
    """Takes the lock once the nodes were asked whether they know the run."""
    held = Held(nodes)
    submit = SshRunner.submit

    def submitting(self: SshRunner, *rest: Any, **more: Any) -> Any:
        if not nodes.path("c1", "/var/lib/shoal/runs/r1/settled").exists() and held.process is None:
            held.begin()
        return submit(self, *rest, **more)

    monkeypatch.setattr(SshRunner, "submit", submitting)
    yield held
    held.end()


def test_what_holds_the_runs_lock_past_the_limit_is_ended_and_the_waiting_one_goes_on(
    nodes: FakeNodes, holder: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, int]] = []

    def end_overdue(cluster: Any, node: Any, run: str, *, limit_s: int) -> list[int]:
        asked.append((node.name, run, limit_s))
        if len(asked) < 2:
            return []  # not over its time yet
        holder.end()
        return [3700]

    monkeypatch.setattr(orphans, "end_overdue", end_overdue)
    monkeypatch.setattr(follow, "OVERDUE_POLL_S", 0.05)
    with deadline(60, "it waited for the lock"):
        record = running.start(nodes.order(timeout_s=3600, attempts=1), nodes.tell)
    assert record.complete
    assert asked == [("c1", "r1", 3600)] * 2
    told = "ended a container that held the run's folder: it ran for 3700 s, the limit is 3600 s"
    assert [event.node for event in nodes.events if event.text == told] == ["c1"]


def test_an_attempt_that_only_waited_for_the_lock_is_followed_by_another(
    nodes: FakeNodes, holder: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_overdue(cluster: Any, node: Any, run: str, *, limit_s: int) -> list[int]:
        if not any("another container held" in event.text for event in nodes.events):
            (holder.folder / "settled").touch()
            holder.end()
        return [9]

    monkeypatch.setattr(orphans, "end_overdue", end_overdue)
    with deadline(60, "it did not end"):
        record = running.start(nodes.order(timeout_s=2, attempts=2), nodes.tell)
    assert [attempt.outcome for attempt in record.nodes["c1"].attempts] == [Outcome.FAILED, Outcome.FINISHED]
    assert "another container held the run's folder for the whole time limit; it was ended" in (
        record.nodes["c1"].attempts[0].message
    )
    assert record.complete


def test_the_script_ends_what_is_over_its_limit_and_never_the_newest(tmp_path: Path) -> None:
    """Of containers that mount the run's folder; others, and those within the limit, are left alone."""
    now = int(time.time())
    runs_folder = "/var/lib/shoal/runs/r1"
    containers = {
        "old": (now - 500, f"/videos {runs_folder}"),
        "within": (now - 50, f"{runs_folder} /videos"),
        "newest": (now - 10, runs_folder),
        "other-run": (now - 900, f"{runs_folder}0 /videos"),
        "others": (now - 900, "/srv"),
    }
    lines = "\n".join(
        f'{name}) echo "{name} $(date -u -d @{begun} +%FT%T.123456789Z) {sources}" ;;'
        for name, (begun, sources) in containers.items()
    )
    (tmp_path / "docker").write_text(
        f"""#!/bin/sh
case $1 in
ps) printf '%s\\n' {" ".join(containers)} ;;
inspect) for name; do :; done
case $name in
{lines}
esac ;;
kill) echo "$2" >>{tmp_path}/killed ;;
esac
"""
    )
    (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", orphans._END_OVERDUE, "overdue", runs_folder, "100"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (tmp_path / "killed").read_text().split() == ["old"]
    (age_s,) = done.stdout.split()
    assert 500 <= int(age_s) < 560


class ShutDown(SshRunner):
    """Its node's machine is shut down once: the container is told to end, and nobody asked Docker for it."""

    def examine(self, execution: Execution) -> Execution:
        return killed.judged(execution, "machine stopping\nevent kill 15\n")


def test_a_container_that_ended_with_its_machine_is_given_again(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 143")
    record = running.start(nodes.order(attempts=2), nodes.tell, runner=ShutDown(nodes.cluster))
    assert [attempt.outcome for attempt in record.nodes["c1"].attempts] == [Outcome.UNREACHABLE, Outcome.FINISHED]
    first = record.nodes["c1"].attempts[0]
    assert first.message == "the node, or its Docker, was shut down and ended the container (exit code 143)"
    assert first.exit_code == 143
    assert "may go on running" not in nodes.told()


class LineRaises(SshRunner):
    """Breaks in the midst of a node's lines by a fault of the program's own."""

    def logs(self, handle: Any, node: str) -> Any:
        yield "first"
        if node == "c1":
            raise RuntimeError("a fault in reading")


def test_a_fault_in_any_thread_ends_the_run_and_is_raised(nodes: FakeNodes) -> None:
    with deadline(60, "it was swallowed"), pytest.raises(RuntimeError, match="a fault in reading"):
        running.start(nodes.order(), nodes.tell, runner=LineRaises(nodes.cluster))
    assert "ended before it was whole; `shoal resume r1` goes on" in nodes.told()


def test_the_second_ctrl_c_leaves_at_once_and_nothing_is_reported_or_recorded_after_it(nodes: FakeNodes) -> None:
    waits = nodes.video("c1", "a.mp4", "wait")

    class NeverStops(SshRunner):
        def stop(self, handle: Any) -> list[str]:
            time.sleep(1.5)  # as a node that does not answer
            return list(handle.nodes)

    def tell(event: Event) -> None:
        nodes.tell(event)
        if "stopping the containers" in event.text or (event.kind is Happening.FETCHED and event.node == "c2"):
            os.kill(os.getpid(), signal.SIGINT)

    with deadline(30, "it was waited for"), pytest.raises(KeyboardInterrupt):
        running.start(nodes.order(), tell, runner=NeverStops(nodes.cluster))
    assert "may go on running on: c1" in nodes.told()
    told, saved = len(nodes.events), runs.record_path("r1").read_bytes()
    waits.with_suffix(".go").touch()
    manifest = nodes.path("c1", "/var/lib/shoal/runs/r1/manifest.json")
    end = time.monotonic() + 20
    while not manifest.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)  # what a thread that is left behind would take to look
    assert (len(nodes.events), runs.record_path("r1").read_bytes()) == (told, saved)
    assert outcomes(runs.load("r1")) == {"c1": Outcome.PENDING, "c2": Outcome.FINISHED}


def test_what_the_detector_printed_last_is_the_reason_in_words(nodes: FakeNodes) -> None:
    class LastWords(SshRunner):
        def _last_words(self, name: str, container: str) -> str:
            return '{"shoal_detect": 1, "event": "error", "text": "the weights are \\u001b[31m no", "exit_code": 5}'

    nodes.video("c1", "a.mp4", "exit 5")
    record = running.start(nodes.order(), nodes.tell, runner=LastWords(nodes.cluster))
    assert record.nodes["c1"].attempts[0].message == (
        "the detector cannot use the weights (exit code 5): error: the weights are \N{REPLACEMENT CHARACTER}[31m no"
    )
