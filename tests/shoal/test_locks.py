"""Locks between processes: who waits, who is refused, and that a dead holder holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shoal.locks import HeldError, locked


def test_whoever_comes_second_waits_and_says_so_once(tmp_path: Path) -> None:
    said: list[str] = []
    order: list[str] = []
    waits = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        waits.set()

    def second() -> None:
        with locked(tmp_path / "lock", what="lab 'x'", say=say):
            order.append("second")

    with locked(tmp_path / "lock", what="lab 'x'"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        order.append("first")
        # Whoever waits must not end up with a lock on a file that is gone.
        (tmp_path / "lock").unlink()
    thread.join(10)
    assert order == ["first", "second"]
    assert said == [f"another command (process {os.getpid()}) is at work on lab 'x'; waiting for it"]
    assert (tmp_path / "lock").exists()


@pytest.mark.parametrize("timeout_s", [0.0, 0.3])
def test_a_holder_that_goes_on_is_named_when_the_time_is_over(tmp_path: Path, timeout_s: float) -> None:
    said: list[str] = []
    begun = time.monotonic()
    with (
        locked(tmp_path / "lock", what="a deploy"),
        pytest.raises(HeldError, match=f"process {os.getpid()}.* is at work on a deploy") as held,
        locked(tmp_path / "lock", what="a deploy", say=said.append, timeout_s=timeout_s),
    ):
        pass
    assert time.monotonic() - begun >= timeout_s
    assert held.value.holder == f"process {os.getpid()}"
    assert len(said) == (1 if timeout_s else 0)


def test_a_killed_command_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from shoal.locks import locked\n"
        "with locked(Path(sys.argv[1]), what='x'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False)
    assert (tmp_path / "lock").read_text().isdigit()
    with locked(tmp_path / "lock", what="x", timeout_s=0):
        pass


def test_a_child_that_inherits_the_descriptor_holds_the_lock_on(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", what="x") as descriptor:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(descriptor,))
    with pytest.raises(HeldError), locked(tmp_path / "lock", what="x", timeout_s=0):
        pass
    child.kill()
    child.wait()
    with locked(tmp_path / "lock", what="x", timeout_s=0):
        pass


def test_a_lock_that_nobody_holds_belongs_to_its_taker_alone(tmp_path: Path) -> None:
    with locked(tmp_path / "sub" / "lock", what="x"):
        assert (tmp_path / "sub" / "lock").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_keeps_nobody_from_a_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with locked(tmp_path / "lock", what="it") as descriptor:
        assert os.fstat(descriptor).st_size == 0
