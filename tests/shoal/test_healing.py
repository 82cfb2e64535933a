"""Automatic attempts: a node that is away is waited for, one that stays away is named, the pause doubles."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_nodes import FakeNodes

from shoal import healing, running
from shoal.errors import Exit
from shoal.following import Event
from shoal.runs import Outcome


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    monkeypatch.setattr(healing, "ATTEMPT_PAUSE_S", 0.05)
    monkeypatch.setattr(healing, "BACK_POLL_S", 0.05)
    fakes = FakeNodes.make(tmp_path, monkeypatch)
    fakes.video("c1", "a.mp4")
    fakes.video("c2", "b.mp4")
    return fakes


def test_a_node_that_comes_back_is_given_the_run(nodes: FakeNodes) -> None:
    nodes.down("c2")

    def tell(event: Event) -> None:
        nodes.tell(event)
        if event.text.startswith("waiting for it: "):
            nodes.up("c2")

    record = running.start(nodes.order(attempts=2), tell)
    assert record.complete
    told = [event.text for event in nodes.events if event.node == "c2"]
    assert any(text.startswith("waiting for it: ") for text in told)
    assert "is back" in told
    assert [attempt.outcome for attempt in record.nodes["c2"].attempts] == [Outcome.UNREACHABLE, Outcome.FINISHED]
    assert len(record.nodes["c1"].attempts) == 1


def test_a_node_that_stays_away_ends_the_run(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "BACK_TIMEOUT_S", 0.2)
    nodes.down("c2")
    record = running.start(nodes.order(attempts=3), nodes.tell)
    assert running.exit_code(record) is Exit.INCOMPLETE
    assert [attempt.outcome for attempt in record.nodes["c2"].attempts] == [Outcome.UNREACHABLE] * 3
    pauses = [event.text for event in nodes.events if event.text.startswith("again in")]
    assert len(pauses) == 2


def test_an_engine_has_its_own_number_of_attempts(nodes: FakeNodes) -> None:
    nodes.down("c2")
    record = running.start(nodes.order(), nodes.tell)
    assert len(record.nodes["c2"].attempts) == 1  # over ssh a failure is a failure
    assert healing.DEFAULT_ATTEMPTS["bacalhau"] > 1
