"""`shoal cost`: what central processing costs, what the edge costs, and what a run cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shoal import report
from shoal.cli.console import out, print_json, say
from shoal.cost import compare as comparing
from shoal.cost import prices as pricing
from shoal.cost import published
from shoal.errors import ShoalError, UsageError
from shoal.files import write_atomic
from shoal.report import cost_page
from shoal.report.model import Run

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What it costs, and what it saves.")

PricesFile = Annotated[
    Path | None,
    typer.Option("--prices", metavar="PATH", help="A price table of your own, in the form of shoal/prices.toml."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The figures as JSON on stdout.")]


@app.command("compare")
def compare(
    *,
    cameras: Annotated[int, typer.Option(help="Number of cameras.")] = 10,
    resolution: Annotated[str, typer.Option(help="WIDTHxHEIGHT of a camera, in pixels.")] = "3840x2160",
    fps: Annotated[float, typer.Option(help="Frames per second of a camera.")] = 60.0,
    gb_per_hour: Annotated[
        float | None, typer.Option(help="Of one camera; else from --mbit-per-s, else by pixels and frames.")
    ] = None,
    mbit_per_s: Annotated[float | None, typer.Option(help="Bit rate of one camera.")] = None,
    hours_per_day: Annotated[float, typer.Option(help="Hours of recording a day.")] = 24.0,
    months: Annotated[int, typer.Option(help="Months reckoned.")] = 1,
    keep_months: Annotated[float, typer.Option(help="How long footage is kept.")] = 1.0,
    matters: Annotated[float, typer.Option(help="Share of the footage that is worth keeping, from 0 to 1.")] = 0.1,
    looked_at: Annotated[float, typer.Option(help="Share of the frames that are looked at, from 0 to 1.")] = 1.0,
    viewed: Annotated[float, typer.Option(help="Share of the stored footage that people fetch a month.")] = 0.0,
    uplink_usd_per_gb: Annotated[float, typer.Option(help="What the site's line costs per GB.")] = 0.0,
    vendor: Annotated[str, typer.Option(help="aws, google, azure, several with commas, or all.")] = "all",
    machine_type: Annotated[str | None, typer.Option(help="Machine type of the own nodes, by the price table.")] = None,
    on_demand: Annotated[bool, typer.Option("--on-demand", help="Own nodes on demand instead of spot.")] = False,
    node_usd_per_hour: Annotated[float | None, typer.Option(help="Price of one own node, instead of a type.")] = None,
    node_fps: Annotated[float | None, typer.Option(help="Frames per second that one node looks at.")] = None,
    from_run: Annotated[str | None, typer.Option(metavar="RUN", help="Take --node-fps from this run.")] = None,
    node_watts: Annotated[float, typer.Option(help="Power of one owned box.")] = 0.0,
    usd_per_kwh: Annotated[float, typer.Option(help="Price of electricity.")] = 0.0,
    currency: Annotated[str, typer.Option(help="USD; nothing is converted.")] = "USD",
    as_published: Annotated[
        bool, typer.Option("--published", help="The published comparison and the walk-through's run, reckoned again.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Write a page, too.")] = None,
    prices: PricesFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare central processing with the edge: storage, access, AI service, network, own nodes, electricity.

    Both readings of the edge are shown: with the vendor's AI service still paid for, and with inference on your own
    nodes. Exit codes: 0 done, 2 with every fault of the figures.

    Examples:

        shoal cost compare --cameras 10 --gb-per-hour 11 --matters 0.1 --machine-type e2-standard-8

        shoal cost compare --cameras 4 --resolution 1920x1080 --fps 10 --node-watts 40 --usd-per-kwh 0.3 --node-fps 30

        shoal cost compare --published
    """
    table = pricing.load_prices(prices or pricing.TABLE)
    if as_published:
        facts = _published_facts(from_run)
        found = [published.comparison(name, table) for name in published.VENDORS]
    else:
        width, height = _resolution(resolution)
        given: dict[str, Any] = {
            "cameras": cameras, "width": width, "height": height, "frames_per_s": fps, "gb_per_hour": gb_per_hour,
            "mbit_per_s": mbit_per_s, "hours_per_day": hours_per_day, "months": months, "keep_months": keep_months,
            "matters": matters, "looked_at": looked_at, "viewed": viewed, "uplink_usd_per_gb": uplink_usd_per_gb,
            "machine_type": machine_type, "spot": not on_demand, "node_usd_per_hour": node_usd_per_hour,
            "node_watts": node_watts, "usd_per_kwh": usd_per_kwh, "currency": currency,
        }  # fmt: skip
        if (speed := _node_fps(node_fps, from_run)) is not None:
            given["node_frames_per_s"] = speed
        figures = comparing.figures(given)
        vendors = sorted(table.vendors) if vendor == "all" else [name.strip() for name in vendor.split(",")]
        found = comparing.compare(figures, vendors, table)
        facts = _facts(figures)
    if html is not None:
        _write(html, cost_page.render(found, facts))
    if as_json:
        print_json({"figures": dict(facts), "comparisons": [_as_json(one) for one in found]})
    else:
        _show(found, facts)


@app.command("run")
def of_run(
    run: Annotated[str, typer.Argument(help="Id of the run, as in runs/.")],
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="USD per hour of a node for which no price is recorded.")
    ] = None,
    prices: PricesFile = None,
    as_json: AsJson = False,
) -> None:
    """What a run cost: altogether, per hour of footage, per thousand frames.

    Exit codes: 0 done, 2 there is no such run, 3 no price is known for a node.

    Examples:

        shoal cost run 20261125-093012-3fa9

        shoal cost run 20261125-093012-3fa9 --price 0.11 --json
    """
    view = report.read_run(run)
    cost = report.cost_of(view, pricing.load_prices(prices or pricing.TABLE), usd_per_hour=price)
    if as_json:
        print_json({"run": run, **asdict(cost)})
    else:
        out.print("\n".join(report.cost_lines(cost)), markup=False, highlight=False)
    if not cost.whole:
        raise typer.Exit(3)


def _resolution(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--resolution {text!r} is not WIDTHxHEIGHT", hint="for example 1920x1080")
    return int(width), int(height)


def _node_fps(given: float | None, from_run: str | None) -> float | None:
    if given is not None and from_run is not None:
        raise UsageError("--node-fps and --from-run exclude each other")
    return given if from_run is None else _measured_fps(report.read_run(from_run))


def _measured_fps(view: Run) -> float:
    """Frames inferred per second of machine time, over all nodes of a run."""
    seconds = sum(node.machine_time_s or 0.0 for node in view.nodes)
    if not seconds or not view.totals.frames_inferred:
        raise UsageError(f"run {view.run} has no measured speed: no node has both a time and inferred frames")
    return view.totals.frames_inferred / seconds


def _facts(figures: comparing.Figures) -> list[tuple[str, str]]:
    facts = [
        ("cameras", f"{figures.cameras}, {figures.width} x {figures.height} at {figures.frames_per_s:g} frames/s"),
        ("recording", f"{figures.hours_per_day:g} h a day, {figures.footage_gb:,.0f} GB a month altogether"),
        ("kept", f"{100 * figures.matters:g} % of it matters, kept for {figures.keep_months:g} month(s)"),
        ("looked at", f"{100 * figures.looked_at:g} % of the frames: {figures.images:,.0f} images a month"),
        ("own nodes", f"{figures.nodes} at {figures.node_frames_per_s:.4g} frames/s each{_node_price(figures)}"),
        ("months", str(figures.months)),
    ]
    if figures.node_watts:
        facts.append(("electricity", f"{figures.node_watts:g} W a node, {figures.usd_per_kwh:g} USD/kWh"))
    return facts


def _node_price(figures: comparing.Figures) -> str:
    if figures.machine_type:
        return f", {figures.machine_type} ({'spot' if figures.spot else 'on demand'})"
    if figures.node_usd_per_hour is None:
        return ", no price given: counted as 0"
    return f", {figures.node_usd_per_hour:g} USD/h"


def _published_facts(from_run: str | None) -> list[tuple[str, str]]:
    once = published.run_cost()
    facts = [
        ("published comparison", "10,000 TB a month, 100 million images, 150 million operations before and 100 after"),
        (
            "the walk-through's run",
            f"an hour of 4K at 60 frames/s on 2 e2-standard-8 (spot), 10 frames/s each: {once.hours:.1f} h, "
            f"{once.usd:.2f} USD (it says {published.RUN_SAID_USD:.0f})",
        ),
    ]
    if from_run is not None:
        speed = _measured_fps(report.read_run(from_run))
        again = published.run_cost(node_frames_per_s=speed)
        facts.append((
            f"the same hour at the speed of run {from_run}",
            f"{speed:.1f} frames/s a node: {again.hours:.2f} h, {again.usd:.2f} USD, if those machines were as fast",
        ))  # fmt: skip
    return facts


def _as_json(one: comparing.Comparison) -> dict[str, Any]:
    return {
        "vendor": one.vendor,
        "months": one.months,
        "usd": {column: dict(rows) for column, rows in one.usd.items()},
        "sum_usd": {column: one.total(column) for column in one.usd},
        "saving": {column: one.saving(column) for column in one.usd if column != "central"},
        "nodes": one.nodes,
        "unconfirmed": list(one.unconfirmed),
    }


def _show(found: list[comparing.Comparison], facts: list[tuple[str, str]]) -> None:
    for one in found:
        table = Table(title=f"{one.name}, USD for {one.months} month{'s' if one.months != 1 else ''}")
        table.add_column("")
        for column in one.usd:
            table.add_column(column, justify="right")
        for row in comparing.ROWS:
            table.add_row(row, *(cost_page.money(rows[row]) for rows in one.usd.values()))
        table.add_section()
        table.add_row("sum", *(cost_page.money(one.total(column)) for column in one.usd))
        table.add_row("saves", "", *(cost_page.percent(one.saving(column)) for column in list(one.usd)[1:]))
        out.print(table)
    for label, value in facts:
        out.print(f"{label}: {value}", markup=False, highlight=False)
    doubts = dict.fromkeys(doubt for one in found for doubt in one.unconfirmed)
    if doubts:
        out.print(f"unconfirmed prices: {', '.join(doubts)}", markup=False, highlight=False)


def _write(path: Path, page: str) -> None:
    try:
        write_atomic(path, page)
    except OSError as error:
        raise ShoalError(
            f"the page cannot be written to {path}: {error.strerror or error}", hint="name another file"
        ) from None
    say(f"page: {path.absolute()}")
