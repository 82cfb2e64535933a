"""What a disk says that takes nothing: as the reason of a gap, and in words with what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from recorder.settings import Settings

FULL, READ_ONLY, FAILED, OTHER = "disk_full", "disk_read_only", "disk_failed", "recorder_failed"
_OF_ERRNO = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EROFS: READ_ONLY, errno.EIO: FAILED}
_WHAT = {
    FULL: "is full: make room on it, or keep less film (keep_days)",
    READ_ONLY: "is read-only: see `journalctl -k` for why, mend it and mount it for writing",
    FAILED: "gives errors: see `journalctl -k`, and replace it",
}
PROBE = ".probe"
PROBE_BYTES = 256 << 10
"""Less room is none: a file that cannot hold its first pictures is no film."""


def reason_of(error: OSError) -> str:
    """The reason of a gap that an error makes."""
    return _OF_ERRNO.get(error.errno or 0, OTHER)


def reason_in(words: Iterable[str]) -> str | None:
    """The same for what ffmpeg prints; None where it names no disk. (It has "Input/output error" for cameras too.)"""
    for line in words:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            if os.strerror(number) in line:
                return _OF_ERRNO[number]
    return None


def words(reason: str, settings: Settings, path: str | None) -> str:
    """Which disk it is, and what to do."""
    notes = path is not None and path.startswith(settings.state)
    return f"the disk of {f'its notes ({settings.state})' if notes else 'its film'} {_WHAT[reason]}"


def words_of(error: OSError, settings: Settings) -> str:
    """An error in words. Not every error has the name of its file with it; then the disks are asked."""
    reason = reason_of(error)
    if reason == OTHER:
        return f"{error.filename or 'the machine'}: {error.strerror or error}"
    path = error.filename
    if path is None and _refuses(settings.state_folder):
        path = settings.state_folder
    return words(reason, settings, None if path is None else os.fspath(path))


def _refuses(folder: Path) -> bool:
    try:
        try_to_write(folder)
    except OSError:
        return True
    return False


def try_to_write(folder: Path) -> None:
    """Raises OSError where a folder's disk takes nothing."""
    probe = folder / PROBE
    try:
        with probe.open("wb") as stream:
            stream.write(b"\0" * PROBE_BYTES)
            stream.flush()
            os.fsync(stream.fileno())
    finally:
        probe.unlink(missing_ok=True)
