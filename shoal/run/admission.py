"""Who may take part in a run: nodes that match, nodes that are fit, and the reasons of those that are not."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, UsageError
from shoal.jobs.spec import Constraint, JobSpec, meets
from shoal.paths import NODE_RUNS
from shoal.results.record import Outcome
from shoal.run import preflight
from shoal.run.preflight import Survey
from shoal.ssh.failures import brief


def unfit(cluster: Cluster, job: JobSpec, survey: Survey) -> dict[str, tuple[Outcome, str]]:
    """Why nodes cannot take the job, in one list. Weights apart: those can be placed."""
    silent = {name: (Outcome.UNREACHABLE, brief(error)) for name, error in survey.silent.items()}
    return silent | preflight.node_faults(cluster, survey.facts, job)


def without_weights(survey: Survey, sha256: str) -> list[str]:
    """The nodes that answered and do not have the model."""
    return [name for name, fact in survey.facts.items() if fact.weights_sha256 != sha256]


def select(cluster: Cluster, names: Sequence[str], constraints: Sequence[Constraint]) -> list[Node]:
    """The nodes that a run expects. Raises UsageError where a name is wrong or nothing matches."""
    for name in names:
        if not cluster.node(name).has_role("compute"):
            raise UsageError(f"node {name} has not the role 'compute'; jobs run on compute nodes")
    chosen = [node for node in cluster.compute if meets(node, constraints)]
    if not chosen:
        labels = sorted({f"{key}={value}" for node in cluster.compute for key, value in node.labels.items()})
        raise UsageError(
            f"no compute node of cluster {cluster.name!r} matches",
            hint="nodes: "
            + ", ".join(node.name for node in cluster.compute)
            + "; labels: "
            + (", ".join(labels) or "none"),
        )
    return chosen


def refuse_begun(run: str, survey: Survey) -> None:
    """Raise UsageError where a new run's id is not new to a node: its old results would be taken for new ones."""
    if begun := [name for name, fact in survey.facts.items() if fact.begun]:
        raise UsageError(
            f"run {run!r} was begun on nodes already, by another control machine or with other results at home",
            faults=tuple(Fault(name, f"has the folder {NODE_RUNS / run}") for name in begun),
            hint="name the run otherwise, or leave --run out",
        )


def undrained(nodes: Sequence[Node], survey: Survey, named: Sequence[str]) -> tuple[list[Node], list[str]]:
    """The nodes that are not drained, and the names of the others. UsageError where none is left or one was named."""
    drained = [node.name for node in nodes if node.name in survey.facts and survey.facts[node.name].drained]
    left = [node for node in nodes if node.name not in drained]
    if drained and (not left or set(drained) & set(named)):
        raise UsageError(
            f"drained, and given no run: {', '.join(drained)}",
            hint=f"`shoal nodes add {drained[0]}` takes a node back",
        )
    return left, drained


def refuse_too_much(job: JobSpec, survey: Survey) -> None:
    """Raise UsageError that names every node the job is too big for, with the figure."""
    wanted = job.task.resources
    if faults := preflight.capacity_faults(wanted.cpu, wanted.memory, survey.facts):
        raise UsageError(
            "the job asks for more than a node has; nothing was started",
            faults=tuple(faults),
            hint="ask for less with --cpu and --memory, or leave the small nodes out with --node or --target",
        )


def nobody(silent: dict[str, ShoalError], unfit: dict[str, tuple[Outcome, str]]) -> ShoalError:
    """The error where a run has nowhere to run at all."""
    reasons = {name: brief(error) for name, error in silent.items()}
    reasons |= {name: message for name, (_, message) in unfit.items()}
    return ShoalError(
        "no node can run the job; nothing was started",
        faults=tuple(Fault(name, reason) for name, reason in sorted(reasons.items())),
    )
