"""The videos folder: where it lies, whether clips can be placed in it, and what is there already."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.check.facts import Facts
from shoal.check.finding import Finding, note, refusal, warning
from shoal.check.plan import NodePlan
from shoal.check.rules.system import names, size
from shoal.paths import NODE_STATE

WITHOUT_OWNERS = frozenset({"vfat", "exfat", "fuseblk", "ntfs", "ntfs3", "msdos", "fuse.sshfs", "fuse"})
"""Where root cannot give a file to another user: the file system has no owners, or a server keeps its own. `fuse` is
one that does not name itself (WebDAV, FTP)."""
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "beegfs"}
    | {f"fuse.{name}" for name in ("sshfs", "rclone", "s3fs", "gcsfuse", "glusterfs", "ceph", "ceph-fuse", "mfs")}
)
LOST_AT_BOOT = frozenset({"tmpfs", "ramfs"})
MANY_FILES = 20_000


def videos(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """All about the folder; nothing where the machine does not compute."""
    if not plan.node.has_role("compute"):
        return
    there, name, folder = facts.videos, plan.node.name, plan.videos_folder
    yield from _cameras(facts, plan)
    if there.kind == "silent":
        yield refusal(
            name,
            "videos",
            f"{folder} does not answer ({there.file_system} mounted at {there.mount}): its server or its disk is away",
            "bring that back, or unmount it",
        )
        return
    if there.kind == "broken" and there.link:
        what = f"{folder} is a link to {there.link}, which is not there"
        yield refusal(name, "videos", what, "make or mount what it points to, or take the link away")
        return
    if there.kind == "broken":
        where = f"; {there.file_system} mounted at {there.mount}" if there.mount not in {"", "/"} else ""
        yield refusal(
            name,
            "videos",
            f"{folder} cannot be read, not by root either ({there.words}{where})",
            "mount it anew (one that a user mounts himself needs the option allow_other), or unmount it",
        )
        return
    if there.kind == "other":
        yield refusal(name, "videos", f"{folder} is there and is no folder", "move it away")
        return
    if there.link:
        yield note(name, "videos", f"{folder} is a link to {there.link}")
    yield from _placing(facts, plan)
    filmed = plan.node.camera_folders or plan.node.cameras
    if not plan.clips and (there.kind == "none" or there.files == 0) and not filmed:
        yield warning(
            name,
            "videos",
            f"there is no video under {folder}, none is to be placed, and the document names no cameras",
            "`shoal site prepare` with clips, or cameras or camera_folders in the cluster document",
        )
    if there.kind != "folder":
        return
    if there.file_system in NETWORK:
        yield warning(
            name,
            "videos",
            f"{folder} is on a network file system ({there.file_system}, mounted at {there.mount}): a job reads every "
            "video over it, and waits while its server is away",
        )
    if there.files and f"{NODE_STATE}/videos.json" not in facts.our_files:
        more = " at least" if there.files >= MANY_FILES else ""
        yield note(
            name, "videos", f"{folder} has{more} {there.files} files of the owner's ({size(there.size_bytes or 0)}); "
            "they stay as they are, and jobs read them"
        )  # fmt: skip


def _cameras(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """Folders that cameras write to and that jobs are to see."""
    for folder in plan.node.camera_folders:
        state = facts.videos.cameras.get(folder)
        if state == "missing":
            yield refusal(
                plan.node.name,
                "videos",
                f"there is no camera folder {folder}",
                "make or mount it there, or mend `camera_folders` in the cluster document",
            )
        elif state == "silent":
            yield refusal(
                plan.node.name,
                "videos",
                f"the camera folder {folder} does not answer: its server or its disk is away",
                "bring that back, or take the folder out of `camera_folders` in the cluster document",
            )


def _placing(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """What keeps clips, and what else of ours belongs into the folder, from being placed."""
    there, name, folder = facts.videos, plan.node.name, plan.videos_folder
    count = len(plan.clips)
    files = [*([f"{count} clip{'s' if count > 1 else ''}"] if count else []), *plan.beside_clips]
    shown = [it for it in plan.node.camera_folders if not it.startswith(f"{folder}/")]
    wanted = [*files, *(["the places where its camera folders are shown"] if shown else [])]
    none = ", or have none placed: `shoal site prepare --no-videos`" if wanted == files[:1] and count else ""
    place = next((place for place in facts.places if place.folder == folder), None)
    closed = "ro" in there.options or (place is not None and not place.writable)
    if there.kind == "folder" and wanted and closed:
        why = "is mounted read-only" if "ro" in there.options else "cannot be written, not by root either"
        what = f"{folder} {why} ({there.file_system} at {there.mount}); to be placed there: {', '.join(wanted)}"
        yield refusal(name, "videos", what, f"mount it for writing{none}")
    elif there.kind == "folder" and files and there.file_system in WITHOUT_OWNERS:
        yield refusal(
            name,
            "videos",
            f"{folder} is on {there.file_system} (mounted at {there.mount}), which keeps no owners and modes of ours; "
            f"to be placed there: {', '.join(files)}",
            f"use a file system of Linux{none}",
        )
    elif there.kind == "folder" and count and there.file_system in LOST_AT_BOOT:
        yield warning(name, "videos", f"{folder} is in memory ({there.file_system}): the clips are gone after a boot")
    if f"{NODE_STATE}/videos.json" not in facts.our_files:
        foreign = sorted(
            clip for clip, size_bytes in plan.clips.items() if there.clips.get(clip, size_bytes) != size_bytes
        )
        if foreign:
            yield refusal(
                name,
                "videos",
                f"in {folder} there are other files under the names of clips that are to be placed: {names(foreign)}",
                "rename the clips, or have none placed: `shoal site prepare --no-videos`",
            )
