"""Twelve camera clips made from fetched footage: what the demo looks at where no other videos are given.

Same footage, same libraries, same bytes: one thread, bit-exact scaling and no time stamps or version tags in the files.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import av
import av.error
import av.filter
import numpy as np

from shoal import artifacts
from shoal.artifacts import Say, State, locked, quiet
from shoal.errors import ShoalError
from shoal.files import sha256_file, write_atomic
from shoal.paths import cache_dir
from shoal.site.videos import Clip

RECIPE_VERSION: Final = 1
"""Raised whenever the clips would come out otherwise; part of the cache key."""
WIDTH_PX: Final = 640
HEIGHT_PX: Final = 480
FRAMES_PER_S: Final = 10
CAMPUS_CLIPS: Final = 8
CAMPUS_FRAMES: Final = 99
"""A clip's share of the campus footage, 795 frames at 10 a second."""
STILL_FRAMES: Final = 120
AT_ONCE: Final = 2
CODEC_OPTIONS: Final = {
    "crf": "26",
    "preset": "veryfast",
    "threads": "1",
    "flags": "+bitexact",
    # Else x264 picks other algorithms on other processors, and other bytes come out.
    "x264-params": "cpu-independent=1",
}
CONTAINER_OPTIONS: Final = {"movflags": "+faststart", "fflags": "+bitexact"}
_RECORD: Final = "clips.json"

Frames = Iterator[av.VideoFrame]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one clip is made: the artefact it is cut from, and which frames of it."""

    name: str
    source: str
    description: str
    frames: Callable[[Path], Frames]
    still_photo: bool = False


class _Scaler:
    """Scaling and colour conversion that rounds alike on every processor."""

    def __init__(self, width: int, height: int, pixels: str) -> None:
        self._target = (width, height, pixels)
        self._key: tuple[int, int, str] | None = None
        self._graph: Any = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        key = (frame.width, frame.height, frame.format.name)
        if key != self._key:
            self._graph, self._key = self._make(*key), key
        # The source's own time stamps mean nothing here: frames are picked and repeated.
        frame.pts, frame.time_base = None, Fraction(1, FRAMES_PER_S)
        self._graph.push(frame)
        scaled: av.VideoFrame = self._graph.pull()
        return scaled

    def _make(self, width: int, height: int, pixels: str) -> Any:
        target_width, target_height, target_pixels = self._target
        graph = av.filter.Graph()
        graph.threads = 1
        steps = [
            graph.add_buffer(
                width=width, height=height, format=av.VideoFormat(pixels), time_base=Fraction(1, FRAMES_PER_S)
            ),
            graph.add("scale", f"{target_width}:{target_height}:flags=area+accurate_rnd+bitexact"),
            graph.add("format", target_pixels),
            graph.add("buffersink"),
        ]
        for one, following in pairwise(steps):
            one.link_to(following)
        graph.configure()
        return graph


def _decoded(path: Path) -> Frames:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        # Without these the decoder takes the fastest arithmetic of this very processor, not the same everywhere.
        stream.codec_context.options = {"idct": "simple", "flags": "+bitexact"}
        yield from container.decode(stream)


def _campus(number: int, path: Path) -> Frames:
    yield from islice(_decoded(path), number * CAMPUS_FRAMES, (number + 1) * CAMPUS_FRAMES)


def _traffic(path: Path) -> Frames:
    """3 s at 20 frames/s, every second frame of it forward and back, twice: 12 s without a jump."""
    forward = list(islice(_decoded(path), 0, None, 2))
    yield from 2 * (forward + forward[::-1])


def _still(path: Path) -> Frames:
    """A window that wanders over a photo and back while it narrows and widens again."""
    still = next(_decoded(path))
    height, width = still.height, still.width
    photo = _Scaler(width, height, "rgb24")(still).to_ndarray()
    widest = min(width, height * WIDTH_PX // HEIGHT_PX)
    for number in range(STILL_FRAMES):
        turn = 2 * math.pi * number / STILL_FRAMES
        # Even sizes and places, because colour is stored for blocks of 2 x 2 pixels.
        window_width = round(widest * (0.85 + 0.15 * math.cos(turn))) // 2 * 2
        window_height = window_width * HEIGHT_PX // WIDTH_PX // 2 * 2
        left = round((width - window_width) * (0.5 - 0.5 * math.sin(turn))) // 2 * 2
        top = round((height - window_height) * (0.5 + 0.25 * math.sin(turn))) // 2 * 2
        window = photo[top : top + window_height, left : left + window_width]
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(window, dtype=np.uint8), format="rgb24")


def recipes() -> list[Recipe]:
    """The twelve clips in order."""
    campus = [
        Recipe(
            f"cam{number:02}-campus.mp4",
            "vtest",
            f"real surveillance footage: fixed campus camera, seconds {number * CAMPUS_FRAMES / FRAMES_PER_S:.0f} to "
            f"{(number + 1) * CAMPUS_FRAMES / FRAMES_PER_S:.0f}, people walking",
            partial(_campus, number),
        )
        for number in range(CAMPUS_CLIPS)
    ]
    loop = "real traffic footage: fixed camera, 3 s played forward and back twice"
    still = "a moving crop of a still photo, not footage"
    return [
        *campus,
        Recipe("cam08-traffic.mp4", "traffic-cyclist", f"{loop}; cars and a cyclist", _traffic),
        Recipe("cam09-traffic.mp4", "traffic-truck", f"{loop}; cars and a truck", _traffic),
        Recipe("cam10-still-photo-bus.mp4", "photo-bus", f"{still}: a bus and people", _still, still_photo=True),
        Recipe("cam11-still-photo-people.mp4", "photo-zidane", f"{still}: two people", _still, still_photo=True),
    ]


def encode(frames: Frames, target: Path) -> int:
    """Write `frames` to an MP4 file of the clips' size and rate; the number of frames written.

    Raises ShoalError where there is no frame.
    """
    scale, count = _Scaler(WIDTH_PX, HEIGHT_PX, "yuv420p"), 0
    with av.open(str(target), "w", format="mp4", options=CONTAINER_OPTIONS) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_S, options=CODEC_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.codec_context.gop_size = FRAMES_PER_S
        stream.codec_context.thread_count = 1
        for count, frame in enumerate(frames, start=1):
            scaled = scale(frame)
            scaled.pts, scaled.time_base = count - 1, Fraction(1, FRAMES_PER_S)
            scaled.pict_type = 0
            container.mux(stream.encode(scaled))
        container.mux(stream.encode())
    if not count:
        raise ShoalError(f"no frame could be read for {target.name}")
    return count


def clips_folder() -> Path:
    """Where the clips lie once they were made; its name changes with the recipe, the sources and the encoder."""
    catalogue = artifacts.load_catalogue()
    parts = [str(RECIPE_VERSION), av.__version__, *(catalogue.get(one.source).sha256["any"] for one in recipes())]
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]
    return cache_dir() / "samples" / f"{RECIPE_VERSION}-{key}"


def clip_states() -> dict[str, tuple[State, str | None]]:
    """For each clip by name: whether it lies in the cache and is still as it was made; the hash it has."""
    folder = clips_folder()
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {}
    states: dict[str, tuple[State, str | None]] = {}
    for recipe in recipes():
        path = folder / recipe.name
        sha256 = sha256_file(path) if path.is_file() else None
        right = sha256 is not None and isinstance(record, dict) and record.get(recipe.name) == sha256
        states[recipe.name] = (State.CACHED if right else State.DAMAGED if sha256 else State.MISSING, sha256)
    return states


def _kept_clips() -> list[Clip] | None:
    states = clip_states()
    if any(state is not State.CACHED for state, _ in states.values()):
        return None
    return [_clip(recipe, clips_folder(), states[recipe.name][1] or "") for recipe in recipes()]


def sample_clips(*, say: Say = quiet) -> list[Clip]:
    """The twelve clips, from the cache or made now (some 10 s and 105 MB of downloads on an empty cache).

    They are made beside their final folder and get there together by one rename, so no reader sees some of them or half
    of one. Raises ShoalError where a source cannot be had or footage cannot be read.
    """
    if clips := _kept_clips():
        return clips
    folder = clips_folder()
    with locked(folder.with_suffix(".lock"), what="the sample clips", say=say):
        if clips := _kept_clips():
            return clips
        sources = artifacts.resolve_all({recipe.source for recipe in recipes()}, say=say)
        part = folder.with_suffix(".part")
        say(f"making {len(recipes())} sample clips")
        with artifacts.disk_errors("the sample clips"):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                _make(sources, part)
                shutil.rmtree(folder, ignore_errors=True)
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        record: dict[str, str] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return [_clip(recipe, folder, record[recipe.name]) for recipe in recipes()]


def _make(sources: Mapping[str, Path], folder: Path) -> None:
    def make(recipe: Recipe) -> str:
        target = folder / recipe.name
        try:
            encode(recipe.frames(sources[recipe.source]), target)
        except av.error.FFmpegError as error:
            raise ShoalError(f"{recipe.name} cannot be made from {recipe.source}: {error}") from error
        return sha256_file(target)

    # Decoding, scaling and encoding run outside of Python's lock, so threads use all cores.
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        record = dict(zip((recipe.name for recipe in recipes()), pool.map(make, recipes()), strict=True))
    write_atomic(folder / _RECORD, json.dumps(record, indent=2) + "\n")


def _clip(recipe: Recipe, folder: Path, sha256: str) -> Clip:
    path = folder / recipe.name
    licence = artifacts.load_catalogue().get(recipe.source).licence
    return Clip(
        recipe.name, path, sha256, path.stat().st_size, recipe.description, licence, recipe.source, recipe.still_photo
    )
