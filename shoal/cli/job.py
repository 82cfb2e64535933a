"""`shoal job`: a run's job as a file, to read, to change and to hand in by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal import jobs
from shoal.cli.console import print_json, say
from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of
from shoal.cli.run import footage, model_for, order_for
from shoal.cli.run_display import shown
from shoal.cli.run_options import (
    Cameras,
    Classes,
    Clips,
    Conf,
    Cpu,
    ImageReference,
    Img,
    Iou,
    KeyFrames,
    Memory,
    Model,
    Nodes,
    Precision,
    Privacy,
    Reuse,
    Since,
    Stride,
    Targets,
    Template,
    Timeout,
)
from shoal.cluster.document import Cluster, Engine
from shoal.engines.choice import Choice, choose
from shoal.errors import UsageError
from shoal.jobs import identity
from shoal.jobs.spec import JobSpec, parse
from shoal.results import record as runs
from shoal.results.record import Weights
from shoal.run import start as running

app = typer.Typer(add_completion=False, help="A run's job as a file in Bacalhau's format.", no_args_is_help=True)


@app.command()
def show(
    *,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="The job of this run as it was handed in last.")
    ] = None,
    cluster: ClusterPath = None,
    node: Nodes = None,
    target: Targets = None,
    weights: Model = None,
    image: ImageReference = None,
    template: Template = None,
    conf: Conf = None,
    iou: Iou = None,
    classes: Classes = None,
    img: Img = None,
    stride: Stride = None,
    key_frames: KeyFrames = None,
    precision: Precision = None,
    privacy: Privacy = None,
    reuse: Reuse = None,
    clips: Clips = None,
    since: Since = None,
    cameras: Cameras = None,
    timeout: Timeout = None,
    cpu: Cpu = None,
    memory: Memory = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON in place of YAML.")] = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Print a job: of a run that there is, or the one that `shoal run` would begin now with the same options.

    The nodes are asked as for a run; nothing is changed and nothing started. A new job has a run id of its own.

    Examples:

        shoal job show --run 20261125-093012-3fa9

        shoal job show --classes person,car > job.yaml
    """
    if run is not None:
        job = parse(runs.load(run).job, source=f"the job in run {run}")
    else:
        document = cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password)
        asked = footage(document, since=since, cameras=cameras, nodes=node, reuse=reuse, clips=clips)
        order = order_for(
            document, choose("auto", document), weights=weights, template=template, image=image, cpu=cpu, memory=memory,
            timeout_s=timeout, nodes=node, targets=target, cameras=asked.cameras,
            knobs={
                "conf": conf, "iou": iou, "classes": classes, "img": img, "stride": stride,
                "key-frames": key_frames, "precision": precision, "privacy": privacy,
                **asked.knobs,
            },
        )  # fmt: skip
        job = running.plan(order).job
    if as_json:
        print_json(job.to_document())
    else:
        typer.echo(jobs.text(job), nl=False)


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A job: `shoal job show` prints one.")],
    *,
    cluster: ClusterPath = None,
    engine: Annotated[Engine, typer.Option(help="What runs the containers.")] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The job's model, for nodes that lack it."),
    ] = None,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Begin a run from a job file, with every check of `shoal run`, and end when it is handed in.

    The file's run must be new: a run's id in the label, in `--run` and in the results' folder, the same in all three.
    `shoal resume RUN` follows it, brings the results home and gives lost work again.

    Example: shoal job submit job.yaml
    """
    job = jobs.read(file)
    said = identity.of(job, source=str(file))
    runs.refuse_known(runs.check_run_id(said.run))
    document = cluster_of(cluster, ask_sudo_password=ask_sudo_password)
    choice = choose(engine, document)
    say(str(choice))
    with shown() as tell:
        record = running.start(_order(document, choice, job, said, weights), tell, wait=False)
    say(f"run {record.run} is handed in; `shoal resume {record.run}` follows it and brings its results home")
    typer.echo(record.run)


def _order(
    document: Cluster, choice: Choice, job: JobSpec, said: identity.Identity, weights: Path | None
) -> running.Order:
    model, path = (
        model_for(str(weights)) if weights else (Weights(name=said.weights_name, sha256=said.weights_sha256), None)
    )
    if model.sha256 != said.weights_sha256:
        raise UsageError(f"{weights} has sha256 {model.sha256}; the job is for {said.weights_sha256}")
    return running.Order(
        cluster=document, engine=choice, weights=model, weights_path=path, template="by hand", job=job, fetch=False
    )
