"""File systems of a FUSE program at a lab node's /videos, made from this machine: a node opens no devices itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plant import Plant

FUSE_DEVICE = (10, 229)
LOOP_MAJOR = 7


def inside(process: int, *words: str) -> str:
    """Run a node's own program in its file system and network, with what this machine may open."""
    command = ["nsenter", "-t", str(process), "-m", "-n", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def process_of(lab: str, node: str) -> int:
    """The node's first process, as this machine numbers it."""
    words = ["docker", "inspect", "-f", "{{.State.Pid}}", f"shoal-{lab}-{node}"]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@contextmanager
def usb_stick(plant: Plant, lab: str, node: str) -> Iterator[None]:
    """A disk of 64 MB with exFAT on it, mounted at the node's /videos as its owner would: Debian's exfat-fuse."""
    process = process_of(lab, node)
    plant.on(
        node,
        "truncate -s 64M /root/stick.img; mkfs.exfat /root/stick.img >/dev/null; mkdir -p /videos; "
        f"[ -e /dev/fuse ] || mknod /dev/fuse c {FUSE_DEVICE[0]} {FUSE_DEVICE[1]}",
    )
    image = Path(f"/proc/{process}/root/root/stick.img")
    words = ["losetup", "--find", "--show", str(image)]
    loop = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    try:
        plant.on(node, f"mknod /dev/sdb1 b {LOOP_MAJOR} {loop.removeprefix('/dev/loop')}")
        inside(process, "mount.exfat-fuse", "/dev/sdb1", "/videos")
        yield
    finally:
        plant.on(node, "umount -l /videos; rm -f /dev/sdb1 /root/stick.img; rmdir /videos")
        subprocess.run(["losetup", "--detach", loop], check=True)


@contextmanager
def network_folder(plant: Plant, lab: str, node: str, server: str) -> Iterator[subprocess.Popen[bytes]]:
    """`/srv/footage` of another node at the node's /videos, over sshfs; the block gets the program that serves it."""
    process = process_of(lab, node)
    address = plant.cluster.node(server).peer_address
    plant.on(
        node,
        "[ -e /root/.ssh/nas ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/nas; mkdir -p /videos; "
        f"[ -e /dev/fuse ] || mknod /dev/fuse c {FUSE_DEVICE[0]} {FUSE_DEVICE[1]}",
    )
    key = plant.on(node, "cat /root/.ssh/nas.pub")
    plant.on(
        server,
        "id nas >/dev/null 2>&1 || useradd -m nas; mkdir -p /srv/footage ~nas/.ssh; echo film >/srv/footage/own.mp4; "
        f"echo '{key}' >~nas/.ssh/authorized_keys; chown -R nas: ~nas /srv/footage; chmod 700 ~nas/.ssh",
    )
    options = "allow_other,IdentityFile=/root/.ssh/nas,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null"
    words = ["sshfs", "-f", "-o", options, f"nas@{address}:/srv/footage", "/videos"]
    serving = subprocess.Popen(["nsenter", "-t", str(process), "-m", "-n", *words], stdin=subprocess.DEVNULL)
    try:
        plant.on(node, "timeout 30 sh -c 'until mountpoint -q /videos; do sleep 0.1; done'")
        yield serving
    finally:
        serving.kill()
        serving.wait(30)
        # One whose program ended is no mount point to mountpoint(1).
        plant.on(node, "umount -l /videos; rmdir /videos; rm -f /root/.ssh/nas*")
        plant.on(server, "pkill -CONT -u nas; pkill -KILL -u nas; userdel -rf nas 2>/dev/null; rm -r /srv/footage")
