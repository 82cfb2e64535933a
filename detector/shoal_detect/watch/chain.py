"""A camera's files one after the other into events: what is open is carried over in a file, and events are put where
the outbox finds them, each as the folder of a finished run.

Every step can be done again: the carried state is replaced as a whole after the events of a file are in their place,
and an event has the same id however often it is decided.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal_detect.errors import Exit
from shoal_detect.events.cameras import Camera, Part, is_steady
from shoal_detect.events.carried import Carried, advance, follow, of_document, to_document
from shoal_detect.events.decide import Event
from shoal_detect.events.look import Looker
from shoal_detect.events.rules import Rules
from shoal_detect.events.sightings import frames_of, read_detections
from shoal_detect.events.stage import Pictures, Stage, cut, pending, with_clip
from shoal_detect.read.videos import Video, video_id
from shoal_detect.state import lines, store
from shoal_detect.state.store import Document
from shoal_detect.watch.ledger import camera_folder
from shoal_detect.watch.messages import Take, Taken

EVENTS = "events"
"""Below the state folder: a folder per event, as of a finished run: `new-ID` at first, and when its clip is made or
given up `watch-ID` in its place. The outbox takes the document from the first and the clip from the second."""
NEW, WHOLE = "new-", "watch-"
FOR_CLIP = ".clip.json"
"""In a folder `new-ID`: what its clip is made of. Not in its manifest."""
MAKING = ".making"
PUBLISHED = "told.jsonl"
"""Below a camera's folder: every event of it that was put into `EVENTS`, as long as its footage or its folder may be
there. The recorder reads it too."""
ALERT = "alert"
ANSWERS_KEPT = 10_000
DAY_S = 86_400.0


@dataclass
class Chain:
    """All cameras' chains."""

    state: Path
    root: str
    """The input folder."""
    rules: Rules
    privacy: str
    clips: str | None
    looker: Callable[[], Looker | None]
    seen_at: int | None
    alive: Callable[[], None]
    _answers: dict[tuple[str, float, float, bytes], bool | None] = field(default_factory=dict)

    def take(self, task: Take) -> Taken:
        """Take a file. Raises DetectorError(STATE) and what `alive` raises."""
        folder = camera_folder(self.state, task.camera)
        with store.state_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
        path = folder / ("early.json" if task.early else "carried.json")
        kept = store.read_json(path)
        if kept is not None and kept["segment"] == task.segment:
            return Taken(tuple(kept["events"]), kept["summary"])
        carried = _carried(self.state, kept)
        before = {part.summary["video_id"] for part in carried.parts}
        summary = store.finished_summary(self.state, task.video.video_id) or {}
        events: list[str] = []
        if summary.get("frames") and summary.get("duration_s"):
            published = self._remembered(folder / PUBLISHED, task.keep_days)
            for event in self._decided(task, carried, summary):
                if self._published(task, carried, event, published):
                    events.append(event.document["id"])
        said = {
            "seconds": summary.get("duration_s") or 0.0,
            "frames": summary.get("frames") or 0,
            "fault": summary.get("fault"),
        }
        document = {"segment": task.segment, "events": events, "summary": said, "carried": to_document(carried)}
        store.write_file(path, store.to_json_line(document))
        if not task.early:
            before.add(task.video.video_id)
            self._drop(before - {part.summary["video_id"] for part in carried.parts}, folder)
        return Taken(tuple(events), said)

    def forget_early(self, camera: str) -> None:
        """What was taken early was reached in its turn."""
        path = camera_folder(self.state, camera) / "early.json"
        with store.state_errors("clean up", path):
            path.unlink(missing_ok=True)

    def _remembered(self, path: Path, keep_days: int) -> list[Document]:
        """The camera's events that were put into `EVENTS`, but for those whose footage is long gone."""
        published = [*lines.read(path)]
        # A clock that jumps ahead makes nothing old, until there are events by it.
        now_s = min(time.time(), max(map(_noted_s, published), default=0.0))
        if any(_noted_s(one) < now_s - (keep_days + 1) * DAY_S for one in published):
            lines.shorten(path, lambda one: _noted_s(one) >= now_s - keep_days * DAY_S)
            published = [*lines.read(path)]
        return published

    def _decided(self, task: Take, carried: Carried, summary: Document) -> list[Event]:
        detections = read_detections(store.videos_folder(self.state) / task.video.video_id, summary)
        steady = is_steady(summary) and detections.steady(summary["fps"])
        began = None if task.began_s is None else datetime.fromtimestamp(task.began_s, UTC)
        part = follow(carried, summary, began, steady=steady)
        frames = frames_of(Camera(task.camera, (part,), carried.began()), {summary["video_id"]: detections})
        pictures = Pictures(carried.camera(task.camera), self._videos(carried.parts), self.alive)

        def unmoved(before_s: float, after_s: float, box: npt.NDArray[np.float64]) -> bool | None:
            # What is open is gone through at every mark, and a picture costs a seek in the footage.
            if task.blind:
                return None
            question = (task.camera, before_s, after_s, box.tobytes())
            if question not in self._answers:
                if len(self._answers) > ANSWERS_KEPT:
                    self._answers.clear()
                self._answers[question] = pictures.unmoved(before_s, after_s, box)
            return self._answers[question]

        return advance(carried, task.camera, frames, rules=self.rules, privacy=self.privacy, unmoved=unmoved)

    def _videos(self, parts: Iterable[Part]) -> dict[str, Video]:
        """Those files that are still there."""
        found = {}
        for part in parts:
            name = part.summary["video"]
            path = Path(self.root, name)
            if path.is_file():
                found[part.summary["video_id"]] = Video(str(path), name, part.summary["video_id"], path.stat().st_size)
        return found

    def _published(self, task: Take, carried: Carried, event: Event, published: list[Document]) -> bool:
        """Put an event where the outbox finds it; False where it is there already, or is not wanted.

        `published` is every event of the camera that was put there before; this one is added.
        """
        document = event.document
        if document["id"] in {one["id"] for one in published}:
            # The ledger was cut off after it: it is of this file all the same.
            mine = document["id"], task.segment, task.early
            return any((one["id"], one["segment"], one["early"]) == mine for one in published)
        if task.early and document["severity"] != ALERT:
            return False
        if not task.early and any(one["early"] and _overlap(one, document) for one in published):
            return False  # it was published when it was new
        if not self._is_there(document["id"]):
            self._publish(carried.camera(task.camera), event)
        line = {
            "id": document["id"],
            "segment": task.segment,
            "early": task.early,
            "start_utc": document["start_utc"],
            "end_utc": document["end_utc"],
            "severity": document["severity"],
            "at_s": round(time.time(), 3),
        }
        lines.append(camera_folder(self.state, task.camera) / PUBLISHED, line)
        published.append(line)
        return True

    def _is_there(self, event_id: str) -> bool:
        folders = (self.state / EVENTS / f"{kind}{event_id}" for kind in (WHOLE, NEW))
        return any((folder / "manifest.json").is_file() for folder in folders)

    def _publish(self, camera: Camera, event: Event) -> None:
        """The event without its clip, and beside it what the clip is made of; where none are made, as it will stay."""
        event_id = event.document["id"]
        making = self._making(f"{NEW}{event_id}")
        stage = self._stage(making, camera)
        if stage.clips is not None:
            self._finish(making, WHOLE, event_id, with_clip(stage, camera, event, self.looker))
            return
        parts = [
            {"summary": one.summary, "offset_s": one.offset_s, "first_frame": one.first_frame, "steady": one.steady}
            for one in cut(stage, camera, event).parts
        ]
        began = None if camera.began is None else camera.began.isoformat()
        about = {"document": event.document, "key_s": event.key_s, "camera": camera.name, "began": began}
        store.write_file(making / FOR_CLIP, store.to_json_line({**about, "parts": parts}))
        self._finish(making, NEW, event_id, pending(stage, camera, event))

    def make_clip(self, event_id: str, given_up: str | None = None) -> None:
        """Make the clip of an event that was published without, and put the whole in its place.

        Raises DetectorError(STATE) and what `alive` raises.
        """
        new = self.state / EVENTS / f"{NEW}{event_id}"
        about = store.read_json(new / FOR_CLIP)
        if about is not None and not (new.with_name(f"{WHOLE}{event_id}") / "manifest.json").is_file():
            parts = tuple(Part(**one) for one in about["parts"])
            began = None if about["began"] is None else datetime.fromisoformat(about["began"])
            camera = Camera(about["camera"], parts, began)
            making = self._making(f"{WHOLE}{event_id}")
            stage = self._stage(making, camera, given_up)
            document = with_clip(stage, camera, Event(about["document"], about["key_s"]), self.looker)
            self._finish(making, WHOLE, event_id, document)
        with store.state_errors("clean up", new):
            shutil.rmtree(new, ignore_errors=True)

    def _making(self, name: str) -> Path:
        making = self.state / MAKING / name
        with store.state_errors("write", making):
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
        return making

    def _stage(self, making: Path, camera: Camera, given_up: str | None = None) -> Stage:
        return Stage(
            state=making,
            rules=self.rules,
            privacy=self.privacy,
            clips=self.clips or given_up,
            videos=self._videos(camera.parts),
            alive=self.alive,
            seen_at=self.seen_at,
            found_in=self.state,
        )

    def _finish(self, making: Path, kind: str, event_id: str, document: Document) -> None:
        """A folder with this event alone, as the outbox takes a finished run's: there all at once."""
        target = self.state / EVENTS / f"{kind}{event_id}"
        store.write_file(making / "events.jsonl", store.to_json_line(document))
        manifest = {
            "schema_version": 1,
            "run": target.name,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "exit_code": int(Exit.DONE),
            "files": [store.describe_file(making, name) for name in store.list_files(making)],
        }
        store.write_file(making / "manifest.json", store.to_json(manifest))
        with store.state_errors("write", target):
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            making.rename(target)
            store.sync_folder(target.parent)

    def _drop(self, video_ids: set[str], folder: Path) -> None:
        early = store.read_json(folder / "early.json")
        wanted = {part["video_id"] for part in early["carried"]["parts"]} if early else set()
        for name in video_ids - wanted:
            store.drop_video(self.state, name)


def _carried(state: Path, kept: Document | None) -> Carried:
    """What was carried over; files whose results are no longer there are left out."""
    if kept is None:
        return Carried()
    document = kept["carried"]
    summaries = [
        summary
        for part in document["parts"]
        if (summary := store.finished_summary(state, part["video_id"])) is not None
    ]
    there = {one["video_id"] for one in summaries}
    if document["parts"] and document["parts"][-1]["video_id"] not in there:
        return Carried()  # where the next file begins is not known any more
    parts = [part for part in document["parts"] if part["video_id"] in there]
    return of_document({**document, "parts": parts}, summaries)


def _noted_s(one: Document) -> float:
    """When an event was, or was put into `EVENTS`, whichever is later."""
    end_s = datetime.fromisoformat(one["end_utc"]).timestamp() if one.get("end_utc") else 0.0
    return max(end_s, float(one.get("at_s", 0.0)))


def _overlap(one: Document, other: Document) -> bool:
    if one["start_utc"] is None or other["start_utc"] is None:
        return False
    return bool(one["start_utc"] <= other["end_utc"] and other["start_utc"] <= one["end_utc"])


def without_clip(state: Path) -> Iterator[str]:
    """Ids of all events that were published and whose clip was not made yet."""
    folder = state / EVENTS
    for path in sorted(folder.glob(f"{NEW}*")) if folder.is_dir() else ():
        yield path.name.removeprefix(NEW)


def of_clip(state: Path, event_id: str) -> Document | None:
    """The document of an event whose clip is to be made; None where there is nothing left to make."""
    about = store.read_json(state / EVENTS / f"{NEW}{event_id}" / FOR_CLIP)
    return None if about is None else about["document"]


def dropped_before(state: Path, names: set[str]) -> None:
    """Remove results of files that are no longer carried over: a kill may have come before they were dropped.

    `names` are segments that are done, relative to the input folder.
    """
    wanted = set()
    for path in (state / "cameras").glob("*/*.json"):
        document = store.read_json(path)
        if document and "carried" in document:
            wanted |= {part["video_id"] for part in document["carried"]["parts"]}
    for name in names:
        one = video_id(name.encode("utf-8", "surrogateescape"))
        if one not in wanted:
            store.drop_video(state, one)
