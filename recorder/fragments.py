"""Whether a file that nobody closed has film in it: fragmented MP4 is readable up to its last whole fragment.

Boxes as in ISO/IEC 14496-12, 4.2: size (4 bytes, 1 for a size of 8 bytes after the type, 0 up to the file's end), type.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Film:
    """How far a file can be read."""

    whole_bytes: int
    """Up to the end of its last whole fragment (`moof` and the `mdat` after it); 0 where there is none."""
    is_broken: bool
    """Whether a box follows that is cut off."""


def film_of(path: Path) -> Film:
    """What of a file is film. Raises OSError."""
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        at, whole, described = 0, 0, False
        while at < end:
            stream.seek(at)
            head = stream.read(16)
            size, kind = struct.unpack(">I4s", head[:8]) if len(head) >= 8 else (0, b"")
            if size == 1 and len(head) == 16:
                size = struct.unpack(">Q", head[8:])[0]
            if size < 8 or at + size > end:
                return Film(whole, is_broken=True)
            at += size
            if kind == b"mdat" and described:
                whole = at
            described = described or kind == b"moof"
    return Film(whole, is_broken=False)


def cut(path: Path) -> None:
    """Take away what is cut off at a file's end: a reader would take it for damage. Raises OSError."""
    film = film_of(path)
    if film.is_broken and film.whole_bytes:
        about = path.stat()
        os.truncate(path, film.whole_bytes)
        # When it was last written to by ffmpeg is what tells how long it is.
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
