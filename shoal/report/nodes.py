"""Reads what came home from one node, and says how far it is what the node wrote."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from shoal.cost.run import NodeTime
from shoal.files import sha256_file
from shoal.report import formats as words
from shoal.report.documents import inside, read_document
from shoal.report.events import node_bytes, read_cameras
from shoal.report.model import Attempt, KeyFrame, Node, Totals, Verification, Video
from shoal.results.documents import KeyFrame as KeyFrameFile
from shoal.results.documents import Manifest, NotRead, RunSummary, VideoSummary
from shoal.results.fetch import comes_home
from shoal.results.record import HAS_MANIFEST, NodeRecord, Outcome, RunRecord
from shoal.terminal import printable

STILL_PHOTO = "still-photo"
"""In the file name of a clip that was made from a photograph."""
SUMMARY = "summary.json"


def read_node(name: str, run: RunRecord, folder: Path) -> Node:
    """The node `name` of `run`, from its record and from `folder` (`runs/<run id>/<node>`), which may be missing."""
    record = run.nodes[name]
    notes: list[str] = []
    summary: RunSummary | None = None
    files: list[str] = []
    if folder.is_dir():
        sizes, verified = _verify(record, run, folder, notes)
        if sizes and SUMMARY not in sizes:
            files = sorted(sizes)
        else:
            summary = read_document(folder / SUMMARY, RunSummary, notes)
        videos = _videos(folder, summary, sizes, verified, notes)
        # A document that cannot be read, or a video too many, is as little the whole as a missing file.
        verification = Verification.NOT_VERIFIED if notes else Verification.VERIFIED
        if summary:
            notes += _differences(summary, run)
    else:
        videos, verification = [], Verification.ABSENT
        if record.outcome in HAS_MANIFEST:
            notes.append("it finished, but its results were not brought home")
    cameras = read_cameras(name, folder, summary, notes)
    attempts = _attempts(record)
    machine_time_s, open_end = _machine_time(attempts)
    price = record.price_usd_per_hour
    return Node(
        name=name,
        outcome=record.outcome,
        outcome_text=words.OUTCOMES[record.outcome],
        arch=record.arch,
        spot=record.spot,
        attempts=attempts,
        exit_code=next((a.exit_code for a in reversed(attempts) if a.exit_code is not None), None),
        verification=verification,
        notes=notes,
        videos=videos,
        files=files,
        totals=totals(videos),
        home_bytes=_home_bytes(folder, record, verification),
        machine_time_s=machine_time_s,
        machine_time_open=open_end,
        price_usd_per_hour=price,
        cost_usd=NodeTime(name, machine_time_s, price).usd,
        detector_version=summary.detector_version if summary else None,
        weights_sha256=summary.weights.sha256 if summary else None,
        settings=dict(summary.settings) if summary else {},
        runtime=dict(summary.runtime) if summary else {},
        not_read=summary.not_read if summary else NotRead(),
        cameras=cameras,
        camera_videos=_camera_videos(summary),
        event_bytes=node_bytes(summary),
        shipped_bytes=record.shipped.size_bytes if record.shipped else None,
    )


def _camera_videos(summary: RunSummary | None) -> dict[str, list[str]]:
    if summary is None or summary.events is None:
        return {}
    return {one.name: list(one.videos) for one in summary.events.cameras}


def totals(videos: list[Video]) -> Totals:
    """Sums over `videos`."""
    counts: Counter[str] = Counter()
    videos_with: Counter[str] = Counter()
    for video in videos:
        counts.update(video.counts)
        videos_with.update(name for name, found in video.counts.items() if found)
    work_s = sum(video.decode_and_infer_s or 0.0 for video in videos)
    timed_frames = sum(video.frames for video in videos if video.decode_and_infer_s)
    return Totals(
        videos=len(videos),
        faulty_videos=sum(video.fault is not None for video in videos),
        still_photo_videos=sum(video.still_photo for video in videos),
        frames=sum(video.frames for video in videos),
        frames_inferred=sum(video.frames_inferred for video in videos),
        footage_s=sum(video.duration_s or 0.0 for video in videos),
        work_s=work_s,
        frames_per_work_s=timed_frames / work_s if work_s else None,
        detections=sum(video.detections for video in videos),
        counts=by_frequency(counts),
        videos_with=dict(videos_with),
        video_bytes=sum(video.size_bytes for video in videos),
        unverified_videos=sum(not video.verified for video in videos),
    )


def by_frequency(counts: dict[str, int]) -> dict[str, int]:
    """The most frequent class first, equals by name; classes that were not found are left out."""
    return dict(sorted(((k, n) for k, n in counts.items() if n), key=lambda item: (-item[1], item[0])))


def _verify(record: NodeRecord, run: RunRecord, folder: Path, notes: list[str]) -> tuple[dict[str, int], bool]:
    """Sizes the manifest promises by path, and whether all of it is there; the reasons go to `notes`."""
    before = len(notes)
    if record.fetched is None:
        notes.append("the results were not fetched to the end and checked")
    manifest = read_document(folder / "manifest.json", Manifest, notes)
    if manifest is None:
        return {}, False
    bring = run.bring if record.fetched is None else record.fetched.brought
    if manifest.run != run.run:
        notes.append(f"manifest.json belongs to run {manifest.run}")
    sizes = {file.path: file.size_bytes for file in manifest.files}
    missing, other, changed = [], [], []
    for entry in sorted(manifest.files, key=lambda entry: entry.path):
        file = inside(folder, entry.path)
        if file is None or not file.is_file():
            if comes_home(entry.path, bring):
                missing.append(entry.path)
        elif file.stat().st_size != entry.size_bytes:
            other.append(entry.path)
        elif sha256_file(file) != entry.sha256:
            changed.append(entry.path)
    files = words.count(len(sizes), "file")
    if missing:
        notes.append(f"{len(missing)} of {files} in the manifest missing here: {words.listing(missing)}")
    if other:
        notes.append(f"{len(other)} of {files} with another size than in the manifest: {words.listing(other)}")
    if changed:
        notes.append(f"{len(changed)} of {files} with another content than in the manifest: {words.listing(changed)}")
    return sizes, len(notes) == before


def _videos(
    folder: Path, summary: RunSummary | None, sizes: dict[str, int], verified: bool, notes: list[str]
) -> list[Video]:
    """Every video there is word of: its own folder first, the node's summary where that folder is missing."""
    found: dict[str, Video] = {}
    for entry in sorted((folder / "videos").glob("*/summary.json")):
        if entry.parent.name.startswith("."):
            continue
        faults: list[str] = []
        document = read_document(entry, VideoSummary, faults)
        notes += [f"videos/{printable(entry.parent.name)}: {fault}" for fault in faults]
        if document is None:
            continue
        relative = entry.relative_to(folder).as_posix()
        if sizes and relative not in sizes:
            notes.append(f"{printable(relative)} is not in the manifest")
        found[document.video_id] = _video(
            document, folder, entry.parent, sizes, verified=verified and relative in sizes
        )
    for document in summary.videos if summary else []:
        if document.video_id not in found:
            home = folder / "videos" / "missing"
            found[document.video_id] = _video(
                document, folder, inside(folder / "videos", document.video_id) or home, sizes, verified=verified
            )
    return sorted(found.values(), key=lambda video: video.video)


def _video(document: VideoSummary, node: Path, folder: Path, sizes: dict[str, int], *, verified: bool) -> Video:
    return Video(
        **{field: getattr(document, field) for field in _SAME_FIELDS},
        still_photo=STILL_PHOTO in document.video,
        verified=verified,
        # Nothing was decoded: there is no speed, not one of zero.
        frames_per_s=document.frames_per_s if document.frames else None,
        counts=by_frequency(document.counts),
        sizes=list(document.sizes),
        streams_not_read=list(document.streams_not_read),
        timeline=sorted(document.timeline, key=lambda second: second.time_s),
        key_frames=[_key_frame(frame, node, folder, sizes) for frame in document.key_frames],
    )


_SAME_FIELDS = sorted(
    set(VideoSummary.model_fields)
    & set(Video.model_fields) - {"counts", "frames_per_s", "sizes", "streams_not_read", "timeline", "key_frames"}
)


def _key_frame(frame: KeyFrameFile, node: Path, folder: Path, sizes: dict[str, int]) -> KeyFrame:
    path = inside(folder, frame.file)
    relative, size_bytes = None, 0
    if path is not None and path.is_file() and path.is_relative_to(node.resolve()):
        inner = path.relative_to(node.resolve()).as_posix()
        size_bytes = path.stat().st_size
        if sizes.get(inner, size_bytes) == size_bytes:
            relative = f"{node.name}/{inner}"
    return KeyFrame(
        path=relative,
        frame=frame.frame,
        time_s=frame.time_s,
        detections=frame.detections,
        width=frame.width,
        height=frame.height,
        size_bytes=size_bytes,
    )


def _differences(summary: RunSummary, run: RunRecord) -> list[str]:
    """What the node says about itself and the run's record does not."""
    notes = []
    if summary.run != run.run:
        notes.append(f"summary.json belongs to run {summary.run}")
    if summary.weights.sha256 != run.weights.sha256:
        notes.append(f"it ran weights with sha256 {summary.weights.sha256}, the run names {run.weights.sha256}")
    return notes


def _attempts(record: NodeRecord) -> list[Attempt]:
    return [
        Attempt(**attempt.model_dump(), duration_s=words.seconds_between(attempt.started_at, attempt.ended_at))
        for attempt in record.attempts
    ]


def _machine_time(attempts: list[Attempt]) -> tuple[float | None, bool]:
    lengths = [attempt.duration_s for attempt in attempts if attempt.duration_s is not None]
    # An execution that never started took no machine time that anybody measured.
    open_end = any(a.duration_s is None and a.outcome is not Outcome.NOT_RUN for a in attempts)
    return (sum(lengths) if lengths else None), open_end


def _home_bytes(folder: Path, record: NodeRecord, verification: Verification) -> int:
    if verification is Verification.ABSENT:
        return 0
    if verification is Verification.VERIFIED and record.fetched is not None:
        return record.fetched.size_bytes
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    # Names with a dot are what is just being fetched, or was when it broke off.
    return sum(
        file.stat().st_size
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
