"""`shoal run`: the job on every matching node, and its results home."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.cluster import read
from shoal.cli.console import print_json, say
from shoal.cli.options import ClusterPath, cluster_path
from shoal.cli.run_display import shown
from shoal.cluster.document import Cluster, Engine
from shoal.engines.bacalhau import release
from shoal.engines.choice import choose, refuse_unused, unused
from shoal.errors import Exit, UsageError
from shoal.results import record as runs
from shoal.results.record import RunRecord, Weights
from shoal.run import start as running

app = typer.Typer(add_completion=False, help="Run the detector on the nodes.")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@app.command("run")
def run_(
    *,
    cluster: ClusterPath = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Finish this run instead of beginning one.")
    ] = None,
    engine: Annotated[Engine | None, typer.Option(help="What runs the containers; else auto.")] = None,
    bacalhau_binary: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", exists=True, dir_okay=False, help="The engine's program, which the machines have to run."
        ),
    ] = None,
    node: Annotated[list[str] | None, typer.Option("--node", metavar="NAME", help="Only here; repeatable.")] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="KEY=VALUE", help="Only nodes with this label; repeatable.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|SHA256", help="A YOLOv5 model as ONNX; else YOLOv5s.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="Inference image; else the nodes' own. With --resume, where the run's own is gone: `current` finishes "
            "with the one that the nodes have now.",
        ),
    ] = None,
    template: Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Job template; else yolov5.")] = None,
    conf: Annotated[float | None, typer.Option(min=0, max=1, help="Least confidence of a detection.")] = None,
    iou: Annotated[float | None, typer.Option(min=0, max=1, help="Overlap above which boxes are one.")] = None,
    classes: Annotated[str | None, typer.Option(metavar="A,B", help="Only these classes.")] = None,
    img: Annotated[int | None, typer.Option(min=32, help="Longer side of the model's input, in pixels.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Infer every n-th frame.")] = None,
    timeout: Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="Limit per node; else 24 h.")] = None,
    cpu: Annotated[str | None, typer.Option(metavar="CPUS", help="Per node; else 80 % of the smallest.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Per node, such as 1500MB.")] = None,
    attempts: Annotated[
        int | None,
        typer.Option(min=1, help="How often a node gets the run by itself; else bacalhau 5, ssh 1."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Id of the new run.")] = None,
    fetch: Annotated[bool, typer.Option(" /--no-fetch", help="Leave the results on the nodes.")] = True,
    json: Annotated[bool, typer.Option("--json", help="The run's record as JSON on stdout at the end.")] = False,
) -> None:
    """Run the detector over /videos of every matching node, and bring the results home to runs/<run>/<node>/.

    Ctrl-C stops the containers. A run that is not whole, for whatever reason, is finished by --resume.

    Exit codes: 0 every expected node finished and its results are home; 3 some did not, were drained, or have faulty
    videos (each is named); 1 nothing could be started, or a fault here ended the run (it says how it goes on); 2 bad
    input, or a node named that is drained; 4 a program or engine is missing; 130 interrupted.

    Examples:

        shoal run --classes person,car --conf 0.4

        shoal run --target site=harbour --stride 5 --timeout 3600

        shoal run --resume 20261125-093012-3fa9
    """
    if resume:
        fixed: dict[str, object] = {"--run": run, "--node": node, "--target": target}
        fixed |= {"--conf": conf, "--iou": iou}
        fixed |= {"--classes": classes, "--img": img, "--stride": stride, "--template": template}
        fixed |= {"--engine": engine, "--bacalhau-binary": bacalhau_binary}
        if given := [name for name, value in fixed.items() if value is not None]:
            raise UsageError(f"a run is resumed with its own settings: leave out {', '.join(given)}")
        record = runs.load(resume)
        with shown() as tell:
            record = running.resume(
                resume,
                _cluster_of(record, cluster),
                tell,
                weights_path=_resumed_weights(record, weights),
                cpu=cpu,
                memory=memory,
                timeout_s=timeout,
                image=image,
                attempts=attempts,
                fetch=fetch,
            )
    else:
        document = read(cluster_path(cluster))
        engine = engine or "auto"
        refuse_unused(engine, document, bacalhau_binary)
        program = release.add(bacalhau_binary, say=say) if bacalhau_binary else None
        choice = choose(engine, document)
        if program and choice.engine == "ssh":
            raise unused(choice.reason)
        say(str(choice))
        model, path = _weights(weights)
        knobs: dict[str, str | int | float | None] = {
            "conf": conf, "iou": iou, "classes": classes, "img": img, "stride": stride
        }  # fmt: skip
        order = running.Order(
            cluster=document,
            engine=choice,
            weights=model,
            weights_path=path,
            program=program,
            template=template or running.DEFAULT_TEMPLATE,
            image=image,
            knobs={name: value for name, value in knobs.items() if value is not None},
            cpu=cpu,
            memory=memory,
            timeout_s=timeout or running.DEFAULT_TIMEOUT_S,
            nodes=tuple(node or ()),
            targets=_targets(target or []),
            run=run,
            attempts=attempts,
            fetch=fetch,
        )
        with shown() as tell:
            record = running.start(order, tell)
    show_end(record, fetch=fetch)
    if json:
        print_json(record.model_dump(mode="json"))
    code = running.exit_code(record, fetch=fetch)
    if code is not Exit.OK:
        raise typer.Exit(code)


def show_end(record: RunRecord, *, fetch: bool = True) -> None:
    """What became of every node, and what to do about those that are not done; on stderr."""
    for name, node in record.nodes.items():
        why = node.attempts[-1].message if node.attempts else ""
        home = ", results not home" if fetch and not node.fetched and node.outcome in runs.HAS_MANIFEST else ""
        say(f"  {name}: {node.outcome.value}{home}{': ' if why else ''}{why}")
    if running.exit_code(record, fetch=fetch) is Exit.OK:
        where = str(runs.run_dir(record.run)) if fetch else f"on the nodes; `shoal results fetch {record.run}`"
        say(f"run {record.run} is whole: {where}")
    elif record.missing or (fetch and not all(node.fetched for node in record.nodes.values())):
        say(f"run {record.run} is not whole; finish it with `shoal run --resume {record.run}`")
    else:
        say(f"run {record.run} is done; videos that are faulty are named above and in its report")


def _cluster_of(record: RunRecord, path: Path | None) -> Cluster:
    """The document a run belongs to: the one named, else the one that is kept under the cluster's name."""
    return read(cluster_path(path, run_of=record.cluster))


def _weights(given: str | None) -> tuple[Weights, Path | None]:
    """The model of a new run and its file here, if any."""
    if given and _SHA256.fullmatch(given):
        return Weights(name=given[:12], sha256=given), None
    from shoal.site import weights  # noqa: PLC0415  # the model tools take a second to load; most commands do without

    found = weights.from_file(Path(given)) if given else weights.yolov5s(say=say)
    return Weights(name=found.name, sha256=found.sha256, licence=found.licence), found.path


def _resumed_weights(record: RunRecord, given: str | None) -> Path | None:
    """The file of the run's own model, for nodes that lost it; None where it is not here."""
    from shoal.site import weights  # noqa: PLC0415  # as above

    if not given:
        _, sha256 = weights.yolov5s_state()
        return weights.yolov5s_path() if sha256 == record.weights.sha256 else None
    found = weights.from_file(Path(given))
    if found.sha256 != record.weights.sha256:
        raise UsageError(f"{given} has sha256 {found.sha256}; run {record.run} was begun with {record.weights.sha256}")
    return found.path


def _targets(texts: list[str]) -> dict[str, str]:
    targets = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--target {text!r} is not KEY=VALUE")
        targets[key] = value
    return targets
