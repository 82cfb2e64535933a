"""What a camera's records say of every second: in film, in a gap with its reason, or nowhere; and what came of it.

Read from the node's own ledgers (recorder, watch), which are a stranger's word and checked before anything is reckoned.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from shoal import untrusted
from shoal.cluster.document import Cluster, Node
from shoal.paths import NODE_STATE, NODE_WATCH
from shoal.results.documents import Figure, Text, Word
from shoal.results.events import EventId
from shoal.ssh import client as ssh
from shoal.untrusted import Bounds, DamagedDocumentError

LINE_BOUNDS = Bounds(size_bytes=64 << 10)
ANSWER_BYTES = 64 << 20
JOINT_S = 2.5
"""Between two files: names are whole seconds, and a cut comes at the next key frame after the mark of the clock."""
# Asked as root, of files whose writers have less: no link is followed, no pipe waited for.
_ASK = f"""
for file in {NODE_STATE}/recorder/"$1"/segments {NODE_STATE}/recorder/"$1"/gaps \\
    {NODE_WATCH}/cameras/"$1"/ledger {NODE_WATCH}/cameras/"$1"/told
do
  if [ -f "$file.jsonl" ] && [ ! -L "$file.jsonl" ]; then sed "s/^/${{file##*/}} /" "$file.jsonl"; fi
done
"""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Film(_Part):
    """A closed file; seconds since 1970."""

    file: Text
    start: Figure
    end: Figure


class Gap(_Part):
    """A time without film, noted by the recorder."""

    start: Figure
    end: Figure
    reason: Word


class Looked(_Part):
    """A file that the watch is done with."""

    segment: Text
    closed_s: Figure
    at_s: Figure
    lag_s: float
    events: tuple[EventId, ...]


class Published(_Part):
    """An event that was put into the outbox's reach."""

    id: EventId


@dataclass(frozen=True, slots=True)
class Account:
    """One camera's records."""

    node: str
    camera: str
    films: tuple[Film, ...]
    gaps: tuple[Gap, ...]
    looked: tuple[Looked, ...]
    published: tuple[str, ...]
    """Ids, as often as they were."""

    def waiting(self) -> list[str]:
        """Files that the watch has not come to."""
        done = {one.segment.partition(f"cameras/{self.camera}/")[2] for one in self.looked}
        return [one.file for one in self.films if one.file not in done]

    def looked_at_twice(self) -> list[str]:
        """Files with more than one line in the watch's ledger."""
        times = Counter(one.segment for one in self.looked)
        return sorted(name for name, count in times.items() if count > 1)

    def without_film_s(self, from_s: float, until_s: float) -> float:
        """Seconds between two times that are in no film."""
        return _uncovered_s([(one.start, one.end) for one in self.films], from_s, until_s)

    def unaccounted_s(self, from_s: float, until_s: float) -> float:
        """Seconds between two times that are in no film and in no gap."""
        films = [(one.start, one.end) for one in self.films]
        gaps = [(one.start, one.end) for one in self.gaps]
        return _uncovered_s([*films, *gaps], from_s, until_s)


def _uncovered_s(spans: Iterable[tuple[float, float]], from_s: float, until_s: float) -> float:
    """
    >>> _uncovered_s([(0, 60), (61, 120), (150, 200)], 10, 190)
    30.0
    """
    total_s, reached_s = 0.0, from_s
    for start_s, end_s in sorted(spans):
        hole_s = min(start_s, until_s) - reached_s
        total_s += hole_s if hole_s > JOINT_S else 0.0
        reached_s = max(reached_s, end_s)
    rest_s = until_s - reached_s
    return float(total_s + (rest_s if rest_s > JOINT_S else 0.0))


def accounts(cluster: Cluster, node: Node) -> list[Account]:
    """Those of a node's cameras. Raises ShoalError where it does not answer or its records are damaged."""
    return [_account(cluster, node, camera.name) for camera in node.cameras]


def _account(cluster: Cluster, node: Node, camera: str) -> Account:
    done = ssh.run(cluster, node, "sh", "-c", _ASK, "ask", camera, root=True, most_bytes=ANSWER_BYTES)
    return account_of(node.name, camera, done.stdout.splitlines())


def _torn(line: bytes) -> bool:
    """Whether it is what a power cut left of a line; its ledger's own program passes it over."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return not line.endswith(b"}")
    return False


def account_of(node: str, camera: str, lines: Sequence[bytes]) -> Account:
    """What the lines say, each the name of its ledger and a document. Raises DamagedDocumentError."""
    films, gaps, looked, published = list[Film](), list[Gap](), list[Looked](), list[str]()
    for number, line in enumerate(lines, start=1):
        kind, _, text = line.partition(b" ")
        source = f"{node}'s records of camera {camera}, line {number}"
        if _torn(text):
            continue
        if kind == b"segments":
            films.append(untrusted.document(text, Film, source=source, bounds=LINE_BOUNDS))
        elif kind == b"gaps":
            gaps.append(untrusted.document(text, Gap, source=source, bounds=LINE_BOUNDS))
        elif kind == b"ledger":
            looked.append(untrusted.document(text, Looked, source=source, bounds=LINE_BOUNDS))
        elif kind == b"told":
            published.append(untrusted.document(text, Published, source=source, bounds=LINE_BOUNDS).id)
        else:
            raise DamagedDocumentError(f"{source}: of no ledger")
    return Account(node, camera, tuple(films), tuple(gaps), tuple(looked), tuple(published))
