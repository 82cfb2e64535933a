from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shoal_detect.read import footage as detectors

from shoal.errors import Exit, UsageError
from shoal.site import footage
from shoal.site.videos import assign, from_directory


def test_six_and_six() -> None:
    assigned = assign(list(range(12)), ["a", "b"])
    assert assigned == {"a": [0, 1, 2, 3, 4, 5], "b": [6, 7, 8, 9, 10, 11]}


@given(st.lists(st.integers()), st.integers(1, 20))
def test_even_and_in_order(items: list[int], nodes: int) -> None:
    names = [f"n{number}" for number in range(nodes)]
    assigned = assign(items, names)
    assert list(assigned) == names
    assert [item for share in assigned.values() for item in share] == items
    sizes = [len(share) for share in assigned.values()]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_no_node_is_an_error() -> None:
    with pytest.raises(UsageError, match="no compute node"):
        assign([1], [])


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["b.MP4", "Höfe/cam 03.mp4", 'it\'s "quoted" $HOME.avi', "a/cam.mp4", "b/cam.mp4", "日本.mkv", "-dash.mp4"]
    put(tmp_path, *names, "notes.txt", "noextension", ".hidden.mp4", ".trash/x.mp4")
    found = from_directory(tmp_path)
    assert [clip.name for clip in found] == sorted(names, key=os.fsencode)
    for clip in found:
        assert clip.path.read_bytes() == clip.name.encode()
        assert clip.size_bytes == len(clip.name.encode())
    assert len({clip.sha256 for clip in found}) == len(names)


def test_empty_video_is_left_to_the_detector(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert from_directory(tmp_path)[0].size_bytes == 0


@pytest.mark.parametrize("content", [[], ["readme.txt"], [".hidden.mp4"]])
def test_folder_without_a_video(tmp_path: Path, content: list[str]) -> None:
    put(tmp_path, *content)
    with pytest.raises(UsageError, match="there is no video") as caught:
        from_directory(tmp_path)
    assert caught.value.exit_code is Exit.USAGE
    assert "mp4" in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        from_directory(tmp_path / "nothing")
    put(tmp_path, "a.mp4")
    with pytest.raises(UsageError, match="is not a folder"):
        from_directory(tmp_path / "a.mp4")


def test_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "real/a.mp4")
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    (tmp_path / "videos" / "link.mp4").symlink_to(tmp_path / "real" / "a.mp4")
    (tmp_path / "videos" / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "videos" / "deep" / "round").symlink_to(tmp_path / "videos")
    assert [clip.name for clip in from_directory(tmp_path / "videos")] == ["folder/a.mp4", "link.mp4"]


def test_every_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    put(tmp_path, "good.mp4", "line\nbreak.mp4")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xff.mp4")).touch()
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UsageError) as caught:
        from_directory(tmp_path)
    assert {fault.where: fault.what for fault in caught.value.faults} == {
        "broken.mp4": "is a broken link",
        "latin�.mp4": "its name holds control characters or is not UTF-8",
        "line�break.mp4": "its name holds control characters or is not UTF-8",
        "pipe.mp4": "is not a regular file",
    }


BEGINNINGS = [
    b"",
    b"\0\0\0\x20ftypisom",
    b"\0\0\0\x20ftypM4A ",
    b"\0\0\0\x20ftypheic",
    b"The free speech of text",
    b"\x1a\x45\xdf\xa3\x9f",
    b"RIFF\0\0\0\0AVI LIST",
    b"RIFF\0\0\0\0WAVEfmt ",
    b"OggS" + bytes(24) + b"\x80theora",
    b"OggS" + bytes(24) + b"\x01vorbis",
    b"\0\0\0\1\x67\x42",
    b"\0\0\0\1\x40\x01",
    b"\0\0\1\xba",
    b"DHAV\xfd",
    (b"G" + bytes(187)) * 21,
    (bytes(4) + b"G" + bytes(187)) * 21,
    b"G" * 4000,
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"PK\3\4",
    b"{}",
]


def test_the_detector_takes_the_same_names_for_videos() -> None:
    for names in ("VIDEO_NAMES", "PICTURE_NAMES", "SOUND_NAMES", "HEAD_BYTES"):
        assert getattr(detectors, names) == getattr(footage, names)


@pytest.mark.parametrize("head", BEGINNINGS)
def test_the_detector_takes_the_same_beginnings_for_videos(head: bytes) -> None:
    assert detectors.begins_like_video(head) == footage.begins_like_video(head)


@given(st.binary(max_size=600))
def test_the_detector_takes_the_same_bytes_for_videos(head: bytes) -> None:
    assert detectors.begins_like_video(head) == footage.begins_like_video(head)


def test_beginnings_of_footage_and_of_other_files() -> None:
    footage_heads = {1, 5, 6, 8, 10, 11, 12, 13, 14, 15}
    assert {number for number, head in enumerate(BEGINNINGS) if footage.begins_like_video(head)} == footage_heads


def test_footage_is_found_by_its_content_and_the_rest_is_named(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt", "thumb.jpg", "talk.m4a", "cam.mp4")
    (tmp_path / "noextension").write_bytes(BEGINNINGS[1] + bytes(100))
    (tmp_path / "cam.mp4.tmp").write_bytes(BEGINNINGS[14])
    told: list[str] = []
    assert [clip.name for clip in from_directory(tmp_path, say=told.append)] == [
        "cam.mp4",
        "cam.mp4.tmp",
        "noextension",
    ]
    assert told[0].startswith("3 files in ")
    assert "notes.txt" in told[0]
    assert "talk.m4a" in told[0]
