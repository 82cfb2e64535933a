"""A run from start to end: checks first, then attempts on the nodes, and the results of each as soon as it is done.

`start` begins a run, `resume` takes one up again; both keep `run.json` true at every moment, so that a process that
dies loses nothing but its own knowledge of what the nodes are doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from shoal import jobs
from shoal.cluster.document import Cluster, Engine, Node
from shoal.engines.bacalhau.release import Binary
from shoal.engines.choice import Choice, programs, refuse_others, runner_for, with_programs
from shoal.engines.protocol import Runner
from shoal.errors import Exit, Fault, ShoalError, UsageError, of_this_machine
from shoal.jobs.spec import JobSpec, parse
from shoal.results import fetch as results
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.lock import locked
from shoal.results.record import HAS_MANIFEST, Fetched, Image, NodeRecord, Outcome, RunRecord, Weights
from shoal.run import admission, image_needs, preflight
from shoal.run.follow import follow
from shoal.run.outcomes import of_manifest
from shoal.run.reattempt import healer
from shoal.run.work import Begun, Tell, Work
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief

DEFAULT_TEMPLATE = "yolov5"
DEFAULT_TIMEOUT_S = 24 * 3600
FETCHES_AT_ONCE = 4


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
    targets: dict[str, str] = field(default_factory=dict)
    run: str | None = None
    attempts: int | None = None
    """How often a node is given the run, the first time included; else the engine's own number."""
    fetch: bool = True


def start(order: Order, tell: Tell, *, runner: Runner | None = None) -> RunRecord:
    """Check everything, then run the job on every node it is for. Returns the record as it stands at the end.

    Raises UsageError or ShoalError where nothing could be started; then nothing was changed, weights on nodes apart.
    """
    run = runs.check_run_id(order.run) if order.run else runs.new_run_id()
    runs.refuse_known(run)
    constraints = [
        *(jobs.label_is(key, value) for key, value in sorted(order.targets.items())),
        *([jobs.only_nodes(order.nodes)] if order.nodes else []),
    ]
    nodes = admission.select(order.cluster, order.nodes, constraints)
    survey = preflight.survey(order.cluster, nodes, run=run, weights_sha256=order.weights.sha256)
    admission.refuse_begun(run, survey)
    nodes, drained = admission.undrained(nodes, survey, order.nodes)
    survey = survey.without(drained)
    if not survey.facts:
        raise admission.nobody(survey.silent, {})
    image = order.image or jobs.DEFAULT_IMAGES.get(order.template) or preflight.common_image(survey.facts)
    cpu, memory = preflight.default_resources(survey.facts)
    values = jobs.Values(
        run=run,
        attempt=1,
        image=image,
        weights_name=order.weights.name,
        weights_sha256=order.weights.sha256,
        cpu=order.cpu or cpu,
        memory=order.memory or memory,
        timeout_s=order.timeout_s,
        knobs=order.knobs,
        constraints=constraints,
    )
    job = jobs.render(order.template, values)
    admission.refuse_too_much(job, survey)
    record = RunRecord(
        run=run,
        created_at=datetime.now(UTC),
        cluster=order.cluster.name,
        substrate=order.cluster.substrate,
        engine=order.engine.engine,
        engine_reason=order.engine.reason,
        template=order.template,
        options={**order.knobs, "timeout_s": order.timeout_s, "cpu": values.cpu, "memory": values.memory},
        image=Image(reference=image, digest=image.partition("@")[2] or None),
        weights=order.weights,
        job=job.to_document(),
        nodes={node.name: _node_record(node) for node in nodes},
    )
    with _driving(runner, order.engine.engine, order.cluster) as driver:
        names = [node.name for node in nodes]
        driver.admit(job, names)
        work = Work(order.cluster, driver, record, tell, order.fetch)
        told = driver.programs([name for name in names if name in survey.facts])
        if order.program:
            machines = [node for node in order.cluster.nodes if node in nodes or node == order.cluster.requester]
            for name in refuse_others(order.program, machines, told):
                work.note("does not tell which program of the engine it runs; taken to be the one given", name)
        record.engine_programs = programs(order.engine.binaries, told)
        unfit = admission.unfit(work, job, survey, order.weights_path)
        if len(unfit) == len(nodes):
            raise admission.nobody(survey.silent, unfit)
        with locked(run, new=True):
            runs.save(record)
            for name in drained:
                work.note("is drained and gets no run", name)
            work.note(f"run {run} on {len(nodes)} node{'s' if len(nodes) != 1 else ''}")
            with _going_on_told(work):
                begun = _submit(work, job, work.next_attempt(), names, unfit)
                follow(work, begun, healer(work, order.attempts, partial(_give, work, order.weights_path)))
                return _close(work)


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
        with _driving(runner, record.engine, cluster) as driver:
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
            with _going_on_told(work):
                begun = _give(work, weights_path, record.missing)
                ended = [name for name, node in record.nodes.items() if node.outcome in HAS_MANIFEST]
                waiting = [name for name in ended if not record.nodes[name].fetched]
                begun = replace(begun, finished=tuple(name for name in waiting if name in there))
                follow(work, begun, healer(work, attempts, partial(_give, work, weights_path)))
                return _close(work)


def fetch_home(record: RunRecord, cluster: Cluster, say: Callable[[str], None]) -> list[Fault]:
    """Bring home the results of every expected node that is done; the caller holds the run's lock.

    Saves the record after each node, with the outcome that its manifest tells. Returns why the others are not home.
    """
    faults = []
    wanted = []
    for name, entry in record.nodes.items():
        found = next((node for node in cluster.nodes if node.name == name), None)
        if found:
            wanted.append(found)
        elif not entry.fetched:
            faults.append(Fault(name, "is not in the cluster document any more"))

    def bring(node: Node) -> Fetched:
        place = runs.run_dir(record.run) / node.name
        try:
            return results.fetch_node(cluster, node, record.run, place, tell=lambda text: say(f"{node.name}: {text}"))
        except OSError as error:
            raise of_this_machine(error) from error  # this node's files are not home; the others' may come

    for name, answer in ssh.on_each(wanted, bring, at_once=FETCHES_AT_ONCE).items():
        if isinstance(answer, ShoalError):
            faults.append(Fault(name, _why_not_home(answer)))
            at_home = (runs.run_dir(record.run) / name / results.MANIFEST).is_file()
            if isinstance(answer, DamagedResultsError) and not at_home:
                record.nodes[name].outcome, record.nodes[name].fetched = Outcome.DAMAGED_RESULTS, None
                runs.save(record)
            continue
        manifest = results.read_manifest(runs.run_dir(record.run) / name)
        record.nodes[name].outcome = of_manifest(manifest)[0]
        record.nodes[name].fetched = answer
        runs.save(record)
        say(f"{name}: {answer.files} files, {answer.size_bytes / 1e6:.1f} MB, checked")
    return faults


def _why_not_home(error: ShoalError) -> str:
    return error.in_one_line if isinstance(error, DamagedResultsError) else brief(error)


def exit_code(record: RunRecord, *, fetch: bool = True) -> Exit:
    """0 only where every expected node finished without faults and, unless not wanted, its results are home."""
    whole = record.complete if fetch else all(node.outcome is Outcome.FINISHED for node in record.nodes.values())
    return Exit.OK if whole else Exit.INCOMPLETE


@contextmanager
def _going_on_told(work: Work) -> Iterator[None]:
    """Whatever ends a run that was begun, also while containers are being started: it is said how it goes on.

    `shoal run` typed again would begin another one beside the containers that still run.
    """
    what_to_do = f"`shoal run --resume {work.record.run}` goes on, and adopts what still runs"
    try:
        yield
    except OSError as error:
        if error.errno is None:
            work.note(f"ended by a fault; {what_to_do}")
            raise  # not the system's own word: a library's
        told = of_this_machine(error)
        raise ShoalError(told.message, hint=f"mend what is named; then {what_to_do}") from error
    except BaseException as error:
        how = "interrupted" if isinstance(error, KeyboardInterrupt) else "ended before it was whole"
        work.note(f"{how}; {what_to_do}")
        raise


@contextmanager
def _driving(given: Runner | None, engine: Engine, cluster: Cluster) -> Iterator[Runner]:
    """The runner of a run; one that is made here is closed at the end."""
    if given is not None:
        yield given
        return
    driver = runner_for(engine, cluster)
    try:
        yield driver
    finally:
        driver.close()


def _give(work: Work, weights_path: Path | None, names: Sequence[str]) -> Begun:
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
        survey = preflight.survey(work.cluster, nodes, run=record.run, weights_sha256=record.weights.sha256)
        attempt = work.next_attempt()
        job = parse(record.job, source="the run's job").again(
            name=jobs.job_name(record.run, attempt), nodes=rest, labels=jobs.labels(record.run, attempt)
        )
        admission.refuse_too_much(job, survey)
        work.runner.admit(job, [name for name in rest if name in survey.facts])
        unfit = admission.unfit(work, job, survey, weights_path)
        with work.lock:
            record.job = job.to_document()
        begun = _submit(work, job, attempt, rest, unfit)
    done = [name for name in names if name not in adopted and name not in rest]
    return Begun((*handles, *begun.handles), tuple(done), begun.ended, begun.waiting)


def _submit(
    work: Work, job: JobSpec, attempt: int, names: Sequence[str], unfit: dict[str, tuple[Outcome, str]]
) -> Begun:
    """Submit `job` to the nodes that can take it; why the others cannot is on record, and told, first."""
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
    """Record the nodes whose folder says that they are done although nobody saw it. Returns the others."""
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


def _close(work: Work) -> RunRecord:
    work.record.finished_at = datetime.now(UTC)
    runs.save(work.record)
    if not work.record.missing:
        image_needs.forget(work.cluster, work.record.run)
    return work.record


def _node_record(node: Node) -> NodeRecord:
    return NodeRecord(arch=node.arch, spot=node.spot, price_usd_per_hour=node.price_usd_per_hour)
