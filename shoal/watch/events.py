"""The events that nodes' watches found, as they lie on the nodes: shipped or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shoal import untrusted
from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.outbox.events import ListedEvent
from shoal.paths import NODE_WATCH
from shoal.results.events import EVENTS_MOST, LINE_BOUNDS, Event
from shoal.ssh import client as ssh

ANSWER_BYTES = 256 << 20
FOLDER = NODE_WATCH / "events"
_ASK = f"cd {FOLDER} 2>/dev/null || exit 0; find . -mindepth 2 -maxdepth 2 -type f -name events.jsonl -exec cat {{}} +"
_PICTURE = f'cd {FOLDER} && set -- "watch-$1/clips/$1.jpg" && [ -f "$1" ] && [ ! -L "$1" ] && cat -- "$1"'
PICTURE_BYTES = 2 << 20


def events(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, list[ListedEvent] | ShoalError]:
    """The events that lie on each node, or why they are not known. Their objects' paths are let go at once."""

    def ask(node: Node) -> list[ListedEvent]:
        done = ssh.run(cluster, node, "sh", "-c", _ASK, root=True, timeout_s=300, most_bytes=ANSWER_BYTES)
        return listed(
            node.name,
            untrusted.lines(done.stdout, Event, source=f"{node.name}'s events", most=EVENTS_MOST, bounds=LINE_BOUNDS),
        )

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
    by_id: dict[str, ListedEvent] = {}
    for event in found:
        # For a moment an event lies there with its clip and without.
        if event.id in by_id and _pending(event):
            continue
        by_id[event.id] = ListedEvent(
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
    return [*by_id.values()]


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
