"""Containers that work on a run after its time limit: an engine that lost sight of one does not end it any more.

Such a container holds the lock of the run's folder, and every later attempt would wait for it, each to its own limit.
"""

from __future__ import annotations

import re

from shoal.cluster.document import Cluster, Node
from shoal.paths import NODE_RUNS
from shoal.ssh import client as ssh

AGES_MAX = 100
_AGE = re.compile(r"[0-9]{1,10}")
# $1: the run's folder, $2: the limit in seconds. The newest container is the one that waits; it is left alone. Docker's
# filter `volume` does not know the source of a bind mount, so every container that runs is looked at.
_END_OVERDUE = r"""
now=$(date +%s)
ids=$(docker ps --quiet --no-trunc) || exit 1
for id in $ids; do
    docker inspect --type container --format '{{.Id}} {{.State.StartedAt}}{{range .Mounts}} {{.Source}}{{end}}' "$id" \
        2>/dev/null || true
done | while read -r id begun sources; do
    case " $sources " in *" $1 "*) echo "$(date -d "$begun" +%s) $id" ;; esac
done | sort -n | sed '$d' | while read -r begun id; do
    age=$((now - begun))
    [ "$age" -le "$2" ] || { docker kill "$id" >/dev/null && echo "$age"; }
done
"""


def end_overdue(cluster: Cluster, node: Node, run: str, *, limit_s: int) -> list[int]:
    """Kill containers on `node` that have worked on `run` for longer than `limit_s`, but for the newest one.

    Gives the age in seconds of each that was killed. What it finished stays in the run's folder. Raises SshError, and
    RemoteError where Docker does not answer.
    """
    words = ("sh", "-c", _END_OVERDUE, "overdue", str(NODE_RUNS / run), str(limit_s))
    return ages(ssh.run(cluster, node, *words, root=True, timeout_s=120).text)


def ages(text: str) -> list[int]:
    """The ages in a machine's answer, in seconds; words that are none are passed over."""
    return [int(word) for word in text.split()[:AGES_MAX] if _AGE.fullmatch(word)]
