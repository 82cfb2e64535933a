"""What a lab's cameras stream: sample clips as a camera has its film, with a quiet spell after each.

A clip is some ten seconds in which something happens; then the same place without anything that moves, which is each
pixel's median over the clip. So there are events that begin and end, as at a real camera. H.264 without frames out of
their order, as cameras make it and as the lab's RTSP server needs it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from shoal.files import write_atomic
from shoal.locks import locked
from shoal.paths import cache_dir
from shoal.site.sample_clips import FRAMES_PER_S, HEIGHT_PX, WIDTH_PX, sample_clips
from shoal.telling import Say, quiet

RECIPE_VERSION: Final = 1
CLIPS: Final = {"cam08-traffic.mp4": 98, "cam00-campus.mp4": 108, "cam09-traffic.mp4": 92, "cam03-campus.mp4": 114}
"""Each film's clip, and its quiet seconds: of different lengths, so that not all cameras are busy at once, and so long
that four cameras' clips take two processors half of their time (25 s each were seen, for 15 s in which people are
covered)."""
MEDIAN_OF_FRAMES: Final = 30
CODEC_OPTIONS: Final = {"preset": "veryfast", "crf": "20", "bf": "0", "g": str(2 * FRAMES_PER_S), "threads": "1"}

Picture = npt.NDArray[np.uint8]


def films(*, say: Say = quiet) -> list[Path]:
    """The films, made once and kept in the cache. Raises ShoalError where the sample footage cannot be had."""
    by_name = {clip.name: clip for clip in sample_clips(say=say)}
    recipe = [RECIPE_VERSION, CLIPS, CODEC_OPTIONS, [by_name[name].sha256 for name in CLIPS]]
    folder = cache_dir() / "films" / hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
    found = []
    with locked(folder.with_name(f".{folder.name}.lock"), what="the cameras' films", say=say):
        for name, quiet_s in CLIPS.items():
            path = folder / name
            if not path.exists():
                say(f"lab: making the film of {path.stem}")
                write_atomic(path, film(by_name[name].path, quiet_s, folder / f".{name}.part"))
            found.append(path)
    return found


def film(clip: Path, quiet_s: float, part: Path) -> bytes:
    """A clip and `quiet_s` seconds of its background, as MP4; `part` is written on the way and removed."""
    frames = _decoded(clip)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=FRAMES_PER_S, options=dict(CODEC_OPTIONS))
            stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
            for picture in _all(frames, quiet_s):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return part.read_bytes()
    finally:
        part.unlink(missing_ok=True)


def background(frames: Sequence[Picture]) -> Picture:
    """Each pixel's median: what stands there when nothing passes. Shape and type as a frame's."""
    every = max(1, len(frames) // MEDIAN_OF_FRAMES)
    median: Picture = np.median(np.stack(frames[::every]), axis=0).astype(np.uint8)
    return median


def _all(frames: Sequence[Picture], quiet_s: float) -> Iterator[Picture]:
    yield from frames
    empty = background(frames)
    for _ in range(round(quiet_s * FRAMES_PER_S)):
        yield empty


def _decoded(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)]
