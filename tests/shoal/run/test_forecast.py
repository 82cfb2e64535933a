"""A run whose results are not going to fit is not begun: on a node, or here."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from fake_nodes import FakeNodes

from shoal.errors import UsageError
from shoal.results.forecast import DOCUMENTS_BYTES, PICTURE_BYTES, results_bytes
from shoal.results.record import Outcome
from shoal.run import preflight
from shoal.run import start as running

usage = namedtuple("usage", "total used free")


def test_the_forecast_grows_with_footage_and_pictures_and_shrinks_with_the_stride() -> None:
    assert results_bytes(0, 0) == 0
    assert results_bytes(2, 0) == 2 * (3 * PICTURE_BYTES + DOCUMENTS_BYTES)
    assert results_bytes(2, 0, ["--key-frames", "0"]) == 2 * DOCUMENTS_BYTES
    assert results_bytes(0, 10**9) == 50_000_000
    assert results_bytes(0, 10**9, ["--img", "640", "--stride", "5"]) == 10_000_000
    assert results_bytes(0, 10**9, ["--stride", "x", "--key-frames"]) == 50_000_000


def footage(nodes: FakeNodes, node: str, size_bytes: int) -> None:
    with nodes.video(node, "long.mp4").open("ab") as stream:
        stream.truncate(size_bytes)  # sparse: it takes no room here


def test_a_node_without_room_for_the_results_gets_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch)
    nodes.video("c2", "b.mp4")
    footage(nodes, "c1", 1 << 43)
    record = running.start(nodes.order(fetch=False), nodes.tell)
    assert record.nodes["c1"].outcome is Outcome.NOT_RUN
    assert "the run's results are forecast at" in record.nodes["c1"].attempts[0].message
    assert record.nodes["c2"].outcome is Outcome.FINISHED


def test_results_that_will_not_fit_here_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch)
    for name in ("c1", "c2"):
        nodes.video(name, "a.mp4")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, 1 << 20))
    with pytest.raises(UsageError, match="forecast at 0 MiB; 1 MiB are free") as raised:
        running.start(nodes.order(), nodes.tell)
    assert "--no-fetch" in str(raised.value)
    assert not nodes.containers("c1")
    assert running.start(nodes.order(fetch=False), nodes.tell).nodes["c1"].outcome is Outcome.FINISHED


def test_the_policy_file_is_no_footage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch, compute=1)
    place = nodes.path("c1", "/videos/.shoal")
    place.mkdir()
    (place / "privacy.json").write_text("{}")
    look = preflight.survey(nodes.cluster, nodes.cluster.compute, run="r1", weights_sha256="a" * 64)
    assert (look.facts["c1"].videos, look.facts["c1"].footage_bytes) == (0, 0)
    nodes.video("c1", "a.mp4", "12345")
    look = preflight.survey(nodes.cluster, nodes.cluster.compute, run="r1", weights_sha256="a" * 64)
    assert (look.facts["c1"].videos, look.facts["c1"].footage_bytes) == (1, 5)
