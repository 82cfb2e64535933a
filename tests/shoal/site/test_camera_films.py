"""Films of a lab's cameras: a clip, then its place without what moves; no frame out of its order."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from shoal.site import camera_films


def passing(number: int) -> np.ndarray:
    """A grey place, through which something white goes."""
    picture = np.full((480, 640, 3), 90, dtype=np.uint8)
    picture[200:280, 20 * number : 20 * number + 60] = 255
    return picture


def clip(path: Path, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(passing(number), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_the_background_has_nothing_that_passes() -> None:
    empty = camera_films.background([passing(number) for number in range(28)])
    assert empty.shape == (480, 640, 3)
    assert (empty == 90).all()


def test_a_film_is_the_clip_then_its_empty_place(tmp_path: Path) -> None:
    made = tmp_path / "film.mp4"
    made.write_bytes(camera_films.film(clip(tmp_path / "clip.mp4", 28), 2.0, tmp_path / ".part"))
    with av.open(str(made)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    with av.open(str(made)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert stamps == sorted(stamps), "frames lie in the order in which they are shown"
    assert len(frames) == 28 + 20
    assert frames[10].max() > 240
    assert frames[-1].max() < 120
    assert not (tmp_path / ".part").exists()
