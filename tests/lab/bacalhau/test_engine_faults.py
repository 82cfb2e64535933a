"""Faults on the real engine: what the user is told, that nothing that finished is lost, and that it heals by itself.

Each run is held to an undisturbed one: the same detections, byte for byte, so that no frame is missing or there twice.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from engine_site import MID_RUN, Reference, Run, Site, detections

from shoal.engines.bacalhau import connect, secrets

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

ONE, TWO = "compute-1", "compute-2"
MID_RUN_LINE = re.compile(MID_RUN)
LOOK = "sha256sum /etc/bacalhau/compute.yaml; systemctl show -p ExecMainStartTimestampMonotonic bacalhau-compute"

SHORT = ["--stride", "10", "--img", "160"]
HUNG_LIMIT_S = 90
"""Above what a run with SHORT takes, with room."""


def healed(run: Run, reference: Reference, seen: list[str]) -> None:
    """The run came to a good end without hands."""
    assert run.end() == 0, run.text
    assert run.outcomes() == {ONE: "finished", TWO: "finished"}
    assert detections(run) == reference.detections
    attempts = {node: run.attempts(node) for node in (ONE, TWO)}
    told = [line.partition(": ")[2] for _, line in run.lines if ": unreachable: " in line or ": not_run: " in line]
    seen += [f"told {text!r}" for text in dict.fromkeys(told)]
    seen.append(f"whole after {run.seconds:.0f} s (undisturbed {reference.seconds:.0f} s), attempts {attempts}")


def test_compute_service_killed_in_mid_job(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    run = whole_site.run()
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.on(ONE, "systemctl kill --signal=KILL bacalhau-compute.service")
    healed(run, reference, seen)


def test_orchestrator_restarted_in_mid_job(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    run = whole_site.run()
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.on("requester", "systemctl restart bacalhau-orchestrator.service")
    healed(run, reference, seen)


def test_orchestrator_killed_and_its_disk_wiped(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    run = whole_site.run()
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.on(
        "requester",
        "systemctl kill --signal=KILL bacalhau-orchestrator.service; systemctl stop bacalhau-orchestrator.service; "
        "find /var/lib/bacalhau/orchestrator -mindepth 1 -delete; systemctl start bacalhau-orchestrator.service",
    )
    healed(run, reference, seen)


def test_node_cut_off_for_two_minutes(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    run = whole_site.run()
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.cut(ONE)
    time.sleep(120)  # the fault itself
    whole_site.join(ONE)
    healed(run, reference, seen)


def test_node_powered_off_and_on_again(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    run = whole_site.run()
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.power(ONE, on=False)
    time.sleep(30)  # the fault itself
    whole_site.power(ONE, on=True)
    healed(run, reference, seen)


def test_node_shut_down_in_an_orderly_way(whole_site: Site, seen: list[str]) -> None:
    """As a reboot or a preemption with notice does it: the container is told to end, and nobody meant the run."""
    run = whole_site.run(*SHORT, quick=False)
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.on(ONE, "systemctl poweroff")
    run.until(rf"{ONE}: (unreachable|waiting for it)")
    whole_site.power(ONE, on=True)
    assert run.end() == 0, run.text
    attempts = [(one["outcome"], one["message"]) for one in run.record["nodes"][ONE]["attempts"]]
    assert "stopped" not in [outcome for outcome, _ in attempts], run.text
    seen.append(f"whole after {run.seconds:.0f} s, attempts {attempts}")


def test_hung_container_that_the_engine_lost_sight_of(whole_site: Site, seen: list[str]) -> None:
    """It holds the run's lock; no time limit of the engine's ends it any more."""
    run = whole_site.run(*SHORT, "--timeout", str(HUNG_LIMIT_S), quick=False)
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.on(
        ONE,
        "kill -STOP $(docker inspect --format '{{.State.Pid}}' $(docker ps --quiet | head -n 1)); "
        "systemctl kill --signal KILL bacalhau-compute",
    )
    run.until(rf"{ONE}: ended a container that held the run's folder", timeout_s=HUNG_LIMIT_S + 180)
    assert run.end() == 0, run.text
    assert run.outcomes() == {ONE: "finished", TWO: "finished"}
    ended = next(line for _, line in run.lines if "ended a container that held" in line)
    seen.append(f"whole after {run.seconds:.0f} s, attempts {run.attempts(ONE)}: {ended}")


def test_two_runs_at_once(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    first, second = whole_site.run(), whole_site.run()
    for run in (first, second):
        assert run.end() == 0, run.text
        assert run.outcomes() == {ONE: "finished", TWO: "finished"}
        assert detections(run) == reference.detections
    seen.append(f"first whole after {first.seconds:.0f} s, second after {second.seconds:.0f} s")


def room(site: Site) -> dict[str, float]:
    """CPUs that the orchestrator takes for free, by node."""
    with connect.client_for(site.lab.cluster) as client:
        return {one.name: one.info.compute_node_info.available_capacity.cpu for one in client.nodes() if one.computes}


def test_a_run_behind_another_waits_for_its_turn(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    """A node without room is given nothing by the engine, and a job does not wait for it: so the run does."""
    first = whole_site.run("--stride", "1", "--img", "640", quick=False)
    for node in (ONE, TWO):
        first.until(rf"{node}: .*{MID_RUN}")
    deadline = time.monotonic() + 30
    while max(room(whole_site).values()) > 0.1:
        assert time.monotonic() < deadline, "the orchestrator never heard of the work on its nodes"
    second = whole_site.run("--attempts", "1")
    for node in (ONE, TWO):
        second.until(rf"{node}: waits for its turn: other work has")
    assert first.end() == 0, first.text
    ended = time.monotonic()
    assert second.end() == 0, second.text
    waited_s = min(at for at, line in second.lines if MID_RUN_LINE.search(line)) + second.begun - ended
    assert detections(second) == reference.detections
    assert [second.attempts(node) for node in (ONE, TWO)] == [1, 1]
    seen.append(f"told 'waits for its turn'; its first video was done {waited_s:.0f} s after the first run's end")
    # And right behind it, before the orchestrator has heard that there is room again.
    third = whole_site.run("--attempts", "1")
    assert third.end() == 0, third.text
    assert detections(third) == reference.detections
    seen.append(f"a third run, typed at once, was whole after {third.seconds:.0f} s")


def test_control_machine_killed_in_mid_run(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    run = whole_site.run()
    run.until(rf"{ONE}: .*{MID_RUN}")
    run.kill()
    assert set(run.outcomes().values()) == {"pending"}
    again = whole_site.run(resume=run.id)
    assert again.end() == 0, again.text
    assert again.outcomes() == {ONE: "finished", TWO: "finished"}
    assert detections(again) == reference.detections
    adopted = [line for _, line in again.lines if "adopted" in line]
    assert adopted, again.text
    assert again.attempts(ONE) == 1  # nothing was started twice
    seen.append(f"`resume` adopted the containers and was whole after {again.seconds:.0f} s")


def test_progress_is_live_for_who_takes_the_run_up_too(whole_site: Site, seen: list[str]) -> None:
    """The dead process's log stream holds each node's: it has to be got rid of while the containers run."""
    run = whole_site.run("--stride", "1", "--img", "640", quick=False)
    for node in (ONE, TWO):
        run.until(rf"{node}: .*{MID_RUN}")
    run.kill()
    again = whole_site.run(resume=run.id)
    first = {node: again.until(rf"{node}: .*video \d/6 .* done") for node in (ONE, TWO)}
    assert again.end() == 0, again.text
    for node in (ONE, TWO):
        done = [at for at, line in again.lines if re.search(rf"{node}: .*video \d/6 .* done", line)]
        assert len(done) == 6  # from the first one on, each once
        assert done[-1] - done[0] > 2, again.text  # as they came, not in one go at the end
        seen.append(f"{node}'s lines came from {first[node]:.0f} s on, the run ended at {again.seconds:.0f} s")


def test_node_that_stays_away_ends_the_run_and_resume_completes_it(
    whole_site: Site, reference: Reference, seen: list[str]
) -> None:
    run = whole_site.run("--attempts", "1")
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.power(ONE, on=False)
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "unreachable", TWO: "finished"}
    assert "finish it with `shoal resume" in run.text
    seen += [f"exit 3 after {run.seconds:.0f} s", f"told {run.message(ONE)!r}"]
    whole_site.power(ONE, on=True)
    whole_site.wait_for_ssh(ONE)
    again = whole_site.run(resume=run.id)
    assert again.end() == 0, again.text
    assert detections(again) == reference.detections
    assert again.attempts(TWO) == 1
    seen.append(f"`resume` was whole after {again.seconds:.0f} s")


def test_full_disk(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    # A disk of the test's own. The service sees what is mounted when it starts.
    mount = "mount -t tmpfs -o size=400m,mode=755 tmpfs /var/lib/shoal/runs"
    whole_site.on(ONE, f"{mount} && systemctl restart bacalhau-compute")
    run = whole_site.run()
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.on(ONE, "dd if=/dev/zero of=/var/lib/shoal/runs/filler bs=1M 2>/dev/null; true")
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "failed", TWO: "finished"}
    assert "no space" in run.message(ONE)
    seen += [f"exit 3, told {run.message(ONE)!r}"]
    whole_site.on(ONE, "rm /var/lib/shoal/runs/filler")
    again = whole_site.run(resume=run.id)
    assert again.end() == 0, again.text
    assert detections(again) == reference.detections
    seen.append(f"with room again `resume` was whole after {again.seconds:.0f} s")


def test_wrong_token(whole_site: Site, seen: list[str]) -> None:
    whole_site.configure(ONE, "compute", "c['Compute']['Auth']['Token']='not-the-token-of-this-cluster'")
    deadline = time.monotonic() + 120
    while (
        "disconnected"
        not in (listed := whole_site.shoal("nodes", "list", "--cluster", str(whole_site.lab.document))).stdout
    ):
        assert time.monotonic() < deadline, listed.stdout + listed.stderr
        time.sleep(2)
    assert listed.returncode == 3
    run = whole_site.run("--attempts", "1")
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "unreachable", TWO: "finished"}
    assert "does not hear it" in run.message(ONE)
    seen.append(f"exit 3 after {run.seconds:.0f} s, told {run.message(ONE)!r}")
    before = time.monotonic()
    whole_site.deploy()
    seen.append(f"the site deploy put the token right in {time.monotonic() - before:.0f} s")
    again = whole_site.run(resume=run.id)
    assert again.end() == 0, again.text


def test_a_deploy_with_a_wrong_token_fails_and_leaves_the_node_as_it_was(
    whole_site: Site, reference: Reference, seen: list[str]
) -> None:
    """As from a machine that made tokens of its own: the engine's service would start, and say that all is well."""
    where = secrets.path(whole_site.lab.name)
    own = where.read_text(encoding="utf-8")
    before = whole_site.on(ONE, LOOK)
    where.write_text(json.dumps({**json.loads(own), "node_token": "not-the-token-of-this-cluster"}), encoding="utf-8")
    begun = time.monotonic()
    try:
        done = whole_site.shoal(
            "site", "deploy", "--limit", ONE, "--engine", "bacalhau", "--cluster", str(whole_site.lab.document)
        )
    finally:
        where.write_text(own, encoding="utf-8")
    took_s = time.monotonic() - begun
    assert done.returncode == 1, done.stderr
    told = " ".join(done.stderr.split())
    assert re.search(rf"{ONE}: .*refuses this node's token \(Authorization Violation\)", told), done.stderr
    assert "without --limit" in told
    assert "not-the-token" not in done.stderr + done.stdout
    assert whole_site.on(ONE, LOOK) == before
    # And the site is as it was.
    run = whole_site.run()
    assert run.end() == 0, run.text
    assert detections(run) == reference.detections
    seen.append(f"exit 1 after {took_s:.0f} s, the node's settings and service untouched")


def test_wrong_allow_list(whole_site: Site, seen: list[str]) -> None:
    whole_site.configure(ONE, "compute", "c['Compute']['AllowListedLocalPaths']=['/videos:ro']")
    run = whole_site.run("--attempts", "1")
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "not_run", TWO: "finished"}
    assert "does not allow the path" in run.message(ONE)
    seen.append(f"exit 3 after {run.seconds:.0f} s, told {run.message(ONE)!r}")
    whole_site.deploy()
    again = whole_site.run(resume=run.id)
    assert again.end() == 0, again.text


def own_job(folder: Path, program: str) -> list[str]:
    path = folder / "own.yaml.j2"
    path.write_text(Path(__file__).with_name("exit.yaml.j2").read_text().replace("@DO@", program))
    return ["--template", str(path)]


def test_container_that_exits_non_zero(whole_site: Site, seen: list[str], tmp_path: Path) -> None:
    run = whole_site.run(
        "--attempts", "1", *own_job(tmp_path, "import sys; sys.exit('a fault of its own')"), quick=False
    )
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "failed", TWO: "failed"}
    assert "exit code 1" in run.message(ONE)
    assert "a fault of its own" in run.message(ONE)
    seen.append(f"exit 3, told {run.message(ONE)!r}")


def test_out_of_memory(whole_site: Site, seen: list[str], tmp_path: Path) -> None:
    job = own_job(tmp_path, "x = bytearray(600_000_000)")
    run = whole_site.run("--attempts", "1", "--memory", "100MB", *job, quick=False)
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "out_of_memory", TWO: "out_of_memory"}
    assert "ran out of memory" in run.message(ONE)
    seen.append(f"exit 3, told {run.message(ONE)!r} and {run.message(TWO)!r}")


@pytest.mark.parametrize("engine", ["bacalhau", "ssh"])
def test_a_job_that_fills_its_folder_is_ended(whole_site: Site, seen: list[str], tmp_path: Path, engine: str) -> None:
    whole_site.deploy(yolov5_state_bytes=30_000_000)
    fill = (
        "import time; f = open('/state/fill', 'wb'); [(f.write(bytes(10**6)), time.sleep(0.05)) for _ in range(4000)]"
    )
    job = own_job(tmp_path, fill)
    run = whole_site.run("--engine", engine, "--attempts", "1", "--node", ONE, *job, quick=False)
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "failed"}
    assert "grew beyond the node's limit" in run.message(ONE)
    size = int(whole_site.on(ONE, f"du -sb /var/lib/shoal/runs/{run.id} | cut -f1"))
    assert 30_000_000 < size < 300_000_000
    seen.append(f"{engine}: ended at {size / 1e6:.0f} MB after {run.seconds:.0f} s, told {run.message(ONE)!r}")


def test_container_killed_on_its_node(whole_site: Site, reference: Reference, seen: list[str]) -> None:
    """The engine calls it completed with exit code 137, as it does one form of out of memory."""
    run = whole_site.run("--attempts", "1")
    run.until(rf"{ONE}: .*{MID_RUN}")
    whole_site.on(ONE, "docker kill $(docker ps --quiet --filter label=bacalhau-executor=bacalhau-compute-1_node)")
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "stopped", TWO: "finished"}
    assert "somebody on the node ended the container" in run.message(ONE)
    seen.append(f"exit 3, told {run.message(ONE)!r}")
    again = whole_site.run(resume=run.id)
    assert again.end() == 0, again.text
    assert detections(again) == reference.detections
    seen.append(f"`resume` was whole after {again.seconds:.0f} s")


def test_time_limit(whole_site: Site, seen: list[str], tmp_path: Path) -> None:
    job = own_job(tmp_path, "import time; time.sleep(100)")
    run = whole_site.run("--attempts", "1", "--timeout", "5", *job, quick=False)
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "timed_out", TWO: "timed_out"}
    seen.append(f"exit 3 after {run.seconds:.0f} s, told {run.message(ONE)!r}")


def test_image_without_digest(whole_site: Site, seen: list[str]) -> None:
    for node in (ONE, TWO):
        whole_site.on(node, "tar -C / -c etc/hostname | docker import - nowhere.invalid/none:1 >/dev/null")
    run = whole_site.run("--attempts", "1", "--image", "nowhere.invalid/none:1")
    assert run.end() == 3, run.text
    assert run.outcomes() == {ONE: "not_run", TWO: "not_run"}
    assert "cannot get the image" in run.message(ONE)
    seen.append(f"exit 3 after {run.seconds:.0f} s, told {run.message(ONE)!r}")
    for node in (ONE, TWO):
        whole_site.on(node, "docker rmi nowhere.invalid/none:1 >/dev/null")


def test_more_than_a_node_gives_out(whole_site: Site, seen: list[str]) -> None:
    """Less than the machine has, and more than its service gives out: only the orchestrator knows the figure."""
    cpus = float(whole_site.on(ONE, "docker info --format '{{.NCPU}}'"))
    assert cpus >= 1
    run = whole_site.run("--cpu", f"{cpus * 0.95:g}")
    assert run.end() == 2, run.text
    for node in (ONE, TWO):
        figures = f"the job asks for {cpus * 0.95:g} CPUs, the node's service gives out {cpus * 0.8:g}"
        assert f"{node}: {figures}" in run.text
    assert "bacalhau_capacity_cpu" in run.text
    assert not run.folder.exists()
    machine = whole_site.run("--memory", "999GB")
    assert machine.end() == 2, machine.text
    assert f"{ONE}: the job asks for 999GB" in machine.text
    assert not machine.folder.exists()
    seen.append(f"exit 2 before anything was started, told {figures!r}")
