"""`shoal outbox`: where events and masked clips are shipped to, and what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from shoal.cli.console import out, print_json, say
from shoal.cli.options import AskSudoPassword, ClusterPath, cluster_of
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.outbox import nodes as outboxes
from shoal.outbox.documents import OutboxStatus
from shoal.site import document as site
from shoal.site.outbox import SiteOutbox, faults, of_cluster
from shoal.ssh.failures import brief

app = typer.Typer(
    add_completion=False, help="Ship events and masked clips from the nodes to a store.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="The outcome as JSON on stdout.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help="Default: every compute node.")]
_MB = 1_000_000


@app.command("set")
def set_outbox(
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="s3:BUCKET/PREFIX, gs:BUCKET/PREFIX, sftp:USER@HOST:PORT/PATH, folder:/PATH or rclone:REMOTE:PATH.",
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Of an S3 store that is not Amazon's: http(s)://HOST:PORT.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Of an S3 store.")] = None,
    credential: Annotated[
        Path | None, typer.Option("--credential", metavar="FILE", help="Mode 0600; it stays out of every document.")
    ] = None,
    known_hosts: Annotated[Path | None, typer.Option("--known-hosts", help="Host keys of an SFTP store.")] = None,
    rclone: Annotated[Path | None, typer.Option("--rclone", help="A program instead of Debian's package.")] = None,
    budget_mb: Annotated[
        float | None, typer.Option("--budget-mb-per-day", help="Payload a day, in 10^6 bytes.")
    ] = None,
    timetable: Annotated[str, typer.Option(help="When how fast, as '08:00,512k 18:00,off'; `pause` begins none.")] = "",
    keep_records: Annotated[int, typer.Option("--keep-records-days", help="How long a record may wait.")] = 30,
    keep_alerts: Annotated[int, typer.Option("--keep-alerts-days", help="How long an alert may wait.")] = 90,
    keep_runs: Annotated[
        int | None, typer.Option("--keep-runs-days", help="How long shipped runs stay on the nodes.")
    ] = None,
    disk_floor_mb: Annotated[
        float, typer.Option("--disk-floor-mb", help="Free space that is kept, in 10^6 bytes.")
    ] = 2000,
    none: Annotated[bool, typer.Option("--none", help="Ship nothing any more.")] = False,
    cluster: ClusterPath = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a cluster's nodes ship to and within which bounds; the next `shoal site deploy` places it there.

    Examples: `shoal outbox set --to gs:my-bucket`;
    `shoal outbox set --to s3:events/depot --endpoint https://store.example:9000 --credential ~/.shoal/store.key`
    """
    loaded = cluster_of(cluster)
    name = loaded.name
    if none == (to is not None):
        raise UsageError("one of --to STORE and --none is wanted")
    if none and (own := of_cluster(None, loaded)):
        say(f"the cluster has a store of its own ({own.to}), which the nodes go on shipping to")
    wanted = None
    if to is not None:
        wanted = _checked(
            {
                "to": to,
                "endpoint": endpoint,
                "region": region,
                "credential_file": _absolute(credential),
                "known_hosts_file": _absolute(known_hosts),
                "rclone_file": _absolute(rclone),
                "budget_bytes_per_day": None if budget_mb is None else round(budget_mb * _MB),
                "timetable": timetable,
                "keep_records_days": keep_records,
                "keep_alerts_days": keep_alerts,
                "keep_runs_days": keep_runs,
                "disk_floor_bytes": round(disk_floor_mb * _MB),
            }
        )
    document = site.set_outbox(name, wanted)
    if as_json:
        print_json(document.outbox.model_dump(mode="json") if document.outbox else None)
        return
    say("the next `shoal site deploy` places it on the nodes" if wanted else "the next `shoal site deploy` removes it")


@app.command()
def test(
    names: Names = None,
    cluster: ClusterPath = None,
    as_json: JsonOption = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Ship a small object from each node and say in one line what is wrong with the store.

    Example: `shoal outbox test gate-1`
    """
    loaded = cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password)
    answers = outboxes.test(loaded, outboxes.compute(loaded, names or ()))
    answer = {name: (False, brief(one)) if isinstance(one, ShoalError) else one for name, one in answers.items()}
    if as_json:
        print_json({name: {"good": good, "text": text} for name, (good, text) in answer.items()})
    else:
        for name, (_, text) in answer.items():
            out.print(f"{name}: {text}", markup=False, highlight=False)
    if not all(good for good, _ in answer.values()):
        raise typer.Exit(Exit.FAILED)


@app.command()
def status(
    names: Names = None,
    cluster: ClusterPath = None,
    as_json: JsonOption = False,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """What waits on each node, what was shipped and what was dropped. Ends with 3 where something needs a person.

    Example: `shoal outbox status --json`
    """
    loaded = cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password)
    answers = outboxes.statuses(loaded, outboxes.compute(loaded, names or ()))
    if as_json:
        print_json(
            {
                name: {"error": brief(one)} if isinstance(one, ShoalError) else one.model_dump(mode="json")
                for name, one in answers.items()
            }
        )
    else:
        _table(answers)
    if any(isinstance(one, ShoalError) or one.alarms for one in answers.values()):
        raise typer.Exit(Exit.INCOMPLETE)


@app.command()
def pause(
    names: Names = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on, at once.")] = False,
    cluster: ClusterPath = None,
    ask_sudo_password: AskSudoPassword = False,
) -> None:
    """Begin no upload any more until `--resume`; what is under way is ended, and everything is kept meanwhile.

    Examples: `shoal outbox pause`; `shoal outbox pause gate-1 --resume`
    """
    loaded = cluster_of(cluster, claim=False, ask_sudo_password=ask_sudo_password)
    answers = outboxes.pause(loaded, outboxes.compute(loaded, names or ()), paused=not resume)
    for name, one in answers.items():
        answer = brief(one) if isinstance(one, ShoalError) else "goes on" if resume else "paused"
        out.print(f"{name}: {answer}", markup=False, highlight=False)
    if any(isinstance(one, ShoalError) for one in answers.values()):
        raise typer.Exit(Exit.INCOMPLETE)


def _checked(given: dict[str, object]) -> SiteOutbox:
    loose = SiteOutbox.model_construct(**given)  # type: ignore[arg-type]
    found: list[Fault] = faults(loose)
    for name in ("keep_records_days", "keep_alerts_days", "keep_runs_days", "budget_bytes_per_day"):
        value = given[name]
        if isinstance(value, int) and value < 1:
            found.append(Fault(name, f"must be at least 1 (found {value})"))
    if found:
        raise UsageError("the outbox cannot be set so", faults=tuple(found), hint="docs/outbox.md lists the options")
    return SiteOutbox.model_validate(given)


def _absolute(path: Path | None) -> Path | None:
    return path.expanduser().absolute() if path is not None else None


def _table(answers: dict[str, OutboxStatus | ShoalError]) -> None:
    table = Table("node", "to", "waiting", "shipped", "dropped", "today", "", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name, one in answers.items():
        if isinstance(one, ShoalError):
            table.add_row(name, "", "", "", "", "", brief(one))
            continue
        alerts, records = one.waiting.alerts, one.waiting.records
        limit = one.budget.limit_bytes
        today = f"{one.budget.spent_bytes / _MB:.1f} MB" + (f" of {limit / _MB:.1f}" if limit else "")
        notes = ["paused" if one.paused else "", one.store.trouble or ""]
        table.add_row(
            name,
            one.to,
            f"{alerts.events + records.events} events, {alerts.clips + records.clips} clips, "
            f"{(alerts.size_bytes + records.size_bytes) / _MB:.1f} MB",
            f"{one.shipped.events} events, {one.shipped.clips} clips, {one.shipped.size_bytes / _MB:.1f} MB",
            f"{one.dropped.clips + one.dropped.events}" if one.dropped.clips + one.dropped.events else "",
            today,
            "; ".join(filter(None, notes)),
        )
    out.print(table)
    for name, one in answers.items():
        for alarm in [] if isinstance(one, ShoalError) else one.alarms:
            out.print(f"{name}: alarm: {alarm}", markup=False, highlight=False)
        for gone in [] if isinstance(one, ShoalError) else one.dropped.recent[:10]:
            out.print(
                f"{name}: dropped {gone.key} of {gone.camera} at {gone.at}: {gone.why}", markup=False, highlight=False
            )
