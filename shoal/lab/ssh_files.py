"""The lab's key, known hosts and ssh configuration: strict, and apart from the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shoal.errors import Exit, ShoalError
from shoal.files import private_folder, write_atomic
from shoal.lab import state
from shoal.lab.names import short_hash

NODE_USER = "shoal"
SOCKET_PATH_MAX = 104
"""The shortest limit of the systems that OpenSSH runs on."""
SOCKET_NAME_LENGTH = len("cm-") + 40 + len(".") + 16
"""`cm-%C` and the random ending that OpenSSH gives a socket while it makes it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node as ssh sees it."""

    name: str
    address: str
    host_key: str
    """The public key's line as it lies on the node: `ssh-ed25519 AAAA... comment`."""


def key_path(lab: str) -> Path:
    """The lab's private key."""
    return state.folder(lab) / "id_ed25519"


def known_hosts_path(lab: str) -> Path:
    """Host keys of the lab's nodes."""
    return state.folder(lab) / "known_hosts"


def config_path(lab: str) -> Path:
    """The ssh configuration that knows the lab's nodes by name."""
    return state.folder(lab) / "ssh_config"


def control_folder(lab: str) -> Path:
    """Where connections that are kept open have their sockets: in the lab's folder if the path is short enough."""
    inside = state.folder(lab) / "cm"
    if len(str(inside)) + 1 + SOCKET_NAME_LENGTH < SOCKET_PATH_MAX:
        return inside
    return Path("/tmp") / f"shoal-{os.getuid()}-{short_hash(str(inside))}"  # noqa: S108 - made with mode 0700, owner checked


def require_programs() -> None:
    """Refuse early where OpenSSH's client is missing."""
    missing = [program for program in ("ssh", "ssh-keygen") if shutil.which(program) is None]
    if missing:
        raise ShoalError(
            f"{' and '.join(missing)} not found; the lab's machines are reached with OpenSSH",
            hint="on Debian: apt-get install openssh-client",
            exit_code=Exit.MISSING,
        )


def ensure_key(lab: str) -> str:
    """Make the lab's key if it is not there, and give its public half (one line)."""
    path = key_path(lab)
    public = path.with_suffix(".pub")
    if not (path.exists() and public.exists()):
        private_folder(path.parent)
        part = path.with_name(".id_ed25519.part")
        for leftover in (part, Path(f"{part}.pub")):
            leftover.unlink(missing_ok=True)
        done = subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"shoal-lab-{lab}", "-f", str(part)],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            raise ShoalError(f"ssh-keygen could not make the lab's key in {path.parent}: {done.stderr.strip()}")
        Path(f"{part}.pub").replace(public)
        part.replace(path)
    return public.read_text(encoding="utf-8").strip()


def write(lab: str, machines: list[Machine]) -> None:
    """Write known_hosts and ssh_config, and make the folder for control sockets."""
    sockets = control_folder(lab)
    private_folder(sockets)
    if sockets.stat().st_uid != os.getuid() or sockets.is_symlink():
        raise ShoalError(f"{sockets} belongs to somebody else", hint="remove it, then type the command again")
    sockets.chmod(0o700)
    write_atomic(known_hosts_path(lab), known_hosts(machines), mode=0o600)
    text = ssh_config(machines, key_path(lab), known_hosts_path(lab), sockets)
    write_atomic(config_path(lab), text, mode=0o600)


def known_hosts(machines: list[Machine]) -> str:
    """A line per machine, found by name and by address."""
    lines = []
    for machine in machines:
        kind, key = machine.host_key.split()[:2]
        lines.append(f"{machine.name},{machine.address} {kind} {key}\n")
    return "".join(lines)


def ssh_config(machines: list[Machine], key: Path, known_hosts_file: Path, sockets: Path) -> str:
    """The configuration: names to addresses, then what holds for all. Host keys are checked, never learnt."""
    hosts = "".join(
        f"Host {machine.name} {machine.address}\n    HostName {machine.address}\n    HostKeyAlias {machine.name}\n\n"
        for machine in machines
    )
    return hosts + (
        f"Host *\n"
        f"    User {NODE_USER}\n"
        f"    IdentityFile {_quoted(key)}\n"
        f"    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {_quoted(known_hosts_file)}\n"
        f"    GlobalKnownHostsFile /dev/null\n"
        f"    StrictHostKeyChecking yes\n"
        f"    BatchMode yes\n"
        f"    ConnectTimeout 10\n"
        f"    ServerAliveInterval 15\n"
        f"    ServerAliveCountMax 4\n"
        f"    LogLevel ERROR\n"
        f"    ControlMaster auto\n"
        f"    ControlPersist 60\n"
        f"    ControlPath {_quoted(sockets, '/cm-%C')}\n"
    )


def close_connections(lab: str) -> None:
    """End connections that are kept open, and remove the folder of their sockets."""
    sockets = control_folder(lab)
    if not sockets.is_dir() or sockets.is_symlink():
        return
    for path in sockets.iterdir():
        # The socket may be a dead process's; it is removed either way.
        subprocess.run(
            ["ssh", "-F", "/dev/null", "-o", f"ControlPath={_quoted(path)}", "-O", "exit", "lab"],
            capture_output=True,
            check=False,
        )
        path.unlink(missing_ok=True)
    sockets.rmdir()


def _quoted(path: Path, rest: str = "") -> str:
    """A path as one word of ssh_config, with `rest` behind it as it is: no percent sign of a folder is a token."""
    text = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + rest
    return f'"{text}"' if text != str(path) + rest or " " in text else text
