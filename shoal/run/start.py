"""A new run: everything checked first, then the job given to every node it is for, and the nodes followed.

`run.json` is true at every moment, so that a process that dies loses nothing but its own knowledge of what the nodes
are doing; `shoal.run.resume` takes the run up then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from shoal import jobs
from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau.release import Binary
from shoal.engines.choice import Choice, programs, refuse_others
from shoal.engines.protocol import Runner
from shoal.errors import UsageError
from shoal.jobs import identity
from shoal.jobs.classes import knob_faults
from shoal.jobs.spec import Constraint, JobSpec
from shoal.paths import runs_dir
from shoal.results import record as runs
from shoal.results.lock import locked
from shoal.results.record import Bring, Image, NodeRecord, RunRecord, Weights
from shoal.run import admission, archive, preflight
from shoal.run.carry_out import carry_out, driving, hand_in
from shoal.run.give import submit, unfit_nodes
from shoal.run.preflight import Survey
from shoal.run.work import Tell, Work

DEFAULT_TEMPLATE = "yolov5"
DEFAULT_TIMEOUT_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. What is None is decided from the nodes, or left to the detector's own default."""

    cluster: Cluster
    engine: Choice
    weights: Weights
    program: Binary | None = None
    """A program of the engine that was given by hand: the run is begun only where the machines run it."""
    weights_path: Path | None = None
    """The model on this machine, for nodes that lack it."""
    template: str = DEFAULT_TEMPLATE
    image: str | None = None
    knobs: dict[str, str | int | float] = field(default_factory=dict)
    cpu: str | None = None
    memory: str | None = None
    timeout_s: int = DEFAULT_TIMEOUT_S
    nodes: tuple[str, ...] = ()
    """Named by the person; empty: all that match."""
    cameras: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By node the cameras asked for that it has, as the detector is asked for them; empty: no camera was named."""
    targets: dict[str, str] = field(default_factory=dict)
    run: str | None = None
    bring: Bring = "all"
    """What comes home."""
    attempts: int | None = None
    """How often a node is given the run, the first time included; else the engine's own number."""
    fetch: bool = True
    job: JobSpec | None = None
    """A finished job (`shoal job submit`): what it says holds, the run's id too, in place of a template and knobs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would be, after every check that changes nothing and needs no engine."""

    record: RunRecord
    job: JobSpec
    nodes: list[Node]
    drained: list[str]
    """Nodes that the run would be for, were they not out of service."""
    survey: Survey
    cameras_without: list[tuple[str, str]]
    """Nodes, and what there is to say of a camera there that has none of the footage asked for."""


def plan(order: Order) -> Plan:
    """Ask the nodes and render the job; nothing is changed. Raises UsageError or ShoalError as `start` does."""
    finished = identity.of(order.job, source="the job") if order.job else None
    given = finished.run if finished else order.run
    run = runs.check_run_id(given) if given else runs.new_run_id()
    runs.refuse_known(run)
    constraints = (
        list(order.job.constraints)
        if order.job
        else [
            *(jobs.label_is(key, value) for key, value in sorted(order.targets.items())),
            *([jobs.only_nodes(names)] if (names := order.nodes or sorted(order.cameras)) else []),
        ]
    )
    if order.job is None and order.template == DEFAULT_TEMPLATE and (wrong := tuple(knob_faults(order.knobs))):
        raise UsageError("the detector would refuse its settings", faults=wrong)
    nodes = admission.select(order.cluster, order.nodes, constraints)
    asked = archive.of_words(order.job.task.engine.params.parameters) if order.job else archive.of_knobs(order.knobs)
    survey = preflight.survey(order.cluster, nodes, run=run, weights_sha256=order.weights.sha256, archive=asked)
    admission.refuse_begun(run, survey)
    nodes, drained = admission.undrained(nodes, survey, order.nodes)
    survey = survey.without(drained)
    if not survey.facts:
        raise admission.no_node_error(survey.silent, {})
    job = order.job or _rendered(order, run, constraints, survey)
    admission.refuse_too_much(job, survey)
    if order.fetch:
        admission.refuse_no_room_here(job, survey, runs_dir())
    image, limits = job.task.engine.params.image, job.task.resources
    knobs: Mapping[str, str | int | float] = finished.knobs if finished else order.knobs
    record = RunRecord(
        run=run,
        created_at=datetime.now(UTC),
        cluster=order.cluster.name,
        substrate=order.cluster.substrate,
        engine=order.engine.engine,
        engine_reason=order.engine.reason,
        template=order.template,
        bring=order.bring,
        options={**knobs, "timeout_s": job.timeout_s, "cpu": limits.cpu, "memory": limits.memory},
        image=Image(reference=image, digest=image.partition("@")[2] or None),
        weights=order.weights,
        job=job.to_document(),
        nodes={node.name: node_record(node) for node in nodes},
    )
    without = [
        (name, asked.none_of(camera))
        for name, fact in survey.facts.items()
        for camera in order.cameras.get(name, ())
        if fact.videos and camera in fact.cameras_without
    ]
    return Plan(record, job, nodes, drained, survey, without)


def _rendered(order: Order, run: str, constraints: Sequence[Constraint], survey: Survey) -> JobSpec:
    cpu, memory = preflight.default_resources(survey.facts)
    values = jobs.Values(
        run=run,
        attempt=1,
        image=order.image or jobs.DEFAULT_IMAGES.get(order.template) or preflight.common_image(survey.facts),
        weights_name=order.weights.name,
        weights_sha256=order.weights.sha256,
        cpu=order.cpu or cpu,
        memory=order.memory or memory,
        timeout_s=order.timeout_s,
        knobs=order.knobs,
        constraints=constraints,
    )
    return jobs.render(order.template, values)


def start(order: Order, tell: Tell, *, runner: Runner | None = None, wait: bool = True) -> RunRecord:
    """Check everything, then run the job on every node it is for. Returns the record as it stands at the end.

    Without `wait` it ends when the job is handed in, and `shoal.run.resume` takes the run up. Raises UsageError or
    ShoalError where nothing could be started; then nothing was changed, weights and image on nodes apart.
    """
    planned = plan(order)
    record, job, nodes, survey = planned.record, planned.job, planned.nodes, planned.survey
    with driving(runner, order.engine.engine, order.cluster) as driver:
        names = [node.name for node in nodes]
        driver.admit(job, names)
        work = Work(order.cluster, driver, record, tell, order.fetch)
        running = driver.programs([name for name in names if name in survey.facts])
        if order.program:
            machines = [node for node in order.cluster.nodes if node in nodes or node == order.cluster.requester]
            for name in refuse_others(order.program, machines, running):
                work.note("does not tell which program of the engine it runs; taken to be the one given", name)
        record.engine_programs = programs(order.engine.binaries, running)
        unfit = unfit_nodes(work, job, survey, order.weights_path)
        if len(unfit) == len(nodes):
            raise admission.no_node_error(survey.silent, unfit)
        with locked(record.run, new=True):
            runs.save(record)
            for name in planned.drained:
                work.note("is drained and gets no run", name)
            work.note(f"run {record.run} on {len(nodes)} node{'s' if len(nodes) != 1 else ''}")
            for name, none in planned.cameras_without:
                work.note(none, name)
            begin = partial(submit, work, job, work.next_attempt(), names, unfit)
            if not wait:
                return hand_in(work, begin)
            return carry_out(work, begin, weights_path=order.weights_path, attempts=order.attempts)


def node_record(node: Node) -> NodeRecord:
    """A node that a run expects, before its first attempt."""
    return NodeRecord(arch=node.arch, spot=node.spot, price_usd_per_hour=node.price_usd_per_hour)
