"""Runs on the node, as text: says what is in the videos folder, or hashes some of it. Standard library only.

Arguments: the folder, the marker file, and then names to hash. Prints one line of JSON. Names may hold anything.
"""

import hashlib
import json
import os
import stat
import sys
from pathlib import Path

root, marker = Path(sys.argv[1]), Path(sys.argv[2])
UNSTABLE = ("vfat", "msdos", "exfat", "ntfs", "fuse", "cifs", "smb3")
"""How the names of file systems begin that number their files anew with every mount."""
files: dict[str, list[int]] = {}
subfolders: list[str] = []
hashes: dict[str, str] = {}
place = root
while not place.is_dir():
    place = place.parent
with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as table:
    lines = [line.split(" ") for line in table]
mounts = {words[4]: words[words.index("-") + 1] for words in lines}
resolved = str(place.resolve())
points = [point for point in mounts if resolved == point or resolved.startswith(point.rstrip("/") + "/")]
kind = mounts[max(points, key=len)] if points else ""
for top, folders, names in os.walk(root):
    if Path(top) == root / "cameras":
        # Footage that is only shown here is not ours to list.
        folders[:] = [name for name in folders if str(Path(top, name)) not in mounts]
    subfolders += [str(Path(top, name).relative_to(root)) for name in folders]
    for name in names:
        path = Path(top, name)
        try:
            info = path.lstat()
        except FileNotFoundError:
            continue  # a camera rotates its own
        # A link or a device is never a clip of ours, whatever it shows.
        size = info.st_size if stat.S_ISREG(info.st_mode) else -1
        files[str(path.relative_to(root))] = [size, info.st_mtime_ns, info.st_ino]
for wanted in sys.argv[3:]:
    digest = hashlib.sha256()
    try:
        with (root / wanted).open("rb") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                digest.update(chunk)
    except FileNotFoundError:
        continue
    hashes[wanted] = digest.hexdigest()
space = os.statvfs(place)
state = {
    "exists": root.is_dir(),
    "folders": subfolders,
    "inodes": not kind.startswith(UNSTABLE),
    "files": files,
    "hashes": hashes,
    "marker": marker.read_text(encoding="utf-8") if marker.exists() else None,
    "free_bytes": space.f_bavail * space.f_frsize,
}
sys.stdout.write(json.dumps(state) + "\n")
