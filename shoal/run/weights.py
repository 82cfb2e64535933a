"""The run's model brought to the nodes that lack it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.paths import NODE_WEIGHTS
from shoal.results.record import Outcome
from shoal.run.work import Work
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief

UPLOAD_TIMEOUT_S = 1800
_PLACE_WEIGHTS = r"""
set -eu
mkdir -p -m 0755 "$1"
arriving=$(mktemp "$1/.$2.XXXXXX.part")
trap 'rm -f "$arriving"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$arriving"
echo "$2  $arriving" | sha256sum -c --status || { echo "the file arrived damaged" >&2; exit 1; }
chmod 0644 "$arriving"
mv "$arriving" "$1/$2.onnx"
"""


def place(work: Work, names: Sequence[str], path: Path | None) -> dict[str, tuple[Outcome, str]]:
    """Place the run's model, the file at `path`, on the nodes `names`; why it is not there, by the names of the others.

    Without a file nothing is sent.
    """
    sha256 = work.record.weights.sha256
    if path is None:
        reason = f"the weights {sha256} are not on the node; give their file with --weights"
        return dict.fromkeys(names, (Outcome.NOT_RUN, reason))
    if not names:
        return {}
    work.note(f"placing weights {work.record.weights.name} on: {', '.join(names)}")
    nodes = [work.cluster.node(name) for name in names]
    placed = ssh.on_each(nodes, lambda node: _place(work.cluster, node, path, sha256))
    return {
        name: (Outcome.NOT_RUN, f"the weights could not be placed: {brief(answer)}")
        for name, answer in placed.items()
        if isinstance(answer, ShoalError)
    }


def _place(cluster: Cluster, node: Node, path: Path, sha256: str) -> None:
    """Put a weights file on a node, checked there before it gets its name. Raises SshError or RemoteError."""
    with path.open("rb") as stream:
        ssh.run(
            cluster, node, "sh", "-c", _PLACE_WEIGHTS, "weights", str(NODE_WEIGHTS), sha256,
            root=True, stdin=stream, timeout_s=UPLOAD_TIMEOUT_S,
        )  # fmt: skip
