"""Runs over the footage that nodes have kept: who is asked, what is counted, and what is refused before it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_nodes import FakeNodes, outcomes

from shoal.cluster.document import Camera, Cluster
from shoal.errors import Exit, ShoalError, UsageError
from shoal.results.record import Outcome
from shoal.run import admission, preflight
from shoal.run import start as running
from shoal.run.archive import Archive, cameras_of, of_words
from shoal.run.carry_out import exit_code
from shoal.run.resume import resume

NOW = datetime(2026, 11, 30, 10, tzinfo=UTC)
SINCE = "2026-11-30T08:00:00Z"
ARCHIVE = Archive(datetime(2026, 11, 30, 8, tzinfo=UTC))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    fakes = FakeNodes.make(tmp_path, monkeypatch)
    found = {
        "c1": {"cameras": (camera("north"), camera("gate"))},
        "c2": {"cameras": (camera("dock"),), "camera_folders": ("/videos/Yard/Cam 1", "/srv/Film")},
    }
    changed = tuple(node.model_copy(update=found.get(node.name, {})) for node in fakes.cluster.nodes)
    return replace(fakes, cluster=Cluster(name="test", substrate="onprem", nodes=changed))


def camera(name: str) -> Camera:
    return Camera(name=name, source=f"rtsp://10.0.0.9/{name}")


def film(nodes: FakeNodes, node: str, place: str, began: datetime, *, closed: datetime | None = None) -> None:
    """A file as a recorder leaves it, of 2 bytes."""
    path = nodes.path(node, "/videos") / place / f"{began:%Y-%m-%d}" / f"{began:%Y%m%dT%H%M%SZ}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("ok")
    closed_s = (closed or began + timedelta(minutes=1)).timestamp()
    os.utime(path, (closed_s, closed_s))


def counted(nodes: FakeNodes, node: str, archive: Archive) -> tuple[int | None, int, tuple[str, ...]]:
    look = preflight.survey(
        nodes.cluster, [nodes.cluster.node(node)], run="r1", weights_sha256="a" * 64, archive=archive
    )
    fact = look.facts[node]
    return fact.videos, fact.footage_bytes, fact.cameras_without


def asked(nodes: FakeNodes, cameras: str, *, node: Sequence[str] = ()) -> Mapping[str, Sequence[str]]:
    return cameras_of(nodes.cluster, cameras, node)


def test_a_node_counts_what_is_asked_for_and_no_more(nodes: FakeNodes) -> None:
    for minutes in (-180, -121, -1, 0, 30):  # of 08:00
        film(nodes, "c1", "cameras/north", NOW + timedelta(minutes=minutes - 120))
    film(nodes, "c1", "cameras/north-2", NOW)
    film(nodes, "c1", "cameras/north", NOW - timedelta(days=2), closed=NOW)  # copied lately
    film(nodes, "c1", "cameras/north/.recording", NOW)
    film(nodes, "c1", "gate", NOW - timedelta(days=1))
    nodes.video("c1", 'it\'s\n"other".mp4')
    assert counted(nodes, "c1", Archive()) == (9, 18, ())
    assert counted(nodes, "c1", Archive(cameras=("north",))) == (6, 12, ())
    assert counted(nodes, "c1", replace(ARCHIVE, cameras=("north", "gate", "nobody"))) == (3, 6, ("gate", "nobody"))
    assert counted(nodes, "c1", replace(ARCHIVE, cameras=("gate",))) == (0, 0, ("gate",))
    assert counted(nodes, "c2", ARCHIVE) == (0, 0, ())
    nodes.path("c2", "/videos").rmdir()
    assert counted(nodes, "c2", ARCHIVE) == (None, 0, ())


def test_a_full_archive_does_not_keep_a_question_about_its_last_hour_from_being_asked(nodes: FakeNodes) -> None:
    film(nodes, "c1", "cameras/north", NOW - timedelta(days=3))
    (path,) = nodes.path("c1", "/videos").rglob("*.mp4")
    old = path.stat()
    with path.open("ab") as stream:
        stream.truncate(1 << 43)  # sparse: it takes no room here
    os.utime(path, (old.st_atime, old.st_mtime))
    film(nodes, "c1", "cameras/north", NOW)
    cameras = asked(nodes, "north")
    for knobs, reasons in (({"cameras": "north"}, ["c1"]), ({"cameras": "north", "since": SINCE}, [])):
        planned = running.plan(nodes.order(fetch=False, knobs=knobs, cameras=cameras))
        assert list(admission.unfit(nodes.cluster, planned.job, planned.survey)) == reasons


def test_nodes_without_that_footage_are_named_and_asked_nothing(nodes: FakeNodes) -> None:
    film(nodes, "c1", "cameras/north", NOW)
    film(nodes, "c2", "cameras/dock", NOW - timedelta(days=1))
    cameras = asked(nodes, "north,gate,dock")
    order = nodes.order(knobs={"since": SINCE, "cameras": "north,gate,dock"}, cameras=cameras)
    record = running.start(order, nodes.tell)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.NO_VIDEOS}
    assert exit_code(record) is Exit.INCOMPLETE
    (attempt,) = record.nodes["c2"].attempts
    assert attempt.message == f"there is no footage of north, gate, dock since {SINCE} under /videos"
    assert f"c1: note: no footage of gate since {SINCE}" in nodes.told()
    assert "no footage of dock" not in nodes.told().replace(attempt.message, "")
    film(nodes, "c2", "cameras/dock", NOW)
    assert outcomes(resume("r1", nodes.cluster, nodes.tell, weights_path=nodes.weights()))["c2"] is Outcome.FINISHED


def test_where_nobody_has_any_nothing_is_started(nodes: FakeNodes) -> None:
    film(nodes, "c1", "cameras/north", NOW - timedelta(days=1))
    with pytest.raises(ShoalError, match="nothing was started") as raised:
        running.start(
            nodes.order(knobs={"since": SINCE, "cameras": "north"}, cameras=asked(nodes, "north")), nodes.tell
        )
    assert raised.value.exit_code is Exit.FAILED
    assert [fault.what for fault in raised.value.faults] == [
        f"there is no footage of north since {SINCE} under /videos"
    ]


def test_a_drained_node_of_a_camera_is_left_out_and_said(nodes: FakeNodes) -> None:
    """It was not named: the cameras were."""
    film(nodes, "c1", "cameras/north", NOW)
    nodes.path("c2", "/var/lib/shoal/drained").write_text("2026-11-25T09:00:00Z")
    order = nodes.order(knobs={"cameras": "north,dock"}, cameras=asked(nodes, "north,dock"))
    assert outcomes(running.start(order, nodes.tell)) == {"c1": Outcome.FINISHED}
    assert "c2: note: is drained and gets no run" in nodes.told()
    with pytest.raises(UsageError, match="drained"):
        running.start(replace(order, run="r2", nodes=("c1", "c2")), nodes.tell)


def test_cameras_are_asked_for_by_name_and_sought_where_they_lie(nodes: FakeNodes) -> None:
    assert asked(nodes, "north, dock,north") == {"c1": ["north"], "c2": ["dock"]}
    assert asked(nodes, "yard_cam-1,srv_film") == {"c2": ["Yard/Cam 1", "cameras/srv_Film"]}
    film(nodes, "c2", "Yard/Cam 1", NOW)
    assert counted(nodes, "c2", replace(ARCHIVE, cameras=("Yard/Cam 1",))) == (1, 2, ())
    assert asked(nodes, "north,dock", node=["c2"]) == {"c2": ["dock"]}


@pytest.mark.parametrize(
    ("cameras", "node", "words"),
    [
        ("north,est", [], "no camera called est"),
        (" ,", [], "no camera is named"),
        ("north", ["c2"], "--node c2: has none of the cameras north"),
    ],
)
def test_cameras_that_are_none_are_refused(nodes: FakeNodes, cameras: str, node: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        asked(nodes, cameras, node=node)
    assert raised.value.hint == "cameras there are: dock, gate, north, srv_film, yard_cam-1"


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"classes": "bicycle,unicorn"}, "--classes: there is no class 'unicorn'"),
        ({"classes": "bycicle"}, "did you mean bicycle"),
        ({"classes": "80"}, "there is no class '80'"),
        ({"classes": ","}, "names no class"),
        ({"img": 100}, "--img: 100 is no multiple of 32"),
    ],
)
def test_what_the_detector_would_refuse_is_refused_before_a_node_is_asked(
    nodes: FakeNodes, knobs: dict[str, str | int], words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        running.start(nodes.order(knobs=knobs), nodes.tell)
    assert words in str(raised.value.faults[0])
    assert not (nodes.root / "ssh.log").exists()


def test_a_job_says_itself_what_it_is_for() -> None:
    words = ["--run", "r1", "--since", SINCE, "--cameras", "north,gate", "--img", "320"]
    assert of_words(words) == replace(ARCHIVE, cameras=("north", "gate"))
    assert str(of_words(words)) == f" of north, gate since {SINCE}"
    assert of_words(["--since", "nonsense"]) == Archive()
    assert Archive(datetime(1, 1, 1, tzinfo=UTC)).look_words()[:2] == ["00010101T000000Z"] * 2
