"""A run taken up again: what still runs is adopted, the rest given to the nodes again, what is missing brought home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shoal.cluster.document import Cluster
from shoal.engines.choice import with_programs
from shoal.engines.protocol import Runner
from shoal.errors import UsageError
from shoal.jobs.spec import JobSpec, parse
from shoal.results import record as runs
from shoal.results.lock import locked
from shoal.results.record import HAS_MANIFEST, RunRecord
from shoal.run import image_needs
from shoal.run.carry_out import carry_out, driving
from shoal.run.give import give
from shoal.run.work import Begun, Tell, Work


def resume(
    run: str,
    cluster: Cluster,
    tell: Tell,
    *,
    weights_path: Path | None = None,
    cpu: str | None = None,
    memory: str | None = None,
    timeout_s: int | None = None,
    image: str | None = None,
    attempts: int | None = None,
    fetch: bool = True,
    runner: Runner | None = None,
) -> RunRecord:
    """Finish a run: adopt what still runs, give the rest to the nodes again, bring home what is missing.

    The settings are the run's own; only the container's limits may be others, and the image where the run's own is
    gone: a reference, or `image_needs.CURRENT` for the one that the nodes have now. Returns the record.
    """
    with locked(runs.check_run_id(run)):
        record = runs.load(run)
        if record.cluster != cluster.name:
            raise UsageError(
                f"run {run} belongs to cluster {record.cluster!r}, this is {cluster.name!r}",
                hint="name the right cluster document with --cluster",
            )
        job = _with_limits(parse(record.job, source=f"the job in run {run}"), cpu, memory, timeout_s)
        record.job = job.to_document()
        with driving(runner, record.engine, cluster) as driver:
            work = Work(cluster, driver, record, tell, fetch)
            if not record.missing and (not fetch or all(node.fetched for node in record.nodes.values())):
                work.note("nothing is left to do")
                return record
            if image:
                record.job = image_needs.changed(work, job, image).to_document()
            record.finished_at = None
            there = {node.name for node in cluster.nodes}
            if missing := [name for name in record.missing if name in there]:
                record.engine_programs = with_programs(record.engine_programs, driver.programs(missing))

            def begin() -> Begun:
                begun = give(work, weights_path, record.missing)
                ended = [name for name, node in record.nodes.items() if node.outcome in HAS_MANIFEST]
                waiting = [name for name in ended if not record.nodes[name].fetched]
                return replace(begun, finished=tuple(name for name in waiting if name in there))

            return carry_out(work, begin, weights_path=weights_path, attempts=attempts)


def _with_limits(job: JobSpec, cpu: str | None, memory: str | None, timeout_s: int | None) -> JobSpec:
    document = job.to_document()
    task = document["Tasks"][0]
    if cpu:
        task["Resources"]["CPU"] = cpu
    if memory:
        task["Resources"]["Memory"] = memory
    if timeout_s:
        task["Timeouts"] = {"TotalTimeout": timeout_s, "ExecutionTimeout": timeout_s}
    return parse(document, source="the job with the limits given")
