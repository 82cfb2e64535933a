"""A store as rclone sees it: look at an object, put one there, read one back; one rclone and one attempt for each.

Run with an environment of its own: rclone takes settings from variables, and so do the stores' libraries.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from outbox.trouble import Trouble, from_output

CONNECT_S = 15
IDLE_S = 60
SLOWEST_BYTES_PER_S = 2048
"""Below that an upload is given up; rclone itself ends one that stands still for IDLE_S."""
ASK_S = 120
_KEPT_VARIABLES = ("PATH", "TZ", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
_PR_SET_PDEATHSIG = 1
_LOG_BYTES = 1 << 20


class StoreError(Exception):
    """The store or the link failed; `sent_bytes` of payload had gone over the link, None where that is unknown."""

    def __init__(self, trouble: Trouble, sent_bytes: int | None = 0) -> None:
        super().__init__(trouble.text)
        self.trouble = trouble
        self.sent_bytes = sent_bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as the store describes it."""

    size_bytes: int
    md5: str | None
    """None where the store knows no hash of it."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where things are shipped to."""

    rclone: str
    config: str
    remote: str
    two_steps: bool = False
    pass_fds: tuple[int, ...] = ()
    """Inherited by rclone: the shipper's lock, so that none begins while an orphan is at work."""

    def look(self, key: str) -> Seen | None:
        """The object of that name, None where there is none. Raises StoreError.

        By rclone's `operations/stat`: its `lsjson --stat` calls an object absent when the store did not answer (seen
        with 1.60).
        """
        question = {
            "fs": self.remote,
            "remote": key,
            "opt": {"filesOnly": True, "showHash": True, "hashTypes": ["md5"], "noModTime": True, "noMimeType": True},
        }
        out, log, code = self._run(["rc", "--loopback", "operations/stat", "--json", json.dumps(question)], ASK_S)
        if code != 0:
            if _absent(log):
                return None
            raise StoreError(from_output(log))
        try:
            item = json.loads(out)["item"]
            if item is None or item.get("IsDir"):
                return None
            md5 = (item.get("Hashes") or {}).get("md5")
            return Seen(int(item["Size"]), md5.lower() if md5 else None)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(Trouble("other", "rclone's answer about an object cannot be read")) from None

    def put(self, source: Path, key: str, size_bytes: int, rate: str = "") -> int:
        """Upload a file, replacing what is there; gives the payload bytes that were sent. Raises StoreError.

        What arrived is looked at by the caller: that rclone ended well is not enough.
        """
        target = f"{key}.part" if self.two_steps else key
        limits = ["--bwlimit", rate] if rate else []
        deadline_s = ASK_S + size_bytes / SLOWEST_BYTES_PER_S
        command = ["copyto", "--ignore-times", "--stats", "24h", "--stats-log-level", "NOTICE", *limits]
        _, log, code = self._run([*command, str(source), self._at(target)], deadline_s)
        sent = _sent_bytes(log)
        if code != 0:
            raise StoreError(from_output(log), sent)
        if self.two_steps:
            _, log, code = self._run(["moveto", self._at(target), self._at(key)], ASK_S)
            if code != 0:
                raise StoreError(from_output(log), sent)
        return size_bytes if sent is None else sent

    def read_back(self, key: str, size_bytes: int) -> tuple[str, int]:
        """Hex SHA-256 and size in bytes of what the store gives out. Raises StoreError."""
        digest, got = hashlib.sha256(), 0

        def take(chunk: bytes) -> None:
            nonlocal got
            got += len(chunk)
            digest.update(chunk)

        _, log, code = self._run(["cat", self._at(key)], ASK_S + size_bytes / SLOWEST_BYTES_PER_S, take)
        if code != 0:
            raise StoreError(from_output(log), got)
        return digest.hexdigest(), got

    def _at(self, key: str) -> str:
        return f"{self.remote.rstrip('/')}/{key}"

    def _run(
        self, words: Sequence[str], deadline_s: float, take: Callable[[bytes], None] | None = None
    ) -> tuple[bytes, list[str], int]:
        """Output (unless it is taken), log lines and exit code of one rclone."""
        argv = [self.rclone, "--config", self.config, "--retries", "1", "--low-level-retries", "1", "--use-json-log"]
        argv += ["--contimeout", f"{CONNECT_S}s", "--timeout", f"{IDLE_S}s", *words]
        variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        with tempfile.TemporaryFile() as log:
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**variables, "HOME": "/nonexistent"},
                    pass_fds=self.pass_fds,
                    preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
                )
            except OSError as error:
                raise StoreError(Trouble("program", f"{self.rclone} cannot be started: {error.strerror}")) from None
            out, in_time = _drained(process, deadline_s, take)
            log.seek(0)
            lines = log.read(_LOG_BYTES).decode(errors="replace").splitlines()
        if not in_time:
            lines.append(f"ended by the shipper after {deadline_s:.0f} s")
        return out, lines, process.returncode


def _drained(
    process: subprocess.Popen[bytes], deadline_s: float, take: Callable[[bytes], None] | None
) -> tuple[bytes, bool]:
    """What it writes until it ends, and whether it ended by itself; a timer of the kernel's ends it at its deadline."""
    out = []
    in_time = True

    def end(signum: int, frame: object) -> None:
        nonlocal in_time
        del signum, frame
        in_time = False
        process.kill()

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, deadline_s)
    try:
        stream: IO[bytes] | None = process.stdout
        while stream and (chunk := stream.read(1 << 16)):
            if take:
                take(chunk)
            else:
                out.append(chunk)
        process.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
    return b"".join(out), in_time


def _end_with_parent() -> None:
    """A shipper that is killed takes its rclone along."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _sent_bytes(log: Sequence[str]) -> int | None:
    """The payload bytes that rclone counted last, None where it was cut off before it reported any."""
    for line in reversed(log):
        if '"stats"' in line:
            try:
                return int(json.loads(line)["stats"]["bytes"])
            except (ValueError, KeyError, TypeError):
                return None
    return None


def _absent(log: Sequence[str]) -> bool:
    """Whether a file system's folder of the object is not there yet, which rclone reports as an error."""
    return any("directory not found" in line or "object not found" in line for line in log)
