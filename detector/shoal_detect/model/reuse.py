"""Says nothing new where nothing changed: boxes are carried, and the model sees only the parts of a frame that changed.

A fixed camera's frame is compared with the pixels that the model saw last, place by place, and never with the frame
before: what changes slowly adds up until it is seen. Everything is in pixels of the model's input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal_detect.model.letterbox import Fit
from shoal_detect.model.nms import corners
from shoal_detect.model.scale import sampled
from shoal_detect.model.stride import GRID

FloatArray = npt.NDArray[np.float32]
Luma = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Cells = npt.NDArray[np.int16]

CELL = 4
"""Sides of the squares whose mean luma is compared: a mean over 16 pixels drowns a camera's noise, not a far walker."""
CHANGED = 6
"""Steps of luma (of 256) by which a cell's mean must differ."""
CLEARLY_CHANGED = 2 * CHANGED
"""A block counts as changed with two changed cells, or one that changed so much."""
MARGIN = 3 * GRID
"""Of a part around what changed in it: the model sees things in their surroundings."""
CLEAR = 8
"""A box so near to a part's border may be cut off by it."""
MOST_CHANGED = 0.45
"""Share of the frame beyond which all of it is seen: parts would cost as much; so it is after a cut, too."""
LEAST_CONF = 0.05
"""Of a row that is remembered, by its object confidence: below what anybody asks for."""
FULL_EVERY = 150
"""Inferred frames after which the model sees the whole frame, whatever changed."""

AUDIT_EVERY = 200
"""One frame in so many gets the whole model, whatever was about to be written, and both are compared."""

_CELLS = GRID // CELL
_EVEN_BYTES = np.uint32(0x00FF00FF)


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of the model's input, on the grid of its strides; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.right - self.left) * (self.bottom - self.top)

    def touches(self, other: Part) -> bool:
        """Whether they overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def around(self, other: Part) -> Part:
        """The least one that holds both."""
        return Part(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a frame."""

    rows: FloatArray
    """[n, 85], the model's rows that may matter, in pixels of the model's input."""
    new: Mask | None = None
    """Blocks whose rows were inferred on this very frame; None: all of them."""

    @property
    def whole(self) -> bool:
        """Whether the model saw the whole frame."""
        return self.new is None

    def carried(self, xyxy: FloatArray) -> Mask:
        """[n], which boxes were found on an earlier frame, and nothing changed there since."""
        return np.zeros(len(xyxy), np.bool_) if self.new is None else ~touching(xyxy, self.new)


class Memory:
    """What the model saw last of a video, and found there."""

    def __init__(self, conf: float) -> None:
        self._conf, self._least = conf, min(LEAST_CONF, conf)
        self._cells: Cells | None = None
        self._rows: FloatArray = np.zeros((0, 0), np.float32)
        self._age = 0

    def whole(self, cells: Cells, rows: FloatArray) -> Known:
        """The model saw the whole frame."""
        self._cells, self._rows, self._age = cells, rows[rows[:, 4] > self._least], 0
        return Known(rows)

    def look(self, cells: Cells, infer: Callable[[Part], FloatArray]) -> Known | None:
        """What is known of a frame, by `infer` where it changed; None: the whole of it has to be seen.

        `infer` gives the model's rows [n, 85] for a part of the frame, in pixels of the model's whole input.
        """
        self._age += 1
        if self._cells is None or self._cells.shape != cells.shape or self._age >= FULL_EVERY:
            return None
        changed = changed_blocks(cells, self._cells)
        if changed.mean() > MOST_CHANGED:
            return None
        if not changed.any():
            return Known(self._rows, changed)
        core = widened(changed)
        height, width = (side * CELL for side in cells.shape)
        touched = touching(corners(self._rows[:, :4]), core)
        sure = self._rows[:, 4:5] * self._rows[:, 5:]
        of_objects = touched & (sure.max(axis=1, initial=0.0) > self._conf)
        parts = cover(core, corners(self._rows[of_objects, :4]), width, height)
        if sum(part.area for part in parts) > MOST_CHANGED * width * height:
            return None
        found = [self._rows[~touched]]
        for part in parts:
            rows = infer(part)
            rows = rows[rows[:, 4] > self._least]
            xyxy = corners(rows[:, :4])
            new = touching(xyxy, core)
            certain = (rows[:, 4:5] * rows[:, 5:]).max(axis=1, initial=0.0) > self._conf
            if (new & certain & ~_clear(xyxy, part, width, height)).any():
                return None
            found.append(rows[new])
        self._rows = np.concatenate(found)
        inferred = core.repeat(_CELLS, axis=0).repeat(_CELLS, axis=1)
        self._cells = np.where(inferred, cells, self._cells)
        return Known(self._rows, core)


def cells_of(luma: Luma, place: Fit) -> Cells:
    """Mean luma of the cells of the model's input, for a frame's luma that is fitted into it as `place` says.

    Of a larger frame those pixels count that the model is shown, and no others.
    """
    fitted = sampled(luma, place.width, place.height)
    if fitted.shape != (place.input_height, place.input_width):
        canvas = np.zeros((place.input_height, place.input_width), np.uint8)
        canvas[place.top : place.top + place.height, place.left : place.left + place.width] = fitted
        fitted = canvas
    # Four pixels of a row at once, in one word of 32 bits: first as two sums of 16 bits, of two pixels each.
    words = np.ascontiguousarray(fitted).view(np.uint32)
    sums = (words & _EVEN_BYTES) + (words >> 8 & _EVEN_BYTES)
    sums = sums[0::CELL] + sums[1::CELL] + sums[2::CELL] + sums[3::CELL]
    return np.asarray(((sums & 0xFFFF) + (sums >> 16) + CELL * CELL // 2) // (CELL * CELL), dtype=np.int16)


def changed_blocks(cells: Cells, before: Cells) -> Mask:
    """Which blocks of GRID x GRID pixels changed."""
    difference = np.abs(cells - before)
    down, across = (side // _CELLS for side in difference.shape)
    blocks = difference.reshape(down, _CELLS, across, _CELLS)
    changed: Mask = ((blocks > CHANGED).sum(axis=(1, 3)) >= 2) | (blocks.max(axis=(1, 3)) > CLEARLY_CHANGED)
    return changed


def drawn(video_id: str, frame: int) -> bool:
    """Whether a frame is audited: one in AUDIT_EVERY, by a hash, so that no rhythm of the footage meets it."""
    digest = hashlib.blake2b(f"{video_id}/{frame}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % AUDIT_EVERY == 0


def touching(xyxy: FloatArray, core: Mask) -> Mask:
    """[n], which boxes touch a block of `core`."""
    down, across = core.shape
    sums = np.zeros((down + 1, across + 1), np.int64)
    sums[1:, 1:] = core.cumsum(axis=0).cumsum(axis=1)
    first = np.floor(xyxy[:, :2] / GRID).astype(np.int64)
    last = np.floor(xyxy[:, 2:] / GRID).astype(np.int64) + 1
    left, right = first[:, 0].clip(0, across), last[:, 0].clip(0, across)
    top, bottom = first[:, 1].clip(0, down), last[:, 1].clip(0, down)
    touched: Mask = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] > 0
    return touched


def cover(core: Mask, boxes: FloatArray, width: int, height: int) -> list[Part]:
    """Parts that hold what changed, and the boxes that it touched, with a margin around; none overlaps another."""
    parts = _groups(core)
    margin = MARGIN - GRID  # the core is one block wider than what changed
    parts = [_aligned(part, margin, width, height) for part in parts]
    parts += [
        _aligned(Part(int(left), int(top), int(right) + 1, int(bottom) + 1), GRID, width, height)
        for left, top, right, bottom in boxes.tolist()
    ]
    return _merged(parts)


def widened(blocks: Mask) -> Mask:
    """The blocks and all that touch one of them."""
    padded = np.pad(blocks, 1)
    across = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return np.asarray(across[:-2] | across[1:-1] | across[2:], dtype=np.bool_)


def _groups(core: Mask) -> list[Part]:
    """The least rectangle around each group of blocks that touch, at corners too."""
    left = set(zip(*(axis.tolist() for axis in core.nonzero()), strict=True))
    found = []
    while left:
        group = [left.pop()]
        for down, across in group:
            near = {(down + y, across + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= near
            group += near
        rows, columns = zip(*group, strict=True)
        found.append(Part(min(columns) * GRID, min(rows) * GRID, (max(columns) + 1) * GRID, (max(rows) + 1) * GRID))
    return found


def _aligned(part: Part, margin: int, width: int, height: int) -> Part:
    return Part(
        max(0, (part.left - margin) // GRID * GRID),
        max(0, (part.top - margin) // GRID * GRID),
        min(width, -(-(part.right + margin) // GRID) * GRID),
        min(height, -(-(part.bottom + margin) // GRID) * GRID),
    )


def _merged(parts: list[Part]) -> list[Part]:
    merged: list[Part] = []
    for part in parts:
        whole, apart = part, True
        while apart:
            near = [other for other in merged if other.touches(whole)]
            apart = bool(near)
            for other in near:
                merged.remove(other)
                whole = whole.around(other)
        merged.append(whole)
    return sorted(merged, key=lambda one: (one.top, one.left))


def _clear(xyxy: FloatArray, part: Part, width: int, height: int) -> Mask:
    """[n], which boxes keep clear of the part's border, where that is not the frame's."""
    clear: Mask = np.ones(len(xyxy), np.bool_)
    if part.left > 0:
        clear &= xyxy[:, 0] >= part.left + CLEAR
    if part.top > 0:
        clear &= xyxy[:, 1] >= part.top + CLEAR
    if part.right < width:
        clear &= xyxy[:, 2] <= part.right - CLEAR
    if part.bottom < height:
        clear &= xyxy[:, 3] <= part.bottom - CLEAR
    return clear
