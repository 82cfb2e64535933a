"""A node records a real RTSP camera with Debian's ffmpeg, through a lost camera and a power cut."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab
from live_cameras import Camera, until

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.deploys.run import run_deploy
from shoal.site import sample_clips as samples
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

NODE = "compute-1"
PORT = 18554
STATE = "/var/lib/shoal/recorder/north"


@pytest.fixture(scope="module")
def camera(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    folder = tmp_path_factory.mktemp("camera")
    (folder / "north.mp4").write_bytes(samples.sample_clips()[0].path.read_bytes())
    made = Camera("north", folder, lab.facts.gateway, PORT)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def document(lab: Lab, camera: Camera, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's cluster with a camera on one node, and a site without weights and clips."""
    raw = json.loads(lab.document.read_text())
    (node,) = [one for one in raw["nodes"] if one["name"] == NODE]
    node["cameras"] = [{"name": "north", "source": camera.source, "keep_days": 1}]
    path = tmp_path_factory.mktemp("cluster") / "cluster.json"
    clusters.save(clusters.parse(raw, source="the test"), path)
    return path


def on(lab: Lab, script: str) -> str:
    """A root shell on the node, through the lab's engine."""
    command = ["docker", "exec", f"shoal-{lab.name}-{NODE}", "sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def lines(lab: Lab, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in on(lab, f"cat {STATE}/{name}.jsonl 2>/dev/null || true").splitlines()]


def deploy(document: Path) -> list[str]:
    """Role `recorder` on the node alone, as the site's deploy installs it; what it changed."""
    data = {"recorder_segment_s": 4, "recorder_silence_s": 3}
    done = run_deploy(
        reaches.load(document),
        str(Path(__file__).with_name("recorder_alone.py")),
        limit=[NODE],
        data=data,
        say=to_stderr,
    )
    return [entry.name for entry in done.operations if entry.changed]


def test_a_camera_is_recorded_lost_and_recorded_again(lab: Lab, camera: Camera, document: Path) -> None:
    assert deploy(document)
    assert deploy(document) == []
    until(lambda: len(lines(lab, "segments")) >= 3, "three segments")
    probe = "ffprobe -v error -count_frames -show_entries stream=codec_name,nb_read_frames -of csv=p=0"
    films = on(lab, f"for f in /videos/cameras/north/2*/*.mp4; do {probe} $f; done").split()
    assert len(films) >= 3
    assert all(film.startswith("h264,") and int(film.split(",")[1]) > 5 for film in films)
    assert lines(lab, "gaps") == []

    camera.stop()
    before = len(lines(lab, "segments"))
    until(lambda: on(lab, f"cat {STATE}/now.json").count("camera_lost"), "the loss is noted")
    time.sleep(5)  # without the camera: less than two seconds are no gap
    camera.start()
    until(lambda: len(lines(lab, "segments")) >= before + 2, "it records again")
    (gap,) = lines(lab, "gaps")
    assert gap["reason"] == "camera_lost"


def test_a_power_cut_costs_the_last_seconds_and_the_time_without_power(
    lab: Lab, camera: Camera, document: Path
) -> None:
    machine = f"shoal-{lab.name}-{NODE}"
    before = lines(lab, "segments")
    subprocess.run(["docker", "kill", machine], check=True, capture_output=True)
    time.sleep(5)  # without power
    subprocess.run(["docker", "start", machine], check=True, capture_output=True)
    until(lambda: len(lines(lab, "segments")) >= len(before) + 2, "it records again by itself")
    assert lines(lab, "segments")[: len(before)] == before
    gap = lines(lab, "gaps")[-1]
    # The nodes of a lab share this machine's kernel, whose boot id says that it was not rebooted.
    assert gap["reason"] == "killed"
    assert 4 < gap["end"] - gap["start"] < 60  # type: ignore[operator]


def test_a_camera_that_is_taken_out_leaves_its_film(lab: Lab, document: Path) -> None:
    film = on(lab, "ls /videos/cameras/north/2*").split()
    raw = json.loads(document.read_text())
    for node in raw["nodes"]:
        node.pop("cameras", None)
    clusters.save(clusters.parse(raw, source="the test"), document)
    deploy(document)
    assert set(film) <= set(on(lab, "ls /videos/cameras/north/2*").split())
    assert on(lab, "systemctl list-units --all --plain --no-legend 'shoal-recorder@*'") == ""
    assert on(lab, "command -v ffmpeg || true") == ""
    assert on(lab, "getent passwd shoal-recorder || true") == ""
