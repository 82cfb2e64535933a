"""Puts damaged recordings through the decoder, each batch in a process of its own.

Run as a program: `fuzz.py FILES SEED`. It fails (exit 1) on a file that takes longer than its limit, on a process that
dies, on an exception, and on memory above a bound; every finding is named with the seed that makes the file again.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from shoal_detect.read.decode import Reading, read_frames
from shoal_detect.read.videos import Video

from tests.detector.read import corpus

LIMIT_S = 60.0
"""For one file of less than 100 kB; a machine under load is slow."""
MEMORY_BYTES = 1 << 30
"""A process may use: FFmpeg, numpy, and pictures of MAX_PIXELS a few times over."""
BATCH = 50
FRAMES = range(12)
SOURCES: dict[str, dict[str, object]] = {
    "a.mp4": {},
    "b.mp4": {"muxing": {"movflags": "frag_keyframe+empty_moov"}, "codec": "libx265"},
    "c.mkv": {},
    "d.avi": {"codec": "mpeg4"},
    "e.ts": {"muxer": "mpegts"},
    "f.flv": {},
    "g.mpg": {"codec": "mpeg2video"},
    "h.avi": {"codec": "mjpeg"},
    "i.webm": {"codec": "libvpx"},
    "j.h264": {"muxer": "h264"},
}


@dataclass
class Findings:
    """What came of it."""

    files: int = 0
    bad: list[str] = field(default_factory=list)
    """Hangs, crashes, exceptions, memory."""
    kinds: Counter[str] = field(default_factory=Counter)
    """How often which fault was found."""


def sources(folder: Path) -> list[tuple[str, bytes]]:
    """Whole recordings in every kind of container."""
    made = [(name, corpus.write(folder / name, FRAMES, size=(80, 60), **more)) for name, more in SOURCES.items()]  # type: ignore[arg-type]
    made.append(("k.dav", corpus.dhav(folder / "e.ts", folder / "k.dav")))
    return [(name, path.read_bytes()) for name, path in made]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Flip, overwrite, cut, double or take out some bytes; headers are hit more often than their share."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        reach = len(changed) if chance.random() < 0.6 else min(len(changed), 600)
        at = chance.randrange(max(1, reach))
        length = chance.choice((1, 2, 4, 8, 64, 1000))
        match chance.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[at : at + length] = chance.randbytes(length)
            case 2:
                changed[at : at + length] = chance.choice((b"\0", b"\xff")) * length
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case _:
                del changed[len(changed) - at :]
    return bytes(changed)


def _serve(connection: Connection, originals: list[tuple[str, bytes]], folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for seed in iter(connection.recv, None):
        chance = random.Random(seed)
        name, data = chance.choice(originals)
        path = Path(folder) / f"{seed}-{name}"
        path.write_bytes(damaged(data, chance))
        reading = Reading()
        try:
            for frame in read_frames(Video(str(path), name, "id", path.stat().st_size), reading):
                frame.image.reformat(32, 32, "rgb24")
            answer = reading.fault.kind.value if reading.fault else "none"
        except Exception as error:  # noqa: BLE001 - every exception is a finding
            answer = f"! {type(error).__name__}: {error}"
        path.unlink()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        connection.send((answer, used))


def fuzz(files: int, seed: int, folder: Path, limit_s: float = LIMIT_S) -> Findings:
    """Try that many files; a process that dies or hangs is a finding, and another one goes on."""
    found, originals = Findings(), sources(folder)
    seeds = iter(range(seed, seed + files))
    while found.files < files:
        for one, answer, used in _batch(seeds, originals, folder, limit_s):
            found.files += 1
            if answer.startswith("!"):
                found.bad.append(f"seed {one}: {answer[2:]}")
            elif used > MEMORY_BYTES:
                found.bad.append(f"seed {one}: the process used {used >> 20} MiB")
            else:
                found.kinds[answer] += 1
    return found


def _batch(
    seeds: Iterator[int], originals: list[tuple[str, bytes]], folder: Path, limit_s: float
) -> Iterator[tuple[int, str, int]]:
    """Seed, outcome and memory of up to a batch of files, in one process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, originals, str(folder)), daemon=True)
    process.start()
    theirs.close()
    for _, seed in zip(range(BATCH), seeds, strict=False):
        began = time.monotonic()
        ours.send(seed)
        multiprocessing.connection.wait([ours, process.sentinel], limit_s)
        with suppress(EOFError, ConnectionResetError):
            if ours.poll():
                answer, used = ours.recv()
                yield seed, answer, used
                continue
            # No answer, and perhaps alive: it hangs.
        process.join(0.0 if time.monotonic() - began > limit_s else 1.0)
        alive = process.is_alive()
        process.kill()
        process.join()
        name = "" if alive or not process.exitcode else signal.Signals(-(process.exitcode or -1)).name
        yield seed, f"! hung for {time.monotonic() - began:.0f} s" if alive else f"! died of {name}", 0
        break
    else:
        ours.send(None)
    ours.close()
    process.join(limit_s)


def main(arguments: list[str]) -> int:
    """Fuzz, and say what was found."""
    files, seed = int(arguments[0]), int(arguments[1])
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(files, seed, Path(folder))
    print(f"{found.files} files: {dict(found.kinds.most_common())}")  # noqa: T201
    for line in found.bad:
        print(line)  # noqa: T201
    return 1 if found.bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
