"""Role `videos`: the folder that jobs read, and clips of ours in it."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.context import host

from roles.common import knobs
from roles.common.knobs import RefusedError
from roles.videos import cameras, operations, privacy
from roles.videos.defaults import Videos
from roles.videos.facts import CameraMounts
from roles.videos.operations import cameras_absent, clips, clips_absent, folder, placing_faults, planned
from shoal.errors import Fault
from shoal.paths import NODE_STATE

MARKER = str(NODE_STATE / "videos.json")
"""On the node: which clips are ours, with their hash, size and time."""


def machine_faults(target: Host) -> list[Fault]:
    """What of this machine's footage stands in the way of our clips; looked for before the first change."""
    videos = knobs.read(Videos, target)
    state, _, todo = planned(target, videos.videos_folder, videos.videos_files, MARKER)
    texts = [*placing_faults(state, todo, videos.videos_folder), *_camera_faults(target, videos)]
    return [Fault(f"{target.name}: videos", text) for text in texts]


@deploy("videos")
def install() -> None:
    """The folder, the listed clips in it, and the node's camera folders, shown under it."""
    videos = knobs.read(Videos, host)
    _refuse_camera_folders()
    folder(
        name="Make the videos folder",
        path=videos.videos_folder,
        owner=videos.videos_owner,
        mode=videos.videos_mode,
        marker=MARKER,
    )
    privacy.place(videos.videos_folder, videos.videos_key_frames, videos.videos_event_rules)
    clips(
        name="Place the clips",
        folder=videos.videos_folder,
        files=videos.videos_files,
        marker=MARKER,
        group=(videos.videos_owner or "root:root").partition(":")[2] or "root",
        _timeout=900,
    )
    shown = cameras.shown(videos.videos_camera_folders, videos.videos_folder)
    operations.cameras(name="Show the camera folders", wanted=shown, _timeout=120)


@deploy("videos")
def remove() -> None:
    """Take our mounts and our clips; the folder only if it is empty then and was made by us. Footage stays."""
    videos = knobs.read(Videos, host)
    cameras_absent(name="Take the camera folders out", _timeout=120)
    privacy.take_away(videos.videos_folder)
    clips_absent(name="Remove our clips", folder=videos.videos_folder, marker=MARKER)


def _refuse_camera_folders() -> None:
    """Where the role is deployed by itself: before the first change, on any of the machines."""
    faults = [
        Fault(f"{other.name}: videos", text)
        for other in host.inventory.get_active_hosts()
        if knobs.node_of(other).has_role("compute")
        for text in _camera_faults(other, knobs.read(Videos, other))
    ]
    if faults:
        raise RefusedError("camera folders cannot be shown; nothing was changed", faults)


def _camera_faults(target: Host, videos: Videos) -> list[str]:
    """What keeps this machine's camera folders from being shown."""
    listed = videos.videos_camera_folders
    if not listed:
        return []
    shown = cameras.shown(listed, videos.videos_folder)
    # Those under the videos folder are seen without a mount; they have to be there.
    within = tuple(cameras.Camera(it, it) for it in listed if it not in {camera.source for camera in shown})
    found = target.get_fact(CameraMounts, cameras=(*shown, *within))
    missing = [camera.source for camera in within if found.places[camera.target].source == "missing"]
    return [*operations.mount_faults(shown, found), *map(operations.no_folder, missing)]
