"""The build context on the control machine: its hash, and its archive. The same files give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from shoal.files import sha256_file

SKIPPED_FOLDERS = frozenset({"__pycache__", "tests", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
SETTINGS_FOLDER = "build-settings"
"""Made on the requester inside the context: pip.conf, CA bundle and pip for the build; only its first stage sees it."""


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


def archive(context: Path, settings: Mapping[str, bytes]) -> bytes:
    """The context as a tar.gz with fixed owners and times; `settings` are files for its settings folder."""
    entries = {path.relative_to(context).as_posix(): (_mode(path), path.read_bytes()) for path in files(context)}
    entries |= {f"{SETTINGS_FOLDER}/{name}": (0o644, content) for name, content in settings.items()}
    stream = io.BytesIO()
    # Little to win by packing harder: most of it is packed already.
    with (
        gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, (mode, content) in entries.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), mode, 0
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def pip_wheel() -> tuple[str, bytes]:
    """This environment's own pip as a wheel, for a base that has none: name and content. pip runs from it as it is."""
    distribution = metadata.distribution("pip")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as wheel:
        for entry in sorted(distribution.files or (), key=str):
            # Programs lie outside the packages' folder, and compiled files are of this Python only.
            if ".." in entry.parts or "__pycache__" in entry.parts:
                continue
            info = zipfile.ZipInfo(entry.as_posix())
            info.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(info, Path(str(distribution.locate_file(entry))).read_bytes())
    return f"pip-{distribution.version}-py3-none-any.whl", stream.getvalue()


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644
