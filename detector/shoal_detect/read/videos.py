"""Finds the videos under the input folder, whatever their names are made of.

Paths are bytes here, as the file system has them: pathlib would lose what is not UTF-8.
"""

# ruff: noqa: PTH208, PTH116, PTH118

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

EXTENSIONS = frozenset(
    b"mp4 m4v mov qt 3gp 3g2 avi mkv webm ts mts m2ts mpg mpeg vob flv f4v wmv asf ogv ogg "
    b"h264 264 h265 265 hevc mjpeg mjpg dv mxf".split()
)
SLUG_CHARS = 40
HASH_CHARS = 8


@dataclass(frozen=True, slots=True)
class Video:
    """One video under the input folder."""

    path: str
    """Absolute; bytes that are not UTF-8 are escaped as os.fsdecode does."""
    name: str
    """Path relative to the input folder for people and results: valid Unicode, strange bytes as `\\xff`."""
    video_id: str
    """Folder name of its results."""
    size_bytes: int
    problem: str | None = None
    """Why it cannot even be opened."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies under the input folder."""

    videos: list[Video]
    """In the order of their relative paths' bytes."""
    hidden: int
    """Files with a video's extension left out because a part of their path begins with a dot."""


def video_id(relative: bytes) -> str:
    """A safe slug of the relative path, and a hash that tells apart what the slug does not.

    >>> video_id("Höfe/cam 03.mp4".encode())
    'hofe-cam-03-mp4-bb02bbd0'
    """
    plain = unicodedata.normalize("NFKD", relative.decode("utf-8", "ignore")).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower())[:SLUG_CHARS].strip("-") or "video"
    return f"{slug}-{hashlib.sha256(relative).hexdigest()[:HASH_CHARS]}"


def display_name(relative: bytes) -> str:
    """The relative path as valid Unicode."""
    return relative.decode("utf-8", "backslashreplace")


def find_videos(folder: str) -> Found:
    """Every file with a video's extension, at any depth.

    What looks like a video and cannot be read (a broken link, a pipe, a folder that cannot be listed) is in the list
    too, with its problem: the run names it in place of passing over it. Raises OSError where `folder` itself cannot be
    listed.
    """
    os.listdir(folder)
    root = os.fsencode(os.path.realpath(folder))
    videos, hidden = [], 0
    for relative, problem in _walk(root):
        if any(part.startswith(b".") for part in relative.split(b"/")):
            hidden += 1
            continue
        videos.append(_examine(root, relative, problem))
    return Found(sorted(videos, key=lambda video: os.fsencode(video.path)), hidden)


def _walk(root: bytes) -> Iterator[tuple[bytes, str | None]]:
    """Relative paths of candidates; linked folders are followed, once each."""
    unlisted: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=unlisted.append):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(files):
            if name.rpartition(b".")[2].lower() in EXTENSIONS and b"." in name.lstrip(b"."):
                yield os.path.relpath(os.path.join(folder, name), root), None
    for error in unlisted:
        yield os.path.relpath(os.fsencode(error.filename), root), f"the folder cannot be listed: {error.strerror}"


def _examine(root: bytes, relative: bytes, problem: str | None) -> Video:
    path = os.path.join(root, relative)
    size_bytes = 0
    if problem is None:
        try:
            status = os.stat(path)
        except OSError as error:
            problem = f"cannot be opened: {error.strerror}"
        else:
            if stat.S_ISREG(status.st_mode):
                size_bytes = status.st_size
            else:
                problem = "is not a regular file"
    return Video(os.fsdecode(path), display_name(relative), video_id(relative), size_bytes, problem)
