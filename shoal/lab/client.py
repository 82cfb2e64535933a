"""One engine's client: connected to with limits of time, its errors put into plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from shoal.errors import ShoalError

PING_TIMEOUT_S = 4.0
"""A live engine answers in milliseconds, a busy one within a second or two."""

CALL_TIMEOUT_S = 300.0
"""Longest single call: the import or commit of an image on a slow disk."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answered."""

    url: str
    client: docker.DockerClient
    private: bool = False
    """Started by the lab itself, and ended by `down --purge`."""

    @property
    def description(self) -> str:
        """For people: the version and where it listens."""
        version = self.client.version()["Version"]
        kind = "lab's own engine" if self.private else "engine"
        return f"{kind} {version} at {self.url}"


def connect(url: str, *, timeout_s: float = PING_TIMEOUT_S) -> docker.DockerClient | str:
    """A client of the engine at `url`, or why there is none."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and not Path(parts.path).exists():
        return f"there is no socket {parts.path}"
    try:
        client = docker.DockerClient(base_url=url, version="auto", timeout=timeout_s)  # type: ignore[arg-type]
        client.ping()
        client.close()
        return docker.DockerClient(base_url=url, version="auto", timeout=CALL_TIMEOUT_S)  # type: ignore[arg-type]
    except (DockerException, RequestException) as error:
        return _reason(error)


@contextmanager
def plain_errors(what: str) -> Iterator[None]:
    """Turn the engine's failures inside the block into a ShoalError that says what was being done."""
    try:
        yield
    except (APIError, DockerException, RequestException) as error:
        reason = _reason(error)
        if "no space left on device" in reason.lower():
            raise no_space(what) from error
        raise ShoalError(f"{what} failed: {reason}") from error


def no_space(what: str) -> ShoalError:
    """The error for a full disk, the same wherever it shows."""
    return ShoalError(
        f"{what} failed: no space left on the disk",
        hint="free some space (a lab needs about 2 GiB), then type the command again; it goes on where it stopped",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation).strip()
    text = str(error)
    if isinstance(error, RequestException) or "Error while fetching server API version" in text:
        for known in ("Permission denied", "Connection refused", "timed out", "No such file or directory"):
            if known.lower() in text.lower():
                return known.lower()
    return text
