"""The container engine the lab runs on: finds one that answers, or has one brought; and says its failures plainly."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from shoal.errors import Exit, ShoalError
from shoal.lab import engine_setup, private_engine
from shoal.lab.client import Engine, connect
from shoal.telling import Say

DEFAULT_SOCKET = Path("/var/run/docker.sock")


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
