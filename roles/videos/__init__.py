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
    return [Fault(f"{target.name}: videos", text) for text in placing_faults(state, todo, videos.videos_folder)]


@deploy("videos")
def install() -> None:
    """The folder, the listed clips in it, and the node's camera folders, shown under it."""
    videos = knobs.read(Videos, host)
    _refuse_missing_folders()
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


def _refuse_missing_folders() -> None:
    """Before the first change: camera folders that are listed and not there, on any of the machines."""
    faults = []
    for other in host.inventory.get_active_hosts():
        if not knobs.node_of(other).has_role("compute"):
            continue
        videos = knobs.read(Videos, other)
        listed = videos.videos_camera_folders
        # Those under the videos folder, too, which need no mount.
        wanted = tuple(cameras.Camera(source, source) for source in listed)
        found = other.get_fact(CameraMounts, cameras=wanted).places if wanted else {}
        faults += [
            Fault(other.name, f"has no folder {source}")
            for source in listed
            if source in found and found[source].source == "missing"
        ]
    if faults:
        raise RefusedError(
            "camera folders of the cluster document are not there; nothing was changed",
            faults,
            hint="make or mount them on the machine, or mend `camera_folders` in the cluster document",
        )
