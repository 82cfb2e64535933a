"""The program as a process: its arguments, kills, signals, the lock, full and read-only file systems."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.detector import detector_making as making

Arguments = Callable[..., list[str]]
TIMEOUT_S = 60
# A frame takes some milliseconds at this size, so that there is a middle of a video to be killed in.
# Clips in which people are covered have tests of their own; here they would be most of the time.
SLOW = ("--img", "512", "--privacy", "off")
FRAMES = 60


def _finish(arguments: Sequence[str]) -> tuple[int, str, str]:
    process = making.shoal_detect(arguments)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _in_second_video(state: Path) -> Callable[[], bool]:
    """The first video is done, and some of the second one's detections are written."""

    def reached() -> bool:
        parts = list(state.glob("videos/.b-avi-*.segments/000000.jsonl"))
        return any(path.stat().st_size > 0 for path in parts)

    return reached


@pytest.fixture
def two_videos(videos: Path) -> Path:
    for name in ("a.avi", "b.avi"):
        making.write_video(videos / name, making.moving(FRAMES))
    return videos


def test_killed_in_the_middle_and_run_again_the_results_are_those_of_a_run_in_one_go(
    two_videos: Path, state: Path, arguments: Arguments
) -> None:
    assert _finish(arguments(*SLOW))[0] == 0
    whole = making.detections(state)
    assert all(whole.values())
    shutil.rmtree(state)

    process = making.shoal_detect(arguments(*SLOW))
    _wait_for(_in_second_video(state), process)
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert not (state / "manifest.json").exists()
    (done,) = (path for path in (state / "videos").iterdir() if not path.name.startswith("."))
    inode = done.stat().st_ino

    code, out, _ = _finish(arguments(*SLOW))
    assert code == 0
    assert making.events(out)[0]["videos_done"] == 1
    assert making.detections(state) == whole
    assert done.stat().st_ino == inode
    assert making.document(state / "manifest.json")["exit_code"] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_between_two_frames(
    two_videos: Path, state: Path, arguments: Arguments, number: signal.Signals, code: int
) -> None:
    process = making.shoal_detect(arguments(*SLOW))
    _wait_for(_in_second_video(state), process)
    asked = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert time.monotonic() - asked < 5
    assert (process.returncode, err) == (code, "")
    assert f"interrupted by signal {int(number)}" in making.notes(out)
    assert not (state / "manifest.json").exists()
    assert len([path for path in (state / "videos").iterdir() if not path.name.startswith(".")]) == 1
    code, out, _ = _finish(arguments(*SLOW))
    assert (code, making.events(out)[0]["videos_done"]) == (0, 1)
    assert not list(state.glob("videos/.*.part"))


def test_a_second_instance_waits_for_the_first_and_says_so(two_videos: Path, state: Path, arguments: Arguments) -> None:
    first = making.shoal_detect(arguments(*SLOW))
    _wait_for((state / "settings.json").exists, first)
    second = making.shoal_detect(arguments(*SLOW))
    out, err = second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 0, err
    assert first.wait(timeout=TIMEOUT_S) == 0
    first.communicate(timeout=TIMEOUT_S)
    lines = making.events(out)
    assert lines[0]["event"] == "waiting"
    assert f"holds the lock (process {first.pid} on " in lines[0]["text"]
    assert "finished already" in lines[1]["text"]
    assert set(json.loads((state / "lock").read_text())) == {"pid", "host", "started_at"}


def test_waiting_for_the_lock_can_be_interrupted(two_videos: Path, state: Path, arguments: Arguments) -> None:
    first = making.shoal_detect(arguments(*SLOW))
    _wait_for((state / "settings.json").exists, first)
    second = making.shoal_detect(arguments(*SLOW))
    assert second.stdout is not None
    assert "waiting" in second.stdout.readline()
    second.terminate()
    second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 143
    first.kill()
    first.communicate(timeout=TIMEOUT_S)


def test_progress_goes_on_when_nobody_reads_it_any_more(two_videos: Path, state: Path, arguments: Arguments) -> None:
    """As when the connection that started it breaks: the run is what counts."""
    process = making.shoal_detect(arguments(*SLOW))
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=TIMEOUT_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert (state / "manifest.json").exists()


# --- file systems that refuse


def _assert_nothing_finished(state: Path) -> None:
    assert not (state / "manifest.json").exists()
    folders = list((state / "videos").iterdir()) if (state / "videos").exists() else []
    assert all(path.name.startswith(".") for path in folders)


def test_a_write_that_fails_is_one_line_and_exit_6(videos: Path, state: Path, arguments: Arguments) -> None:
    making.write_video(videos / "a.avi", making.moving(120))
    process = making.shoal_detect(
        arguments(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    )
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 6
    assert err.count("\n") == 1
    (error,) = making.events(err)
    assert (error["event"], error["exit_code"]) == ("error", 6)
    assert error["text"].startswith("cannot write ")
    assert "File too large" in err
    _assert_nothing_finished(state)
    assert _finish(arguments())[0] == 0


def _on_own_mount(arguments: Sequence[str], state: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a mount namespace of its own after shell commands that mount something on the state folder."""
    state.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(making.DETECTOR), "STATE": str(state)}
    may = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", str(state)],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    if may.returncode:
        pytest.skip(f"no file system can be mounted here: {may.stderr.strip()}")
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-euc",
         f'{commands}; set +e; "$@"; code=$?; ls -A "$STATE" "$STATE/videos" >&2; exit $code', "sh",
         sys.executable, "-m", "shoal_detect", *arguments],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment,
    )  # fmt: skip


def test_no_space_left_is_one_line_and_exit_6(videos: Path, state: Path, arguments: Arguments) -> None:
    making.write_video(videos / "a.avi", making.moving(240))
    ended = _on_own_mount(arguments(), state, 'mount -t tmpfs -o size=24k tmpfs "$STATE"')
    assert ended.returncode == 6, ended.stderr
    error, *listing = ended.stderr.splitlines()
    assert making.notes(error).startswith("cannot write ")
    assert "No space left on device; free space" in error
    assert "Traceback" not in ended.stderr
    assert "manifest.json" not in listing
    assert not [line for line in listing if line.startswith("a-avi-")]


def test_a_read_only_state_folder_is_one_line_and_exit_6(videos: Path, state: Path, arguments: Arguments) -> None:
    making.write_video(videos / "a.avi", making.moving(2))
    ended = _on_own_mount(arguments(), state, 'mount -t tmpfs -o ro tmpfs "$STATE"')
    assert ended.returncode == 6, ended.stderr
    error = making.notes(ended.stderr.splitlines()[0])
    assert error.startswith("cannot take the lock in ")
    assert "Read-only file system" in error


# --- the command line


def test_all_wrong_arguments_are_named_at_once(arguments: Arguments, state: Path) -> None:
    code, out, err = _finish(
        arguments(
            *("--run", "Not A Run", "--conf", "1.5", "--iou", "nan", "--img", "333", "--stride", "0", "--max-det", "0"),
            *("--key-frames", "-1", "--threads", "0", "--classes", "persn", "--weights-sha256", "abc"),
            *("--input", "/nowhere/at/all"),
        )
    )
    assert (code, out) == (2, "")
    for word in ("--run", "--conf", "--iou", "--img 333", "--stride", "--max-det", "--key-frames", "--threads"):
        assert word in err
    for text in ("did you mean person", "e.g. 320 or 352", "64 hexadecimal digits", "there is no such folder"):
        assert text in err
    assert err.count("\n") == 1
    assert not state.exists()


@pytest.mark.parametrize("more", [["--conf", "high"], ["--colour", "red"], ["--thr", "1"]])
def test_arguments_that_are_none_are_usage_errors(arguments: Arguments, more: list[str], state: Path) -> None:
    code, _, err = _finish(arguments(*more))
    assert (code, state.exists()) == (2, False)
    assert "usage: shoal-detect" in err


def test_no_class_named_is_refused(arguments: Arguments) -> None:
    code, _, err = _finish(arguments("--classes", ","))
    assert code == 2
    assert "--classes: no class is named" in err


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ([], 4, "no videos found under the input folder"),
        (["--weights", "/nowhere.onnx"], 5, "weights /nowhere.onnx cannot be read: No such file or directory"),
        (["--weights-sha256", "0" * 64], 5, "wrong SHA-256: expected 000000"),
    ],
)
def test_exit_codes(arguments: Arguments, more: list[str], code: int, text: str) -> None:
    ended, out, err = _finish(arguments(*more))
    assert (ended, out) == (code, "")
    assert text in err
    assert err.count("\n") == 1


def test_help_tells_the_exit_codes() -> None:
    code, out, _ = _finish(["--help"])
    assert code == 0
    for text in ("4 no videos found", "130, 143 interrupted", "--weights-sha256", "(default 0.35)"):
        assert text in out
