"""A video's detections over time as bars of an SVG, with the same in words and as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from shoal.report import formats as words
from shoal.report.model import Video
from shoal.terminal import printable

MAX_BARS = 120
"""More do not fit beside one another on a phone; longer videos get wider bars."""
OTHER = "other classes"
HEIGHT = 100
"""Of the drawing, in its own units; the page stretches it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The bars of one class: the colour's number and the SVG path data (digits and letters only)."""

    name: str
    colour: int
    path: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Stacked bars, `bars` of them, each `bar_s` seconds wide."""

    bars: int
    bar_s: int
    end_s: float
    peak: int
    """Detections in the tallest bar."""
    layers: list[Layer]
    rows: list[tuple[str, list[int]]]
    """For the table: start of the bar, and detections in the order of `layers`."""
    text: str


def timeline(video: Video, colours: Mapping[str, int], other: int) -> Timeline | None:
    """The timeline of `video`; None where it has no detections.

    Classes without a colour are drawn as one, in `other`.
    """
    if not any(sum(second.counts.values()) for second in video.timeline):
        return None
    end_s = max(video.duration_s or 0.0, math.floor(video.timeline[-1].time_s) + 1.0)
    bar_s = max(1, math.ceil(end_s / MAX_BARS))
    bars = math.ceil(end_s / bar_s)
    stacks: list[Counter[str]] = [Counter() for _ in range(bars)]
    for second in video.timeline:
        stack = stacks[min(bars - 1, int(second.time_s // bar_s))]
        for name, found in second.counts.items():
            stack[name if name in colours else OTHER] += found
    peak = max(stack.total() for stack in stacks)
    totals = sum(stacks, Counter[str]())
    names = sorted(totals, key=lambda name: (name == OTHER, colours.get(name, other), name))
    return Timeline(
        bars=bars,
        bar_s=bar_s,
        end_s=end_s,
        peak=peak,
        layers=[
            Layer(name, colours.get(name, other), _path(stacks, names, index, peak)) for index, name in enumerate(names)
        ],
        rows=[(words.clock(index * bar_s), [stack[name] for name in names]) for index, stack in enumerate(stacks)],
        text=_text(stacks, names, bar_s, end_s),
    )


def _path(stacks: list[Counter[str]], names: list[str], layer: int, peak: int) -> str:
    """One closed rectangle per bar, standing on the layers below it."""
    width = 0.86 if len(stacks) <= MAX_BARS // 2 else 1.0
    parts = []
    for index, stack in enumerate(stacks):
        found = stack[names[layer]]
        if not found:
            continue
        below = sum(stack[name] for name in names[:layer])
        bottom = HEIGHT * (1 - below / peak)
        parts.append(f"M{index} {bottom:.2f}h{width}v{-HEIGHT * found / peak:.2f}h{-width}z")
    return "".join(parts)


def _text(stacks: list[Counter[str]], names: list[str], bar_s: int, end_s: float) -> str:
    sentences = [f"Detections per {bar_s} s over {words.duration(end_s)}."]
    for name in names:
        found = [stack[name] for stack in stacks]
        most = found.index(max(found))
        sentences.append(
            f"{printable(name)}: {words.count(sum(found), 'detection')}, "
            f"most at {words.clock(most * bar_s)} ({found[most]:,})."
        )
    return " ".join(sentences)
