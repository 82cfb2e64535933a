"""The deploy lock: its script run against a folder, who wins, what is reported, and what breaks it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.cluster.document import Cluster, Node
from shoal.deploys import lock
from shoal.errors import ShoalError
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshError, SshFailure

NODES = (
    Node(name="office", roles=("requester",), address="192.0.2.10"),
    Node(name="gate-1", roles=("compute",), address="192.0.2.21"),
    Node(name="gate-2", roles=("compute",), address="192.0.2.22"),
)
CLUSTER = Cluster(name="depot", substrate="onprem", nodes=NODES)
NAMES = [node.name for node in NODES]
FILE = Path(lock.__file__).with_name("lock.sh")


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """The script runs here, in a folder per machine; gives where a machine's lock lies."""

    def place(node: str) -> Path:
        (tmp_path / node).mkdir(exist_ok=True)
        return tmp_path / node / "deploy.lock"

    def run(cluster: Cluster, node: Node, *command: str, **more: Any) -> ssh.Completed:
        words = [str(place(node.name)) if word == str(lock.PLACE) else word for word in command]
        done = subprocess.run(words, capture_output=True, check=True)
        return ssh.Completed(0, done.stdout, "")

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(lock, "BEAT_S", 0.2)
    return place


def left_behind(place: Path, token: str = "a" * 32, silent_s: int = 0) -> None:
    """A lock as a killed deploy leaves it."""
    holder = lock._description("deploy 'site'").model_dump_json()
    subprocess.run(["sh", str(FILE), "take", str(place), token, holder], check=True, capture_output=True)
    beat = int(place.joinpath("beat").read_text())
    place.joinpath("beat").write_text(f"{beat - silent_s}\n")


def test_it_is_held_meanwhile_and_given_back(machines: Callable[[str], Path]) -> None:
    with lock.held(CLUSTER, NAMES, "deploy 'site'") as held:
        assert held.unreached == {}
        assert all(machines(name).is_dir() for name in NAMES)
    assert not any(list(machines(name).parent.iterdir()) for name in NAMES)


def test_it_is_given_back_when_the_deploy_fails(machines: Callable[[str], Path]) -> None:
    with pytest.raises(KeyboardInterrupt), lock.held(CLUSTER, NAMES, "x"):
        raise KeyboardInterrupt
    assert not any(machines(name).exists() for name in NAMES)


def test_another_is_told_who_holds_it_and_since_when_and_takes_none(machines: Callable[[str], Path]) -> None:
    left_behind(machines("gate-2"))
    with pytest.raises(ShoalError) as refused, lock.held(CLUSTER, NAMES, "mine"):
        pytest.fail("taken")
    text = str(refused.value)
    assert "nothing was changed" in text
    assert "deploy 'site'" in text
    assert "UTC" in text
    assert "--break-lock" in text
    assert refused.value.faults[0].where == "gate-2"
    assert not machines("office").exists()
    assert not machines("gate-1").exists()
    assert machines("gate-2").is_dir()


def test_a_lock_left_by_a_killed_deploy_stays_until_it_is_broken_by_name(machines: Callable[[str], Path]) -> None:
    left_behind(machines("gate-1"), silent_s=500)
    with pytest.raises(ShoalError, match="probably killed"), lock.held(CLUSTER, NAMES, "mine"):
        pytest.fail("taken")
    said: list[str] = []
    with lock.held(CLUSTER, NAMES, "mine", break_lock=True, say=said.append):
        assert machines("gate-1").joinpath("token").read_text() != "a" * 32 + "\n"
    assert "it is broken, as asked" in said[0]
    assert not any(list(machines(name).parent.iterdir()) for name in NAMES)


def test_a_living_lock_is_never_broken(machines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 6.0)
    begun, over = threading.Event(), threading.Event()

    def first() -> None:
        with lock.held(CLUSTER, ["gate-1"], "first"):
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert begun.wait(30)
        with pytest.raises(ShoalError, match="first"), lock.held(CLUSTER, ["gate-1"], "second", break_lock=True):
            pytest.fail("broken")
    finally:
        over.set()
        thread.join()


def test_whose_lock_is_broken_is_told(machines: Callable[[str], Path]) -> None:
    told = threading.Event()
    with lock.held(CLUSTER, ["gate-1"], "first", on_loss=lambda _: told.set()) as held:
        machines("gate-1").joinpath("token").write_text("b" * 32 + "\n")
        assert told.wait(30)
        assert list(held.lost) == ["gate-1"]
    assert machines("gate-1").is_dir()  # another's: not given back by us


def test_a_machine_that_does_not_answer_has_none(
    machines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ssh.run

    def run(cluster: Cluster, node: Node, *command: str, **more: Any) -> ssh.Completed:
        if node.name == "gate-2":
            raise SshError(node, SshFailure.TIMED_OUT, "")
        return real(cluster, node, *command, **more)

    monkeypatch.setattr(ssh, "run", run)
    with lock.held(CLUSTER, NAMES, "x") as held:
        assert list(held.unreached) == ["gate-2"]
        assert "no answer in time" in held.unreached["gate-2"]


def test_of_many_that_begin_at_once_one_goes_on(tmp_path: Path) -> None:
    place = tmp_path / "deploy.lock"
    starts = [
        subprocess.Popen(["sh", str(FILE), "take", str(place), f"{n:032x}", "{}"], stdout=subprocess.PIPE, text=True)
        for n in range(12)
    ]
    answers = [process.communicate()[0].splitlines()[0] for process in starts]
    assert sorted(answers) == ["held"] * 11 + ["taken"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["deploy.lock"]


def test_a_machines_answer_is_not_believed_blindly() -> None:
    other = lock.read(["held", "t", "-5", '{"user": "a\\u001b[2J"}'])
    assert other is not None
    assert other.holder is None
    assert "somebody unknown" in str(other)
    wrong = ("soon", "²", "٣", "--5", "-", "", "1e9", "9" * 5000)
    for lines in ([], ["held"], ["something"], *(["held", "t", age] for age in wrong)):
        with pytest.raises(ShoalError, match="not understood"):
            lock.read(lines)
