"""The 80 COCO classes in the order of the model's scores, and how a user names them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Order: COCO 2014/2017 detection categories sorted by their id, as every COCO detector numbers them.
NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip


def parse(given: Iterable[str]) -> tuple[list[int], list[str]]:
    """Class ids, sorted and without doubles, from names or ids, each perhaps a comma-separated list; and the faults.

    A fault is a sentence about one word that is no class, with the names nearest to it.
    """
    ids: set[int] = set()
    faults: list[str] = []
    for word in (part.strip() for text in given for part in text.split(",")):
        name = " ".join(word.lower().replace("_", " ").split())
        if not name:
            continue
        if name in NAMES:
            ids.add(NAMES.index(name))
        elif name.isascii() and name.isdigit() and int(name) < len(NAMES):
            ids.add(int(name))
        else:
            faults.append(_unknown(word, name))
    return sorted(ids), faults


def _unknown(word: str, name: str) -> str:
    if name.isdigit():
        return f"--classes: there is no class {word}; ids go from 0 to {len(NAMES) - 1}"
    near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the {len(NAMES)} COCO names are: {', '.join(NAMES)}"
    return f"--classes: there is no class {word!r}; {hint}"
