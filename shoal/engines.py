"""Which engine a run uses, and why: asked for, named by the cluster document, or chosen."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.cluster import Cluster, Engine
from shoal.errors import Exit, ShoalError
from shoal.runners.protocol import Runner
from shoal.runners.ssh import SshRunner


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the reason in a few words."""

    engine: Engine
    reason: str

    def __str__(self) -> str:
        return f"engine: {self.engine} ({self.reason})"


def choose(asked: Engine, cluster: Cluster) -> Choice:
    """The engine of a run: `asked`, else the cluster document's; `auto` takes what can be had.

    Raises ShoalError (exit code 4) where Bacalhau is asked for and cannot be had.
    """
    wanted = cluster.engine if asked == "auto" else asked
    whose = f"as cluster {cluster.name!r} says" if asked == "auto" else "as asked"
    if wanted == "bacalhau":
        raise ShoalError(
            f"engine bacalhau, {whose}: there is no Bacalhau artefact in the cache",
            hint="use --engine ssh, which needs nothing but Docker on the nodes",
            exit_code=Exit.MISSING,
        )
    if wanted == "ssh":
        return Choice("ssh", whose)
    return Choice("ssh", "no Bacalhau artefact in the cache")


def runner_for(engine: Engine, cluster: Cluster) -> Runner:
    """The runner that drives `engine`."""
    if engine != "ssh":
        raise ShoalError(f"there is no runner for engine {engine!r}", exit_code=Exit.MISSING)
    return SshRunner(cluster)
