"""`shoal demo-live`: cameras watched through an outage with a power cut in it."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.console import out, print_json, say
from shoal.cli.events import write_page
from shoal.cli.options import AgreeToEngine, LabName, StageTimings, Weights
from shoal.cli.options import lab as chosen
from shoal.cluster import load
from shoal.cluster.document import Engine
from shoal.errors import Exit
from shoal.interrupts import ReportedInterrupt
from shoal.paths import cluster_document, runs_dir
from shoal.site.watch import SiteWatch

app = typer.Typer(add_completion=False, help="Cameras watched through an outage, on this machine.")


@app.command("demo-live")
def demo_live(
    *,
    cameras: Annotated[int | None, typer.Option(min=1, max=16, help="Cameras of each compute node; default 2.")] = None,
    yes: AgreeToEngine = False,
    engine: Annotated[Engine, typer.Option(help="What is to run jobs on the machines.")] = "auto",
    weights: Weights = None,
    img: Annotated[int, typer.Option(min=32, help="Longer side of the model's input, in pixels.")] = 320,
    stride: Annotated[int, typer.Option(min=1, help="Look at every n-th frame.")] = 5,
    outage_s: Annotated[float, typer.Option(min=10, max=3600, help="How long the outage lasts.")] = 60,
    power_off_s: Annotated[float, typer.Option(min=1, max=600, help="How long the power is off meanwhile.")] = 10,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", dir_okay=False, help="The page; default runs/live.html.")
    ] = None,
    name: LabName = None,
    timings: StageTimings = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was counted, as JSON on stdout.")] = False,
) -> None:
    """Machines with RTSP cameras and a store, watched; an outage of a minute with a power cut in it; then the count.

    What was lost and what arrived is counted from the recorders', the watches' and the store's own records.
    `./just demo-down` removes all of it.

    Exit codes: 0 every second is accounted for, every event arrived once; 1 not so; 2, 4 as everywhere.

    Examples:

        shoal demo-live

        shoal demo-live --cameras 3 --outage-s 120
    """
    # As in `shoal demo`: its parts take a second to load.
    from shoal.demo import live  # noqa: PLC0415
    from shoal.demo.up import Timings  # noqa: PLC0415

    lab = chosen(name)
    options = live.Options(
        lab=lab,
        cameras=cameras,
        yes=yes,
        engine=engine,
        weights=weights,
        watch=SiteWatch(img=img, stride=stride, stride_most=max(20, stride)),
        outage_s=outage_s,
        power_off_s=power_off_s,
    )
    times = Timings(say)
    began = datetime.datetime.now(datetime.UTC)
    try:
        record = live.run(options, say, times)
        page = html or runs_dir() / "live.html"
        with times.stage("page", "the page"):
            write_page(load.load_path(cluster_document(lab)), page, since=f"{began:%Y-%m-%dT%H:%M}")
    except KeyboardInterrupt:
        say("demo: interrupted; typed again it goes on, `shoal demo-down` removes what there is")
        raise ReportedInterrupt from None
    finally:
        if timings:
            times.write(timings)
    if as_json:
        print_json({**asdict(record), "good": record.good, "page": str(page)})
    else:
        for line in live.sentences(record):
            out.print(line, markup=False, highlight=False)
        out.print(f"page: {page}", markup=False, highlight=False)
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in times.stages_s.items())
    say(f"demo: {spent}; {sum(times.stages_s.values()):.1f} s in all")
    if not record.good:
        raise typer.Exit(Exit.FAILED)
