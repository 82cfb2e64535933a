"""The run folder on disk: everything appears there whole or not at all, and the manifest comes last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shoal_detect.errors import DetectorError, Exit

Document = dict[str, Any]

PART = ".part"
OLD = ".old"
CHUNK_BYTES = 1 << 20
PROBE_BYTES = 64 << 10
QUARANTINE = "quarantine"
"""The folder of clips that may not leave: no results, as little as what has a hidden name."""


@contextmanager
def state_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the state folder's file system into DetectorError(STATE)."""
    try:
        yield
    except OSError as error:
        raise DetectorError(
            f"cannot {doing} {path}: {error.strerror}; free space or make it writable, and start the run again",
            Exit.STATE,
        ) from None


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(handle: int) -> None:
    """Flush an open file's content to disk."""
    os.fsync(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name, flush it, rename it, flush the folder."""
    temporary = path.with_name(f".{path.name}{PART}")
    with state_errors("write", path):
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def try_to_write(folder: Path) -> None:
    """Raises DetectorError(STATE) where a folder's disk takes nothing."""
    probe = folder / f".probe{PART}"
    with state_errors("write", folder):
        try:
            with probe.open("wb") as stream:
                stream.write(b"\0" * PROBE_BYTES)
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            probe.unlink(missing_ok=True)


def keep_file(temporary: Path, path: Path) -> None:
    """Flush a file that another library wrote, and give it its name. Raises OSError."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


@contextmanager
def appending(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Give a function that appends to a new file, seen by others at once; it is flushed to disk at the end."""
    with state_errors("write", path):
        stream = path.open("wb")

    def write(data: bytes) -> None:
        with state_errors("write", path):
            stream.write(data)
            stream.flush()

    try:
        yield write
        with state_errors("write", path):
            os.fsync(stream.fileno())
    finally:
        # After a failed write the buffer still holds data and closing fails once more; that is reported already.
        with suppress(OSError):
            stream.close()


def to_json(document: Document) -> bytes:
    """Indented JSON for documents that people open too."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def to_json_line(document: Document) -> bytes:
    """One line of JSON."""
    return (json.dumps(document, ensure_ascii=False) + "\n").encode()


def read_json(path: Path) -> Document | None:
    """A document, or None where there is none or it is damaged."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def videos_folder(state: Path) -> Path:
    """Where the finished videos' folders lie."""
    return state / "videos"


def remove_leftovers(state: Path) -> None:
    """Remove what a killed run left under temporary names. Only the holder of the lock may."""
    with state_errors("clean up", state):
        for folder in (state, videos_folder(state), state / "clips"):
            for entry in folder.iterdir() if folder.is_dir() else ():
                if entry.name.startswith(".") and entry.name.endswith((PART, OLD)):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def begin_video(state: Path, video_id: str) -> Path:
    """A new, empty folder for a video's results, under a temporary name."""
    part = videos_folder(state) / f".{video_id}{PART}"
    with state_errors("write", part):
        (part / "frames").mkdir(parents=True)
    return part


def drop_part(state: Path, video_id: str) -> None:
    """Remove the temporary folder that a process left that ended while it finished the video."""
    part = videos_folder(state) / f".{video_id}{PART}"
    with state_errors("clean up", part):
        shutil.rmtree(part, ignore_errors=True)


def finish_video(part: Path, final: Path) -> None:
    """Make the temporary folder the video's results; older results of a changed video give way to it."""
    old = final.with_name(f".{final.name}{OLD}")
    with state_errors("write", final):
        for folder in (part / "frames", part):
            sync_folder(folder)
        if final.exists():
            final.rename(old)
        part.rename(final)
        sync_folder(final.parent)
        shutil.rmtree(old, ignore_errors=True)


def finished_summary(state: Path, video_id: str) -> Document | None:
    """The summary of a finished video whose files are all there, else None."""
    folder = videos_folder(state) / video_id
    summary = read_json(folder / "summary.json")
    if summary is None or not (folder / "detections.jsonl").is_file():
        return None
    whole = all((folder / frame["file"]).is_file() for frame in summary["key_frames"])
    return summary if whole else None


def drop_video(state: Path, video_id: str) -> None:
    """Remove a video's results, if there are any."""
    with state_errors("clean up", state):
        shutil.rmtree(videos_folder(state) / video_id, ignore_errors=True)


def list_files(state: Path) -> list[str]:
    """Relative paths of everything that belongs to the results, sorted."""
    files = (entry.relative_to(state).as_posix() for entry in state.rglob("*") if entry.is_file())
    return sorted(name for name in files if name not in {"lock", "manifest.json"} and not _stays(name))


def _stays(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == QUARANTINE or any(part.startswith(".") for part in parts)


def describe_file(state: Path, name: str) -> Document:
    """An entry of the manifest."""
    digest, size_bytes = hashlib.sha256(), 0
    with (state / name).open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return {"path": name, "size_bytes": size_bytes, "sha256": digest.hexdigest()}


def wrong_files(state: Path, manifest: Document) -> dict[str, str]:
    """Files of the manifest that are missing or of another size, and what is wrong with each. Cheap: no hashing."""
    wrong = {}
    for entry in manifest["files"]:
        path = state / entry["path"]
        if not path.is_file():
            wrong[entry["path"]] = "is missing"
        elif path.stat().st_size != entry["size_bytes"]:
            wrong[entry["path"]] = f"has {path.stat().st_size} bytes in place of {entry['size_bytes']}"
    return wrong
