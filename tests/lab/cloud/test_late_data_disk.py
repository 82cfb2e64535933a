"""A cloud node's data disk that comes late, in a lab node with a loop device: nothing runs on the boot disk meanwhile.

Device units are not a container's; that services wait for the mount, and the mount for the disk, is what is tried here.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from docker.models.containers import Container

from roles.bacalhau.config import Service, unit_text
from roles.bacalhau.facts import FILES
from shoal.lab import engine as engines
from shoal.lab import node_image
from shoal.telling import to_stderr
from stacks.gcp.data_disk import PREPARE

pytestmark = pytest.mark.lab

NAME = "shoal-cloud-data-disk"
DISK = "/dev/disk/by-id/google-shoal-data"
WAIT_S = 90
# What a service sees of its folders at the moment when it starts.
LOOKS = "mountpoint -q /var/lib/shoal && mountpoint -q /videos && echo mounted || echo boot disk"


def service(name: str, unit: str) -> str:
    return (
        f"[Unit]\n{unit}\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/bin/sh -c '({LOOKS}) >/run/saw-{name}'\n[Install]\nWantedBy=multi-user.target\n"
    )


def compute_unit() -> str:
    """What the role's own unit says about the order of things."""
    template = (FILES / "compute.service").read_text(encoding="utf-8")
    text = unit_text(Service("compute", "node-1", "root"), template, mesh=False)
    return "\n".join(line for line in text.splitlines() if line.startswith("RequiresMountsFor="))


@pytest.fixture
def node(lab_environment: None) -> Iterator[Container]:
    """A lab node that may have loop devices."""
    engine = engines.find_or_bring(to_stderr, recorded_url=None, yes=os.environ.get("SHOAL_YES") == "1")
    image = node_image.ensure(engine, to_stderr)
    container = engine.client.containers.create(
        image,
        name=NAME,
        stop_signal="SIGRTMIN+3",
        cap_add=["SYS_ADMIN", "NET_ADMIN", "MKNOD"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        cgroupns="private",
        tmpfs={"/run": "exec,mode=755", "/run/lock": ""},
        device_cgroup_rules=["b 7:* rwm", "c 10:237 rwm"],
        network_mode="none",
    )
    try:
        container.start()
        booted(container)
        yield container
    finally:
        with suppress(Exception):
            run(container, "umount /videos; umount /var/lib/shoal; losetup -d $(cat /loop) 2>/dev/null; true")
        container.remove(force=True, v=True)


def run(node: Container, script: str, *, check: bool = True) -> str:
    code, output = node.exec_run(["sh", "-c", script])
    text = output.decode(errors="replace").strip()
    assert code == 0 or not check, f"{script}: {text}"
    return text


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def booted(node: Container) -> None:
    until(lambda: run(node, "systemctl is-active sysinit.target", check=False) == "active")


def disk_comes(node: Container) -> None:
    """The device under the cloud's name for it; a container's own /dev is empty of it after every start."""
    run(
        node,
        "set -e; [ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237\n"
        "[ -e /disk.img ] || truncate -s 128M /disk.img\n"
        "if [ -e /loop ]; then loop=$(cat /loop); else number=$(losetup -f | tr -dc 0-9); loop=/dev/loop$number; fi\n"
        '[ -e "$loop" ] || mknod "$loop" b 7 "${loop#/dev/loop}"\n'
        '[ -e /loop ] || { losetup "$loop" /disk.img; echo "$loop" >/loop; }\n'
        f'mkdir -p /dev/disk/by-id; ln -sf "$loop" {DISK}',
    )


def place(node: Container, files: dict[str, str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    assert node.put_archive("/", buffer.getvalue())


def saw(node: Container, name: str) -> str:
    return run(node, f"cat /run/saw-{name} 2>/dev/null", check=False)


def comes_to_see(node: Container, name: str) -> str:
    """What the service saw once it runs: the same answer that ended the waiting, since a busy engine may lose one."""
    answers: list[str] = []

    def answered() -> bool:
        answers.append(saw(node, name))
        return answers[-1] != ""

    until(answered)
    return answers[-1]


def test_services_and_docker_wait_for_a_disk_that_comes_late_at_the_first_boot_and_after_a_stop(
    node: Container,
) -> None:
    place(
        node,
        {
            "startup-script": PREPARE,
            "etc/systemd/system/docker.service": service("docker", "Description=Docker"),
            "etc/systemd/system/bacalhau-compute.service": service("compute", compute_unit()),
        },
    )
    run(node, "systemctl daemon-reload; systemctl enable --quiet docker bacalhau-compute")

    # The first start of the machine: the cloud's agent runs the script, and the disk is not there yet.
    node.exec_run(["sh", "-c", "/startup-script >/startup.log 2>&1; echo $? >/startup.code"], detach=True)
    until(lambda: "shoal-data-disk.service" in run(node, "systemctl list-jobs --no-legend", check=False))
    run(node, "systemctl start --no-block docker bacalhau-compute")
    assert run(node, "mountpoint -q /var/lib/shoal || echo no") == "no"
    assert saw(node, "docker") == saw(node, "compute") == ""

    disk_comes(node)
    until(lambda: run(node, "cat /startup.code 2>/dev/null", check=False) == "0")
    assert comes_to_see(node, "docker") == comes_to_see(node, "compute") == "mounted"
    run(node, "echo clip >/videos/clip.mp4; echo half >/var/lib/shoal/run; sync")
    identity = run(node, f"blkid -s UUID -o value -p {DISK}")

    # Stopped and started, as a spot machine that was taken away: the disk is late again, and no script has run yet.
    run(node, "umount /videos /var/lib/shoal")
    node.stop(timeout=30)
    node.start()
    booted(node)
    until(lambda: "shoal-data-disk.service" in run(node, "systemctl list-jobs --no-legend", check=False))
    assert saw(node, "docker") == saw(node, "compute") == ""
    assert run(node, "ls -A /var/lib/shoal /videos | tr -d '\\n'") == "/var/lib/shoal:/videos:"

    disk_comes(node)
    assert comes_to_see(node, "docker") == comes_to_see(node, "compute") == "mounted"
    assert run(node, "cat /videos/clip.mp4 /var/lib/shoal/run") == "clip\nhalf"
    assert run(node, f"blkid -s UUID -o value -p {DISK}") == identity

    # The agent runs the script at every start: nothing changes.
    before = run(node, "cat /etc/systemd/system/*.mount | sha256sum; systemctl show -p InvocationID docker")
    assert run(node, "sh /startup-script; echo $?") == "0"
    after = run(node, "cat /etc/systemd/system/*.mount | sha256sum; systemctl show -p InvocationID docker")
    assert after == before


def test_a_disk_that_never_comes_keeps_docker_and_services_from_running(node: Container) -> None:
    place(
        node,
        {
            "startup-script": PREPARE.replace("limit_s=300", "limit_s=3"),
            "etc/systemd/system/docker.service": service("docker", "Description=Docker"),
            "etc/systemd/system/bacalhau-compute.service": service("compute", compute_unit()),
        },
    )
    code, output = node.exec_run(["sh", "/startup-script"])
    assert code != 0, output
    assert run(node, "systemctl start docker", check=False) != ""
    assert run(node, "systemctl start bacalhau-compute", check=False) != ""
    assert saw(node, "docker") == saw(node, "compute") == ""
    assert run(node, "ls -A /var/lib/shoal /videos 2>/dev/null | tr -d '\\n'", check=False) in ("", "/videos:")
