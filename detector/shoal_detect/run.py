"""A whole run: take up what is there, process what is missing, write the manifest last."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from shoal_detect import __version__, memory
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.events.rules import Rule, Rules, read_rules
from shoal_detect.events_pool import make_events
from shoal_detect.model.classes import NAMES
from shoal_detect.model.precision import Precision
from shoal_detect.model.weights import read_weights
from shoal_detect.pool import Pool, working
from shoal_detect.progress import VideoProgress, quoted, report, say
from shoal_detect.read.archive import Wanted, recorder_camera
from shoal_detect.read.faults import Kind
from shoal_detect.read.source import SETTLED_S, Unopened, opened, still_written
from shoal_detect.read.videos import Found, Video, find_videos
from shoal_detect.state import segments, store
from shoal_detect.state.lock import locked
from shoal_detect.state.settings import SCHEMA_VERSION, Settings, fingerprint, precision_of, refuse_other_settings
from shoal_detect.state.store import Document
from shoal_detect.state.summary import events_summary, not_read, notes, reuse_totals, totals
from shoal_detect.stop import Stop

PASSING = frozenset({Kind.GROWING, Kind.CHANGED})
"""Faults of the moment: a run that is taken up again looks at such a video anew."""
SETTLE_LOOK_S = 0.2


def run(settings: Settings, stop: Stop) -> Exit:
    """Do the run and return its exit code. Raises DetectorError and Interrupted."""
    with locked(settings.state, stop):
        begun_with = _begun_with(settings)
        manifest = _finished_manifest(settings, begun_with)
        if manifest is not None:
            return Exit(manifest["exit_code"])
        sha256 = read_weights(settings.weights, settings.weights_sha256)[1]
        now = fingerprint(settings, sha256)
        if begun_with is not None:
            refuse_other_settings(begun_with, now)
        rules = _with_asked(read_rules(settings.input), settings)
        found = _found(settings)
        if not found.videos:
            raise DetectorError(
                f"no videos found under the input folder {settings.input}{_asked(settings)}", Exit.NO_VIDEOS
            )
        with working(settings, sha256, stop) as pool:
            stop.check()
            store.remove_leftovers(settings.state)
            if begun_with is None:
                choice = pool.first.choose(found.videos, stop.check)
                begun_with = {
                    **now,
                    "started_at": _now(),
                    "detector_version": __version__,
                    "precision_choice": choice.document(),
                }
                store.write_file(settings.state / "settings.json", store.to_json(begun_with))
            pool.first.use(precision_of(begun_with))
            gone: list[Video] = []
            videos = _process(settings, found, pool, stop, gone)
            if not videos:
                raise DetectorError(
                    f"all {len(gone)} videos{_asked(settings)} went before the run came", Exit.NO_VIDEOS
                )
            by_camera = make_events(pool, rules, found.videos, videos, stop, clips=settings.clips is None)
        begun = _Begun(str(begun_with["started_at"]), sha256, begun_with.get("precision_choice"), by_camera, len(gone))
        return _finish(settings, begun, videos, found)


def _with_asked(rules: Rules, settings: Settings) -> Rules:
    """Who asks the archive for a class wants to know when it was seen, also where no rule of the site is about it."""
    if settings.classes is None or settings.wanted == Wanted():
        return rules
    names = tuple(NAMES[number] for number in settings.classes)
    return replace(rules, asked=Rule("asked for", "record", names, confidence=settings.conf))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _begun_with(settings: Settings) -> Document | None:
    path = settings.state / "settings.json"
    document = store.read_json(path)
    if document is None and path.exists():
        raise DetectorError(f"{path} is damaged; use another run id and state folder", Exit.USAGE)
    return document


def _found(settings: Settings) -> Found:
    try:
        found = find_videos(settings.input)
        return replace(found, videos=settings.wanted.of(found.videos))
    except OSError as error:
        raise DetectorError(f"--input {settings.input} cannot be listed: {error.strerror}", Exit.USAGE) from None


def _asked(settings: Settings) -> str:
    wanted = settings.wanted
    cameras = "" if wanted.cameras is None else f" of {', '.join(wanted.cameras)}"
    return cameras + ("" if wanted.since is None else f" since {wanted.since.isoformat(timespec='seconds')}")


def _finished_manifest(settings: Settings, begun_with: Document | None) -> Document | None:
    """The manifest if the run is finished and all its files are there.

    Where a file is missing or of another size the manifest goes, and with it the video the file belongs to.
    """
    path = settings.state / "manifest.json"
    manifest = store.read_json(path)
    if manifest is None or begun_with is None:
        if path.exists():
            say("the manifest is damaged, checking the results again")
            _withdraw_manifest(settings)
        return None
    # A finished run needs no weights any more, so theirs are compared only as far as the caller names them.
    weights_sha256 = settings.weights_sha256 or str(begun_with["weights_sha256"])
    refuse_other_settings(begun_with, fingerprint(settings, weights_sha256))
    wrong = store.wrong_files(settings.state, manifest)
    if not wrong:
        say(f"run {settings.run}: finished already at {manifest['finished_at']}, exit code {manifest['exit_code']}")
        _mention_newcomers(settings)
        return manifest
    _withdraw_manifest(settings)
    for name, what in wrong.items():
        say(f"run {settings.run}: {quoted(name)} {what}, doing it again")
        parts = name.split("/")
        if parts[0] == "videos":
            store.drop_video(settings.state, parts[1])
        # Events and clips are made again from what is there.
    return None


def _withdraw_manifest(settings: Settings) -> None:
    with store.state_errors("clean up", settings.state):
        (settings.state / "manifest.json").unlink()
        store.sync_folder(settings.state)


def _mention_newcomers(settings: Settings) -> None:
    """Say how many videos came too late for a finished run; the input folder may be gone by now, which is fine."""
    try:
        found = _found(settings)
    except DetectorError:
        return
    folder = store.videos_folder(settings.state)
    late = sum(not (folder / video.video_id).is_dir() for video in found.videos)
    if late:
        say(f"run {settings.run}: {late} videos appeared after it was finished and are not part of it; start a new run")


def _process(settings: Settings, found: Found, pool: Pool, stop: Stop, gone: list[Video]) -> list[Document]:
    """Summaries of all videos of the run, done now or before; to `gone` come those that are no longer there."""
    done = _done_before(settings, found.videos)
    report(
        "run",
        run=settings.run,
        videos=len(found.videos),
        videos_done=len(done),
        size_bytes=sum(video.size_bytes for video in found.videos),
        done_size_bytes=sum(video.size_bytes for video in found.videos if video.video_id in done),
    )
    if pool.first.precision is not Precision.FLOAT32:
        say(f"run {settings.run}: the model computes in {pool.first.precision}; summary.json has the trial")
    if found.hidden:
        say(f"run {settings.run}: {found.hidden} hidden files left out (names that begin with a dot)")
    if found.passed:
        names = ", ".join(quoted(one.name) for one in found.passed[:3])
        say(f"run {settings.run}: {len(found.passed)} files are no footage and not read ({names}{_more(found.passed)})")
    summaries = _gone_since(settings, found.videos)
    wanted = []
    for number, video in enumerate(_growing_last(settings, found.videos), start=1):
        if video.video_id in done:
            summaries.append(done[video.video_id])
        else:
            wanted.append((video, VideoProgress(number, len(found.videos), video.name, video.size_bytes)))
    processes = _processes(settings, pool, [video for video, _ in wanted], stop)

    def still_there(video: Video) -> bool:
        if _went_by_its_days(video):
            say(f"{quoted(video.name)}: the recorder removed it before the run came to it")
            gone.append(video)
            return False
        _await_settled(video, stop)
        return True

    summaries += pool.detect(wanted, processes, still_there, _report_done)
    return sorted(summaries, key=lambda one: (str(one["video"]).encode(), one["video_id"]))


def _went_by_its_days(video: Video) -> bool:
    """Whether it is film of a recorder, which keeps so much and no more, and no longer there."""
    recorded = recorder_camera(video.name.rpartition("/")[0]) is not None
    return recorded and not os.path.lexists(video.path)


def _report_done(progress: VideoProgress, summary: Document) -> None:
    if summary["fault"] is None:
        progress.done(summary["frames"], summary["detections"], summary["decode_errors"])
    else:
        fault = summary["fault"]
        progress.fault(fault["kind"], fault["message"], summary["frames"], summary["detections"])
    for note in notes(summary):
        say(f"{quoted(str(summary['video']))}: {note}")


def _processes(settings: Settings, pool: Pool, videos: Sequence[Video], stop: Stop) -> int:
    """How many work at once: one per core, or as many as there is memory for."""
    limit, weights_bytes = memory.limit_bytes(), settings.weights.stat().st_size
    processes = memory.processes_within(limit, settings.threads, weights_bytes, memory.LARGEST)
    if processes < settings.threads and videos:
        # Where memory does not do for anything that may come, it counts how large these pictures are.
        largest = pool.first.largest_picture(videos, stop.check)
        processes = memory.processes_within(limit, settings.threads, weights_bytes, largest)
    if processes < settings.threads and limit is not None:
        say(
            f"run {settings.run}: {processes} of {settings.threads} processors are used: there is memory for so many "
            f"processes ({limit // 1_000_000} MB in all)"
        )
    return processes


def _more(things: Sequence[object], shown: int = 3) -> str:
    return f" and {len(things) - shown} more" if len(things) > shown else ""


def _growing_last(settings: Settings, videos: list[Video]) -> list[Video]:
    """The videos in their order, those that somebody still writes to at the end: they may be finished by then."""
    growing = {video.video_id for video in videos if _written(video)}
    if growing and len(growing) < len(videos):
        say(f"run {settings.run}: {len(growing)} videos are still being written: left for later")
    return sorted(videos, key=lambda video: video.video_id in growing)


def _written(video: Video) -> str | None:
    """How it is known that somebody writes to it; None also where it cannot be opened: the reading will tell."""
    if video.problem is not None:
        return None
    try:
        with opened(video.path) as source:
            return still_written(source)
    except (Unopened, OSError):
        return None


def _await_settled(video: Video, stop: Stop) -> None:
    """Where only the time of the last change says that a file is being written, wait until it would say no."""
    deadline = time.monotonic() + SETTLED_S
    while _written(video) and time.monotonic() < deadline:
        stop.wait(SETTLE_LOOK_S)


def _done_before(settings: Settings, videos: list[Video]) -> dict[str, Document]:
    """Summaries of videos that are done and have not changed since, by video id."""
    done = {}
    for video in videos:
        summary = store.finished_summary(settings.state, video.video_id)
        if summary is None or (summary["fault"] or {}).get("kind") in PASSING:
            continue
        if summary["size_bytes"] == video.size_bytes:
            done[video.video_id] = summary
        else:
            say(
                f"run {settings.run}: {quoted(video.name)} changed from {summary['size_bytes']} to "
                f"{video.size_bytes} bytes since it was done, doing it again"
            )
    return done


def _gone_since(settings: Settings, videos: list[Video]) -> list[Document]:
    """Summaries of videos that were done and lie no longer under the input folder: their results stay in the run."""
    here = {video.video_id for video in videos}
    folder = store.videos_folder(settings.state)
    gone = []
    for name in sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else ():
        if name in here or name.startswith("."):
            continue
        summary = store.finished_summary(settings.state, name)
        if summary is None:
            store.drop_video(settings.state, name)
            continue
        say(f"run {settings.run}: {quoted(summary['video'])} is done and no longer in the input folder")
        gone.append(summary)
    return gone


@dataclass(frozen=True, slots=True)
class _Begun:
    """What the run's own summary says beside its videos."""

    started_at: str
    weights_sha256: str
    precision: object
    """The choice as it is in settings.json; None in a run that an older detector began."""
    cameras: Mapping[str, Sequence[str]]
    """Videos by camera."""
    gone: int
    """Videos that went before the run came to them."""


def _finish(settings: Settings, begun: _Begun, videos: list[Document], found: Found) -> Exit:
    total = totals(videos)
    exit_code = Exit.FAULTY_VIDEOS if total["faulty"] else Exit.DONE
    finished_at = _now()
    summary = {
        "schema_version": SCHEMA_VERSION,
        "run": settings.run,
        "started_at": begun.started_at,
        "finished_at": finished_at,
        "detector_version": __version__,
        "weights": {"name": settings.weights_name, "sha256": begun.weights_sha256},
        "settings": settings.knobs(),
        "precision": begun.precision,
        "reuse": reuse_totals(videos),
        "runtime": _runtime(settings.threads),
        "videos": videos,
        "not_read": not_read(found.passed, found.hidden, begun.gone),
        "totals": total,
        "events": events_summary(settings.state, videos, begun.cameras),
        "exit_code": int(exit_code),
    }
    segments.remove_all(settings.state)
    store.write_file(settings.state / "summary.json", store.to_json(summary))
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "run": settings.run,
        "finished_at": finished_at,
        "exit_code": int(exit_code),
        "files": [store.describe_file(settings.state, name) for name in store.list_files(settings.state)],
    }
    store.write_file(settings.state / "manifest.json", store.to_json(manifest))
    growing = [video["video"] for video in videos if (video["fault"] or {}).get("kind") == Kind.GROWING]
    if growing:
        names = ", ".join(quoted(name) for name in growing[:3])
        say(
            f"run {settings.run}: closed over recordings that were still being written: {len(growing)} ({names}"
            f"{_more(growing)}); a new run reads them"
        )
    if total["detections"] == 0:
        say(
            f"nothing found: 0 detections in {total['frames_inferred']} inferred frames of {total['videos']} videos "
            f"at confidence {settings.conf}"
        )
    report("done", **{name: total[name] for name in ("videos", "faulty", "frames", "detections")})
    return exit_code


def _runtime(threads: int) -> Document:
    names = ("onnxruntime", "openvino", "numpy", "av")
    versions = {one.name: one.version for name in names for one in importlib.metadata.distributions(name=name)}
    return {**versions, "python": platform.python_version(), "threads": threads}
