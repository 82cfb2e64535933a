"""How this machine reaches a cloud lab's machines: a key of its own, a login, host keys that the cloud tells."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from shoal.cloud import gcloud
from shoal.cluster import overlay
from shoal.cluster.document import Cluster, Node
from shoal.errors import Exit, Fault, ShoalError
from shoal.files import private_folder, write_atomic
from shoal.lifecycle import kept_files as known
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshError
from shoal.telling import Say
from shoal.waiting import looks

READY_TIMEOUT_S = 600.0
"""A spot machine boots in about a minute; ten mean that something is wrong."""
POLL_INTERVAL_S = 5.0
_SERIAL_BEGIN, _SERIAL_END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")


def key_file(stack: str) -> tuple[Path, bool]:
    """This machine's private key for the stack's machines, and whether it was made just now. Raises ShoalError."""
    path = known.key_path(stack)
    if path.exists():
        return path, False
    private_folder(path.parent)
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"shoal-{stack}", "-f", str(path)],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise ShoalError(
            "the OpenSSH client is needed, and there is no `ssh-keygen` on this machine", exit_code=Exit.MISSING
        ) from None
    except subprocess.CalledProcessError as error:
        raise ShoalError(f"no key could be made at {path}: {error.stderr.decode(errors='replace').strip()}") from None
    return path, True


def os_login(key: Path, hours: int, project: str) -> str:
    """Put the key into the account's OS Login profile for `hours`, and tell the account's name on machines."""
    gcloud.text(
        "compute", "os-login", "ssh-keys", "add", f"--key-file={key}.pub", f"--ttl={hours}h", f"--project={project}"
    )
    profile = gcloud.document("compute", "os-login", "describe-profile")
    accounts = profile.get("posixAccounts") or []
    if not accounts:
        raise ShoalError("the gcloud account has no OS Login name", hint="set `login: key` in the stack's settings")
    first = next((account for account in accounts if account.get("primary")), accounts[0])
    return str(first["username"])


def localise(cluster: Cluster, key: Path, *, project: str, say: Say, timeout_s: float = READY_TIMEOUT_S) -> Cluster:
    """The document with this machine's key and the machines' host keys, saved as the substrate's document.

    Waits for fresh machines to tell their host keys, and then for each to let us in. Raises ShoalError that names
    each machine that did not come in time.
    """
    deadline = time.monotonic() + timeout_s
    known_hosts = known.known_hosts_path(cluster.name)
    say(f"waiting for the host keys of {len(cluster.nodes)} machine(s), told by the cloud")
    lines = _until(cluster, lambda node: _host_keys(node, project), deadline, "told no host key")
    write_atomic(known_hosts, "".join(f"{line}\n" for found in lines for line in found))
    access = cluster.ssh.model_copy(update={"identity_file": key, "known_hosts_file": known_hosts})
    local = cluster.model_copy(update={"ssh": access})
    known.keep(local)
    say("waiting until each lets us in over SSH")
    now = overlay.applied(local)
    _until(local, lambda node: _lets_in(local, now, node), deadline, "did not let us in over SSH")
    return local


def _until(
    cluster: Cluster, ask: Callable[[Node], list[str] | None], deadline: float, otherwise: str
) -> list[list[str]]:
    """The answer of every node, asked again until the deadline; raises ShoalError that names those without one."""
    answers: dict[str, list[str]] = {}
    why: dict[str, str] = {}
    for look in looks(POLL_INTERVAL_S, timeout_s=deadline - time.monotonic()):
        waiting = [node for node in cluster.nodes if node.name not in answers]
        for name, answer in ssh.on_each(waiting, ask).items():
            if isinstance(answer, ShoalError):
                if answer.exit_code is Exit.MISSING:
                    raise answer
                why[name] = answer.message
            elif answer is not None:
                answers[name] = answer
        late = [node for node in cluster.nodes if node.name not in answers]
        if not late:
            return [answers[node.name] for node in cluster.nodes]
        if look.last:
            raise ShoalError(
                f"{len(late)} of {len(cluster.nodes)} machine(s) {otherwise} in time",
                faults=tuple(Fault(node.name, why.get(node.name, otherwise)) for node in late),
                hint="a spot machine may have been taken away: `shoal up gcp` brings it back; then bootstrap again",
            )
    raise AssertionError("the last look returns or raises")


def _host_keys(node: Node, project: str) -> list[str] | None:
    """known_hosts lines of a machine, from its guest attributes, else from its serial output."""
    where = (node.name, f"--zone={node.labels['zone']}", f"--project={project}")
    try:
        told = gcloud.document("compute", "instances", "get-guest-attributes", *where, "--query-path=hostkeys/")
        keys = [(entry["key"], entry["value"]) for entry in told if entry["key"] in _KEY_TYPES]
    except ShoalError as error:
        if error.exit_code is Exit.MISSING:
            raise
        keys = []  # a machine that has not written them yet answers with an error
    if not keys:
        keys = _serial_keys(gcloud.text("compute", "instances", "get-serial-port-output", *where))
    return [f"{node.address} {kind} {body}" for kind, body in keys] or None


def _serial_keys(output: str) -> list[tuple[str, str]]:
    """Host keys in a boot's serial output, of the last boot that told them."""
    _, begun, rest = output.rpartition(_SERIAL_BEGIN)
    if not begun or _SERIAL_END not in rest:
        return []
    keys = []
    for line in rest.partition(_SERIAL_END)[0].splitlines():
        words = line.split()
        at = next((index for index, word in enumerate(words) if word in _KEY_TYPES), None)
        if at is not None and at + 1 < len(words):
            keys.append((words[at], words[at + 1]))
    return keys


def _lets_in(cluster: Cluster, now: Cluster, node: Node) -> list[str] | None:
    """Over the mesh where it has moved there, else (or where it does not answer there) at its first address."""
    if (moved := now.node(node.name)).first_address:
        try:
            ssh.run(now, moved, "true", root=True, timeout_s=60)
        except SshError:
            pass
        else:
            return []
    ssh.run(cluster, node, "true", root=True, timeout_s=60)
    return []
