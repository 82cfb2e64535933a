"""Run by test_lab_private_engine.py in a network of its own: an engine's life from its first start to its last trace.

A second engine shares the firewall of the machine's first; in a network namespace each has one of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from shoal.errors import ShoalError
from shoal.lab import engine, firewall, private_engine, ssh_files
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.status import status
from shoal.lab.up import Options, up
from shoal.telling import to_stderr


def host_network() -> tuple[str, str]:
    """Every firewall rule, and whether packets are forwarded."""
    rules = [
        subprocess.run(["iptables", "-t", table, "-S"], capture_output=True, text=True, check=True).stdout
        for table in ("filter", "nat")
    ]
    return "".join(rules), firewall.IP_FORWARD.read_text()


def kill_engine() -> None:
    """As a crash does: the daemon, without a chance to tidy up."""
    number = private_engine.pid()
    assert number is not None
    os.kill(number, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while private_engine.pid() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def on_compute() -> str:
    """What a command on the node says."""
    command = ["ssh", "-F", str(ssh_files.config_path("private")), "compute-1", "hostname"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(image_archive: Path, image: str) -> None:
    """Bring an engine, break it twice, take it away with its data root, sockets, mounts and firewall chains."""
    engine.DEFAULT_SOCKET = Path("/nonexistent/docker.sock")
    # The machine's other engine is in another network, but its process is seen from here.
    firewall.another_engine_runs = lambda: False
    firewall.IP_FORWARD.write_text("0")
    before = host_network()
    groups = set(Path("/sys/fs/cgroup").glob("*/shoal-*"))

    brought = engine.find_or_bring(to_stderr, recorded_url=None, yes=True)
    assert brought.private
    with image_archive.open("rb") as stream:
        brought.client.images.load(stream)
    # As a rebuild leaves it behind: an image of ours that lost its name.
    container = brought.client.containers.create(image, ["true"])
    container.commit()
    container.remove()
    spec = LabSpec("private", compute=1, image=image)
    up(spec, Options(yes=True))
    assert on_compute() == "compute-1"

    kill_engine()
    assert not status("private").running
    up(LabSpec("private"))
    assert on_compute() == "compute-1"

    assert down("private").clean
    assert private_engine.pid() is not None, "the engine outlives a plain down"
    up(spec)
    kill_engine()
    said: list[str] = []
    gone = down("private", purge_all=True, say=said.append)
    assert sum(line.startswith("lab: removed image") for line in said) == 2, said
    assert gone.existed
    assert gone.clean, gone.proofs
    assert {"engine", "images", "packages"} <= {proof.what for proof in gone.proofs}
    assert not Path(os.environ["SHOAL_STATE"]).exists()
    assert host_network() == before
    assert set(Path("/sys/fs/cgroup").glob("*/shoal-*")) == groups
    assert not down("private", purge_all=True).existed

    # A daemon that cannot start says why: its data root lies where nothing can be written.
    private_engine.save(private_engine.Record(f"unix://{private_engine.runtime_folder()}/docker.sock", private=True))
    (private_engine.folder() / "data").write_text("not a folder")
    try:
        private_engine.start(to_stderr)
    except ShoalError as error:
        assert "its last lines" in error.message
        assert "data" in error.message
    else:
        raise AssertionError("it started")
    assert down("private", purge_all=True).clean


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
