"""One process per core, and a long video among several: the same bytes whoever did what, and a kill costs little."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shoal_detect import memory
from shoal_detect.errors import Exit
from shoal_detect.model.infer import load_model
from shoal_detect.pipeline import Work, detect_video
from shoal_detect.read.videos import find_videos
from shoal_detect.run import run
from shoal_detect.state import segments
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making

MakeSettings = Callable[..., Settings]
LENGTH = 10
"""Frames of a segment in these tests."""


@pytest.fixture(autouse=True)
def short_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Segments of ten frames, in the children too; where they run is written down, and a file makes them slow."""
    folder = tmp_path / "short"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"""
import os, pathlib, sys, time
if "-m" in sys.orig_argv and {{"shoal_detect.child", "shoal_detect"}} & set(sys.orig_argv):
    from shoal_detect.state import segments
    segments.LENGTH = {LENGTH}
if "-m" in sys.orig_argv and "shoal_detect.child" in sys.orig_argv:
    from shoal_detect import pipeline
    look = pipeline._Eyes.look
    def looking(eyes, prepared):
        with open({str(folder / "who")!r}, "a") as file:
            file.write(f"{{os.getpid()}} {{prepared.frame.index}}\\n")
        if pathlib.Path({str(folder / "slow")!r}).exists():
            time.sleep(0.02)
        return look(eyes, prepared)
    pipeline._Eyes.look = looking
"""
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(segments, "LENGTH", LENGTH)
    return folder


def _results(state: Path) -> dict[str, Any]:
    """Everything but times, by path."""
    found: dict[str, Any] = {}
    for path in sorted((state / "videos").rglob("*")):
        if path.name == "summary.json":
            summary = making.document(path)
            found[str(path.relative_to(state))] = {
                name: value for name, value in summary.items() if name not in {"decode_and_infer_s", "frames_per_s"}
            }
        elif path.is_file():
            found[str(path.relative_to(state))] = path.read_bytes()
    return found


def _who(folder: Path) -> dict[str, list[int]]:
    """The frames that every process inferred."""
    frames: dict[str, list[int]] = {}
    for line in (folder / "who").read_text().splitlines():
        process, frame = line.split()
        frames.setdefault(process, []).append(int(frame))
    return frames


def test_the_results_are_the_same_bytes_for_any_number_of_processes(
    videos: Path, tmp_path: Path, settings: MakeSettings, short_segments: Path
) -> None:
    making.write_video(videos / "long.avi", making.moving(155, noise=True))
    for name in ("a.avi", "b.avi"):
        making.write_video(videos / name, making.moving(25))
    results = []
    for threads in ("1", "2", "3"):
        state = tmp_path / f"state-{threads}"
        (short_segments / "who").unlink(missing_ok=True)
        assert run(settings("--threads", threads, "--state", str(state)), Stop()) is Exit.DONE
        results.append(_results(state))
        assert not list(state.glob("videos/.*"))
        assert len(_who(short_segments)) == int(threads)
    assert results[0] == results[1] == results[2]
    assert sum(path.endswith("detections.jsonl") for path in results[0]) == 3


@pytest.mark.parametrize("stride", ["1", "3"])
def test_a_long_video_leaves_no_core_idle_and_comes_out_the_same(
    videos: Path, tmp_path: Path, settings: MakeSettings, short_segments: Path, stride: str
) -> None:
    making.write_video(videos / "long.avi", making.moving(305, noise=True))
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert run(settings("--threads", "1", "--stride", stride, "--state", str(alone)), Stop()) is Exit.DONE
    assert len(_who(short_segments)) == 1
    (short_segments / "who").unlink()
    (short_segments / "slow").touch()
    assert run(settings("--threads", "2", "--stride", stride, "--state", str(shared)), Stop()) is Exit.DONE
    assert _results(alone) == _results(shared)
    parts = list(_who(short_segments).values())
    assert len(parts) == 2
    wanted = list(range(0, 305, int(stride)))
    assert sorted(frame for part in parts for frame in part) == wanted  # each once
    assert min(len(part) for part in parts) >= len(wanted) // 8


def test_a_killed_run_goes_on_after_the_last_segment_that_was_done(
    videos: Path, state: Path, arguments: Callable[..., list[str]], short_segments: Path, settings: MakeSettings
) -> None:
    making.write_video(videos / "long.avi", making.moving(155, noise=True))
    (short_segments / "slow").touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(short_segments), str(making.DETECTOR)])}
    process = subprocess.Popen(
        [making.sys.executable, "-m", "shoal_detect", *arguments()], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(state.glob("videos/.*.segments/000005.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (short_segments / "slow").unlink()
    done = sorted(path.stem for path in state.glob("videos/.*.segments/*.json") if path.stem != "source")
    (short_segments / "who").unlink()
    assert run(settings(), Stop()) is Exit.DONE
    ((_, again),) = _who(short_segments).items()
    assert again == list(range(len(done) * LENGTH, 155))
    whole = state.with_name("whole")
    assert run(settings("--state", str(whole)), Stop()) is Exit.DONE
    assert _results(state) == _results(whole)


def test_segments_of_a_file_that_changed_are_done_again(
    videos: Path, state: Path, settings: MakeSettings, short_segments: Path, tmp_path: Path
) -> None:
    making.write_video(videos / "long.avi", making.moving(55, noise=True))
    assert run(settings(), Stop()) is Exit.DONE
    (summary,) = making.document(state / "summary.json")["videos"]
    folder = state / "videos" / f".{summary['video_id']}{segments.SUFFIX}"
    folder.mkdir()
    (folder / "source.json").write_text('{"size_bytes": 1, "mtime_ns": 2, "length": 10}')
    (folder / "000000.json").write_text("{}")
    (state / "manifest.json").unlink()
    (state / "videos" / summary["video_id"] / "summary.json").unlink()
    assert run(settings(), Stop()) is Exit.DONE
    fresh = tmp_path / "fresh"
    assert run(settings("--state", str(fresh)), Stop()) is Exit.DONE
    assert _results(state) == _results(fresh)


def test_a_decoder_that_dies_where_two_share_a_video_gives_what_one_alone_gives(
    videos: Path, tmp_path: Path, settings: MakeSettings, short_segments: Path
) -> None:
    making.write_video(videos / "long.avi", making.moving(305, noise=True))
    (short_segments / "slow").touch()
    code = (short_segments / "sitecustomize.py").read_text()
    (short_segments / "sitecustomize.py").write_text(
        code
        + """
    import signal, threading
    read = pipeline.read_frames
    def reading(video, *more, **named):
        for frame in read(video, *more, **named):
            if frame.index == 283:
                signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)
            yield frame
    pipeline.read_frames = reading
"""
    )
    results = []
    for threads in ("1", "2"):
        state = tmp_path / f"state-{threads}"
        assert run(settings("--threads", threads, "--state", str(state)), Stop()) is Exit.FAULTY_VIDEOS
        results.append(_results(state))
        (summary,) = making.document(state / "summary.json")["videos"]
        assert summary["fault"]["kind"] == "decoder_crashed"
        assert summary["frames"] == summary["frames_inferred"] > 250
    frames = [next(doc["frames"] for doc in result.values() if isinstance(doc, dict)) for result in results]
    assert abs(frames[0] - frames[1]) <= 3  # frames in hand when it died


@pytest.mark.parametrize("end", [0, 1, 2])
def test_a_segment_that_is_left_in_its_middle_is_not_kept(
    end: int, videos: Path, settings: MakeSettings, model_bytes: bytes
) -> None:
    making.write_video(videos / "long.avi", making.moving(45))
    (video,) = find_videos(str(videos)).videos
    read = [0]
    work = Work(settings(), load_model(model_bytes, size=64), Stop(), read.append)
    asked = replace(work, end=lambda: end if read[-1] >= 25 else None)
    assert detect_video(video, asked) is None
    found = segments.of(work.settings.state, video, stride=1)
    assert [found.done(number) for number in range(5)] == [True, True, False, False, False]
    summary = detect_video(video, work)
    assert isinstance(summary, dict)
    assert summary["frames"] == summary["frames_inferred"] == 45


def test_what_is_kept_with_holes_is_filled_by_several_and_comes_out_the_same(
    videos: Path, tmp_path: Path, settings: MakeSettings, short_segments: Path, model_bytes: bytes
) -> None:
    """What is kept is read without a word: where a second process takes over, the first may be far ahead."""
    making.write_video(videos / "long.avi", making.moving(305, noise=True))
    (video,) = find_videos(str(videos)).videos
    holes = {2, 12, 13, 20, 29}
    states = tmp_path / "alone", tmp_path / "shared"
    for state, threads in zip(states, ("1", "2"), strict=True):
        begun = settings("--threads", threads, "--state", str(state))
        work = Work(begun, load_model(model_bytes, size=64), Stop(), lambda _: None)
        assert detect_video(video, replace(work, end=lambda: 30)) is None
        for number in holes:
            segments.of(state, video, stride=1).drop(number)
        (short_segments / "slow").touch()
        assert run(begun, Stop()) is Exit.DONE
    assert _results(states[0]) == _results(states[1])


# --- memory


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "groups", "expected"),
    [
        ({}, "0::/", None),
        ({"memory.max": "max\n"}, "0::/", None),
        ({"memory.max": "1500000000\n"}, "0::/", 1_500_000_000),
        ({"a/memory.max": "4000\n", "memory.max": "2000\n"}, "0::/a", 2000),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, "4:memory:/", None),
        ({"memory/x/memory.limit_in_bytes": "1000\n"}, "4:memory:/x", 1000),
    ],
)
def test_the_tightest_memory_limit_counts(
    tmp_path: Path, files: dict[str, str], groups: str, expected: int | None
) -> None:
    for name, text in files.items():
        _write(tmp_path / "cgroup" / name, text)
    _write(tmp_path / "self/cgroup", groups + "\n")
    assert memory.limit_bytes(tmp_path / "cgroup", tmp_path / "self") == expected


@pytest.mark.parametrize(
    ("files", "groups", "expected"),
    [
        ({}, "0::/", 0),
        ({"memory.events": "low 0\noom 3\noom_kill 2\n"}, "0::/", 2),
        ({"a/memory.events": "oom_kill 1\n", "memory.events": "oom_kill 4\n"}, "0::/a", 1),
        ({"memory.events": "low 0\n"}, "0::/", 0),
        ({"memory/x/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"}, "4:memory:/x", 5),
        ({"memory/memory.oom_control": "damaged"}, "4:memory:/", 0),
    ],
)
def test_what_the_kernel_killed_for_want_of_memory_is_counted(
    tmp_path: Path, files: dict[str, str], groups: str, expected: int
) -> None:
    for name, text in files.items():
        _write(tmp_path / "cgroup" / name, text)
    _write(tmp_path / "self/cgroup", groups + "\n")
    assert memory.killed(tmp_path / "cgroup", tmp_path / "self") == expected


def test_there_are_as_many_processes_as_there_is_memory_for() -> None:
    assert memory.processes_within(None, 8, 29_000_000) == 8
    assert memory.processes_within(8_000_000_000, 8, 29_000_000) == 8
    assert memory.processes_within(1_800_000_000, 8, 29_000_000) == 2
    assert memory.processes_within(100_000_000, 8, 29_000_000) == 1
    assert memory.processes_within(4_100_000_000, 8, 350_000_000) == 1
