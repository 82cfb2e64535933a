"""`shoal demo`: from nothing to a report, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal import report
from shoal.cli.console import out, print_json, say
from shoal.cli.options import AgreeToEngine, LabName, StageTimings, Weights
from shoal.cli.options import lab as chosen
from shoal.cli.run_display import show_end, shown
from shoal.cluster.document import Engine
from shoal.errors import Exit
from shoal.interrupts import ReportedInterrupt
from shoal.report import table
from shoal.run.carry_out import exit_code

app = typer.Typer(add_completion=False, help="From nothing to detections on this machine.")


@app.command("demo")
def demo(
    *,
    compute: Annotated[int | None, typer.Option(min=1, max=50, help="Compute nodes; default 2.")] = None,
    yes: AgreeToEngine = False,
    videos: Annotated[
        Path | None, typer.Option(metavar="DIR", exists=True, file_okay=False, help="Your own videos.")
    ] = None,
    weights: Weights = None,
    engine: Annotated[Engine, typer.Option(help="What runs the containers.")] = "auto",
    bacalhau_binary: Annotated[
        Path | None,
        typer.Option(metavar="PATH", exists=True, dir_okay=False, help="The engine's program, given by hand."),
    ] = None,
    img: Annotated[int, typer.Option(min=32, help="Longer side of the model's input, in pixels.")] = 640,
    stride: Annotated[int, typer.Option(min=1, help="Infer every n-th frame.")] = 1,
    conf: Annotated[float, typer.Option(min=0, max=1, help="Least confidence of a detection.")] = 0.35,
    name: LabName = None,
    timings: StageTimings = None,
    json: Annotated[bool, typer.Option("--json", help="The run's record as JSON on stdout, no table.")] = False,
) -> None:
    """Three machines on this one, bootstrapped; YOLOv5 over 12 camera clips; a table and a report.

    Typed again it re-uses what is up; interrupted anywhere, it goes on. `./just demo-down` removes all of it.

    Exit codes: 0 everything was found and is home; 3 a node or a video failed (named); 1, 2, 4 as everywhere.

    Examples:

        shoal demo

        shoal demo --compute 4 --videos ~/footage --stride 5

        shoal demo --engine bacalhau --bacalhau-binary ./bacalhau
    """
    # The demo's parts (converter, clips, engine client) take a second to load; `shoal --help` does without.
    from shoal.demo import up as demos  # noqa: PLC0415

    options = demos.Options(
        lab=chosen(name),
        compute=compute,
        yes=yes,
        engine=engine,
        bacalhau_binary=bacalhau_binary,
        videos=videos,
        weights=weights,
        knobs={"img": img, "stride": stride, "conf": conf},
    )
    times = demos.Timings(say)
    try:
        record = demos.run(options, say, shown, times)
        with times.stage("report", "the report"):
            view = report.read_run(record.run)
            page = report.write_page(view)
    except KeyboardInterrupt:
        say("demo: interrupted; typed again it goes on, `shoal demo-down` removes what there is")
        raise ReportedInterrupt from None
    finally:
        if timings:
            times.write(timings)
    show_end(record)
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        table.show(view, page, out)
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in times.stages_s.items())
    say(f"demo: {spent}; {sum(times.stages_s.values()):.1f} s in all")
    code = exit_code(record)
    if code is not Exit.OK:
        raise typer.Exit(code)
