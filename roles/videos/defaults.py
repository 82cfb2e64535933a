"""Every knob of role `videos`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roles.videos import cameras
from shoal.errors import Fault
from shoal.paths import NODE_VIDEOS

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class VideoFile:
    """One clip that is to be on this node."""

    name: str
    """Path under the videos folder."""
    path: Path
    """The file on the control machine."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Videos:
    """Set as host or group data under the same names."""

    videos_folder: str = str(NODE_VIDEOS)
    """Where the node's cameras leave their clips; jobs see it read-only."""
    videos_owner: str | None = None
    """`user:group` of the folder; the group may read the clips that are placed in it, which are of mode 0640. None: a
    new folder belongs to root, one that is there keeps its owner."""
    videos_mode: str | None = None
    """Octal mode of the folder. None: 750 for a new folder, one that is there keeps its mode."""
    videos_files: tuple[VideoFile, ...] = ()
    """Clips to place, set from the site document. Clips that are not listed and not ours are left alone."""

    videos_camera_folders: tuple[str, ...] = ()
    """Folders on the node that its cameras write to, from the cluster document (`nodes[].camera_folders`). Jobs see
    each read-only under `cameras/`; nothing is copied. What is mounted below one is not seen: list that folder."""

    videos_key_frames: int | None = None
    """Most pictures of a video that a run may take from the node, from the cluster document (`nodes[].privacy`). None:
    as many as a run asks for."""

    videos_event_rules: str | None = None
    """Which objects make an event, as JSON, from the site document (`shoal site prepare --events`). None: the defaults
    of the detector."""

    def faults(self) -> list[Fault]:
        """What no single field shows; local files are checked here, before any change."""
        found = []
        if self.videos_key_frames is not None and self.videos_key_frames < 0:
            found.append(Fault("videos_key_frames", f"is below zero (found {self.videos_key_frames})"))
        if self.videos_mode is not None and not re.fullmatch(r"[0-7]{3,4}", self.videos_mode):
            found.append(Fault("videos_mode", f"is not an octal mode (found {self.videos_mode!r})"))
        if self.videos_owner is not None and ":" not in self.videos_owner:
            found.append(Fault("videos_owner", f"is not user:group (found {self.videos_owner!r})"))
        names: set[str] = set()
        for index, file in enumerate(self.videos_files):
            found += _file_faults(file, f"videos_files[{index}]")
            if file.name in names:
                found.append(Fault(f"videos_files[{index}]", f"the name {file.name!r} comes twice"))
            names.add(file.name)
        clips = [file.name for file in self.videos_files]
        return found + cameras.faults(self.videos_camera_folders, self.videos_folder, clips)


def _file_faults(file: VideoFile, where: str) -> list[Fault]:
    found = []
    parts = PurePosixPath(file.name).parts
    if not parts or file.name.startswith("/") or ".." in parts or "\n" in file.name or "\0" in file.name:
        found.append(Fault(where, f"{file.name!r} is no name under the videos folder"))
    if not SHA256.fullmatch(file.sha256):
        found.append(Fault(where, "its sha256 is not 64 hex digits"))
    try:
        size = file.path.stat().st_size
    except OSError as error:
        return [*found, Fault(where, f"{file.path}: {error.strerror}; run `shoal site prepare` again")]
    if size != file.size_bytes:
        found.append(
            Fault(where, f"{file.path} has {size} bytes, was {file.size_bytes}; run `shoal site prepare` again")
        )
    return found
