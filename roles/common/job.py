"""Starts `shoal run` for the hosts of a pyinfra run; the runner is a program of its own and keeps its own record."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import logger

from roles.common.knobs import RefusedError, cluster_of, node_of
from shoal.cluster.document import Cluster
from shoal.errors import Fault

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State


def command(cluster_path: Path, nodes: list[str], options: list[str]) -> list[str]:
    """The command line of the runner."""
    named = [word for node in nodes for word in ("--node", node)]
    return [sys.executable, "-m", "shoal", "run", "--cluster", str(cluster_path), *named, *options]


def options_of(host: Host) -> list[str]:
    """Further options from `infer_options`. Raises RefusedError where it is not a list of words."""
    options = host.data.get("infer_options") or []
    if not isinstance(options, list) or not all(isinstance(word, str) for word in options):
        raise RefusedError(
            "the job cannot be run", [Fault("infer_options", 'must be a JSON list of words: ["--conf","0.5"]')]
        )
    return options


def refuse_idle(host: Host) -> None:
    """Raise RefusedError where none of the hosts of this pyinfra run is a compute node: nothing would be done."""
    hosts = list(host.inventory.get_active_hosts())
    if not any(node_of(other).has_role("compute") for other in hosts):
        names = ", ".join(sorted(other.name for other in hosts))
        raise RefusedError("the job was not begun", [Fault("--limit", f"leaves no compute node, only {names}")])


def run(state: State, host: Host) -> bool:
    """Run the job on every compute node that is still in this run; its lines are passed on as they come."""
    cluster = cluster_of(host)
    nodes = [other.name for other in state.inventory.get_active_hosts() if node_of(other).has_role("compute")]
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        path = Path(folder) / "cluster.json"
        path.write_text(_text(cluster), encoding="utf-8")
        # Results go to stderr with the progress: stdout may be pyinfra's own JSON.
        with subprocess.Popen(
            command(path, nodes, options_of(host)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                sys.stderr.write(line)
    if process.returncode:
        host.log_styled(f"shoal run ended with exit code {process.returncode}", fg="red", log_func=logger.error)
    return process.returncode == 0


def _text(cluster: Cluster) -> str:
    return json.dumps(cluster.model_dump(mode="json", exclude_none=True))
