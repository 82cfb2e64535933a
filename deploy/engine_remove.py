"""Takes away packages of an engine that engine.py brought: `--data 'docker_packages=[...]'` names exactly which."""

import os

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError

from roles import docker

if not host.data.get("docker_packages"):
    raise PyinfraError("nothing was removed: name the packages with --data 'docker_packages=[\"docker.io\", ...]'")
host.data.docker_configure = False
host.data.docker_record = False

docker.remove(_sudo=os.geteuid() != 0)
