"""The node's privacy policy, placed beside the footage, where every container that sees the one sees the other.

`detector/shoal_detect/privacy.py` reads it on the node.
"""

from __future__ import annotations

import json

from roles.common.operations import recorded_files_absent, text_file

FOLDER = ".shoal"
FILE = f"{FOLDER}/privacy.json"


def place(videos_folder: str, key_frames: int | None) -> None:
    """The policy as the cluster document has it; a deploy without one takes it away."""
    if key_frames is None:
        take_away(videos_folder)
        return
    text_file(
        name="Place the privacy policy",
        path=f"{videos_folder}/{FILE}",
        content=json.dumps({"version": 1, "key_frames": key_frames}) + "\n",
        role="videos",
    )


def take_away(videos_folder: str) -> None:
    """Nothing of ours is left beside the footage."""
    recorded_files_absent(name="Remove the privacy policy", role="videos", legacy=[f"{videos_folder}/{FOLDER}"])
