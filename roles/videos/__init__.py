"""Role `videos`: the folder that jobs read, and clips of ours in it."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.videos.defaults import Videos
from roles.videos.operations import clips, clips_absent, folder
from shoal.paths import NODE_STATE

MARKER = str(NODE_STATE / "videos.json")
"""On the node: which clips are ours, with their hash, size and time."""


@deploy("videos")
def install() -> None:
    """The folder, and the listed clips in it."""
    videos = knobs.read(Videos, host)
    folder(
        name="Make the videos folder",
        path=videos.videos_folder,
        owner=videos.videos_owner,
        mode=videos.videos_mode,
        marker=MARKER,
    )
    clips(name="Place the clips", folder=videos.videos_folder, files=videos.videos_files, marker=MARKER, _timeout=900)


@deploy("videos")
def remove() -> None:
    """Take our clips; the folder only if it is empty then and was made by us."""
    videos = knobs.read(Videos, host)
    clips_absent(name="Remove our clips", folder=videos.videos_folder, marker=MARKER)
