"""The cluster's tokens and certificates: made on the control machine, kept in one private file, never in an argument or
a log."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_serializer

from shoal.engines.bacalhau.tls import Tls, current
from shoal.errors import ShoalError
from shoal.files import write_atomic
from shoal.locks import locked
from shoal.paths import state_dir

TOKEN_BYTES = 32


class Tokens(BaseModel):
    """What lets nodes join and clients ask. `repr` and logs show stars."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node_token: SecretStr
    """Shown by compute nodes to the orchestrator."""
    control_key: SecretStr
    """The API key of this control machine: reads all, hands in and stops jobs, approves and deletes nodes."""
    reader_key: SecretStr
    """An API key that only reads, for people and monitoring."""
    tls: Tls | None = None
    """What the orchestrator's port for nodes is encrypted with. None: the file is of a version that had none."""

    @property
    def client_key(self) -> SecretStr:
        """An API key for a person with the engine's own command line: hands in and stops jobs, reads; no more.

        Made of the control key one way (RFC 2104), so that it stays the same and needs no place of its own.
        """
        control_key = self.control_key.get_secret_value().encode()
        return SecretStr(hmac.new(control_key, b"client", hashlib.sha256).hexdigest())

    @field_serializer("node_token", "control_key", "reader_key", when_used="json")
    def _open(self, value: SecretStr) -> str:
        return value.get_secret_value()


def path(cluster: str) -> Path:
    """Where a cluster's tokens lie."""
    return state_dir() / "secrets" / f"{cluster}.json"


def load(cluster: str) -> Tokens | None:
    """The tokens of a cluster; None where none were made. Raises ShoalError where the file is damaged or open."""
    where = path(cluster)
    try:
        facts = where.stat()
        raw = where.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ShoalError(f"the tokens of cluster {cluster!r} in {where} cannot be read: {error.strerror}") from None
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise ShoalError(
            f"the tokens in {where} can be read by others (mode {stat.S_IMODE(facts.st_mode):o})",
            hint=f"chmod 600 {where}; where others were on this machine, remove it instead and deploy again",
        )
    try:
        return Tokens.model_validate(json.loads(raw))
    except (ValidationError, ValueError):
        # Not the error's own words: they would show the value.
        raise ShoalError(
            f"the tokens in {where} are damaged",
            hint="remove the file and run the site deploy: it makes new ones and hands them to every node",
        ) from None


def ensure(cluster: str) -> Tokens:
    """The tokens of a cluster, made now where there are none. Two processes at once make one set."""
    with _locked(cluster):
        return _ensure(cluster)


def ensure_tls(cluster: str, addresses: Sequence[str]) -> tuple[Tokens, Tls]:
    """The tokens, and the certificates for an orchestrator at `addresses`; renewed where they end soon."""
    with _locked(cluster):
        there = _ensure(cluster)
        wanted = current(there.tls, cluster, addresses)
        if wanted != there.tls:
            there = there.model_copy(update={"tls": wanted})
            _save(cluster, there)
        return there, wanted


def rotate(cluster: str) -> Tokens | None:
    """Make every token, key and certificate anew; gives those from before, for `restore`, or None where none were."""
    with _locked(cluster):
        before = load(cluster)
        if before is not None:
            _save(cluster, _made())
        return before


def restore(cluster: str, before: Tokens) -> None:
    """Put back what `rotate` replaced, where nothing was handed out yet."""
    with _locked(cluster):
        _save(cluster, before)


def adopt(cluster: str, node_token: SecretStr) -> None:
    """Have this token shown by compute nodes: one that a stack keeps, so that every machine that drives it has it."""
    with _locked(cluster):
        there = _ensure(cluster)
        if there.node_token != node_token:
            _save(cluster, there.model_copy(update={"node_token": node_token}))


def forget(cluster: str) -> None:
    """Remove the tokens: the cluster is gone."""
    path(cluster).unlink(missing_ok=True)


@contextmanager
def _locked(cluster: str) -> Iterator[None]:
    folder = state_dir() / "secrets"
    # Before the lock, which would make it open to all.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    with locked(folder / f".{cluster}.lock", what=f"tokens of {cluster}"):
        yield


def _ensure(cluster: str) -> Tokens:
    if (there := load(cluster)) is not None:
        return there
    made = _made()
    _save(cluster, made)
    return made


def _made() -> Tokens:
    return Tokens(
        node_token=SecretStr(secrets.token_urlsafe(TOKEN_BYTES)),
        control_key=SecretStr(secrets.token_urlsafe(TOKEN_BYTES)),
        reader_key=SecretStr(secrets.token_urlsafe(TOKEN_BYTES)),
    )


def _save(cluster: str, tokens: Tokens) -> None:
    write_atomic(path(cluster), tokens.model_dump_json(indent=2, exclude_none=True) + "\n", mode=0o600)
