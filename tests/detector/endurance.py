"""Puts one long film through the whole detector, and watches the memory of its processes.

Run as a program: `endurance.py FRAMES`. It fails (exit 1) where memory grows in the second half of the film.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av

from tests.detector import detector_making as making

FPS = 25
GROWTH_BYTES = 16 << 20
"""What the allocator may need more at the end than in the middle."""
SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Endured:
    """How the run ended, and what its processes used together, sample by sample."""

    exit_code: int
    output: str
    bytes_used: list[int]

    @property
    def growth_bytes(self) -> int:
        """The most of the last fifth of the samples above the most of the middle one."""
        fifth = max(1, len(self.bytes_used) // 5)
        return max(self.bytes_used[-fifth:]) - max(self.bytes_used[2 * fifth : 3 * fifth])


def film(path: Path, frames: int, fps: int = FPS) -> None:
    """A film in which something is found all the time; a few hundred pictures over and over."""
    pictures = [
        av.VideoFrame.from_ndarray(making.picture({(at % 4, at // 4 % 3): making.RED}, 128, 96), format="rgb24")
        for at in range(12 * 20)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for place in range(frames):
            picture = pictures[place % len(pictures)]
            picture.pts = place
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def command(folder: Path, state: Path) -> list[str]:
    """The program over `in` in the folder, with the model that lies there."""
    return [
        *(sys.executable, "-m", "shoal_detect", "--input", str(folder / "in"), "--state", str(state)),
        *("--run", "long", "--weights", str(folder / "squares.onnx"), "--weights-name", "squares", "--img", "64"),
        *("--precision", "float32"),
    ]


def endure(frames: int, folder: Path) -> Endured:
    """Make a film of so many frames in the folder, run the detector over it, and note its memory until it ends."""
    (folder / "in").mkdir()
    film(folder / "in" / "long.mp4", frames)
    (folder / "squares.onnx").write_bytes(making.model())
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(folder, folder / "state"),
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(making.DETECTOR)},
        )
        used: list[int] = []
        while process.poll() is None:
            used.append(_used_bytes(process.pid))
            time.sleep(SAMPLE_S)
    return Endured(process.returncode, log.read_text(encoding="utf-8", errors="replace"), used)


def _used_bytes(pid: int) -> int:
    """Resident memory of a process and all below it; 0 for one that is gone."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_used_bytes(int(child)) for child in children)


def main(arguments: list[str]) -> int:
    """Endure, and print what was seen."""
    frames = int(arguments[0])
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        seen = endure(frames, Path(folder))
    marks = [f"{seen.bytes_used[len(seen.bytes_used) * tenth // 10] >> 20}" for tenth in range(1, 10)]
    print(f"{frames} frames in {time.monotonic() - began:.0f} s, exit {seen.exit_code}")  # noqa: T201
    print(f"MiB after each tenth: {' '.join(marks)}; growth {seen.growth_bytes >> 20} MiB")  # noqa: T201
    return 1 if seen.exit_code or seen.growth_bytes > GROWTH_BYTES else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
