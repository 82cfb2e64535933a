"""`shoal watch`: cameras recorded and looked at on their nodes, all the time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich import box
from rich.table import Table

from shoal.cli.console import out, print_json, say
from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of, reach
from shoal.cluster.cameras import watched_folders
from shoal.cluster.reach import Reach
from shoal.deploys.run import run_deploy
from shoal.errors import Exit, ShoalError, UsageError
from shoal.site import document as site
from shoal.site.watch import SiteWatch
from shoal.ssh.failures import brief
from shoal.untrusted import faults_of
from shoal.watch import status as watches

app = typer.Typer(
    add_completion=False, help="Record the nodes' cameras and look at them all the time.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="The outcome as JSON on stdout.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help="Default: every compute node.")]


@app.command()
def on(
    *,
    img: Annotated[int, typer.Option(help="Longer side of the model's input, a multiple of 32.")] = 640,
    stride: Annotated[int, typer.Option(help="Look at every n-th frame.")] = 2,
    stride_most: Annotated[
        int, typer.Option("--stride-most", help="What the stride may come to where a machine does not keep up.")
    ] = 8,
    privacy: Annotated[
        Literal["people", "people-and-vehicles", "off"], typer.Option(help="Who is covered in clips.")
    ] = "people",
    cluster: ClusterPath = None,
    ask_sudo_password: AskSudoPassword = False,
    as_json: JsonOption = False,
) -> None:
    """Record the cameras of every compute node and look at them from now on, whatever else is up.

    Examples: `shoal watch on`; `shoal watch on --img 320 --stride 5`
    """
    there = reach(cluster, ask_sudo_password=ask_sudo_password)
    loaded = there.now
    cameras = {node.name: [name for name, _ in watched_folders(node)] for node in loaded.compute}
    if not any(cameras.values()):
        raise UsageError(
            "no compute node has a camera",
            hint="name them in the cluster document: nodes[].cameras or nodes[].camera_folders (docs/cameras.md)",
        )
    try:
        wanted = SiteWatch(img=img, stride=stride, stride_most=stride_most, privacy=privacy)
    except ValidationError as error:
        raise UsageError("the cameras cannot be watched so", faults=tuple(faults_of(error))) from None
    site.set_watch(loaded.name, wanted)
    _placed(there)
    if as_json:
        print_json({"watching": cameras})
        return
    for node, names in cameras.items():
        say(f"{node}: {', '.join(names) if names else 'no camera'}")
    say("watching; `shoal watch status` says how it stands")


@app.command()
def off(
    *, cluster: ClusterPath = None, ask_sudo_password: AskSudoPassword = False, as_json: JsonOption = False
) -> None:
    """Look at no camera any more. Recording goes on: that ends with the camera's entry in the cluster document.

    Example: `shoal watch off`
    """
    there = reach(cluster, ask_sudo_password=ask_sudo_password)
    loaded = there.now
    site.set_watch(loaded.name, None)
    _placed(there)
    if as_json:
        print_json({"watching": {}})
        return
    say("no longer watching; cameras are still recorded, and what was found stays on the nodes")


@app.command()
def status(
    names: Names = None,
    *,
    cluster: ClusterPath = None,
    ask_sudo_password: AskSudoPassword = False,
    as_json: JsonOption = False,
) -> None:
    """How every camera stands. Ends with 3 where something needs a person or a node does not answer.

    Examples: `shoal watch status`; `shoal watch status gate-1 --json`
    """
    loaded = cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password)
    nodes = [loaded.node(name) for name in names] if names else list(loaded.compute)
    answers = watches.looks(loaded, nodes)
    silent = {name: brief(one) for name, one in answers.items() if isinstance(one, ShoalError)}
    found = [
        camera
        for name, one in answers.items()
        if not isinstance(one, ShoalError)
        for camera in watches.cameras_of(loaded.node(name), one)
    ]
    if as_json:
        print_json({"cameras": [asdict(one) for one in found], "silent": silent})
    elif found:
        _table(found)
    else:
        say("no cameras")
    for name, why in silent.items():
        say(f"{name}: {why}")
    if silent or any(one.alarms for one in found):
        raise typer.Exit(Exit.INCOMPLETE)


def _placed(cluster: Reach) -> None:
    """Have the nodes do it now."""
    run_deploy(cluster, "watch", limit=[node.name for node in cluster.now.compute], say=say)


def _table(found: list[watches.CameraStatus]) -> None:
    columns = ("camera", "node", "recording", "last segment", "lag", "behind", "backlog", "gaps 24 h", "events")
    table = Table(*columns, "outbox", "disk", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for one in found:
        table.add_row(
            one.camera,
            one.node,
            one.recording,
            (one.last_segment or "").rpartition("/")[2].removesuffix(".mp4"),
            _seconds(one.lag_s),
            _seconds(one.behind_s),
            "" if one.backlog_segments is None else str(one.backlog_segments),
            "" if one.gaps is None else f"{one.gaps} ({one.gap_seconds:.0f} s)",
            "" if one.events is None else str(one.events),
            str(one.outbox_waiting or 0),
            "" if one.disk_days_left is None else f"{one.disk_days_left:.0f} d",
        )
    out.print(table)
    for one in found:
        for alarm in one.alarms:
            out.print(f"{one.node} {one.camera}: {alarm}", markup=False, highlight=False)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"
