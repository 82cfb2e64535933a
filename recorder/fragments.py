"""Whether a file that nobody closed has film in it: fragmented MP4 is readable up to its last whole fragment.

Boxes as in ISO/IEC 14496-12, 4.2: size (4 bytes, 1 for a size of 8 bytes after the type, 0 up to the file's end), type.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path


def any_whole(path: Path) -> bool:
    """Whether at least one fragment (`moof` and the `mdat` after it) is there whole. Raises OSError."""
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        at, described = 0, False
        while at + 8 <= end:
            stream.seek(at)
            head = stream.read(16)
            size, kind = struct.unpack(">I4s", head[:8])
            if size == 1 and len(head) == 16:
                size = struct.unpack(">Q", head[8:])[0]
            if size < 8 or at + size > end:
                return False
            if kind == b"mdat" and described:
                return True
            described = described or kind == b"moof"
            at += size
    return False
