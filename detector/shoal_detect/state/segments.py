"""A video in hand, segment by segment: what is done of it is kept, so that a kill loses minutes and not hours.

`videos/.<video id>.segments/` holds, for every segment of LENGTH inferred frames that is done, its detections, its
pictures, and last a document that says so. Segments are the same ranges of frames whoever does them, and how many
processes there are: joined they are the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shoal_detect.state import store
from shoal_detect.state.store import Document, state_errors
from shoal_detect.state.summary import Tally

if TYPE_CHECKING:
    from shoal_detect.pictures.key_frames import Drawn
    from shoal_detect.read.videos import Video

LENGTH = 1500
"""Inferred frames of a segment: some three minutes of a slow processor's work, most often less."""
SUFFIX = ".segments"


@dataclass(frozen=True, slots=True)
class Segments:
    """The segments of one video that are done."""

    folder: Path
    length: int
    """Frames of a segment, those between the inferred ones too."""

    def number_of(self, frame: int) -> int:
        """The segment that a frame is in."""
        return frame // self.length

    def count(self, frames: int) -> int:
        """How many segments so many frames make."""
        return -(-frames // self.length)

    def done(self, number: int) -> bool:
        """Whether it is done."""
        return self._path(number, "json").exists()

    def done_in_a_row(self, count: int) -> int:
        """How many of the first `count` are done before the first that is not."""
        return next((number for number in range(count) if not self.done(number)), count)

    @contextmanager
    def writing(self, number: int) -> Iterator[Callable[[bytes], None]]:
        """Give a function that appends to its detections, which others see at once."""
        with store.appending(self._path(number, "jsonl")) as write:
            yield write

    @contextmanager
    def noting(self, number: int) -> Iterator[Callable[[bytes], None]]:
        """Give a function that appends to what was seen of people in it."""
        with store.appending(self._path(number, "people")) as note:
            yield note

    def people(self, number: int) -> bytes:
        """Those lines. Raises DetectorError(STATE)."""
        path = self._path(number, "people")
        with state_errors("read", path):
            return path.read_bytes()

    def keep(self, number: int, document: Document, pictures: Sequence[Drawn]) -> None:
        """The segment is done: its pictures, then its document."""
        listed = []
        for one in pictures:
            store.write_file(self.folder / f"{number:06d}-{one.index}.jpg", one.jpeg)
            listed.append({name: value for name, value in asdict(one).items() if name != "jpeg"})
        store.write_file(self._path(number, "json"), store.to_json({**document, "pictures": listed}))

    def document(self, number: int) -> Document:
        """What `keep` kept, pictures as `Drawn` would be made of them. Raises DetectorError(STATE)."""
        path = self._path(number, "json")
        document = store.read_json(path)
        if document is None:
            with state_errors("read", path):
                raise OSError(0, "it is damaged")
        for one in document["pictures"]:
            with state_errors("read", path):
                one["jpeg"] = (self.folder / f"{number:06d}-{one['index']}.jpg").read_bytes()
        return document

    def detections(self, number: int) -> bytes:
        """Its lines. Raises DetectorError(STATE)."""
        path = self._path(number, "jsonl")
        with state_errors("read", path):
            return path.read_bytes()

    def drop(self, number: int) -> None:
        """It has to be done again."""
        with state_errors("clean up", self.folder):
            self._path(number, "json").unlink(missing_ok=True)

    def remove(self) -> None:
        """The video is finished."""
        with state_errors("clean up", self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:06d}.{kind}"


def of(state: Path, video: Video, stride: int) -> Segments:
    """The segments of a video."""
    return Segments(store.videos_folder(state) / f".{video.video_id}{SUFFIX}", LENGTH * stride)


def take_up(segments: Segments, video: Video) -> None:
    """Begin with a video; what was done of it is kept if the file is the very same."""
    try:
        status = os.stat(video.path)  # noqa: PTH116 - the path may hold bytes that are not UTF-8
        now: Document = {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "length": segments.length}
    except OSError:
        now = {}  # the reading will say why
    path = segments.folder / "source.json"
    if now and store.read_json(path) == now:
        return
    segments.remove()
    with state_errors("write", segments.folder):
        segments.folder.mkdir(parents=True)
    store.write_file(path, store.to_json(now))


def remove_all(state: Path) -> None:
    """The run is finished: no video is in hand any more."""
    folder = store.videos_folder(state)
    with state_errors("clean up", state):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name.startswith(".") and entry.name.endswith(SUFFIX):
                shutil.rmtree(entry, ignore_errors=True)


def joined(segments: Segments, count: int) -> tuple[Tally, list[Document]]:
    """The counts over the first `count` segments, and their documents."""
    tally, documents = Tally(), [segments.document(number) for number in range(count)]
    for document in documents:
        tally.merge(document["tally"])
    return tally, documents
