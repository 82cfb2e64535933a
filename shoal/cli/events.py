"""`shoal events`: what happened, at home and in the store, with clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich import box
from rich.table import Table

from shoal.cli.console import out, print_json, print_plain, say
from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of
from shoal.cluster.document import Cluster
from shoal.errors import Exit, ShoalError, UsageError
from shoal.files import write_atomic
from shoal.outbox import events as listing
from shoal.outbox import nodes as outboxes
from shoal.report import events_page, pictures
from shoal.ssh.failures import brief
from shoal.waiting import looks
from shoal.watch import events as watched

app = typer.Typer(add_completion=False)

FOLLOW_S = 5.0
PICTURES = 60
"""The newest have pictures in the page: each is asked of its node."""


@app.command()
def events(
    *,
    since: Annotated[
        str | None, typer.Option("--since", help="A day, a time (UTC), or 90m, 12h, 7d ago. Default: all.")
    ] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Only this camera's.")] = None,
    severity: Annotated[Literal["alert", "record"] | None, typer.Option(help="Only these.")] = None,
    home: Annotated[bool, typer.Option("--home", help="Only what is on this machine; no node is asked.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then show new ones as they come, until Ctrl-C; with --json one a line.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", dir_okay=False, help="Write a page that opens offline.")
    ] = None,
    cluster: ClusterPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="The events as JSON on stdout.")] = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """List events, the newest first: where each one and its clip are, on the nodes, at home and in the store.

    Examples: `shoal events --since 24h`; `shoal events --camera yard --follow`; `shoal events --html events.html`
    """
    if follow and html is not None:
        raise UsageError("--follow and --html do not go together: the page is of one moment")
    moment = listing.since_of(since) if since else None
    loaded = cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password)

    def look() -> _Found:
        return _chosen(loaded, home=home, since=moment, camera=camera, severity=severity)

    found = look()
    if html is not None:
        write_atomic(html, _page(loaded, found, since=since, camera=camera))
        say(f"{len(found.events)} events in {html}")
    elif follow:
        _follow(found, look, as_json=as_json)
    elif as_json:
        print_json([asdict(event) for event in found.events])
    elif found.events:
        _table(found.events)
    else:
        say("no events")
    for line in found.missing:
        say(line)
    if found.missing:
        raise typer.Exit(Exit.INCOMPLETE)


def write_page(cluster: Cluster, path: Path, *, since: str) -> None:
    """The page of all events since then, as `--html` writes it. Raises UsageError, OSError."""
    found = _chosen(cluster, home=False, since=listing.since_of(since), camera=None, severity=None)
    write_atomic(path, _page(cluster, found, since=since, camera=None))
    say(f"{len(found.events)} events in {path}")


@dataclass(frozen=True, slots=True)
class _Found:
    events: list[listing.ListedEvent]
    missing: list[str]
    """Who did not answer, and files that cannot be read."""


def _chosen(
    cluster: Cluster, *, home: bool, since: datetime | None, camera: str | None, severity: str | None
) -> _Found:
    found = _found(cluster, home=home)
    return replace(found, events=[*listing.chosen(found.events, since=since, camera=camera, severity=severity)])


def _found(cluster: Cluster, *, home: bool) -> _Found:
    """All events, from here and from every node that answers."""
    here, faults = listing.at_home(cluster.name)
    missing = [str(fault) for fault in faults]
    if home:
        return _Found(listing.joined(here, {}), missing)
    on_nodes = watched.events(cluster, cluster.compute)
    shipped = outboxes.events(cluster, cluster.compute)
    for name in on_nodes:
        errors = {
            brief(one)
            for one in (on_nodes[name], shipped[name])
            if isinstance(one, ShoalError) and not isinstance(one, outboxes.NoOutboxError)
        }
        missing += [f"{name}: {error}" for error in sorted(errors)]
    for found in on_nodes.values():
        if not isinstance(found, ShoalError):
            here += found
    known = {name: one for name, one in shipped.items() if not isinstance(one, ShoalError)}
    listing.note_shipped(cluster.name, known, datetime.now(UTC))
    return _Found(listing.joined(here, known), missing)


def _follow(found: _Found, look: Callable[[], _Found], *, as_json: bool) -> None:
    """What there is, the oldest first, then what comes."""
    seen: set[tuple[str, str, str]] = set()
    silent: list[str] = []
    for one in looks(FOLLOW_S):
        if not one.first:
            found = look()
        for event in reversed(found.events):
            name = (event.node, event.run, event.event)
            if name in seen:
                continue
            seen.add(name)
            if as_json:
                typer.echo(json.dumps(asdict(event)))
            else:
                clip = f"no clip: {event.no_clip}" if event.no_clip else ""
                words = (_when(event), event.severity, event.camera, event.node, f"{_seconds(event)} s", clip)
                print_plain("  ".join(filter(None, words)))
        if found.missing != silent:
            silent = found.missing
            for line in silent:
                say(line)


def _page(cluster: Cluster, found: _Found, *, since: str | None, camera: str | None) -> str:
    rows = []
    for number, event in enumerate(found.events):
        jpeg = _picture(cluster, event) if number < PICTURES else None
        where = event.clip_home or (f"no clip: {event.no_clip}" if event.no_clip else f"clip: {_place(event)}")
        rows.append(
            events_page.Row(_when(event), event.camera, event.severity, event.node, _seconds(event), where, jpeg)
        )
    asked = f"{'Since ' + since if since else 'All there are'}{', camera ' + camera if camera else ''}."
    return events_page.render(cluster.name, rows, asked=asked, missing=found.missing)


def _place(event: listing.ListedEvent) -> str:
    return f"{event.clip_stored} ({event.clip_key})" if event.clip_key else event.clip_stored or "on its node"


def _picture(cluster: Cluster, event: listing.ListedEvent) -> bytes | None:
    if event.home is not None:
        return pictures.jpeg(Path(event.home) / "clips" / f"{event.event}.jpg")
    if event.run != f"watch-{event.event}" or event.no_clip:
        return None
    return watched.picture(cluster, cluster.node(event.node), event.event)


def _when(event: listing.ListedEvent) -> str:
    return (event.start_utc or f"{event.start_s:.1f} s").replace("T", " ").removesuffix("Z")


def _seconds(event: listing.ListedEvent) -> str:
    return f"{event.end_s - event.start_s:.1f}"


def _table(found: list[listing.ListedEvent]) -> None:
    table = Table(
        *("when", "camera", "", "node", "seconds", "store", "clip", "at home"), box=box.SIMPLE, padding=(0, 1, 0, 0)
    )
    for event in found:
        clip = event.clip_stored or (f"none: {event.no_clip}" if event.no_clip else "")
        here = event.clip_home or event.home or ""
        table.add_row(
            _when(event),
            event.camera,
            event.severity,
            event.node,
            _seconds(event),
            event.stored,
            clip,
            here,
        )
    out.print(table)
