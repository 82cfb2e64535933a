"""`shoal site`: decide what goes onto a cluster's machines, put it there, take it away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoal import report
from shoal.check import examine as checks
from shoal.cli import findings
from shoal.cli.console import out, print_json, say
from shoal.cli.findings import YesTo
from shoal.cli.options import AskSudoPassword, BreakLock, ClusterPath, cluster_of, reach
from shoal.cli.report import chosen_run
from shoal.cluster import local_files
from shoal.cluster.document import Cluster, Engine
from shoal.deploys import inventory
from shoal.deploys.run import DeployResult, run_deploy
from shoal.engines import choice as engines
from shoal.errors import Exit, ShoalError, UsageError
from shoal.fleet import ready, remains
from shoal.fleet import rotate as rotation
from shoal.mesh import moving
from shoal.report import zones as zone_pages
from shoal.site import allowed, event_rules
from shoal.site import document as site

app = typer.Typer(
    add_completion=False, help="Put what a cluster needs onto its machines, or take it away.", no_args_is_help=True
)

LimitOption = Annotated[
    list[str] | None, typer.Option("--limit", help="Only these hosts: a group, a name or a pattern. Repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The outcome as JSON on stdout.")]


@app.command()
def prepare(
    *,
    cluster: ClusterPath = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", help="Folder of your own videos. Default: samples.")
    ] = None,
    no_videos: Annotated[
        bool, typer.Option("--no-videos", help="Send none: the machines have their own under /videos.")
    ] = False,
    events: Annotated[
        Path | None, typer.Option("--events", metavar="FILE", help="Rules of events (TOML). Default: as before.")
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="A YOLOv5 model as ONNX. Default: YOLOv5s.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide which videos go to which node and which model runs; nothing is sent yet.

    Examples: `shoal site prepare`; `shoal site prepare --videos ~/clips --cluster onprem.toml`
    """
    if no_videos and videos is not None:
        raise UsageError("--videos and --no-videos exclude each other")
    rules = event_rules.read(events) if events else None
    loaded = cluster_of(cluster)
    document = site.prepare(loaded, videos, weights, with_videos=not no_videos, events=rules, say=say)
    if as_json:
        print_json(document.model_dump(mode="json"))
        return
    for node, clips in document.videos.items():
        out.print(f"{node}: {len(clips)} videos, {sum(clip.size_bytes for clip in clips) / 1e6:.1f} MB")
    for model in document.weights:
        out.print(f"model: {model.name} ({model.sha256[:12]})")
    say(f"written to {site.document_path(loaded.name)}")


@app.command()
def zones(
    run: Annotated[
        str | None, typer.Argument(help="Id of the run whose pictures are shown.", show_default=False)
    ] = None,
    *,
    latest: Annotated[bool, typer.Option("--latest", help="The newest run there is.")] = False,
    events: Annotated[
        Path | None, typer.Option("--events", metavar="FILE", help="Rules of events (TOML). Default: the site's own.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PATH", help="Where the page goes; else runs/<run>/zones.html.")
    ] = None,
    cluster: ClusterPath = None,
) -> None:
    """Draw the zones of event rules on a picture of each camera, to see where they lie before they are deployed.

    Examples: `shoal site zones --latest --events rules.toml`; `shoal site zones 20261125-093012-3fa9`
    """
    run_id = chosen_run(run, latest)
    if events is None:
        document = site.load(cluster_of(cluster).name)
        rules = document.events if document else None
    else:
        rules = event_rules.read(events)
    shown = [zone_pages.Zone(one.name, one.points, one.cameras) for one in (rules.zone if rules else ())]
    if not shown:
        raise UsageError("these rules have no zone", hint="docs/events.md shows how one is written")
    say(f"zones: {zone_pages.write(report.read_run(run_id), shown, html)}")


@app.command()
def check(
    *,
    cluster: ClusterPath = None,
    limit: LimitOption = None,
    engine: Annotated[Engine, typer.Option(help="What is to run jobs on the machines.")] = "auto",
    yes_to: YesTo = None,
    ask_sudo_password: AskSudoPassword = False,
    as_json: JsonOption = False,
) -> None:
    """Look at every machine, change nothing, and list all that a deploy would meet or touch there.

    `deploy` and `nodes add` begin with the same look. Ends with 2 where something is in the way or has to be agreed to,
    with 1 where that is only that machines do not answer.

    Examples: `shoal site check --cluster onprem.toml`; `shoal site check --limit gate-1 --json`
    """
    loaded = reach(cluster, ask_sudo_password=ask_sudo_password, claim=False).now
    agreed = findings.agreed_names(yes_to)
    names = inventory.refuse_empty(loaded, loaded.substrate, limit or ())
    choice = _engine_in_cache(engine, loaded)
    report = checks.examine(
        loaded, names, site.load(loaded.name), bacalhau=choice == "bacalhau", yes_to=agreed, say=say
    )
    if as_json:
        print_json(findings.as_document(report))
    else:
        findings.show(report)
    if report.in_the_way:
        raise typer.Exit(Exit.FAILED if report.transient else Exit.USAGE)


@app.command()
def deploy(
    *,
    cluster: ClusterPath = None,
    limit: LimitOption = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would be changed.")] = False,
    engine: Annotated[Engine, typer.Option(help="What is to run jobs on the machines.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Restart the engine's services although jobs run.")] = False,
    yes_to: YesTo = None,
    break_lock: BreakLock = False,
    ask_sudo_password: AskSudoPassword = False,
    as_json: JsonOption = False,
) -> None:
    """Bring every machine to what its roles need. Typed again, it changes only what is not as it should be.

    Begins with the look of `shoal site check`: where anything is in the way, nothing is changed on any machine.

    Examples: `shoal site deploy`; `shoal site deploy --limit compute-1`; `shoal site deploy --dry`
    """
    there = reach(cluster, ask_sudo_password=ask_sudo_password)
    agreed = findings.agreed_names(yes_to)
    # Fetched here, once and with progress.
    choice = engines.choose(engine, there.now, say=say)
    say(str(choice))
    names = inventory.refuse_empty(there.now, there.now.substrate, limit or ())
    ready.refuse_newer_engine(there.now, names, choice)
    checks.before(there.now, names, bacalhau=choice.engine == "bacalhau", yes_to=agreed, say=say)
    if not dry and not limit:
        there = moving.on_before_site(there, say, engine=choice, break_lock=break_lock)
    data = {"bacalhau_force": force, **checks.agreement(agreed)}
    result = run_deploy(
        there, "site", limit=limit or (), data=data, engine=choice, dry=dry, break_lock=break_lock, say=say
    )
    if choice.engine == "bacalhau" and not dry:
        ready.await_ready(there.now, result.hosts, say)
    _told(result, dry=dry, as_json=as_json)


@app.command()
def rotate(
    cluster: ClusterPath = None,
    force: Annotated[bool, typer.Option("--force", help="Although jobs run or a machine does not answer.")] = False,
    ask_sudo_password: AskSudoPassword = False,
    as_json: JsonOption = False,
) -> None:
    """Make the engine's token, API keys and certificates anew and hand them to every machine.

    After a node was lost or somebody left. Example: `shoal site rotate --cluster onprem.toml`
    """
    there = reach(cluster, ask_sudo_password=ask_sudo_password)
    choice = engines.choose("bacalhau", there.now, say=say)
    result = rotation.rotate(there, engines.deploy_data(choice), say, force=force)
    _told(result, dry=False, as_json=as_json)


@app.command("allow")
def allow_job(
    template: Annotated[
        str | None, typer.Option("--template", help="A job template, by name or path: what it has run is allowed.")
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="With which image, NAME@sha256:... Default: the site's own.")
    ] = None,
    none: Annotated[
        bool, typer.Option("--none", help="Nothing but the site's own image as it is, as at first.")
    ] = False,
    cluster: ClusterPath = None,
    as_json: JsonOption = False,
) -> None:
    """Say what nodes with the engine may run besides the site's own image; without options, show it.

    Nodes hold to it themselves from the next deploy on. Examples: `shoal site allow --image r.example/x@sha256:...`;
    `shoal site allow --template yolov5-upstream --image docker.io/ultralytics/yolov5@sha256:...`
    """
    name = cluster_of(cluster).name
    if none and (template or image):
        raise UsageError("--none excludes --template and --image")
    if none:
        document = site.allow_none(name)
    elif template or image:
        document = site.allow(name, allowed.kind_of_job(template, image))
        say("the next `shoal site deploy` places it on the nodes")
    else:
        document = site.load(name) or site.SiteDocument(cluster=name)
    if as_json:
        print_json([job.model_dump(mode="json") for job in document.jobs])
        return
    out.print("the site's own image, with its own entry point", markup=False)
    for job in document.jobs:
        words = " ".join(job.entrypoint).splitlines() or ["its own entry point"]
        more = f" ... ({len(words)} lines)" if len(words) > 1 else ""
        image_name = job.image or "the site's own image"
        out.print(f"{image_name}: {words[0]}{more}", markup=False)


@app.command()
def teardown(
    *,
    cluster: ClusterPath = None,
    limit: LimitOption = None,
    results: Annotated[bool, typer.Option("--results", help="Remove results of runs on the machines too.")] = False,
    keep_docker: Annotated[bool, typer.Option("--keep-docker", help="Leave the container engine.")] = False,
    break_lock: BreakLock = False,
    ask_sudo_password: AskSudoPassword = False,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would be taken away.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take away what `deploy` put onto the machines, and nothing else. Results of runs are kept unless asked.

    Ends with an inventory: what is left on each machine, and here (tokens, documents, locks of the cluster).

    Examples: `shoal site teardown --cluster onprem.toml --keep-docker`; `shoal site teardown --dry`
    """
    data: dict[str, Any] = {"teardown_results": results, "teardown_docker": not keep_docker}
    there = reach(cluster, ask_sudo_password=ask_sudo_password)
    if there.note and there.note.nodes and dry:
        raise UsageError(
            "the machines are on the mesh, and what takes them off it changes them",
            hint="`shoal mesh off`, then --dry again",
        )
    if there.note and there.note.nodes:
        # Who logs a machine out of the mesh must not come over it.
        only = sorted(inventory.refuse_empty(there.first, there.first.substrate, limit)) if limit else ()
        move = moving.off(there, deploy=False, only=only, wanted=there.note.wanted, say=say)
        there = move.reach or there
    result = run_deploy(there, "teardown", limit=limit or (), data=data, dry=dry, break_lock=break_lock, say=say)
    _told(result, dry=dry, as_json=as_json)
    if dry:
        return
    for name, left in remains.look(there.first, result.hosts).items():
        say(f"left on {name}: {', '.join(left) or 'nothing'}")
    here = ", ".join(map(str, local_files.of(there.first.name)))
    say(f"left on this machine for cluster {there.first.name!r}: {here or 'nothing'}")


def _engine_in_cache(asked: Engine, cluster: Cluster) -> Engine:
    """What a deploy would run jobs with, without fetching anything for it."""
    try:
        return engines.choose(asked, cluster).engine
    except ShoalError as error:
        if error.exit_code is not Exit.MISSING:
            raise
        return "bacalhau"  # asked for, and the deploy will fetch it or say how to get it


def _told(result: DeployResult, *, dry: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "deploy": result.deploy,
                "hosts": list(result.hosts),
                "changed": result.changed,
                "unchanged": result.unchanged,
                "duration_s": round(result.duration_s, 2),
                "will": [{"host": host, "what": what} for host, what in result.will],
                "left": [{"host": host, "what": what} for host, what in result.left],
                "operations": [
                    {
                        "name": entry.name,
                        "changed": list(entry.changed),
                        "unchanged": list(entry.unchanged),
                        "duration_s": round(entry.duration_s, 2),
                    }
                    for entry in result.operations
                ],
            }
        )
        return
    if dry:
        for host, what in result.will:
            first, *more = what.splitlines()
            out.print(f"{host}: {first}", markup=False, highlight=False)
            for line in more:
                out.print(f"    {line}", markup=False, highlight=False)
        for entry in result.operations:
            if entry.changed:
                out.print(f"would change: {entry.name} on {', '.join(entry.changed)}")
    for host, what in result.left:
        out.print(f"{host}: left {what}", markup=False, highlight=False)
    verb = "would change" if dry else "changed"
    out.print(
        f"{result.deploy}: {result.changed} {verb}, {result.unchanged} as they were, "
        f"{len(result.hosts)} machines, {result.duration_s:.1f} s"
    )
