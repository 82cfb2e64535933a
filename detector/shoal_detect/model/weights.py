"""The weights file: read once, and checked against what was asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shoal_detect.errors import DetectorError, Exit


def read_weights(path: Path, expected_sha256: str | None) -> tuple[bytes, str]:
    """The weights file and its SHA-256. Raises DetectorError(WEIGHTS) where it cannot be read or is another file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DetectorError(f"weights {path} cannot be read: {error.strerror}", Exit.WEIGHTS) from None
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise DetectorError(
            f"weights {path} have the wrong SHA-256: expected {expected_sha256}, found {sha256}", Exit.WEIGHTS
        )
    return data, sha256
