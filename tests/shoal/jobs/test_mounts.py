"""What a job may mount from a node: the same under both engines, refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_nodes import FakeNodes

from shoal import jobs
from shoal.cluster.document import Privacy
from shoal.errors import Exit, UsageError
from shoal.run import start as running

ALLOWED = [("/videos/cameras/gate", False), ("/videos/more", False)]
REFUSED = [
    ("/", False),
    ("/etc", False),
    ("/etc", True),
    ("/root/.ssh", True),
    ("/var/run/docker.sock", True),
    ("/var/lib/shoal", True),
    ("/var/lib/shoal/runs", True),
    ("/var/lib/shoal/runs/../../../../etc", True),
    ("/var/lib/shoal/weights/../../../etc", False),
    ("/videos/../etc", False),
    ("/videos/./../etc", False),
    ("/videosx", False),
    ("/videos", True),
    ("/var/lib/shoal/weights", True),
    ("//etc", False),
    ("/videos/", False),
]


def template(tmp_path: Path, source: str, read_write: bool, target: str = "/more") -> str:
    text = jobs.template_path("yolov5").read_text()
    more = (
        "      - Source:\n          Type: local\n          Params:\n"
        f"            SourcePath: {source}\n            ReadWrite: {str(read_write).lower()}\n"
        f"        Target: {target}\n"
    )
    path = tmp_path / "own.yaml.j2"
    path.write_text(text.replace("    InputSources:\n", f"    InputSources:\n{more}"))
    return str(path)


@pytest.mark.parametrize(("source", "read_write"), REFUSED)
def test_other_paths_of_the_host_are_refused_under_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, read_write: bool
) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch)
    nodes.video("c1", "a.mp4")
    with pytest.raises(UsageError, match=r"mounts what no job may see|is of another run") as raised:
        running.start(nodes.order(template=template(tmp_path, source, read_write)), nodes.tell)
    assert raised.value.exit_code is Exit.USAGE
    assert [fault.where for fault in raised.value.faults] == ["Tasks[0].InputSources[0].Source.Params.SourcePath"]
    assert not nodes.containers("c1")
    assert not (tmp_path / "home" / "r1").exists()


def test_a_part_of_the_footage_is_refused_where_a_machine_has_a_privacy_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch)
    nodes.video("c1", "a.mp4")
    machines = [
        node.model_copy(update={"privacy": Privacy(key_frames=0)}) if node.name == "c1" else node
        for node in nodes.cluster.nodes
    ]
    nodes.cluster = nodes.cluster.model_copy(update={"nodes": tuple(machines)})
    with pytest.raises(UsageError, match="mounts what no job may see") as raised:
        running.start(nodes.order(template=template(tmp_path, "/videos/cameras", False)), nodes.tell)
    assert "shows all of it or nothing" in str(raised.value)


@pytest.mark.parametrize(("source", "read_write"), ALLOWED)
def test_what_a_job_may_see_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, read_write: bool
) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch)
    for name in ("c1", "c2"):
        nodes.video(name, "a.mp4")
        nodes.path(name, source).mkdir(parents=True)
    record = running.start(nodes.order(template=template(tmp_path, source, read_write, target=source)), nodes.tell)
    assert record.complete


OTHER_TARGETS = [
    # Over the node's privacy policy, and over the program that reads it.
    ("/var/lib/shoal/runs/r1", True, "/videos/.shoal", "/state"),
    ("/var/lib/shoal/runs/r1", True, "/opt/shoal/app", "/state"),
    ("/var/lib/shoal/weights", False, "/videos/.shoal", "/weights"),
    ("/videos", False, "/mnt", "/videos"),
    ("/videos/cameras", False, "/videos/.shoal", "/videos/cameras"),
]


@pytest.mark.parametrize("mount", OTHER_TARGETS)
def test_nothing_is_mounted_anywhere_else_in_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: tuple[str, bool, str, str]
) -> None:
    source, read_write, target, right = mount
    nodes = FakeNodes.make(tmp_path, monkeypatch)
    nodes.video("c1", "a.mp4")
    with pytest.raises(UsageError, match="mounts what no job may see") as raised:
        running.start(nodes.order(template=template(tmp_path, source, read_write, target)), nodes.tell)
    (fault,) = raised.value.faults
    assert fault.where == "Tasks[0].InputSources[0].Target"
    assert fault.what == f"{source} is seen by a job at {right}, not at {target!r}"
    assert not nodes.containers("c1")
