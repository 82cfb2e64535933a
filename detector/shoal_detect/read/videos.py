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

from shoal_detect.read import footage, source

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
class Passed:
    """A file that is not footage and is not read."""

    name: str
    """As that of a video."""
    kind: str
    """picture, sound or other."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies under the input folder."""

    videos: list[Video]
    """In the order of their relative paths' bytes."""
    hidden: int
    """Footage left out because a part of its path begins with a dot."""
    passed: list[Passed]
    """What is no footage, in the order of its paths' bytes."""


def video_id(relative: bytes) -> str:
    """A safe slug of the relative path, and a hash that distinguishes what the slug does not.

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
    """Every file that is footage by its name or its content, at any depth, and what else is there.

    What looks like a video and cannot be read (a broken link, a pipe, a folder that cannot be listed) is in the list
    too, with its problem: the run names it in place of passing over it. Raises OSError where `folder` itself cannot be
    listed.
    """
    os.listdir(folder)
    root = os.fsencode(os.path.realpath(folder))
    videos, passed, hidden = [], [], 0
    for relative, problem in _walk(root):
        kind = "video" if problem else _kind(root, relative)
        if any(part.startswith(b".") for part in relative.split(b"/")):
            hidden += kind == "video"
        elif kind == "video":
            videos.append(_examine(root, relative, problem))
        else:
            passed.append(Passed(display_name(relative), kind))
    passed.sort(key=lambda one: one.name.encode())
    return Found(sorted(videos, key=lambda video: os.fsencode(video.path)), hidden, passed)


def _walk(root: bytes) -> Iterator[tuple[bytes, str | None]]:
    """Relative paths of all files; linked folders are followed, once each."""
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
            yield os.path.relpath(os.path.join(folder, name), root), None
    for error in unlisted:
        yield os.path.relpath(os.fsencode(error.filename), root), f"the folder cannot be listed: {error.strerror}"


def _kind(root: bytes, relative: bytes) -> str:
    """video, picture, sound or other: by the name where that says it, else by how the file begins."""
    by_name = footage.kind_by_name(relative.rpartition(b"/")[2].decode("utf-8", "replace"))
    if by_name is not None:
        return by_name
    try:
        with source.opened(os.fsdecode(os.path.join(root, relative))) as opened:
            return "video" if footage.begins_like_video(opened.head(footage.HEAD_BYTES)) else "other"
    except (source.Unopened, OSError):
        return "other"


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
