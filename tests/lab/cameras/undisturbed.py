"""A second watch on a node over the footage that was recorded, from the first file on, which nobody disturbs; and what
both made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from watched_lab import Watched, eventually

from shoal.cluster.document import Node
from shoal.paths import NODE_WATCH

STATE = "/var/lib/undisturbed"
UNIT = "undisturbed"
STARTER = "/usr/local/lib/shoal/watch.sh"
OF_THE_CLIP = {"clip", "key_frame"}
"""In an event's document; what else is in it is decided by the footage and the rules alone."""


OF_AN_EVENT = ("id", "segment", "early", "start_utc", "end_utc", "severity")
"""In a line of what was published; when that was is another thing."""


@dataclass(frozen=True)
class Found:
    """What a watch says of some files of a camera."""

    files: list[dict[str, Any]]
    """Lines of its ledger, in order: what was read of each file, and the events that it decided."""
    told: list[dict[str, Any]]
    """Lines of what it published: each event with the file that decided it."""
    events: dict[str, dict[str, Any]]
    """The events' documents by id, without their clips."""


@contextmanager
def passes(watched: Watched, nodes: list[Node], films: dict[str, set[str]], limit_s: float) -> Iterator[None]:
    """Let each node's own watch rest, and its image look through all footage once more, with the same settings, until
    it is done with these films, by camera."""
    try:
        for node in nodes:
            watched.on(node.name, "systemctl stop shoal-watch")
            watched.on(node.name, _script(watched.on(node.name, f"cat {STARTER}")))
        for node in nodes:
            eventually(lambda node=node: _done(watched, node, films), f"{node.name} is through", limit_s)
        for node in nodes:
            watched.on(node.name, f"systemctl stop {UNIT}")
        yield
    finally:
        for node in nodes:
            watched.on(node.name, f"systemctl stop {UNIT} || true; docker rm -f {UNIT}; rm -rf {STATE} {STATE}.sh")
            watched.on(node.name, "systemctl start shoal-watch")


def found(watched: Watched, node: Node, camera: str, films: set[str], state: str = str(NODE_WATCH)) -> Found:
    """What the watch of a state folder says of films of a camera."""
    names = {f"cameras/{camera}/{film}" for film in films}
    ledger = watched.lines(node.name, f"{state}/cameras/{camera}/ledger.jsonl")
    told = watched.lines(node.name, f"{state}/cameras/{camera}/told.jsonl")
    documents = watched.lines(node.name, f"$(ls {state}/events/*/events.jsonl 2>/dev/null) /dev/null")
    told = [{name: line[name] for name in OF_AN_EVENT} for line in told if line["segment"] in names]
    ids = {line["id"] for line in told}
    return Found(
        files=[
            {name: line[name] for name in ("segment", "size_bytes", "seconds", "frames", "fault", "events")}
            for line in ledger
            if line["segment"] in names
        ],
        told=told,
        events={
            one["id"]: {name: value for name, value in one.items() if name not in OF_THE_CLIP}
            for one in documents
            if one["id"] in ids
        },
    )


def _script(starter: str) -> str:
    """Run the starter with another state folder, which begins where and as the other did."""
    for before, after in (
        ("--name shoal-watch ", f"--name {UNIT} "),
        ("--label shoal.watch=1 ", ""),
        (f"source={NODE_WATCH},", f"source={STATE},"),
    ):
        assert before in starter
        starter = starter.replace(before, after)
    return (
        f"set -e; mkdir {STATE}; cp {NODE_WATCH}/began.json {NODE_WATCH}/precision.json {STATE}\n"
        f"cat > {STATE}.sh <<'END'\n{starter}END\n"
        f"systemd-run --quiet --unit={UNIT} --collect sh {STATE}.sh"
    )


def _done(watched: Watched, node: Node, films: dict[str, set[str]]) -> bool:
    for camera in (one.name for one in node.cameras):
        ledger = watched.lines(node.name, f"$(ls {STATE}/cameras/{camera}/ledger.jsonl 2>/dev/null) /dev/null")
        if not {f"cameras/{camera}/{film}" for film in films[camera]} <= {line["segment"] for line in ledger}:
            return False
    return True
