"""Killed containers: what is made of the signs on a node, and that the look finds them there."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.engines import killed
from shoal.engines.protocol import Execution, State
from shoal.results.record import Outcome
from shoal.run.outcomes import outcome_of, worth_another_try

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
        ("event kill 9\n", State.STOPPED, killed.by_somebody(137)),
        ("event kill 15\nevent kill 9\n", State.STOPPED, killed.by_somebody(137)),
        # Docker, on its way down with the machine, kills what does not end in time.
        ("machine stopping\nevent kill 15\nevent kill 9\n", State.LOST, killed.shut_down(137)),
        # The watch over runs' folders on the node, which says first what it is about.
        ("event kill 25\nevent kill 9\n", State.ENDED, killed.over_quota(137)),
        ("", State.ENDED, killed.UNKNOWN),
    ],
)
def test_signs(signs: str, state: State, words: str) -> None:
    found = killed.judged(ENDED, signs)
    assert (found.state, found.message, found.exit_code) == (state, words, 137)
    assert outcome_of(found, None)[1] == words, "what was found reaches the reader"


def test_a_container_that_its_quota_ended_at_once() -> None:
    found = killed.judged(replace(ENDED, exit_code=killed.OVER_QUOTA), "")
    assert outcome_of(found, None) == (Outcome.FAILED, killed.over_quota(153))


@pytest.mark.parametrize("code", [130, 143])
@pytest.mark.parametrize(
    ("signs", "state"),
    [
        ("", State.LOST),
        ("event kill 15\n", State.STOPPED),
        ("machine stopping\n", State.LOST),
        ("machine stopping\nevent kill 15\n", State.LOST),
        ("event oom\n", State.OUT_OF_MEMORY),
    ],
)
def test_a_container_that_was_asked_to_end(code: int, signs: str, state: State) -> None:
    """A shutdown is nobody's wish to end the run: the node is given it again. `docker stop` by a person is one."""
    found = killed.judged(replace(ENDED, exit_code=code), signs)
    assert found.state is state
    assert f"exit code {code}" in found.message
    outcome, _ = outcome_of(found, None)
    assert worth_another_try(outcome, code) is (state is not State.STOPPED)


def test_only_what_ended_from_outside_is_looked_into() -> None:
    assert killed.is_open(ENDED)
    assert killed.is_open(replace(ENDED, exit_code=143))
    assert not killed.is_open(Execution("c1", "e-1", State.STOPPED, 143))
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
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", killed._LOOK, "look", "label=x", "label=x"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.strip() for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize(
    ("system", "docker", "expected"),
    [
        ("running", "active", ""),
        ("stopping", "active", "machine stopping\n"),
        ("running", "deactivating", "machine stopping\n"),
    ],
)
def test_a_machine_on_its_way_down_is_seen(tmp_path: Path, system: str, docker: str, expected: str) -> None:
    answers = f"is-system-running) echo {system} ;; is-active) echo {docker} ;;"
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncase $1 in {answers} esac\n")
    for name in ("docker", "dmesg", "journalctl"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", killed._LOOK, "look", "label=x", "label=x"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == expected
