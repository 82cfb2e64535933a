"""The run given to nodes: what is there is adopted, what is done is found, the rest is checked and submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shoal import jobs
from shoal.jobs.spec import JobSpec, parse
from shoal.results import fetch as results
from shoal.results.record import Outcome
from shoal.run import admission, archive, image_needs, preflight, weights
from shoal.run.outcomes import of_manifest
from shoal.run.preflight import Survey
from shoal.run.work import Begun, Work
from shoal.ssh import client as ssh


def give(work: Work, weights_path: Path | None, names: Sequence[str]) -> Begun:
    """Give `names` the run: what runs is adopted, what is done is found, the rest is submitted."""
    record = work.record
    known = {node.name for node in work.cluster.nodes}
    strangers = [name for name in names if name not in known]
    if strangers:
        attempt = work.next_attempt()
        for name in strangers:
            work.end(name, attempt, Outcome.UNREACHABLE, "is not in the cluster document any more")
    names = [name for name in names if name in known]
    handles = work.runner.adopt(record.run, names)
    adopted = {name for handle in handles for name in handle.nodes}
    for handle in handles:
        for name in handle.nodes:
            work.note(f"adopted the container of attempt {handle.attempt}", name)
    rest = _close_finished(work, [name for name in names if name not in adopted])
    begun = Begun()
    if rest:
        nodes = [work.cluster.node(name) for name in rest]
        before = parse(record.job, source="the run's job")
        asked = archive.of_words(before.task.engine.params.parameters)
        survey = preflight.survey(
            work.cluster, nodes, run=record.run, weights_sha256=record.weights.sha256, archive=asked
        )
        attempt = work.next_attempt()
        job = before.again(name=jobs.job_name(record.run, attempt), nodes=rest, labels=jobs.labels(record.run, attempt))
        admission.refuse_too_much(job, survey)
        work.runner.admit(job, [name for name in rest if name in survey.facts])
        unfit = unfit_nodes(work, job, survey, weights_path)
        with work.lock:
            record.job = job.to_document()
        begun = submit(work, job, attempt, rest, unfit)
    done = [name for name in names if name not in adopted and name not in rest]
    return Begun((*handles, *begun.handles), tuple(done), begun.ended, begun.waiting)


def unfit_nodes(work: Work, job: JobSpec, survey: Survey, weights_path: Path | None) -> dict[str, tuple[Outcome, str]]:
    """Why nodes cannot take the job, once image and model were brought to those that lack only them."""
    image_needs.bring(work, [name for name, fact in survey.facts.items() if fact.fit], job.task.engine.params.image)
    unfit = admission.unfit(work.cluster, job, survey)
    lacking = [name for name in admission.without_weights(survey, work.record.weights.sha256) if name not in unfit]
    return unfit | weights.place(work, lacking, weights_path)


def submit(
    work: Work, job: JobSpec, attempt: int, names: Sequence[str], unfit: dict[str, tuple[Outcome, str]]
) -> Begun:
    """Submit `job` to the nodes that can take it; why the others cannot is recorded and reported first."""
    ended = tuple(name for name in names if name in unfit)
    for name in ended:
        work.end(name, attempt, *unfit[name])
    able = [name for name in names if name not in unfit]
    full = work.runner.full(job, able) if able else {}
    for name, why in full.items():
        work.note(f"waits for its turn: {why}", name)
    able = [name for name in able if name not in full]
    if not able or work.cancelled.is_set():
        return Begun(ended=ended, waiting=tuple(full))
    # Before the start: whoever takes the run up after a crash knows that this attempt may be there.
    image = job.task.engine.params.image
    work.begin(able, attempt, job.name, image=image)
    image_needs.note(work, able, image)
    handle = work.runner.submit(job, run=work.record.run, attempt=attempt, nodes=able)
    return Begun(handles=(handle,), ended=ended, waiting=tuple(full))


def _close_finished(work: Work, names: Sequence[str]) -> list[str]:
    """Record the nodes whose folder says that they are done although their end was not seen. Returns the others."""
    run = work.record.run
    found = ssh.on_each(
        [work.cluster.node(name) for name in names], lambda node: results.node_manifest(work.cluster, node, run)
    )
    rest = []
    for name, answer in found.items():
        if isinstance(answer, results.NodeManifest):
            attempts = work.record.nodes[name].attempts
            work.end(name, attempts[-1].number if attempts else 1, *of_manifest(answer.manifest))
        else:
            rest.append(name)
    return rest
