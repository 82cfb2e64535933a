"""Every kind of broken video is told apart and named, and what can be decoded of it is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from shoal_detect.pictures.annotate import encode_jpeg
from shoal_detect.read import structure
from shoal_detect.read.decode import Frame, Reading, read_frames
from shoal_detect.read.faults import Fault, Kind
from shoal_detect.read.videos import Video

from tests.detector import detector_making as making

FAST_START = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
CONTAINERS = {
    "index_last.mp4": ("libx264", None),
    "index_first.mp4": ("libx264", FAST_START),
    "fragmented.mp4": ("libx264", FRAGMENTED),
    "plain.mov": ("mjpeg", None),
    "plain.avi": ("mpeg4", None),
    "plain.mkv": ("libx264", None),
    "plain.ts": ("libx264", None),
    "plain.flv": ("flv", None),
    "plain.mpg": ("mpeg1video", None),
    "plain.webm": ("libvpx", None),
}
FRAMES = 30


def missing_end(path: str) -> str | None:
    with Path(path).open("rb") as stream:
        return structure.missing_end(stream, Path(path).stat().st_size)


def _read(path: Path) -> tuple[Reading, list[Frame]]:
    reading = Reading()
    video = Video(str(path), path.name, "id", path.stat().st_size)
    return reading, list(read_frames(video, reading))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 30 frames, 3 s, in every container."""
    folder = tmp_path_factory.mktemp("whole")
    for name, (codec, options) in CONTAINERS.items():
        fps = 25 if codec == "mpeg1video" else 10
        making.write_video(folder / name, making.moving(FRAMES, noise=True), codec=codec, options=options, fps=fps)
    return folder


def _cut(source: Path, target: Path, share: float) -> None:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_whole_video_has_no_fault(whole: Path, name: str) -> None:
    reading, frames = _read(whole / name)
    assert reading.fault is None
    assert reading.decode_errors == 0
    assert [frame.index for frame in frames] == list(range(FRAMES)) == list(range(reading.frames))
    rate = 25 if name.endswith("mpg") else 10
    assert reading.fps == rate
    assert [frame.time_s for frame in frames] == pytest.approx([number / rate for number in range(FRAMES)], abs=2e-3)
    assert reading.duration_s == pytest.approx(FRAMES / rate, abs=2e-3)
    assert (reading.width, reading.height) == (64, 64)
    if not name.endswith(("ts", "mpg")):
        assert reading.frames_expected == FRAMES


@pytest.mark.parametrize("name", [name for name in CONTAINERS if name != "plain.mpg"])
def test_a_video_cut_in_half_is_truncated_and_its_first_half_is_read(whole: Path, tmp_path: Path, name: str) -> None:
    _cut(whole / name, tmp_path / name, 0.55)
    reading, frames = _read(tmp_path / name)
    assert reading.fault is not None
    assert reading.fault.kind == "truncated"
    if name in {"index_last.mp4", "plain.mov"}:
        assert reading.frames == 0  # nothing can be found without the index
    else:
        assert 8 <= reading.frames == len(frames) <= 25


@pytest.mark.parametrize("name", ["index_first.mp4", "plain.avi", "plain.mkv", "plain.ts", "fragmented.mp4"])
def test_even_a_few_missing_bytes_are_noticed(whole: Path, tmp_path: Path, name: str) -> None:
    data = (whole / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-20])
    reading, _ = _read(tmp_path / name)
    assert reading.fault is not None
    assert reading.fault.kind == "truncated"
    assert reading.frames >= FRAMES - 1


@pytest.mark.parametrize("name", ["index_first.mp4", "plain.avi", "plain.mkv", "plain.flv"])
def test_an_end_of_zeros_is_truncated_although_the_size_is_right(whole: Path, tmp_path: Path, name: str) -> None:
    """What a power cut leaves on many file systems."""
    data = (whole / name).read_bytes()
    half = len(data) // 2
    (tmp_path / name).write_bytes(data[:half] + bytes(len(data) - half))
    assert missing_end(str(tmp_path / name)) is None
    reading, _ = _read(tmp_path / name)
    assert reading.fault is not None
    assert reading.fault.kind == "truncated"
    assert 8 <= reading.frames <= 20


def test_damage_in_the_middle_is_counted_but_is_no_fault(whole: Path, tmp_path: Path) -> None:
    data = bytearray((whole / "plain.avi").read_bytes())
    at = len(data) // 3
    data[at : at + 400] = bytes(400)
    (tmp_path / "scratched.avi").write_bytes(data)
    reading, _ = _read(tmp_path / "scratched.avi")
    assert reading.fault is None
    assert reading.frames >= FRAMES - 3
    assert reading.decode_errors > 0


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    reading, frames = _read(tmp_path / "empty.mp4")
    assert reading.fault is not None
    assert (reading.fault.kind, frames) == ("empty", [])


@pytest.mark.parametrize(
    "content", [bytes(50_000), b"hello world\n", b"\xff" * 3000, b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"]
)
@pytest.mark.parametrize("extension", ["mp4", "avi", "ts"])
def test_what_is_no_video_is_unreadable(tmp_path: Path, content: bytes, extension: str) -> None:
    path = tmp_path / f"garbage.{extension}"
    path.write_bytes(content)
    reading, frames = _read(path)
    assert reading.fault is not None
    assert (reading.fault.kind, frames) == ("unreadable", [])


def test_a_picture_under_a_videos_name_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "picture.mp4").write_bytes(encode_jpeg(making.picture({})))
    reading, frames = _read(tmp_path / "picture.mp4")
    assert frames == []
    assert reading.fault == Fault(Kind.UNREADABLE, "its content is in none of the video formats that are read")


def test_sound_only_has_no_video_stream(tmp_path: Path) -> None:
    making.write_sound(tmp_path / "sound.mp4")
    reading, frames = _read(tmp_path / "sound.mp4")
    assert reading.fault is not None
    assert (reading.fault.kind, frames) == ("no_video_stream", [])


@pytest.mark.parametrize("name", ["none.avi", "none.mkv"])
def test_a_video_stream_without_frames_has_no_frames(tmp_path: Path, name: str) -> None:
    making.write_video(tmp_path / name, [])
    reading, frames = _read(tmp_path / name)
    assert reading.fault is not None
    assert (reading.fault.kind, frames) == ("no_frames", [])


def test_frames_that_cannot_be_decoded_are_no_frames(whole: Path, tmp_path: Path) -> None:
    data = bytearray((whole / "index_first.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = b"\x55" * (len(data) - start)
    (tmp_path / "noise.mp4").write_bytes(data)
    reading, frames = _read(tmp_path / "noise.mp4")
    assert reading.fault is not None
    assert (reading.fault.kind, frames) == ("no_frames", [])
    assert reading.decode_errors > 0


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    reading = Reading()
    assert list(read_frames(Video(str(tmp_path / "gone.mp4"), "gone.mp4", "id", 5), reading)) == []
    assert reading.fault is not None
    assert (reading.fault.kind, reading.fault.message) == ("unreadable", "cannot be read: No such file or directory")


def test_leaving_in_the_middle_closes_the_file(whole: Path) -> None:
    reading = Reading()
    path = whole / "plain.mkv"
    frames = read_frames(Video(str(path), path.name, "id", path.stat().st_size), reading)
    assert next(frames).index == 0
    frames.close()  # type: ignore[attr-defined]
    assert reading.frames == 1


# --- containers' own bookkeeping


@pytest.mark.parametrize("name", CONTAINERS)
def test_nothing_is_missing_from_a_whole_container(whole: Path, name: str) -> None:
    assert missing_end(str(whole / name)) is None


def test_what_is_appended_after_the_last_box_is_no_fault(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "more.mp4").write_bytes((whole / "index_first.mp4").read_bytes() + b"camera model 7, serial 12")
    assert missing_end(str(tmp_path / "more.mp4")) is None


def test_a_recording_that_was_not_closed_lacks_its_index(whole: Path, tmp_path: Path) -> None:
    data = (whole / "index_last.mp4").read_bytes()
    (tmp_path / "open.mp4").write_bytes(data[: data.index(b"moov") - 4])
    assert "moov" in (missing_end(str(tmp_path / "open.mp4")) or "")
    reading, _ = _read(tmp_path / "open.mp4")
    assert reading.fault is not None
    assert reading.fault.kind == "truncated"


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (b"", None),
        (b"\0\0\0\x10ftypisom\0\0\0\0", None),
        (b"\0\0\0\x08free\0\0\0\x01mdat\0\0\0\0\0\0\1\0", "240 bytes"),
        (b"\0\0\0\x08free\0\0\0\0moovxxxx", None),
        (b"\0\0\0\x08free\0\0\0\2moov", None),
        (b"RIFF\xff\xff\xff\xffAVI LIST", None),
        (b"RIFF\0\0\0\0AVI LIST", None),
        (b"RIFF\x08\0\0\0AVI LISTRIFF\x40\0\0\0AVIX", "60 bytes"),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff", None),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff", None),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x8ax", "9 bytes"),
        (b"\x1a\x45\xdf\xa3", None),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x40", None),
        (b"G" + bytes(187) + b"G" + bytes(100), "101 of 188"),
        (b"Good morning", None),
    ],
)
def test_headers_are_read_to_the_letter(tmp_path: Path, content: bytes, missing: str | None) -> None:
    (tmp_path / "file").write_bytes(content)
    found = missing_end(str(tmp_path / "file"))
    assert (found is None) if missing is None else (found is not None and missing in found)
