"""The node's privacy policy and event rules, beside the footage: a container that sees the one sees the other.

`detector/shoal_detect/privacy.py` and `events/rules.py` read them on the node.
"""

from __future__ import annotations

import json

from roles.common.operations import absent, recorded_files_absent, text_file

FOLDER = ".shoal"
FILE = f"{FOLDER}/privacy.json"
RULES = f"{FOLDER}/events.json"


def place(videos_folder: str, key_frames: int | None, event_rules: str | None) -> None:
    """The policy of the cluster document and the rules of the site document; a deploy without one takes it away."""
    if key_frames is None and event_rules is None:
        take_away(videos_folder)
        return
    policy = None if key_frames is None else json.dumps({"version": 1, "key_frames": key_frames}) + "\n"
    for what, file, content in (("privacy policy", FILE, policy), ("event rules", RULES, event_rules)):
        path = f"{videos_folder}/{file}"
        if content is None:
            absent(name=f"Remove the {what}", paths=[path])
        else:
            text_file(name=f"Place the {what}", path=path, content=content, role="videos")


def take_away(videos_folder: str) -> None:
    """Nothing of ours is left beside the footage."""
    recorded_files_absent(name="Remove the privacy policy", role="videos", legacy=[f"{videos_folder}/{FOLDER}"])
