"""A whole run: take up what is there, process what is missing, write the manifest last."""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import UTC, datetime

from shoal_detect import __version__
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.model.infer import Model, load_model, read_weights
from shoal_detect.pipeline import Work, detect_video
from shoal_detect.progress import VideoProgress, quoted, report, say
from shoal_detect.read.videos import Found, Video, find_videos
from shoal_detect.state import store
from shoal_detect.state.lock import locked
from shoal_detect.state.settings import SCHEMA_VERSION, Settings, fingerprint, refuse_other_settings
from shoal_detect.state.store import Document
from shoal_detect.state.summary import totals
from shoal_detect.stop import Stop


def run(settings: Settings, stop: Stop) -> Exit:
    """Do the run and return its exit code. Raises DetectorError and Interrupted."""
    with locked(settings.state, stop):
        begun_with = _begun_with(settings)
        manifest = _finished_manifest(settings, begun_with)
        if manifest is not None:
            return Exit(manifest["exit_code"])
        data, sha256 = read_weights(settings.weights, settings.weights_sha256)
        now = fingerprint(settings, sha256)
        if begun_with is not None:
            refuse_other_settings(begun_with, now)
        found = _found(settings)
        if not found.videos:
            raise DetectorError(f"no videos found under the input folder {settings.input}", Exit.NO_VIDEOS)
        model = load_model(data, size=settings.img, threads=settings.threads)
        stop.check()

        store.remove_leftovers(settings.state)
        if begun_with is None:
            begun_with = {**now, "started_at": _now(), "detector_version": __version__}
            store.write_file(settings.state / "settings.json", store.to_json(begun_with))
        videos = _process(settings, found, model, stop)
        return _finish(settings, str(begun_with["started_at"]), videos, model, sha256)


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
        return find_videos(settings.input)
    except OSError as error:
        raise DetectorError(f"--input {settings.input} cannot be listed: {error.strerror}", Exit.USAGE) from None


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
    return None


def _withdraw_manifest(settings: Settings) -> None:
    with store.state_errors("clean up", settings.state):
        (settings.state / "manifest.json").unlink()
        store.sync_folder(settings.state)


def _mention_newcomers(settings: Settings) -> None:
    """Say how many videos came too late for a finished run; the input folder may be gone by now, which is fine."""
    try:
        found = find_videos(settings.input)
    except OSError:
        return
    folder = store.videos_folder(settings.state)
    late = sum(not (folder / video.video_id).is_dir() for video in found.videos)
    if late:
        say(f"run {settings.run}: {late} videos appeared after it was finished and are not part of it; start a new run")


def _process(settings: Settings, found: Found, model: Model, stop: Stop) -> list[Document]:
    """Summaries of all videos of the run, done now or before."""
    done = _done_before(settings, found.videos)
    report(
        "run",
        run=settings.run,
        videos=len(found.videos),
        videos_done=len(done),
        size_bytes=sum(video.size_bytes for video in found.videos),
        done_size_bytes=sum(video.size_bytes for video in found.videos if video.video_id in done),
    )
    if found.hidden:
        say(f"run {settings.run}: {found.hidden} hidden files left out (names that begin with a dot)")
    work = Work(settings, model, stop)
    summaries = _gone_since(settings, found.videos)
    for number, video in enumerate(found.videos, start=1):
        stop.check()
        summary = done.get(video.video_id)
        if summary is None:
            progress = VideoProgress(number, len(found.videos), video.name, video.size_bytes)
            summary = detect_video(video, work, progress)
            if summary["fault"] is None:
                progress.done(summary["frames"], summary["detections"], summary["decode_errors"])
            else:
                fault = summary["fault"]
                progress.fault(fault["kind"], fault["message"], summary["frames"], summary["detections"])
        summaries.append(summary)
    return sorted(summaries, key=lambda one: (str(one["video"]).encode(), one["video_id"]))


def _done_before(settings: Settings, videos: list[Video]) -> dict[str, Document]:
    """Summaries of videos that are done and have not changed since, by video id."""
    done = {}
    for video in videos:
        summary = store.finished_summary(settings.state, video.video_id)
        if summary is None:
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
        if name in here:
            continue
        summary = store.finished_summary(settings.state, name)
        if summary is None:
            store.drop_video(settings.state, name)
            continue
        say(f"run {settings.run}: {quoted(summary['video'])} is done and no longer in the input folder")
        gone.append(summary)
    return gone


def _finish(settings: Settings, started_at: str, videos: list[Document], model: Model, sha256: str) -> Exit:
    total = totals(videos)
    exit_code = Exit.FAULTY_VIDEOS if total["faulty"] else Exit.DONE
    finished_at = _now()
    summary = {
        "schema_version": SCHEMA_VERSION,
        "run": settings.run,
        "started_at": started_at,
        "finished_at": finished_at,
        "detector_version": __version__,
        "weights": {"name": settings.weights_name, "sha256": sha256},
        "settings": settings.knobs(),
        "runtime": _runtime(model),
        "videos": videos,
        "totals": total,
        "exit_code": int(exit_code),
    }
    store.write_file(settings.state / "summary.json", store.to_json(summary))
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "run": settings.run,
        "finished_at": finished_at,
        "exit_code": int(exit_code),
        "files": [store.describe_file(settings.state, name) for name in store.list_files(settings.state)],
    }
    store.write_file(settings.state / "manifest.json", store.to_json(manifest))
    if total["detections"] == 0:
        say(
            f"nothing found: 0 detections in {total['frames_inferred']} inferred frames of {total['videos']} videos "
            f"at confidence {settings.conf}"
        )
    report("done", **{name: total[name] for name in ("videos", "faulty", "frames", "detections")})
    return exit_code


def _runtime(model: Model) -> Document:
    versions = {name: importlib.metadata.version(name) for name in ("onnxruntime", "numpy", "av")}
    return {**versions, "python": platform.python_version(), "threads": model.threads}
