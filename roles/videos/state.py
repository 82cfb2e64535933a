"""Runs on the node, as text: says what is in the videos folder, or hashes some of it. Standard library only.

Arguments: the folder, the marker file, and then names to hash. Prints one line of JSON. Names may hold anything.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

root, marker = Path(sys.argv[1]), Path(sys.argv[2])
files: dict[str, list[int]] = {}
hashes: dict[str, str] = {}
place = root
while not place.is_dir():
    place = place.parent
with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as table:
    mounts = {line.split(" ")[4] for line in table}
for top, folders, names in os.walk(root):
    if Path(top) == root / "cameras":
        # Footage that is only shown here is not ours to list.
        folders[:] = [name for name in folders if str(Path(top, name)) not in mounts]
    for name in names:
        path = Path(top, name)
        info = path.lstat()
        files[str(path.relative_to(root))] = [info.st_size, info.st_mtime_ns]
for wanted in sys.argv[3:]:
    digest = hashlib.sha256()
    with (root / wanted).open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    hashes[wanted] = digest.hexdigest()
space = os.statvfs(place)
state = {
    "exists": root.is_dir(),
    "files": files,
    "hashes": hashes,
    "marker": marker.read_text(encoding="utf-8") if marker.exists() else None,
    "free_bytes": space.f_bavail * space.f_frsize,
}
sys.stdout.write(json.dumps(state) + "\n")
