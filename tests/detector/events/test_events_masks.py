"""Masks against sprites of known positions: no pixel of a person is left in any frame, whatever the detector missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from shoal_detect.events import clip as clips
from shoal_detect.events import seen_file
from shoal_detect.events.clip import FILL, Footage, Unmade, Unverified, decoded, make
from shoal_detect.events.masks import Rect, painted, plan, planned
from shoal_detect.events.sightings import Seen
from shoal_detect.read.decode import Frame

from tests.detector.events.scenes import Box, Way, between, sight, walk

WIDTH, HEIGHT, FPS = 320, 240, 10
SPRITE = (255, 60, 0)
"""Orange: nothing else in the pictures is."""


def background(number: int) -> npt.NDArray[np.uint8]:
    """Grey texture that changes a little from frame to frame, as footage does."""
    random = np.random.default_rng(number)
    across = np.linspace(60, 160, WIDTH)[None, :, None]
    return np.clip(across + random.normal(0, 6, (HEIGHT, WIDTH, 1)), 0, 255).repeat(3, axis=2).astype(np.uint8)


def pixels(box: Box) -> Rect:
    return Rect(round(box[0] * WIDTH), round(box[1] * HEIGHT), round(box[2] * WIDTH), round(box[3] * HEIGHT))


@dataclass
class Scene:
    """Sprites on their ways, as footage and as what a detector sees of them."""

    ways: Sequence[Way]
    frames: int = 60
    fps: float = FPS
    missed: Callable[[int, int], bool] = lambda _frame, _sprite: False
    """By frame and sprite."""
    speck_s: tuple[float, ...] = ()

    def truth(self, number: int) -> list[Box]:
        return [box for way in self.ways if (box := way(number / self.fps)) is not None]

    def picture(self, number: int) -> npt.NDArray[np.uint8]:
        picture = background(number)
        for rect in map(pixels, self.truth(number)):
            picture[rect.top : rect.bottom, rect.left : rect.right] = SPRITE
        return picture

    def seen(self, number: int) -> Seen:
        boxes = [
            box
            for sprite, way in enumerate(self.ways)
            if (box := way(number / self.fps)) is not None and not self.missed(number, sprite)
        ]
        return sight(number / self.fps, boxes, [0] * len(boxes))

    def footage(self, start_s: float = 0.0, end_s: float | None = None) -> Footage:
        end_s = (self.frames - 1) / self.fps if end_s is None else end_s

        def frames(first_s: float, last_s: float) -> Iterator[tuple[float, Frame]]:
            for number in range(self.frames):
                time_s = number / self.fps
                if first_s <= time_s <= last_s:
                    image = av.VideoFrame.from_ndarray(self.picture(number), format="rgb24")
                    yield time_s, Frame(number, time_s, image)

        return Footage(frames, start_s, end_s, lambda: None, clips.LOOK_AROUND_S)


@dataclass
class FakeEyes:
    """A detector that sees what the scene says, and misses what it says."""

    scene: Scene
    strictly: Callable[[int], Seen] | None = None
    """What it sees in the finished clip; None: nobody."""
    looked: list[float] = field(default_factory=list)
    is_strict: bool = False

    def look(self, image: av.VideoFrame, time_s: float, pixel_aspect: float = 1.0) -> Seen:
        del image, pixel_aspect
        self.looked.append(time_s)
        number = round(time_s * self.scene.fps)
        if self.is_strict:
            return self.strictly(number) if self.strictly is not None else sight(time_s, [], [])
        return self.scene.seen(number)

    def strict(self) -> FakeEyes:
        return FakeEyes(self.scene, self.strictly, self.looked, is_strict=True)


def orange(image: av.VideoFrame) -> int:
    """Pixels that show a sprite."""
    picture = image.to_ndarray(format="rgb24").astype(int)
    return int(((picture[..., 0] - picture[..., 2]) > 60).sum())


def uncovered_frames(path: Path) -> list[tuple[int, int]]:
    return [(number, count) for number, image in enumerate(decoded(path)) if (count := orange(image))]


LEFT_TO_RIGHT = walk((0.2, 0.7), (0.1, 0.0), size=(0.08, 0.3))
CROSSING = [walk((0.1, 0.7), (0.15, 0), size=(0.08, 0.3)), walk((0.9, 0.75), (-0.15, 0), size=(0.08, 0.3))]
FAST_FROM_LEFT = between(walk((-0.1, 0.8), (0.9, 0), size=(0.1, 0.35)), 1.0, 3.5)
FAST_FROM_RIGHT = between(walk((1.1, 0.8), (-0.9, 0), size=(0.1, 0.35)), 1.0, 3.5)

SCENES = {
    "seen in every frame": Scene([LEFT_TO_RIGHT]),
    "missed in every other frame": Scene([LEFT_TO_RIGHT], missed=lambda frame, _: frame % 2 == 1),
    "missed for five frames": Scene([LEFT_TO_RIGHT], missed=lambda frame, _: 20 <= frame < 25),
    "missed for two seconds": Scene([LEFT_TO_RIGHT], missed=lambda frame, _: 15 <= frame < 35),
    "missed at first and at last": Scene([LEFT_TO_RIGHT], missed=lambda frame, _: frame < 6 or frame > 50),
    "missed at random": Scene(
        [LEFT_TO_RIGHT, walk((0.8, 0.6), (-0.05, 0.02), size=(0.06, 0.2))],
        missed=lambda frame, sprite: (frame * 7919 + sprite * 104729) % 10 < 4,
    ),
    "turns round while missed": Scene(
        [lambda t: (x := 0.3 + 0.1 * (t if t < 3 else 6 - t), 0.4, x + 0.08, 0.7)],
        missed=lambda frame, _: 27 <= frame < 33,
    ),
    "crossing": Scene(CROSSING),
    "crossing, one hidden behind the other": Scene(
        CROSSING, missed=lambda frame, sprite: sprite == 1 and 20 <= frame < 33
    ),
    "crossing, both missed": Scene(CROSSING, missed=lambda frame, _: 22 <= frame < 32),
    "fast in from the left": Scene([FAST_FROM_LEFT]),
    "fast in from the left, seen late": Scene([FAST_FROM_LEFT], missed=lambda frame, _: frame < 14),
    "fast in from the right, seen late": Scene([FAST_FROM_RIGHT], missed=lambda frame, _: frame < 14),
    "fast out, lost early": Scene([FAST_FROM_LEFT], missed=lambda frame, _: frame > 17),
    "up from below, seen late": Scene(
        [between(walk((0.5, 1.3), (0, -0.4), size=(0.1, 0.3)), 1.0, 4.0)], missed=lambda frame, _: frame < 13
    ),
    "twelve frames a second short of four": Scene([LEFT_TO_RIGHT], frames=24, fps=4),
    "two frames a second": Scene([LEFT_TO_RIGHT], frames=12, fps=2, missed=lambda frame, _: frame == 5),
    "thirty frames a second": Scene([LEFT_TO_RIGHT], frames=120, fps=30, missed=lambda frame, _: 40 <= frame < 70),
}


@pytest.mark.parametrize("name", SCENES)
def test_no_pixel_of_a_person_is_left(name: str, tmp_path: Path) -> None:
    scene = SCENES[name]
    assert any(orange(av.VideoFrame.from_ndarray(scene.picture(n), format="rgb24")) for n in range(scene.frames))
    made = make(scene.footage(), FakeEyes(scene), tmp_path / "clip.mp4")
    assert made.frames == scene.frames
    assert uncovered_frames(tmp_path / "clip.mp4") == []


def test_a_cover_does_not_take_the_whole_picture() -> None:
    scene = SCENES["seen in every frame"]
    boxes = plan([n / FPS for n in range(scene.frames)], [scene.seen(n) for n in range(scene.frames)])
    for number in (20, 40):
        share = sum((r.right - r.left) * (r.bottom - r.top) for r in planned(boxes[number], WIDTH, HEIGHT))
        assert share < 0.2 * WIDTH * HEIGHT


def test_who_comes_in_just_after_the_clip_is_covered_as_they_come(tmp_path: Path) -> None:
    """The detector misses them until after the clip's end; what it sees then counts back."""
    scene = Scene([between(LEFT_TO_RIGHT, 2.5, 6)], missed=lambda frame, _: frame < 32)
    make(scene.footage(0.0, 3.0), FakeEyes(scene), tmp_path / "clip.mp4")
    assert uncovered_frames(tmp_path / "clip.mp4") == []


def test_without_privacy_nothing_is_covered(tmp_path: Path) -> None:
    make(Scene([LEFT_TO_RIGHT]).footage(), None, tmp_path / "clip.mp4")
    assert len(uncovered_frames(tmp_path / "clip.mp4")) == 60


def test_what_is_still_seen_in_the_clip_is_covered_too(tmp_path: Path) -> None:
    """A person whom the first look missed altogether is found in the finished clip, and it is made again."""
    scene = Scene([LEFT_TO_RIGHT], missed=lambda *_: True)

    def strictly(number: int) -> Seen:
        return sight(number / FPS, scene.truth(number), [0] * len(scene.truth(number)))

    make(scene.footage(), FakeEyes(scene, strictly), tmp_path / "clip.mp4")
    assert uncovered_frames(tmp_path / "clip.mp4") == []


def seen_before(scene: Scene) -> list[Seen]:
    return [scene.seen(number) for number in range(scene.frames)]


def test_what_was_seen_while_detecting_is_not_looked_at_again(tmp_path: Path) -> None:
    scene = SCENES["missed for five frames"]
    eyes = FakeEyes(scene)
    footage = replace(scene.footage(1.0, 5.0), seen=seen_before(scene))
    made = make(footage, eyes, tmp_path / "clip.mp4")
    assert uncovered_frames(tmp_path / "clip.mp4") == []
    # In the finished clip alone, at its rate: every third of ten frames a second, and the last.
    assert eyes.looked == pytest.approx([*np.arange(1.0, 5.0, 0.3), 5.0])
    looked = FakeEyes(scene)
    assert make(scene.footage(1.0, 5.0), looked, tmp_path / "other.mp4") == made
    assert len(looked.looked) == scene.frames + len(eyes.looked)


def test_footage_that_is_not_what_detection_saw_is_looked_at_anew(tmp_path: Path) -> None:
    scene = SCENES["seen in every frame"]
    eyes = FakeEyes(scene)
    footage = replace(scene.footage(), seen=seen_before(scene)[:-3])
    assert make(footage, eyes, tmp_path / "clip.mp4").frames == scene.frames
    assert eyes.looked[: scene.frames] == [number / FPS for number in range(scene.frames)]
    assert uncovered_frames(tmp_path / "clip.mp4") == []


def test_once_somebody_is_found_in_a_finished_clip_all_frames_of_the_next_are_looked_at(tmp_path: Path) -> None:
    scene, tries = Scene([]), []

    def strictly(number: int) -> Seen:
        tries.append(number)
        boxes = [(0.1, 0.1, 0.2, 0.3)] if number == 30 and tries.count(30) == 1 else []
        return sight(number / FPS, boxes, [0] * len(boxes))

    make(replace(scene.footage(), seen=seen_before(scene)), FakeEyes(scene, strictly), tmp_path / "clip.mp4")
    assert tries == [*range(0, 60, 3), 59, *range(60)]


def test_what_was_seen_is_read_back_for_a_stretch_of_a_long_film(tmp_path: Path) -> None:
    path = tmp_path / seen_file.FILE
    frames = [sight(number / FPS, [(0.1, 0.2, 0.3, 0.4)] * (number % 3), [0] * (number % 3)) for number in range(200)]
    path.write_bytes(b"".join(seen_file.to_line(one) for one in frames))
    found = list(seen_file.read_seen(path, 5.0, 7.05))
    assert [one.time_s for one in found] == [number / FPS for number in range(50, 71)]
    assert [len(one.boxes) for one in found] == [number % 3 for number in range(50, 71)]
    assert list(seen_file.read_seen(tmp_path / "none", 0.0, 1.0)) == []


def test_frames_further_apart_than_the_rate_are_all_looked_at() -> None:
    assert clips.looked_at([0.0, 0.5, 1.0, 1.5], clips.VERIFY_EVERY_S) == {0, 1, 2, 3}
    assert clips.looked_at([0.0], clips.VERIFY_EVERY_S) == {0}
    thirty = [number / 30 for number in range(31)]
    assert sorted(clips.looked_at(thirty, clips.VERIFY_EVERY_S)) == [0, 9, 18, 27, 30]
    assert clips.COVER.union_s > clips.VERIFY_EVERY_S


def test_a_clip_in_which_somebody_is_found_again_and_again_is_not_verified(tmp_path: Path) -> None:
    """They are found somewhere else every time."""
    scene, places = Scene([]), iter([0.1, 0.4, 0.7])

    def strictly(number: int) -> Seen:
        boxes = [(x := next(places), 0.1, x + 0.05, 0.3)] if number == 30 else []
        return sight(number / FPS, boxes, [0] * len(boxes))

    with pytest.raises(Unverified, match=r"somebody is still seen in 1 of its frames \(at 3.0 s\)"):
        make(scene.footage(), FakeEyes(scene, strictly), tmp_path / "clip.mp4")


def test_an_encoder_that_shows_something_inside_the_cover_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "cover", lambda picture, rects: None)
    scene = SCENES["seen in every frame"]
    with pytest.raises(Unverified, match="shows something inside its cover"):
        make(scene.footage(), FakeEyes(scene), tmp_path / "clip.mp4")


def test_a_frame_less_or_more_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = SCENES["seen in every frame"]
    for frames in (Scene(scene.ways, frames=59), Scene(scene.ways, frames=61)):
        path = tmp_path / f"{frames.frames}.mp4"
        make(frames.footage(), FakeEyes(frames), path)
        other = path.read_bytes()

        def swapped(*arguments: object, other: bytes = other) -> None:
            clip = arguments[3]
            assert isinstance(clip, Path)
            clip.write_bytes(other)

        with monkeypatch.context() as patch, pytest.raises(Unverified, match="frames"):
            patch.setattr(clips, "_encode", swapped)
            make(scene.footage(), FakeEyes(scene), tmp_path / "clip.mp4")


def test_footage_that_changes_in_between_makes_no_clip(tmp_path: Path) -> None:
    scene = SCENES["seen in every frame"]
    passes = iter([60, 40])
    usual = scene.footage()

    def frames(first_s: float, last_s: float) -> Iterator[tuple[float, Frame]]:
        for number, one in zip(range(next(passes)), usual.frames(first_s, last_s), strict=False):
            del number
            yield one

    with pytest.raises(Unmade, match="changed while the clip was made"):
        make(Footage(frames, 0.0, 5.9, lambda: None), FakeEyes(scene), tmp_path / "clip.mp4")


@pytest.mark.parametrize("size", [(320, 240), (322, 182), (64, 64)])
def test_what_is_painted_holds_what_is_planned_with_a_guard_around_it(size: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    low = random.uniform(0, 0.9, (200, 2))
    boxes = np.concatenate([low, np.minimum(low + random.uniform(0.005, 0.5, (200, 2)), 1)], axis=1)
    for rect in planned(boxes, *size):
        outer = painted(rect, *size)
        assert outer.left <= max(0, rect.left - 4)
        assert outer.top <= max(0, rect.top - 4)
        assert outer.right >= min(size[0], rect.right + 4)
        assert outer.bottom >= min(size[1], rect.bottom + 4)


def test_the_fill_is_what_comes_out(tmp_path: Path) -> None:
    scene = Scene([lambda _t: (0.25, 0.25, 0.75, 0.75)])
    make(scene.footage(), FakeEyes(scene), tmp_path / "clip.mp4")
    for image in decoded(tmp_path / "clip.mp4"):
        luma = image.to_ndarray()[:HEIGHT][HEIGHT // 4 : HEIGHT * 3 // 4, WIDTH // 4 : WIDTH * 3 // 4]
        assert int(np.abs(luma.astype(int) - FILL[0]).max()) <= clips.TOLERANCE


def boxes_of(data: bytes, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Every box of an MP4 file, at any depth: its type, and where its content lies (ISO/IEC 14496-12)."""
    while start + 8 <= end:
        size, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8].decode("latin-1")
        yield kind, start + 8, start + size
        if kind in {"moov", "trak", "mdia", "minf", "stbl", "udta", "edts", "meta"}:
            yield from boxes_of(data, start + (12 if kind == "meta" else 8), start + size)
        start += size


def test_the_file_holds_pictures_and_nothing_else(tmp_path: Path) -> None:
    scene = SCENES["seen in every frame"]
    make(scene.footage(), FakeEyes(scene), tmp_path / "clip.mp4")
    data = (tmp_path / "clip.mp4").read_bytes()
    kinds = [kind for kind, _, _ in boxes_of(data, 0, len(data))]
    assert "edts" not in kinds
    # FFmpeg writes an empty list of tags.
    assert [end - start for kind, start, end in boxes_of(data, 0, len(data)) if kind == "ilst"] == [0]
    assert kinds.index("moov") < kinds.index("mdat")
    assert b"x264" not in data
    assert b"Lavf" not in data
    with av.open(str(tmp_path / "clip.mp4")) as container:
        (stream,) = container.streams
        assert isinstance(stream, av.VideoStream)
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.start_time == 0
        units = [nal_types(bytes(packet)) for packet in container.demux(stream) if packet.size]
    assert len(units) == 60
    assert {kind for one in units for kind in one} <= {1, 5, 7, 8}, "slices and parameter sets alone, no messages (SEI)"


def nal_types(packet: bytes) -> list[int]:
    """Types of the NAL units in a packet whose units have their length in front."""
    types, at = [], 0
    while at < len(packet):
        length = int.from_bytes(packet[at : at + 4])
        types.append(packet[at + 4] & 31)
        at += 4 + length
    return types


def test_the_same_clip_has_the_same_bytes(tmp_path: Path) -> None:
    scene = SCENES["crossing"]
    first = make(scene.footage(), FakeEyes(scene), tmp_path / "one.mp4")
    again = make(scene.footage(), FakeEyes(scene), tmp_path / "two.mp4")
    assert first == again


def test_odd_sides_and_pixels_that_are_not_square(tmp_path: Path) -> None:
    def frames(_first_s: float, _last_s: float) -> Iterator[tuple[float, Frame]]:
        for number in range(5):
            image = av.VideoFrame.from_ndarray(np.zeros((61, 83, 3), np.uint8), format="rgb24")
            yield number / FPS, Frame(number, number / FPS, image, pixel_aspect=float(Fraction(16, 15)))

    make(Footage(frames, 0, 0.4, lambda: None), None, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height) == (82, 60)
        assert context.sample_aspect_ratio == Fraction(16, 15)
