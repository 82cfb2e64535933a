"""The node's privacy policy: what a run may not take from it, whatever the run asks for.

The site's deploy places the policy beside the footage, so whatever shows a container the footage shows it the policy.
A policy that cannot be read lets nothing go on.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from shoal_detect.errors import DetectorError, Exit

FILE = ".shoal/privacy.json"
"""Below the videos folder; a name that begins with a dot is never taken for footage."""
SIZE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits; None where there is none."""

    key_frames: int | None = None
    """Most pictures of a video."""

    def key_frames_of(self, wanted: int) -> int:
        """How many pictures of a video a run gets that asks for `wanted`."""
        return wanted if self.key_frames is None else min(wanted, self.key_frames)


def read_policy(folder: str) -> Policy:
    """The policy that holds for footage under `folder`: in it, or in a folder above it; the strictest of several.

    Raises DetectorError(USAGE) where a policy is there and cannot be read: nothing is then known to be allowed.
    """
    found = Policy()
    place = Path(os.path.realpath(folder))
    for above in (place, *place.parents):
        path = above / FILE
        if os.path.lexists(path):
            found = Policy(found.key_frames_of(_read(path)))
    return found


def _read(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(SIZE_BYTES))
        limit = document["key_frames"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from None
    if set(document) - {"version", "key_frames"} or document.get("version") != 1:
        # Written by a newer shoal: a limit that is not known here cannot be kept.
        raise _unreadable(path, "it is of another version")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise _unreadable(path, f"key_frames is {limit!r:.40}")
    return limit


def _unreadable(path: Path, why: str) -> DetectorError:
    return DetectorError(f"this node's privacy policy {path} cannot be read ({why}): deploy the site again", Exit.USAGE)
