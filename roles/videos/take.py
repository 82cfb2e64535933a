"""Runs on the node, as text: deletes clips of ours that are still the files that were looked at. Standard library only.

Arguments: the folder, and for each clip its name, size in bytes, modification time in nanoseconds and inode.
"""

import sys
from pathlib import Path

root, words = Path(sys.argv[1]), sys.argv[2:]
for name, *looked_at in zip(*[iter(words)] * 4, strict=True):
    path = root / name
    try:
        info = path.lstat()
    except FileNotFoundError:
        continue
    if [info.st_size, info.st_mtime_ns, info.st_ino] == [int(word) for word in looked_at]:
        path.unlink()
