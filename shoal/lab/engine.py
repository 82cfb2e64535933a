"""The container engine the lab runs on: finds one that answers, or has one brought; and says its failures plainly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from shoal.errors import Exit, ShoalError
from shoal.lab import engine_setup, private_engine
from shoal.telling import Say

DEFAULT_SOCKET = Path("/var/run/docker.sock")
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


def find(say: Say, *, recorded_url: str | None = None) -> Engine | None:
    """An engine that answers: the one the lab was made on, DOCKER_HOST's, the default socket's, the lab's own.

    None where there is none. Raises ShoalError (MISSING) where DOCKER_HOST names one that does not answer, and
    where the lab lives on another engine than DOCKER_HOST says.
    """
    own = private_engine.load()
    wanted = os.environ.get("DOCKER_HOST")
    if wanted:
        _require_local(wanted)
        if recorded_url and recorded_url != wanted and not isinstance(connect(recorded_url), str):
            raise ShoalError(
                f"the lab lives on the engine at {recorded_url}, but DOCKER_HOST says {wanted}",
                hint="unset DOCKER_HOST, or take the lab down on its own engine first",
                exit_code=Exit.USAGE,
            )
        answer = connect(wanted)
        if isinstance(answer, str):
            raise ShoalError(
                f"the container engine at DOCKER_HOST={wanted} does not answer: {answer}",
                hint="start it, or unset DOCKER_HOST to use another engine",
                exit_code=Exit.MISSING,
            )
        return Engine(wanted, answer, private=own is not None and own.url == wanted)
    candidates = [url for url in (recorded_url, f"unix://{DEFAULT_SOCKET}") if url and not (own and url == own.url)]
    for url in candidates:
        answer = connect(url)
        if not isinstance(answer, str):
            return Engine(url, answer)
    if _forbidden():
        raise ShoalError(
            f"the container engine at {DEFAULT_SOCKET} is there, but this user may not use it",
            hint="run as root, or join the group of the socket (usually: docker)",
            exit_code=Exit.MISSING,
        )
    if own is None:
        return None
    answer = connect(own.url)
    if isinstance(answer, str):
        say(f"lab: the lab's own engine is not running ({answer}); starting it again")
        private_engine.start(say)
        answer = connect(own.url)
    if isinstance(answer, str):
        raise ShoalError(f"the lab's own engine at {own.url} does not answer: {answer}")
    return Engine(own.url, answer, private=True)


def find_or_bring(say: Say, *, recorded_url: str | None, yes: bool) -> Engine:
    """As `find`; where no engine answers, installs and starts one after asking (`yes`: without asking)."""
    if found := find(say, recorded_url=recorded_url):
        return found
    url = engine_setup.bring(say, yes=yes)
    answer = connect(url)
    if isinstance(answer, str):
        raise ShoalError(
            f"the container engine that was just installed does not answer at {url}: {answer}",
            exit_code=Exit.MISSING,
        )
    own = private_engine.load()
    return Engine(url, answer, private=own is not None and own.url == url)


def open_engine(url: str, *, private: bool = False) -> Engine:
    """The engine at `url`. Raises ShoalError (MISSING) where it does not answer."""
    answer = connect(url)
    if isinstance(answer, str):
        raise ShoalError(
            f"the engine at {url} does not answer: {answer}", hint="start it (`shoal lab up`)", exit_code=Exit.MISSING
        )
    return Engine(url, answer, private)


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
    """A full disk, told the same way wherever it shows."""
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


def _require_local(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "unix" or (parts.scheme == "tcp" and parts.hostname in ("localhost", "127.0.0.1", "::1")):
        return
    raise ShoalError(
        f"the lab needs an engine on this machine, DOCKER_HOST={url} is elsewhere",
        hint="unset DOCKER_HOST, or run shoal on that machine",
        exit_code=Exit.USAGE,
    )


def _forbidden() -> bool:
    return DEFAULT_SOCKET.exists() and not os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK)
