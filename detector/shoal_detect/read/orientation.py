"""Turns frames the way a recording says they are to be shown.

The display matrix (ISO/IEC 14496-12 section 6.2.2, FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX) is nine 32-bit numbers; its
first, second, fourth and fifth say where a point (x, y) of the stored picture goes: (a x + c y, b x + d y).
"""

from __future__ import annotations

import itertools
import struct
import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import av.filter
from av.sidedata.sidedata import SideDataContainer

NEAR = 0.05
"""Numbers of a turn by quarters are 0, 1 and -1; what is further off than this is another turn, and not applied."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture is shown: mirrored left to right first, if at all, then turned clockwise."""

    rotation_deg: int = 0
    """0, 90, 180 or 270, clockwise."""
    mirrored: bool = False

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.rotation_deg in {90, 270}


UPRIGHT = Orientation()
_BY_MATRIX = {
    (1, 0, 0, 1): Orientation(0),
    (0, 1, -1, 0): Orientation(90),
    (-1, 0, 0, -1): Orientation(180),
    (0, -1, 1, 0): Orientation(270),
    (-1, 0, 0, 1): Orientation(0, mirrored=True),
    (0, -1, -1, 0): Orientation(90, mirrored=True),
    (1, 0, 0, -1): Orientation(180, mirrored=True),
    (0, 1, 1, 0): Orientation(270, mirrored=True),
}
_FILTERS = {
    Orientation(90): (("transpose", "clock"),),
    Orientation(180): (("hflip", None), ("vflip", None)),
    Orientation(270): (("transpose", "cclock"),),
    Orientation(0, mirrored=True): (("hflip", None),),
    Orientation(90, mirrored=True): (("transpose", "clock_flip"),),
    Orientation(180, mirrored=True): (("vflip", None),),
    Orientation(270, mirrored=True): (("transpose", "cclock_flip"),),
}


def of(frame: av.VideoFrame) -> Orientation:
    """What the frame's display matrix asks for; a turn that is not by quarters is not applied, as OpenCV does."""
    try:
        kept = cast("SideDataContainer", frame.side_data)
        if len(kept) == 0:
            return UPRIGHT
        data = kept["DISPLAYMATRIX"]
    except KeyError:
        return UPRIGHT
    except ValueError:
        # PyAV does not know some kinds of what a frame carries beside its picture, and then gives none of them.
        return Orientation(-frame.rotation % 360) if frame.rotation % 90 == 0 else UPRIGHT
    numbers = struct.unpack("<9i", bytes(data)[:36])
    a, b, c, d = (numbers[index] / (1 << 16) for index in (0, 1, 3, 4))
    across, down = max(abs(a), abs(b)), max(abs(c), abs(d))
    if not across or not down:
        return UPRIGHT
    scaled = (a / across, b / across, c / down, d / down)
    rounded = tuple(round(number) for number in scaled)
    if any(abs(number - whole) > NEAR for number, whole in zip(scaled, rounded, strict=True)):
        return UPRIGHT
    return _BY_MATRIX.get(rounded, UPRIGHT)


class Turner:
    """Applies orientations; keeps FFmpeg's filters for the last size and format."""

    def __init__(self) -> None:
        self._made_for: tuple[object, ...] = ()
        self._graph: av.filter.Graph | None = None
        # Frames are fitted in one thread while another makes a picture of an earlier one.
        self._lock = threading.Lock()

    def turn(self, frame: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
        """The frame as it is shown. Raises av.error.FFmpegError for a pixel format that cannot be turned."""
        if orientation == UPRIGHT:
            return frame
        with self._lock:
            wanted = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, orientation)
            if self._graph is None or wanted != self._made_for:
                self._graph = _graph(frame, orientation)
                self._made_for = wanted
            self._graph.push(frame)
            turned = self._graph.pull()
        if not isinstance(turned, av.VideoFrame):
            raise TypeError("a filter of pictures gave something else")
        return turned


def _graph(frame: av.VideoFrame, orientation: Orientation) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
        )
    ]
    nodes += [graph.add(name, argument) for name, argument in _FILTERS[orientation]]
    nodes.append(graph.add("buffersink"))
    for one, following in itertools.pairwise(nodes):
        one.link_to(following)
    graph.configure()
    return graph
