"""Where the footage of a machine's cameras is seen, below its videos folder."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from shoal.cluster.document import Node
from shoal.paths import NODE_VIDEOS

CAMERAS = "cameras"
"""The folder under the videos folder that holds them."""


def folder_name(source: str) -> str:
    """Under which name below `cameras` a folder is shown that a camera writes to: its whole path, so that it stays when
    others come and go.

    >>> folder_name("/srv/cameras/north")
    'srv_cameras_north'
    """
    # The detector passes over what begins with a dot.
    return re.sub(r"^\.", "_", source.strip("/").replace("/", "_"))


def watched_folders(node: Node) -> list[tuple[str, str]]:
    """Name and folder, relative to the videos folder, of every camera of a machine: those that it records, and folders
    that somebody else records into."""
    found = [(camera.name, f"{CAMERAS}/{camera.name}") for camera in node.cameras]
    for source in node.camera_folders:
        path = PurePosixPath(source)
        inside = path.is_relative_to(NODE_VIDEOS) and path != NODE_VIDEOS
        name = folder_name(str(path.relative_to(NODE_VIDEOS)) if inside else source)
        folder = str(path.relative_to(NODE_VIDEOS)) if inside else f"{CAMERAS}/{name}"
        found.append((re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "camera", folder))
    return found
