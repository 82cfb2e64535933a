"""Asks the nodes' outboxes: status, events, a test of the store, pause and resume."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError, UsageError
from shoal.outbox.documents import EVENTS_BYTES, OutboxEvent, OutboxStatus, events_of, status_of
from shoal.paths import NODE_OUTBOX, NODE_PROGRAMS
from shoal.ssh import client as ssh

PROGRAM = str(NODE_PROGRAMS / "outbox.pyz")
USER = "shoal-outbox"
PAUSED = str(NODE_OUTBOX / "paused")
BACKOFF = str(NODE_OUTBOX / "backoff.json")
"""Until when the shipper leaves a store alone that failed; who asks it to go on does not wait for that."""
NO_OUTBOX = 40
"""Exit code of the questions where the role is not there."""
TEST_S = 300.0
_ASK = f'[ -e {PROGRAM} ] || exit {NO_OUTBOX}; exec python3 {PROGRAM} "$@"'
# As the shipper's user: what the credential's mode and the store say to root is not what they say to it.
_TEST = (
    f"[ -e {PROGRAM} ] || exit {NO_OUTBOX}; cd /; "
    f"exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs python3 {PROGRAM} test"
)
# The folder is the shipper's, this is root's: a new file takes the mark's place, and no link in it is written through.
_PAUSE = (
    f"[ -e {PROGRAM} ] || exit {NO_OUTBOX}; "
    f'case "$1" in on) new=$(mktemp {PAUSED}.XXXXXX) && mv -fT "$new" {PAUSED};; *) rm -f {PAUSED} {BACKOFF};; esac'
)
# Nothing waits for its next turn where somebody asks for it now.
_NOW = "systemctl start --no-block shoal-outbox-collect.service shoal-outbox.service"


class NoOutboxError(ShoalError):
    """A node without an outbox."""

    def __init__(self, node: str) -> None:
        super().__init__(
            f"{node} has no outbox",
            hint="`shoal outbox set --to STORE`, then `shoal site deploy`",
        )


def compute(cluster: Cluster, names: Sequence[str]) -> tuple[Node, ...]:
    """The compute nodes of these names; all of them where none is named. Raises UsageError."""
    if not names:
        return cluster.compute
    nodes = tuple(cluster.node(name) for name in names)
    if strangers := [node.name for node in nodes if not node.has_role("compute")]:
        raise UsageError(f"{', '.join(strangers)}: no compute node, and so without an outbox")
    return nodes


def statuses(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, OutboxStatus | ShoalError]:
    """The status of each node's outbox, or why it is not known."""

    def ask(node: Node) -> OutboxStatus:
        # Exit code 3: something needs a person, and the document says what.
        raw = _asked(cluster, node, "status", good=(0, 3))
        return status_of(raw, source=f"the outbox's status of {node.name}")

    return ssh.on_each(nodes, ask)


def events(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, tuple[OutboxEvent, ...] | ShoalError]:
    """The events that each node's outbox knows, or why they are not known."""

    def ask(node: Node) -> tuple[OutboxEvent, ...]:
        return events_of(_asked(cluster, node, "events"), source=f"the outbox's events of {node.name}")

    return ssh.on_each(nodes, ask)


def test(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, tuple[bool, str] | ShoalError]:
    """Ship a small object from each node: whether that went well, and the line that says how."""

    def ask(node: Node) -> tuple[bool, str]:
        done = ssh.run(cluster, node, "sh", "-c", _TEST, "test", root=True, timeout_s=TEST_S, check=False)
        if done.exit_code == NO_OUTBOX:
            raise NoOutboxError(node.name)
        lines = [*done.text.splitlines(), *done.stderr.splitlines()]
        return done.exit_code == 0, next((line for line in lines if line.strip()), "it does not say anything")

    return ssh.on_each(nodes, ask)


def pause(cluster: Cluster, nodes: Sequence[Node], *, paused: bool) -> dict[str, ShoalError | None]:
    """Begin no upload any more, or go on. What is under way is ended."""

    def ask(node: Node) -> None:
        done = ssh.run(cluster, node, "sh", "-c", _PAUSE, "pause", "on" if paused else "off", root=True, check=False)
        if done.exit_code == NO_OUTBOX:
            raise NoOutboxError(node.name)
        if done.exit_code != 0:
            raise ShoalError(f"{node.name}: {done.stderr.strip() or 'the mark could not be set'}")
        if not paused:
            ssh.run(cluster, node, "sh", "-c", _NOW, "now", root=True)

    return ssh.on_each(nodes, ask)


def _asked(cluster: Cluster, node: Node, verb: str, *, good: Sequence[int] = (0,)) -> bytes:
    done = ssh.run(
        cluster,
        node,
        *("sh", "-c", _ASK, "ask", verb),
        root=True,
        timeout_s=TEST_S,
        check=False,
        most_bytes=EVENTS_BYTES,
    )
    if done.exit_code == NO_OUTBOX:
        raise NoOutboxError(node.name)
    if done.exit_code not in good:
        raise ShoalError(f"{node.name}: {done.stderr.strip().removeprefix('<3>') or 'its outbox does not answer'}")
    return done.stdout
