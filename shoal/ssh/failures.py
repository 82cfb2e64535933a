"""What can go wrong between here and a node over SSH, distinguished by ssh's own words, and what to do about each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum

from shoal.cluster.document import Node, SshAccess
from shoal.errors import ShoalError, of_this_machine
from shoal.ssh.remote import PASSWORD_WANTED, PASSWORD_WRONG


class SshFailure(StrEnum):
    """Why ssh itself failed, as far as its words tell."""

    HOST_KEY_CHANGED = "the host key is not the recorded one"
    HOST_KEY_UNKNOWN = "the host key is not known"
    PERMISSION = "the node refused the login"
    KEY_FILE = "the private key file cannot be used"
    CONFIG = "ssh refused its configuration"
    NAME = "the address has no such name"
    REFUSED = "the connection was refused"
    TIMED_OUT = "no answer in time"
    UNROUTED = "there is no way to the address"
    LOST = "the connection was lost"
    SHELL = "the login shell did not run the command"


_SIGNS: tuple[tuple[str, SshFailure], ...] = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", SshFailure.HOST_KEY_CHANGED),
    ("host key is known for", SshFailure.HOST_KEY_UNKNOWN),
    ("Host key verification failed", SshFailure.HOST_KEY_UNKNOWN),
    ("UNPROTECTED PRIVATE KEY FILE", SshFailure.KEY_FILE),
    ("Permission denied (", SshFailure.PERMISSION),
    ("Too many authentication failures", SshFailure.PERMISSION),
    ("Bad configuration option", SshFailure.CONFIG),
    ("bad configuration options", SshFailure.CONFIG),
    ("Could not resolve hostname", SshFailure.NAME),
    ("Connection refused", SshFailure.REFUSED),
    ("not responding", SshFailure.LOST),
    ("Control master terminated", SshFailure.LOST),
    ("timed out", SshFailure.TIMED_OUT),
    ("No route to host", SshFailure.UNROUTED),
    ("Network is unreachable", SshFailure.UNROUTED),
)
_LASTING = frozenset(
    {
        SshFailure.HOST_KEY_CHANGED,
        SshFailure.HOST_KEY_UNKNOWN,
        SshFailure.PERMISSION,
        SshFailure.KEY_FILE,
        SshFailure.CONFIG,
        SshFailure.SHELL,
    }
)
_HINTS = {
    SshFailure.HOST_KEY_CHANGED: "if the machine was made anew, record its key again; if not, somebody else answers "
    "at this address: do not go on",
    SshFailure.HOST_KEY_UNKNOWN: "record the node's host key, read from the machine itself, in the known_hosts file "
    "that the cluster document names",
    SshFailure.PERMISSION: "check `user` and `ssh.identity_file` in the cluster document, and that the public key is "
    "in the node's authorized_keys; a key with a passphrase must be in a running ssh-agent",
    SshFailure.KEY_FILE: "make the key file readable by its owner only (chmod 600)",
    SshFailure.CONFIG: "mend `ssh.config_file` of the cluster document, or your own ssh configuration",
    SshFailure.NAME: "check `address` in the cluster document and the name server",
    SshFailure.REFUSED: "check `address` and `port` in the cluster document, and that sshd runs on the node",
    SshFailure.TIMED_OUT: "check that the node is on and that no firewall is in the way",
    SshFailure.UNROUTED: "check the network, or the mesh, between here and the node",
    SshFailure.LOST: "the node or the network went away; type the command again",
    SshFailure.SHELL: "see what `ssh` to the node with the command `true` prints: the account's shell, or a start-up "
    "file of it (.bashrc, .cshrc) that ends the login, has to let commands run",
}


QUOTED_CHARS = 200
"""Of a line that is not ours, so much is quoted in an error."""
_KEYS = frozenset({SshFailure.HOST_KEY_CHANGED, SshFailure.HOST_KEY_UNKNOWN})


class SshError(ShoalError):
    """ssh could not reach or log in to a node; `transient` says whether trying again may help."""

    def __init__(self, node: Node, failure: SshFailure, detail: str, access: SshAccess | None = None) -> None:
        detail = f": {detail}" if detail else ""
        super().__init__(
            f"node {node.name} ({node.user}@{node.address}:{node.port}): {failure.value}{detail}",
            hint=_key_hint(node, failure, access) if access and failure in _KEYS else _HINTS[failure],
        )
        self.node = node.name
        self.failure = failure
        self.recognised = True
        """Whether ssh's words say so; without any, a lost connection is the best guess."""
        self.transient = failure not in _LASTING
        self.brief = f"{failure.value}{detail}"


class RemoteError(ShoalError):
    """A command on a node ended with a non-zero exit code."""

    def __init__(self, node: Node, command: Sequence[str], exit_code: int, stderr: str) -> None:
        last = stderr.strip().splitlines()[-1:] or ["it said nothing"]
        hint = None
        if any(words in stderr for words in PASSWORD_WRONG):
            hint = f"the sudo password that was given is not the one of user {node.user} on this node"
        elif any(words in stderr for words in PASSWORD_WANTED):
            hint = (
                f"let user {node.user} run sudo on the node without a password, or use root; with "
                "`--ask-sudo-password` the command asks you for it"
            )
        elif last[0].startswith("sudo:"):
            hint = f"let user {node.user} run every command with sudo on the node, or use root"
        super().__init__(f"node {node.name}: `{command[0]}` ended with exit code {exit_code}: {last[0]}", hint=hint)
        self.node = node.name
        self.remote_exit_code = exit_code
        self.stderr = stderr
        self.brief = last[0]


class TooLongError(ShoalError):
    """A node's answer was longer than any that is meant; it was read no further."""

    def __init__(self, node: Node, command: Sequence[str], most_bytes: int) -> None:
        super().__init__(f"node {node.name}: `{command[0]}` answered with more than {most_bytes} bytes")
        self.node = node.name
        self.brief = f"`{command[0]}` answered with more than {most_bytes} bytes"


def brief(error: Exception) -> str:
    """Why, in one line and without the node's name, for texts that give it already; also of a fault on this machine."""
    if isinstance(error, SshError | RemoteError | TooLongError):
        return error.brief
    if isinstance(error, ShoalError):
        return error.message
    if isinstance(error, OSError) and error.errno is not None:
        return of_this_machine(error).message
    return f"{type(error).__name__}: {error}"


def one_line(error: ShoalError) -> str:
    """The whole error on one line and without the node's name, for logs that go by lines and name it already."""
    parts = [brief(error), *map(str, error.faults), *([f"what to do: {error.hint}"] if error.hint else [])]
    return "; ".join(parts).replace("\n", " ")


def _key_hint(node: Node, failure: SshFailure, access: SshAccess) -> str:
    """Which file holds the host keys, and the command that mends it."""
    file = str(access.known_hosts_file) if access.known_hosts_file else "~/.ssh/known_hosts"
    quoted = shlex.quote(file) if access.known_hosts_file else file
    ssh = ["ssh", *(["-F", str(access.config_file)] if access.config_file else [])]
    if proxy := node.proxy(access):
        ssh += ["-o", f"ProxyCommand={proxy}"]
    if access.known_hosts_file:
        ssh += ["-o", f"UserKnownHostsFile={file}"]
    if access.identity_file:
        ssh += ["-i", str(access.identity_file)]
    port = ["-p", str(node.port)] if "port" in node.model_fields_set else []
    learn = shlex.join(
        [*ssh, "-o", "StrictHostKeyChecking=ask", *port, f"{node.user}@{node.address}", "true"],
    )
    show = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    if failure is SshFailure.HOST_KEY_CHANGED:
        name = node.address if node.port == 22 else f"[{node.address}]:{node.port}"
        forget = f"ssh-keygen -R {shlex.quote(name)} -f {quoted}"
        return (
            f"if the machine was made anew, take its old key out of {file} (`{forget}`) and record the new one "
            f"(`{learn}`, which shows the fingerprint; `{show}` on the machine shows the same); if not, somebody else "
            "answers at this address: do not go on"
        )
    return (
        f"record the node's host key in {file}: `{learn}` shows its fingerprint and writes it there; compare it with "
        f"what `{show}` shows on the machine itself"
    )


def not_begun(node: Node, exit_code: int, output: bytes) -> SshError:
    """The error where the login worked and the command was never begun; `output` is what the login shell printed."""
    lines = [text for line in output.decode(errors="replace").splitlines() if (text := line.strip())]
    return SshError(
        node, SshFailure.SHELL, f"it ended with {exit_code}, after {lines[-1][:QUOTED_CHARS] if lines else 'no word'!r}"
    )


def error_from(node: Node, stderr: str, access: SshAccess | None = None) -> SshError:
    """ssh's own words as one of the failures."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("ControlSocket ", "Warning: Permanently added"))]
    for sign, failure in _SIGNS:
        if line := next((line for line in lines if sign in line), None):
            return SshError(node, failure, line.strip("@ "), access)
    error = SshError(node, SshFailure.LOST, lines[-1] if lines else "", access)
    error.recognised = False
    return error
