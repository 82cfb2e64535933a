"""Who may take part in a run: nodes that match, nodes that are fit, and the reasons of those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, UsageError
from shoal.jobs.spec import Constraint, JobSpec, meets
from shoal.paths import NODE_RUNS
from shoal.results.record import Outcome
from shoal.run import image_needs, preflight
from shoal.run.preflight import Survey
from shoal.run.work import Work
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief


def unfit(work: Work, job: JobSpec, survey: Survey, weights_path: Path | None) -> dict[str, tuple[Outcome, str]]:
    """Why nodes cannot take the job, told in one list. Places the weights on nodes that lack only them."""
    unfit = {name: (Outcome.UNREACHABLE, brief(error)) for name, error in survey.silent.items()}
    image_needs.bring(work, [name for name, fact in survey.facts.items() if fact.fit], job.task.engine.params.image)
    unfit |= preflight.node_faults(work.cluster, survey.facts, job)
    sha256 = work.record.weights.sha256
    lacking = [name for name, fact in survey.facts.items() if fact.weights_sha256 != sha256 and name not in unfit]
    if lacking and weights_path is None:
        reason = f"the weights {sha256} are not on the node; give their file with --weights"
        unfit |= dict.fromkeys(lacking, (Outcome.NOT_RUN, reason))
    elif lacking and weights_path is not None:
        work.note(f"placing weights {work.record.weights.name} on: {', '.join(lacking)}")
        nodes = [work.cluster.node(name) for name in lacking]
        placed = ssh.on_each(nodes, lambda node: preflight.place_weights(work.cluster, node, weights_path, sha256))
        for name, answer in placed.items():
            if isinstance(answer, ShoalError):
                unfit[name] = (Outcome.NOT_RUN, f"the weights could not be placed: {brief(answer)}")
    return unfit


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
