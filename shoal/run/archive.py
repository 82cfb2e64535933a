"""Which of the footage that the nodes have kept a run is for: cameras, and a time since when.

The detector decides it file by file (`detector/shoal_detect/read/archive.py`); here it is what a node is asked about
before a run starts, and what a job says of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shoal.cluster.cameras import CAMERAS, watched_folders
from shoal.cluster.document import Cluster
from shoal.errors import UsageError

LONGEST = timedelta(hours=2)
"""A file that is named by its beginning may reach so far; as in the detector."""
NAMED = "%Y%m%dT%H%M%SZ"
"""How recorders name a file by the time at which it was opened."""


@dataclass(frozen=True, slots=True)
class Archive:
    """None: all."""

    since: datetime | None = None
    """UTC. Footage that ended before is left out."""
    cameras: tuple[str, ...] = ()
    """Names of cameras, or their folders below /videos; empty: all."""

    def __str__(self) -> str:
        """As the rest of a sentence about footage; empty where all is asked for."""
        return _of(self.cameras) + _since(self.since)

    def look_words(self) -> list[str]:
        """As `FILMS` takes it: the time as names have it, two hours earlier, and in seconds since 1970; cameras."""
        if self.since is None:
            return ["", "", "0", *self.cameras]
        earlier = max(self.since, datetime.min.replace(tzinfo=UTC) + LONGEST) - LONGEST
        times = [self.since.strftime(NAMED).zfill(16), earlier.strftime(NAMED).zfill(16)]
        return [*times, str(int(self.since.timestamp())), *self.cameras]

    def none_of(self, camera: str) -> str:
        """What there is to say of a camera without footage."""
        return f"no footage of {camera}{_since(self.since)}"


CHOSEN = {"reuse": "on", "clips": "off"}
"""Settings of the detector over the archive, where they are not given: the film is that of fixed cameras, hours of it,
and covering people in the clips of all events takes as long again as looking. The watch made clips of its own events.
"""
FILMS = r"""
files_of() {
    for place; do
        [ ! -d "$place" ] || find -L "$place" -mindepth 1 -name '.*' -prune -o -type f -printf '%T@ %s %f\n'
    done
}
wanted() {
    awk -v since="$1" -v earlier="$2" -v moment="$3" '
        !/^-?[0-9.]+ [0-9]+ / { next }
        {
            began = match($0, /20[0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z/) ? \
                substr($0, RSTART, RLENGTH) : ""
            if (since != "" && (began == "" || began < since) &&
                ((began != "" && began < earlier) || $1 + 0 < moment + 0)) next
            files++
            bytes += $2
        }
        END { printf "%.0f %.0f", files, bytes }'
}
films() {
    since=$1 earlier=$2 moment=$3 folder=$4
    shift 4
    [ -d "$folder" ] || return 0
    [ $# != 0 ] || echo "film $(files_of "$folder" | wanted "$since" "$earlier" "$moment")"
    for camera; do
        found=$(files_of "$folder/cameras/$camera" "$folder/$camera" | wanted "$since" "$earlier" "$moment")
        printf 'film %s %s\n' "$found" "$camera"
    done
}
"""
"""A function of the shell, `films SINCE EARLIER MOMENT FOLDER [CAMERA...]`: a line `film FILES BYTES CAMERA` for every
camera asked for, one without a name where all are. What begins with a dot is no footage."""


def of_knobs(knobs: Mapping[str, str | int | float]) -> Archive:
    """What the detector's settings ask for; a time that is none is the detector's to refuse."""
    return Archive(_moment(str(knobs.get("since", ""))), _names(str(knobs.get("cameras", ""))))


def of_words(words: Sequence[str]) -> Archive:
    """The same of a job's parameters."""
    values = {flag[2:]: value for flag, value in itertools.pairwise(words) if flag in {"--since", "--cameras"}}
    return of_knobs(values)


def cameras_of(document: Cluster, cameras: str, nodes: Sequence[str] | None) -> dict[str, list[str]]:
    """By node the cameras asked for that it has, as the detector is asked for them. Raises UsageError."""
    asked = list(dict.fromkeys(name.strip() for name in cameras.split(",") if name.strip()))
    having: dict[str, dict[str, str]] = {}
    for node in document.compute:
        for name, folder in watched_folders(node):
            having.setdefault(name, {})[node.name] = folder
    there = f"cameras there are: {', '.join(sorted(having))}" if having else "no node has cameras (docs/cameras.md)"
    if not asked:
        raise UsageError(f"--cameras {cameras!r}: no camera is named", hint=there)
    if unknown := [name for name in asked if name not in having]:
        raise UsageError(f"--cameras: no camera called {', '.join(unknown)}", hint=there)
    found: dict[str, list[str]] = {}
    for name in asked:
        for machine, folder in having[name].items():
            if nodes and machine not in nodes:
                continue
            if "," in folder:
                raise UsageError(f"--cameras: the folder of {name} has a comma in its name: {folder}")
            found.setdefault(machine, []).append(name if folder == f"{CAMERAS}/{name}" else folder)
    if without := [node for node in nodes or () if node not in found]:
        raise UsageError(f"--node {', '.join(without)}: has none of the cameras {', '.join(asked)}", hint=there)
    return found


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _of(cameras: Sequence[str]) -> str:
    return f" of {', '.join(cameras)}" if cameras else ""


def _since(since: datetime | None) -> str:
    return "" if since is None else f" since {since.isoformat(timespec='seconds').replace('+00:00', 'Z')}"
