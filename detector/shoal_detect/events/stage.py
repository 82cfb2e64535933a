"""The events of a run, made when its videos are done: found, a clip made for each, `events.jsonl` written last.

What is finished is kept under a hidden name until the file is written, so a run that is taken up again goes on at the
clips that it had in hand.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt

from shoal_detect.events import clip as clips
from shoal_detect.events import seen_file
from shoal_detect.events.cameras import Camera, Part, cameras
from shoal_detect.events.clip import Footage, Unmade, Unverified
from shoal_detect.events.decide import Event, events
from shoal_detect.events.look import Looker
from shoal_detect.events.rules import Rules
from shoal_detect.events.scene import cells_unmoved
from shoal_detect.events.sightings import Seen, frames_of, read_detections
from shoal_detect.pictures.annotate import encode_jpeg
from shoal_detect.read.decode import Frame
from shoal_detect.read.span import Stretch, Unreadable, read_span
from shoal_detect.read.videos import Video
from shoal_detect.state import store
from shoal_detect.state.store import QUARANTINE, Document

CLIPS, DONE = "clips", ".events"
KEY_FRAME_SIDE_PX = 960
LOOKED_INTO_SIDE_PX = 1280
"""Longer side of a picture that is looked into for movement, at most: what is compared of it is 96 pixels wide."""
PICTURES_KEPT = 64
"""Pictures that were looked into for movement; the same moment is asked about more than once."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What events are made with."""

    state: Path
    rules: Rules
    privacy: str
    clips: str | None
    """Why no clips are made; None: they are."""
    videos: Mapping[str, Video]
    """Those whose footage is there, by id."""
    alive: Callable[[], None]
    seen_at: int | None = None
    """Size of the model's input at which every frame was looked at while detecting; None: not every frame was."""
    found_in: Path | None = None
    """Where the videos' detections lie, if not in `state`."""


def found(
    stage: Stage, summaries: Sequence[Document], met: Callable[[Camera], None] = lambda _: None
) -> Iterator[tuple[Camera, Event]]:
    """All events of the run, by start within each camera, cameras by name; `met` is called for each of these."""
    folder = store.videos_folder(stage.state)
    with store.state_errors("read", folder):
        detections = {one["video_id"]: read_detections(folder / one["video_id"], one) for one in summaries}
    fps = {one["video_id"]: one["fps"] for one in summaries}
    unsteady = {name for name, one in detections.items() if not one.steady(fps[name])}
    for camera in cameras(summaries, stage.rules, unsteady):
        met(camera)
        pictures = Pictures(camera, stage.videos, stage.alive)
        for event in events(camera, frames_of(camera, detections), stage.rules, stage.privacy, pictures.unmoved):
            yield camera, event


def cut(stage: Stage, camera: Camera, event: Event) -> Camera:
    """The camera with those of its files alone that the event's clip is made of."""
    start_s, end_s = _rolled(stage, event)
    return replace(camera, parts=tuple(_between(camera, start_s - clips.LOOK_AROUND_S, end_s + clips.LOOK_AROUND_S)))


def _between(camera: Camera, start_s: float, end_s: float) -> Iterator[Part]:
    for part in camera.parts:
        if part.end_s > start_s and part.offset_s <= end_s:
            yield part


def keep_with_clip(stage: Stage, camera: Camera, event: Event, looker: Callable[[], Looker | None]) -> None:
    """Make the event's clip, unless that was done before, and keep its document until `write_events`.

    `camera` may be cut to the clip's footage. Raises DetectorError(STATE), and what `alive` raises.
    """
    finished = _finished(stage.state)
    with store.state_errors("write", finished):
        finished.mkdir(exist_ok=True)
    kept = finished / f"{event.document['id']}.json"
    document = store.read_json(kept)
    if document is None or not _files_there(stage.state, document):
        store.write_file(kept, store.to_json_line(with_clip(stage, camera, event, looker)))


def write_events(state: Path, event_ids: Sequence[str], video_ids: Sequence[str]) -> None:
    """Write `events.jsonl` of what was kept, and remove what is no result. Raises DetectorError(STATE)."""
    finished = _finished(state)
    with store.state_errors("read", finished):
        lines = [(finished / f"{event_id}.json").read_bytes() for event_id in event_ids]
    _remove_others(state, lines)
    store.write_file(state / "events.jsonl", b"".join(lines))
    with store.state_errors("clean up", finished):
        if finished.is_dir():
            shutil.rmtree(finished)
        for name in video_ids:
            (store.videos_folder(state) / name / seen_file.FILE).unlink(missing_ok=True)


def _finished(state: Path) -> Path:
    return state / DONE


def _files_there(state: Path, document: Document) -> bool:
    clip = document["clip"]
    if clip is None or clip["file"] is None:
        return True
    path = state / clip["file"]
    picture = document["key_frame"] is None or (state / document["key_frame"]).is_file()
    return path.is_file() and path.stat().st_size == clip["size_bytes"] and picture


def _remove_others(state: Path, lines: Collection[bytes]) -> None:
    """Clips of events that there are no longer: a video changed between two attempts."""
    text = b"".join(lines)
    for folder in (state / CLIPS, state / QUARANTINE):
        with store.state_errors("clean up", folder):
            for entry in folder.iterdir() if folder.is_dir() else ():
                if entry.stem.encode() not in text:
                    entry.unlink()


def _rolled(stage: Stage, event: Event) -> tuple[float, float]:
    start_s = max(0.0, event.document["start_s"] - stage.rules.roll_before_s)
    return start_s, float(event.document["end_s"] + stage.rules.roll_after_s)


def _clip_span(stage: Stage, camera: Camera, event: Event) -> tuple[float, float]:
    """Camera times between which the event's clip lies: with its rolls, as far as there is footage."""
    start_s, end_s = _rolled(stage, event)
    return start_s, min(camera.parts[-1].end_s, end_s)


def _no_clip(start_s: float, end_s: float) -> Document:
    nothing: Document = {"file": None, "sha256": None, "size_bytes": None, "frames": None}
    return nothing | {"start_s": round(start_s, 3), "end_s": round(end_s, 3)}


def pending(stage: Stage, camera: Camera, event: Event) -> Document:
    """The event's document, whose clip is yet to be made."""
    clip = {**_no_clip(*_clip_span(stage, camera, event)), "state": "pending", "reason": "it is being made"}
    return {**event.document, "clip": clip}


def with_clip(stage: Stage, camera: Camera, event: Event, looker: Callable[[], Looker | None]) -> Document:
    """The event's document with its clip and picture, which are written; or with the reason why there are none.

    `looker` gives what sees who is to be covered, when it is needed; None: no one is. Raises DetectorError(STATE), and
    what `alive` raises.
    """
    document = event.document
    start_s, end_s = _clip_span(stage, camera, event)
    nothing = _no_clip(start_s, end_s)
    if stage.clips is not None:
        return {**document, "clip": {**nothing, "state": "none", "reason": stage.clips}}
    around_s = clips.LOOK_AROUND_S
    looking = looker()
    seen = _seen(stage, camera, start_s - around_s, end_s + around_s, looking)
    footage = Footage(_Frames(camera, stage.videos, stage.alive), start_s, end_s, stage.alive, around_s, seen)
    file = f"{CLIPS}/{document['id']}.mp4"
    part = stage.state / CLIPS / f".{document['id']}.mp4{store.PART}"
    with store.state_errors("write", part):
        part.parent.mkdir(exist_ok=True)
    try:
        # A disk that takes no clip now is no reason to go without it.
        with store.state_errors("write", part):
            made = clips.make(footage, looking, part, event.key_s)
    except (Unmade, Unreadable) as error:
        part.unlink(missing_ok=True)
        return {**document, "clip": {**nothing, "state": "none", "reason": str(error)}}
    except Unverified as error:
        with store.state_errors("write", part):
            _quarantine(stage.state, part, document["id"])
        return {**document, "clip": {**nothing, "state": "quarantined", "reason": str(error)}}
    with store.state_errors("write", part):
        store.keep_file(part, stage.state / file)
    key_file = f"{CLIPS}/{document['id']}.jpg"
    store.write_file(stage.state / key_file, _jpeg(made.picture))
    clip = {
        "file": file,
        "sha256": made.sha256,
        "size_bytes": made.size_bytes,
        "frames": made.frames,
        "start_s": made.start_s,
        "end_s": made.end_s,
        "state": "verified",
        "reason": None,
    }
    return {**document, "key_frame": key_file, "clip": clip}


def _seen(stage: Stage, camera: Camera, start_s: float, end_s: float, looker: Looker | None) -> Sequence[Seen] | None:
    """What was seen in every frame while detecting, where that was as close a look as the clip's; else None."""
    if stage.seen_at is None or (looker is not None and looker.size != stage.seen_at):
        return None
    seen: list[Seen] = []
    for part in _between(camera, start_s, end_s):
        folder = store.videos_folder(stage.found_in or stage.state)
        path = folder / part.summary["video_id"] / seen_file.FILE
        if not path.is_file():
            return None
        with store.state_errors("read", path):
            try:
                for one in seen_file.read_seen(path, start_s - part.offset_s, end_s - part.offset_s):
                    seen.append(replace(one, time_s=_camera_time(part, one.time_s)))
            except FileNotFoundError:
                return None  # a watch lets go of what it no longer carries
    return seen


def _camera_time(part: Part, time_s: float) -> float:
    return round(part.offset_s + time_s + 1e-7, 3)


def _quarantine(state: Path, part: Path, event_id: str) -> None:
    """Lay a clip aside that failed: root's alone, in no manifest."""
    folder = state / QUARANTINE
    folder.mkdir(mode=0o700, exist_ok=True)
    part.chmod(0o600)
    store.keep_file(part, folder / f"{event_id}.mp4")


def _jpeg(image: av.VideoFrame) -> bytes:
    """A picture of a verified clip."""
    scale = min(1.0, KEY_FRAME_SIDE_PX / max(image.width, image.height))
    size = max(2, round(image.width * scale)), max(2, round(image.height * scale))
    picture = image.reformat(*size, "rgb24", interpolation="AREA", threads=1).to_ndarray()
    return encode_jpeg(np.asarray(picture, dtype=np.uint8))


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames of a camera between two camera times, across its files."""

    camera: Camera
    videos: Mapping[str, Video]
    alive: Callable[[], None]

    def __call__(self, start_s: float, end_s: float) -> Iterator[tuple[float, Frame]]:
        for part in _between(self.camera, start_s, end_s):
            video = self.videos.get(part.summary["video_id"])
            if video is None:
                raise Unmade("its footage is no longer there")
            if video.size_bytes != part.summary["size_bytes"]:
                raise Unmade("its footage changed since it was looked through")
            stretch = Stretch(start_s - part.offset_s, end_s - part.offset_s)
            for frame in read_span(video, part.summary, stretch, self.alive):
                yield _camera_time(part, frame.time_s), frame


@dataclass
class Pictures:
    """Grey crops of a camera's footage, for the question whether something moved."""

    camera: Camera
    videos: Mapping[str, Video]
    alive: Callable[[], None]
    _kept: OrderedDict[float, npt.NDArray[np.uint8]] = field(default_factory=OrderedDict)

    def unmoved(self, before_s: float, after_s: float, box: npt.NDArray[np.float64]) -> bool | None:
        """As `scene.Unmoved`."""
        before, after = self._crop(before_s, box), self._crop(after_s, box)
        return None if before is None or after is None else cells_unmoved(before, after)

    def _crop(self, time_s: float, box: npt.NDArray[np.float64]) -> npt.NDArray[np.float32] | None:
        picture = self._kept.get(time_s)
        if picture is None:
            try:
                picture = self._picture(time_s)
            except (Unreadable, Unmade, av.error.FFmpegError, ValueError):
                picture = None
            if picture is None:
                return None
            self._kept[time_s] = picture
            if len(self._kept) > PICTURES_KEPT:
                self._kept.popitem(last=False)
        height, width = picture.shape
        left, right = (round(float(edge) * width) for edge in (box[0], box[2]))
        top, bottom = (round(float(edge) * height) for edge in (box[1], box[3]))
        if right - left < 2 or bottom - top < 2:
            return None
        crop = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[top:bottom, left:right]), format="gray")
        scaled = crop.reformat(96, 96, "gray", interpolation="AREA", threads=1).to_ndarray()
        return np.asarray(scaled, dtype=np.float32)

    def _picture(self, time_s: float) -> npt.NDArray[np.uint8] | None:
        for _, frame in _Frames(self.camera, self.videos, self.alive)(time_s - 0.0005, time_s + 1.0):
            image = frame.image
            scale = min(1.0, LOOKED_INTO_SIDE_PX / max(image.width, image.height))
            size = max(2, round(image.width * scale)), max(2, round(image.height * scale))
            picture = image.reformat(*size, "gray", interpolation="AREA", threads=1).to_ndarray()
            return np.asarray(picture, dtype=np.uint8)
        return None
