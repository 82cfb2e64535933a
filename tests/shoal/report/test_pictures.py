"""A picture that came home is a node's: it is shown where it is one, and costs no more memory than a picture may."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from shoal.report import html
from shoal.report.pictures import PICTURE_BYTES, jpeg

WHOLE = b"\xff\xd8\xff picture \xff\xd9"


def large(path: Path) -> Path:
    """A file that begins like a picture and goes on for 8 GB."""
    path.write_bytes(WHOLE)
    os.truncate(path, 8 << 30)
    return path


def test_a_picture_of_gigabytes_is_none_and_is_not_read(tmp_path: Path) -> None:
    path = large(tmp_path / "a.jpg")
    tracemalloc.start()
    try:
        assert jpeg(path) is None
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * PICTURE_BYTES


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg onload=x>", WHOLE[:-1]])
def test_what_is_no_whole_jpeg_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert jpeg(tmp_path / "a.jpg") is None
    assert jpeg(tmp_path / "missing.jpg") is None
    assert jpeg(tmp_path) is None


def test_pages_show_the_pictures_that_are_some(tmp_path: Path) -> None:
    (tmp_path / "gate" / "clips").mkdir(parents=True)
    (tmp_path / "gate" / "good.jpg").write_bytes(WHOLE)
    large(tmp_path / "gate" / "large.jpg")
    names = ["gate/large.jpg", "gate/good.jpg", "gate/missing.jpg"]
    frames = [SimpleNamespace(path=name, detections=1, frame=number) for number, name in enumerate(names)]
    events = [SimpleNamespace(key_frame=name) for name in names]
    run = SimpleNamespace(
        nodes=[SimpleNamespace(videos=[SimpleNamespace(key_frames=frames)])], cameras=[SimpleNamespace(events=events)]
    )
    images = html.choose_images(run, tmp_path, 1 << 30)  # type: ignore[arg-type]
    assert list(images.embedded) == ["gate/good.jpg"]
    assert images.unusable == {"gate/large.jpg", "gate/missing.jpg"}
    assert list(html.posters(run, tmp_path, 1 << 30)) == ["gate/good.jpg"]  # type: ignore[arg-type]
