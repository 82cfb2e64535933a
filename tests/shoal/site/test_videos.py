from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shoal_detect.read import videos as detector_videos

from shoal.errors import Exit, UsageError
from shoal.site.videos import EXTENSIONS, assign, from_directory


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


def test_the_detector_takes_the_same_files_for_videos() -> None:
    assert {extension.decode() for extension in detector_videos.EXTENSIONS} == EXTENSIONS
