"""`shoal resume`: a run that is not whole, finished."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of
from shoal.cli.run_display import conclude, shown
from shoal.cli.run_options import Attempts, Cpu, Fetch, Memory, RecordAsJson, RunArgument, Timeout
from shoal.cluster.document import Cluster
from shoal.errors import UsageError
from shoal.results import record as runs
from shoal.results.record import RunRecord
from shoal.run.resume import resume as take_up

app = typer.Typer(add_completion=False, help="Finish a run.")


@app.command("resume")
def resume(
    run: RunArgument,
    *,
    cluster: ClusterPath = None,
    ask_sudo_password: AskSudoPassword = False,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="The run's own model, for nodes that lost it.")
    ] = None,
    timeout: Timeout = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="REFERENCE|current", help="Another image for the nodes that are not done."),
    ] = None,
    cpu: Cpu = None,
    memory: Memory = None,
    attempts: Attempts = None,
    fetch: Fetch = True,
    json: RecordAsJson = False,
) -> None:
    """Finish a run: adopt containers that still run, give the rest to the nodes again, bring home what is missing.

    Nothing is done twice. The run keeps its own settings; only the containers' limits may be others, and --weights
    gives the file of its own model to nodes that lost it.

    Exit codes: 0 every expected node finished and its results are home; 3 some did not, were drained, or have faulty
    videos (each is named); 1 a fault here ended it (it says how it goes on); 2 bad input; 4 a program or engine is
    missing; 130 interrupted.

    Examples:

        shoal resume 20261125-093012-3fa9

        shoal resume 20261125-093012-3fa9 --memory 4GB --timeout 7200
    """
    # Its document is the one named, else the one that is kept under the cluster's name.
    document = cluster_of(cluster, run_of=runs.load(run).cluster, ask_sudo_password=ask_sudo_password)
    finish(
        run, document, weights=weights, timeout=timeout, image=image, cpu=cpu, memory=memory, attempts=attempts,
        fetch=fetch, json=json,
    )  # fmt: skip


def finish(
    run: str,
    document: Cluster,
    *,
    weights: str | None,
    timeout: int | None,
    image: str | None,
    cpu: str | None,
    memory: str | None,
    attempts: int | None,
    fetch: bool,
    json: bool,
) -> None:
    """What `shoal resume` does once it knows the cluster."""
    record = runs.load(run)
    with shown() as tell:
        record = take_up(
            run,
            document,
            tell,
            weights_path=_resumed_weights(record, weights),
            cpu=cpu,
            memory=memory,
            timeout_s=timeout,
            image=image,
            attempts=attempts,
            fetch=fetch,
        )
    conclude(record, fetch=fetch, json=json)


def _resumed_weights(record: RunRecord, given: str | None) -> Path | None:
    """The file of the run's own model, for nodes that lost it; None where it is not here."""
    from shoal.site import weights  # noqa: PLC0415  # it takes a second to load; most commands do without

    if not given:
        _, sha256 = weights.yolov5s_state()
        return weights.yolov5s_path() if sha256 == record.weights.sha256 else None
    found = weights.from_file(Path(given))
    if found.sha256 != record.weights.sha256:
        raise UsageError(f"{given} has sha256 {found.sha256}; run {record.run} was begun with {record.weights.sha256}")
    return found.path
