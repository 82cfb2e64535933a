"""A client of the orchestrator of one cluster: its keys, and a tunnel to it."""

from __future__ import annotations

from shoal.cluster.document import Cluster
from shoal.engines.bacalhau import secrets
from shoal.engines.bacalhau.client import BacalhauClient
from shoal.engines.bacalhau.secrets import Tokens
from shoal.engines.bacalhau.tunnel import Tunnel
from shoal.errors import Exit, ShoalError


def client_for(cluster: Cluster) -> BacalhauClient:
    """A client of the cluster's orchestrator, through SSH. Raises ShoalError where no deploy made tokens for it."""
    return BacalhauClient(Tunnel(cluster, tokens_of(cluster).control_key.get_secret_value()))


def tokens_of(cluster: Cluster) -> Tokens:
    """The cluster's tokens. Raises ShoalError where no deploy made any from this machine."""
    tokens = secrets.load(cluster.name)
    if tokens is None:
        raise ShoalError(
            f"cluster {cluster.name!r} was not given the engine from this machine: there are no tokens for it",
            hint="run the site deploy with the engine's program in the cache, or use --engine ssh",
            exit_code=Exit.MISSING,
        )
    return tokens
