"""New secrets for a cluster's engine: node token, API keys and certificates, handed to every machine by one deploy."""

from __future__ import annotations

from typing import Any

from shoal.cluster.document import Cluster
from shoal.cluster.reach import Reach
from shoal.deploys.run import DeployResult, run_deploy
from shoal.engines.bacalhau import connect, secrets
from shoal.engines.bacalhau.client import EngineError
from shoal.engines.bacalhau.secrets import Tokens
from shoal.errors import Fault, ShoalError, UsageError
from shoal.fleet import ready
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say


def rotate(reach: Reach, data: dict[str, Any], say: Say, *, force: bool = False) -> DeployResult:
    """Make every secret of the engine anew and deploy the site with them; `data` are the engine's own for the deploy.

    Raises UsageError, with nothing changed, where there are none, where jobs run, or where a machine does not answer:
    it would be left with the old ones. `force` goes on all the same. Where the deploy fails before the orchestrator has
    the new ones, the old ones are put back, and its error is raised.
    """
    cluster = reach.now
    if secrets.load(cluster.name) is None:
        raise UsageError(
            f"cluster {cluster.name!r} was not given the engine from this machine: there is nothing to rotate",
            hint="where another machine deployed it, bring its secrets file here first",
        )
    if not force:
        _refuse_unfit(cluster)
    before = secrets.rotate(cluster.name)
    try:
        result = run_deploy(reach, "site", data={**data, "bacalhau_force": force}, say=say)
    except ShoalError:
        if before is not None and _still_takes(cluster, before):
            say("the orchestrator still has the secrets from before: they are put back, nothing was rotated")
        raise
    ready.await_ready(cluster, result.hosts, say)
    return result


def _refuse_unfit(cluster: Cluster) -> None:
    answers = ssh.on_each(cluster.nodes, lambda node: ssh.run(cluster, node, "true"))
    faults = [Fault(name, brief(answer)) for name, answer in answers.items() if isinstance(answer, ShoalError)]
    if not faults:
        with connect.client_for(cluster) as client:
            faults = [Fault(job.name, "runs, and would be lost to the engine") for job in client.live_jobs()]
    if faults:
        raise UsageError(
            "the secrets were not rotated, nothing was changed",
            faults=tuple(faults),
            hint="type it again when all is quiet and every machine answers; with --force it is done all the same, and "
            "a machine that was away is brought along by the next site deploy",
        )


def _still_takes(cluster: Cluster, before: Tokens) -> bool:
    """Whether the orchestrator takes the key from before; then, and then only, the old secrets are in force again."""
    new = secrets.load(cluster.name)
    secrets.restore(cluster.name, before)
    try:
        with connect.client_for(cluster) as client:
            client.nodes()
    except EngineError:
        if new is not None:
            secrets.restore(cluster.name, new)
        return False
    return True
