"""Takes up a run that the engine was given elsewhere: by its own command line, or from another control machine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shoal.cluster.document import Cluster
from shoal.engines.bacalhau.client import BacalhauClient
from shoal.engines.bacalhau.connect import client_for
from shoal.engines.bacalhau.models import Job
from shoal.errors import UsageError
from shoal.jobs import identity
from shoal.jobs.spec import JobSpec, parse
from shoal.results import record as runs
from shoal.results.lock import locked
from shoal.results.record import Attempt, Image, RunRecord, Weights
from shoal.run import admission
from shoal.run.start import node_record

NANOSECONDS = 1e9
# What of a stored job is the job; the engine adds its own state and writes empty parts out.
_JOB = ("Name", "Namespace", "Type", "Constraints", "Labels")
_TASK = ("Name", "Engine", "InputSources", "Resources", "Network", "Timeouts")


def adopt(run: str, cluster: Cluster) -> RunRecord:
    """Make a record of a run that the engine has jobs of; `start.resume` then follows and fetches it.

    The nodes that the run expects are those that its job is for, and those that the engine gave it to. Raises
    UsageError where there is a record already, or the engine has no job with the run's label.
    """
    runs.refuse_known(runs.check_run_id(run))
    with client_for(cluster) as client:
        jobs = sorted(client.jobs_labelled(identity.RUN_LABEL, run), key=lambda job: (job.create_time, job.id))
        if not jobs:
            raise UsageError(
                f"the engine of cluster {cluster.name!r} has no job with the label {identity.RUN_LABEL}={run}",
                hint="`shoal engine tunnel -- bacalhau job list` shows what it has",
            )
        spec = _spec(client, jobs[-1])
        given = _given(client, jobs)
    said = identity.of(spec, source=f"job {jobs[-1].name} of the engine")
    identity.refuse_other_run(spec, run, source=f"job {jobs[-1].name} of the engine")
    nodes = {node.name: node for node in admission.select(cluster, (), spec.constraints)}
    nodes |= {node.name: node for node in cluster.compute if node.name in given}
    image = spec.task.engine.params.image
    record = RunRecord(
        run=run,
        created_at=_time(jobs[0]),
        cluster=cluster.name,
        substrate=cluster.substrate,
        engine="bacalhau",
        engine_reason="adopted: the engine was given the run elsewhere",
        template="adopted",
        options={**said.knobs, "timeout_s": spec.timeout_s},
        image=Image(reference=image, digest=image.partition("@")[2] or None),
        weights=Weights(name=said.weights_name, sha256=said.weights_sha256),
        job=spec.to_document(),
        nodes={name: node_record(node) for name, node in nodes.items()},
    )
    for name, attempts in given.items():
        if name in record.nodes:
            record.nodes[name].attempts = attempts
    with locked(run, new=True):
        runs.save(record)
    return record


def _given(client: BacalhauClient, jobs: list[Job]) -> dict[str, list[Attempt]]:
    """The attempts that the engine knows of, by node."""
    found: dict[str, dict[int, Attempt]] = {}
    for job in jobs:
        number = identity.attempt(job.labels)
        for execution in client.job(job.id).executions.items:
            attempt = Attempt(number=number, started_at=_time(job), execution=execution.id)
            found.setdefault(execution.node, {})[number] = attempt
    return {name: [attempts[number] for number in sorted(attempts)] for name, attempts in found.items()}


def _spec(client: BacalhauClient, job: Job) -> JobSpec:
    stored = client.job_document(job.id)
    tasks = stored.get("Tasks")
    task = tasks[0] if isinstance(tasks, list) and tasks and isinstance(tasks[0], dict) else {}
    document = {**_parts(stored, _JOB), "Tasks": [{**_parts(task, _TASK)}]}
    document["Labels"] = {
        key: value for key, value in (document.get("Labels") or {}).items() if not key.startswith("bacalhau.org/")
    }
    return parse(_filled(document), source=f"job {job.name} of the engine")


def _parts(document: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: document[name] for name in names if document.get(name)}


def _filled(value: Any) -> Any:
    """Without what the engine writes although it is empty or zero."""
    if isinstance(value, dict):
        return {key: kept for key, entry in value.items() if (kept := _filled(entry)) not in (None, "", 0, [], {})}
    if isinstance(value, list):
        return [_filled(entry) for entry in value]
    return value


def _time(job: Job) -> datetime:
    return datetime.fromtimestamp(job.create_time / NANOSECONDS, UTC)
