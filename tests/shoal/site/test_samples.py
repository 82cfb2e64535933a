from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from shoal.artifacts import State
from shoal.errors import ShoalError
from shoal.site import sample_clips as samples
from shoal.site.sample_clips import Recipe, clip_states, clips_folder, recipes, sample_clips


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(number: int, width: int = 96, height: int = 72) -> av.VideoFrame:
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([columns * 2 + number * 3, rows * 3, columns + rows], axis=2) % 256
    return av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")


def footage(path: Path, frames: int, rate: int = 20) -> Path:
    """A small video of our own making, in place of the fetched ones."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(picture(number)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    photo = folder / "photo.jpg"
    with av.open(str(photo), "w", format="image2") as container:
        stream = container.add_stream("mjpeg")
        stream.width, stream.height, stream.pix_fmt = 162, 216, "yuvj420p"
        container.mux(stream.encode(picture(0, 162, 216)))
        container.mux(stream.encode())
    return {
        "vtest": footage(folder / "vtest.avi", 795, rate=10),
        "traffic-cyclist": footage(folder / "cyclist.mp4", 60),
        "traffic-truck": footage(folder / "truck.mp4", 60),
        "photo-bus": photo,
        "photo-zidane": photo,
    }


def give(monkeypatch: pytest.MonkeyPatch, sources: dict[str, Path], cameras: set[str]) -> list[str]:
    asked: list[str] = []

    def resolve_all(names: set[str], **others: object) -> dict[str, Path]:
        asked.extend(names)
        return {name: sources[name] for name in names}

    chosen = [recipe for recipe in recipes() if recipe.name[:5] in cameras]
    monkeypatch.setattr(samples.artifacts, "resolve_all", resolve_all)
    monkeypatch.setattr(samples, "recipes", lambda: chosen)
    return asked


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, sources: dict[str, Path]) -> list[str]:
    """One clip of each kind, from small sources of our own; the names whose sources were asked for."""
    return give(monkeypatch, sources, {"cam01", "cam08", "cam10"})


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch, sources: dict[str, Path]) -> list[str]:
    return give(monkeypatch, sources, {"cam08"})


def test_twelve_clips_that_say_what_they_are() -> None:
    every = recipes()
    assert [recipe.name[:5] for recipe in every] == [f"cam{number:02}" for number in range(12)]
    for recipe in every:
        assert recipe.still_photo == ("still-photo" in recipe.name) == ("still photo" in recipe.description)
        assert recipe.still_photo or recipe.description.startswith("real ")
    assert [recipe.still_photo for recipe in every] == [False] * 10 + [True] * 2


def test_the_clips(few: list[str]) -> None:
    clips = sample_clips()
    assert [clip.name for clip in clips] == ["cam01-campus.mp4", "cam08-traffic.mp4", "cam10-still-photo-bus.mp4"]
    for clip, frames in zip(clips, (99, 120, 120), strict=True):
        data = clip.path.read_bytes()
        assert clip.sha256 == hashlib.sha256(data).hexdigest()
        assert clip.size_bytes == len(data)
        assert data.index(b"moov") < data.index(b"mdat"), "the index is at the front"
        with av.open(str(clip.path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (640, 480, Fraction(10))
            assert stream.codec_context.name == "h264"
            assert "encoder" not in container.metadata
            assert "creation_time" not in container.metadata
            decoded = list(container.decode(stream))
            assert [round(float(frame.time or 0) * 10) for frame in decoded] == list(range(frames))
            keys = [number for number, frame in enumerate(decoded) if frame.key_frame]
            assert max(np.diff(keys)) <= 10


def test_second_call_makes_nothing(one: list[str]) -> None:
    first = sample_clips()
    before = {clip.path: clip.path.stat().st_mtime_ns for clip in first}
    one.clear()
    assert sample_clips() == first
    assert not one
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_made_again_they_are_the_same_bytes(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, sources, {"cam08", "cam10"})
    first = sample_clips()
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "second"))
    second = sample_clips()
    assert [clip.path for clip in first] != [clip.path for clip in second]
    assert [clip.sha256 for clip in first] == [clip.sha256 for clip in second]


@pytest.mark.parametrize("damage", ["changed", "missing", "record"])
def test_a_damaged_set_is_made_again(one: list[str], damage: str) -> None:
    first = sample_clips()
    if damage == "changed":
        first[0].path.write_bytes(b"rubbish")
        assert clip_states()[first[0].name][0] is State.DAMAGED
    elif damage == "missing":
        first[0].path.unlink()
        assert clip_states()[first[0].name][0] is State.MISSING
    else:
        (clips_folder() / "clips.json").write_text('{"cut')
        assert clip_states()[first[0].name][0] is State.DAMAGED
    assert sample_clips() == first


def test_what_a_killed_process_left_is_no_clip(one: list[str], cache: Path) -> None:
    left = clips_folder().with_suffix(".part")
    left.mkdir(parents=True)
    (left / "cam08-traffic.mp4").write_bytes(b"half")
    assert len(sample_clips()) == 1
    assert not left.exists()


def test_failure_leaves_nothing(one: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> samples.Frames:
        yield picture(0)
        raise av.error.InvalidDataError(1, "broken footage", str(path))

    bad = Recipe("cam01-campus.mp4", "vtest", "real", broken)
    monkeypatch.setattr(samples, "recipes", lambda: [bad])
    with pytest.raises(ShoalError, match=r"cam01-campus\.mp4 cannot be made from vtest"):
        sample_clips()
    assert not clips_folder().exists()
    assert not clips_folder().with_suffix(".part").exists()


def test_no_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShoalError, match=r"no frame could be read for x\.mp4"):
        samples.encode(iter([]), tmp_path / "x.mp4")
