"""Room on every file system that is written to, each counted once however many folders lie on it."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.check.facts import Facts, Place
from shoal.check.finding import Finding, refusal, warning
from shoal.check.plan import LEAST_INODES, MB, NodePlan
from shoal.check.rules.system import size
from shoal.paths import NODE_STATE

MANY_FILES = frozenset({"/usr", "/var/lib/docker"})
FEW_FILES = 100
THERE_ALREADY_BYTES = 50 * MB
"""What a deploy needs in each folder on a machine that has the engine and the image."""


def space(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """A file system with less room, or fewer inodes, than a deploy puts on it."""
    groups: dict[str, list[Place]] = {}
    for place in facts.places:
        if place.folder in plan.needs_bytes:
            groups.setdefault(place.device, []).append(place)
    for places in groups.values():
        wanted = sum(_needed(place.folder, facts, plan) for place in places)
        shown = ", ".join(place.folder for place in places)
        free = places[0].free_bytes
        if free is None:
            yield warning(plan.node.name, "space", f"how much room {shown} has could not be read")
        elif free < wanted:
            yield refusal(
                plan.node.name,
                "space",
                f"{size(free)} are free for {shown} (file system of {places[0].there}), some {size(wanted)} are needed",
                _room(places, plan),
            )
        inodes, files = places[0].free_inodes, _files({place.folder for place in places}, plan)
        # File systems that make inodes as they go say 0 of 0, or nothing.
        if inodes is not None and 0 < inodes < files and not _deployed(facts):
            yield refusal(
                plan.node.name,
                "space",
                f"{inodes} files more are possible on the file system of {places[0].there} ({shown}), some "
                f"{files} are needed",
                "remove small files there (old kernels' headers, caches), or use a file system with more inodes",
            )


def writable(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """A system that is mounted read-only, but for the videos folder, which has a rule of its own."""
    closed = [it for it in facts.places if not it.writable and it.folder != plan.videos_folder]
    if facts.login.is_root and closed:
        folders = ", ".join(dict.fromkeys(place.there for place in closed))
        yield refusal(
            plan.node.name,
            "space",
            f"{folders} cannot be written (mounted read-only, or a file system with faults)",
            "mount it for writing, or end the overlay that protects it (raspi-config: overlay file system)",
        )


def _deployed(facts: Facts) -> bool:
    return f"{NODE_STATE}/image.json" in facts.our_files


def _needed(folder: str, facts: Facts, plan: NodePlan) -> int:
    if folder == plan.videos_folder:
        there = facts.videos.clips
        return sum(bytes_ for name, bytes_ in plan.clips.items() if there.get(name) != bytes_)
    if _deployed(facts):
        return THERE_ALREADY_BYTES
    if folder == "/usr" and facts.docker.answers:
        return THERE_ALREADY_BYTES
    return plan.needs_bytes[folder]


def _files(folders: set[str], plan: NodePlan) -> int:
    """How many files come: packages and images are of many, what else is ours of few."""
    return LEAST_INODES if folders & MANY_FILES else len(plan.clips) + FEW_FILES


def _room(places: list[Place], plan: NodePlan) -> str:
    folders = {place.folder for place in places}
    ways = ["make room there"]
    if "/var/lib/docker" in folders:
        ways.append("mount a larger disk at /var/lib/docker")
    if plan.videos_folder in folders:
        ways.append("place fewer clips (shoal site prepare)")
    return ", or ".join(ways)
