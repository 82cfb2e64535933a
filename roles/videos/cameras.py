"""Camera folders under the videos folder: where each is shown, by which unit, and what stands against it.

A folder that a camera writes to stays where it is; a read-only bind mount shows it to jobs. The mount itself is
read-only, not only the job's view of it: engines before Docker 25 hand on mounts below a read-only one as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from shoal.cluster.cameras import CAMERAS
from shoal.cluster.cameras import folder_name as name
from shoal.errors import Fault

MARK = "# Written by shoal's role `videos`; changes are overwritten."
OPTIONS = "bind,ro,nosuid,nodev,noexec"
_PLAIN = re.compile(r"[A-Za-z0-9:_.]")


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera folder and where jobs see it."""

    source: str
    target: str

    @property
    def unit(self) -> str:
        """Name of the systemd unit, which has to be made of the target's path."""
        return f"{escaped(self.target)}.mount"

    @property
    def text(self) -> str:
        """The unit. It needs no network and holds up no boot: where the folder is missing, it alone fails."""
        return (
            f"{MARK}\n"
            f"[Unit]\nDescription=Camera folder {self.source}, for jobs to read\n"
            f"RequiresMountsFor={self.source}\nBefore=docker.service bacalhau-compute.service\n\n"
            f"[Mount]\nWhat={self.source}\nWhere={self.target}\nType=none\nOptions={OPTIONS}\n\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )


def shown(sources: Sequence[str], videos_folder: str) -> tuple[Camera, ...]:
    """The mounts that show `sources`; one that lies under the videos folder is seen without."""
    return tuple(
        Camera(source, f"{videos_folder}/{CAMERAS}/{name(source)}")
        for source in sources
        if not _within(source, videos_folder)
    )


def escaped(path: str) -> str:
    """`systemd-escape --path`, for absolute paths.

    >>> escaped("/videos/cameras/srv_cam-1")
    'videos-cameras-srv_cam\\\\x2d1'
    """
    words = path.strip("/").split("/")
    text = "-".join("".join(char if _PLAIN.match(char) else f"\\x{ord(char):02x}" for char in word) for word in words)
    return re.sub(r"^\.", "\\\\x2e", text)


def faults(sources: Sequence[str], videos_folder: str, clips: Sequence[str]) -> list[Fault]:
    """What is wrong with the folders as they are listed; whether they are there only the machine can tell."""
    found = []
    names: dict[str, str] = {}
    for index, source in enumerate(sources):
        where = f"videos_camera_folders[{index}]"
        if str(PurePosixPath(source)) != source or ".." in PurePosixPath(source).parts or not source.startswith("/"):
            found.append(Fault(where, f"must be the plain absolute path of a folder (found {source!r})"))
            continue
        if _within(videos_folder, source) and source != videos_folder:
            found.append(Fault(where, f"{source} holds {videos_folder} itself"))
        for other in sources[:index]:
            if _within(source, other) or _within(other, source):
                found.append(Fault(where, f"{source} and {other} would show the same footage twice"))
        if (same := names.setdefault(name(source), source)) != source:
            found.append(Fault(where, f"{source} and {same} would have the same name, {name(source)}; rename one"))
    if shown(sources, videos_folder) and (mine := [clip for clip in clips if clip.split("/")[0] == CAMERAS]):
        found.append(Fault("videos_files", f"{mine[0]!r}: the folder {CAMERAS} is for camera folders"))
    return found


def _within(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)
