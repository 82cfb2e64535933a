"""`shoal results`: what runs there are, what they found in figures, bringing them home and checking them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from shoal.cli.console import out, print_json, say
from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.paths import runs_dir
from shoal.results import documents
from shoal.results import fetch as results
from shoal.results import prune as pruning
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.documents import RunSummary
from shoal.results.lock import locked
from shoal.results.record import RunRecord
from shoal.run.home import fetch_home
from shoal.untrusted import DamagedDocumentError

app = typer.Typer(add_completion=False, help="List, fetch, check and show results.", no_args_is_help=True)
SUMMARY = "summary.json"
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON on stdout.")]


@app.command("list")
def list_(json: AsJson = False) -> None:
    """The runs under runs/ (SHOAL_RUNS), oldest first.

    Ends with 3 where a record is damaged; it is named, and the others are listed.

    Example:

        shoal results list --json
    """
    records: list[RunRecord] = []
    faults: list[Fault] = []
    for run in runs.list_runs():
        try:
            records.append(runs.load(run))
        except UsageError as error:
            faults.append(Fault(run, error.message))
    if json:
        print_json([_line(record) for record in records])
    elif records:
        out.print(_listed(records))
    elif not faults:
        say(f"no runs under {runs_dir()}")
    if faults:
        raise ShoalError("records of runs are damaged", faults=tuple(faults), exit_code=Exit.INCOMPLETE)


def _listed(records: list[RunRecord]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "cluster", "engine", "nodes", "state"):
        table.add_column(heading)
    for record in records:
        line = _line(record)
        table.add_row(
            record.run, record.cluster, record.engine, f"{line['done']}/{len(record.nodes)}", str(line["state"])
        )
    return table


@app.command()
def fetch(
    run: RunArgument,
    cluster: ClusterPath = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the detections of every frame, which a run leaves on the nodes.")
    ] = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Bring home what is not home yet; files that are here and right are not sent again.

    Exit codes: 0 every expected node's results are home and checked, 3 some are not.

    Example:

        shoal results fetch 20261125-093012-3fa9
    """
    with locked(runs.check_run_id(run)):
        record = runs.load(run)
        document = cluster_of(cluster, run_of=record.cluster, ask_sudo_password=ask_sudo_password)
        if everything and record.bring != "all":
            record.bring = "all"
            runs.save(record)
        faults = fetch_home(record, document, say)
    if faults:
        raise ShoalError(f"run {run} is not whole", faults=tuple(faults), exit_code=Exit.INCOMPLETE)
    say(f"results of run {run}: {runs.run_dir(run)}")


@app.command()
def prune(
    *,
    cluster: ClusterPath = None,
    keep_days: Annotated[
        int | None,
        typer.Option(metavar="DAYS", min=1, help="Remove what ended longer ago; else the cluster's results_keep_days."),
    ] = None,
    unfetched: Annotated[
        bool, typer.Option("--unfetched", help="Also runs whose results are not home, or that are not known here.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would be removed.")] = False,
    json: AsJson = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Remove old runs: their folders on the cluster's nodes, then the copies here.

    A folder on a node goes only where its results are home and checked; what a detector works on stays. The copy here
    goes once no node has one. What stays although it is old is named.

    Exit codes: 0 what was to go is gone, 2 no number of days is given, 3 a node could not be asked, or something could
    not be removed (each is named).

    Examples:

        shoal results prune --keep-days 30 --dry

        shoal results prune
    """
    document = cluster_of(cluster, ask_sudo_password=ask_sudo_password)
    days = keep_days or document.results_keep_days
    if days is None:
        raise UsageError(
            f"how long results of cluster {document.name!r} are kept is not set",
            hint="give --keep-days, or set results_keep_days in the cluster document",
        )
    done = pruning.prune(document, days, unfetched=unfetched, dry=dry, say=say)
    if json:
        print_json({
            "nodes": {name: [asdict(one) for one in gone] for name, gone in done.on_nodes.items()},
            "here": done.here,
            "kept": [asdict(fault) for fault in done.kept],
            "faults": [asdict(fault) for fault in done.faults],
        })  # fmt: skip
    would = "would be " if dry else ""
    for name, gone in done.on_nodes.items():
        size_mb = sum(one.size_bytes for one in gone) / 1e6
        say(f"{name}: {len(gone)} runs {would}removed, {size_mb:.1f} MB")
    say(f"here: {len(done.here)} runs {would}removed")
    for fault in done.kept:
        say(f"kept: {fault}")
    if done.faults:
        raise ShoalError("not all old runs are gone", faults=tuple(done.faults), exit_code=Exit.INCOMPLETE)


@app.command()
def verify(run: RunArgument) -> None:
    """Hash every fetched file again and compare it with the manifests.

    Exit codes: 0 everything is there and as it was, 3 something is not (each file is named).

    Example:

        shoal results verify 20261125-093012-3fa9
    """
    record = runs.load(run)
    faults: list[Fault] = []
    files = 0
    for name in record.nodes:
        manifest, found = results.verify_node(runs.run_dir(run) / name, record.bring)
        faults += found
        files += sum((runs.run_dir(run) / name / entry.path).is_file() for entry in manifest.files) if manifest else 0
    if faults:
        raise ShoalError(
            f"run {run} is not whole, or not as it was",
            faults=tuple(faults),
            hint=f"`shoal results fetch {run}` brings missing and wrong files again",
            exit_code=Exit.INCOMPLETE,
        )
    say(f"run {run}: {files} files on {len(record.nodes)} nodes are as the manifests say")


@app.command()
def show(run: RunArgument, json: AsJson = False) -> None:
    """Figures per node and video; `shoal report` has pictures and more.

    Example:

        shoal results show 20261125-093012-3fa9
    """
    record = runs.load(run)
    summaries = {name: _summary(run, name) for name in record.nodes}
    if json:
        print_json({
            "record": record.model_dump(mode="json"),
            "summaries": {name: found.model_dump(mode="json") if found else None for name, found in summaries.items()},
        })  # fmt: skip
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "video", "frames", "frames/s", "detections", "fault"):
        table.add_column(heading, justify="right" if heading in ("frames", "frames/s", "detections") else "left")
    for name, summary in summaries.items():
        if summary is None:
            files = _files(run, name)
            text = f"{files} file{'s' if files != 1 else ''} without a summary" if files else "-"
            table.add_row(name, text, "", "", "", record.nodes[name].outcome.value)
            continue
        for video in summary.videos:
            fault = f"{video.fault.kind}: {video.fault.message}" if video.fault else ""
            figures = (str(video.frames), f"{video.frames_per_s:.1f}", str(video.detections))
            table.add_row(name, video.video, *figures, fault)
    out.print(table)


def _line(record: RunRecord) -> dict[str, str | int]:
    done = sum(node.outcome in runs.HAS_MANIFEST for node in record.nodes.values())
    home = sum(node.fetched is not None for node in record.nodes.values())
    state = "whole" if record.complete else "open" if record.missing else "faulty videos"
    if not record.missing and home < len(record.nodes):
        state = "not home"
    return {
        "run": record.run,
        "cluster": record.cluster,
        "engine": record.engine,
        "nodes": len(record.nodes),
        "done": done,
        "home": home,
        "state": state,
    }


def _files(run: str, node: str) -> int:
    """How many files came home; 0 where the node is not whole here."""
    folder = runs.run_dir(run) / node
    return len(results.read_manifest(folder).files) if (folder / results.MANIFEST).is_file() else 0


def _summary(run: str, node: str) -> RunSummary | None:
    """The node's summary; None where the node is not whole here, or its job's program writes none."""
    folder = runs.run_dir(run) / node
    if not (folder / results.MANIFEST).is_file():
        return None
    hint = f"`shoal results verify {run}` lists what is damaged"
    try:
        if all(entry.path != SUMMARY for entry in results.read_manifest(folder).files):
            return None
        return documents.read(folder / SUMMARY, RunSummary)
    except OSError as error:
        raise ShoalError(f"{folder / SUMMARY} cannot be read: {error}", hint=hint) from None
    except (DamagedDocumentError, DamagedResultsError) as error:
        raise ShoalError(error.message, faults=error.faults, hint=hint) from None
