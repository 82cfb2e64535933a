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
PRIVACY = ("people", "people-and-vehicles", "off")
"""What is covered in pictures and clips; the first is the default."""
STRICTNESS = ("off", "people", "people-and-vehicles")


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits; None where there is none."""

    key_frames: int | None = None
    """Most pictures of a video."""
    clips: bool | None = None
    """Whether clips of events may be made."""
    covered: str = "off"
    """What has to be covered at least."""

    def key_frames_of(self, wanted: int) -> int:
        """How many pictures of a video a run gets that asks for `wanted`."""
        return wanted if self.key_frames is None else min(wanted, self.key_frames)

    def privacy_of(self, wanted: str) -> str:
        """What is covered in a run that asks for `wanted`."""
        return max(wanted, self.covered, key=STRICTNESS.index)

    def no_clips(self) -> str | None:
        """Why no clips may be made; None: they may. A limit to pictures holds for clips, which are many, unless the
        policy allows them by name."""
        allowed = self.key_frames is None if self.clips is None else self.clips
        return None if allowed else "this node's privacy policy allows none"

    def and_also(self, other: Policy) -> Policy:
        """The strictest of both."""
        limits = [one.key_frames for one in (self, other) if one.key_frames is not None]
        named = [one.clips for one in (self, other) if one.clips is not None]
        refused = any(one.no_clips() is not None for one in (self, other))
        return Policy(min(limits, default=None), not refused if named else None, self.privacy_of(other.covered))


def read_policy(folder: str) -> Policy:
    """The policy that holds for footage under `folder`: in it, or in a folder above it; the strictest of several.

    Raises DetectorError(USAGE) where a policy is there and cannot be read: nothing is then known to be allowed.
    """
    found = Policy()
    place = Path(os.path.realpath(folder))
    for above in (place, *place.parents):
        path = above / FILE
        if os.path.lexists(path):
            found = found.and_also(_read(path))
    return found


def _read(path: Path) -> Policy:
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(SIZE_BYTES))
        known = set(document) <= {"version", "key_frames", "clips", "covered"} and document.get("version") == 1
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from None
    if not known or set(document) == {"version"}:
        # Written by a newer shoal: a limit that is not known here cannot be kept.
        raise _unreadable(path, "it is of another version")
    limit, clips, covered = document.get("key_frames"), document.get("clips"), document.get("covered", "off")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise _unreadable(path, f"key_frames is {limit!r:.40}")
    if clips is not None and not isinstance(clips, bool):
        raise _unreadable(path, f"clips is {clips!r:.40}")
    if covered not in PRIVACY:
        raise _unreadable(path, f"covered is {covered!r:.40}")
    return Policy(limit, clips, covered)


def _unreadable(path: Path, why: str) -> DetectorError:
    return DetectorError(f"this node's privacy policy {path} cannot be read ({why}): deploy the site again", Exit.USAGE)
