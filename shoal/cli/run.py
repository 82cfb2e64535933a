"""`shoal run`: the job on every matching node, and its results home."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from shoal.cli.console import say
from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of
from shoal.cli.resume import finish
from shoal.cli.resume import resume as resume_run
from shoal.cli.run_display import conclude, shown
from shoal.cli.run_options import (
    Attempts,
    BringHome,
    Cameras,
    Classes,
    Clips,
    Conf,
    Cpu,
    Fetch,
    ImageReference,
    Img,
    Iou,
    KeyFrames,
    Memory,
    Model,
    Nodes,
    Precision,
    Privacy,
    RecordAsJson,
    Reuse,
    Since,
    Stride,
    Targets,
    Template,
    Timeout,
)
from shoal.cluster.document import Cluster, Engine
from shoal.engines.bacalhau import release
from shoal.engines.choice import Choice, choose, refuse_unused, unused_program_error
from shoal.errors import UsageError
from shoal.outbox.events import since_of
from shoal.results.record import Weights
from shoal.run import adopt as adoption
from shoal.run import archive
from shoal.run import start as running

app = typer.Typer(add_completion=False, help="Run the detector on the nodes.")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@app.command("run")
def run_(
    what: Annotated[
        Literal["adopt"] | None,
        typer.Argument(help="Take up a run that the engine was given elsewhere.", show_default=False),
    ] = None,
    adopted: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Its id, as in its job's label shoal-run.", show_default=False)
    ] = None,
    *,
    ctx: typer.Context,
    cluster: ClusterPath = None,
    ask_sudo_password: AskSudoPassword = False,
    resume: Annotated[str | None, typer.Option("--resume", metavar="RUN", help="Old form of `shoal resume`.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="What runs the containers; else auto.")] = None,
    bacalhau_binary: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", exists=True, dir_okay=False, help="The engine's program, which the machines have to run."
        ),
    ] = None,
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
    bring: BringHome = None,
    reuse: Reuse = None,
    clips: Clips = None,
    since: Since = None,
    cameras: Cameras = None,
    timeout: Timeout = None,
    cpu: Cpu = None,
    memory: Memory = None,
    attempts: Attempts = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Id of the new run.")] = None,
    fetch: Fetch = True,
    json: RecordAsJson = False,
) -> None:
    """Run the detector over /videos of every matching node, and bring the results home to runs/<run>/<node>/.

    `adopt RUN` makes a record of what the engine knows of a run that was handed in by the engine's own command line, or
    from another control machine, then follows and finishes it as `shoal resume` does.

    Ctrl-C stops the containers. A run that is not whole, for whatever reason, is finished by `shoal resume`.

    Exit codes: 0 every expected node finished and its results are home; 3 some did not, were drained, or have faulty
    videos (each is named); 1 nothing could be started, or a fault here ended the run (it says how it goes on); 2 bad
    input, or a node named that is drained; 4 a program or engine is missing; 130 interrupted.

    Examples:

        shoal run --classes person,car --conf 0.4

        shoal run --target site=harbour --stride 5 --timeout 3600

        shoal run --node gate-1 --weights my-yolov5m.onnx

        shoal run --since 2h --cameras north,gate --classes bicycle

        shoal run adopt harbour-1
    """
    if (what is None) != (adopted is None) or (adopted and resume):
        raise UsageError("`shoal run adopt RUN` names the run that is adopted, and no other")
    if adopted:
        _refuse_other_options(ctx)
        document = cluster_of(cluster, ask_sudo_password=ask_sudo_password)
        adoption.adopt(adopted, document)
        finish(
            adopted, document, weights=weights, image=image, timeout=timeout, cpu=cpu, memory=memory,
            attempts=attempts, fetch=fetch, json=json,
        )  # fmt: skip
        return
    if resume:
        _refuse_other_options(ctx)
        say(f"`shoal run --resume` goes away with the next release; type `shoal resume {resume}`")
        resume_run(
            resume, cluster=cluster, ask_sudo_password=ask_sudo_password, weights=weights, image=image, timeout=timeout,
            cpu=cpu, memory=memory, attempts=attempts, fetch=fetch, json=json,
        )  # fmt: skip
        return
    document = cluster_of(cluster, ask_sudo_password=ask_sudo_password)
    engine = engine or "auto"
    refuse_unused(engine, document, bacalhau_binary)
    program = release.add(bacalhau_binary, say=say) if bacalhau_binary else None
    choice = choose(engine, document)
    if program and choice.engine == "ssh":
        raise unused_program_error(choice.reason)
    say(str(choice))
    asked = footage(document, since=since, cameras=cameras, nodes=node, reuse=reuse, clips=clips)
    order = order_for(
        document, choice, weights=weights, template=template, image=image, cpu=cpu, memory=memory, timeout_s=timeout,
        nodes=node, targets=target, cameras=asked.cameras,
        knobs={
            "conf": conf, "iou": iou, "classes": classes, "img": img, "stride": stride, "key-frames": key_frames,
            "precision": precision, "privacy": privacy, **asked.knobs,
        },
    )  # fmt: skip
    # Only shoal's own detector makes events: what another program writes comes as it is.
    brought = bring or ("events" if order.template == running.DEFAULT_TEMPLATE else "all")
    with shown() as tell:
        record = running.start(
            replace(order, program=program, run=run, attempts=attempts, fetch=fetch, bring=brought), tell
        )
    conclude(record, fetch=fetch, json=json)


def _refuse_other_options(ctx: typer.Context) -> None:
    """Raise UsageError that names the options given with --resume that `shoal resume` does not have."""
    known = {"what", "adopted", "resume", *inspect.signature(resume_run).parameters}
    typed = [
        one
        for one in ctx.command.params
        if (source := ctx.get_parameter_source(one.name or "")) and source.name == "COMMANDLINE"
    ]
    if given := [one.opts[0].strip() for one in typed if one.name not in known]:
        raise UsageError(f"a run is resumed with its own settings: leave out {', '.join(given)}")


def order_for(
    document: Cluster,
    choice: Choice,
    *,
    weights: str | None,
    template: str | None,
    image: str | None,
    cpu: str | None,
    memory: str | None,
    timeout_s: int | None,
    nodes: list[str] | None,
    targets: list[str] | None,
    cameras: Mapping[str, Sequence[str]],
    knobs: Mapping[str, str | int | float | None],
) -> running.Order:
    """What the options of a new run ask for. Raises UsageError and ShoalError where a model or a target is none."""
    model, path = model_for(weights)
    return running.Order(
        cluster=document,
        engine=choice,
        weights=model,
        weights_path=path,
        template=template or running.DEFAULT_TEMPLATE,
        image=image,
        knobs={name: value for name, value in knobs.items() if value is not None},
        cpu=cpu,
        memory=memory,
        timeout_s=timeout_s or running.DEFAULT_TIMEOUT_S,
        nodes=tuple(nodes or ()),
        cameras=cameras,
        targets=targets_of(targets or []),
    )


@dataclass(frozen=True, slots=True)
class Footage:
    """Which of the footage that the nodes have kept is asked for."""

    knobs: Mapping[str, str]
    """The detector's flags for it."""
    cameras: Mapping[str, Sequence[str]]
    """By node the cameras asked for that it has; empty: none was named."""


def footage(
    document: Cluster, *, since: str | None, cameras: str | None, nodes: Sequence[str] | None, **knobs: str | None
) -> Footage:
    """The footage that is asked for. `knobs` are those that are chosen otherwise over the archive, where not given.

    Raises UsageError for a time that cannot be read or is yet to come, and for cameras that no node has.
    """
    found = {name: value for name, value in knobs.items() if value is not None}
    if since is None and cameras is None:
        return Footage(found, {})
    where = {} if cameras is None else archive.cameras_of(document, cameras, nodes)
    if since is not None:
        moment = since_of(since).astimezone(UTC)
        if moment > datetime.now(UTC):
            raise UsageError(f"--since {since!r} is yet to come: no footage has ended after it")
        found["since"] = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    if where:
        found["cameras"] = ",".join(dict.fromkeys(name for names in where.values() for name in names))
    chosen = {name: value for name, value in archive.CHOSEN.items() if name not in found}
    if chosen:
        say(f"over the archive: {', '.join(f'--{name} {value}' for name, value in chosen.items())}, unless given")
    return Footage({**found, **chosen}, where)


def model_for(given: str | None) -> tuple[Weights, Path | None]:
    """The model of a new run and its file here, if any."""
    if given and _SHA256.fullmatch(given):
        return Weights(name=given[:12], sha256=given), None
    from shoal.site import weights  # noqa: PLC0415  # the model tools take a second to load; most commands do without

    found = weights.from_file(Path(given)) if given else weights.yolov5s(say=say)
    return Weights(name=found.name, sha256=found.sha256, licence=found.licence), found.path


def targets_of(texts: list[str]) -> dict[str, str]:
    """`KEY=VALUE` of `--target` as labels. Raises UsageError."""
    targets = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--target {text!r} is not KEY=VALUE")
        targets[key] = value
    return targets
