"""RTSP cameras on the lab network's side of this machine, for tests: each is a server of one clip, again and again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av


@dataclass
class Camera:
    """One camera."""

    name: str
    folder: Path
    address: str
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def source(self) -> str:
        """Its address, as the cluster document has it."""
        return f"rtsp://{self.address}:{self.port}/{self.name}.mp4?play_count=0"

    def start(self) -> None:
        """Stream the clip from now on."""
        program = str(Path(sys.executable).with_name("rtsp-server"))
        words = ["-d", str(self.folder), "-H", self.address, "-p", str(self.port), "-cp", str(self.port + 1)]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen([program, *words], stdout=log, stderr=log)

    def freeze(self) -> None:
        """It accepts and sends nothing, until `thaw`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def as_a_camera_has_it(clip: Path, target: Path, size: tuple[int, int] | None = None) -> None:
    """The clip without B-frames: the server stamps frames in the order in which they lie in the file."""
    with av.open(str(clip)) as source, av.open(str(target), "w", format="mp4") as container:
        read = source.streams.video[0]
        options = {"preset": "veryfast", "crf": "20", "bf": "0", "g": "20"}
        stream = container.add_stream("libx264", rate=read.average_rate, options=options)
        stream.width, stream.height = size or (read.width, read.height)
        stream.pix_fmt = "yuv420p"
        for frame in source.decode(read):
            container.mux(stream.encode(frame.reformat(stream.width, stream.height)))
        container.mux(stream.encode(None))


def until(holds: Callable[[], object], what: str, limit_s: float = 120) -> None:
    """Wait until the condition holds; fail with `what` when it does not in time."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.5)
