"""The watch: finds new footage by looking, works on it in order, and says how it stands.

The ledger is the truth. A file is done when its line is there; everything before that can be done again. One process
per processor detects, one makes events, one their clips; files are detected in any order, and each camera's events are
made in order. An event is published when it is decided; its clip follows, and no footage waits for it.
"""

from __future__ import annotations

import heapq
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from shoal_detect import memory
from shoal_detect.cpus import available_cpus
from shoal_detect.errors import DetectorError, Exit, Interrupted, OutOfMemory
from shoal_detect.events.rules import read_rules
from shoal_detect.messages import Done, Task
from shoal_detect.model.precision import Precision
from shoal_detect.model.weights import read_weights
from shoal_detect.privacy import read_policy
from shoal_detect.progress import quoted, say
from shoal_detect.read.faults import Kind
from shoal_detect.state import store
from shoal_detect.state.lock import locked
from shoal_detect.state.settings import Settings
from shoal_detect.state.store import Document
from shoal_detect.stop import Stop
from shoal_detect.watch import chain
from shoal_detect.watch.footage import Scan, Segment
from shoal_detect.watch.keeper import EventsKeeper
from shoal_detect.watch.ledger import Ledger, camera_folder
from shoal_detect.watch.messages import BeginEvents, MakeClip, Take
from shoal_detect.watch.settings import Watch
from shoal_detect.worker import Died, Worker

LOOK_S = 1.0
STATUS_S = 5.0
TIDY_S = 3600.0
ROOM_S, SAY_S = 5.0, 60.0
"""How often a full disk is asked again, and spoken of."""
ANEW_S = 60.0
CLIP_ROOM_BYTES = 64 << 20
"""Less room is for events alone."""
EASE_S = 60.0
"""The stride changes no more often."""
DAY_S = 86_400
STATUS = "status.json"
WHOLE_TRIES = 1
"""How often a file of which a process ran out of memory is tried as a whole again."""
STRIDES = "strides.json"
"""Below a camera's folder: the stride of each file that is in hand or detected."""

T = TypeVar("T")


@dataclass
class Camera:
    """One camera's footage, as far as it is not done."""

    name: str
    folder: str
    scan: Scan
    ledger: Ledger
    keep_days: int
    """How long its events are remembered."""
    pending: dict[str, Segment] = field(default_factory=dict)
    """By name, found and not done."""
    detected: set[str] = field(default_factory=set)
    in_hand: set[str] = field(default_factory=set)
    early: list[tuple[float, str]] = field(default_factory=list)
    """Order of the files that were taken out of their turn."""
    strides: dict[str, int] = field(default_factory=dict)
    """Of the files that are in hand or detected."""

    def in_order(self) -> list[Segment]:
        """What waits, the oldest first."""
        return sorted(self.pending.values(), key=lambda one: one.order)

    def lag_s(self, now_s: float) -> float:
        """For how long the oldest footage that was not looked at has lain."""
        closed = [one.closed_s for one in self.pending.values() if one.name not in self.detected]
        return max(0.0, now_s - min(closed)) if closed else 0.0


def watch(settings: Watch, state: Path, root: str, stop: Stop) -> None:
    """Watch until it is stopped. Raises DetectorError and Interrupted."""
    _await_room(state, stop)
    with locked(state, stop):
        Watcher(settings, state, root, stop).run()


def _await_room(state: Path, stop: Stop) -> None:
    """As long as nothing can be noted nothing is begun: no model is loaded again and again for nothing.

    A container that began while the disk was read-only sees it so even when it no longer is: after a while it ends, and
    is begun anew. Raises DetectorError then, and Interrupted.
    """
    began_s, said_s = time.monotonic(), float("-inf")
    while True:
        try:
            with store.state_errors("write", state):
                state.mkdir(parents=True, exist_ok=True)
            store.try_to_write(state)
        except DetectorError as error:
            if time.monotonic() - said_s > SAY_S:
                said_s = time.monotonic()
                say(f"{error.message}; the watch waits for that")
            if time.monotonic() - began_s > ANEW_S:
                raise
        else:
            return
        stop.wait(ROOM_S)


class Watcher:
    """One machine's watch."""

    def __init__(self, settings: Watch, state: Path, root: str, stop: Stop) -> None:
        self.watch, self.state, self.stop = settings, state, stop
        policy = read_policy(root)
        self.sha256 = read_weights(Path(settings.weights), settings.weights_sha256)[1]
        self.rules = read_rules(root)
        self.settings = Settings(
            input=os.path.realpath(root),
            state=state,
            run="watch",
            weights=Path(settings.weights),
            weights_name=settings.weights_name,
            weights_sha256=self.sha256,
            conf=settings.conf,
            iou=settings.iou,
            classes=None,
            img=settings.img,
            stride=settings.stride,
            key_frames=0,
            threads=1,
            max_det=300,
            privacy=policy.privacy_of(settings.privacy),
            clips=policy.no_clips(),
            precision=settings.precision,
            reuse=settings.reuse,
        )
        self.cameras = [
            Camera(
                one.name,
                one.folder,
                Scan(self.settings.input, one, self.rules.name_times),
                Ledger(state, self.settings.input, one.name),
                max(settings.keep_events_days, one.keep_days),
            )
            for one in settings.cameras
        ]
        self.level = 0
        self._eased_s = self._said_s = self._clips_waited_s = float("-inf")
        self._changed = threading.Condition()
        self._clips: list[tuple[bool, float, str]] = []
        """Events whose clip is to be made, as a heap: alerts first, the newest first."""
        self._error: BaseException | None = None
        self._since_s = 0.0
        limit = memory.limit_bytes()
        wanted = settings.processes or available_cpus()
        size_bytes = self.settings.weights.stat().st_size
        # One more makes the events.
        self.processes = max(1, memory.processes_within(limit, wanted + 1, size_bytes) - 1)

    # --- the main thread

    def run(self) -> None:
        """Until it is stopped. Raises DetectorError, and Interrupted where that came before it began."""
        self._take_up()
        precision = self._precision()
        begin = BeginEvents(self.settings, self.rules, precision, self._every_frame())
        keeper, clips = EventsKeeper(begin), EventsKeeper(begin)
        workers = [Worker(self.settings, self.sha256, precision) for _ in range(self.processes)]
        threads = [
            threading.Thread(target=self._guarded, args=(self._detect, worker), name="detect", daemon=True)
            for worker in workers
        ]
        for work, tool in ((self._make_events, keeper), (self._make_clips, clips)):
            threads.append(threading.Thread(target=self._guarded, args=(work, tool), daemon=True))
        names = ", ".join(camera.name for camera in self.cameras)
        say(f"watching {names}, {self.processes} processes, stride {self.watch.stride}, {precision}")
        for thread in threads:
            thread.start()
        try:
            self._look_on()
        except Interrupted as interrupted:
            self._fail(interrupted)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            for thread in threads:
                thread.join()
            keeper.leave()
            clips.leave()
            for worker in workers:
                worker.leave()
        self._status()

    def _take_up(self) -> None:
        """Go on where it was left."""
        began = store.read_json(self.state / "began.json")
        if began is None:
            began = {"since_s": time.time() - self.watch.look_back_s}
            store.write_file(self.state / "began.json", store.to_json_line(began))
        self._since_s = began["since_s"]
        with store.state_errors("clean up", self.state):
            shutil.rmtree(self.state / chain.MAKING, ignore_errors=True)
        store.videos_folder(self.state).mkdir(exist_ok=True)
        store.remove_leftovers(self.state)
        for camera in self.cameras:
            camera.ledger.load()
        chain.dropped_before(self.state, set().union(*(camera.ledger.known for camera in self.cameras)))
        self._clips_wanted(chain.without_clip(self.state))
        self._scan()
        for camera in self.cameras:
            strides = store.read_json(camera_folder(self.state, camera.name) / STRIDES) or {}
            camera.strides = {name: stride for name, stride in strides.items() if name in camera.pending}
            early = store.read_json(camera_folder(self.state, camera.name) / "early.json")
            if early and early["segment"] in camera.pending:
                camera.early.append(camera.pending[early["segment"]].order)

    def _precision(self) -> Precision:
        """In which the model computes: tried once, on the first footage, and kept."""
        if self.settings.precision != "auto":
            return Precision(self.settings.precision)
        kept = store.read_json(self.state / "precision.json")
        if kept is None or kept["weights_sha256"] != self.sha256:
            while not (waiting := [one for camera in self.cameras for one in camera.in_order()]):
                self._status()
                self.stop.wait(LOOK_S)
                self._scan()
            worker = Worker(self.settings, self.sha256)
            try:
                worker.start(self.stop.check)
                used = worker.choose([waiting[0].video], self.stop.check).used
            finally:
                worker.leave()
            kept = {"used": str(used), "weights_sha256": self.sha256}
            store.write_file(self.state / "precision.json", store.to_json_line(kept))
        return Precision(kept["used"])

    def _every_frame(self) -> bool:
        return self.watch.stride == self.watch.stride_most == 1 and not self.watch.reuse

    def _look_on(self) -> None:
        tidied_s = float("-inf")
        while self._error is None:
            self.stop.check()
            self._scan()
            self._ease()
            if time.monotonic() - self._said_s > STATUS_S:
                self._said_s = time.monotonic()
                self._status()
            if time.monotonic() - tidied_s > TIDY_S:
                self._tidy()
                tidied_s = time.monotonic()
            self.stop.wait(LOOK_S)
        raise self._error

    def _scan(self) -> None:
        if (now_s := time.time()) < self._since_s:
            # It began under a clock that was ahead: what comes from now on is not from before the watch.
            self._since_s = now_s
            store.write_file(self.state / "began.json", store.to_json_line({"since_s": now_s}))
        for camera in self.cameras:
            try:
                # In this order: what is done meanwhile is known before it is pending no more.
                found = [*camera.scan.segments(camera.pending, camera.ledger.known)]
            except OSError as error:
                folder = Path(self.settings.input, camera.folder)
                raise DetectorError(f"{folder} cannot be looked through: {error.strerror}", Exit.USAGE) from None
            with self._changed:
                for segment in found:
                    if segment.closed_s >= self._since_s:
                        camera.pending[segment.name] = segment
                        if store.finished_summary(self.state, segment.video.video_id):
                            camera.detected.add(segment.name)
                    else:
                        camera.ledger.known.add(segment.name)  # from before the watch
                for segment in [*camera.pending.values()]:
                    if segment.name not in camera.in_hand and not os.path.exists(segment.video.path):  # noqa: PTH110
                        self._gone(camera, segment)
                if found:
                    self._changed.notify_all()

    def _gone(self, camera: Camera, segment: Segment) -> None:
        say(f"{quoted(segment.name)}: it went before the watch came to it")
        line = self._line(segment, {"seconds": 0.0, "frames": 0, "fault": None}, (), 0)
        camera.ledger.add({**line, "gone": True})
        del camera.pending[segment.name]
        camera.detected.discard(segment.name)
        camera.strides.pop(segment.name, None)

    def _ease(self) -> None:
        """Look at fewer frames where the machine does not keep up, and at more again where it does."""
        now_s = time.time()
        lag_s = max(camera.lag_s(now_s) for camera in self.cameras)
        if time.monotonic() - self._eased_s < EASE_S:
            return
        before = self.stride()
        if lag_s > self.watch.behind_s and before < self.watch.stride_most:
            self.level += 1
        elif lag_s < self.watch.behind_s / 2 and self.level:
            self.level -= 1
        if self.stride() != before:
            self._eased_s = time.monotonic()
            say(f"{lag_s:.0f} s behind: now every {self.stride()}. frame is looked at, before every {before}.")

    def stride(self) -> int:
        """Every how many frames one is inferred now."""
        return min(self.watch.stride << self.level, self.watch.stride_most)

    def _status(self) -> None:
        now_s = time.time()
        with self._changed:
            cameras = {camera.name: self._camera_status(camera, now_s) for camera in self.cameras}
        document = {
            "version": 1,
            "at_s": round(now_s, 3),
            "stride": self.stride(),
            "stride_wanted": self.watch.stride,
            "processes": self.processes,
            "clips_to_make": len(self._clips),
            "cameras": cameras,
        }
        store.write_file(self.state / STATUS, store.to_json(document))

    def _camera_status(self, camera: Camera, now_s: float) -> Document:
        last = camera.ledger.last
        return {
            "last_segment": last["segment"] if last else None,
            "last_closed_s": last["closed_s"] if last else None,
            "last_lag_s": last["lag_s"] if last else None,
            "behind_s": round(camera.lag_s(now_s), 1),
            "backlog_segments": len(camera.pending),
            **{
                name: camera.ledger.counts.get(name, 0)
                for name in ("segments", "frames", "seconds", "faulty", "gone", "events")
            },
        }

    def _tidy(self) -> None:
        """Let old events' folders go: the outbox has copies of what it is to ship."""
        with self._changed:
            for camera in self.cameras:
                camera.ledger.forget()
        folder = self.state / chain.EVENTS
        for entry in folder.iterdir() if folder.is_dir() else ():
            manifest = entry / "manifest.json"
            if manifest.is_file() and manifest.stat().st_mtime < time.time() - self.watch.keep_events_days * DAY_S:
                say(f"{entry.name}: its folder is {self.watch.keep_events_days} days old and goes")
                shutil.rmtree(entry)

    # --- the other threads

    def _guarded(self, work: Callable[[T], None], tool: T) -> None:
        try:
            work(tool)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify_all()

    def _check(self) -> None:
        self.stop.check()
        if self._error is not None:
            raise self._error

    def _await(self, find: Callable[[], T | None]) -> T | None:
        """What is to be done next; None: nothing any more."""
        with self._changed:
            while self._error is None:
                found = find()
                if found is not None:
                    return found
                self._changed.wait(LOOK_S)
        return None

    def _detect(self, worker: Worker) -> None:
        worker.start(self._check)  # before there is footage: the first file after a boot waits for no model
        while (job := self._await(self._next_to_detect)) is not None:
            camera, segment, stride = job
            with self._changed:
                # Beforehand: the ledger says it of a file that was detected before a kill, too.
                camera.strides[segment.name] = stride
                strides = store.to_json_line(camera.strides)
                store.write_file(camera_folder(self.state, camera.name) / STRIDES, strides)
            self._detected(worker, segment, stride)
            with self._changed:
                camera.in_hand.discard(segment.name)
                camera.detected.add(segment.name)
                self._changed.notify_all()

    def _next_to_detect(self) -> tuple[Camera, Segment, int] | None:
        now_s = time.time()
        best: tuple[tuple[int, float], Camera, Segment] | None = None
        for camera in self.cameras:
            waiting = [
                one for one in camera.in_order() if one.name not in camera.detected and one.name not in camera.in_hand
            ]
            if not waiting:
                continue
            behind = camera.lag_s(now_s) > self.watch.behind_s
            fresh = [one for one in waiting if behind and now_s - one.closed_s <= self.watch.behind_s]
            segment = fresh[0] if fresh else waiting[0]
            # The newest footage of a camera that is behind, then whatever has lain longest.
            rank = (0 if fresh else 1, segment.closed_s)
            if best is None or rank < best[0]:
                best = rank, camera, segment
        if best is None:
            return None
        _, camera, segment = best
        camera.in_hand.add(segment.name)
        return camera, segment, self.stride()

    def _detected(self, worker: Worker, segment: Segment, stride: int) -> None:
        """Its detections, durable. Raises DetectorError and Interrupted."""
        task, starved = Task(segment.video, stride=stride), 0
        for _ in range(3 + WHOLE_TRIES):
            worker.beat.set(0)
            worker.beat.set_end(None)
            try:
                answer = worker.ask(task, self._check)
            except Died as died:
                task = worker.rescue(task, died, died.kind)
                continue
            except OutOfMemory as starving:
                # Others' work may have taken what it lacked: it is tried as a whole once more.
                starved += 1
                say(f"{quoted(segment.name)}: its process was killed for want of memory; going on with a new one")
                if starved > WHOLE_TRIES:
                    task = worker.rescue(task, starving, Kind.OUT_OF_MEMORY)
                continue
            if isinstance(answer, Done):
                return
            raise RuntimeError(f"the process that works on videos answered {answer!r}")
        raise DetectorError(f"{segment.name}: the decoder dies of it again and again", Exit.STATE)

    def _make_events(self, keeper: EventsKeeper) -> None:
        while (job := self._await(self._next_to_take)) is not None:
            camera, segment, early = job
            began_s = None if segment.began is None else segment.began.timestamp()
            task = Take(
                camera.name, camera.folder, segment.name, began_s, segment.video, early, keep_days=camera.keep_days
            )
            taken = keeper.take(task, self._check)
            if early:
                camera.early.append(segment.order)
                with self._changed:
                    self._clips_wanted(taken.events)
                    self._changed.notify_all()
                continue
            line = self._line(segment, taken.summary, taken.events, camera.strides.pop(segment.name, 0))
            with self._changed:
                self._clips_wanted(taken.events)
                camera.ledger.add(line)
                del camera.pending[segment.name]
                camera.detected.discard(segment.name)
                self._said_s = float("-inf")
                self._changed.notify_all()
                reached = bool(camera.early) and segment.order >= camera.early[-1]
            if reached:
                keeper.forget_early(camera.name, self._check)
                camera.early.clear()

    def _clips_wanted(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            document = chain.of_clip(self.state, event_id)
            if document is not None:
                item = (document["severity"] != chain.ALERT, -_seconds_of(document["start_utc"]), event_id)
                if item not in self._clips:
                    heapq.heappush(self._clips, item)

    def _make_clips(self, keeper: EventsKeeper) -> None:
        while (event_id := self._await(self._next_clip)) is not None:
            keeper.make_clip(MakeClip(event_id), self._check)
            with self._changed:
                self._clips = [one for one in self._clips if one[2] != event_id]
                heapq.heapify(self._clips)

    def _next_clip(self) -> str | None:
        """A clip is large, and can wait for room; events cannot."""
        if not self._clips:
            return None
        with store.state_errors("look at", self.state):
            about = os.statvfs(self.state)
        if (free_bytes := about.f_bavail * about.f_frsize) >= CLIP_ROOM_BYTES:
            return self._clips[0][2]
        if time.monotonic() - self._clips_waited_s > SAY_S:
            self._clips_waited_s = time.monotonic()
            say(f"{len(self._clips)} clips wait for room: {free_bytes >> 20} MiB are free in {self.state}")
        return None

    def _next_to_take(self) -> tuple[Camera, Segment, bool] | None:
        now_s = time.time()
        for camera in self.cameras:
            waiting = camera.in_order()
            if camera.lag_s(now_s) <= self.watch.behind_s:
                continue
            after = camera.early[-1] if camera.early else waiting[0].order
            for segment in waiting[1:]:
                if segment.order <= after or now_s - segment.closed_s > 2 * self.watch.behind_s:
                    continue
                if segment.name in camera.detected:
                    return camera, segment, True
                if now_s - segment.closed_s <= self.watch.behind_s:
                    break  # it comes next, and those after it follow
        found = [
            (first.closed_s, camera, first)
            for camera in self.cameras
            if camera.pending and (first := camera.in_order()[0]).name in camera.detected
        ]
        if not found:
            return None
        _, camera, segment = min(found, key=lambda one: one[0])
        return camera, segment, False

    @staticmethod
    def _line(segment: Segment, summary: Document, events: tuple[str, ...], stride: int) -> Document:
        now_s = time.time()
        return {
            "segment": segment.name,
            "size_bytes": segment.video.size_bytes,
            "closed_s": round(segment.closed_s, 3),
            "at_s": round(now_s, 3),
            "lag_s": round(now_s - segment.closed_s, 3),
            "stride": stride,
            "events": list(events),
            **summary,
        }


def _seconds_of(utc: str | None) -> float:
    return datetime.fromisoformat(utc).timestamp() if utc else 0.0
