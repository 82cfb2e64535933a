"""Services of the lab's machines that are no nodes: files and units, put there by the engine where they differ."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from shoal.errors import ShoalError
from shoal.lab import inherit, names
from shoal.lab import node as nodes
from shoal.lab.client import plain_errors

FOLDER = "/srv/lab"
UNITS = "/etc/systemd/system"
_DONE = f"{FOLDER}/as-asked"


@dataclass(frozen=True, slots=True)
class Service:
    """One systemd unit."""

    name: str
    description: str
    command: str
    environment_file: str | None = None

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"{self.name}.service"

    def text(self) -> str:
        """The unit file."""
        environment = f"EnvironmentFile={self.environment_file}\n" if self.environment_file else ""
        return (
            f"[Unit]\nDescription={self.description}\n\n"
            f"[Service]\n{environment}ExecStart={self.command}\nRestart=always\nRestartSec=1\n\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )


def furnish(
    container: Container,
    name: str,
    *,
    version: str,
    trees: Mapping[str, Path],
    files: Sequence[inherit.Entry],
    services: Iterable[Service],
) -> bool:
    """Have the machine `name` run these services and no others; whether anything had to be changed.

    `trees` are files and folders of this machine by where they go, `version` stands for what is in them.
    Raises ShoalError.
    """
    services = list(services)
    made_of = [version, sorted(trees), [(one.path, one.content.hex(), one.mode) for one in files]]
    wanted = names.short_hash(json.dumps([made_of, [one.text() for one in services]]), 16)
    with plain_errors(f"asking {name}"):
        code, there = nodes.execute(container, ["cat", _DONE])
    if code == 0 and there.strip() == wanted:
        return False
    units = [inherit.Entry(f"{UNITS}/{one.unit}", one.text().encode()) for one in services]
    with plain_errors(f"putting its services into {name}"), tempfile.TemporaryFile() as packed:
        # What ran before is stopped, or it would go on as it was: `enable --now` restarts nothing.
        _shell(
            container,
            name,
            f"systemctl stop 'lab-*.service' && rm -rf {FOLDER} {UNITS}/lab-*.service {UNITS}/*.wants/lab-*.service && "
            f"mkdir -p {FOLDER}",
        )
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for place, path in trees.items():
                tar.add(path, arcname=place.lstrip("/"), filter=_of_root)
        packed.seek(0)
        container.put_archive("/", packed)
        container.put_archive("/", inherit.archive([*files, *units]))
        # Compiled beforehand: processes that start together would each do it.
        _shell(
            container,
            name,
            f"python3 -m compileall -q {FOLDER} >/dev/null 2>&1; systemctl daemon-reload && "
            f"systemctl enable --quiet --now {' '.join(one.unit for one in services)} && echo {wanted} > {_DONE}",
        )
    return True


def _of_root(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if info.name.endswith(".pyc"):
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def _shell(container: Container, name: str, text: str) -> None:
    code, output = nodes.execute(container, ["sh", "-c", text])
    if code != 0:
        raise ShoalError(f"{name}: {output.strip() or f'ended with exit code {code}'}")
