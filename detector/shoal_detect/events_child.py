"""What a child does once the videos are done: it finds the run's events, makes clips, and writes `events.jsonl`."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shoal_detect.events.cameras import Camera
from shoal_detect.events.decide import Event
from shoal_detect.events.look import Looker, covered_classes, model_for_looking
from shoal_detect.events.rules import Rules
from shoal_detect.events.stage import Stage, cut, found, keep_with_clip, write_events
from shoal_detect.messages import Beat, EventFound, FindEvents, FoundEvents, Kept, MakeClip, WriteEvents
from shoal_detect.model.infer import Model
from shoal_detect.read.videos import Video
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop


@dataclass
class EventsOf:
    """Answers the questions about a run's events."""

    settings: Settings
    model: Model
    """That detects, at the settings' size."""
    load: Callable[[int], Model]
    """Loads it for another size."""
    beat: Beat
    stop: Stop
    _looking: list[tuple[Model, int]] = field(default_factory=list)

    def answer(self, question: FindEvents | MakeClip | WriteEvents) -> FoundEvents | Kept:
        """What is asked for. Raises DetectorError and Interrupted."""
        if isinstance(question, FindEvents):
            stage = self._stage(question.rules, question.videos)
            met: list[Camera] = []
            events = [_passed_on(stage, *one) for one in found(stage, question.summaries, met.append)]
            return FoundEvents(events, {one.name: [part.summary["video"] for part in one.parts] for one in met})
        if isinstance(question, MakeClip):
            camera, event = pickle.loads(question.event.pickled)  # noqa: S301 - from a process of this run
            stage = self._stage(question.rules, question.videos, question.given_up)
            keep_with_clip(stage, camera, event, self._looker)
            return Kept()
        write_events(self.settings.state, question.event_ids, question.video_ids)
        return Kept()

    def _stage(self, rules: Rules, videos: Sequence[Video], given_up: str | None = None) -> Stage:
        settings = self.settings
        return Stage(
            state=settings.state,
            rules=rules,
            privacy=settings.privacy,
            clips=settings.clips or given_up,
            # Where looks were reused, not every frame was looked at.
            seen_at=settings.img if settings.stride == 1 and not settings.reuse else None,
            videos={video.video_id: video for video in videos},
            alive=self._alive,
        )

    def _alive(self) -> None:
        self.stop.check()
        self.beat.set(0)

    def _looker(self) -> Looker | None:
        class_ids = covered_classes(self.settings.privacy)
        if not class_ids:
            return None
        if not self._looking:
            self._looking.append(model_for_looking(self._loaded, self.settings.img))
        return Looker(*self._looking[0], class_ids)

    def _loaded(self, size: int) -> Model:
        return self.model if size == self.settings.img else self.load(size)


def _passed_on(stage: Stage, camera: Camera, event: Event) -> EventFound:
    stage.alive()
    text = f"{camera.name} at {event.document['start_s']:.1f} s"
    short = cut(stage, camera, event)
    names = [part.summary["video_id"] for part in short.parts]
    return EventFound(event.document["id"], text, names, pickle.dumps((short, event)))
