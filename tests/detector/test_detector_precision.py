"""In which numbers a run computes: asked for, or by a trial on its own first frames; it goes on as it was begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shoal_detect import trial as trials
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.model import bfloat16, precision
from shoal_detect.model.infer import Model, load_model
from shoal_detect.model.precision import Choice, Precision, Trial, judged
from shoal_detect.read.videos import find_videos
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making

MakeSettings = Callable[..., Settings]
needs_bfloat16 = pytest.mark.skipif(bfloat16.lacking() is not None, reason=str(bfloat16.lacking()))


@pytest.mark.parametrize(
    ("trial", "used", "word"),
    [
        (Trial(24, 120, 0.9988, 130.0, 80.0), Precision.BFLOAT16, "1.6 times as fast"),
        (Trial(24, 120, 0.9949, 130.0, 80.0), Precision.FLOAT32, "F1 0.9949"),
        (Trial(24, 120, 1.0, 130.0, 125.0), Precision.FLOAT32, "bfloat16 takes 125.0 ms"),
        (Trial(24, 49, 1.0, 130.0, 80.0), Precision.FLOAT32, "49 boxes in 24 frames are too few"),
    ],
)
def test_bfloat16_is_taken_only_where_it_finds_the_same_and_is_faster(trial: Trial, used: Precision, word: str) -> None:
    choice = judged(trial)
    assert choice.used is used
    assert word in choice.why
    assert choice.document()["used"] == str(used)


def test_boxes_match_once_each_by_class_and_overlap() -> None:
    box, moved, far = (0, 0, 10, 10), (0, 0, 10, 12), (50, 50, 60, 60)
    assert precision.matched([(0, box)], [(0, moved)]) == 1
    assert precision.matched([(0, box), (0, box)], [(0, moved)]) == 1
    assert precision.matched([(1, box)], [(0, box)]) == 0
    assert precision.matched([(0, box)], [(0, far)]) == 0
    assert precision.f1(Counter(found=3, expected=1, matched=1)) == 0.5
    assert precision.f1(Counter()) == 1.0


@needs_bfloat16
def test_the_model_in_bfloat16_finds_the_same_at_every_size(model_bytes: bytes) -> None:
    exact, other = (load_model(model_bytes, size=64, precision=one) for one in Precision)
    for height, width in ((64, 64), (32, 64), (96, 32), (64, 64)):
        blob = np.zeros((1, 3, height, width), np.float32)
        blob[0, 0, :32, :32] = 1
        rows = other.infer(blob)
        assert rows.shape == exact.infer(blob).shape
        np.testing.assert_allclose(rows, exact.infer(blob), atol=0.6)  # pixels; bfloat16 has 8 bits of mantissa


@needs_bfloat16
def test_what_onnxruntime_takes_and_openvino_does_not_is_an_error_in_words() -> None:
    with pytest.raises(DetectorError, match="OpenVINO cannot load them") as caught:
        bfloat16.compiled(b"this is no model", "output0")
    assert caught.value.exit_code is Exit.WEIGHTS


def test_bfloat16_is_refused_where_the_processor_has_none(model_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "lacking", lambda: "this processor does not compute in bfloat16")
    with pytest.raises(DetectorError, match="--precision bfloat16: this processor does not") as caught:
        load_model(model_bytes, size=64, precision=Precision.BFLOAT16)
    assert caught.value.exit_code is Exit.USAGE


def _tried(settings: Settings, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[np.ndarray], np.ndarray]) -> Choice:
    """The trial's outcome where bfloat16's answers are float32's, spoilt."""
    load = trials.load_model

    def loading(data: bytes, *, size: int, precision: Precision) -> Model:
        model = load(data, size=size)
        return model if precision is Precision.FLOAT32 else Model(lambda blob: spoil(model.infer(blob)), model.square)

    monkeypatch.setattr(trials, "load_model", loading)
    monkeypatch.setattr(bfloat16, "lacking", lambda: None)
    data = settings.weights.read_bytes()
    return trials.tried(data, find_videos(settings.input).videos, settings, Stop(), lambda _: None)


def test_a_trial_counts_the_boxes_of_the_runs_first_frames(
    videos: Path, settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (videos / "bad.mp4").write_bytes(b"no video")
    making.write_video(videos / "a.avi", making.moving(60))
    making.write_video(videos / "b.avi", making.moving(60))

    same = _tried(settings(), monkeypatch, lambda rows: rows).trial
    assert same is not None
    assert same.frames == 16  # eight of each: there are not more, so far apart
    assert same.boxes >= same.frames  # a person in every one
    assert same.f1 == 1.0
    monkeypatch.undo()

    def without_persons(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        rows[:, 5] = 0
        return rows

    other = _tried(settings(), monkeypatch, without_persons).trial
    assert other is not None
    assert other.f1 < 0.7


def test_a_trial_on_an_empty_place_ends_early(
    videos: Path, settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        making.write_video(videos / f"{name}.avi", [making.picture({})] * 120)
    choice = _tried(settings(), monkeypatch, lambda rows: rows)
    assert choice.used is Precision.FLOAT32
    assert choice.trial is not None
    assert (choice.trial.frames, choice.trial.boxes) == (12, 0)


def test_a_run_says_in_what_it_computed_and_why(videos: Path, state: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "a.avi", making.moving(20))
    assert run(settings("--precision", "float32"), Stop()) is Exit.DONE
    summary = making.document(state / "summary.json")
    assert summary["settings"]["precision"] == "float32"
    assert summary["precision"] == {"used": "float32", "why": "asked for", "trial": None}


def test_a_run_goes_on_in_the_precision_it_was_begun_with_and_refuses_another(
    videos: Path, state: Path, settings: MakeSettings
) -> None:
    making.write_video(videos / "a.avi", making.moving(20))
    assert run(settings("--precision", "float32"), Stop()) is Exit.DONE
    with pytest.raises(DetectorError, match="precision was 'float32', is 'bfloat16'"):
        run(settings("--precision", "bfloat16"), Stop())


def test_a_file_that_ends_the_trial_does_not_end_the_run(
    videos: Path, state: Path, settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.write_video(videos / "a.avi", making.moving(20))
    folder = tmp_path / "misbehaving"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        """
import os, signal, sys
if "-m" in sys.orig_argv and "shoal_detect.child" in sys.orig_argv:
    from shoal_detect import trial
    def tried(*_):
        signal.pthread_kill(__import__("threading").get_ident(), signal.SIGSEGV)
    trial.tried = tried
"""
    )
    monkeypatch.syspath_prepend(folder)
    assert run(settings("--precision", "auto"), Stop()) is Exit.DONE
    choice = making.document(state / "summary.json")["precision"]
    assert choice["used"] == "float32"
    assert "the trial came to nothing: the decoder died" in choice["why"]
