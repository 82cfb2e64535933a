"""Runs on real machines with the real image: what a user sees when all is well, and when it is not."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab
from runs_under_test import NODES, QUICK, REPOSITORY, SLOW, Runs, read_until, wait_for

from shoal.cluster import reach as reaches
from shoal.deploys import run as deploys
from shoal.site import document as site
from shoal.site import sample_clips as samples

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def runs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    site.prepare(lab.cluster)
    deploys.run_deploy(reaches.load(lab.document), "site", timeout_s=900)
    found = Runs(lab, tmp_path_factory.mktemp("runs"))
    yield found
    left = {node: found.containers(node) for node in NODES}
    assert left == {node: [] for node in NODES}, "no run leaves a container behind"


@pytest.fixture(scope="module")
def whole(runs: Runs) -> str:
    """An uninterrupted run."""
    done = runs.shoal("run", "--run", runs.id("whole"), *SLOW)
    assert done.returncode == 0, done.stderr
    return "whole"


def test_a_run_comes_home_whole(runs: Runs, whole: str) -> None:
    assert runs.outcomes(whole) == dict.fromkeys(NODES, "finished")
    record = runs.record(whole)
    assert record["image"]["digest"].startswith("sha256:")
    assert record["image"]["reference"].endswith(record["image"]["digest"])
    assert record["engine"] == "ssh"
    for node in NODES:
        folder = runs.folder(whole) / node
        summary = json.loads((folder / "summary.json").read_text())
        assert len(summary["videos"]) == 6
        assert summary["totals"]["detections"] > 0
        for entry in json.loads((folder / "manifest.json").read_text())["files"]:
            assert hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert runs.shoal("results", "verify", runs.id(whole)).returncode == 0
    again = runs.shoal("resume", runs.id(whole))
    assert again.returncode == 0
    assert "nothing is left to do" in again.stderr


def pyinfra(runs: Runs, *words: str) -> subprocess.CompletedProcess[str]:
    """pyinfra as a person types it in the checkout; only -y, since nobody is there to answer."""
    command = [str(Path(sys.executable).with_name("pyinfra")), "inventories/lab.py", *words, "-y"]
    return subprocess.run(command, env=runs.environment(), cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_deploys_are_plain_pyinfra_too(runs: Runs) -> None:
    again = pyinfra(runs, "deploy/site.py", "--json")
    assert again.returncode == 0, again.stderr[-4000:]
    assert [entry.name for entry in deploys.read_operations(again.stdout, dry=False) if entry.changed] == []
    options = json.dumps(["--run", runs.id("plain"), *QUICK])
    done = pyinfra(runs, "deploy/infer.py", "--limit", "compute-1", "--data", f"infer_options={options}")
    assert done.returncode == 0, done.stderr[-4000:]
    assert runs.outcomes("plain") == {"compute-1": "finished"}
    for words, told in (
        (("deploy/infer.py", "--limit", "nowhere"), "--limit 'nowhere' matches no host"),
        (("deploy/infer.py", "--limit", "requester"), "leaves no compute node, only requester"),
        (("deploy/infer.py", "--data", 'infer_options=["--stride","0"]'), "ended with exit code 2"),
    ):
        refused = pyinfra(runs, *words)
        assert refused.returncode != 0, words
        assert told in refused.stdout + refused.stderr


def test_the_container_can_read_videos_and_nothing_else(runs: Runs) -> None:
    process = runs.begun("run", "--run", runs.id("confined"), "--node", "compute-1", *SLOW)
    read_until(process, "done already")
    seen = json.loads(runs.on("compute-1", f"docker inspect shoal-{runs.id('confined')}-a1"))[0]
    process.communicate()
    host = seen["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["Privileged"] is False
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    writable = {mount["Destination"]: mount["RW"] for mount in seen["Mounts"]}
    assert writable == {"/videos": False, "/weights": False, "/state": True}
    assert process.returncode == 0


def test_odd_names_come_home(runs: Runs) -> None:
    name = 'Kamera "Süd" 1\'s\n$(id) é.mp4'
    clip = samples.sample_clips()[8].path.read_bytes()
    with runs.file("compute-2", name, clip):
        done = runs.shoal("run", "--run", runs.id("odd"), "--node", "compute-2", *QUICK)
        assert done.returncode == 0, done.stderr
    videos = json.loads((runs.folder("odd") / "compute-2/summary.json").read_text())["videos"]
    assert name in {video["video"] for video in videos}


def test_the_control_process_killed_in_mid_run(runs: Runs, whole: str) -> None:
    process = runs.begun("run", "--run", runs.id("orphan"), *SLOW)
    read_until(process, "compute-1: video 1", "compute-2: video 1")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert runs.outcomes("orphan") == dict.fromkeys(NODES, "pending")
    assert [runs.containers(node) for node in NODES] == [[f"shoal-{runs.id('orphan')}-a1"]] * 2
    done = runs.shoal("resume", runs.id("orphan"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("adopted the container of attempt 1") == 2
    assert runs.attempts("orphan") == dict.fromkeys(NODES, 1), "none was started beside one that runs"
    assert runs.detections("orphan") == runs.detections(whole)


def test_the_container_killed_in_mid_video_and_taken_up_equals_an_uninterrupted_run(runs: Runs, whole: str) -> None:
    process = runs.begun("run", "--run", runs.id("killed"), *SLOW)
    read_until(process, "compute-1: video 2/6", "compute-2: video 1")
    runs.on("compute-1", f"docker kill --signal KILL shoal-{runs.id('killed')}-a1")
    _, said = process.communicate()
    assert process.returncode == 3, said
    assert runs.outcomes("killed") == {"compute-1": "stopped", "compute-2": "finished"}
    assert "compute-1: stopped: somebody on the node ended the container (docker kill or stop, exit code 137)" in said
    done = runs.shoal("resume", runs.id("killed"))
    assert done.returncode == 0, done.stderr
    # At least the one that was waited for; how many more depends on how fast the machine is.
    assert re.search(r"6 videos, [1-5] done already", done.stderr), done.stderr
    assert runs.attempts("killed") == {"compute-1": 2, "compute-2": 1}
    assert runs.detections("killed") == runs.detections(whole)


def test_a_connection_that_breaks_in_mid_run_is_taken_up_again(runs: Runs) -> None:
    process = runs.begun("run", "--run", runs.id("cut"), "--node", "compute-1", *SLOW)
    read_until(process, "compute-1: video 1")
    # The server's side of every connection, on that machine only; the listening one stays.
    runs.on("compute-1", "pkill -KILL -f '^sshd: shoal'")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert runs.attempts("cut") == {"compute-1": 1}


def test_interrupted_it_stops_the_containers(runs: Runs) -> None:
    process = runs.begun("run", "--run", runs.id("stopped"), *SLOW)
    read_until(process, "compute-1: video 1", "compute-2: video 1")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert runs.outcomes("stopped") == dict.fromkeys(NODES, "stopped")
    assert [runs.containers(node) for node in NODES] == [[], []]


def test_a_broken_video_is_named_and_the_others_are_done(runs: Runs) -> None:
    clip = samples.sample_clips()[8].path.read_bytes()
    with (
        runs.file("compute-1", "broken.mp4", b"this is no video" * 100),
        runs.file("compute-1", "cut.mp4", clip[:9000]),
    ):
        done = runs.shoal("run", "--run", runs.id("faulty"), *QUICK)
    assert done.returncode == 3, done.stderr
    assert runs.outcomes("faulty") == {"compute-1": "faulty_videos", "compute-2": "finished"}
    assert 'broken.mp4" FAULT' in done.stderr
    summary = json.loads((runs.folder("faulty") / "compute-1/summary.json").read_text())
    assert (summary["totals"]["videos"], summary["totals"]["faulty"]) == (8, 2)


def test_a_decoder_that_crashes_in_the_container_takes_only_its_video_along(runs: Runs) -> None:
    process = runs.begun("run", "--run", runs.id("crash"), "--node", "compute-1", *SLOW)
    read_until(process, "compute-1: video 2/6")
    runs.on("compute-1", "pkill -SEGV -f 'shoal_detect[.]child'")
    _, said = process.communicate()
    assert process.returncode == 3, said
    assert runs.outcomes("crash") == {"compute-1": "faulty_videos"}
    assert runs.attempts("crash") == {"compute-1": 1}, "the container lived on"
    videos = json.loads((runs.folder("crash") / "compute-1/summary.json").read_text())["videos"]
    assert len(videos) == 6
    (crashed,) = [video for video in videos if video["fault"]]
    assert crashed["fault"]["kind"] == "decoder_crashed"
    assert "SIGSEGV" in crashed["fault"]["message"]


def test_a_node_that_is_away_is_named_and_completed_later(runs: Runs) -> None:
    machine = f"shoal-{runs.lab.name}-compute-2"
    runs.engine("pause", machine)
    try:
        done = runs.shoal("run", "--run", runs.id("away"), *QUICK)
    finally:
        runs.engine("unpause", machine)
    assert done.returncode == 3, done.stderr
    assert runs.outcomes("away") == {"compute-1": "finished", "compute-2": "unreachable"}
    assert "compute-2: unreachable: no answer in time" in done.stderr
    done = runs.shoal("resume", runs.id("away"))
    assert done.returncode == 0, done.stderr
    assert runs.attempts("away") == {"compute-1": 1, "compute-2": 2}


def test_out_of_memory_is_named(runs: Runs) -> None:
    done = runs.shoal("run", "--run", runs.id("small"), "--memory", "100MB", *QUICK)
    assert done.returncode == 3, done.stderr
    assert runs.outcomes("small") == dict.fromkeys(NODES, "out_of_memory")
    assert "ran out of memory (exit code 137)" in done.stderr
    done = runs.shoal("resume", runs.id("small"), "--memory", "2GB")
    assert done.returncode == 0, done.stderr


def test_the_time_limit_holds(runs: Runs) -> None:
    done = runs.shoal("run", "--run", runs.id("late"), "--node", "compute-1", "--timeout", "5", *SLOW)
    assert done.returncode == 3, done.stderr
    assert runs.outcomes("late") == {"compute-1": "timed_out"}
    assert "not done after 5 s, and stopped" in done.stderr
    assert runs.containers("compute-1") == []


def test_more_than_a_machine_has_is_refused(runs: Runs) -> None:
    done = runs.shoal("run", "--run", runs.id("huge"), "--cpu", "500")
    assert done.returncode == 2, done.stderr
    assert "compute-1: the job asks for 500 CPUs, the node has" in done.stderr
    assert not (runs.folder("huge")).exists()


def test_an_image_that_is_not_there_is_named_before_anything_starts(runs: Runs) -> None:
    done = runs.shoal("run", "--run", runs.id("noimage"), "--image", "nowhere:5000/x@sha256:" + "0" * 64)
    assert done.returncode == 1, done.stderr
    assert "compute-2: the image nowhere:5000/x@sha256:0000" in done.stderr
    assert not (runs.folder("noimage")).exists()


def test_no_videos_at_all(runs: Runs) -> None:
    hidden = "mkdir /videos.away && find /videos -mindepth 1 -maxdepth 1 -exec mv -t /videos.away {} +"
    back = "find /videos.away -mindepth 1 -maxdepth 1 -exec mv -t /videos {} + && rmdir /videos.away"
    runs.on("compute-1", hidden)
    try:
        done = runs.shoal("run", "--run", runs.id("one"), *QUICK)
        assert done.returncode == 3, done.stderr
        assert runs.outcomes("one") == {"compute-1": "no_videos", "compute-2": "finished"}
        runs.on("compute-2", hidden)
        try:
            done = runs.shoal("run", "--run", runs.id("none"))
        finally:
            runs.on("compute-2", back)
        assert done.returncode == 1
        assert "compute-1: there is no file under /videos" in done.stderr
        assert not (runs.folder("none")).exists()
    finally:
        runs.on("compute-1", back)


def test_an_unknown_host_key_is_refused(runs: Runs, tmp_path: Path) -> None:
    document = json.loads(runs.lab.document.read_text())
    empty = tmp_path / "known_hosts"
    empty.touch()
    document["ssh"] = {**document["ssh"], "known_hosts_file": str(empty), "config_file": None}
    other = tmp_path / "cluster.json"
    other.write_text(json.dumps(document))
    done = runs.shoal("run", "--run", runs.id("strange"), "--cluster", str(other))
    assert done.returncode == 1
    assert "the host key is not known" in done.stderr


def test_a_fetch_that_was_killed_is_finished_by_typing_it_again(runs: Runs, whole: str) -> None:
    record = runs.folder(whole) / "run.json"
    kept = record.read_text()
    folder = runs.folder(whole) / "compute-1"
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in sorted(before)[::2]:
        (folder / path).unlink()
    process = runs.begun("results", "fetch", runs.id(whole))
    wait_for(lambda: process.poll() is not None or (folder / ".arriving").exists(), "the fetch begins")
    process.kill()
    process.communicate()
    assert runs.shoal("results", "fetch", runs.id(whole)).returncode == 0
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    record.write_text(kept)
