"""What a node answers is taken in up to a bound: on either stream, in one line or many, for as long as was allowed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_nodes import FakeNodes

from shoal.ssh import client as ssh
from shoal.ssh import pipes
from shoal.ssh.failures import SshFailure, TooLongError, brief


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    return FakeNodes.make(tmp_path, monkeypatch, compute=1)


def answers(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    place = nodes.root / "liar"
    place.mkdir()
    # The login shell's part: the mark that comes before the command's output, on both streams.
    begin = "mark=$(printf %s \"$*\" | grep -oE 'shoal-[0-9a-f]{16}' | head -n 1); echo $mark; echo $mark >&2"
    (place / "ssh").write_text(f"#!/bin/sh\n{begin}\n{script}\n")
    (place / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")


def run(nodes: FakeNodes, **changes: object) -> ssh.Completed:
    return ssh.run(nodes.cluster, nodes.cluster.node("c1"), "true", **changes)  # type: ignore[arg-type]


def test_an_answer_without_end_is_cut_off_and_named(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(nodes, monkeypatch, "exec cat /dev/zero")
    with pytest.raises(TooLongError, match=r"node c1: `true` answered with more than 1000 bytes") as raised:
        run(nodes, most_bytes=1000)
    assert brief(raised.value) == "`true` answered with more than 1000 bytes"
    assert not raised.value.transient


def test_an_answer_of_just_the_bound_is_taken(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(nodes, monkeypatch, "head -c 1000 /dev/zero")
    assert len(run(nodes, most_bytes=1000).stdout) == 1000


def test_of_errors_the_end_is_kept(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(nodes, monkeypatch, "head -c 3000000 /dev/zero >&2; echo the end >&2; exit 7")
    done = run(nodes, check=False)
    assert len(done.stderr) <= pipes.WORDS_BYTES
    assert done.stderr.endswith("the end\n")
    with pytest.raises(ssh.RemoteError, match="the end"):
        list(ssh.stream(nodes.cluster, nodes.cluster.node("c1"), "true"))


def test_a_line_without_end_comes_in_pieces(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(nodes, monkeypatch, "head -c 200000 /dev/zero | tr '\\0' x; echo; echo next")
    lines = list(ssh.stream(nodes.cluster, nodes.cluster.node("c1"), "true"))
    assert max(map(len, lines)) <= pipes.LINE_BYTES
    assert "".join(lines) == "x" * 200_000 + "next"
    assert lines[-1] == "next"


def test_what_is_handed_over_arrives_whole_and_the_answer_too(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(nodes, monkeypatch, "exec cat")
    given = os.urandom(3_000_000)
    assert run(nodes, stdin=given).stdout == given


def test_a_command_that_reads_nothing_takes_no_harm(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(nodes, monkeypatch, "exec <&-; echo done")
    assert run(nodes, stdin=b"x" * 3_000_000).text == "done"


@pytest.mark.parametrize("script", ["exec sleep 60", "yes", "exec <&- >&- 2>&-; exec sleep 60"])
def test_the_time_limit_holds_whatever_is_sent(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    answers(nodes, monkeypatch, script)
    begun = time.monotonic()
    with pytest.raises((ssh.SshError, TooLongError)) as raised:
        run(nodes, timeout_s=1, most_bytes=1 << 40)
    assert time.monotonic() - begun < 30
    assert isinstance(raised.value, ssh.SshError)
    assert raised.value.failure is SshFailure.TIMED_OUT
