"""One machine of the lab: a container that runs systemd, and what is read from it once it is up."""

from __future__ import annotations

import io
import json
import re
import socket
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from docker.errors import APIError, NotFound
from docker.models.containers import Container

from shoal.errors import ShoalError, UsageError
from shoal.lab import inherit, names
from shoal.lab.client import Engine, plain_errors
from shoal.lab.ssh_files import NODE_USER
from shoal.waiting import looks

NODE_UID = 1000
"""The user's id in the node image (files/build-node.sh)."""
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
SETTLED = ("running", "degraded")
POLL_INTERVAL_S = 0.1
BANNER_TIMEOUT_S = 2.0
SSH_PORT = 22
TUN = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node's container is made of; its hash shows whether an existing one is still as asked."""

    lab: str
    name: str
    image: str
    address: str
    memory_mib: int | None
    cpus: float | None

    @property
    def hash(self) -> str:
        """Short hash of all fields."""
        return names.short_hash(json.dumps([self.image, self.address, self.memory_mib, self.cpus]))

    @property
    def role(self) -> str:
        """`requester`, `compute`, `cameras` or `store`."""
        return "compute" if self.name.startswith("compute-") else self.name


def find_all(engine: Engine, lab: str) -> dict[str, Container]:
    """The lab's containers by node name, running or not."""
    with plain_errors("listing the lab's nodes"):
        found = engine.client.containers.list(all=True, filters=names.lab_filter(lab))
    # By name too: what somebody starts from an image of a node carries the node's labels.
    named = {container.labels.get(names.NODE_LABEL, ""): container for container in found}
    return {node: container for node, container in named.items() if container.name == names.container_name(lab, node)}


def refuse_foreign(engine: Engine, lab: str, wanted: list[str]) -> None:
    """Raise UsageError where a container or volume has a name that the lab needs and is not the lab's."""
    ours = names.lab_labels(lab)
    foreign = []
    with plain_errors("looking for name clashes"):
        for node in wanted:
            try:
                container = engine.client.containers.get(names.container_name(lab, node))
                if any(container.labels.get(key) != value for key, value in ours.items()):
                    foreign.append(f"container {container.name!r}")
            except NotFound:
                pass
            for volume_name in names.volume_names(lab, node):
                try:
                    labels = engine.client.volumes.get(volume_name).attrs.get("Labels") or {}
                except NotFound:
                    continue
                if any(labels.get(key) != value for key, value in ours.items()):
                    foreign.append(f"volume {volume_name!r}")
    if foreign:
        raise UsageError(
            f"the engine has things with the lab's names that are not this lab's: {', '.join(foreign)}",
            hint="give the lab another name (--name), or remove them yourself",
        )


def create(engine: Engine, spec: NodeSpec, public_key: str, inherited: list[inherit.Entry]) -> Container:
    """Make the node's container with all that it inherits; not started yet."""
    labels = {**names.lab_labels(spec.lab), names.NODE_LABEL: spec.name, names.ROLE_LABEL: spec.role}
    network = names.network_name(spec.lab)
    volumes = names.volume_names(spec.lab, spec.name)
    with plain_errors(f"making node {spec.name}"):
        for volume in volumes:
            engine.client.volumes.create(volume, labels=labels)
        container = engine.client.containers.create(
            spec.image,
            name=names.container_name(spec.lab, spec.name),
            hostname=spec.name,
            stop_signal="SIGRTMIN+3",
            labels={**labels, names.SPEC_LABEL: spec.hash},
            network=network,
            networking_config={
                network: engine.client.api.create_endpoint_config(ipv4_address=spec.address, aliases=[spec.name])
            },
            # No --privileged: it needs a capability that some hosts withhold, and opens the host's kernel.
            cap_add=["SYS_ADMIN", "NET_ADMIN"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            cgroupns="private",
            tmpfs={"/run": "exec,mode=755", "/run/lock": ""},
            devices=[f"{TUN}:{TUN}:rwm"] if TUN.exists() else [],
            restart_policy={"Name": "unless-stopped"},  # type: ignore[arg-type] # the types lack it
            volumes={volume: {"bind": place, "mode": "rw"} for volume, place in volumes.items()},
            mem_limit=f"{spec.memory_mib}m" if spec.memory_mib else None,
            nano_cpus=int(spec.cpus * 1e9) if spec.cpus else None,
        )
        key = inherit.Entry(f"/home/{NODE_USER}/.ssh/authorized_keys", f"{public_key}\n".encode(), 0o600, NODE_UID)
        container.put_archive("/", inherit.archive([key, *inherited]))
    return container


def start(container: Container, node: str) -> None:
    """Start the node; does not wait for it to boot."""
    with plain_errors(f"starting node {node}"):
        container.start()


def remove(engine: Engine, lab: str, node: str, container: Container | None) -> None:
    """Remove the node's container and its volumes; what is gone already is fine."""
    with plain_errors(f"removing node {node}"):
        if container is not None:
            try:
                container.remove(force=True, v=True)
            except NotFound:
                pass
            except APIError as error:
                if "already in progress" not in str(error):
                    raise
        for name in names.volume_names(lab, node):
            try:
                volume = engine.client.volumes.get(name)
                if (volume.attrs.get("Labels") or {}).get(names.HOME_LABEL) == names.home():
                    volume.remove(force=True)
            except NotFound:
                continue


def execute(container: Container, command: list[str]) -> tuple[int, str]:
    """Run a command in the node through the engine; its exit code and output. Raises APIError if it is not running."""
    done = container.exec_run(command)
    output = done.output if isinstance(done.output, bytes) else b""
    # None: the engine does not know how it ended.
    return -1 if done.exit_code is None else int(done.exit_code), output.decode(errors="replace")


def boot_state(container: Container) -> str:
    """What systemd says of itself (`running`, `degraded`, `starting`, ...), or the state of a stopped container."""
    container.reload()
    if container.status != "running":
        return str(container.status)
    try:
        # Without --wait, which was seen to hang for ever on a running system.
        _, output = execute(container, ["systemctl", "is-system-running"])
    except APIError:
        container.reload()
        return "starting" if container.status == "running" else str(container.status)
    # Before systemd listens, systemctl only complains.
    word = output.strip().splitlines()[-1] if output.strip() else ""
    return word if re.fullmatch("[a-z]+", word) else "starting"


def sshd_answers(address: str) -> bool:
    """Whether an SSH server greets at `address`."""
    try:
        with socket.create_connection((address, SSH_PORT), timeout=BANNER_TIMEOUT_S) as connection:
            connection.settimeout(BANNER_TIMEOUT_S)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until_booted(container: Container, node: str, address: str, deadline: float) -> str:
    """Wait until systemd has settled and sshd answers; gives systemd's state.

    `deadline` is a time.monotonic() value. Raises ShoalError with the node's last lines.
    """
    for look in looks(POLL_INTERVAL_S, timeout_s=deadline - time.monotonic()):
        with plain_errors(f"asking node {node}"):
            state = boot_state(container)
        if state in SETTLED and sshd_answers(address):
            return state
        gave_up = state in ("exited", "dead") or _restarts(container) > 2
        if gave_up or look.last:
            why = f"its container is {container.status}" if gave_up else f"it is still {state!r}"
            if state in SETTLED:
                why = f"systemd is {state}, but sshd does not answer at {address}:{SSH_PORT}"
            raise ShoalError(
                f"node {node} does not boot: {why}; its last lines:\n{last_lines(container)}",
                hint="type the command again with --retain to keep it for a look (`shoal lab logs`)",
            )
    raise AssertionError("the last look returns or raises")


def last_lines(container: Container, count: int = 12) -> str:
    """The end of the node's journal, or of its console where the journal cannot be had; indented."""
    text = journal(container, count) or console(container, count)
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-count:]) or "    (there are none)"


def journal(container: Container, count: int) -> str:
    """The last lines of the node's journal; empty where the machine is not up."""
    try:
        code, output = execute(container, ["journalctl", "--no-pager", "--quiet", f"--lines={count}"])
    except APIError:
        # It ended, or is between two starts.
        return ""
    return output.strip() if code == 0 else ""


def console(container: Container, count: int) -> str:
    """The last lines of what the machine's first process wrote. Raises ShoalError."""
    with plain_errors("reading the console"):
        text = container.logs(tail=count)
    return text.decode(errors="replace").strip() if isinstance(text, bytes) else ""


def failed_units(container: Container) -> list[str]:
    """Units that did not start, on a node that is `degraded`."""
    with plain_errors("listing failed units"):
        _, output = execute(container, ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"])
    return [line.split()[0] for line in output.splitlines() if line.strip()]


def host_key(container: Container, node: str) -> str:
    """The node's public host key, read through the engine: the network cannot slip another one in."""
    with plain_errors(f"reading the host key of node {node}"):
        # As a file: the output of a short command was seen to get lost on a busy engine.
        chunks, _ = container.get_archive(HOST_KEY)
        packed = io.BytesIO(b"".join(chunks))
    with tarfile.open(fileobj=packed) as tar:
        content = tar.extractfile(tar.getmembers()[0])
        text = content.read().decode(errors="replace").strip() if content else ""
    if not text.startswith("ssh-ed25519 "):
        raise ShoalError(f"node {node} has no usable host key at {HOST_KEY}: {text[:200]!r}")
    return text


def _restarts(container: Container) -> int:
    return int(container.attrs.get("RestartCount") or 0)
