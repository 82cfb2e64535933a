"""`shoal demo-cloud`: from an empty cloud project to a report, and back to an empty project."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal.cli.console import out, say
from shoal.cli.up import Kind, Name, chosen
from shoal.cloud import pulumi
from shoal.errors import Exit
from shoal.lifecycle import verbs

app = typer.Typer(add_completion=False, help="From an empty cloud project to detections.")


@app.command("demo-cloud")
def demo_cloud(
    *,
    stack: Name = None,
    project: Annotated[str | None, typer.Option(help="Google Cloud project; else gcloud's own.")] = None,
    ttl_hours: Annotated[int, typer.Option(min=1, help="When the lab is meant to be gone.")] = 4,
    stride: Annotated[int, typer.Option(min=1, help="Infer every n-th frame.")] = 1,
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Take the lab down at the end, also after a failure.")
    ] = False,
) -> None:
    """Up, bootstrap, run and report on a cloud lab. Typed again, it goes on where it was.

    Exit codes: as `shoal run`; with --destroy also 3 where something is left in the project.

    Example: shoal demo-cloud --project my-project --destroy
    """
    # The run's parts take a second to load; `shoal --help` does without.
    from shoal import report  # noqa: PLC0415
    from shoal.cli.run_display import show_end, shown  # noqa: PLC0415
    from shoal.engines import choice as engines  # noqa: PLC0415
    from shoal.report import table  # noqa: PLC0415
    from shoal.results.record import Weights  # noqa: PLC0415
    from shoal.run import start as running  # noqa: PLC0415
    from shoal.run.carry_out import exit_code  # noqa: PLC0415
    from shoal.site import weights  # noqa: PLC0415

    lab, code = chosen(Kind.gcp, stack), Exit.OK
    try:
        verbs.up(lab, verbs.Wanted(project=project, ttl_hours=ttl_hours), say)
        cluster = verbs.bootstrap(lab, say)
        model = weights.yolov5s(say=say)
        order = running.Order(
            cluster=cluster,
            engine=engines.choose("auto", cluster),
            weights=Weights(name=model.name, sha256=model.sha256, licence=model.licence),
            weights_path=model.path,
            knobs={"stride": stride},
        )
        with shown() as tell:
            record = running.start(order, tell)
        view = report.read_run(record.run)
        show_end(record)
        table.show(view, report.write_page(view), out)
        code = exit_code(record)
    finally:
        if destroy and pulumi.exists(lab):
            receipt, path = verbs.destroy(lab, say, force=True)
            say(f"{'nothing is left' if receipt.clean else 'SOMETHING IS LEFT'}; receipt: {path}")
            code = code if receipt.clean else Exit.INCOMPLETE
    if code is not Exit.OK:
        raise typer.Exit(code)
