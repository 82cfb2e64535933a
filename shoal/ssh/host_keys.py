"""Host keys of a cluster's machines: fetched as ssh itself would meet them, shown by fingerprint, recorded on request.

The keys are asked for by the real client, so that aliases, ports and jump hosts of the ssh configuration hold, and come
under the name that the client will look for. A fetched key proves nothing: a person has to compare its fingerprint with
the machine's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, UsageError
from shoal.files import write_atomic
from shoal.paths import expanded
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshError, SshFailure, brief, error_from

FETCH_LIMIT_S = 60


class KeyState(StrEnum):
    """How a machine's key stands to the recorded ones."""

    KNOWN = "known"
    NEW = "new"
    CHANGED = "changed"
    SILENT = "no answer"


@dataclass(frozen=True, slots=True)
class HostKey:
    """One machine's key; without `line` it is known already, or the machine did not answer."""

    node: str
    state: KeyState
    line: str = ""
    """As in a known_hosts file."""
    why: str = ""

    @property
    def kind(self) -> str:
        """The key's type, as `ssh-ed25519`."""
        return self.line.split()[1] if self.line else ""

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh-keygen shows it."""
        return fingerprint(self.line.split()[2]) if self.line else ""


def fingerprint(key: str) -> str:
    """The fingerprint of a public key in base64: SHA-256 in base64 without padding (RFC 4648; ssh-keygen(1), -l)."""
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def fetch(cluster: Cluster) -> list[HostKey]:
    """The key of every machine, all at once. Raises ShoalError where there is no ssh client."""
    found = ssh.on_each(cluster.nodes, lambda node: _of(cluster, node))
    return [
        answer if isinstance(answer, HostKey) else HostKey(name, KeyState.SILENT, why=brief(answer))
        for name, answer in found.items()
    ]


def known_hosts_file(cluster: Cluster) -> Path:
    """Where the cluster's keys are looked for first: the document's file, else the user's own."""
    return expanded(cluster.ssh.known_hosts_file or Path("~/.ssh/known_hosts"))


def refuse_others(keys: Sequence[HostKey], wanted: Mapping[str, str]) -> None:
    """Raise UsageError where a machine's key is not the one whose fingerprint a person gave for it."""
    by_name = {key.node: key for key in keys}
    faults = [Fault(name, "there is no such machine in the document") for name in wanted if name not in by_name]
    faults += [
        Fault(name, f"its key has {key.fingerprint or 'no fingerprint: it did not answer'}, {wanted[name]} was given")
        for name, key in by_name.items()
        if name in wanted and key.state is not KeyState.KNOWN and key.fingerprint != wanted[name]
    ]
    if faults:
        raise UsageError(
            "a host key is not the one that was named; nothing was recorded",
            faults=tuple(faults),
            hint="read it on the machine's console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )


def record(keys: Sequence[HostKey], file: Path) -> None:
    """Add the keys to the file; what is in it stays. Raises OSError."""
    target = file.resolve()
    there = target.read_text(encoding="utf-8", errors="surrogateescape") if target.exists() else ""
    gap = "" if not there or there.endswith("\n") else "\n"
    text = there + gap + "".join(f"{key.line}\n" for key in keys)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    write_atomic(target, text.encode("utf-8", "surrogateescape"), mode=mode)


def _of(cluster: Cluster, node: Node) -> HostKey:
    try:
        _ask(cluster, node, known=None)
    except SshError as error:
        if error.failure is SshFailure.PERMISSION:
            return HostKey(node.name, KeyState.KNOWN)
        if error.failure not in {SshFailure.HOST_KEY_UNKNOWN, SshFailure.HOST_KEY_CHANGED}:
            raise
        state = KeyState.CHANGED if error.failure is SshFailure.HOST_KEY_CHANGED else KeyState.NEW
    else:
        return HostKey(node.name, KeyState.KNOWN)
    with tempfile.TemporaryDirectory(prefix="shoal-keys-") as folder:
        file = Path(folder) / "known_hosts"
        try:
            _ask(cluster, node, known=file)
        except SshError as refused:
            if refused.failure is not SshFailure.PERMISSION:
                raise
        line = _line(file)
    if not line:
        raise ShoalError("it gave no key that can be read")
    return HostKey(node.name, state, line)


def _ask(cluster: Cluster, node: Node, *, known: Path | None) -> None:
    """Go as far as the login, which is not tried; with `known` whatever key comes is written there.

    Raises SshError: PERMISSION where the key was accepted, for no way to log in is offered.
    """
    base = ssh.ssh_command(_without_known_hosts(cluster) if known else _as_far_as_there(cluster), node, "true")
    more = ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "PreferredAuthentications=none"]
    more += [
        "-o",
        "PubkeyAuthentication=no",
        "-o",
        "PasswordAuthentication=no",
        "-o",
        "KbdInteractiveAuthentication=no",
    ]
    file = cluster.ssh.known_hosts_file
    if known is None and file is not None and not file.is_file():
        # Yet to be made: then no key is known, whatever other files say.
        more += ["-o", "UserKnownHostsFile=none", "-o", "GlobalKnownHostsFile=none"]
    if known:
        # First on the line, so that they go before those that the document gives.
        more += ["-o", f'UserKnownHostsFile="{known}"', "-o", "GlobalKnownHostsFile=none", "-o", "HashKnownHosts=no"]
        more += ["-o", "StrictHostKeyChecking=accept-new"]
    try:
        done = subprocess.run(
            [base[0], *more, *base[1:]],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=FETCH_LIMIT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise SshError(node, SshFailure.TIMED_OUT, f"nothing within {FETCH_LIMIT_S} s") from None
    if done.returncode != 0:
        raise error_from(node, done.stderr.decode(errors="replace"))


def _as_far_as_there(cluster: Cluster) -> Cluster:
    """A file of known hosts that is yet to be made is no fault here; nor is a key file, which is not used."""
    file = cluster.ssh.known_hosts_file
    changes: dict[str, Path | None] = {"identity_file": None}
    if file is not None and not file.is_file():
        changes["known_hosts_file"] = None
    return cluster.model_copy(update={"ssh": cluster.ssh.model_copy(update=changes)})


def _without_known_hosts(cluster: Cluster) -> Cluster:
    changes = {"identity_file": None, "known_hosts_file": None}
    return cluster.model_copy(update={"ssh": cluster.ssh.model_copy(update=changes)})


def _line(file: Path) -> str:
    """The one key in a file that ssh has just written; empty where it is none."""
    if not file.is_file():
        return ""
    for row in file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = row.split()
        if len(words) >= 3 and not row.startswith(("#", "@")) and _is_key(words[2]):
            return " ".join(words[:3])
    return ""


def _is_key(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
