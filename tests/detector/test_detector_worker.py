"""A decoder that crashes, hangs or is killed: its video is named, the others are done, the run ends in time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shoal_detect import worker
from shoal_detect.errors import Exit, Interrupted
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making

MakeSettings = Callable[..., Settings]
Misbehaving = Callable[[int, str], None]
FRAMES = 20
BAD_AT = 8


@pytest.fixture
def three_videos(videos: Path) -> Path:
    for name in ("a.avi", "bad.avi", "c.avi"):
        making.write_video(videos / name, making.moving(FRAMES))
    return videos


def _misbehaving(folder: Path, monkeypatch: pytest.MonkeyPatch, at: int, do: str) -> None:
    """The child decodes with what is set here: `do` happens in the middle of bad.avi."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"""
import os, pathlib, signal, sys, threading

if "-m" in sys.orig_argv and "shoal_detect.child" in sys.orig_argv:
    from shoal_detect import pipeline
    read = pipeline.read_frames

    def reading(video, *more, **named):
        for frame in read(video, *more, **named):
            if video.name == "bad.avi" and frame.index == {at}:
                {do}
            yield frame

    pipeline.read_frames = reading
"""
    )
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    return lambda at, do: _misbehaving(tmp_path / "misbehaving", monkeypatch, at, do)


def _summaries(state: Path) -> dict[str, dict[str, Any]]:
    return {video["video"]: video for video in making.document(state / "summary.json")["videos"]}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE])
def test_a_video_that_crashes_the_decoder_is_named_and_the_others_are_done(
    three_videos: Path,
    state: Path,
    settings: MakeSettings,
    misbehaving: Misbehaving,
    number: signal.Signals,
) -> None:
    misbehaving(BAD_AT, f"signal.pthread_kill(threading.get_ident(), {int(number)})")
    assert run(settings(), Stop()) == Exit.FAULTY_VIDEOS
    videos = _summaries(state)
    assert videos["bad.avi"]["fault"]["kind"] == "decoder_crashed"
    assert number.name in videos["bad.avi"]["fault"]["message"]
    # What came before it was read once more and is kept.
    assert 0 < videos["bad.avi"]["frames"] <= BAD_AT
    assert videos["bad.avi"]["frames_inferred"] == videos["bad.avi"]["frames"]
    assert [videos[name]["fault"] for name in ("a.avi", "c.avi")] == [None, None]
    assert [videos[name]["frames"] for name in ("a.avi", "c.avi")] == [FRAMES, FRAMES]


def test_a_video_that_crashes_it_at_once_and_again_leaves_an_empty_result(
    three_videos: Path, state: Path, settings: MakeSettings, misbehaving: Misbehaving
) -> None:
    misbehaving(0, "signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)")
    assert run(settings(), Stop()) == Exit.FAULTY_VIDEOS
    bad = _summaries(state)["bad.avi"]
    assert (bad["fault"]["kind"], bad["frames"], bad["detections"]) == ("decoder_crashed", 0, 0)


def test_a_decoder_that_hangs_is_ended_and_named(
    three_videos: Path,
    state: Path,
    settings: MakeSettings,
    misbehaving: Misbehaving,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "STUCK_S", 10.0)
    misbehaving(BAD_AT, "threading.Event().wait()")
    assert run(settings(), Stop()) == Exit.FAULTY_VIDEOS
    videos = _summaries(state)
    assert videos["bad.avi"]["fault"]["kind"] == "decoder_stuck"
    assert [videos[name]["frames"] for name in ("a.avi", "c.avi")] == [FRAMES, FRAMES]


def test_a_killed_child_ends_the_run_like_a_killed_container(
    three_videos: Path,
    state: Path,
    settings: MakeSettings,
    misbehaving: Misbehaving,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel kills for want of memory: the run can be taken up with more of it."""
    misbehaving(BAD_AT, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(Interrupted) as caught:
        run(settings(), Stop())
    assert caught.value.exit_code == 137
    assert not (state / "manifest.json").exists()
    monkeypatch.undo()
    assert run(settings(), Stop()) == Exit.DONE


def test_a_signal_ends_a_run_whose_decoder_hangs_within_two_seconds(
    three_videos: Path, state: Path, settings: MakeSettings, misbehaving: Misbehaving
) -> None:
    asked: list[float] = []
    stop = Stop()

    def ask() -> None:
        asked.append(time.monotonic())
        stop._note(signal.SIGTERM, None)

    began = threading.Timer(0.0, ask)
    hanging = state / "hanging"

    def watch() -> None:
        while not hanging.exists():
            stop._asked.wait(0.05)
        began.start()

    misbehaving(BAD_AT, f"pathlib.Path({str(hanging)!r}).touch(); threading.Event().wait()")
    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(Interrupted):
        run(settings(), stop)
    assert time.monotonic() - asked[0] < 2
    assert not (state / "manifest.json").exists()


# --- what is still being written


def test_a_file_that_is_being_written_is_left_for_later_and_the_run_says_so(
    three_videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with (three_videos / "a.avi").open("ab"):
        assert run(settings(), Stop()) == Exit.FAULTY_VIDEOS
    out = capsys.readouterr().out
    assert "1 videos are still being written: left for later" in out
    assert "closed over recordings that were still being written: 1" in out
    summaries = _summaries(state)
    assert (summaries["a.avi"]["fault"]["kind"], summaries["a.avi"]["frames"]) == ("growing", 0)
    assert [summaries[name]["fault"] for name in ("bad.avi", "c.avi")] == [None, None]


def test_a_run_that_is_taken_up_again_reads_what_was_growing(
    three_videos: Path, state: Path, settings: MakeSettings
) -> None:
    with (three_videos / "a.avi").open("ab"):
        run(settings(), Stop())
    (state / "manifest.json").unlink()
    assert run(settings(), Stop()) == Exit.DONE
    assert _summaries(state)["a.avi"]["frames"] == FRAMES


# --- what is no footage


def test_what_is_no_footage_is_counted_and_named(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    making.write_video(videos / "recording", making.moving(FRAMES), muxer="avi")
    for name in ("seq/0001.jpg", "seq/0002.jpg", "notes.txt", "talk.m4a"):
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).write_bytes(b"x")
    assert run(settings(), Stop()) == Exit.DONE
    assert making.document(state / "summary.json")["not_read"] == {
        "pictures": 2,
        "sound": 1,
        "other": 1,
        "hidden": 0,
        "gone": 0,
        "names": ["notes.txt", "seq/0001.jpg", "seq/0002.jpg", "talk.m4a"],
    }
    assert "4 files are no footage and not read" in capsys.readouterr().out
    assert [video["video"] for video in _summaries(state).values()] == ["recording"]
