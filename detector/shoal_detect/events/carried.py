"""Events of a camera that never ends: its files are taken one by one, and what is open goes over to the next.

What is decided depends on camera time alone: at every `MARK_S` all is decided that nothing seen later can change. The
events are the same whatever files the footage was cut into, and however often the work was taken up again. They are
those of one pass over all of it (`decide.events`), except where something that is awake for more than `HOLD_S` without
a reason for an event turns out to be one: what lies longer ago stays as it was decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from shoal_detect.events.cameras import CONTIGUOUS_S, Camera, Part, placed
from shoal_detect.events.decide import Event, Period, Significant, cut, event_of, joined, significant
from shoal_detect.events.rules import Rules
from shoal_detect.events.scene import Unmoved, walk
from shoal_detect.events.sightings import Seen
from shoal_detect.events.tracks import BIRTH_HITS, LOST_S, Past, Track, Tracker, group_of
from shoal_detect.model.classes import NAMES

MARK_S = 10.0
HOLD_S = 120.0
"""How long something that moves about without being significant may hold up what came before it."""
PARTS_S = 900.0
"""Footage of so long ago is still known: a place is looked at again where something may have left it."""

State = dict[str, Any]


@dataclass
class Carried:
    """What goes over from one file of a camera to the next."""

    tracker: Tracker = field(default_factory=Tracker)
    ended: list[Track] = field(default_factory=list)
    """Tracks that ended, and of which something may still be undecided."""
    parts: list[Part] = field(default_factory=list)
    clocks: list[tuple[float, datetime]] = field(default_factory=list)
    """UTC of camera time 0 as the camera's clock had it, from which camera time on: it may be set back."""
    mark_s: float = 0.0
    decided_s: float = 0.0
    """What lies before is decided."""
    open: tuple[float, float] | None = None
    """The rest of a period of which pieces were decided: where its next piece begins, and its last known end."""

    @property
    def end_s(self) -> float:
        """Camera time at which the footage ends so far."""
        return self.parts[-1].end_s if self.parts else 0.0

    def began(self, time_s: float = math.inf) -> datetime | None:
        """UTC of camera time 0 by the clock as it was at a camera time; by the last one."""
        return next((began for from_s, began in reversed(self.clocks) if from_s <= time_s), None)

    def camera(self, name: str, time_s: float = math.inf) -> Camera:
        """The camera, as far as its files still matter, with the clock that it had at a camera time."""
        return Camera(name, tuple(self.parts), self.began(time_s))


def follow(carried: Carried, summary: State, began: datetime | None, *, steady: bool) -> Part:
    """Place the camera's next file. A clock that was set back moves no camera time, but what UTC it is."""
    last = carried.began()
    if began is not None and last is None and not carried.parts:
        carried.clocks.append((0.0, began))
    elif began is not None and last is not None:
        ahead_s = carried.end_s - (began - last).total_seconds()
        if ahead_s > CONTIGUOUS_S:
            carried.clocks.append((carried.end_s, last - timedelta(seconds=ahead_s)))
    times = None if began is None else (carried.began(), began)
    part = placed(summary, carried.parts, times, steady=steady)
    carried.parts.append(part)
    return part


def advance(
    carried: Carried, name: str, frames: Iterable[Seen], *, rules: Rules, privacy: str, unmoved: Unmoved
) -> list[Event]:
    """Take the frames of the file that was placed last; the events that are decided with it, in order."""
    decider = _Decider(carried, name, rules, privacy, unmoved)
    found: list[Event] = []
    for seen in frames:
        found += decider.until(seen.time_s)
        decider.take(seen)
    found += decider.until(carried.end_s)
    decider.forget()
    return found


def finish(carried: Carried, name: str, *, rules: Rules, privacy: str, unmoved: Unmoved) -> list[Event]:
    """The events of what is still open, as if nothing more came."""
    decider = _Decider(carried, name, rules, privacy, unmoved)
    carried.ended += [track for track in carried.tracker.live if track.is_real]
    carried.tracker.live = []
    return decider.decide(math.inf)


@dataclass
class _Decider:
    carried: Carried
    name: str
    rules: Rules
    privacy: str
    unmoved: Unmoved

    def __post_init__(self) -> None:
        rules = self.rules.of(self.name)
        classes = {class_name for rule in rules for class_name in rule.classes}
        self.groups = {group_of(NAMES.index(class_name)) for class_name in classes}
        self.moves = any(rule.moving for rule in rules)
        stays_s = max((max(rule.loitering_s or 0.0, rule.dwell_s) for rule in rules), default=0.0)
        self.context_s = 2 * self.rules.still_s + stays_s

    def take(self, seen: Seen) -> None:
        """One frame."""
        before = self.carried.tracker.live
        self.carried.tracker.take(seen)
        still = {id(track) for track in self.carried.tracker.live}
        self.carried.ended += [track for track in before if id(track) not in still and track.is_real]

    def until(self, time_s: float) -> list[Event]:
        """Decide at every mark up to a camera time."""
        found: list[Event] = []
        carried = self.carried
        while carried.mark_s + MARK_S <= time_s:
            if not (carried.tracker.live or carried.ended or carried.open):  # nothing all the time
                carried.mark_s = math.floor(time_s / MARK_S) * MARK_S
                carried.decided_s = max(carried.decided_s, carried.mark_s - LOST_S)
                break
            carried.mark_s += MARK_S
            found += self.decide(carried.mark_s)
        return found

    def decide(self, now_s: float) -> list[Event]:
        """The events that nothing from `now_s` on can change, as far as they were not decided before."""
        carried = self.carried
        gone = [track for track in carried.tracker.live if now_s - track.times[-1] > LOST_S]
        carried.ended += [track for track in gone if track.is_real]
        carried.tracker.live = [track for track in carried.tracker.live if now_s - track.times[-1] <= LOST_S]
        safe_s = min([now_s, *(self._open_since(track, now_s) for track in carried.tracker.live)])
        tracks = [track for track in (*carried.ended, *carried.tracker.live) if track.is_real]
        spans = sorted(
            (
                kept
                for track in tracks
                for one in significant(self.name, track, self.rules, self.unmoved)
                if (kept := self._undecided(one)) is not None
            ),
            key=lambda one: (one.start_s, one.track.number, one.rule.name),
        )
        before = None if carried.open is None else Period(*carried.open)
        found: list[Event] = []
        pending_s = math.inf
        carried.open = None
        for period in joined(spans, self.rules, before):
            whole = period.end_s + self.rules.quiet_s <= safe_s
            rest_s = period.start_s
            for piece_end_s, piece in self._pieces(period):
                # A piece that is followed by another is as it is once all in it is.
                if not whole and (piece_end_s > safe_s or piece_end_s >= period.end_s):
                    break
                found += [event_of(carried.camera(self.name, one.start_s), one, self.privacy) for one in piece]
                rest_s = piece_end_s
            if not whole:
                pending_s = min(pending_s, rest_s)
                if rest_s > period.start_s or period is before:
                    carried.open = (rest_s, period.end_s)
        carried.decided_s = max(carried.decided_s, min(safe_s, pending_s))
        carried.ended = [track for track in carried.ended if track.times[-1] >= carried.decided_s]
        for track in carried.tracker.live:
            self._trim(track)
        return found

    def _pieces(self, period: Period) -> Iterable[tuple[float, list[Period]]]:
        """Where each piece ends, and the piece, where it holds anything."""
        longest_s = self.rules.longest_s
        start_s = period.start_s
        while period.end_s - start_s > longest_s:
            end_s = round(start_s + longest_s, 3)
            yield end_s, [*cut(Period(start_s, end_s, period.objects), math.inf)]
            start_s = end_s
        yield period.end_s, [*cut(Period(start_s, period.end_s, period.objects), math.inf)]

    def _open_since(self, track: Track, now_s: float) -> float:
        """From when on later sights may change what is said of a track that goes on."""
        if track.group not in self.groups:
            return now_s
        since_s = walk(track, self.rules.still_s, self.unmoved, moves=self.moves).since_s if track.is_real else now_s
        if not track.is_real:
            since_s = track.times[0]
        return max(since_s, now_s - HOLD_S)

    def _undecided(self, one: Significant) -> Significant | None:
        """A span, as far as it is not decided yet."""
        decided_s = self.carried.decided_s
        if one.end_s < decided_s:
            return None
        if self.carried.open is not None or one.start_s >= decided_s:
            return one
        first = next(index for index in range(one.first, one.last + 1) if one.track.times[index] >= decided_s)
        return Significant(one.track, one.rule, one.zone, first, one.last)

    def _trim(self, track: Track) -> None:
        """Let go of sights that are decided; some before stay, for comparison."""
        kept_s = self.carried.decided_s - self.context_s
        if not track.is_real or track.times[0] >= kept_s - self.context_s:  # worth it now and then only
            return
        # A little more than what is decided stays open: a span that goes on begins before what is decided.
        settled_s = self.carried.decided_s - LOST_S
        gone_through = walk(track, self.rules.still_s, self.unmoved, moves=self.moves, settled_s=settled_s)
        index, asleep, has_moved, place, place_s = gone_through.settled
        drop = int(np.searchsorted(track.times, kept_s))
        drop = min(drop, index + 1)
        if drop <= 0:
            return
        past = track.past or Past(0, {}, (), 0.0, 0, False, False, (), 0.0)
        sums = dict(past.class_sums)
        for class_id, confidence in zip(track.class_ids[:drop], track.confidence[:drop], strict=True):
            sums[class_id] = sums.get(class_id, 0.0) + confidence
        track.past = Past(
            sights=past.sights + drop,
            class_sums=sums,
            surest=tuple(sorted((*past.surest, *track.confidence[:drop]), reverse=True)[:BIRTH_HITS]),
            tall=max(past.tall, *(float(box[3] - box[1]) for box in track.boxes[:drop])),
            context=index + 1 - drop,
            asleep=asleep,
            has_moved=has_moved,
            place=tuple(float(edge) for edge in place),
            place_s=place_s,
        )
        for sights in (track.times, track.boxes, track.confidence, track.class_ids):
            del sights[:drop]
        track.stills = {time_s: still for time_s, still in track.stills.items() if time_s >= track.times[0]}

    def forget(self) -> None:
        """Let go of files that no longer matter."""
        since_s = min(self.carried.decided_s, self.carried.end_s - PARTS_S) - 2 * self.context_s
        self.carried.parts = [part for part in self.carried.parts if part.end_s > since_s]
        ended = [from_s for from_s, _ in self.carried.clocks[1:] if from_s <= since_s]
        del self.carried.clocks[: len(ended)]


def to_document(carried: Carried) -> State:
    """It, for a file; files of the camera by the id of their results."""
    return {
        "version": 1,
        "real": carried.tracker.real,
        "live": [_track_document(track) for track in carried.tracker.live],
        "ended": [_track_document(track) for track in carried.ended],
        "parts": [
            {
                "video_id": part.summary["video_id"],
                "offset_s": part.offset_s,
                "first_frame": part.first_frame,
                "steady": part.steady,
            }
            for part in carried.parts
        ],
        "clocks": [[from_s, began.isoformat()] for from_s, began in carried.clocks],
        "mark_s": carried.mark_s,
        "decided_s": carried.decided_s,
        "open": carried.open,
    }


def of_document(document: State, summaries: Sequence[State]) -> Carried:
    """What `to_document` made, with the summaries of its files. Raises KeyError, TypeError and ValueError."""
    if document["version"] != 1:
        raise ValueError(f"version {document['version']}")
    by_id = {one["video_id"]: one for one in summaries}
    return Carried(
        tracker=Tracker([_track_of(one) for one in document["live"]], document["real"]),
        ended=[_track_of(one) for one in document["ended"]],
        parts=[
            Part(by_id[one["video_id"]], one["offset_s"], one["first_frame"], one["steady"])
            for one in document["parts"]
        ],
        clocks=[(from_s, datetime.fromisoformat(began)) for from_s, began in document["clocks"]],
        mark_s=document["mark_s"],
        decided_s=document["decided_s"],
        open=(document["open"][0], document["open"][1]) if document["open"] else None,
    )


def _track_document(track: Track) -> State:
    return {
        "number": track.number,
        "group": track.group,
        "times": track.times,
        "boxes": [box.tolist() for box in track.boxes],
        "confidence": track.confidence,
        "class_ids": track.class_ids,
        "past": asdict(track.past) if track.past else None,
    }


def _track_of(document: State) -> Track:
    past = document["past"]
    if past is not None:
        past = Past(
            **{
                **past,
                "class_sums": {int(name): value for name, value in past["class_sums"].items()},
                "surest": tuple(past["surest"]),
                "place": tuple(past["place"]),
            }
        )
    return Track(
        document["number"],
        document["group"],
        document["times"],
        [np.array(box, dtype=np.float64) for box in document["boxes"]],
        document["confidence"],
        document["class_ids"],
        past,
    )
