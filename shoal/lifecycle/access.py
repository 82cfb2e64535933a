"""How this machine reaches a cloud lab's machines: a key of its own, a login, host keys that the cloud reports."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shoal.cloud import gcloud
from shoal.cluster import overlay
from shoal.cluster.document import Cluster, Node
from shoal.errors import Exit, Fault, ShoalError
from shoal.files import private_folder, write_atomic
from shoal.lifecycle import kept_files as known
from shoal.paths import NODE_STATE, NODE_VIDEOS
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshError
from shoal.telling import Say
from shoal.waiting import looks

READY_TIMEOUT_S = 600.0
"""A spot machine boots in about a minute; ten mean that something is wrong."""
POLL_INTERVAL_S = 5.0
KEY_TTL_HOURS, RENEW_HOURS = 24 * 30, 24 * 10
"""How long the account's OS Login profile keeps this machine's key, and how long before its end it is renewed."""
_ID_MARK = "instance-"
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


def os_login(key: Path, project: str, *, now: datetime | None = None) -> str:
    """Have the key in the account's OS Login profile for weeks to come, and give the account's name on machines.

    A key that is there is renewed where it ends soon: the profile forgets it at its end, and no login works any more.
    """
    profile = gcloud.document("compute", "os-login", "describe-profile")
    ends = _profile_end(profile, Path(f"{key}.pub").read_text(encoding="utf-8"))
    where = (f"--key-file={key}.pub", f"--ttl={KEY_TTL_HOURS}h", f"--project={project}")
    if ends is None:
        gcloud.text("compute", "os-login", "ssh-keys", "add", *where)
        profile = gcloud.document("compute", "os-login", "describe-profile")
    elif ends < (now or datetime.now(UTC)) + timedelta(hours=RENEW_HOURS):
        gcloud.text("compute", "os-login", "ssh-keys", "update", *where)
    accounts = profile.get("posixAccounts") or []
    if not accounts:
        raise ShoalError("the gcloud account has no OS Login name", hint="set `login: key` in the stack's settings")
    first = next((account for account in accounts if account.get("primary")), accounts[0])
    return str(first["username"])


def _profile_end(profile: Mapping[str, Any], public_key: str) -> datetime | None:
    """When the profile forgets this key; None where it does not have it. A key without an end never ends."""
    body = public_key.split()[1]
    for entry in (profile.get("sshPublicKeys") or {}).values():
        if body in str(entry.get("key", "")).split():
            ends_us = entry.get("expirationTimeUsec")
            return datetime.fromtimestamp(int(ends_us) / 1e6, UTC) if ends_us else datetime.max.replace(tzinfo=UTC)
    return None


def take_key_away(stack: str, project: str | None, say: Say) -> None:
    """Take this machine's key out of the account's OS Login profile, as far as it is there."""
    key = known.key_path(stack)
    public = Path(f"{key}.pub")
    if not public.exists():
        return
    try:
        profile = gcloud.document("compute", "os-login", "describe-profile")
        if _profile_end(profile, public.read_text(encoding="utf-8")) is None:
            return
        where = (f"--key-file={public}", *([f"--project={project}"] if project else []))
        gcloud.text("compute", "os-login", "ssh-keys", "remove", *where)
    except ShoalError as error:
        say(f"this machine's key may still be in the OS Login profile, until it ends by itself: {error.message}")


def localise(cluster: Cluster, key: Path, *, project: str, say: Say, timeout_s: float = READY_TIMEOUT_S) -> Cluster:
    """The document with this machine's key and the machines' host keys, saved as the substrate's document.

    Waits for fresh machines to tell their host keys, and then for each to let us in. Raises ShoalError that names
    each machine that did not come in time.
    """
    deadline = time.monotonic() + timeout_s
    known_hosts = known.known_hosts_path(cluster.name)
    say(f"waiting for the host keys of {len(cluster.nodes)} machine(s) from the cloud")
    ids = {machine["name"]: str(machine.get("id") or "") for machine in gcloud.machines(project, cluster.name)}
    kept = _kept_keys(known_hosts)
    lines = _until(cluster, lambda node: _host_keys(node, project, ids, kept), deadline, "reported no host key")
    write_atomic(known_hosts, "".join(f"{line}\n" for found in lines for line in found))
    access = cluster.ssh.model_copy(update={"identity_file": key, "known_hosts_file": known_hosts})
    local = cluster.model_copy(update={"ssh": access})
    known.keep(local)
    say("waiting until each lets us in over SSH")
    now = overlay.applied(local)
    _until(local, lambda node: _lets_in(local, now, node), deadline, "did not let us in over SSH")
    say("waiting until each compute node has its data disk")
    _until(local, lambda node: _mounted(local, now, node), deadline, "had no data disk mounted")
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


def _kept_keys(known_hosts: Path) -> dict[tuple[str, str], list[str]]:
    """The lines of an earlier bootstrap, by address and the id of the machine that reported them."""
    kept: dict[tuple[str, str], list[str]] = {}
    if known_hosts.is_file():
        for line in known_hosts.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) == 4 and words[3].startswith(_ID_MARK):
                kept.setdefault((words[0], words[3].removeprefix(_ID_MARK)), []).append(line)
    return kept


def _host_keys(
    node: Node, project: str, ids: Mapping[str, str], kept: Mapping[tuple[str, str], list[str]]
) -> list[str] | None:
    """known_hosts lines of a machine: from its guest attributes, else those that the same machine reported before, else
    from its serial output.

    The guest's agents write them at a machine's first boot only; what becomes of them while it is stopped is not
    documented. A machine that was made anew has another id, and its old keys do not count.
    """
    identity = ids.get(node.name, "")
    where = (node.name, f"--zone={node.labels['zone']}", f"--project={project}")
    try:
        answer = gcloud.document("compute", "instances", "get-guest-attributes", *where, "--query-path=hostkeys/")
        keys = [(entry["key"], entry["value"]) for entry in answer if entry["key"] in _KEY_TYPES]
    except ShoalError as error:
        if error.exit_code is Exit.MISSING:
            raise
        keys = []  # a machine that has not written them yet answers with an error
    if not keys and identity and (before := kept.get((node.address, identity))):
        return before
    if not keys:
        keys = _serial_keys(gcloud.text("compute", "instances", "get-serial-port-output", *where))
    mark = f" {_ID_MARK}{identity}" if identity else ""
    return [f"{node.address} {kind} {body}{mark}" for kind, body in keys] or None


def _serial_keys(output: str) -> list[tuple[str, str]]:
    """Host keys in a boot's serial output, of the last boot that printed them."""
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


def _mounted(cluster: Cluster, now: Cluster, node: Node) -> list[str] | None:
    """Whether a compute node has its data disk where runs and videos lie: else both would land on its boot disk."""
    if "compute" not in node.roles:
        return []
    looks_mounted = f"mountpoint -q {NODE_STATE} && mountpoint -q {NODE_VIDEOS}"
    moved = now.node(node.name)
    over, reached = (now, moved) if moved.first_address and _answers(now, moved) else (cluster, node)
    done = ssh.run(over, reached, "sh", "-c", looks_mounted, root=True, timeout_s=60, check=False)
    return [] if done.exit_code == 0 else None


def _answers(now: Cluster, moved: Node) -> bool:
    """Whether a machine answers at its address on the mesh."""
    try:
        ssh.run(now, moved, "true", root=True, timeout_s=60)
    except SshError:
        return False
    return True


def _lets_in(cluster: Cluster, now: Cluster, node: Node) -> list[str] | None:
    """Over the mesh where it has moved there, else (or where it does not answer there) at its first address."""
    moved = now.node(node.name)
    if moved.first_address and _answers(now, moved):
        return []
    ssh.run(cluster, node, "true", root=True, timeout_s=60)
    return []
