"""How many cameras one core watches: CPU time of the watch for a second of film, at two sizes, empty and busy.

    python benchmarks/cameras.py --output benchmarks/cameras.json

The whole program is measured, with all its processes: reading, detecting with reuse of what did not change, events, and
in the busy scene a clip of all of it in which people are covered. Its start is taken out: several files are measured
against one. Film is 10 frames a second, every second one looked at, with a model input of 640. The busy scene is a
sample clip of people on a campus, again and again; the empty one the background of a street (each pixel's median) with
noise of one grey level, as a camera's sensor has it. Both are scaled to 1920 x 1080 for the second size: more pixels,
no more detail.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "detector")]

import av  # noqa: E402 - the checkout's own packages come first

from benchmarks.stamp import machine, stamp  # noqa: E402
from shoal.site import camera_films, sample_clips, weights  # noqa: E402

FPS, SEGMENT_S, STRIDE, IMG = 10, 20, 2, 640
SIZES = {"640x480": (640, 480), "1920x1080": (1920, 1080)}
MORE_FILES = {"empty": 12, "busy": 1}
"""So many files more are measured against one: an empty one costs little beside the start."""
RULES = {"version": 1, "longest_s": 10}
"""What lasts is cut every 10 s: all of the busy scene comes into clips."""
FRIGATE = {
    "source": "https://docs.frigate.video/frigate/hardware",
    "says": "x86 and Arm64 hosts via CPU: generally not recommended; a Coral of 10 ms an inference: 100 a second",
}
"""What Frigate's documentation asks for the same: a detector beside the processor."""

Picture = npt.NDArray[np.uint8]


def pictures(scene: str) -> Iterator[Picture]:
    """Frames of a scene, without end."""
    name = "cam00-campus.mp4" if scene == "busy" else "cam08-traffic.mp4"
    (clip,) = [one for one in sample_clips.sample_clips() if one.name == name]
    with av.open(str(clip.path)) as container:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]
    random, empty = np.random.default_rng(18), camera_films.background(frames)
    number = 0
    while True:
        if scene == "busy":
            yield frames[number % len(frames)]
        else:
            yield np.clip(empty + random.normal(0, 1, empty.shape), 0, 255).astype(np.uint8)
        number += 1


def film(folder: Path, scene: str, size: tuple[int, int], count: int) -> None:
    """So many files of a camera, as its recorder writes them."""
    source = pictures(scene)
    for number in range(count):
        seconds = number * SEGMENT_S
        path = folder / f"20261130T08{seconds // 60:02d}{seconds % 60:02d}Z.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for _ in range(SEGMENT_S * FPS):
                frame = av.VideoFrame.from_ndarray(next(source), format="rgb24").reformat(*size, "yuv420p")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def cpu_s(scene: str, size: tuple[int, int], count: int) -> tuple[float, int]:
    """CPU seconds of a watch over so many files, and how many events it made."""
    model = weights.yolov5s()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        day = root / "videos" / "cameras" / "north" / "2026-11-30"
        day.mkdir(parents=True)
        (root / "videos" / ".shoal").mkdir()
        (root / "videos" / ".shoal" / "events.json").write_text(json.dumps(RULES))
        film(day, scene, size, count)
        settings = {
            "version": 1, "cameras": [{"name": "north", "folder": "cameras/north"}], "weights": str(model.path),
            "weights_name": model.name, "weights_sha256": model.sha256, "img": IMG, "stride": STRIDE,
            "stride_most": STRIDE, "processes": 1, "look_back_s": 1e9,
        }  # fmt: skip
        (root / "watch.json").write_text(json.dumps(settings))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = ["--settings", root / "watch.json", "--input", root / "videos", "--state", root / "state"]
        process = subprocess.Popen(
            [sys.executable, "-m", "shoal_detect", "watch", *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "detector")},
            stdout=subprocess.DEVNULL,
        )
        ledger = root / "state" / "cameras" / "north" / "ledger.jsonl"
        while len(ledger.read_text().splitlines() if ledger.exists() else ()) < count or _clips_to_make(root / "state"):
            if process.poll() is not None:
                raise SystemExit("the watch ended")
            time.sleep(0.5)
        process.terminate()
        process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        events = len([*(root / "state").glob("events/watch-*")])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, events


def _clips_to_make(state: Path) -> bool:
    """Whether any event still lies there without its clip."""
    return any((state / "events").glob("new-*"))


def main() -> None:
    """Measure all four and write them down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    begun = stamp()
    rows: list[dict[str, Any]] = []
    for name, size in SIZES.items():
        for scene in ("empty", "busy"):
            more = MORE_FILES[scene]
            (one, _), (all_of_them, events) = cpu_s(scene, size, 1), cpu_s(scene, size, 1 + more)
            share = (all_of_them - one) / (more * SEGMENT_S)
            row = {"size": name, "scene": scene, "events": events, "cpu_s_per_second": round(share, 4)}
            rows.append({**row, "cameras_per_core": round(1 / share, 1)})
            sys.stderr.write(f"{rows[-1]}\n")
    document = {
        **begun, "machine": machine(),
        "fps": FPS, "stride": STRIDE, "img": IMG, "reuse": True, "rows": rows, "frigate": FRIGATE,
    }  # fmt: skip
    given.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
