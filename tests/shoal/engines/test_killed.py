"""Killed containers: what is made of the signs on a node, and that the look finds them there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from shoal.engines import killed
from shoal.engines.protocol import Execution, State

ENDED = Execution("c1", "e-1", State.ENDED, 137, "last words")
ID = "5f" * 32
KERNEL = (
    "[7] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={id},mems_allowed=0,oom_memcg=/docker/{id},"
    "task_memcg=/docker/{id},task=python3,pid=77,uid=0"
)
GLOBAL = (
    "[7] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
    "task_memcg=/system.slice/docker-{id}.scope,task=python3,pid=77,uid=0"
)


@pytest.mark.parametrize(
    ("signs", "state", "words"),
    [
        ("event oom\n", State.OUT_OF_MEMORY, killed.out_of_memory(137)),
        ("kernel container\n", State.OUT_OF_MEMORY, killed.out_of_memory(137)),
        # Docker ends what is left of a container that ran out of memory: that it was killed too says nothing.
        ("event oom\nevent kill 9\n", State.OUT_OF_MEMORY, killed.out_of_memory(137)),
        ("kernel node\nevent oom\n", State.OUT_OF_MEMORY, killed.NODE_OUT_OF_MEMORY),
        ("event kill 9\n", State.STOPPED, killed.BY_SOMEBODY),
        ("event kill 15\nevent kill 9\n", State.STOPPED, killed.BY_SOMEBODY),
        ("", State.ENDED, killed.UNKNOWN),
    ],
)
def test_signs(signs: str, state: State, words: str) -> None:
    found = killed.judged(ENDED, signs)
    assert (found.state, found.message, found.exit_code) == (state, words, 137)


def test_only_a_plain_137_is_looked_into() -> None:
    assert killed.is_open(ENDED)
    assert not killed.is_open(Execution("c1", "e-1", State.OUT_OF_MEMORY, 137))
    assert not killed.is_open(Execution("c1", "e-1", State.ENDED, 1))


@pytest.mark.parametrize(
    ("events", "listed", "kernel", "expected"),
    [
        (f"oom {ID} \ndie {ID} \n", "", "", ["event oom"]),
        (f"kill {ID} 9\ndie {ID} \n", "", KERNEL.format(id="0" * 64), ["event kill 9"]),
        (f"die {ID} \n", "", KERNEL.format(id=ID), ["kernel container"]),
        (f"die {ID} \n", "", GLOBAL.format(id=ID), ["kernel node"]),
        # Docker was restarted and has forgotten; the container is still there.
        ("", f"{ID}\n", KERNEL.format(id=ID), ["kernel container"]),
        # ... or is not: other containers' ends are no evidence.
        ("", "", KERNEL.format(id=ID), []),
    ],
)
def test_the_look_on_a_node(tmp_path: Path, events: str, listed: str, kernel: str, expected: list[str]) -> None:
    answers = f"events) cat <<'E'\n{events}E\n;; ps) cat <<'E'\n{listed}E\n;;"
    (tmp_path / "docker").write_text(f"#!/bin/sh\ncase $1 in {answers} esac\n")
    (tmp_path / "dmesg").write_text(f"#!/bin/sh\ncat <<'E'\n{kernel}\nE\n")
    (tmp_path / "journalctl").write_text("#!/bin/sh\nexit 1\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", killed._LOOK, "look", "label=x", "label=x"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.strip() for line in done.stdout.splitlines()] == expected
