"""How the OpenSSH client is called: strict host keys, no questions asked, and connections that commands share."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.errors import Exit, Fault, ShoalError, UsageError

CONNECT_TIMEOUT_S = 10
PROXY_CONNECT_TIMEOUT_S = 60
"""The same where a program makes the connection: its own start counts, and gcloud's takes seconds on a busy machine."""
ALIVE_INTERVAL_S = 10
ALIVE_COUNT = 3
"""A silent connection counts as lost after interval times count; ours reconnect, so this may be short."""
PERSIST_S = 30
"""How long an idle shared connection stays open for the next command."""
SSH_PORT = 22
SOCKET_PATH_LIMIT = 80
"""A Unix socket's path holds 108 bytes, of which ssh wants 17 for a temporary suffix."""


def connection(access: SshAccess, node: Node) -> list[str]:
    """The argument list of ssh up to and with the address. Raises UsageError where a file that is named is missing.

    A port that the document leaves out is the user's ssh configuration to name, as for `ssh HOST`.
    """
    check_access(access)
    options, _ = _options(access, node)
    port = ["-p", str(node.port)] if "port" in node.model_fields_set or node.port != SSH_PORT else []
    return ["ssh", *options, *port, "-l", node.user, "--", node.address]


def close(cluster: Cluster) -> None:
    """End the shared connections to the cluster's nodes now, not some seconds after their last use; leaves no file."""
    for node in cluster.nodes:
        _, socket = _options(cluster.ssh, node)
        if socket.exists():
            subprocess.run(
                ["ssh", "-o", f"ControlPath={_quoted(socket)}", "-O", "exit", "--", node.address],
                capture_output=True,
                check=False,
                timeout=CONNECT_TIMEOUT_S,
            )
            socket.unlink(missing_ok=True)  # of a connection whose process was killed
    with suppress(OSError):
        control_dir().rmdir()  # other clusters' connections may be in it


def check_access(access: SshAccess) -> None:
    """Raise UsageError that lists every file the cluster document names for ssh and that is not there."""
    named = {
        "ssh.identity_file": access.identity_file,
        "ssh.known_hosts_file": access.known_hosts_file,
        "ssh.config_file": access.config_file,
    }
    faults = tuple(
        Fault(field, f"there is no file {path}") for field, path in named.items() if path and not path.is_file()
    )
    if faults:
        unknown = any(fault.where == "ssh.known_hosts_file" for fault in faults)
        raise UsageError(
            "files that the cluster document names for ssh are not there",
            faults=faults,
            hint="`shoal cluster host-keys` shows the machines' keys and makes the file of known hosts"
            if unknown
            else "mend the paths in the cluster document",
        )


def connect_timeout_s(access: SshAccess, node: Node) -> int:
    """Seconds that a connection to the node may take to come about."""
    return PROXY_CONNECT_TIMEOUT_S if node.proxy(access) else CONNECT_TIMEOUT_S


def _options(access: SshAccess, node: Node) -> tuple[list[str], Path]:
    """ssh's options, and the socket of the shared connection that is theirs."""
    wanted = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(connect_timeout_s(access, node)),
        "ServerAliveInterval": str(ALIVE_INTERVAL_S),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        "ControlMaster": "auto",
        "ControlPersist": str(PERSIST_S),
    }
    if access.known_hosts_file:
        # The document's file alone counts: a key that the machine at large trusts is not one that the cluster has.
        wanted["UserKnownHostsFile"] = _quoted(access.known_hosts_file)
        wanted["GlobalKnownHostsFile"] = "none"
    if access.identity_file:
        wanted["IdentityFile"] = _quoted(access.identity_file)
        wanted["IdentitiesOnly"] = "yes"
    if proxy := node.proxy(access):
        wanted["ProxyCommand"] = proxy
    argv = ["-F", str(access.config_file)] if access.config_file else []
    for option, value in wanted.items():
        argv += ["-o", f"{option}={value}"]
    # Everything that decides whom we trust is in the name: a connection made under other rules is never shared.
    identity = f"{argv} {node.user}@{node.address}:{node.port}"
    socket = control_dir() / hashlib.sha256(identity.encode()).hexdigest()[:20]
    return [*argv, "-o", f"ControlPath={_quoted(socket)}"], socket


def _quoted(path: Path) -> str:
    """A path as one word of ssh_config: spaces kept, and no percent sign read as a token."""
    text = str(path.absolute()).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def control_dir() -> Path:
    """The private folder of the shared connections' sockets, made where it is missing. Raises ShoalError."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    directory = Path(runtime) / "shoal-ssh"
    if not runtime or not Path(runtime).is_dir() or len(str(directory)) + 21 > SOCKET_PATH_LIMIT:
        directory = Path("/tmp") / f"shoal-{os.getuid()}"  # noqa: S108  # short, and checked for its owner below
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ShoalError(
            f"{directory} is not a private directory of yours; ssh connections would be shared through it",
            hint="remove it, or set XDG_RUNTIME_DIR to a directory of your own",
        )
    return directory


def environment() -> dict[str, str]:
    """What ssh runs with."""
    return {**os.environ, "LC_ALL": "C"}  # ssh's words are read to tell the failures apart


def no_client() -> ShoalError:
    """The error where this machine has no OpenSSH client."""
    return ShoalError(
        "the OpenSSH client is needed, and there is no `ssh` on this machine",
        hint="install it (Debian and Ubuntu: apt-get install openssh-client)",
        exit_code=Exit.MISSING,
    )
