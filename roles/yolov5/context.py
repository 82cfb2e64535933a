"""The build context on the control machine: its hash, and its archive. The same files give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from shoal.files import sha256_file

SKIPPED_FOLDERS = frozenset({"__pycache__", "tests", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
SETTINGS_FOLDER = "build-settings"
"""Made on the requester inside the context: pip.conf and CA bundle for the build; must not reach the image."""


def files(context: Path) -> list[Path]:
    """The context's files in a fixed order, without caches and tests."""
    return sorted(
        path
        for path in context.rglob("*")
        if path.is_file()
        and not SKIPPED_FOLDERS & set(path.relative_to(context).parts)
        and path.relative_to(context).parts[0] != SETTINGS_FOLDER
    )


def context_hash(context: Path) -> str:
    """Hex SHA-256 over names, modes and content."""
    digest = hashlib.sha256()
    for path in files(context):
        name = path.relative_to(context).as_posix()
        digest.update(f"{name}\0{_mode(path):o}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def archive(context: Path) -> bytes:
    """The context as a tar.gz with fixed owners and times."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in files(context):
            info = tarfile.TarInfo(path.relative_to(context).as_posix())
            info.size, info.mode, info.mtime = path.stat().st_size, _mode(path), 0
            with path.open("rb") as source:
                tar.addfile(info, source)
    return stream.getvalue()


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644
