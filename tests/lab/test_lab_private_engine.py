"""The engine that the lab starts itself where a machine has none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.lab import engine, node_image, private_engine
from shoal.lab.names import short_hash
from shoal.paths import repository

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

# A network of its own needs its own view of /sys, which hides the control groups; they are bound back.
ISOLATED = """
mkdir "$1"; mount --rbind /sys/fs/cgroup "$1"; mount -t sysfs sysfs /sys; mount --rbind "$1" /sys/fs/cgroup
ip link set lo up; shift; exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an engine of one's own needs root")
def test_from_the_first_start_to_the_last_trace(lab_environment: None, tmp_path: Path) -> None:
    # Asked here, not when the tests are collected: the fixture may just have installed it.
    if private_engine.daemon_program() is None:
        pytest.skip("no engine is installed: another machine's answers")
    host_engine = engine.open_engine(os.environ["DOCKER_HOST"])
    image = node_image.ensure(host_engine, print)
    archive = tmp_path / "node.tar"
    with archive.open("wb") as stream:
        stream.writelines(host_engine.client.images.get(image).save(named=image))
    # Long enough that its sockets must go elsewhere.
    home = tmp_path / ("long" * 12)
    environment = {**os.environ, "SHOAL_STATE": str(home / "state"), "SHOAL_CACHE": str(home / "cache")}
    del environment["DOCKER_HOST"]
    script = Path(__file__).with_name("lab_private_life.py")
    done = subprocess.run(
        [
            "unshare", "--net", "--mount", "sh", "-euc", ISOLATED, "sh", str(tmp_path / "groups"),
            sys.executable, str(script), str(archive), image,
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment,
        cwd=repository(),
    )  # fmt: skip
    archive.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert not Path(f"/run/shoal-{short_hash(str(home / 'state' / 'engine'))}").exists()
    assert shutil.which("dockerd", path=private_engine.DAEMON_PLACES), "packages that were there before stay"
