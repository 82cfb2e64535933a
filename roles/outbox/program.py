"""The shipper as one file: the room `outbox` of the checkout as a zip archive that Python runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache

from shoal.paths import repository

ROOM = "outbox"


@lru_cache(maxsize=1)
def archive() -> bytes:
    """The archive. Its times and modes are fixed, so that equal sources make equal bytes."""
    folder = repository() / ROOM
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as made:
        for path in sorted(folder.rglob("*.py")):
            inside = f"{ROOM}/{path.relative_to(folder)}"
            made.writestr(_entry(inside), path.read_bytes())
            if path.name == "__main__.py":
                made.writestr(_entry("__main__.py"), path.read_bytes())
    return held.getvalue()


def archive_sha256() -> str:
    """Hex SHA-256 of the archive."""
    return hashlib.sha256(archive()).hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    return entry
