"""Old runs removed: on the nodes first, then here, and never the only copy of results unless that is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, UsageError
from shoal.paths import NODE_RUNS, runs_dir
from shoal.results import record as runs
from shoal.results.lock import locked
from shoal.results.record import RUN_ID, Outcome, RunRecord
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say, quiet
from shoal.untrusted import DamagedDocumentError, whole

SECONDS_PER_DAY = 86_400
REMOVE_TIMEOUT_S = 600
_WITHOUT_RESULTS = frozenset({Outcome.NO_VIDEOS, Outcome.NOT_RUN, Outcome.DRAINED})
"""Outcomes of nodes that have nothing to bring home."""
PRUNED = ".pruned-"
"""In front of the name of a run's folder while it is being removed: half of one is never taken for a run."""

# A line a run: its name, seconds since its last document was written, bytes, whether it is done, whether it is free.
# A detector that is at work holds the lock, in its container as well.
_LIST = r"""
cd -- "$1" 2>/dev/null || exit 0
now=$(date +%s)
for run in *; do
    [ -d "$run" ] && [ ! -L "$run" ] || continue
    state=open newest=$run use=free
    if [ -f "$run/manifest.json" ]; then state=done newest=$run/manifest.json; fi
    [ ! -f "$run/lock" ] || flock -n "$run/lock" true || use=held
    printf '%s %s %s %s %s\n' "$run" "$((now - $(stat -c %Y -- "$newest")))" \
        "$(du -sb -- "$run" | cut -f 1)" "$state" "$use"
done
"""
# Again under the lock: it may have been taken in between. Renamed first, so that an interrupted removal leaves no run.
_REMOVE = r"""
cd -- "$1" || exit 1
shift
status=0
rm -rf -- .pruned-*
for run; do
    [ -d "$run" ] && [ ! -L "$run" ] || continue
    if [ -f "$run/lock" ]; then
        flock -n "$run/lock" mv -T -- "$run" ".pruned-$run" || { echo "$run is in use" >&2; status=3; continue; }
    else
        mv -T -- "$run" ".pruned-$run" || exit 1
    fi
    rm -rf -- ".pruned-$run" || exit 1
done
exit $status
"""


@dataclass(frozen=True, slots=True)
class OnNode:
    """One run's folder on one node."""

    run: str
    age_s: int
    size_bytes: int
    done: bool
    held: bool


@dataclass(slots=True)
class Pruned:
    """What was removed, or would be, and what stays although it is old."""

    on_nodes: dict[str, list[OnNode]] = field(default_factory=dict)
    """By node."""
    here: list[str] = field(default_factory=list)
    kept: list[Fault] = field(default_factory=list)
    """Old runs that stay, and why."""
    faults: list[Fault] = field(default_factory=list)
    """Nodes that could not be asked, and what could not be removed."""


def prune(
    cluster: Cluster,
    keep_days: int,
    *,
    unfetched: bool = False,
    dry: bool = False,
    now: datetime | None = None,
    say: Say = quiet,
) -> Pruned:
    """Remove the runs of `cluster` that ended more than `keep_days` days ago, on its nodes and here.

    A folder on a node goes only where its results are home and checked, or with `unfetched`; what a detector works on
    stays. The copy here goes once no node of the cluster has one. With `dry` nothing is removed. Raises UsageError
    where `keep_days` is below 1.
    """
    if keep_days < 1:
        raise UsageError(f"results are kept at least a day, not {keep_days} days")
    before = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    known = _records(cluster)
    result = Pruned()
    listed = ssh.on_each(cluster.compute, lambda node: on_node(cluster, node))
    for name, answer in listed.items():
        if isinstance(answer, ShoalError):
            result.faults.append(Fault(name, brief(answer)))
            continue
        old = [found for found in answer if found.age_s > keep_days * SECONDS_PER_DAY]
        result.on_nodes[name] = [found for found in old if not (why := _why_kept(found, name, known, unfetched))]
        result.kept += [
            Fault(f"{name}:{found.run}", why) for found in old if (why := _why_kept(found, name, known, unfetched))
        ]
    if not dry:
        _remove_on_nodes(cluster, result, say)
    left = {found.run for answer in listed.values() if not isinstance(answer, ShoalError) for found in answer}
    left -= {found.run for gone in result.on_nodes.values() for found in gone}
    for run, record in known.items():
        if (record.finished_at or record.created_at) < before and _may_go_here(run, record, left, result, unfetched):
            if not dry:
                _remove_here(run)
                say(f"removed {run} here")
            result.here.append(run)
    return result


def on_node(cluster: Cluster, node: Node) -> list[OnNode]:
    """The runs' folders on a node. Raises SshError, RemoteError, and DamagedDocumentError where it answers none."""
    done = ssh.run(cluster, node, "sh", "-c", _LIST, "list", str(NODE_RUNS), root=True, timeout_s=REMOVE_TIMEOUT_S)
    return [found for line in done.text.splitlines() if (found := _listed(line)) is not None]


def _listed(line: str) -> OnNode | None:
    words = line.split(" ")
    if not RUN_ID.fullmatch(words[0]):
        return None  # not made by a run
    if len(words) != 5 or words[3] not in ("done", "open") or words[4] not in ("held", "free"):
        raise DamagedDocumentError(f"the node's word on its runs is {line[:80]!r}")
    # A clock that was set back makes a run younger than nothing.
    age_s = 0 if words[1].startswith("-") else whole(words[1], source="the age of a run on the node")
    size_bytes = whole(words[2], source="the size of a run on the node")
    return OnNode(words[0], age_s, size_bytes, done=words[3] == "done", held=words[4] == "held")


def _records(cluster: Cluster) -> dict[str, RunRecord]:
    """The records here that belong to the cluster; a damaged one belongs to no cluster, and stays."""
    found = {}
    for run in runs.list_runs():
        try:
            record = runs.load(run)
        except UsageError:
            continue
        if record.cluster == cluster.name:
            found[run] = record
    return found


def _why_kept(found: OnNode, node: str, known: dict[str, RunRecord], unfetched: bool) -> str:
    """Why a node's folder stays; empty where it may go."""
    if found.held:
        return "is being worked on"
    if unfetched:
        return ""
    record = known.get(found.run)
    entry = record.nodes.get(node) if record else None
    if entry is None:
        return "is not known here; --unfetched removes it all the same"
    if not found.done or entry.fetched is None:
        return "its results are not home; --unfetched removes it all the same"
    return ""


def _remove_on_nodes(cluster: Cluster, result: Pruned, say: Say) -> None:
    """Remove what was chosen; what could not be removed is taken out of `on_nodes` and named."""
    wanted = {name: [found.run for found in gone] for name, gone in result.on_nodes.items() if gone}

    def remove(node: Node) -> ssh.Completed:
        command = ("sh", "-c", _REMOVE, "remove", str(NODE_RUNS), *wanted[node.name])
        return ssh.run(cluster, node, *command, root=True, timeout_s=REMOVE_TIMEOUT_S)

    for name, answer in ssh.on_each([cluster.node(name) for name in wanted], remove).items():
        if isinstance(answer, ShoalError):
            result.faults.append(Fault(name, brief(answer)))
            result.on_nodes[name] = []
        else:
            say(f"removed {_counted(wanted[name])} on {name}")


def _may_go_here(run: str, record: RunRecord, left: set[str], result: Pruned, unfetched: bool) -> bool:
    if run in left:
        result.kept.append(Fault(run, "stays here as long as a node has it"))
    elif result.faults:
        result.kept.append(Fault(run, "stays here until every node could be asked"))
    elif not unfetched and any(
        entry.fetched is None and entry.outcome not in _WITHOUT_RESULTS for entry in record.nodes.values()
    ):
        result.kept.append(Fault(run, "is not whole; --unfetched removes it all the same"))
    else:
        return True
    return False


def _remove_here(run: str) -> None:
    """Remove a run's folder; one that another process works on raises ShoalError."""
    gone = runs_dir() / f"{PRUNED}{run}"
    with locked(run):
        shutil.rmtree(gone, ignore_errors=True)
        runs.run_dir(run).rename(gone)
        shutil.rmtree(gone)


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} run{'s' if len(names) != 1 else ''}"
