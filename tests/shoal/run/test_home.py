"""Results brought home after a run: each node is named when its own are home, and Ctrl-C says what is kept."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_nodes import FakeNodes, deadline

from shoal.cluster.document import Cluster, Node
from shoal.errors import UsageError
from shoal.interrupts import ReportedInterrupt
from shoal.results import fetch as results
from shoal.results import record as runs
from shoal.run import start as running
from shoal.run.home import fetch_home


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    fakes = FakeNodes.make(tmp_path, monkeypatch)
    fakes.video("c1", "a.mp4")
    fakes.video("c2", "b.mp4")
    running.start(fakes.order(fetch=False), fakes.tell)
    return fakes


@pytest.fixture
def held(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The results of c2, asked for the first time, do not come before this is set."""
    go_on = threading.Event()
    asked: list[str] = []
    fetch_node = results.fetch_node

    def slow(cluster: Cluster, node: Node, *rest: Any, **more: Any) -> runs.Fetched:
        asked.append(node.name)
        if node.name == "c2" and asked.count("c2") == 1:
            assert go_on.wait(60)
        return fetch_node(cluster, node, *rest, **more)

    monkeypatch.setattr(results, "fetch_node", slow)
    return go_on


def test_a_node_is_named_and_on_record_while_another_still_sends(nodes: FakeNodes, held: threading.Event) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if text.startswith("c1: "):
            assert runs.load("r1").nodes["c1"].fetched
            held.set()

    with deadline(30, "c1 was named when c2 was home"):
        assert fetch_home(runs.load("r1"), nodes.cluster, say) == []
    assert [text.partition(":")[0] for text in said] == ["c1", "c2"]
    assert runs.load("r1").complete


def test_ctrl_c_says_what_is_kept_and_how_it_goes_on(nodes: FakeNodes, held: threading.Event) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if text.startswith("c1: "):
            os.kill(os.getpid(), signal.SIGINT)

    with deadline(20, "it was waited for c2"), pytest.raises(ReportedInterrupt):
        fetch_home(runs.load("r1"), nodes.cluster, say)
    assert said[-1] == "interrupted; what came whole is kept, `shoal results fetch r1` brings the rest"
    record = runs.load("r1")
    assert (record.nodes["c1"].fetched is None, record.nodes["c2"].fetched) == (False, None)
    assert fetch_home(record, nodes.cluster, said.append) == []
    assert runs.load("r1").complete


def test_what_is_wrong_with_our_own_files_is_no_nodes_fault(nodes: FakeNodes, tmp_path: Path) -> None:
    access = nodes.cluster.ssh.model_copy(update={"identity_file": tmp_path / "no-such-key"})
    with pytest.raises(UsageError, match="are not there"):
        fetch_home(runs.load("r1"), nodes.cluster.model_copy(update={"ssh": access}), lambda text: None)
