"""Every odd recording is read right, or named: one row per case, against the numbers written in the pictures."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from shoal_detect.read.decode import Reading, read_frames
from shoal_detect.read.faults import Kind
from shoal_detect.read.videos import find_videos

from tests.detector.read import corpus
from tests.detector.read.corpus import FRAMES, joined, write

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
B_FRAMES = {"bf": "3", "preset": "veryfast"}
HOUR_S = 3600
ALL = tuple(range(FRAMES))
TWICE = ALL * 2

Make = Callable[[Path], object]


@dataclass
class Read:
    """What was read of a file."""

    reading: Reading
    numbers: list[int]
    times_s: list[float]
    sizes: list[tuple[int, int]]

    @property
    def kind(self) -> str | None:
        return self.reading.fault and self.reading.fault.kind


def read(folder: Path) -> Read:
    (video,) = find_videos(str(folder)).videos
    return read_video(video)


def read_video(video: object) -> Read:
    result = Read(Reading(), [], [], [])
    for frame in read_frames(video, result.reading):  # type: ignore[arg-type]
        result.numbers.append(corpus.number(frame.image))
        result.times_s.append(frame.time_s)
        result.sizes.append((frame.width, frame.height))
        assert (frame.image.width, frame.image.height) == (frame.width, frame.height)
    assert all(later > earlier for earlier, later in itertools.pairwise(result.times_s))
    assert len(result.numbers) == result.reading.frames
    return result


def _beside(folder: Path) -> Path:
    """A folder for what a case is made of."""
    path = folder.parent / "made"
    path.mkdir(exist_ok=True)
    return path


def _ts(folder: Path, name: str, first_s: float = 0.0, **more: object) -> Path:
    offset_ms = round(first_s * 1000)
    return write(
        _beside(folder) / name,
        muxer="mpegts",
        stamp=lambda place: offset_ms + place * 40,
        **more,  # type: ignore[arg-type]
    )


# --- what is right: all pictures, at their times, without a fault


def _two_ts(first_s: float, second_s: float) -> Make:
    def make(folder: Path) -> object:
        return joined(folder / "a.ts", _ts(folder, "one.ts", first_s), _ts(folder, "two.ts", second_s))

    return make


def _appended(ending: str, **more: object) -> Make:
    def make(folder: Path) -> object:
        one = write(_beside(folder) / f"one.{ending}", **more)  # type: ignore[arg-type]
        return joined(folder / f"twice.{ending}", one, one)

    return make


def _other_pid(folder: Path) -> object:
    one = _ts(folder, "one.ts")
    two = _ts(folder, "two.ts", 3, muxing={"mpegts_start_pid": "700"})
    return joined(folder / "pid.ts", one, two)


def _other_codec(folder: Path) -> object:
    return joined(folder / "codec.ts", _ts(folder, "one.ts"), _ts(folder, "two.ts", 3, codec="libx265"))


def _later_segments(folder: Path) -> object:
    """An init segment and pieces of a stream that began long before."""
    whole = write(_beside(folder) / "whole.mp4", muxing=FRAGMENTED, stamp=lambda place: place * 40)
    parts = corpus.boxes(whole.read_bytes())
    first = next(place for place, (kind, _) in enumerate(parts) if kind == b"moof")
    (folder / "later.mp4").write_bytes(
        b"".join(data for place, (_, data) in enumerate(parts) if place not in {first, first + 1})
    )
    return None


def _edit_list(folder: Path) -> object:
    """The first packets are there to be decoded, not to be shown."""
    source = write(_beside(folder) / "source.mp4", options=B_FRAMES)
    return corpus.remux(source, folder / "edit.mp4", lambda place: True, shift_s=-0.4)


def _sound_first(folder: Path) -> object:
    """FLV has no list of streams: the pictures come after more sound than FFmpeg looks through."""
    with av.open(str(folder / "late.flv"), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=44100)
        film = container.add_stream("libx264", rate=25)
        assert isinstance(sound, av.AudioStream)
        assert isinstance(film, av.VideoStream)
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        film.options = {"preset": "ultrafast"}
        for second in range(70):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 44100, second * 44100
            container.mux(sound.encode(frame))
        for place in ALL:
            picture = av.VideoFrame.from_ndarray(corpus.picture(place), format="rgb24")
            picture.pts, picture.time_base = 70 * 25 + place, Fraction(1, 25)
            container.mux(film.encode(picture))
        container.mux(film.encode(None))
    return None


GOOD: dict[str, tuple[Make, tuple[int, ...]]] = {
    "segment of a recorder, an hour after its beginning": (
        lambda f: write(f / "s.mkv", stamp=lambda place: HOUR_S * 1000 + place * 40),
        ALL,
    ),
    "mp4 that begins late": (lambda f: write(f / "s.mp4", stamp=lambda place: 10_000 + place * 40), ALL),
    "flv that begins late": (lambda f: write(f / "s.flv", stamp=lambda place: HOUR_S * 1000 + place * 40), ALL),
    "init segment with later pieces": (_later_segments, ALL[25:]),
    "avi that ends in empty chunks": (
        lambda f: corpus.avi_with_empty_chunks(write(_beside(f) / "m.avi", codec="mjpeg"), f / "w.avi", 35),
        ALL[:35],
    ),
    "b-frames in avi": (lambda f: write(f / "b.avi", options=B_FRAMES), ALL),
    "b-frames in mp4": (lambda f: write(f / "b.mp4", options=B_FRAMES), ALL),
    "b-frames in ts": (lambda f: write(f / "b.ts", options=B_FRAMES, muxer="mpegts"), ALL),
    "edit list": (_edit_list, ALL[10:]),
    "unit of time as frame rate": (lambda f: write(f / "ms.mkv", rate=1000, codec="mpeg4"), ALL),
    "ts whose stamps begin anew": (_two_ts(0, 0), TWICE),
    "ts whose clock jumps forward": (_two_ts(10, 50_000), TWICE),
    "ts whose clock jumps back": (_two_ts(50_000, 10), TWICE),
    "ts that goes on under another PID": (_other_pid, TWICE),
    "ts that goes on in another codec": (_other_codec, TWICE),
    "two mp4 in one": (_appended("mp4"), TWICE),
    "two fragmented mp4 in one": (_appended("mp4", muxing=FRAGMENTED), TWICE),
    "two flv in one": (_appended("flv"), TWICE),
    "two mkv in one": (_appended("mkv"), TWICE),
    "two avi in one": (_appended("avi", codec="mpeg4"), TWICE),
    "two program streams in one": (_appended("mpg", codec="mpeg2video"), TWICE),
    "pictures that begin after a minute of sound": (_sound_first, ALL),
    "dhav": (lambda f: corpus.dhav(_ts(f, "one.ts"), f / "cam.dav"), ALL),
    "dhav under the name of mp4": (lambda f: corpus.dhav(_ts(f, "one.ts"), f / "cam.mp4"), ALL),
    "preallocated and not filled": (
        lambda f: (f / "p.mp4").write_bytes(
            write(_beside(f) / "p.mpg", codec="mpeg2video", muxer="mpeg").read_bytes() + bytes(300_000)
        ),
        ALL,
    ),
    "without an extension": (lambda f: write(f / "recording", muxer="mp4"), ALL),
    "unfinished name": (lambda f: write(f / "cam.mp4.tmp", muxer="matroska"), ALL),
    "raw H.264": (lambda f: write(f / "cam.avc", muxer="h264"), ALL),
    "raw HEVC": (lambda f: write(f / "cam", muxer="hevc", codec="libx265"), ALL),
    "raw MPEG-2": (lambda f: write(f / "cam.m2v", muxer="mpeg2video", codec="mpeg2video"), ALL),
    "ivf": (lambda f: write(f / "cam.ivf", codec="libvpx"), ALL),
    "hidden frames of VP8": (
        lambda f: write(f / "alt.webm", codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16"}),
        ALL,
    ),
    "a thumbnail first": (
        lambda f: corpus.several(f / "t.mkv", [("mjpeg", (320, 240), 1), ("libx264", (160, 120), 75)]),
        ALL,
    ),
    "a smaller camera first": (
        lambda f: corpus.several(f / "t.mp4", [("libx264", (80, 60), 75), ("libx264", (160, 120), 75)]),
        ALL,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_recordings_give_all_their_frames_at_rising_times(tmp_path: Path, name: str) -> None:
    make, numbers = GOOD[name]
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder)
    result = read(folder)
    assert result.reading.fault is None
    assert tuple(result.numbers) == numbers
    assert result.times_s == pytest.approx([place * 0.04 for place in range(len(numbers))], abs=0.003)
    assert result.reading.missing == 0
    assert result.reading.gaps == []
    assert result.reading.fps == pytest.approx(25, rel=0.02)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(
    "stamp", [lambda n: n * 40 + n // 25 * 1500, lambda n: n * 10_000, lambda n: n * 40 + (n > 30) * HOUR_S * 1000]
)
def test_frames_apart_on_purpose_are_no_gap_and_keep_their_times(
    tmp_path: Path, ending: str, stamp: Callable[[int], int]
) -> None:
    write(tmp_path / f"v.{ending}", stamp=stamp)
    result = read(tmp_path)
    assert (result.kind, result.reading.missing, result.reading.clock.jump_count) == (None, 0, 0)
    assert result.times_s == pytest.approx([stamp(place) / 1000 for place in ALL], abs=0.003)


@pytest.mark.parametrize("pause_at", [54, 55, 56, 57, 58])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_pause_shortly_before_the_end_loses_nothing(tmp_path: Path, suffix: str, pause_at: int) -> None:
    """With B-frames, the time of the pause stands in an MP4 file as the duration of a frame that is shown after it."""
    options = {"bf": "3", "g": "20", "threads": "1"}
    stamp = lambda place: place * 40 + (1500 if place > pause_at else 0)  # noqa: E731
    write(tmp_path / f"pause.{suffix}", range(60), options=options, stamp=stamp)
    result = read(tmp_path)
    assert (result.reading.frames, result.reading.fault) == (60, None)


# --- jumps of the clock are counted and named; the recording's own time is kept beside


def test_a_jump_is_named_with_the_recordings_own_time(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _two_ts(10, 50_000)(tmp_path / "in")
    (jump,) = read(tmp_path / "in").reading.jumps
    assert (jump.frame, round(jump.time_s, 3)) == (75, 3.0)
    assert jump.to_s - jump.from_s == pytest.approx(50_000 - 10 - 74 * 0.04, abs=0.01)


def test_three_hundred_jumps_are_counted_and_the_first_hundred_kept(tmp_path: Path) -> None:
    short = write(tmp_path / "short.tmp", range(5), muxer="mpegts", stamp=lambda place: 2_000 + place * 400)
    data = short.read_bytes()
    short.unlink()
    (tmp_path / "many.ts").write_bytes(data * 301)
    result = read(tmp_path)
    assert (result.reading.frames, result.reading.clock.jump_count, len(result.reading.jumps)) == (1505, 300, 100)


def test_wall_time_is_kept_where_the_file_has_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    corpus.dhav(_ts(tmp_path / "in", "one.ts"), tmp_path / "in" / "cam.dav")
    recorded_at = read(tmp_path / "in").reading.recorded_at
    assert recorded_at is not None
    assert recorded_at.isoformat() == "2026-11-28T12:00:00+00:00"


# --- as shown

TURNS = {
    (1, 0, 0, 1): (0, False),
    (0, 1, -1, 0): (90, False),
    (-1, 0, 0, -1): (180, False),
    (0, -1, 1, 0): (270, False),
    (-1, 0, 0, 1): (0, True),
    (0, -1, -1, 0): (90, True),
    (1, 0, 0, -1): (180, True),
    (0, 1, 1, 0): (270, True),
}


@pytest.mark.parametrize("matrix", TURNS)
def test_pictures_are_shown_as_the_matrix_says(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    corpus.with_matrix(write(tmp_path / "phone.mp4", range(3)), *matrix)
    (video,) = find_videos(str(tmp_path)).videos
    reading = Reading()
    frames = [frame.image.to_ndarray(format="rgb24") for frame in read_frames(video, reading)]
    assert (reading.orientation.rotation_deg, reading.orientation.mirrored) == TURNS[matrix]
    # Where the bright corner (x, y from the middle) goes, by the standard's own formula.
    a, b, c, d = matrix
    x, y = a * -1 + c * -1, b * -1 + d * -1
    height, width = frames[0].shape[:2]
    assert (width, height) == ((120, 160) if TURNS[matrix][0] in {90, 270} else (160, 120))
    assert (reading.width, reading.height) == (width, height)
    corner = frames[0][: height // 6] if y < 0 else frames[0][-height // 6 :]
    corner = corner[:, : width // 6] if x < 0 else corner[:, -width // 6 :]
    assert corner.mean() > 200
    # The reference reader turns too, but does not mirror.
    if not TURNS[matrix][1]:
        capture = cv2.VideoCapture(str(tmp_path / "phone.mp4"))
        found, reference = capture.read()
        assert found
        assert reference.shape == frames[0].shape
        assert abs(reference[:, :, ::-1].astype(int) - frames[0]).mean() < 4


def test_pixels_that_are_not_square_are_told(tmp_path: Path) -> None:
    write(tmp_path / "d1.mp4", range(3), size=(176, 144), aspect=Fraction(12, 11))
    result = read(tmp_path)
    assert result.sizes[0] == (176, 144)
    assert result.reading.pixel_aspect == pytest.approx(12 / 11)


def test_interlaced_pictures_are_told_and_left_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "i.ts", muxer="mpegts", options={"x264-params": "tff=1", "preset": "veryfast"})
    result = read(tmp_path)
    assert (result.reading.interlaced, tuple(result.numbers), result.kind) == (True, ALL, None)


def test_every_size_of_the_frames_is_on_record(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    joined(tmp_path / "in" / "a.ts", _ts(tmp_path / "in", "one.ts"), _ts(tmp_path / "in", "two.ts", 3, size=(320, 240)))
    result = read(tmp_path / "in")
    assert [(size.frame, size.width, size.height) for size in result.reading.sizes] == [(0, 160, 120), (75, 320, 240)]
    assert tuple(result.numbers) == TWICE


def test_streams_that_are_not_read_are_named(tmp_path: Path) -> None:
    corpus.several(tmp_path / "dash.mp4", [("libx264", (80, 60), 75), ("libx264", (160, 120), 75)])
    (unread,) = read(tmp_path).reading.unread
    assert (unread.index, unread.codec, unread.width, unread.why) == (
        0,
        "h264",
        80,
        "a second recording in the same file",
    )


# --- what is lost is counted, with its place

LOST: dict[str, tuple[Make, int, float]] = {
    "mp4 with a hole": (lambda f: corpus.hole(write(f / "h.mp4"), 0.35, 0.65, fill=b"\0"), 23, 1.0),
    "ts with a hole": (lambda f: corpus.hole(write(f / "h.ts", muxer="mpegts"), 0.35, 0.65, fill=None), 23, 1.0),
    "mkv with a hole": (
        lambda f: corpus.hole(write(f / "h.mkv", muxing={"cluster_time_limit": "200"}), 0.35, 0.65, fill=b"\xa5"),
        23,
        1.0,
    ),
    "avi with a hole": (lambda f: corpus.hole(write(f / "h.avi", codec="mjpeg"), 0.35, 0.65, fill=b"\0"), 23, 1.0),
    "ts that begins between key frames": (
        lambda f: corpus.remux(
            _ts(f, "one.ts", options={"g": "50", "keyint_min": "50"}), f / "n.ts", lambda place: place > 0
        ),
        49,
        0.0,
    ),
    "mkv that begins between key frames": (
        lambda f: corpus.remux(
            _ts(f, "one.ts", options={"g": "50", "keyint_min": "50"}), f / "n.mkv", lambda place: place > 0
        ),
        49,
        0.0,
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_lost_frames_are_counted_and_are_a_fault(tmp_path: Path, name: str) -> None:
    make, lost, at_s = LOST[name]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    result = read(tmp_path / "in")
    assert result.kind == Kind.FRAMES_MISSING
    assert result.reading.missing == pytest.approx(lost, abs=3)
    assert result.reading.missing + result.reading.frames == pytest.approx(75 - (at_s == 0), abs=1)
    assert sum(gap.frames for gap in result.reading.gaps) == result.reading.missing
    if "avi" not in name:  # which has no times: it is not known where
        assert result.reading.gaps[0].time_s == pytest.approx(at_s, abs=0.15)
        assert result.reading.gaps[0].frame == next(
            (place for place, step in enumerate(_steps(result.times_s), start=1) if step > 0.1), 0
        )


@pytest.mark.parametrize("packets", range(920, 936))
def test_a_hole_in_a_transport_stream_is_found_whatever_its_continuity_counters_say(
    tmp_path: Path, packets: int
) -> None:
    data = write(tmp_path / "made.tmp", muxer="mpegts").read_bytes()
    (tmp_path / "made.tmp").unlink()
    begin = len(data) // 188 * 35 // 100 * 188
    (tmp_path / "hole.ts").write_bytes(data[:begin] + data[begin + packets * 188 :])
    result = read(tmp_path)
    assert result.reading.missing == pytest.approx(23, abs=2)
    assert result.kind == Kind.FRAMES_MISSING


def _steps(times_s: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times_s)]


def test_a_few_lost_frames_are_counted_and_no_fault(tmp_path: Path) -> None:
    source = write(tmp_path / "made.tmp", range(200), muxer="matroska", options={"g": "10", "keyint_min": "10"})
    data = bytearray(source.read_bytes())
    source.unlink()
    at = len(data) // 2
    data[at : at + 12_000] = bytes(12_000)
    (tmp_path / "few.mkv").write_bytes(data)
    result = read(tmp_path)
    assert 0 < result.reading.missing < 12
    assert result.kind is None or result.reading.missing * 0.04 >= 0.5


# --- faults, each in its own words


def _grown_header(folder: Path) -> object:
    """A duration ten times as long as the film; the segment's size is right (RFC 9559: element 0x4489, a float)."""
    path = write(folder / "w.mkv")
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3
    data[place : place + 8] = struct.pack(">d", struct.unpack(">d", data[place : place + 8])[0] * 10)
    path.write_bytes(data)
    return None


def _scrambled(folder: Path) -> object:
    """A stream of pay television: the bits that say encrypted, and noise in place of the content."""
    data = bytearray(write(folder / "c.ts", muxer="mpegts").read_bytes())
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100:
            data[at + 3] |= 0xC0
            data[at + 60 : at + 188] = bytes((byte * 7 + at) % 251 for byte in range(128))
    (folder / "c.ts").write_bytes(data)
    return None


def _cut(name: str, share: float = 0.6, **more: object) -> Make:
    def make(folder: Path) -> object:
        path = write(folder / name, **more)  # type: ignore[arg-type]
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return None

    return make


CENC = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "00112233445566778899aabbccddeeff",
    "encryption_kid": "00112233445566778899aabbccddeeff",
}
NOISE = -1
"""What a decoder makes of encrypted pictures differs from time to time."""
FAULTS: dict[str, tuple[Make, Kind, int]] = {
    "encrypted mp4": (lambda f: write(f / "drm.mp4", muxing=CENC), Kind.ENCRYPTED, NOISE),
    "scrambled ts": (_scrambled, Kind.ENCRYPTED, NOISE),
    "unknown codec": (
        lambda f: corpus.patched(write(f / "u.mp4"), {b"avc1": b"zzz9", b"avcC": b"zzzC"}),
        Kind.UNSUPPORTED_CODEC,
        0,
    ),
    "codec that changes to an unknown one": (
        lambda f: joined(
            f / "u.mp4",
            write(_beside(f) / "one.mp4"),
            corpus.patched(write(_beside(f) / "two.mp4"), {b"avc1": b"zzz9", b"avcC": b"zzzC"}),
        ),
        Kind.CODEC_CHANGED,
        75,
    ),
    "a header that promises ten times as much": (_grown_header, Kind.WRONG_HEADER, 75),
    "cut mkv of a recorder, an hour after its beginning": (
        _cut("c.mkv", stamp=lambda place: HOUR_S * 1000 + place * 40),
        Kind.TRUNCATED,
        40,
    ),
    "cut mp4": (_cut("c.mp4", muxing={"movflags": "faststart"}), Kind.TRUNCATED, 40),
    "cut flv": (_cut("c.flv"), Kind.TRUNCATED, 40),
    "cut avi": (_cut("c.avi", codec="mjpeg"), Kind.TRUNCATED, 40),
    "cut ts": (_cut("c.ts", share=0.6003, muxer="mpegts"), Kind.TRUNCATED, 40),
    "second of two mp4 cut": (
        lambda f: (f / "c.mp4").write_bytes(
            2 * write(_beside(f) / "one.mp4", muxing={"movflags": "faststart"}).read_bytes()[:-20]
        ),
        Kind.TRUNCATED,
        148,
    ),
    "segment without its init segment": (
        lambda f: (f / "s1.m4s").write_bytes(
            b"".join(d for k, d in corpus.boxes(write(_beside(f) / "w.mp4", muxing=FRAGMENTED).read_bytes())[2:])
        ),
        Kind.UNREADABLE,
        0,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_told_apart(tmp_path: Path, name: str) -> None:
    make, kind, frames = FAULTS[name]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    result = read(tmp_path / "in")
    assert result.reading.fault is not None
    assert (result.kind, result.reading.fault.message != "") == (kind, True)
    assert frames == NOISE or result.reading.frames == pytest.approx(frames, abs=6)
