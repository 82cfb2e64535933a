"""Pictures that came home from nodes, as far as they can be shown: whole JPEG files of a size that a page bears."""

from __future__ import annotations

import base64
from pathlib import Path

from markupsafe import Markup

PICTURE_BYTES = 16 << 20
"""A frame of 8K as JPEG has less; a node may call anything a picture."""
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


def jpeg(path: Path, most_bytes: int = PICTURE_BYTES) -> bytes | None:
    """The picture in a file; None where there is none, it is no whole JPEG, or larger than `most_bytes`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(most_bytes + 1)
    except OSError:
        return None
    return data if len(data) <= most_bytes and _is_whole(data) else None


def jpeg_data(data: bytes) -> Markup | None:
    """A JPEG picture as data in a page; None where it is no whole one."""
    if not _is_whole(data):
        return None
    text = base64.b64encode(data).decode("ascii")
    return Markup("data:image/jpeg;base64," + text)  # noqa: S704 - base64 has no character that means anything in markup


def _is_whole(data: bytes) -> bool:
    return data.startswith(JPEG_START) and data.endswith(JPEG_END)
