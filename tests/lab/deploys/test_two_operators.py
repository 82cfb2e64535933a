"""Two people deploy to the same machines from two control machines, each with a state folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab

from shoal.deploys.lock import LEASE_S, PLACE
from shoal.paths import repository
from shoal.ssh import client as ssh
from shoal.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
DEPLOY = HERE / "deploy_slowly.py"


@pytest.fixture(autouse=True)
def fresh(lab: Lab) -> Iterator[None]:
    """No lock and none of the deploy's files, before and after."""

    def clear() -> None:
        command = ("rm", "-rf", str(PLACE), "/tmp/begun", "/tmp/end", "/tmp/ended")
        ssh.on_each(lab.cluster.nodes, lambda node: ssh.run(lab.cluster, node, *command, root=True))

    clear()
    yield
    clear()


def operator(lab: Lab, home: Path, *words: str) -> subprocess.Popen[str]:
    """A deploy from a control machine that has never heard of the other."""
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(HERE / "control_machine.py"), str(lab.document), str(DEPLOY), *words],
        cwd=repository(),
        env={**os.environ, "SHOAL_STATE": str(home), "PYTHONPATH": str(repository())},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def there(lab: Lab, path: str) -> list[str]:
    """The machines on which the path is."""
    return [
        node.name
        for node in lab.cluster.nodes
        if ssh.run(lab.cluster, node, "test", "-e", path, root=True, check=False).exit_code == 0
    ]


def at_work(lab: Lab) -> bool:
    return len(there(lab, "/tmp/begun")) == len(lab.cluster.nodes)


def let_end(lab: Lab) -> None:
    for node in lab.cluster.nodes:
        ssh.run(lab.cluster, node, "touch", "/tmp/end")


def test_one_goes_on_and_the_other_names_the_holder_and_since_when(lab: Lab, tmp_path: Path) -> None:
    first = operator(lab, tmp_path / "a")
    assert until(lambda: at_work(lab), every_s=0.5, timeout_s=90)
    second = operator(lab, tmp_path / "b")
    _, words = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "nothing was changed: another deploy is at work" in words
    # Of the first machine by name: the others were not asked any more.
    assert re.search(
        rf"{min(node.name for node in lab.cluster.nodes)}: \S+@\S+ \(process {first.pid}: deploy 'deploy_slowly' on "
        rf"'{lab.name}'\) holds its deploy lock since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
        words,
    ), words
    let_end(lab)
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert there(lab, "/tmp/ended") == [node.name for node in lab.cluster.nodes]
    assert there(lab, str(PLACE)) == []


def test_of_two_that_begin_at_once_one_goes_on(lab: Lab, tmp_path: Path) -> None:
    let_end(lab)
    both = [operator(lab, tmp_path / name) for name in ("a", "b")]
    words = [deploy.communicate(timeout=120)[1] for deploy in both]
    codes = [deploy.returncode for deploy in both]
    assert 0 in codes, words
    assert there(lab, str(PLACE)) == []
    if codes != [0, 0]:  # else one had ended before the other began
        assert "another deploy is at work" in words[codes.index(1)]


def test_a_lock_left_by_a_killed_deploy_is_named_and_broken_by_the_flag_alone(lab: Lab, tmp_path: Path) -> None:
    killed = operator(lab, tmp_path / "a")
    assert until(lambda: at_work(lab), every_s=0.5, timeout_s=90)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=30)
    assert there(lab, str(PLACE)) == [node.name for node in lab.cluster.nodes]
    let_end(lab)

    refused = operator(lab, tmp_path / "b")
    _, words = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert f"process {killed.pid}" in words
    assert "--break-lock" in words

    breaks = operator(lab, tmp_path / "b", "--break-lock")
    _, words = breaks.communicate(timeout=LEASE_S + 90)
    assert breaks.returncode == 0, words
    assert "it is broken, as asked" in words
    assert there(lab, str(PLACE)) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_is_given_back_however_the_deploy_is_ended(lab: Lab, tmp_path: Path, number: int) -> None:
    ended = operator(lab, tmp_path / "a")
    assert until(lambda: at_work(lab), every_s=0.5, timeout_s=90)
    os.kill(ended.pid, number)
    ended.communicate(timeout=60)
    assert ended.returncode != 0
    assert there(lab, str(PLACE)) == []


def test_a_living_lock_is_not_broken_by_the_flag(lab: Lab, tmp_path: Path) -> None:
    first = operator(lab, tmp_path / "a")
    assert until(lambda: at_work(lab), every_s=0.5, timeout_s=90)
    second = operator(lab, tmp_path / "b", "--break-lock")
    _, words = second.communicate(timeout=LEASE_S + 60)
    assert second.returncode == 1, words
    assert "another deploy is at work" in words
    let_end(lab)
    first.communicate(timeout=60)
    assert first.returncode == 0
