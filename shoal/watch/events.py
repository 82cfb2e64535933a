"""The events that nodes' watches found, as they lie on the nodes: shipped or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shoal import untrusted
from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.outbox.events import ListedEvent
from shoal.paths import NODE_WATCH
from shoal.results.events import LINE_BOUNDS, Event
from shoal.ssh import client as ssh

ANSWER_BYTES = 256 << 20
FOLDER = NODE_WATCH / "events"
_ASK = f"cd {FOLDER} 2>/dev/null || exit 0; find . -mindepth 2 -maxdepth 2 -name events.jsonl -exec cat {{}} +"
_PICTURE = f'cd {FOLDER} && cat -- "watch-$1/clips/$1.jpg"'
PICTURE_BYTES = 2 << 20


def events(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, tuple[Event, ...] | ShoalError]:
    """The events that lie on each node, or why they are not known."""

    def ask(node: Node) -> tuple[Event, ...]:
        done = ssh.run(cluster, node, "sh", "-c", _ASK, root=True, timeout_s=300, most_bytes=ANSWER_BYTES)
        found: dict[str, Event] = {}
        for number, line in enumerate(done.stdout.splitlines(), start=1):
            source = f"{node.name}'s events, line {number}"
            event = untrusted.document(line, Event, source=source, bounds=LINE_BOUNDS)
            # For a moment an event lies there with its clip and without.
            if event.id not in found or not _pending(event):
                found[event.id] = event
        return tuple(found.values())

    return ssh.on_each(nodes, ask)


def _pending(event: Event) -> bool:
    return event.clip is not None and event.clip.state == "pending"


def _no_clip(event: Event) -> str | None:
    """Why it has none; None where it has one."""
    if event.clip is None:
        return "none was made"
    if event.clip.file:
        return None
    return "is yet to be made" if _pending(event) else event.clip.state


def listed(node: str, found: Iterable[Event]) -> list[ListedEvent]:
    """They as `shoal events` lists them; the outbox knows them under the same names."""
    return [
        ListedEvent(
            event=event.id,
            node=node,
            run=f"watch-{event.id}",
            camera=event.camera,
            severity=event.severity,
            start_utc=event.start_utc,
            start_s=event.start_s,
            end_s=event.end_s,
            privacy=event.privacy,
            no_clip=_no_clip(event),
        )
        for event in found
    ]


def picture(cluster: Cluster, node: Node, event_id: str) -> bytes | None:
    """An event's covered picture from its node; None where it has none there, or the node does not answer."""
    try:
        done = ssh.run(
            cluster, node, "sh", "-c", _PICTURE, "picture", event_id, root=True, check=False, most_bytes=PICTURE_BYTES
        )
    except ShoalError:
        return None
    jpeg = done.stdout
    return jpeg if done.exit_code == 0 and jpeg.startswith(b"\xff\xd8\xff") else None
