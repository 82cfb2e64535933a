"""The classes that the detector knows by name, and what is wrong with settings that it would refuse on the nodes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from shoal.errors import Fault

COCO_NAMES: Final = (
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
"""The 80 classes of COCO in YOLOv5's order; a test holds them to the detector's own."""
GRID_PX: Final = 32
IMG_MAX_PX: Final = 4096


def knob_faults(knobs: Mapping[str, str | int | float]) -> Iterator[Fault]:
    """What shoal's own detector would refuse of its settings, before any node is asked."""
    yield from _of_classes(str(knobs["classes"])) if "classes" in knobs else ()
    size = str(knobs.get("img", GRID_PX))
    if not size.isdecimal() or int(size) % GRID_PX or not GRID_PX <= int(size) <= IMG_MAX_PX:
        yield Fault("--img", f"{size} is no multiple of {GRID_PX} from {GRID_PX} to {IMG_MAX_PX}")


def _of_classes(text: str) -> Iterator[Fault]:
    words = [word for word in (part.strip() for part in text.split(",")) if word]
    if not words:
        yield Fault("--classes", f"{text!r} names no class")
    for word in words:
        name = " ".join(word.lower().replace("_", " ").split())
        if name in COCO_NAMES or (name.isascii() and name.isdigit() and int(name) < len(COCO_NAMES)):
            continue
        near = difflib.get_close_matches(name, COCO_NAMES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the names are: {', '.join(COCO_NAMES)}"
        yield Fault("--classes", f"there is no class {word!r}; {hint}")
