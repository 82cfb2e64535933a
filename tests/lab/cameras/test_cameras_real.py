"""`shoal lab up --cameras`: cameras stream over real RTSP, a store speaks S3, outages of either, and all goes again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from live_cameras import until

from shoal.artifacts import lab_tools
from shoal.cluster.document import Cluster, load
from shoal.lab import store
from shoal.lab.down import down
from shoal.lab.status import container_of, status
from shoal.paths import cluster_document
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NAME = "camtest"
NODE = "compute-1"


def shoal(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal", "lab", *words, "--name", NAME]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def cluster(lab_environment: None) -> Iterator[Cluster]:
    down(NAME)
    done = shoal("up", "--compute", "1", "--cameras", "2")
    assert done.returncode == 0, done.stderr
    yield load(cluster_document(NAME))
    assert down(NAME).clean


def frames(source: str, wanted: int) -> list[tuple[int, int]]:
    """Width and height of so many frames of a stream, whose time goes on from each to the next."""
    found: list[tuple[int, int]] = []
    times: list[float] = []
    with av.open(source, options={"rtsp_transport": "tcp", "timeout": "10000000"}) as container:
        for frame in container.decode(video=0):
            found.append((frame.width, frame.height))
            times += [] if frame.time is None else [frame.time]
            if len(found) == wanted:
                assert times == sorted(set(times))
                assert len(times) >= wanted - 1, "the first alone may come before the server's clock"
                return found
    raise AssertionError(f"the stream ended after {len(found)} frames")


def reached(address: str, port: int) -> bool:
    """Whether the node comes to a port, asked on the node."""
    code = f"import socket; socket.create_connection(('{address}', {port}), 3)"
    exit_code, _ = container_of(NAME, NODE).exec_run(["python3", "-c", code])
    return exit_code == 0


def test_each_camera_streams_and_goes_on(cluster: Cluster) -> None:
    until(lambda: shoal("status").returncode == 0, "the cameras answer", 60)
    cameras = cluster.node(NODE).cameras
    assert [one.name for one in cameras] == ["compute-1-a", "compute-1-b"]
    for camera in cameras:
        assert frames(camera.source, 20) == [(640, 480)] * 20
    found = {node.name: node for node in status(NAME).nodes}
    assert found["cameras"].services == {"compute-1-a": True, "compute-1-b": True}
    assert found["store"].services == {"s3": True}
    assert shoal("status").returncode == 0


def test_the_store_keeps_what_it_is_given_and_refuses_a_wrong_key(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.events_store is not None
    program = lab_tools(to_stderr) / "bin" / "rclone"
    key, secret = store.credential(NAME)

    def put(text: str, with_secret: str) -> int:
        remote = f":s3,provider=Other,endpoint='{cluster.events_store.endpoint}',force_path_style=true:events/x/{text}"  # type: ignore[union-attr]
        done = subprocess.run(
            [program, "--config", os.devnull, "--retries", "1", "--low-level-retries", "1", "rcat", remote],
            input=text, text=True, capture_output=True, check=False,
            env={**os.environ, "RCLONE_S3_ACCESS_KEY_ID": key, "RCLONE_S3_SECRET_ACCESS_KEY": with_secret},
        )  # fmt: skip
        return done.returncode

    assert put("good", secret) == 0
    assert put("bad", "wrong") != 0
    machine = container_of(NAME, "store")
    assert store.objects(machine) == ["x/good"]
    until(lambda: store.puts(machine) == {"x/good": 1}, "the store notes what was put", 30)
    assert put("good", secret) == 0
    until(lambda: store.puts(machine) == {"x/good": 2}, "also what was there before", 30)


def test_typed_again_nothing_changes_and_a_camera_that_died_comes_back(cluster: Cluster) -> None:
    before = json.loads(shoal("status", "--json").stdout)
    again = shoal("up")
    assert again.returncode == 0
    assert "stream at" not in again.stderr
    assert load(cluster_document(NAME)) == cluster
    assert json.loads(shoal("status", "--json").stdout) == before
    machine = container_of(NAME, "cameras")
    machine.exec_run(["systemctl", "stop", "lab-camera-compute-1-b"])
    assert shoal("status").returncode == 3
    machine.exec_run(["systemctl", "start", "lab-camera-compute-1-b"])
    until(lambda: shoal("status").returncode == 0, "the camera answers again", 60)


def test_outages_of_cameras_and_of_the_line(cluster: Cluster) -> None:
    assert cluster.events_store is not None
    network = cluster.requester.address.rpartition(".")[0]
    ways = {"camera": (f"{network}.4", 8554), "store": (f"{network}.5", 9000), "requester": (f"{network}.10", 22)}

    def open_ways() -> set[str]:
        return {name for name, (address, port) in ways.items() if reached(address, port)}

    assert open_ways() == set(ways)
    for what, cut_off in (("cameras", "camera"), ("wan", "store"), ("requester", "requester")):
        done = shoal("cut", NODE, "--from", what)
        journal = container_of(NAME, NODE).exec_run(["journalctl", "-u", "shoal-lab-cut", "--no-pager"]).output
        assert done.returncode == 0, f"{done.stderr}{journal.decode()}"
        assert open_ways() == set(ways) - {cut_off}
    assert shoal("mend", NODE).returncode == 0
    assert open_ways() == set(ways)


def test_with_more_cameras_all_are_other_processes(cluster: Cluster) -> None:
    """What ran before does not go on as it was."""

    def process(machine: str, unit: str) -> str:
        return str(container_of(NAME, machine).exec_run(["systemctl", "show", "-p", "MainPID", unit]).output)

    before = process("cameras", "lab-camera-compute-1-a.service"), process("store", "lab-store.service")
    assert shoal("up", "--cameras", "3").returncode == 0
    assert [one.name[-1] for one in load(cluster_document(NAME)).node(NODE).cameras] == ["a", "b", "c"]
    assert process("cameras", "lab-camera-compute-1-a.service") != before[0]
    assert process("store", "lab-store.service") == before[1]  # nothing of it is other
    until(lambda: shoal("status").returncode == 0, "all cameras answer", 60)


def test_without_cameras_their_machines_and_the_store_go(cluster: Cluster) -> None:
    assert shoal("up", "--cameras", "0").returncode == 0
    assert {node.name for node in status(NAME).nodes} == {"requester", "compute-1"}
    without = load(cluster_document(NAME))
    assert (without.events_store, without.node(NODE).cameras) == (None, ())
