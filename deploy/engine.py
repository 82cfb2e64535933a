"""This machine's own container engine, for the lab: `pyinfra @local deploy/engine.py`.

`--data docker_service=false` where systemd is not PID 1: then packages only, and whoever asked starts a daemon.
"""

import os
from pathlib import Path

from pyinfra import host

from roles import docker

# An engine of the machine's owner may be configured already, and the lab's has its settings on its command line.
host.data.docker_configure = False
host.data.docker_record = False
if host.data.get("docker_service") is None:
    host.data.docker_service = Path("/run/systemd/system").is_dir()
if host.data.get("docker_extra_packages") is None:
    host.data.docker_extra_packages = ("debootstrap", "openssh-client")

docker.install(_sudo=os.geteuid() != 0)
